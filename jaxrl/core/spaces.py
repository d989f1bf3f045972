"""Spaces: what an observation or an action looks like. Frozen and hashable, so that they can be static fields.

``Discrete``, ``MultiDiscrete`` and ``Box`` hold arrays. ``Tuple`` and ``Dict`` nest spaces: their values are tuples and dicts of
values. The *parts* of a nested space are the spaces of arrays in it, at any depth, in the order in which jax flattens values; a
space of arrays is its own only part. ``contains``, ``sample`` and ``flatten`` work on values with any number of leading batch
axes. The legal actions of a space are the subject of ``jaxrl.core.masks``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import SpaceError, require


@dataclass(frozen=True)
class Discrete:
    """The integers 0 .. n-1, as int32[]."""

    n: int

    def __post_init__(self):
        require(int(self.n) >= 1, "Discrete", "n must be at least 1", self.n, "Count the choices.", SpaceError)

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dtype(self):
        return jnp.int32

    def sample(self, key: jax.Array) -> jax.Array:
        """Returns a uniform draw, int32[]."""
        return jax.random.randint(key, (), 0, self.n, dtype=jnp.int32)

    def contains(self, value: Any) -> jax.Array:
        """Returns whether every entry of ``value`` is an integer in range, bool[]."""
        value = jnp.asarray(value)
        if not jnp.issubdtype(value.dtype, jnp.integer):
            return jnp.bool_(False)
        return jnp.all((value >= 0) & (value < self.n))


@dataclass(frozen=True)
class MultiDiscrete:
    """D choices side by side, as int32[D]: entry d is one of the integers 0 .. nvec[d]-1."""

    nvec: tuple[int, ...]

    def __post_init__(self):
        must, fix = "nvec must name at least one count, each an integer of at least 1", "(2, 3) has a choice of 2 and one of 3."
        counts = np.asarray(self.nvec)
        whole = counts.ndim == 1 and counts.size > 0 and counts.dtype.kind in "iu" and bool(np.all(counts >= 1))
        require(whole, "MultiDiscrete", must, self.nvec, fix, SpaceError)
        object.__setattr__(self, "nvec", tuple(counts.tolist()))  # an array or a list would not be hashable

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.nvec),)

    @property
    def dtype(self):
        return jnp.int32

    def sample(self, key: jax.Array) -> jax.Array:
        """Returns a uniform draw, int32[D]."""
        return jax.random.randint(key, self.shape, 0, np.array(self.nvec, np.int32), dtype=jnp.int32)

    def contains(self, value: Any) -> jax.Array:
        """Returns whether ``value`` has D integers (after batch axes), each in its range, bool[]."""
        value = jnp.asarray(value)
        if value.shape[-1:] != self.shape or not jnp.issubdtype(value.dtype, jnp.integer):
            return jnp.bool_(False)
        return jnp.all((value >= 0) & (value < jnp.asarray(self.nvec)))

    def rows(self, flat: jax.Array, fill: Any) -> jax.Array:
        """Turns what stands side by side for all choices into a row for each.

        Args:
            flat: [..., sum(nvec)], an entry for every integer of the first choice, then of the second, and so on.
            fill: the entries of a row beyond the integers of its choice.

        Returns:
            [..., D, max(nvec)], in the dtype of ``flat``.
        """
        widest, pieces = max(self.nvec), jnp.split(flat, np.cumsum(self.nvec)[:-1], axis=-1)
        batch = [(0, 0)] * (flat.ndim - 1)
        padded = (jnp.pad(row, [*batch, (0, widest - n)], constant_values=fill) for n, row in zip(self.nvec, pieces, strict=True))
        return jnp.stack(list(padded), axis=-2)


@dataclass(frozen=True)
class Box:
    """Arrays of one shape between ``low`` and ``high`` (numbers, or nested tuples of ``shape``; infinite is allowed).

    With an integer ``dtype`` they hold the integers from ``low`` to ``high``, both included.
    """

    low: Any
    high: Any
    shape: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    def __post_init__(self):
        try:
            low, high = np.broadcast_to(self.low, self.shape), np.broadcast_to(self.high, self.shape)
        except ValueError as error:
            raise SpaceError(f"Box: low and high must broadcast to shape {self.shape}. Check their lengths.") from error
        require(bool(np.all(low <= high)), "Box", "low must not exceed high", (self.low, self.high), "Swap them.", SpaceError)
        must, fix = "dtype must be a floating or an integer type", "Use jnp.float32, jnp.int32 or jnp.uint8."
        require(np.dtype(self.dtype).kind in "iuf" or self.dtype == jnp.bfloat16, "Box", must, self.dtype, fix, SpaceError)
        if self.integer:
            low, high = self.integers()
            must = "there must be an integer between low and high"
            require(bool(np.all(low <= high)), "Box", must, (self.low, self.high), "Widen them.", SpaceError)

    @property
    def bounded(self) -> bool:
        """Whether every bound is finite."""
        return bool(np.all(np.isfinite(self.low)) and np.all(np.isfinite(self.high)))

    @property
    def integer(self) -> bool:
        """Whether the entries are integers."""
        return np.issubdtype(np.dtype(self.dtype), np.integer)

    def sample(self, key: jax.Array) -> jax.Array:
        """Returns a uniform draw where both bounds are finite, a standard normal one (rounded, clipped) elsewhere."""
        if self.integer:
            return self._sample_integers(key)
        low, high = jnp.asarray(self.low, jnp.float32), jnp.asarray(self.high, jnp.float32)
        finite = jnp.isfinite(low) & jnp.isfinite(high)
        uniform_key, normal_key = jax.random.split(key)
        inside = jnp.where(finite, low, 0.0), jnp.where(finite, high, 1.0)
        uniform = _between(*inside, jax.random.uniform(uniform_key, self.shape, jnp.float32))
        normal = jnp.clip(jax.random.normal(normal_key, self.shape, jnp.float32), low, high)
        return jnp.where(finite, uniform, normal).astype(self.dtype)

    def contains(self, value: Any) -> jax.Array:
        """Returns whether ``value`` has the shape (after batch axes) and every entry lies in its bounds, bool[].

        A number that is no integer lies in no Box of integers.
        """
        value = jnp.asarray(value)
        if value.shape[value.ndim - len(self.shape) :] != self.shape:
            return jnp.bool_(False)
        if not self.integer:
            return jnp.all((value >= jnp.asarray(self.low)) & (value <= jnp.asarray(self.high)))
        if not jnp.issubdtype(value.dtype, jnp.integer):
            return jnp.bool_(False)
        low, high = self.integers()
        return jnp.all((value >= low) & (value <= high))

    def integers(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the smallest and the largest integer of each entry of a Box of integers; those of its type if unbounded."""
        dtype = jax.dtypes.canonicalize_dtype(self.dtype)
        limits = np.iinfo(dtype)

        def within(bound, rounded):
            numbers = np.ravel(np.broadcast_to(bound, self.shape)).tolist()
            inside = [int(rounded(min(max(x, limits.min), limits.max))) for x in numbers]
            return np.array(inside, dtype).reshape(self.shape)

        return within(self.low, math.ceil), within(self.high, math.floor)

    def _sample_integers(self, key: jax.Array) -> jax.Array:
        low, high = self.integers()
        uniform_key, normal_key = jax.random.split(key)
        # Steps up from low, modulo the size of the type: the range may reach from its first number to its last.
        unsigned = np.dtype(np.uint64 if low.dtype.itemsize == 8 else np.uint32)
        last = np.iinfo(unsigned).max
        most = np.asarray(high.astype(object) - low.astype(object), unsigned)
        steps = jnp.where(
            most == last,
            jax.random.bits(uniform_key, self.shape, unsigned),
            jax.random.randint(uniform_key, self.shape, 0, np.minimum(most, last - 1) + unsigned.type(1), unsigned),
        )
        uniform = (jnp.asarray(low).astype(unsigned) + steps).astype(low.dtype)
        normal = jnp.round(jax.random.normal(normal_key, self.shape)).astype(jnp.int32)
        finite = np.broadcast_to(np.isfinite(self.low) & np.isfinite(self.high), self.shape)
        return jnp.where(finite, uniform, jnp.clip(normal, low, high).astype(low.dtype))


@dataclass(frozen=True)
class Tuple:
    """Several spaces in a row. Its values are tuples. Build it with ``Tuple.of(Discrete(5), Box(0, 1, (3, 3)))``."""

    items: tuple[Any, ...]

    def __post_init__(self):
        _require_spaces("Tuple", self.items)

    @classmethod
    def of(cls, *spaces: Any) -> "Tuple":
        return cls(spaces)

    def sample(self, key: jax.Array) -> tuple[Any, ...]:
        """Returns an independent draw from every item."""
        keys = jax.random.split(key, len(self.items))
        return tuple(space.sample(k) for space, k in zip(self.items, keys, strict=True))

    def contains(self, value: Any) -> jax.Array:
        """Returns whether ``value`` is a tuple of as many items and each lies in its space, bool[]."""
        if not isinstance(value, tuple) or len(value) != len(self.items):
            return jnp.bool_(False)
        return jnp.all(jnp.stack([space.contains(item) for space, item in zip(self.items, value, strict=True)]))


@dataclass(frozen=True)
class Dict:
    """Several spaces with names. Its values are dicts.

    Build it with ``Dict.of(position=Discrete(5), view=Box(0, 1, (3, 3)))``; the items are kept sorted by name, as jax does.
    """

    items: tuple[tuple[str, Any], ...]

    def __post_init__(self):
        _require_spaces("Dict", [space for _, space in self.items])

    @classmethod
    def of(cls, **spaces: Any) -> "Dict":
        return cls(tuple(sorted(spaces.items())))

    def sample(self, key: jax.Array) -> dict[str, Any]:
        """Returns an independent draw from every item."""
        keys = jax.random.split(key, len(self.items))
        return {name: space.sample(k) for (name, space), k in zip(self.items, keys, strict=True)}

    def contains(self, value: Any) -> jax.Array:
        """Returns whether ``value`` has exactly these names and each item lies in its space, bool[]."""
        if not isinstance(value, dict) or set(value) != {name for name, _ in self.items}:
            return jnp.bool_(False)
        return jnp.all(jnp.stack([space.contains(value[name]) for name, space in self.items]))


Space = Discrete | MultiDiscrete | Box | Tuple | Dict


def _require_spaces(where: str, items: Sequence[Any]) -> None:
    sound = len(items) >= 1 and all(isinstance(item, Space) for item in items)
    must, fix = "it must hold one space or more, and nothing else", "Use those of jaxrl.core.spaces."
    require(sound, where, must, items, fix, SpaceError)


def is_nested(space: Space) -> bool:
    """Returns whether the values of a space are dicts or tuples, not arrays."""
    return isinstance(space, (Tuple, Dict))


def map_parts(function: Callable, space: Space, *trees: Any) -> Any:
    """Applies a function to every part of a space and what belongs to it, as ``jax.tree.map`` does to the leaves of a value.

    Args:
        function: ``(part, *entries) -> result``.
        space: the space.
        trees: of the structure of the space's values, each with any entry at a part; None stands for a tree of None.

    Returns:
        The results, in the structure of the space's values.
    """
    if isinstance(space, Dict):
        return {name: map_parts(function, item, *_items(trees, name)) for name, item in space.items}
    if isinstance(space, Tuple):
        return tuple(map_parts(function, item, *_items(trees, place)) for place, item in enumerate(space.items))
    return function(space, *trees)


def _items(trees: tuple, name: Any) -> list:
    return [None if tree is None else tree[name] for tree in trees]


def parts(space: Space) -> list[Any]:
    """Returns the parts of a space: each a Discrete, a MultiDiscrete or a Box."""
    found: list[Any] = []
    map_parts(found.append, space)
    return found


def split_key(key: jax.Array, space: Space) -> Any:
    """Returns a key for every part, in the structure of the space's values; the key itself where there is no structure."""
    if not is_nested(space):
        return key
    keys = iter(jax.random.split(key, len(parts(space))))
    return map_parts(lambda part: next(keys), space)


def split_features(space: Space, features: jax.Array, sizes: Sequence[int] | None = None) -> Any:
    """Cuts a vector that is laid out as ``flatten`` lays values out, one part after another.

    Args:
        space: the space.
        features: float[..., the sum of all sizes].
        sizes: how many features each part has; ``flat_size(part)`` by default.

    Returns:
        float[..., size] for every part, in the structure of the space's values.
    """
    if not is_nested(space):
        return features
    ends = np.cumsum([flat_size(part) for part in parts(space)] if sizes is None else sizes)[:-1]
    pieces = iter(jnp.split(features, ends, axis=-1))
    return map_parts(lambda part: next(pieces), space)


def _between(low: jax.Array, high: jax.Array, share: jax.Array) -> jax.Array:
    """Returns the number at a share, in [0, 1], of the way from ``low`` to ``high``, also where float32 cannot hold the way."""
    width = high - low
    wide = jnp.isinf(width)
    near = low + share * jnp.where(wide, 0.0, width)
    return jnp.clip(jnp.where(wide, (1.0 - share) * low + share * high, near), low, high)


def flat_size(space: Space) -> int:
    """Returns the number of features that ``flatten`` produces."""
    if isinstance(space, Discrete):
        return space.n
    if isinstance(space, MultiDiscrete):
        return sum(space.nvec)
    if isinstance(space, Box):
        return math.prod(space.shape)
    return sum(map(flat_size, parts(space)))


def flatten(space: Space, value: Any) -> jax.Array:
    """Turns a value (any leading batch axes ``...``) into features for a network.

    Discrete values become one-hot vectors, those of a MultiDiscrete space one for each choice, boxes are reshaped, and the parts
    of nested values are concatenated in their order.

    Returns:
        float32[..., flat_size(space)].
    """
    if isinstance(space, Discrete):
        return jax.nn.one_hot(value, space.n, dtype=jnp.float32)
    if isinstance(space, MultiDiscrete):
        choices = [jax.nn.one_hot(value[..., d], n, dtype=jnp.float32) for d, n in enumerate(space.nvec)]
        return jnp.concatenate(choices, axis=-1)
    if isinstance(space, Box):
        batch = value.shape[: value.ndim - len(space.shape)]
        return jnp.reshape(value, (*batch, math.prod(space.shape))).astype(jnp.float32)
    return jnp.concatenate(jax.tree.leaves(map_parts(flatten, space, value)), axis=-1)


def joint(space: Space, obs: Any) -> jax.Array:
    """Returns the observations of all agents, one after another: what a centralised critic sees where a game names nothing else.

    Args:
        space: of one agent's observation.
        obs: PyTree[..., N, ...].

    Returns:
        float32[..., N * flat_size(space)].
    """
    features = flatten(space, obs)
    return features.reshape(*features.shape[:-2], -1)


def from_unit(space: Space, raw: Any) -> Any:
    """Turns what a policy draws into an action.

    Args:
        space: of the actions.
        raw: for every part, in the structure of an action. Integers are returned as they are. For a bounded Box each entry of
            float32[..., D] is cut to [-1, 1] and scaled to its bounds; an unbounded one is only given its shape. A Box of
            integers takes the nearest one, or, where it is bounded, divides [-1, 1] into as many equal parts as there are
            integers.

    Returns:
        An action, with the batch axes of ``raw``.
    """
    return map_parts(_part_from_unit, space, raw)


def to_unit(space: Space, action: Any) -> Any:
    """Turns an action into what a policy draws for it: ``from_unit`` brings it back, up to rounding.

    Args:
        space: of the actions.
        action: an action, with any leading batch axes.

    Returns:
        For every part, in the structure of an action: integers as they are; of a Box float32[..., D], in [-1, 1] if it is
        bounded: 0 for an entry whose bounds are equal, and of a Box of integers the middle of the part that stands for each.
    """
    return map_parts(_part_to_unit, space, action)


def _part_to_unit(space: Any, action: jax.Array) -> jax.Array:
    if not isinstance(space, Box):
        return action
    flat = flatten(space, action)
    if not space.bounded:
        return flat
    first, last = space.integers() if space.integer else (np.asarray(space.low), np.asarray(space.high))
    low, high = (np.broadcast_to(bound, space.shape).astype(np.float32).ravel() for bound in (first, last))
    # Halves, so that the widest bounds do not overflow; an integer has a part of width 1 around it.
    half = 0.5 if space.integer else 0.0
    width = high / 2.0 - low / 2.0 + half
    # An eighth of the width, since the reciprocal of the widest one is a denormal number, which accelerators take for 0.
    return (flat / 2.0 - low / 2.0 - (width - half) / 2.0) / 4.0 / np.where(width > 0, width / 8.0, 1.0)


def _part_from_unit(space: Any, raw: jax.Array) -> jax.Array:
    if not isinstance(space, Box):
        return raw
    raw = raw.reshape(*raw.shape[:-1], *space.shape)
    if space.integer:
        return _nearest_integer(space, raw)
    if not space.bounded:
        return raw.astype(space.dtype)
    low, high = jnp.asarray(space.low, jnp.float32), jnp.asarray(space.high, jnp.float32)
    return _between(low, high, (jnp.clip(raw, -1.0, 1.0) + 1.0) / 2.0).astype(space.dtype)


def _nearest_integer(space: Box, raw: jax.Array) -> jax.Array:
    first, last = space.integers()
    low, high = first.astype(np.float32), last.astype(np.float32)
    if space.bounded:
        raw = jnp.asarray(low) + jnp.floor((jnp.clip(raw, -1.0, 1.0) + 1.0) / 2.0 * (high - low + 1.0))
    # float32 may round the last integer up.
    return jnp.clip(jnp.clip(jnp.round(raw), low, high).astype(first.dtype), first, last)


def example(space: Space) -> Any:
    """Returns a value of the right structure, shapes and dtypes, all zeros: for building buffers and networks."""
    return map_parts(lambda part: jnp.zeros(part.shape, part.dtype), space)
