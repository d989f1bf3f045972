"""Ordinary convolutions: against a sum by hand and flax's own, on a torus, and as the network of an algorithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks.networks import ConvolutionalNetwork
from jaxrl.blocks.networks.convolutional import PADDINGS, Convolution, convolve
from jaxrl.core.contracts import equal_when_rebuilt
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError

KEY = jax.random.key(0)


def normal(number, *shape):
    return jax.random.normal(jax.random.key(number), shape, jnp.float32)


def direct_sum(x, kernel, padding):
    """y(t) = sum_s x(t + s) kernel(s), place by place."""
    size, half = kernel.shape[0], kernel.shape[0] // 2
    height, width = x.shape[:2]
    y = np.zeros((height, width, kernel.shape[-1]))
    for row, column, i, j in np.ndindex(height, width, size, size):
        r, c = row + i - half, column + j - half
        if padding == "circular":
            y[row, column] += x[r % height, c % width] @ kernel[i, j]
        elif 0 <= r < height and 0 <= c < width:
            y[row, column] += x[r, c] @ kernel[i, j]
    return y


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_convolution_is_the_direct_sum(padding, size):
    x, kernel = normal(1, 4, 6, 2), normal(2, size, size, 2, 3)
    if padding == "circular" and size > 4:
        x = normal(1, 5, 6, 2)
    expected = direct_sum(np.float64(x), np.float64(kernel), padding)
    np.testing.assert_allclose(convolve(x, kernel, padding), expected, atol=1e-5)


def test_without_padding_it_stays_within_the_image():
    x, kernel = normal(1, 5, 4, 2), normal(2, 3, 3, 2, 3)
    inner = direct_sum(np.float64(x), np.float64(kernel), "zero")[1:-1, 1:-1]
    np.testing.assert_allclose(convolve(x, kernel, "none"), inner, atol=1e-5)


@pytest.mark.parametrize(("padding", "of_flax"), [("zero", "SAME"), ("circular", "CIRCULAR")])
def test_the_layer_is_that_of_flax(padding, of_flax):
    x = normal(1, 2, 5, 5, 2)
    layer = Convolution(3, padding=padding)
    params = jax.tree.map(lambda leaf: leaf + 0.1, layer.init(KEY, x))
    np.testing.assert_allclose(layer.apply(params, x), nn.Conv(3, (3, 3), padding=of_flax).apply(params, x), atol=1e-5)


def test_batch_axes_are_images_side_by_side():
    network = ConvolutionalNetwork((3,), hidden=(4,))(Box(0.0, 1.0, (4, 5, 2)), 6)
    x = normal(1, 2, 3, 4, 5, 2)
    params = network.init(KEY, x)
    out = network.apply(params, x)
    assert out.shape == (2, 3, 6)
    np.testing.assert_allclose(out[1, 2], network.apply(params, x[1, 2]), atol=1e-6)


def test_made_again_it_is_equal():
    assert ConvolutionalNetwork((8,), hidden=(4,)) != ConvolutionalNetwork((9,), hidden=(4,))
    assert equal_when_rebuilt(ConvolutionalNetwork())


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"channels": ()}, ConfigError, "channels must name at least one layer"),
        ({"hidden": (4, 0)}, ConfigError, "each of hidden must be an integer of at least 1, got 0"),
        ({"kernel_size": 2}, ConfigError, "kernel_size must be odd, got 2"),
        ({"padding": "circle"}, UnknownNameError, "Did you mean 'circular'"),
        ({"activation": "sine"}, UnknownNameError, "no activation is named 'sine'"),
    ],
)
def test_settings_are_checked(fields, error, message):
    with pytest.raises(error, match=message):
        ConvolutionalNetwork(**fields)


def test_observations_that_are_no_images_are_refused():
    with pytest.raises(SpaceError, match="ConvolutionalNetwork: "):
        ConvolutionalNetwork()(Discrete(3), 2)


@pytest.mark.slow
def test_ppo_learns_with_it():
    env = envs.make("windy_torus", size=3)
    config = ppo.Config(network=ConvolutionalNetwork((2,), hidden=(4,)), num_envs=2, num_steps=8, num_minibatches=1)
    algorithm = ppo.make(env, config)
    before = algorithm.init(KEY)
    after, metrics = jax.jit(algorithm.update)(before, KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, metrics)))
    moved = jax.tree.map(lambda one, other: float(jnp.abs(one - other).max()), before.params, after.params)
    assert min(jax.tree.leaves(moved["params"]["actor"])) > 0
