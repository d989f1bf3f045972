"""Environments. ``make(name, **parameters)`` builds one by name; scripts may as well import its factory."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from envs.control import cartpole, lqr, pendulum
from envs.gridworlds import cliff_walking, corridor, four_rooms, frozen_lake, t_maze
from envs.matrix_games import matrix_game
from jaxrl.env import Environment
from jaxrl.errors import unknown_name

REGISTRY: dict[str, Callable[..., Environment]] = {
    "cartpole": cartpole.make,
    "cliff_walking": cliff_walking.make,
    "corridor": corridor.make,
    "four_rooms": four_rooms.make,
    "frozen_lake": frozen_lake.make,
    "frozen_lake_8x8": functools.partial(frozen_lake.make, map="8x8"),
    "lqr": lqr.make,
    "pendulum": pendulum.make,
    "prisoners_dilemma": matrix_game.prisoners_dilemma,
    "t_maze": t_maze.make,
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
