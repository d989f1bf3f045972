"""Strategies as softmaxes of logits, which stay probabilities however they move, and precise where they are small."""

import jax
import jax.numpy as jnp

from jaxrl.solvers.normal_form import Profile


def logarithms(shares: Profile) -> Profile:
    """Returns the logarithms of strategies; that of 0 is minus infinity."""
    return tuple(jnp.where(share > 0, jnp.log(jnp.where(share > 0, share, 1)), -jnp.inf) for share in shares)


def shares_of(logits: Profile) -> Profile:
    """Returns the strategies of which these are logarithms, up to a constant for each player."""
    return tuple(jax.nn.softmax(logit) for logit in logits)


def centred(logits: Profile) -> Profile:
    """Returns the logits with the largest of each player at 0."""
    return tuple(logit - logit.max() for logit in logits)
