"""Formulas that algorithms are made of: returns, losses, exploration, policies, networks, replay."""
