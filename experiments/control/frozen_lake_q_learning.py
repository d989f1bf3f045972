"""Tabular Q-learning on FrozenLake 4x4, measured against the exact optimum.

Source: Watkins and Dayan (1992); the environment is Gymnasium's FrozenLake-v1. Exact values: dynamic programming.
"""

import functools
from dataclasses import dataclass, field

import jax

import envs
from experiments.control.q_learning_settings import QLearningSettings
from experiments.protocol import Claim, equals, mean_at_least
from experiments.session import Session
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.finite import tabulate
from jaxrl.solvers.dynamic_programming import policy_iteration, value_iteration

GAMMA = 0.99
OPTIMUM = 0.542026


@dataclass(frozen=True)
class Config(QLearningSettings):
    """Q-learning on FrozenLake 4x4."""

    algorithm: q_learning.Config = field(default_factory=lambda: q_learning.Config(gamma=GAMMA))


QUICK = Config(seeds=16, steps=2_000)


def run(config: Config, session: Session) -> None:
    """Trains the learners and evaluates each greedy policy exactly, 20 times on the way."""
    config.train(session, envs.make("frozen_lake"))
    session.draw_gap()


def _exact(map_name: str, gamma: float, solver) -> float:
    model = tabulate(envs.make("frozen_lake", map=map_name))
    with jax.enable_x64(True):
        return float(solver(model, gamma).start_value(model))


sweeps = functools.partial(value_iteration, tolerance=1e-13)

CLAIMS = (
    Claim(
        "After 100,000 steps the greedy policy of Q-learning is worth at least 0.50 on average (optimum 0.542026)",
        "Watkins and Dayan (1992)",
        mean_at_least("greedy_exact_value", 0.50),
    ),
    Claim(
        "Value iteration finds the value of the 4x4 lake at discount 0.99",
        "Sutton and Barto (2018), section 4.4",
        equals(functools.partial(_exact, "4x4", GAMMA, sweeps), OPTIMUM, 1e-6),
    ),
    Claim(
        "Value iteration finds the value of the 4x4 lake without discount, 14/17",
        "Sutton and Barto (2018), section 4.4",
        equals(functools.partial(_exact, "4x4", 1.0, sweeps), 14 / 17, 1e-6),
    ),
    Claim(
        "Policy iteration finds the value of the 8x8 lake at discount 0.99",
        "Howard (1960)",
        equals(functools.partial(_exact, "8x8", GAMMA, policy_iteration), 0.414640, 1e-6),
    ),
)
