"""Populations of learners beside each other."""
