"""Value decomposition: which games a sum of the agents' values can hold, a monotonic mixture, and neither.

Source: Sunehag et al. (2018), Value-decomposition networks; Rashid et al. (2018), QMIX, section 5; the games of Claus and
Boutilier (1998).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.markov_games import spread_grid, two_step
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.multiagent import madqn
from jaxrl.core.environment import Environment
from jaxrl.evaluation import Episodes, GreedyActions, TeamReturn
from jaxrl.experiment import Arm, Claim, Quantity, Results, area, derived, draw, final, largest
from jaxrl.report import game_figures

IQL, VDN, QMIX = "independent", "VDN", "QMIX"
MIXERS = {IQL: "none", VDN: "sum", QMIX: "monotonic"}
TWO_STEP, CLIMB, PENALTY, SPREAD = "two-step game", "climb", "penalty", "spread grid"
# Data of uniform actions, all of them kept, and ever smaller steps: what is left is what a mixer can represent. Chosen on root 1.
FITTED = madqn.Config(
    learning_rate=1e-3,
    epsilon_end=1.0,
    agent_ids=True,
    batch_size=512,
    buffer_size=200_000,
    num_envs=16,
    learning_starts=2_048,
    target_interval=100,
)
LEARNED = madqn.Config(learning_rate=5e-4, agent_ids=True, epsilon_steps=100_000.0, target_interval=200)


@dataclass(frozen=True)
class Config:
    """Independent learners, VDN and QMIX in three small games and on a grid."""

    seeds: int = 10
    """Teams of each kind in each game (count)."""
    fit_steps: int = 160_000
    """Environment steps of each team in the small games, a gradient step for every 16 (count)."""
    env_steps: int = 200_000
    """Environment steps of each team on the grid (count)."""


QUICK = Config(seeds=2, fit_steps=4_000, env_steps=2_000)


def arms(config: Config) -> Iterator[Arm]:
    """Every mixer in the two-step game and on the grid, VDN in climb and penalty."""
    fitted = replace(FITTED, anneal_updates=config.fit_steps / FITTED.steps_per_update)

    def arm(game: str, env: Environment, learner: str, algorithm: madqn.Config, steps: int, evaluator: Any, shown: str) -> Arm:
        settings, factors = replace(algorithm, mixer=MIXERS[learner]), {"game": game, "learner": learner}
        seen = {"evaluators": (evaluator,), "show": (shown,)}
        return Arm(factors, madqn.make, env, settings, config.seeds, env_steps=steps, **seen)

    game, grid = two_step.make(), spread_grid.make()
    for learner in MIXERS:
        yield arm(TWO_STEP, game, learner, fitted, config.fit_steps, TeamReturn.of(game), "greedy_exact_return")
    for name in (CLIMB, PENALTY):
        table = named.TABLES[name]
        yield arm(name, matrix_game.make(table), VDN, fitted, config.fit_steps, GreedyActions(table), "td_error")
    for learner in MIXERS:
        yield arm(SPREAD, grid, learner, LEARNED, config.env_steps, Episodes(grid, num_episodes=32), "greedy_return")


def fit(results: Results) -> np.ndarray:
    """Returns the sums of both agents' values in game B of the two-step game, float[S, 2, 2]."""
    team, obs = madqn.Team(two_step.make(), replace(FITTED, mixer="sum")), jnp.full((1, 2), two_step.B)
    params = results.states(game=TWO_STEP, learner=VDN).params
    values = jax.vmap(lambda one: team.values(one, obs, None)[0])(params)
    return np.asarray(values[:, 0, :, None] + values[:, 1, None, :])


def figures(results: Results) -> None:
    """Draws returns in the two-step game and on the grid over time, and the table that VDN fits."""
    draw.curves(results, "greedy_exact_return", {"title": "Two-step game, uniform data"}, game=TWO_STEP)
    draw.curves(results, "greedy_return", {"title": "Spread on a grid"}, game=SPREAD)
    joint = list(np.ndindex(2, 2))
    heights = {"game B": [two_step.RISKY[i][j] for i, j in joint], "fit of VDN": [fit(results).mean(0)[one] for one in joint]}
    game_figures.bars(
        results.directory,
        "fit",
        heights,
        [f"{i}, {j}" for i, j in joint],
        "Value of the team (reward units)",
        x_label="Actions of the first and the second agent",
        title="A sum of two values cannot hold game B",
    )


def misses() -> Quantity:
    """How far the fit is from that of least squares, the largest entry of each team."""
    return derived("largest error of the fit", lambda results: np.abs(fit(results) - [[-1.5, 2.5], [2.5, 6.5]]).max((1, 2)))


CLAIMS = (
    Claim(
        "VDN fits game B of the two-step game by -1.5, 2.5, 2.5 and 6.5, within 0.1 in every team",
        "least squares on uniform data",
        largest(misses()) <= 0.1,
    ),
    *(
        Claim(
            f"{learner} earns {earned} in the two-step game, in every team",
            "Rashid et al. (2018), section 5",
            largest(abs(final("greedy_exact_return", game=TWO_STEP, learner=learner) - earned)) <= 1e-3,
        )
        for learner, earned in ((VDN, 7), (QMIX, 8))
    ),
    *(
        Claim(
            f"VDN takes the joint action ({'abc'[action]}, {'abc'[action]}) of {name}, in every team",
            "least squares on uniform data: the largest sum of a row mean and a column mean",
            largest(
                abs(final("greedy_action_0", game=name, learner=VDN) - action)
                + abs(final("greedy_action_1", game=name, learner=VDN) - action)
            )
            <= 0,
        )
        for name, action in ((CLIMB, 2), (PENALTY, 1))
    ),
    Claim(
        "On the grid VDN earns more than independent learners while it learns",
        "Sunehag et al. (2018)",
        area("greedy_return", game=SPREAD, learner=VDN) > area("greedy_return", game=SPREAD, learner=IQL),
    ),
    Claim(
        "On the grid QMIX earns at least as much as VDN while it learns",
        "Rashid et al. (2018)",
        area("greedy_return", game=SPREAD, learner=QMIX) >= area("greedy_return", game=SPREAD, learner=VDN),
    ),
)
