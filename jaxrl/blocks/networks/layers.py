"""Layers, their initialisation, and the place of a network of the user's; see ``jaxrl.blocks.networks``."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxrl.core import spaces
from jaxrl.core.batch_axis import shard_batch
from jaxrl.core.config import require_image
from jaxrl.core.contracts import equal_when_rebuilt
from jaxrl.core.spaces import Box, Space
from jaxrl.errors import require, unknown_name

ACTIVATIONS: dict[str, Callable] = {"tanh": jnp.tanh, "relu": nn.relu, "swish": nn.swish, "gelu": nn.gelu}


def activation(name: str) -> Callable:
    """Returns the activation function with this name."""
    if name not in ACTIVATIONS:
        raise unknown_name("networks", "activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def require_layers(where: str, config: Any, observation_space: Space, *replaced: str) -> None:
    """Raises ConfigError or SpaceError unless the layers that a configuration names suit what is observed.

    Args:
        where: who asks.
        config: has ``hidden``, ``activation``, ``channels`` and ``network``.
        observation_space: what the network sees.
        replaced: further fields that shape the library's own layers, and say nothing to a network of the user's.
    """
    if config.network is not None:
        _require_factory(where, config.network)
        for name in ("channels", *replaced):
            must, found = f"a network of your own must come without {name}", getattr(config, name)
            require(not found, where, must, found, f"Leave {name} out, or set network=None.")
    if config.channels:
        require_image(where, "channels", observation_space, "Set channels=().")
    require_sizes(where, "hidden", config.hidden)
    if config.channels:
        require_sizes(where, "channels", config.channels)
    activation(config.activation)


def require_sizes(where: str, name: str, sizes: Any) -> None:
    """Raises ConfigError unless ``sizes`` are those of one layer or more. where: who asks. name: of the field."""
    if not isinstance(sizes, tuple | list):
        fix = f"Write {name}=({sizes},)." if isinstance(sizes, int) else f"Write {name}=(64, 64)."
        require(False, where, f"{name} must be a tuple, with the size of each layer", sizes, fix)
        return
    require(len(sizes) >= 1, where, f"{name} must name at least one layer", sizes, "(64, 64) is common.")
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1 for size in sizes)
    require(whole, where, f"{name} must be sizes of layers, integers of at least 1", sizes, "64 is common.")


def _require_factory(where: str, network: Any) -> None:
    must = "network must be a function (observation_space, num_outputs) -> flax module"
    fix = "Give the module class, or the function that builds the module, not the module itself."
    require(not isinstance(network, nn.Module), where, must, type(network).__name__, fix)
    require(callable(network), where, must, network, fix)
    must = "network must be a function or class at module level, or a frozen dataclass"
    fix = "A closure, lambda or partial that is made anew every time would be compiled again every time."
    require(equal_when_rebuilt(network), where, must, network, fix)


def orthonormal_columns(matrix: jax.Array) -> jax.Array:
    """Orthonormalises the columns of a tall matrix by Gram-Schmidt, each column projected twice.

    Once loses orthogonality in float32, twice is enough (Giraud, Langou and Rozloznik 2005).

    Args:
        matrix: float32[m, n] with m >= n, of full rank.

    Returns:
        float32[m, n] with orthonormal columns; uniformly distributed if the entries were standard normal.
    """
    product = functools.partial(jnp.dot, precision="highest")  # by default, accelerators keep three digits of it

    def add_column(j, basis):
        column = matrix[:, j]
        for _ in range(2):
            column = column - product(basis, product(column, basis))
        return basis.at[:, j].set(column / jnp.linalg.norm(column))

    return jax.lax.fori_loop(0, matrix.shape[1], add_column, jnp.zeros_like(matrix))


def orthogonal(scale: float = 1.0) -> Callable:
    """Returns an orthogonal initialiser ``(key, shape, dtype) -> array``; all axes but the last count as inputs.

    Source: Saxe, McClelland and Ganguli (2014).
    """

    def initialise(key, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None):
        return _orthogonal(key, scale, tuple(shape), dtype)

    return initialise


@functools.partial(jax.jit, static_argnames=("shape", "dtype"), inline=True)  # outside of any program one program, not many
def _orthogonal(key: jax.Array, scale: float, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    columns = shape[-1]
    rows = functools.reduce(int.__mul__, shape[:-1], 1)
    tall = jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype)
    basis = orthonormal_columns(tall)
    return scale * (basis if rows >= columns else basis.T).reshape(shape)


def dense(size: int, scale: float, name: str | None = None) -> nn.Dense:
    """Returns a linear layer with orthogonal weights and zero bias."""
    return nn.Dense(size, kernel_init=orthogonal(scale), name=name)


class MLP(nn.Module):
    """Hidden layers of the given sizes and, if ``output`` is given, a linear head.

    ``layer_norm`` normalises what enters each activation (Ba, Kiros and Hinton 2016).

    Called with float32[..., F], returns float32[..., output] (or the last hidden size).
    """

    hidden: tuple[int, ...]
    activation: str = "tanh"
    output: int | None = None
    output_scale: float = 1.0
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x):
        # As matrices: with more than one batch axis, XLA transposes what it multiplies for the gradient of the weights.
        batch, x = x.shape[:-1], shard_batch(x.reshape(-1, x.shape[-1]))
        for size in self.hidden:
            x = dense(size, 2**0.5)(x)
            x = activation(self.activation)(nn.LayerNorm()(x) if self.layer_norm else x)
        x = x if self.output is None else dense(self.output, self.output_scale)(x)
        return x.reshape(*batch, x.shape[-1])


class CNN(nn.Module):
    """3x3 convolutions over images float32[..., H, W, C], flattened: float32[..., H * W * channels[-1]]."""

    channels: tuple[int, ...]
    activation: str = "relu"

    @nn.compact
    def __call__(self, x):
        for size in self.channels:
            x = nn.Conv(size, (3, 3), kernel_init=orthogonal(2**0.5))(x)
            x = activation(self.activation)(x)
        return x.reshape(*x.shape[:-3], -1)


class Own(nn.Module):
    """A network of the user's, see ``jaxrl.blocks.networks``: called with observations of any batch axes PyTree[..., ...].

    network: ``(observation_space, num_outputs) -> flax module``.
    observation_space: of what it is shown; None for a vector float32[..., G] of whatever length.
    num_outputs: K. Returns float32[..., K].
    """

    network: Callable
    observation_space: Space | None
    num_outputs: int

    @nn.compact
    def __call__(self, obs):
        space = self.observation_space or Box(-jnp.inf, jnp.inf, (obs.shape[-1],))
        one = spaces.example(space)
        leaf, item = jax.tree.leaves(obs)[0], jax.tree.leaves(one)[0]
        batch = leaf.shape[: leaf.ndim - item.ndim]
        flat = jax.tree.map(lambda leaf, item: shard_batch(leaf.reshape(-1, *item.shape)), obs, one)
        module = self.network(space, self.num_outputs)
        must, fix = "network must return a flax module", "Build it inside the function."
        require(isinstance(module, nn.Module), "network", must, module, fix)
        outputs = module(flat)
        expected, found = (math.prod(batch), self.num_outputs), jnp.shape(outputs)
        must, fix = f"network must return outputs of shape {expected}", "End it with a layer of num_outputs."
        require(found == expected, "network", must, found, fix)
        return outputs.reshape(*batch, self.num_outputs)


def flattened(space: Space, channels: tuple[int, ...], activation: str, obs: Any) -> jax.Array:
    """Returns the features float32[..., F] of observations: through convolutions if there are ``channels``, else as they are."""
    return CNN(channels, activation)(obs.astype(jnp.float32)) if channels else spaces.flatten(space, obs)
