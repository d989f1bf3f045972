"""Solvers of games that iterate: the task is a game, and every update measures how far it is from equilibrium."""
