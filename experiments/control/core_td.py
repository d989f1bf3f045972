"""Temporal-difference control: what SARSA, expected SARSA, Q-learning and double Q-learning learn, and how safely.

A lake where the exact value of each greedy policy is known, a cliff whose best path is the most dangerous one, and a choice whose
noisy estimates have a maximum that is better than the choice.

Source: Sutton and Barto (2018), examples 6.6 and 6.7; Watkins and Dayan (1992); Rummery and Niranjan (1994); van Seijen et al.
(2009); van Hasselt (2010). Exact values: dynamic programming.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import envs
from envs.gridworlds.optima import LAKE
from jaxrl.algorithms.tabular import double_q_learning, q_learning, sarsa
from jaxrl.blocks.tables import TableConfig
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, final, largest

EPISODES = (100, 300)  # of the noisy choice, at which the share of left turns is read
WINDOW = 10  # episodes to either side
LEARNERS = {
    "Q-learning": (q_learning, {}),
    "SARSA": (sarsa, {}),
    "expected SARSA": (sarsa, {"expected": True}),
    "double Q-learning": (double_q_learning, {}),
}
CONSTANT = {"learning_rate_half_life": np.inf, "learning_rate_min": 0.0, "epsilon": 0.1}


@dataclass(frozen=True)
class Config:
    """Four tabular learners on FrozenLake, CliffWalking and the example of maximisation bias."""

    seeds: int = 1024
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 100_000
    """Environment steps of each learner on the lake (count)."""
    cliff_env_steps: int = 16_000
    """On the cliff (count): some 840 episodes of Q-learning, 630 of SARSA."""
    bias_env_steps: int = 700
    """On the noisy choice (count): more than 320 episodes, of one or two steps each."""


QUICK = Config(seeds=16, env_steps=2_000, cliff_env_steps=2_000)


def arms(config: Config) -> Iterator[Arm]:
    """All learners on the lake, Q-learning and SARSA on the cliff, Q-learning and double Q-learning where rewards are noisy."""
    lake, cliff, noisy = envs.make("frozen_lake"), envs.make("cliff_walking"), envs.make("maximisation_bias")
    last_fifth = max(1, config.cliff_env_steps // 5)  # steps: more than 100 episodes
    for task, env, names, options, env_steps, evaluators in (
        ("lake", lake, LEARNERS, {"gamma": 0.99}, config.env_steps, (ExactValue.of(lake, 0.99),)),
        (
            "cliff",
            cliff,
            ("Q-learning", "SARSA"),
            CONSTANT | {"gamma": 1.0, "learning_rate": 0.5, "num_steps": last_fifth},
            config.cliff_env_steps,
            (ExactValue.of(cliff, 1.0),),
        ),
        (
            "noisy choice",
            noisy,
            ("Q-learning", "double Q-learning"),
            CONSTANT | {"gamma": 1.0, "learning_rate": 0.1, "num_steps": 1},
            config.bias_env_steps,
            (),
        ),
    ):
        for name in names:
            module, own = LEARNERS[name]
            learner: TableConfig = module.Config(**options | own)
            factors = {"task": task, "algorithm": name}
            yield Arm(factors, module.make, env, learner, config.seeds, env_steps, evaluators=evaluators)


def measure(config: Config, results: Results):
    """Measures how often a learner goes left in the noisy choice, around the episodes named.

    An episode of two steps went left. A run of a given number of steps has its own number of episodes in every seed.
    """
    for name in ("Q-learning", "double Q-learning"):
        factors = {"task": "noisy choice", "algorithm": name}
        length = results.values("episode_length", "metrics", **factors)
        ended = np.isfinite(length)
        number = np.cumsum(ended, axis=1)
        shares = {}
        for episode in EPISODES:
            near = ended & (np.abs(number - episode) <= WINDOW)
            shares[f"left_{episode}"] = (near & (length == 2)).sum(1) / np.maximum(near.sum(1), 1)
        yield factors, {name: share[:, None] for name, share in shares.items()}


def figures(results: Results) -> None:
    """Draws the exact values on the lake, and the returns on the cliff while learning."""
    draw.curves(results, "greedy_exact_value", {"optimum": LAKE[0.99], "title": "FrozenLake 4x4", "name": "lake"}, task="lake")
    label = {"title": "CliffWalking, while learning", "name": "cliff", "label": "Return of an episode (reward units)"}
    draw.curves(results, "episode_return", label, task="cliff")
    draw.ends(results, f"left_{EPISODES[0]}", {"label": "Share of left turns around episode 100"}, task="noisy choice")


def worth(name: str):
    """The exact value of the greedy policy of a learner on the lake."""
    return final("greedy_exact_value", task="lake", algorithm=name)


def left(episode: int, name: str):
    """The share of left turns of a learner around an episode."""
    return final(f"left_{episode}", task="noisy choice", algorithm=name)


CLAIMS = (
    *(
        Claim(
            f"After 100,000 steps on FrozenLake the greedy policy of {name} is worth at least {bar} on average (optimum 0.542)",
            source,
            worth(name) >= bar,
        )
        for name, bar, source in (
            ("Q-learning", 0.50, "Watkins and Dayan (1992)"),
            ("SARSA", 0.46, "Rummery and Niranjan (1994)"),
            ("expected SARSA", 0.46, "van Seijen et al. (2009)"),
            ("double Q-learning", 0.47, "van Hasselt (2010)"),
        )
    ),
    Claim(
        "On CliffWalking with 10 % exploration, SARSA's episodes pay at least 10 more than Q-learning's in the last fifth",
        "Sutton and Barto (2018), example 6.6; the limits are -20.71 and -45.80",
        final("episode_return", task="cliff", algorithm="SARSA") - final("episode_return", task="cliff", algorithm="Q-learning")
        >= 10.0,
    ),
    Claim(
        "The greedy policy of Q-learning walks along the edge of the cliff in 13 steps",
        "Sutton and Barto (2018), example 6.6",
        final("greedy_exact_value", task="cliff", algorithm="Q-learning").equals(-13.0, 0.05),
    ),
    Claim(
        "The greedy policy of SARSA stays away from the edge: it takes 15 steps or more in every seed",
        "Sutton and Barto (2018), example 6.6; the best of all exploring policies takes 15",
        largest(final("greedy_exact_value", task="cliff", algorithm="SARSA")) <= -15.0,
    ),
    Claim(
        "Where rewards are noisy, double Q-learning goes left less than half as often as Q-learning around episode 100",
        "Sutton and Barto (2018), example 6.7 and figure 6.5",
        left(100, "Q-learning") - left(100, "double Q-learning") * 2.0 > 0.0,
    ),
    Claim(
        "Around episode 300 Q-learning still goes left in at least 8 % of the episodes, where 5 % is the best",
        "Sutton and Barto (2018), figure 6.5",
        left(300, "Q-learning") >= 0.08,
    ),
)
