"""Environments. ``make(name, **parameters)`` builds one by name; scripts may as well import its factory."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from envs.bandits import contextual_bandit
from envs.control import cartpole, lqr, pendulum
from envs.gridworlds import catch, cliff_walking, corridor, deep_sea, four_rooms, frozen_lake, noisy_grid, reward_grid, t_maze
from envs.markov_games import coin_game, pursuit, simple_spread, soccer
from envs.matrix_games import bar_game, named
from envs.matrix_games.matrix_game import make as matrix_game
from envs.trading import binomial_market, execution, gaussian_portfolio, single_asset
from jaxrl.env import Environment
from jaxrl.errors import unknown_name

REGISTRY: dict[str, Callable[..., Environment]] = {
    "bar_game": bar_game.make,
    "battle_of_the_sexes": functools.partial(matrix_game, named.BATTLE_OF_THE_SEXES),
    "binomial_market": binomial_market.make,
    "blotto": named.blotto,
    "cartpole": cartpole.make,
    "catch": catch.make,
    "chicken": functools.partial(matrix_game, named.CHICKEN),
    "cliff_walking": cliff_walking.make,
    "climb": functools.partial(matrix_game, named.CLIMB),
    "coin_game": coin_game.make,
    "contextual_bandit": contextual_bandit.make,
    "corridor": corridor.make,
    "deep_sea": deep_sea.make,
    "execution": execution.make,
    "four_rooms": four_rooms.make,
    "frozen_lake": frozen_lake.make,
    "frozen_lake_8x8": functools.partial(frozen_lake.make, map="8x8"),
    "gaussian_portfolio": gaussian_portfolio.make,
    "lqr": lqr.make,
    "matching_pennies": functools.partial(matrix_game, named.MATCHING_PENNIES),
    "noisy_grid": noisy_grid.make,
    "penalty": named.penalty,
    "pendulum": pendulum.make,
    "prisoners_dilemma": functools.partial(matrix_game, named.PRISONERS_DILEMMA),
    "pure_coordination": functools.partial(matrix_game, named.PURE_COORDINATION),
    "pursuit": pursuit.make,
    "reward_grid": reward_grid.make,
    "rock_paper_scissors": functools.partial(matrix_game, named.ROCK_PAPER_SCISSORS),
    "rock_paper_scissors_lizard_spock": functools.partial(matrix_game, named.ROCK_PAPER_SCISSORS_LIZARD_SPOCK),
    "shapley": functools.partial(matrix_game, named.SHAPLEY),
    "simple_spread": simple_spread.make,
    "single_asset": single_asset.make,
    "single_asset_continuous": functools.partial(single_asset.make, weights=None),
    "soccer": soccer.make,
    "stag_hunt": functools.partial(matrix_game, named.STAG_HUNT),
    "t_maze": t_maze.make,
    "weighted_rock_paper_scissors": functools.partial(matrix_game, named.WEIGHTED_ROCK_PAPER_SCISSORS),
}


def make(name: str, **parameters: Any) -> Environment:
    """Builds the environment of this name.

    Args:
        name: a key of ``REGISTRY``.
        **parameters: what its factory takes; the rest keeps its default.

    Raises:
        UnknownNameError: no environment, or no parameter of it, has this name.
        ConfigError: a parameter is out of range.
    """
    if name not in REGISTRY:
        raise unknown_name("envs.make", "environment", name, REGISTRY)
    factory = REGISTRY[name]
    known = inspect.signature(factory).parameters
    for parameter in parameters:
        if parameter not in known:
            raise unknown_name(f"envs.make({name!r})", "parameter", parameter, known)
    return factory(**parameters)
