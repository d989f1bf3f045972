"""Spaces and values on their way between jaxrl and gymnasium."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.environment import PyTree
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Tuple, map_parts
from jaxrl.errors import ConfigError, SpaceError, require

if TYPE_CHECKING:
    import gymnasium

Render = Callable[[PyTree], np.ndarray]  # one state -> uint8[H, W, 3]
RENDER_FPS = 10  # what recorders of frames are told; the environments have no seconds


def to_space(space: Space) -> "gymnasium.Space[Any]":
    """Returns the space of gymnasium with the same values: the bounds and the dtype of a Box stay, discrete ones become int64."""
    from gymnasium import spaces

    if isinstance(space, Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, MultiDiscrete):
        return spaces.MultiDiscrete(list(space.nvec))
    if isinstance(space, Box):
        return spaces.Box(_bound(space, space.low), _bound(space, space.high), space.shape, np.dtype(space.dtype).type)
    if isinstance(space, Tuple):
        return spaces.Tuple([to_space(item) for item in space.items])
    return spaces.Dict({name: to_space(item) for name, item in space.items})


def from_space(where: str, space: Any) -> Space:
    """Returns our space for one of gymnasium or gymnax, which is known by its attributes.

    Boxes of real numbers become float32, those of integers int32.

    Raises:
        SpaceError: it, or a space in it, is none of Discrete, MultiDiscrete, Box, Tuple and Dict, or counts from another number
            than 0.
    """
    inner = getattr(space, "spaces", None)
    if isinstance(inner, Mapping):
        return Dict.of(**{name: from_space(f"{where}[{name!r}]", item) for name, item in inner.items()})
    if isinstance(inner, Sequence):
        return Tuple(tuple(from_space(f"{where}[{place}]", item) for place, item in enumerate(inner)))
    first = np.asarray(getattr(space, "start", 0))
    must, fix = "choices must be counted from 0", "Shift them by a wrapper."
    require(not first.any(), where, must, first.tolist(), fix, SpaceError)
    if np.ndim(getattr(space, "nvec", 0)) == 1:
        return MultiDiscrete(tuple(int(n) for n in space.nvec))
    if hasattr(space, "n") and tuple(getattr(space, "shape", None) or ()) == ():
        return Discrete(int(space.n))
    known = all(hasattr(space, name) for name in ("low", "high", "shape"))
    must, fix = "a space must be Discrete, MultiDiscrete, Box, Tuple or Dict", "Build it of these."
    require(known, where, must, space, fix, SpaceError)
    shape = tuple(int(size) for size in space.shape)
    real = np.issubdtype(np.dtype(getattr(space, "dtype", np.float32)), np.floating)
    return Box(_number_or_nested(space.low), _number_or_nested(space.high), shape, jnp.float32 if real else jnp.int32)


def _number_or_nested(bound: Any) -> Any:
    """Returns bounds as a number, or as nested tuples where they differ; what only float32 bounds counts as infinite."""
    array = np.asarray(bound, np.float64)
    array = np.where(np.abs(array) >= np.finfo(np.float32).max, np.copysign(np.inf, array), array)
    return float(array.flat[0]) if np.unique(array).size == 1 else _nested(array.tolist())


def _nested(value: Any) -> Any:
    return tuple(map(_nested, value)) if isinstance(value, list) else value


def _bound(space: Box, bound: Any) -> np.ndarray:
    """Returns a bound of each entry; an infinite one of integers stays a float, of which gymnasium makes the dtype's last."""
    whole = np.array(np.broadcast_to(bound, space.shape))
    return whole.astype(space.dtype) if np.dtype(space.dtype).kind == "f" or np.isfinite(whole).all() else whole


def to_host(space: Space, value: PyTree) -> Any:
    """Returns a value as arrays that belong to the reader alone, with the dtypes of ``to_space(space)``.

    Args:
        space: of one environment or agent.
        value: on the host, with any leading batch axes; without them a Discrete one becomes a number.
    """
    return map_parts(_part_to_host, space, value)


def _part_to_host(space: Any, value: Any) -> Any:
    if isinstance(space, Box):
        return np.array(value, space.dtype)
    return np.array(value, np.int64) if np.ndim(value) else np.int64(value)


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


def to_mask(space: Space, mask: PyTree) -> Any:
    """Returns an action mask as ``to_space(space).sample(mask=...)`` takes it, 1 = legal.

    It is int8[..., A] for a Discrete space and a tuple of such arrays, one for each choice, for a MultiDiscrete space. A nested
    space has them in its structure, with None where nothing is masked.
    """
    return map_parts(_part_to_mask, space, mask)


def _part_to_mask(space: Any, mask: Any) -> Any:
    if mask is None:
        return None
    array = np.array(mask, np.int8)
    if not isinstance(space, MultiDiscrete):
        return array
    return tuple(row.copy() for row in np.split(array, np.cumsum(space.nvec)[:-1], axis=-1))


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
        return {name: to_action(where, item, action[name], batch) for name, item in space.items}
    if isinstance(space, Tuple):
        count = len(space.items)
        whole = isinstance(action, tuple) and len(action) == count
        require(whole, where, f"the action must be a tuple of {count} items", action, "Give one for each space.", SpaceError)
        return tuple(to_action(where, item, part, batch) for item, part in zip(space.items, action, strict=True))
    array, shape = np.asarray(action), (*batch, *space.shape)
    require(array.shape == shape, where, f"the action must have shape {shape}", array.shape, "Reshape it.", SpaceError)
    if not isinstance(space, Box):
        counts = space.n if isinstance(space, Discrete) else np.array(space.nvec)
        inside = array.dtype.kind in "iu" and bool(np.all((array >= 0) & (array < counts)))
        must, fix = f"an action must be an integer from 0 to {counts - 1}", "Draw it from action_space."
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
