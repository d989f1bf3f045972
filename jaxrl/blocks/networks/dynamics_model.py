"""A model of an environment in its own observations: a Gaussian of how they change and of the reward, and whether it ends."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.blocks.networks.layers import MLP, Own
from jaxrl.core import spaces
from jaxrl.core.spaces import Box

LOG_VARIANCE = (-10.0, 0.5)  # where the learned bounds of the logarithm of a variance begin


class DynamicsModel(nn.Module):
    """One probabilistic model. All inputs and outputs are normalised; see ``jaxrl.blocks.dynamics_models``.

    num_features, num_action_features: F and A, of observations and of actions.
    hidden, activation: of the layers.
    probabilistic: else the variance is 1, whatever the input, and nothing of it is learned.
    network: of the user's; it sees the tuple of both.

    Called with features float32[..., F] and float32[..., A], returns

    mean: float32[..., F + 1], of the changes of the features and, last, of the reward.
    log_variance: float32[..., F + 1], softly within learned bounds.
    logit: float32[..., 1], of the termination.

    Source: Chua et al. (2018), section 4 and appendix A.1.
    """

    num_features: int
    num_action_features: int
    hidden: tuple[int, ...] = (200, 200, 200)
    activation: str = "swish"
    probabilistic: bool = True
    network: Callable | None = None

    @nn.compact
    def __call__(self, features, action):
        size = self.num_features + 1
        outputs = (2 if self.probabilistic else 1) * size + 1
        if self.network is None:
            found = MLP(self.hidden, self.activation, outputs)(jnp.concatenate([features, action], axis=-1))
        else:
            widths = self.num_features, self.num_action_features
            seen = spaces.Tuple.of(*(Box(-jnp.inf, jnp.inf, (width,)) for width in widths))
            found = Own(self.network, seen, outputs)((features, action))
        mean, logit = found[..., :size], found[..., -1:]
        if not self.probabilistic:
            return mean, jnp.zeros_like(mean), logit
        low = self.param("least_log_variance", nn.initializers.constant(LOG_VARIANCE[0]), (size,), jnp.float32)
        high = self.param("largest_log_variance", nn.initializers.constant(LOG_VARIANCE[1]), (size,), jnp.float32)
        return mean, softly_bounded(found[..., size:-1], low, high), logit


def softly_bounded(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Returns x kept between two bounds by softplus, which leaves a gradient everywhere: about x where x is far from both.

    x: float32[..., K]. low, high: float32[K].

    Source: Chua et al. (2018), appendix A.1.
    """
    x = high - jax.nn.softplus(high - x)
    return low + jax.nn.softplus(x - low)
