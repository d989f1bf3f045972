"""A person teaches a grid world a goal that the environment does not show: the loop of preferences waits for your own answers.

Every round shows pairs of short films of the present policy on an empty 5x5 grid, and fits a tabular reward to all answers so
far; tabular Q-learning improves the policy on it. With ``--answers people`` the run ends whenever pairs wait: answer them by
``jaxrl label own_answers`` and go on by ``jaxrl resume own_answers``. Teach whatever you like, such as "go to the corner at the
lower right". With ``--answers script`` a perfect judge answers at once by that goal: the nearer to this corner, the better.

Source: Christiano et al. (2017), sections 2.2.2 and 3.2 (new behaviour from a person's answers); the grid and the bar are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

import envs
from envs.rendering import render
from jaxrl.algorithms.preferences import reward_fitting, rlhf
from jaxrl.algorithms.preferences.metrics import NormalisedReturn, PolicyRegret
from jaxrl.algorithms.preferences.people import People, Scripted
from jaxrl.algorithms.preferences.reward_models import Tabular
from jaxrl.algorithms.tabular import q_learning
from jaxrl.experiment import Arm, Claim, Results, draw, final

GAMMA, SIZE = 0.9, 5


@dataclass(frozen=True)
class Config:
    """The loop on a 5x5 grid."""

    answers: Literal["script", "people"] = "script"
    """Who answers: a judge who knows the goal, or people."""
    raters: int = 1
    """With people: how many are to answer each pair (count)."""
    seeds: int = 64
    """With the script: independent runs of the loop (count). With people there is one."""
    rounds: int = 6
    """Rounds of questions (count)."""
    queries: int = 12
    """Pairs in each round (count), of as many films of 8 steps."""


QUICK = Config(seeds=2, rounds=2, queries=3)


def arms(config: Config) -> Iterator[Arm]:
    """The loop, one update more than it has rounds: the last one learns from the last answers."""
    rows, columns = np.divmod(np.arange(SIZE * SIZE), SIZE)
    pays = (rows + columns) / (2 * SIZE - 2) - 1.0  # minus the steps to the corner, of the most that there are
    env = envs.make("reward_grid", rows=SIZE, columns=SIZE, rewards=tuple(pays.tolist()))
    shown = envs.make("reward_grid", rows=SIZE, columns=SIZE, rewards=(0.0,) * SIZE**2)  # its pictures hide what pays
    model = Tabular.of(env, reads=("next_obs",))
    regret, by_people = PolicyRegret.of(env, model, GAMMA), config.answers == "people"
    yield Arm(
        {"answers": config.answers},
        rlhf.make,
        env,
        rlhf.Config(
            reward_fitting.Config(model, learning_rate=0.05, weight_decay=1e-3, num_epochs=40, num_minibatches=1),
            q_learning.Config(gamma=GAMMA, learning_rate=0.2, learning_rate_half_life=np.inf, epsilon=0.4, num_envs=4),
            q_learning.make,
            labeller=None,
            num_rounds=config.rounds + 1,
            num_segments=config.queries,
            segment_length=8,
            num_queries=config.queries,
            learner_updates=20,
        ),
        seeds=1 if by_people else config.seeds,
        num_updates=config.rounds + 1,
        evaluators=(NormalisedReturn(regret), regret),
        show=("labelled", "reward_accuracy"),
        chunk_length=1,
        between=partial(People, picture=partial(render, shown), raters=config.raters) if by_people else Scripted,
    )


def figures(results: Results) -> None:
    """Draws how near the policy and the optimal policy of the learned reward come to the scripted goal, over the answers."""
    asked = results.values("labelled")[0]
    lines = {}
    for name, metric in (("policy", "greedy_normalised_return"), ("reward", "normalised_return")):
        found = results.curves(metric)
        lines[name] = asked[found.updates], found.values
    note = "0 is the uniform policy, 1 the best at going to the lower right corner. Reward: its optimal policy."
    draw.relation(results, "return_by_answers", lines, "Answers", "Normalised return", level=1.0, note=note)


CLAIMS = (
    Claim(
        "On a 5x5 grid the greedy policy of a loop that waits for answers between its updates has a normalised return of at "
        "least 0.8 after 72 answers of a perfect judge, on average over 64 seeds",
        "after Christiano et al. (2017); the bar is ours",
        final("greedy_normalised_return") >= 0.8,
    ),
)
