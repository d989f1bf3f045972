"""Learners from data sets that do not grow."""
