"""Evaluating a policy: by episodes, with the same random numbers for every seed, or exactly, on a finite model.

An evaluator is a pytree that is called as ``(key, algorithm, state) -> dict of scalars``; ``jaxrl.training.runner.run`` calls it
for every seed after each chunk, inside a compiled program of its own.
"""

from jaxrl.evaluation.episodes import EpisodeOutcome, Episodes, evaluate
from jaxrl.evaluation.exact import ExactValue
from jaxrl.evaluation.games import Exploitability, GreedyActions, NashConv, TeamReturn, ValueGap

__all__ = [
    "EpisodeOutcome",
    "Episodes",
    "ExactValue",
    "Exploitability",
    "GreedyActions",
    "NashConv",
    "TeamReturn",
    "ValueGap",
    "evaluate",
]
