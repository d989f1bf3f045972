"""Learners of several agents."""
