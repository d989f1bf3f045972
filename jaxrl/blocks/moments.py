"""Running mean and variance of pytrees, to normalise observations and values and to scale rewards.

A learner that does not normalise a quantity has None in place of its moments. ``update``, ``normalize``, ``denormalize``,
``normalize_observation`` and ``scale_rewards`` take that None and return what they are given, so that the learner's code is the
same with and without normalisation.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.spaces import Box, Space, map_parts

PyTree = Any

EPSILON = 1e-8  # added to a variance before its root is divided by


@struct.dataclass
class Moments:
    """Mean and variance of everything seen so far. One item's pytree gives the structure and the shapes.

    count: float32[], items seen; it stops growing near 2**24 batches, and from there on old items are slowly forgotten.
    origin: PyTree[float32], the first item. Deviations are taken from it, so that a large offset costs no precision.
    mean: PyTree[float32], the mean deviation from ``origin``.
    variance: PyTree[float32], the mean squared deviation from the mean. Kept in place of the sum of squares, which in float32
        would outgrow what a batch adds to it while ``count`` still grows.
    """

    count: jax.Array
    origin: PyTree
    mean: PyTree
    variance: PyTree


def init(example: PyTree) -> Moments:
    """Returns the moments of nothing; normalising with them changes nothing.

    Args:
        example: one item; only its structure and shapes matter.
    """
    zeros = jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), jnp.float32), example)
    return Moments(jnp.float32(0.0), zeros, zeros, jax.tree.map(jnp.ones_like, zeros))


def update(moments: Moments | None, batch: PyTree) -> Moments | None:
    """Adds a batch.

    Args:
        moments: of what was seen before, or None for no moments.
        batch: PyTree[..., *shape of an item], any number of leading axes, at least one item; any real dtype.
    """
    return None if moments is None else merge(moments, _of_batch(moments, batch))


def _of_batch(like: Moments, batch: PyTree) -> Moments:
    items = jax.tree.map(lambda leaf, item: jnp.asarray(leaf, jnp.float32).reshape(-1, *item.shape), batch, like.mean)
    origin = jax.tree.map(lambda leaf: leaf[0], items)
    deviation = jax.tree.map(lambda leaf, first: leaf - first[None], items, origin)
    mean = jax.tree.map(lambda leaf: leaf.mean(0), deviation)
    variance = jax.tree.map(lambda leaf, mean: jnp.square(leaf - mean[None]).mean(0), deviation, mean)
    return Moments(jnp.float32(jax.tree.leaves(items)[0].shape[0]), origin, mean, variance)


def merge(first: Moments, second: Moments) -> Moments:
    """Returns the moments of two disjoint sets of items taken together; either may be empty.

    Source: Chan, Golub and LeVeque (1979), the formula that combines two samples, divided by the counts.
    """
    empty = first.count == 0
    origin, mean, variance = jax.tree.map(
        lambda mine, other: jnp.where(empty, other, mine),
        (first.origin, first.mean, first.variance),
        (second.origin, second.mean, second.variance),
    )
    count = first.count + second.count
    weight = second.count / jnp.maximum(count, 1.0)
    shift = jax.tree.map(
        lambda mine, other, mine_origin, other_origin: other + (other_origin - mine_origin) - mine,
        mean,
        second.mean,
        origin,
        second.origin,
    )
    mean = jax.tree.map(lambda mine, shift: mine + weight * shift, mean, shift)
    variance = jax.tree.map(
        lambda mine, other, shift: mine + weight * (other - mine + (1.0 - weight) * jnp.square(shift)),
        variance,
        second.variance,
        shift,
    )
    return Moments(count, origin, mean, variance)


def normalize(moments: Moments | None, x: PyTree, clip: float = 10.0) -> PyTree:
    """Subtracts the mean, divides by the standard deviation, and clips.

    Args:
        moments: of items like ``x``, or None to leave ``x`` as it is.
        x: PyTree[..., *shape of an item].
        clip: the largest absolute value that is returned; infinity for none.

    Returns:
        PyTree[float32], shaped as ``x``.
    """
    if moments is None:
        return x

    def one(leaf, origin, mean, variance):
        origin, mean, variance = (_beneath(leaf, part) for part in (origin, mean, variance))
        return jnp.clip((leaf - origin - mean) / jnp.sqrt(variance + EPSILON), -clip, clip)

    return jax.tree.map(one, x, moments.origin, moments.mean, moments.variance)


def normalize_observation(moments: Moments | None, obs: PyTree, space: Space) -> PyTree:
    """Normalises the quantities of an observation. Its discrete parts are classes, not quantities: they stay as they are.

    Args:
        moments: of single observations, or None to leave ``obs`` as it is.
        obs: PyTree[..., *shape of an observation].
        space: of the observations. Integers in a Box (pixels, counts) are quantities.

    Returns:
        PyTree, shaped as ``obs``: float32 where it is a Box.
    """
    if moments is None:
        return obs
    return map_parts(lambda part, normal, raw: normal if isinstance(part, Box) else raw, space, normalize(moments, obs), obs)


def denormalize(moments: Moments | None, x: PyTree) -> PyTree:
    """Undoes ``normalize`` without a clip: multiplies by the standard deviation and adds the mean.

    A critic that is fitted to normalised returns is read through this: the units of the reward then do not matter to it.

    Args:
        moments: of items like what is returned, or None to leave ``x`` as it is.
        x: PyTree[..., *shape of an item].

    Returns:
        PyTree[float32], shaped as ``x``.

    Source: van Hasselt et al. (2016), "Learning values across many orders of magnitude", eq. 1, without the correction of the
    last layer; Yu et al. (2022), section 5.1.
    """
    if moments is None:
        return x

    def one(leaf, origin, mean, variance):
        origin, mean, variance = (_beneath(leaf, part) for part in (origin, mean, variance))
        return leaf * jnp.sqrt(variance + EPSILON) + mean + origin

    return jax.tree.map(one, x, moments.origin, moments.mean, moments.variance)


def _beneath(leaf, part: jax.Array) -> jax.Array:
    """Gives a number of an item as many leading axes as ``leaf`` has more."""
    return part.reshape(*(1,) * (jnp.ndim(leaf) - part.ndim), *part.shape)


@struct.dataclass
class RewardScaling:
    """The memory of reward scaling for E environments.

    return_: float32[E] (or [E, N], with agents), the discounted sum of rewards since each episode began.
    moments: Moments of float32[], of all these sums so far.
    """

    return_: jax.Array
    moments: Moments


def init_reward_scaling(*shape: int) -> RewardScaling:
    """Returns the state before the first reward. shape: E, or E and N."""
    return RewardScaling(jnp.zeros(shape, jnp.float32), init(jnp.float32(0.0)))


def scale_rewards(
    scaling: RewardScaling | None, reward: jax.Array, done: jax.Array, gamma: jax.Array | float, clip: float = 10.0
) -> tuple[RewardScaling | None, jax.Array]:
    """Divides a block of rewards by the standard deviation of the running discounted sum of rewards. No mean is subtracted.

    The whole block is divided by one number, which counts the block itself: rewards within it stay comparable.

    Args:
        scaling: the state so far, or None to leave the rewards as they are.
        reward: float32[T, E] (or [T, E, N]).
        done: bool, shaped as reward, the episode ended with this step; the next sum starts from 0.
        gamma: discount in [0, 1].
        clip: the largest absolute scaled reward; infinity for none.

    Returns:
        The new state and the scaled rewards, shaped as reward.

    Source: Engstrom et al. (2020), "reward scaling".
    """
    if scaling is None:
        return None, reward

    def accumulate(return_, step):
        reward, done = step
        return_ = gamma * return_ + reward
        return jnp.where(done, 0.0, return_), return_

    return_, sums = jax.lax.scan(accumulate, scaling.return_, (reward, done))
    moments = merge(scaling.moments, _of_batch(scaling.moments, sums))
    scaled = jnp.clip(reward / jnp.sqrt(moments.variance + EPSILON), -clip, clip)
    return RewardScaling(return_, moments), scaled
