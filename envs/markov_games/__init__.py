"""Markov games: several agents act at the same time in a world that goes on.

They cooperate, compete, or both; some of the finite ones are solved exactly.
"""
