"""Algorithms under constraints: around a learner, whose costs must stay within a budget."""
