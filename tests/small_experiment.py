"""Does optimism help tabular Q-learning on a corridor? A small experiment outside of the package, for the tests.

Source: nobody; it only has every part that an experiment can have.
"""

from dataclasses import dataclass, field, replace

import numpy as np

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, draw, every, exact, final, largest, share


@dataclass(frozen=True)
class Config:
    """Q-learning on a corridor."""

    seeds: int = 4
    """Independent learners (count)."""
    env_steps: int = 800
    """Environment steps of each learner (count)."""
    algorithm: q_learning.Config = field(default_factory=lambda: q_learning.Config(num_steps=20, gamma=0.9))
    """Hyper-parameters."""


QUICK = Config(seeds=2, env_steps=80)
RATES = (0.1, 0.5)


def arms(config):
    env = envs.make("corridor")
    common = {"seeds": config.seeds, "evaluators": (ExactValue.of(env, 0.9),), "show": ("greedy_exact_value",)}
    for rate in RATES:
        algorithm = replace(config.algorithm, learning_rate=rate)
        yield Arm({"method": "plain", "rate": rate}, q_learning.make, env, algorithm, env_steps=config.env_steps, **common)
    yield Arm(
        {"method": "continued", "rate": RATES[0]},
        q_learning.make,
        env,
        config.algorithm,
        env_steps=config.env_steps,
        after={"method": "plain", "rate": RATES[0]},
        prepare=lambda arm, run: replace(arm, initial=run.state),
        **common,
    )


def measure(config, results):
    for rate in RATES:
        q = results.states(method="plain", rate=rate).q
        yield {"method": "plain", "rate": rate}, {"largest_q": q.reshape(len(q), -1).max(1)[:, None]}
    yield {"method": "random"}, {"drawn": np.random.default_rng(results.root).normal()}


def figures(results):
    draw.curves(results, "greedy_exact_value", method="plain")
    draw.ends(results, "greedy_exact_value")


CLAIMS = (
    Claim("Values are at most 1", "the rewards", largest("largest_q") <= 1.0),
    Claim("All learn something", "nobody", every(final("greedy_exact_value", rate=r, method="plain") >= -1.0 for r in RATES)),
    Claim("Most learn something", "nobody", share(final("greedy_exact_value", method="continued") >= -1.0) >= 0.1),
    Claim("One and one are two", "arithmetic", exact("1 + 1", lambda: 2.0).equals(2.0, 1e-12)),
)
