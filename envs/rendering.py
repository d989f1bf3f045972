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
    empty_room,
    grid,
    hazard_grid,
    noisy_grid,
    random_maze,
    short_corridor,
    t_maze,
)
from envs.gridworlds import rendering as grids
from envs.markov_games import (
    coin_game,
    foraging,
    gathering,
    grid_game,
    ising,
    pursuit,
    simple_spread,
    soccer,
    speaker_listener,
    spread_grid,
    tag,
)
from envs.markov_games import rendering as games
from jaxrl.core.environment import Environment, PyTree
from jaxrl.errors import EnvError

# Type of the parameters -> (state, params) -> picture.
RENDERERS: dict[type, Callable[[Any, Any], np.ndarray]] = {
    blocking_maze.Params: grids.blocking,
    catch.Params: grids.catch_board,
    coin_game.Params: games.coins,
    corridor.Params: grids.corridor_row,
    deep_sea.Params: grids.sea,
    doorkey.Params: grids.key_and_door,
    empty_room.Params: grids.bare_room,
    foraging.Params: games.forage,
    gathering.Params: games.orchard,
    grid.Walk: grids.walk,
    grid_game.Params: games.race,
    hazard_grid.Params: grids.walk,
    ising.Params: games.spins,
    noisy_grid.Params: grids.noisy,
    point_maze.Params: grids.point_in_maze,
    pursuit.Params: games.hunt,
    random_maze.Params: grids.maze,
    short_corridor.Params: grids.alike,
    simple_spread.Params: games.particles,
    soccer.Params: games.field,
    speaker_listener.Params: games.particles,
    spread_grid.Params: games.covering,
    t_maze.Params: grids.t_junction,
    tag.Params: games.particles,
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
        EnvError: there are no pictures of it.
    """
    if not can_render(env):
        kind = f"{type(env.params).__module__}.{type(env.params).__qualname__}"
        fix = "Add a function (state, params) -> uint8[H, W, 3] to envs.rendering.RENDERERS."
        raise EnvError(f"render: the environment must have pictures, got parameters of type {kind}. {fix}")
    state, params = jax.tree.map(np.asarray, (state, env.params))
    return RENDERERS[type(env.params)](state, params)
