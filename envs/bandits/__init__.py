"""Bandits: which arm to pull, if the payoffs of the others remain hidden.

Most have a single state; the arms of the restless and of the driven ones change with what is done.
"""
