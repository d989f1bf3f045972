"""Tabular Q-learning in a market of two regimes, a thousand seeds at once, measured against the exact optimum.

Source: Watkins and Dayan (1992); the market is binomial (Cox, Ross and Rubinstein 1979) with regimes (Hamilton 1989), and a trade
pays 5 basis points. Exact values: dynamic programming.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, final

GAMMA = 0.95
# A drift this strong can be told from the noise within a million bars; real drifts would take some hundred times as many.
MARKET = dict(drift=(1.2, -1.2), move=0.02, monthly_switch=0.3)


@dataclass(frozen=True)
class Config:
    """Q-learning in a binomial market."""

    seeds: int = 1024
    """Independent learners, trained side by side (count)."""
    env_steps: int = 400_000
    """Bars of each learner (count)."""
    algorithm: q_learning.Config = field(
        default_factory=lambda: q_learning.Config(
            gamma=GAMMA, epsilon=0.3, num_envs=8, learning_rate_half_life=50.0, learning_rate_min=0.0, num_steps=250
        )
    )
    """Hyper-parameters."""


QUICK = Config(seeds=16, env_steps=20_000)


def arms(config: Config) -> Iterator[Arm]:
    """One arm, whose greedy policies are evaluated exactly, 20 times on the way."""
    env = envs.make("binomial_market", **MARKET)
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


def measure(config: Config, results: Results):
    """Measures the exact value of an optimal policy, fees included; doing nothing is worth 0."""
    exact = ExactValue.of(envs.make("binomial_market", **MARKET), config.algorithm.gamma)
    yield {"algorithm": "dynamic programming"}, {"optimum": float(exact.optimum)}


def figures(results: Results) -> None:
    """Draws the exact value over time, and where the seeds end."""
    draw.curves(results, "greedy_exact_value", {"optimum": float(results.final("optimum")[0])})
    draw.ends(results, "greedy_exact_value")


CLAIMS = (
    Claim(
        "After 400,000 bars of a binomial market Q-learning's greedy policy is worth at least 90 % of the optimum, fees included",
        "Watkins and Dayan (1992)",
        final("greedy_exact_value") / final("optimum") >= 0.9,
    ),
)
