"""Tabular Q-learning on FrozenLake 4x4, measured against the exact optimum.

Source: Watkins and Dayan (1992); the environment is Gymnasium's FrozenLake-v1. Exact values: dynamic programming.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import jax

import envs
from envs.gridworlds import optima
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.value_iteration import value_iteration

GAMMA = 0.99
OPTIMUM = optima.LAKE[GAMMA]


@dataclass(frozen=True)
class Config:
    """Q-learning on FrozenLake 4x4."""

    seeds: int = 1024
    """Independent learners, trained side by side (count)."""
    env_steps: int = 100_000
    """Environment steps of each learner (count)."""
    algorithm: q_learning.Config = field(default_factory=lambda: q_learning.Config(gamma=GAMMA))
    """Hyper-parameters."""


QUICK = Config(seeds=16, env_steps=2_000)


def arms(config: Config) -> Iterator[Arm]:
    """One arm, whose greedy policies are evaluated exactly, 20 times on the way."""
    env = envs.make("frozen_lake")
    yield Arm(
        {"algorithm": "Q-learning"},
        q_learning.make,
        env,
        config.algorithm,
        seeds=config.seeds,
        env_steps=config.env_steps,
        evaluators=(ExactValue.of(env, config.algorithm.gamma),),
        show=("greedy_exact_value", "greedy_optimality_gap"),
    )


def figures(results: Results) -> None:
    """Draws the exact value over time, where the seeds end, and the gap to the optimum."""
    draw.curves(results, "greedy_exact_value", {"optimum": OPTIMUM})
    draw.ends(results, "greedy_exact_value")
    draw.gaps(results, "greedy_optimality_gap")


def solved(map_name: str, gamma: float, solver) -> float:
    """Returns the value of the start of a lake, solved in float64."""
    model = tabulate(envs.make("frozen_lake", map=map_name))
    with jax.enable_x64(True):
        return float(solver(model, gamma).start_value(model))


sweeps = functools.partial(value_iteration, tolerance=1e-13)

CLAIMS = (
    Claim(
        "After 100,000 steps on FrozenLake 4x4 the greedy policy of Q-learning is worth at least 0.50 on average (optimum 0.542)",
        "Watkins and Dayan (1992)",
        final("greedy_exact_value") >= 0.50,
    ),
    Claim(
        "Value iteration finds the value of the 4x4 lake at discount 0.99",
        "Sutton and Barto (2018), section 4.4",
        exact("value", lambda: solved("4x4", GAMMA, sweeps)).equals(OPTIMUM, 1e-6),
    ),
    Claim(
        "Value iteration finds the value of the 4x4 lake without discount, 14/17",
        "Sutton and Barto (2018), section 4.4",
        exact("value", lambda: solved("4x4", 1.0, sweeps)).equals(14 / 17, 1e-6),
    ),
    Claim(
        "Policy iteration finds the value of the 8x8 lake at discount 0.99",
        "Howard (1960)",
        exact("value", lambda: solved("8x8", GAMMA, policy_iteration)).equals(0.414640, 1e-6),
    ),
)
