"""Bandits: which arm to pull, where nobody sees what the others would have paid.

Most have a single state; the arms of the restless and of the driven ones change with what is done.
"""
