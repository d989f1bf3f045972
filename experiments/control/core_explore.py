"""Exploration in the 10-armed testbed: sample averages with epsilon-greedy, Boltzmann and UCB choices.

Every learner meets a bandit problem of its own: ten arms whose means are drawn from N(0, 1), with rewards of deviation 1.

Source: Sutton and Barto (2018), sections 2.2, 2.3, 2.7 and 2.8; Auer et al. (2002). The best arm pays 1.538753 on average, by
quadrature.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import envs
from envs.bandits import gaussian_bandit
from jaxrl.algorithms.tabular import q_learning
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final

LAST = 200  # pulls in which the reward is measured
# A step size of 1 / (n + 1) makes every entry the plain average of its rewards.
AVERAGES = q_learning.Config(
    gamma=0.0, learning_rate=1.0, learning_rate_half_life=1.0, learning_rate_min=0.0, epsilon=0.0, num_steps=LAST
)
LEARNERS = {
    "greedy": AVERAGES,
    "epsilon 0.01": replace(AVERAGES, epsilon=0.01),
    "epsilon 0.1": replace(AVERAGES, epsilon=0.1),
    "Boltzmann, temperature 0.2": replace(AVERAGES, exploration="boltzmann", temperature=0.2),
    "UCB, c = 2": replace(AVERAGES, exploration="ucb", uncertainty=2.0),
    "UCB, c = 1": replace(AVERAGES, exploration="ucb", uncertainty=1.0),
}
EXPECTED = {"greedy": 1.02, "epsilon 0.01": 1.31, "epsilon 0.1": 1.40, "Boltzmann, temperature 0.2": 1.46}
EXPECTED |= {"UCB, c = 2": 1.46, "UCB, c = 1": 1.52}


@dataclass(frozen=True)
class Config:
    """Six ways to explore in the 10-armed testbed."""

    seeds: int = 8192
    """Independent learners of each kind, each with ten arms of its own (count)."""
    env_steps: int = 1_000
    """Pulls of each learner (count)."""


QUICK = Config(seeds=64, env_steps=400)


def arms(config: Config) -> Iterator[Arm]:
    """An arm for each way to explore."""
    env = envs.make("bandit_testbed", max_steps=config.env_steps)
    for learner, algorithm in LEARNERS.items():
        yield Arm({"learner": learner}, q_learning.make, env, algorithm, config.seeds, config.env_steps, show=("reward",))


def figures(results: Results) -> None:
    """Draws the reward of a pull over time, with that of the best arm."""
    options = {"optimum": gaussian_bandit.expected_maximum(10), "title": "10-armed testbed", "label": "Reward of a pull"}
    draw.curves(results, "reward", options)
    draw.ends(results, "reward", {"label": "Reward of one of the last 200 pulls"})


def reward(learner: str):
    """The mean reward of the last 200 pulls."""
    return final("reward", learner=learner)


CLAIMS = (
    *(
        Claim(
            f"In the last 200 of 1000 pulls in the 10-armed testbed, {learner} is paid {value:.2f} on average, up to 0.04",
            "Sutton and Barto (2018), figures 2.2, 2.4 and 2.6",
            reward(learner).within(value - 0.04, value + 0.04),
        )
        for learner, value in EXPECTED.items()
    ),
    Claim(
        "In the last 200 of 1000 pulls, UCB with c = 1 is paid more than epsilon-greedy with epsilon 0.1",
        "Sutton and Barto (2018), figure 2.6",
        reward("UCB, c = 1") - reward("epsilon 0.1") > 0.0,
    ),
    Claim(
        "In the last 200 of 1000 pulls, epsilon-greedy with epsilon 0.1 is paid more than the greedy learner",
        "Sutton and Barto (2018), figure 2.2",
        reward("epsilon 0.1") - reward("greedy") > 0.0,
    ),
    Claim(
        "The best of ten arms pays 1.538753 on average",
        "the expected maximum of ten standard normal numbers",
        exact("expected maximum", lambda: gaussian_bandit.expected_maximum(10)).equals(1.538753, 1e-6),
    ),
)
