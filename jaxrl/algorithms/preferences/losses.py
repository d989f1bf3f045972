"""Losses of reward models, for one comparison or any batch of them."""

import jax
import jax.numpy as jnp

from jaxrl.errors import require_arrays, require_within


def bradley_terry_loss(difference: jax.Array, label: jax.Array, flip_rate: jax.Array | float = 0.0) -> jax.Array:
    """Returns the cross-entropy between a label and the Bradley-Terry probability of it.

        P(first preferred) = (1 - eps) sigmoid(d) + eps sigmoid(-d)

    Args:
        difference: float32[...], d, the predicted score of the first segment minus that of the second.
        label: float32[...] in [0, 1], the probability that the first is preferred.
        flip_rate: eps in [0, 1/2), the share of labels that the model takes to be the wrong way round; 0.05 is what Christiano
            et al. assume (answers at random in 10 % of the comparisons).

    Returns:
        float32[...], nats.

    Raises:
        ConfigError: an argument is not a number, or the label or the flip rate is out of range. Of traced values the shapes and
            types alone are checked.

    Source: Christiano et al. (2017), equation 1 and section 2.2.3.
    """
    where = "bradley_terry_loss"
    difference, label = require_arrays(where, difference=difference, label=label).values()
    require_within(where, "label", label, 0, 1, "1 prefers the first, 0 the second.")
    require_within(where, "flip_rate", flip_rate, 0, 0.5, "0.05 is common.", below=True)
    flip_rate = jnp.asarray(flip_rate, jnp.result_type(difference))
    kept, flipped = jnp.log1p(-flip_rate), jnp.log(flip_rate)
    right, wrong = jax.nn.log_sigmoid(difference), jax.nn.log_sigmoid(-difference)
    first = jnp.logaddexp(kept + right, flipped + wrong)
    second = jnp.logaddexp(kept + wrong, flipped + right)
    return -(label * first + (1.0 - label) * second)
