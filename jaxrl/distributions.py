"""Action distributions. All follow distrax: ``sample(seed=key)``, ``log_prob(value)``, ``entropy()``, ``mode()``; batch axes
are free.

The Gaussian ones come from distrax, imported late: it brings a second of import. This is the only file that imports it. The
categorical one is our own: it stands in the innermost loops, where distrax's checks of every sample and its repeated
normalisation cost PPO on CartPole a tenth of its speed. The tests hold it against distrax.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.spaces import Discrete, Space

# Finite, so that the entropy's 0 * log 0 and its gradient stay finite; a softmax turns it into exactly 0.
MASKED_LOGIT = -1e9


@struct.dataclass
class Categorical:
    """A distribution over 0 .. A-1. logits: float32[..., A], log-probabilities up to a constant."""

    logits: jax.Array

    @property
    def log_probs(self) -> jax.Array:
        """float32[..., A]."""
        return jax.nn.log_softmax(self.logits)

    @property
    def probs(self) -> jax.Array:
        """float32[..., A]."""
        return jax.nn.softmax(self.logits)

    def sample(self, *, seed: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Returns independent draws, int32[*sample_shape, ...]."""
        shape = (*sample_shape, *self.logits.shape[:-1])
        return jax.random.categorical(seed, self.logits, shape=shape).astype(jnp.int32)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Returns the log-probability of int32[...], float32[...]."""
        # A sum over the few actions, not a gather: the gradient of a gather is a scatter.
        chosen = value[..., None] == jnp.arange(self.logits.shape[-1], dtype=value.dtype)
        return jnp.where(chosen, self.log_probs, 0.0).sum(-1)

    def entropy(self) -> jax.Array:
        """Returns the entropy in nats, float32[...]."""
        log_probs = self.log_probs
        return -(jnp.exp(log_probs) * log_probs).sum(-1)

    def mode(self) -> jax.Array:
        """Returns the most likely value, the first among equals, int32[...]."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)


def categorical(logits: jax.Array, mask: jax.Array | None = None) -> Categorical:
    """Returns a categorical distribution over the legal actions.

    Args:
        logits: float32[..., A].
        mask: bool[..., A], True = legal, or None. Illegal actions have probability 0 and are never drawn.
    """
    return Categorical(logits if mask is None else jnp.where(mask, logits, MASKED_LOGIT))


def of_space(space: Space, outputs: Any, mask: jax.Array | None = None) -> Any:
    """Returns the distribution over the actions of a space that a policy's head describes.

    Args:
        space: Discrete or Box.
        outputs: logits float32[..., A] for Discrete, ``(mean, log_std)``, each float32[..., D], for Box.
        mask: bool[..., A], the legal actions of a Discrete space, or None.
    """
    return categorical(outputs, mask) if isinstance(space, Discrete) else diagonal_gaussian(*outputs)


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
