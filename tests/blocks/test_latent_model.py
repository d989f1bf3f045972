"""The latent model: shapes on nested and image observations, the range of latent states, and a representation of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.networks import LatentModel
from jaxrl.core.spaces import Box, Dict, Discrete
from tests.own_networks import Convolution

IMAGE = Box(0.0, 1.0, (4, 4, 1))


@pytest.mark.parametrize(
    ("space", "obs", "options"),
    [
        (Discrete(3), jnp.array([0, 2, 1]), {}),
        (Dict.of(a=Discrete(2), b=Box(0.0, 1.0, (2,))), {"a": jnp.array([0, 1, 1]), "b": jnp.ones((3, 2))}, {}),
        (IMAGE, jnp.linspace(0, 1, 48).reshape(3, 4, 4, 1), {"channels": (2,)}),
        (IMAGE, jnp.linspace(0, 1, 48).reshape(3, 4, 4, 1), {"network": Convolution}),
    ],
)
def test_shapes_and_the_range_of_latent_states(space, obs, options):
    network = LatentModel(space, 5, 7, 6, (8,), **options)
    action = jnp.array([0, 4, 2])
    params = jax.jit(network.init)(jax.random.key(0), obs, action)
    latent = network.apply(params, obs, method="represent")
    (following, reward), (policy, value) = network.apply(params, obs, action)
    assert (latent.shape, following.shape) == ((3, 6), (3, 6))
    assert (reward.shape, policy.shape, value.shape) == ((3, 7), (3, 5), (3, 7))
    for state in (latent, following):
        np.testing.assert_allclose([state.min(-1), state.max(-1)], [[0.0] * 3, [1.0] * 3], atol=1e-6)
    again = network.apply(params, latent, jnp.array([1, 1, 1]), method="step")[0]
    assert float(jnp.abs(again - following).max()) > 1e-4  # the action counts
