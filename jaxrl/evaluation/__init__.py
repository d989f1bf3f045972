"""Evaluating a policy: by episodes, with the same random numbers for every seed, or exactly, on a finite model.

An evaluator is a pytree that is called as ``(key, algorithm, state) -> metrics``; ``jaxrl.training.runner.run`` calls it for
every seed after each chunk, inside a compiled program of its own. Metrics are a dict of numbers, small arrays and Averages, as
those of an algorithm; one that may be missing is declared by ``jaxrl.core.averages.optional``. A measure of the algorithm's
policy has a name with the prefix ``greedy_`` or ``sampled_``: of the mode of the policy, or of the policy as it is sampled. No
two evaluators of a run may measure under one name.
"""

from jaxrl.evaluation.episodes import EpisodeOutcome, Episodes, Followed, evaluate, follow
from jaxrl.evaluation.exact import ExactCost, ExactValue, Overestimate
from jaxrl.evaluation.games import AgentValues, Exploitability, GreedyActions, NashConv, TeamReturn, ValueGap
from jaxrl.evaluation.risk import ExactCVaR
from jaxrl.evaluation.signalling import Signalling

__all__ = [
    "AgentValues",
    "EpisodeOutcome",
    "Episodes",
    "ExactCVaR",
    "ExactCost",
    "ExactValue",
    "Exploitability",
    "Followed",
    "GreedyActions",
    "NashConv",
    "Overestimate",
    "Signalling",
    "TeamReturn",
    "ValueGap",
    "evaluate",
    "follow",
]
