"""Environments. ``make(name, **parameters)`` builds one by name; scripts may as well import its factory."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from envs.bandits import (
    bernoulli_bandit,
    contextual_bandit,
    contextual_dueling_bandit,
    dueling_bandit,
    gaussian_bandit,
    linear_bandit,
    linear_dynamical_bandit,
    restless_bandit,
)
from envs.control import acrobot, cartpole, lqr, mountain_car, pendulum, point_maze
from envs.gridworlds import (
    blocking_maze,
    catch,
    cliff_walking,
    corridor,
    deep_sea,
    doorkey,
    dyna_maze,
    four_rooms,
    frozen_lake,
    gridworld,
    hazard_grid,
    noisy_grid,
    random_maze,
    reward_grid,
    short_corridor,
    t_maze,
    windy_grid,
)
from envs.markov_games import coin_game, pursuit, simple_spread, soccer
from envs.matrix_games import bar_game, named
from envs.matrix_games.matrix_game import make as matrix_game
from envs.random_mdps import random_mdp
from envs.trading import binomial_market, execution, gaussian_portfolio, option_hedging, single_asset
from jaxrl.env import Environment
from jaxrl.errors import unknown_name

REGISTRY: dict[str, Callable[..., Environment]] = {
    "acrobot": acrobot.make,
    "bandit_testbed": gaussian_bandit.make_testbed,
    "bar_game": bar_game.make,
    "battle_of_the_sexes": functools.partial(matrix_game, named.BATTLE_OF_THE_SEXES),
    "bernoulli_bandit": bernoulli_bandit.make,
    "binomial_market": binomial_market.make,
    "blocking_maze": blocking_maze.make,
    "blotto": named.blotto,
    "cartpole": cartpole.make,
    "catch": catch.make,
    "chicken": functools.partial(matrix_game, named.CHICKEN),
    "cliff_walking": cliff_walking.make,
    "climb": functools.partial(matrix_game, named.CLIMB),
    "coin_game": coin_game.make,
    "contextual_bandit": contextual_bandit.make,
    "contextual_dueling_bandit": contextual_dueling_bandit.make,
    "corridor": corridor.make,
    "deep_sea": deep_sea.make,
    "doorkey": doorkey.make,
    "dyna_maze": dyna_maze.make,
    "driven_bandit": linear_dynamical_bandit.make_driven,
    "dueling_bandit": dueling_bandit.make,
    "execution": execution.make,
    "four_rooms": four_rooms.make,
    "frozen_lake": frozen_lake.make,
    "frozen_lake_8x8": functools.partial(frozen_lake.make, map="8x8"),
    "garnet": functools.partial(random_mdp.make, "garnet"),
    "gaussian_bandit": gaussian_bandit.make,
    "gaussian_portfolio": gaussian_portfolio.make,
    "gridworld": gridworld.make,
    "hazard_grid": hazard_grid.make,
    "linear_bandit": linear_bandit.make,
    "linear_dynamical_bandit": linear_dynamical_bandit.make,
    "lqr": lqr.make,
    "matching_pennies": functools.partial(matrix_game, named.MATCHING_PENNIES),
    "mountain_car": mountain_car.make,
    "mountain_car_continuous": mountain_car.make_continuous,
    "noisy_grid": noisy_grid.make,
    "option_hedging": option_hedging.make,
    "penalty": named.penalty,
    "pendulum": pendulum.make,
    "point_maze": point_maze.make,
    "prisoners_dilemma": functools.partial(matrix_game, named.PRISONERS_DILEMMA),
    "pure_coordination": functools.partial(matrix_game, named.PURE_COORDINATION),
    "pursuit": pursuit.make,
    "random_maze": random_maze.make,
    "random_mdp": random_mdp.make,
    "random_walk_bandit": gaussian_bandit.make_random_walk,
    "restless_bandit": restless_bandit.make,
    "restless_bandit_by_priority": restless_bandit.make_by_priority,
    "reversible_mdp": functools.partial(random_mdp.make, "reversible"),
    "reward_grid": reward_grid.make,
    "rock_paper_scissors": functools.partial(matrix_game, named.ROCK_PAPER_SCISSORS),
    "rock_paper_scissors_lizard_spock": functools.partial(matrix_game, named.ROCK_PAPER_SCISSORS_LIZARD_SPOCK),
    "shapley": functools.partial(matrix_game, named.SHAPLEY),
    "short_corridor": short_corridor.make,
    "simple_spread": simple_spread.make,
    "single_asset": single_asset.make,
    "single_asset_continuous": functools.partial(single_asset.make, weights=None),
    "soccer": soccer.make,
    "stag_hunt": functools.partial(matrix_game, named.STAG_HUNT),
    "symmetric_mdp": functools.partial(random_mdp.make, "symmetric"),
    "t_maze": t_maze.make,
    "weighted_rock_paper_scissors": functools.partial(matrix_game, named.WEIGHTED_ROCK_PAPER_SCISSORS),
    "windy_grid": windy_grid.make,
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
