"""Advantages relative to each other, standardised to mean 0 and deviation 1 over the steps that count; counterfactual ones.

Steps at which an agent was inactive do not count (see ``jaxrl.blocks.agents``): ``where`` leaves them out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.errors import require, require_arrays

EPSILON = 1e-8  # added to a deviation that is divided by


def masked_mean(x: jax.Array, where: jax.Array | None) -> jax.Array:
    """Returns the mean of the entries where ``where`` holds (all, if it is None), 0 if there is none; float32[]."""
    return x.mean() if where is None else jnp.sum(x, where=where) / jnp.maximum(where.sum(), 1)


class Spread(NamedTuple):
    """Mean and standard deviation of the advantages of a whole batch, float32[] each."""

    mean: jax.Array
    deviation: jax.Array


def spread(advantage: jax.Array, where: jax.Array | None = None) -> Spread:
    """Measures the entries where ``where`` holds, all if it is None. Both have one shape, any."""
    centre = masked_mean(advantage, where)
    return Spread(centre, jnp.sqrt(masked_mean(jnp.square(advantage - centre), where)))


def standardize(advantage: jax.Array, batch: Spread, where: jax.Array | None = None) -> jax.Array:
    """Subtracts the mean and divides by the standard deviation, both of the minibatch and over the entries where ``where`` holds.

    A minibatch in which a single step counts would have advantages of 0 alone, so that nothing is learned from it: it is
    standardised by the whole batch, as Yu et al. (2022) do throughout.

    Args:
        advantage: float32[L, B], or float32[L, B, N] with agents.
        batch: of the batch that the minibatch was taken from.
        where: bool, shaped as advantage, or None for all entries.
    """
    by_batch = (advantage - batch.mean) / (batch.deviation + EPSILON)
    if where is None:
        several = advantage.shape[0] * advantage.shape[1] > 1
        return (advantage - advantage.mean()) / (advantage.std() + EPSILON) if several else by_batch
    centred = advantage - masked_mean(advantage, where)
    by_minibatch = centred / (jnp.sqrt(masked_mean(jnp.square(centred), where)) + EPSILON)
    steps = where.reshape(*advantage.shape[:2], -1).any(-1).sum()
    return jnp.where(steps > 1, by_minibatch, by_batch)


def counterfactual_baseline(value: jax.Array, probability: jax.Array) -> jax.Array:
    """Returns sum_b pi_i(b) Q(s, (a_-i, b)): what a joint action is worth if agent i draws its part of it anew.

    It does not depend on what agent i did. So, subtracted from Q(s, a), it changes no policy gradient in expectation.

    Args:
        value: float32[..., A], Q(s, (a_-i, b)) of the A actions b of agent i, beside what the others did.
        probability: float32[..., A], pi_i(b).

    Returns:
        float32[...].

    Raises:
        ConfigError: the two have different shapes, or hold no numbers.

    Source: Foerster et al. (2018), "Counterfactual Multi-Agent Policy Gradients", equation 4, the second term.
    """
    where = "counterfactual_baseline"
    value, probability = require_arrays(where, value=value, probability=probability).values()
    must, found = "value and probability must have one shape, [..., A]", (value.shape, probability.shape)
    require(value.shape == probability.shape and value.ndim > 0, where, must, found, "Give each action both.")
    return (probability * value).sum(-1)
