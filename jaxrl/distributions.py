"""Action distributions, from distrax. The only file that imports it, and late: it brings a second of import.

All follow distrax: ``sample(seed=key)``, ``log_prob(value)``, ``entropy()``, ``mode()``; batch axes are free.
"""

from typing import Any

import jax
import jax.numpy as jnp

# Finite, so that the entropy's 0 * log 0 and its gradient stay finite; a softmax turns it into exactly 0.
MASKED_LOGIT = -1e9


def categorical(logits: jax.Array, mask: jax.Array | None = None) -> Any:
    """Returns a categorical distribution over the legal actions.

    Args:
        logits: float32[..., A].
        mask: bool[..., A], True = legal, or None. Illegal actions have probability 0 and are never drawn.
    """
    import distrax

    return distrax.Categorical(logits=logits if mask is None else jnp.where(mask, logits, MASKED_LOGIT))


def diagonal_gaussian(mean: jax.Array, log_std: jax.Array) -> Any:
    """Returns independent normal distributions over the last axis; ``log_prob`` and ``entropy`` sum over it.

    Args:
        mean: float32[..., D].
        log_std: float32, broadcasts to mean.
    """
    import distrax

    return distrax.Independent(distrax.Normal(mean, jnp.exp(jnp.broadcast_to(log_std, mean.shape))), 1)


def tanh_gaussian(mean: jax.Array, log_std: jax.Array) -> Any:
    """Returns ``diagonal_gaussian`` squashed by tanh into (-1, 1)^D, with the exact log-probability (Haarnoja et al. 2018,
    appendix C). Its entropy has no closed form; ``mode()`` is the squashed mean.
    """
    import distrax

    squash = distrax.Block(distrax.Tanh(), 1)
    return distrax.Transformed(diagonal_gaussian(mean, log_std), squash)
