"""Spaces: what an observation or an action looks like. Frozen and hashable, so that they can be static fields.

``Discrete``, ``Box`` and ``Dict`` (nested observations). ``contains``, ``sample`` and ``flatten`` work on values with any
number of leading batch axes.
"""

import math
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
class Dict:
    """A nested observation: named spaces. Its values are dicts of arrays.

    Build it with ``Dict.of(position=Discrete(5), view=Box(0, 1, (3, 3)))``; the items are kept sorted by name, as jax does.
    """

    items: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, **spaces: Any) -> "Dict":
        return cls(tuple(sorted(spaces.items())))

    def sample(self, key: jax.Array) -> dict[str, Any]:
        """Returns an independent draw from every part."""
        keys = jax.random.split(key, len(self.items))
        return {name: space.sample(k) for (name, space), k in zip(self.items, keys, strict=True)}

    def contains(self, value: Any) -> jax.Array:
        """Returns whether ``value`` has exactly these names and each part lies in its space, bool[]."""
        if not isinstance(value, dict) or set(value) != {name for name, _ in self.items}:
            return jnp.bool_(False)
        return jnp.all(jnp.stack([space.contains(value[name]) for name, space in self.items]))


Space = Discrete | Box | Dict


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
    if isinstance(space, Box):
        return math.prod(space.shape)
    return sum(flat_size(part) for _, part in space.items)


def flatten(space: Space, value: Any) -> jax.Array:
    """Turns a value (any leading batch axes ``...``) into features for a network.

    Discrete values become one-hot vectors, boxes are reshaped, nested observations are concatenated in the order of their
    names.

    Returns:
        float32[..., flat_size(space)].
    """
    if isinstance(space, Discrete):
        return jax.nn.one_hot(value, space.n, dtype=jnp.float32)
    if isinstance(space, Box):
        batch = value.shape[: value.ndim - len(space.shape)]
        return jnp.reshape(value, (*batch, math.prod(space.shape))).astype(jnp.float32)
    return jnp.concatenate([flatten(part, value[name]) for name, part in space.items], axis=-1)


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


def from_unit(space: Space, raw: jax.Array) -> jax.Array:
    """Turns what a policy draws into an action.

    Args:
        space: Discrete or Box.
        raw: an action of a Discrete space, which is returned as it is, or float32[..., D]: for a bounded Box each entry is cut
            to [-1, 1] and scaled to its bounds; an unbounded one is only given its shape. A Box of integers takes the nearest
            one, or, where it is bounded, divides [-1, 1] into as many equal parts as there are integers.

    Returns:
        int32[...], or an action of the Box, ``space.dtype[..., *space.shape]``.
    """
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
    if isinstance(space, Dict):
        return {name: example(part) for name, part in space.items}
    return jnp.zeros(space.shape, space.dtype)
