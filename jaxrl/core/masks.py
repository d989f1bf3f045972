"""Action masks: which actions are legal.

The mask of a space has the structure of its actions. At a ``Discrete`` part it holds bool[..., n], at a ``MultiDiscrete`` part
bool[..., sum(nvec)], an entry for every integer of the first choice, then of the second, and so on: the layout of
``jaxrl.core.spaces.flatten`` and of a policy's logits. True means legal. A ``Box`` has no mask: None stands in its place, and in
that of a part in which everything is always legal. None for the whole mask forbids nothing.

Parts, and the choices of a ``MultiDiscrete`` part, are masked independently of each other: a mask cannot say that a choice is
legal only together with another one. An environment that needs this gives such a combination the effect of a legal one.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.core.spaces import Box, Discrete, MultiDiscrete, Space, flat_size, flatten, map_parts, parts, split_key

PyTree = Any


def can_be_masked(space: Space) -> bool:
    """Returns whether a space has a part with a mask, one that is not a Box."""
    return any(not isinstance(part, Box) for part in parts(space))


def structure(space: Space, *batch: int) -> PyTree:
    """Returns the shapes of a mask with an entry for every action, ``jax.ShapeDtypeStruct``; None at every Box."""

    def one(part: Any) -> Any:
        return None if isinstance(part, Box) else jax.ShapeDtypeStruct((*batch, flat_size(part)), jnp.bool_)

    return map_parts(one, space)


def both(first: PyTree, second: PyTree) -> PyTree:
    """Returns the mask of what two masks of one structure allow."""

    def one(first: Any, second: Any) -> Any:
        return second if first is None else first if second is None else first & second

    return jax.tree.map(one, first, second, is_leaf=lambda node: node is None)


def unless_empty(mask: jax.Array, otherwise: jax.Array | None) -> jax.Array:
    """Returns the mask of a Discrete space, bool[..., A], and ``otherwise`` (None: everything) where it leaves no action."""
    return jnp.where(mask.any(-1, keepdims=True), mask, True if otherwise is None else otherwise)


def some_legal(space: Space, mask: PyTree) -> jax.Array:
    """Returns whether a mask, which is not None, leaves a legal action, bool[...]: an integer for every choice."""
    found = map_parts(lambda part, mask: None if mask is None else _rows(part, mask).any(-1).all(-1), space, mask)
    return _all(found)


def active(space: Space, mask: PyTree) -> jax.Array | None:
    """Returns where an agent has a choice, bool[...]: more than one legal action. None where it always has one."""
    if mask is None:
        return None

    def one(part: Any, mask: Any) -> jax.Array | bool:
        if mask is None:
            return isinstance(part, Box) or max(_counts(part)) > 1
        return (_rows(part, mask).sum(-1) > 1).any(-1)

    found = jax.tree.leaves(map_parts(one, space, mask))
    if any(choice is True for choice in found):
        return None
    return jax.tree.reduce(jnp.logical_or, [choice for choice in found if choice is not False])


def is_legal(space: Space, mask: PyTree, action: PyTree) -> jax.Array:
    """Returns whether a mask, which is not None, allows an action of the space, bool[...]."""

    def one(part: Any, mask: Any, action: Any) -> jax.Array | None:
        return None if mask is None else ~((flatten(part, jnp.asarray(action)) > 0) & ~mask).any(-1)

    return _all(map_parts(one, space, mask, action))


def sample(key: jax.Array, space: Space, mask: PyTree, batch: tuple[int, ...]) -> PyTree:
    """Draws legal actions: uniform integers, and entries of boxes as ``Box.sample`` draws them.

    Args:
        key: one key for the batch.
        space: of one action.
        mask: with the batch axes, or None.
        batch: the leading axes of the result.
    """

    def one(part: Any, mask: Any, key: jax.Array) -> jax.Array:
        if mask is None:
            draw: Any = part.sample
            for _ in batch:
                draw = jax.vmap(draw)
            return draw(jax.random.split(key, batch))
        rows = mask if isinstance(part, Discrete) else _rows(part, mask)
        logits = jnp.where(rows, 0.0, -jnp.inf).astype(jnp.float32)
        return jax.random.categorical(key, logits).astype(jnp.int32)

    return map_parts(one, space, mask, split_key(key, space))


def _counts(part: Discrete | MultiDiscrete) -> tuple[int, ...]:
    return (part.n,) if isinstance(part, Discrete) else part.nvec


def _rows(part: Discrete | MultiDiscrete, mask: jax.Array) -> jax.Array:
    """Returns the legal integers of each of D choices, bool[..., D, max n]."""
    return MultiDiscrete(_counts(part)).rows(mask, False)


def _all(found: PyTree) -> jax.Array:
    return jax.tree.reduce(jnp.logical_and, found)
