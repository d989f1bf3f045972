"""Exact answers from a model, in one call: dynamic programming, equilibria, games."""
