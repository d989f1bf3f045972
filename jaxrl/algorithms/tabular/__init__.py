"""Learners that keep a table."""
