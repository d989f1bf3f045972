"""Tabular Q-learning in a market of two regimes, a thousand seeds at once, measured against the exact optimum.

Source: Watkins and Dayan (1992); the market is binomial (Cox, Ross and Rubinstein 1979) with regimes (Hamilton 1989), and a trade
pays 5 basis points. Exact values: dynamic programming.
"""

from dataclasses import dataclass, field

import numpy as np

import envs
from experiments.control.q_learning_settings import QLearningSettings
from experiments.protocol import Claim, Verdict, last
from experiments.session import Session
from jaxrl.algorithms.tabular import q_learning
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval

GAMMA = 0.95
# A drift this strong can be told from the noise within a million bars; real drifts would take some hundred times as many.
MARKET = dict(drift=(1.2, -1.2), move=0.02, monthly_switch=0.3)


@dataclass(frozen=True)
class Config(QLearningSettings):
    """Q-learning in a binomial market."""

    steps: int = 400_000  # a step is a bar
    algorithm: q_learning.Config = field(
        default_factory=lambda: q_learning.Config(
            gamma=GAMMA, epsilon=0.3, num_envs=8, learning_rate_half_life=50.0, learning_rate_min=0.0, num_steps=250
        )
    )


QUICK = Config(seeds=16, steps=20_000)


def run(config: Config, session: Session) -> None:
    """Trains the learners and evaluates each greedy policy exactly, some 20 times on the way."""
    optimum = config.train(session, envs.make("binomial_market", **MARKET))
    session.record({"optimum": optimum}, "exact")


def near_optimal(run: RunDirectory) -> Verdict:
    """The greedy policies keep at least 90 % of the optimal value on average; doing nothing keeps none of it."""
    optimum = float(run.curves("optimum", "exact", "metrics").values[0, 0])
    share = bootstrap_interval(last(run, "greedy_exact_value") / optimum, np.mean)
    return Verdict(share.estimate >= 0.9, share.estimate, "mean share of the optimal value >= 0.9", share.low, share.high)


CLAIMS = (
    Claim(
        "After 400,000 bars the greedy policy of Q-learning is worth at least 90 % of the optimum, fees included",
        "Watkins and Dayan (1992)",
        near_optimal,
    ),
)
