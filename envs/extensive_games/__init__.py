"""Extensive-form games: moves by turns, with chance and with knowledge that the others do not have.

They are finite, and ``jaxrl.solvers`` solves them exactly: by the sequence form, and by counterfactual regret minimisation.
"""
