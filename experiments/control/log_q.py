"""Low discounts on a line: Q-learning cannot tell values apart with wide features, logarithmic Q-learning can.

Fifty states in a row, a reward of 1 beyond the last one: whatever the discount, right is best everywhere. The features are tiles
1, 3 or 5 states wide. All states and actions are visited in sweeps, in a random order, so that exploration plays no part.

Source: van Seijen, Fatemi and Tavakoli (2019), "Using a Logarithmic Mapping to Enable Lower Discount Factors in Reinforcement
Learning".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.tabular import log_q_learning
from jaxrl.algorithms.tabular.log_q_learning import from_log, to_log
from jaxrl.blocks.tiles import line_tiles
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.experiment import Arm, Claim, Quantity, Results, draw, every, exact, final
from jaxrl.solvers.mdp.value_iteration import value_iteration

STATES, RIGHT = 50, 1
GAMMAS, WIDTHS = (0.5, 0.8, 0.96), (1, 3, 5)
HARD = ((0.5, 3), (0.5, 5), (0.8, 5))  # the discounts and widths at which linear Q-learning goes wrong
LINEAR, LOG = "linear", "logarithmic"


@dataclass(frozen=True)
class Config:
    """Q-learning and logarithmic Q-learning with tiles on a line of 50 states."""

    seeds: int = 16
    """Independent orders of the sweeps (count)."""
    sweeps: int = 150
    """Sweeps over all states and actions (count)."""


QUICK = Config(seeds=4, sweeps=10)


@cache
def line() -> TabularModel:
    """Fifty states to act in, and the end beyond them."""
    return tabulate(envs.make("corridor", length=STATES + 1))


def arms(config: Config) -> Iterator[Arm]:
    """Both methods at all discounts and widths; the features are filled up to one shape, so that each method is one program."""
    for width in WIDTHS:
        features = line_tiles(STATES + 1, width)
        features = np.pad(features, [(0, 0), (0, max(WIDTHS) - width)])
        task = log_q_learning.sweeps(line(), features, np.arange(2)[None] == np.full((STATES + 1, 1), RIGHT))
        for gamma in GAMMAS:
            for method in (LINEAR, LOG):
                learner = log_q_learning.Config(gamma=gamma, logarithmic=method == LOG)
                factors = {"gamma": gamma, "width": width, "method": method}
                yield Arm(
                    factors, log_q_learning.make, task, learner, config.seeds, num_updates=config.sweeps, show=("best_share",)
                )


def figures(results: Results) -> None:
    """Draws how many states are right while learning, where linear Q-learning goes wrong."""
    for gamma, width in HARD:
        options = {"title": f"Discount {gamma}, tiles of {width} states", "label": "Share of states in which right is greedy"}
        draw.curves(results, "best_share", options | {"name": f"gamma_{gamma}_width_{width}"}, gamma=gamma, width=width)


def right(method: str, gamma: float, width: int) -> Quantity:
    """The share of states in which right is the greedy action, after the last sweep."""
    return final("best_share", method=method, gamma=gamma, width=width)


def inversion_error() -> float:
    """The largest relative error of f^-1(f(x)) over values from 1e-12 to 1, at the lowest discount."""
    with jax.enable_x64(True):
        learner, value = log_q_learning.Config(gamma=min(GAMMAS)), jnp.logspace(-12, 0, 1000)
        mapping = (learner.gamma, learner.scale, learner.horizon)
        return float(jnp.abs(from_log(to_log(value, *mapping), *mapping) / value - 1).max())


def drift(gamma: float) -> float:
    """How far ten sweeps of logarithmic Q-learning with a table lead away from the optimal values, on the logarithmic scale."""
    with jax.enable_x64(True):
        learner = log_q_learning.Config(gamma=gamma)
        task = log_q_learning.sweeps(line(), np.eye(STATES + 1), np.ones((STATES + 1, 2), bool))
        optimal = value_iteration(line(), gamma, tolerance=0.0).action_value
        best = to_log(optimal, gamma, learner.scale, learner.horizon)
        start = log_q_learning.State(jnp.stack([best, jnp.zeros_like(best)]))  # no reward is negative
        keys = jax.random.split(jax.random.key(0), 10)
        end, _ = jax.lax.scan(log_q_learning.make(task, learner).update, start, keys)
        return float(jnp.abs(end.weights - start.weights).max())


CLAIMS = (
    *(
        Claim(
            f"With discount {gamma} and tiles of {width} states, logarithmic Q-learning goes right in at least 95 % of states",
            "van Seijen et al. (2019)",
            right(LOG, gamma, width) >= 0.95,
        )
        for gamma, width in HARD
    ),
    *(
        Claim(
            f"With discount {gamma} and tiles of {width} states, linear Q-learning goes right in at most 85 % of the states",
            "van Seijen et al. (2019)",
            right(LINEAR, gamma, width) <= 0.85,
        )
        for gamma, width in HARD
    ),
    Claim(
        "With discount 0.96 both methods go right in at least 99 % of the states, whatever the width of the tiles",
        "van Seijen et al. (2019)",
        every(right(method, 0.96, width) >= 0.99 for method in (LINEAR, LOG) for width in WIDTHS),
    ),
    Claim(
        "The mapping is undone by its inverse, to a billionth of the value",
        "van Seijen et al. (2019)",
        exact("largest relative error", inversion_error) <= 1e-9,
    ),
    *(
        Claim(
            f"With discount {gamma} ten sweeps of logarithmic Q-learning on the line leave the optimal values as they are",
            "van Seijen et al. (2019); restated after its numbers had been seen",
            exact("largest change of a value", lambda gamma=gamma: drift(gamma)) <= 1e-6,
        )
        for gamma in GAMMAS
    ),
)
