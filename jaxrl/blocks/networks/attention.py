"""Causal attention over sequences, and the network of the Decision Transformer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.blocks.networks.layers import MLP, Own, activation, flattened
from jaxrl.core.spaces import Space


class Block(nn.Module):
    """Attention and a layer of four times the width, each added to its normalised input (pre-norm; Xiong et al. 2020).

    num_heads: H, must divide the width F. activation: of the layer between.

    Called with float32[..., L, F] and a mask bool[..., 1, L, L], True where the token of a row sees that of a column, returns
    float32[..., L, F].
    """

    num_heads: int
    activation: str = "gelu"

    @nn.compact
    def __call__(self, x, mask):
        width = x.shape[-1]
        normal = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(self.num_heads, name="attention")(normal, mask=mask)
        hidden = activation(self.activation)(nn.Dense(4 * width)(nn.LayerNorm()(x)))
        return x + nn.Dense(width)(hidden)


class CausalTransformer(nn.Module):
    """A transformer in which a token sees itself and the valid ones before it.

    num_layers: blocks. num_heads: in each. num_positions: P, learned vectors of places in time.

    Called with tokens float32[..., L, F], their places int32[..., L] in 0 .. P - 1 (beyond the end, the last), and whether they
    are valid, bool[..., L], returns float32[..., L, F]. No output depends on a later token, and a valid one on no padding.

    Source: Vaswani et al. (2017), "Attention Is All You Need"; Radford et al. (2019), normalised at the input of each layer.
    """

    num_layers: int
    num_heads: int
    num_positions: int
    activation: str = "gelu"

    @nn.compact
    def __call__(self, tokens, position, valid):
        length, width = tokens.shape[-2:]
        place = jnp.clip(position, 0, self.num_positions - 1)
        x = tokens + nn.Embed(self.num_positions, width, name="positions")(place)
        # Padding sees itself: a row of attention with nothing to see would spread over everything, the future too.
        seen = jnp.tri(length, dtype=bool) & (valid[..., None, :] | jnp.eye(length, dtype=bool))
        for _ in range(self.num_layers):
            x = Block(self.num_heads, self.activation)(x, seen[..., None, :, :])
        return nn.LayerNorm()(x)


class DecisionTransformer(nn.Module):
    """Outputs for the actions of K steps, from the returns to go, the observations and the actions before each.

    observation_space: what is seen. num_outputs: of each action, D: logits, or the entries of a Box.
    hidden, activation, channels, network: of the layers between an observation and its token, as in ``ActorCritic``.
    width: F, of a token. num_layers, num_heads: of the transformer. num_positions: P, steps that an episode can have.

    Called with to_go float32[..., K], obs PyTree[..., K, ...], action float32[..., K, D] (numbers one-hot), t int32[..., K] and
    valid bool[..., K], returns float32[..., K, num_outputs]. The outputs of a step see its return to go and its observation,
    but not its action.

    Source: Chen et al. (2021), "Decision Transformer", section 3 and algorithm 1.
    """

    observation_space: Space
    num_outputs: int
    hidden: tuple[int, ...] = (128,)
    activation: str = "gelu"
    channels: tuple[int, ...] = ()
    network: Callable | None = None
    width: int = 128
    num_layers: int = 3
    num_heads: int = 1
    num_positions: int = 1000

    def _embed(self, obs: Any) -> jax.Array:
        if self.network is not None:
            return Own(self.network, self.observation_space, self.width)(obs)
        features = flattened(self.observation_space, self.channels, self.activation, obs)
        return MLP(self.hidden, self.activation, self.width)(features)

    @nn.compact
    def __call__(self, to_go, obs, action, t, valid):
        parts = nn.Dense(self.width)(to_go[..., None]), self._embed(obs), nn.Dense(self.width)(action)
        tokens = jnp.stack(parts, axis=-2)  # [..., K, 3, F]: return to go, observation, action
        batch, (steps, kinds, width) = tokens.shape[:-3], tokens.shape[-3:]
        tokens = tokens.reshape(*batch, steps * kinds, width)
        t, valid = (jnp.repeat(each, kinds, axis=-1) for each in (t, valid))
        transformer = CausalTransformer(self.num_layers, self.num_heads, self.num_positions, self.activation)
        x = transformer(tokens, t, valid).reshape(*batch, steps, kinds, width)
        return nn.Dense(self.num_outputs)(x[..., 1, :])
