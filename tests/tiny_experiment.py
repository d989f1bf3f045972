"""Is one of three learners too bold? A tiny experiment, which has whatever a run writes but figures.

Source: none; tests interrupt it at every write.
"""

from dataclasses import dataclass

import numpy as np

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, largest

RATES = np.array([0.1, np.inf, 0.5], np.float32)  # the second learner goes into quarantine


@dataclass(frozen=True)
class Config:
    """Q-learning on a corridor."""

    num_updates: int = 5
    """Updates of each learner (count)."""


QUICK = Config()


def arms(config):
    env = envs.make("corridor")
    yield Arm(
        {"method": "Q"},
        q_learning.make,
        env,
        q_learning.Config(num_steps=20, gamma=0.9, learning_rate=RATES),
        seeds=3,
        num_updates=config.num_updates,
        evaluators=(ExactValue.of(env, 0.9),),
        show=("greedy_exact_value",),
        chunk_length=2,
    )


def measure(config, results):
    q = results.states(method="Q").q
    yield {"method": "Q"}, {"largest_q": np.nanmax(q.reshape(len(q), -1)[[0, 2]], axis=1)[:, None]}


CLAIMS = (Claim("Values are at most 1", "the rewards", largest("largest_q") <= 1.0),)
