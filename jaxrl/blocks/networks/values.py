"""Action values: of all actions that there are, or of one that is given."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.blocks.networks.layers import CNN, MLP, Own, flattened
from jaxrl.blocks.networks.memory import core, initial_memory, unroll
from jaxrl.core import spaces
from jaxrl.core.spaces import Box, Space


class QNetwork(nn.Module):
    """Action values, on features that may come from a convolution and a recurrent core.

    observation_space: what is seen. num_actions: A.
    hidden: sizes of the hidden layers.
    channels: of a convolution over image observations (Box of shape [H, W, C]); empty for none.
    dueling: the last hidden layer is split into two streams, Q = V + A - mean A (Wang et al. 2016, eq. 9).
    network: of the user's, in place of all layers; see ``jaxrl.blocks.networks``. Feed-forward.
    memory_size: H, of a core before the hidden layers, as in ``ActorCritic``; 0 for none.
    memory, memory_length, memory_heads, memory_layers: which core; see ``jaxrl.blocks.networks.memory``.
    num_atoms: N, outputs for each action, of which a value head makes its value (``jaxrl.blocks.value_heads``); 0 for one number
        without an axis of its own.
    layer_norm: as in ``MLP``, in the hidden layers.

    Called with observations PyTree[..., ...] of any batch axes and, with a core, the memories PyTree[..., ...] that came
    before them, returns float32[..., A], with atoms float32[..., A, N].
    """

    observation_space: Space
    num_actions: int
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    channels: tuple[int, ...] = ()
    dueling: bool = False
    network: Callable | None = None
    memory_size: int = 0
    num_atoms: int = 0
    layer_norm: bool = False
    memory: str = "gru"
    memory_length: int = 32
    memory_heads: int = 4
    memory_layers: int = 1

    def setup(self):
        each = max(self.num_atoms, 1)
        self.convolution = CNN(self.channels) if self.channels else None
        self.embedding = MLP(self.hidden[:1], self.activation) if self.memory_size else None
        self.core = core(self)
        if self.network is not None:
            self.values = Own(self.network, self.observation_space, self.num_actions * each)
        elif self.dueling:
            self.shared = MLP(self.hidden[:-1], self.activation, layer_norm=self.layer_norm)
            self.value_stream = MLP(self.hidden[-1:], self.activation, each, layer_norm=self.layer_norm)
            outputs = self.num_actions * each
            self.advantage_stream = MLP(self.hidden[-1:], self.activation, outputs, layer_norm=self.layer_norm)
        else:
            self.values = MLP(self.hidden, self.activation, self.num_actions * each, layer_norm=self.layer_norm)

    def inputs(self, obs):
        """Turns observations into what the first layer sees: float32[..., F], or themselves for a network of the user's."""
        if self.network is not None:
            return obs
        return self.convolution(obs.astype(jnp.float32)) if self.convolution else spaces.flatten(self.observation_space, obs)

    def features(self, obs, first, memory):
        """Turns a sequence into what the hidden layers see, float32[T, B, F], and the memories PyTree[T, B, ...].

        obs: PyTree[T, B, ...]. first: bool[T, B], an episode starts here: what came before is forgotten. memory: PyTree[B, ...],
        before step 0. Without a core, the batch axes are any, ``first`` is not read and the memories are what was given.
        """
        x = self.inputs(obs)
        if self.core is None or self.embedding is None:
            return x, memory
        return unroll(self.core, memory, self.embedding(x), first)

    def next_features(self, obs, memory):
        """Turns the next observations PyTree[..., ...] of episodes under way into features float32[..., F] and memories.

        memory: PyTree[..., ...], which has taken in the observations before; zeros where there are none, () without a core.
        """
        if self.core is None:
            return self.features(obs, None, memory)
        leaf, one = jax.tree.leaves(memory)[0], jax.tree.leaves(self.initial_memory())[0]
        batch = leaf.shape[: leaf.ndim - one.ndim]
        obs, flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]), (obs, memory))
        first = jnp.zeros((1, math.prod(batch)), bool)
        found = self.features(jax.tree.map(lambda leaf: leaf[None], obs), first, flat)
        return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[2:]), found)

    def head(self, features):
        """Returns the action values float32[..., A], or their atoms float32[..., A, N]."""
        if not self.dueling:
            return self._by_action(self.values(features))
        value, advantage = self._split(features)
        return value + advantage

    def _split(self, features):
        shared = self.shared(features)
        advantage = self._by_action(self.advantage_stream(shared))
        value = self.value_stream(shared)
        if self.num_atoms:
            value = value[..., None, :]
        return value, advantage - advantage.mean(-2 if self.num_atoms else -1, keepdims=True)

    def _by_action(self, outputs):
        return outputs.reshape(*outputs.shape[:-1], self.num_actions, self.num_atoms) if self.num_atoms else outputs

    def streams(self, obs, memory=()):
        """Returns the two streams of the dueling network: the value float32[..., 1] and the advantages float32[..., A].

        With atoms they are float32[..., 1, N] and float32[..., A, N].
        """
        return self._split(self.next_features(obs, memory)[0])

    def unroll(self, obs, first, memory):
        """Returns the outputs float32[T, B, A] (with atoms [T, B, A, N]) of a sequence and the memories; see ``features``."""
        features, memories = self.features(obs, first, memory)
        return self.head(features), memories

    def step(self, obs, memory):
        """Returns the outputs float32[..., A] (with atoms [..., A, N]) of next observations and the memories."""
        features, memory = self.next_features(obs, memory)
        return self.head(features), memory

    def __call__(self, obs, memory=()):
        return self.step(obs, memory)[0]

    def initial_memory(self):
        """Returns the memory of one environment at the start of an episode: zeros, or () without a core."""
        return initial_memory(self)


class Critic(nn.Module):
    """The value of what is seen and done: float32[...] of an observation and an action of a Box, float32[..., A] of all
    Discrete actions.

    observation_space, action_space: what is seen and done.
    hidden, activation, channels: as in ``ActorCritic``.
    network: of the user's; for a Box, it sees the tuple of observation and action.
    """

    observation_space: Space
    action_space: Space
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    channels: tuple[int, ...] = ()
    network: Callable | None = None

    @nn.compact
    def __call__(self, obs, action=None):
        """obs: PyTree[..., ...]. action: float32[..., D] of a Box as the policy draws it, None of Discrete ones."""
        size = spaces.flat_size(self.action_space)
        if action is None:
            return self._outputs(size, self.observation_space, obs)
        seen = spaces.Tuple.of(self.observation_space, Box(-jnp.inf, jnp.inf, (size,)))
        return self._outputs(1, seen, (obs, action), obs, action)[..., 0]

    def _outputs(self, count, space, inputs, *parts):
        if self.network is not None:
            return Own(self.network, space, count)(inputs)
        obs, *action = parts or (inputs,)
        x = flattened(self.observation_space, self.channels, self.activation, obs)
        return MLP(self.hidden, self.activation, count)(jnp.concatenate([x, *action], axis=-1))


def critics(count: int, *fields: Any) -> nn.Module:
    """Returns several critics side by side, with parameters of their own: called as ``Critic``, returns [N, ...].

    count: N. fields: of ``Critic``.
    """
    vmap: Any = nn.vmap  # its annotations know one axis of all inputs only
    side_by_side = vmap(
        Critic, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, out_axes=0, axis_size=count
    )
    return side_by_side(*fields)
