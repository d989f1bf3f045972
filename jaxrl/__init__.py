"""jaxrl: reinforcement learning as pure functions in JAX. See the README for a tour.

``import jaxrl`` is cheap: what needs plotting, tables or a progress bar imports it when used.
"""

from jaxrl.algorithm import Algorithm
from jaxrl.conformance import check_algorithm, check_environment
from jaxrl.env import Environment, Step
from jaxrl.finite import Initial, Outcomes, TabularModel, finite, from_table, tabulate
from jaxrl.platform import setup
from jaxrl.runner import run, train

__all__ = [
    "Algorithm",
    "Environment",
    "Initial",
    "Outcomes",
    "Step",
    "TabularModel",
    "check_algorithm",
    "check_environment",
    "finite",
    "from_table",
    "run",
    "setup",
    "tabulate",
    "train",
]
