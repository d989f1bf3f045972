"""Spaces and values on their way between jaxrl and gymnasium."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxrl.core.environment import PyTree
from jaxrl.core.spaces import Box, Dict, Discrete, Space
from jaxrl.errors import ConfigError, SpaceError, require

if TYPE_CHECKING:
    import gymnasium

Render = Callable[[PyTree], np.ndarray]  # one state -> uint8[H, W, 3]
RENDER_FPS = 10  # what recorders of frames are told; the environments have no seconds


def to_space(space: Space) -> "gymnasium.Space[Any]":
    """Returns the space of gymnasium with the same values: the bounds and the dtype of a Box stay, a Discrete becomes int64."""
    from gymnasium import spaces

    if isinstance(space, Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, Box):
        return spaces.Box(_bound(space, space.low), _bound(space, space.high), space.shape, np.dtype(space.dtype).type)
    return spaces.Dict({name: to_space(part) for name, part in space.items})


def _bound(space: Box, bound: Any) -> np.ndarray:
    """Returns a bound of each entry; an infinite one of integers stays a float, of which gymnasium makes the dtype's last."""
    whole = np.array(np.broadcast_to(bound, space.shape))
    return whole.astype(space.dtype) if np.dtype(space.dtype).kind == "f" or np.isfinite(whole).all() else whole


def to_host(space: Space, value: PyTree) -> Any:
    """Returns an observation as arrays that belong to the reader alone, with the dtypes of ``to_space(space)``.

    Args:
        space: of one environment or agent.
        value: on the host, with any leading batch axes; without them a Discrete one becomes a number.
    """
    if isinstance(space, Dict):
        return {name: to_host(part, value[name]) for name, part in space.items}
    if isinstance(space, Discrete):
        return np.array(value, np.int64) if np.ndim(value) else np.int64(value)
    return np.array(value, space.dtype)


def fetch(tree: PyTree) -> Any:
    """Returns the arrays on the host, read-only."""
    if jax.default_backend() != "cpu":  # where a copy takes a while, all of them start before the first is waited for
        return jax.device_get(tree)
    return jax.tree.map(np.asarray, tree)


def row(tree: PyTree, i: int) -> PyTree:
    """Returns one environment, or one agent, of those on the leading axis."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def to_info(info: dict) -> dict[str, Any]:
    """Returns the info of one step on the host: numbers for single entries, for the others arrays that are the reader's own."""
    return {name: to_info(value) if isinstance(value, dict) else _entry(value) for name, value in info.items()}


def _entry(value: Any) -> Any:
    array = np.array(value)
    if array.ndim:
        return array
    return bool(array) if array.dtype == np.bool_ else array[()]


def to_mask(mask: Any) -> np.ndarray:
    """Returns an action mask as ``gymnasium.spaces.Discrete.sample(mask=...)`` takes it, int8[..., A], 1 = legal."""
    return np.array(mask, np.int8)


def to_action(where: str, space: Space, action: Any, batch: tuple[int, ...] = ()) -> Any:
    """Returns an action for the environment, with its own dtypes.

    Args:
        where: who asks.
        space: of one action.
        action: of any dtype of the same kind.
        batch: its leading axes.

    Raises:
        SpaceError: it has another shape or lies outside its space. On the device no error would be raised.
    """
    if isinstance(space, Dict):
        named = isinstance(action, dict) and set(action) == {name for name, _ in space.items}
        require(named, where, f"the action must be a dict of {[n for n, _ in space.items]}", action, "Name each.", SpaceError)
        return {name: to_action(where, part, action[name], batch) for name, part in space.items}
    array, shape = np.asarray(action), (*batch, *space.shape)
    require(array.shape == shape, where, f"the action must have shape {shape}", array.shape, "Reshape it.", SpaceError)
    if isinstance(space, Discrete):
        inside = array.dtype.kind in "iu" and bool(np.all((array >= 0) & (array < space.n)))
        must, fix = f"an action must be an integer from 0 to {space.n - 1}", "Draw it from action_space."
        require(inside, where, must, action, fix, SpaceError)
        return array.astype(np.int32)
    array = array if space.integer else array.astype(space.dtype)
    inside = bool(np.all((array >= _bound(space, space.low)) & (array <= _bound(space, space.high))))
    inside &= not space.integer or bool(np.all(array == np.floor(array)))
    must, fix = f"an action must lie in {space}", "gymnasium.wrappers.ClipAction cuts what a policy draws to the bounds."
    require(inside, where, must, action, fix, SpaceError)
    return array.astype(space.dtype)


def rendering(where: str, render_mode: str | None, render: Render | None) -> dict[str, Any]:
    """Returns the entries of ``metadata`` that say how an environment is drawn.

    Raises:
        ConfigError: it cannot be drawn in this mode.
    """
    modes = [] if render is None else ["rgb_array"]
    known = render_mode in (None, "rgb_array")
    require(known, where, "render_mode must be None or 'rgb_array'", render_mode, "Show the frames yourself.", ConfigError)
    fix = "Pass what draws a state, for example render=functools.partial(envs.rendering.render, env)."
    require(render_mode is None or bool(modes), where, "render must be given with render_mode='rgb_array'", render, fix)
    return {"render_modes": modes, "render_fps": RENDER_FPS}
