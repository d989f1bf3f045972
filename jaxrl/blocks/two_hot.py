"""Values as distributions over a fixed support: a number is shared between its two neighbours, and a mean turns it back.

A network that answers by logits over the support is trained by cross-entropy, whose gradient does not grow with the size of the
target. The atoms lie close together near 0 and far apart far from it, so that no scale of the returns has to be known:

    atom_i = sign(i) (((sqrt(1 + 4 eps (|i| + 1 + eps)) - 1) / (2 eps))^2 - 1) for i = -m .. m

About i + i^2 / 4 for small |i|. The mean is taken over the atoms themselves, so that a random target is met by its own mean.

Source: Schrittwieser et al. (2020), appendix F, and Pohlen et al. (2018), for the atoms; Hafner et al. (2023), for a mean over
atoms that are unequally far apart.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import require_count

EPSILON = 1e-3


def support(size: int) -> jax.Array:
    """Returns the atoms, float32[2 m + 1], symmetric about 0 and rising. The outermost are the largest values to be told.

    Args:
        size: m, at least 1. 10 reaches to 117, 30 to 905.

    Raises:
        ConfigError: the size is no such count.
    """
    require_count("two_hot.support", "size", size)
    number = np.arange(1, size + 1, dtype=np.float64)
    root = (np.sqrt(1 + 4 * EPSILON * (number + 1 + EPSILON)) - 1) / (2 * EPSILON)
    positive = root**2 - 1
    return jnp.asarray(np.concatenate([-positive[::-1], [0.0], positive]), jnp.float32)


def encode(value: jax.Array, atoms: jax.Array) -> jax.Array:
    """Returns the weights float32[..., M] on the two atoms around a value float32[...]; beyond the ends, all on the last.

    Their mean is the value, within the ends. atoms: float32[M], rising.
    """
    value = jnp.clip(value, atoms[0], atoms[-1])[..., None]
    gaps = jnp.diff(atoms)
    infinite = jnp.full(1, jnp.inf, gaps.dtype)
    # A hat over each atom, which falls to 0 at its neighbours.
    below, above = jnp.concatenate([infinite, gaps]), jnp.concatenate([gaps, infinite])
    off = value - atoms
    return jnp.maximum(0.0, 1.0 - jnp.where(off < 0, -off / below, off / above))


def decode(logits: jax.Array, atoms: jax.Array) -> jax.Array:
    """Returns the mean of the distribution over the atoms float32[M] with logits float32[..., M], float32[...]."""
    return (jax.nn.softmax(logits) * atoms).sum(-1)


def loss(logits: jax.Array, target: jax.Array, atoms: jax.Array) -> jax.Array:
    """Returns the cross-entropy of logits float32[..., M] to targets float32[...], which are constants, float32[...]."""
    return -(encode(jax.lax.stop_gradient(target), atoms) * jax.nn.log_softmax(logits)).sum(-1)
