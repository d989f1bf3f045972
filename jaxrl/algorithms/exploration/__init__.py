"""Algorithms that explore: around a learner, for what its own exploration does not find."""
