"""Learners with networks."""
