"""Pictures of environments: ``render(env, state)``. The library knows nothing of them; they are found by the parameters' type."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from envs.control import point_maze
from envs.gridworlds import (
    blocking_maze,
    catch,
    corridor,
    deep_sea,
    doorkey,
    grid,
    hazard_grid,
    noisy_grid,
    random_maze,
    short_corridor,
    t_maze,
)
from envs.gridworlds import rendering as grids
from envs.markov_games import coin_game, pursuit, simple_spread, soccer
from envs.markov_games import rendering as games
from jaxrl.env import Environment, PyTree
from jaxrl.errors import EnvironmentError

# Type of the parameters -> (state, params) -> picture.
RENDERERS: dict[type, Callable[[Any, Any], np.ndarray]] = {
    blocking_maze.Params: grids.blocking,
    catch.Params: grids.catch_board,
    coin_game.Params: games.coins,
    corridor.Params: grids.corridor_row,
    deep_sea.Params: grids.sea,
    doorkey.Params: grids.key_and_door,
    grid.Walk: grids.walk,
    hazard_grid.Params: grids.walk,
    noisy_grid.Params: grids.noisy,
    point_maze.Params: grids.point_in_maze,
    pursuit.Params: games.hunt,
    random_maze.Params: grids.maze,
    short_corridor.Params: grids.alike,
    simple_spread.Params: games.particles,
    soccer.Params: games.field,
    t_maze.Params: grids.t_junction,
}


def can_render(env: Environment) -> bool:
    """Returns whether there are pictures of this environment."""
    return type(env.params) in RENDERERS


def render(env: Environment, state: PyTree) -> np.ndarray:
    """Returns a picture of one state, uint8[H, W, 3].

    Args:
        env: the environment, not transformed (a changed reward or observation looks the same: pass the one underneath).
        state: one state, without a batch axis.

    Raises:
        EnvironmentError: there are no pictures of it.
    """
    if not can_render(env):
        kind = f"{type(env.params).__module__}.{type(env.params).__qualname__}"
        fix = "Add a function (state, params) -> uint8[H, W, 3] to envs.rendering.RENDERERS."
        raise EnvironmentError(f"render: the environment must have pictures, got parameters of type {kind}. {fix}")
    state, params = jax.tree.map(np.asarray, (state, env.params))
    return RENDERERS[type(env.params)](state, params)
