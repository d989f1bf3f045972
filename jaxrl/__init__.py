"""jaxrl: reinforcement learning as pure functions in JAX. See the README for a tour.

``import jaxrl`` is cheap: what needs plotting, tables or a progress bar imports it when used.
"""

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite import Initial, Outcomes, TabularModel, finite, from_table, tabulate
from jaxrl.testing.conformance import check_algorithm, check_environment
from jaxrl.training.platform import setup
from jaxrl.training.runner import run, train


def load(run: str, runs: str = "runs"):
    """Opens a run to read its tables, arms and policies; see ``jaxrl.experiment.trained``."""
    from jaxrl.experiment import trained

    return trained.load(run, runs)


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
    "load",
    "run",
    "setup",
    "tabulate",
    "train",
]
