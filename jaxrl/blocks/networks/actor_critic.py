"""Policies, and a policy beside a value, on features that they may share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.blocks import distributions
from jaxrl.blocks.networks.layers import CNN, MLP, Own, flattened
from jaxrl.blocks.networks.memory import MEMORY_FIELDS, core, initial_memory, unroll
from jaxrl.core import spaces
from jaxrl.core.environment import Environment
from jaxrl.core.spaces import Box, Space


class Actor(nn.Module):
    """The outputs of a policy, float32[..., K] from observations PyTree[..., ...] of any batch axes; feed-forward.

    observation_space: what is seen. num_outputs: K.
    hidden, activation, channels, network: as in ``ActorCritic``.
    """

    observation_space: Space
    num_outputs: int
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    channels: tuple[int, ...] = ()
    network: Callable | None = None

    @nn.compact
    def __call__(self, obs):
        if self.network is not None:
            return Own(self.network, self.observation_space, self.num_outputs)(obs)
        x = flattened(self.observation_space, self.channels, self.activation, obs)
        # A small last layer starts the policy in the middle of the actions (Andrychowicz et al. 2021, section 3.2).
        return MLP(self.hidden, self.activation, self.num_outputs, 0.01)(x)


class ActorCritic(nn.Module):
    """An actor and a critic, on features that may come from a convolution and a recurrent core they share.

    observation_space, action_space: what is seen and done.
    hidden: sizes of the hidden layers of each of the two.
    channels: of a convolution over image observations (Box of shape [H, W, C]); empty for none.
    memory_size: of a recurrent core before the two; 0 for none.
    memory, memory_length, memory_heads, memory_layers: which core; see ``jaxrl.blocks.networks.memory``.
    agent_ids: N, appends to the features of each of N agents (the last batch axis) its number, one-hot; 0 for none.
    centralized: whether the critic sees a global observation float32[..., G] in place of the features, with a core of its own.
    num_values: how many values the critic estimates, one for each of as many agents; None for one value without an axis.
    network: of the user's, for actor and critic each, in place of all layers; see ``jaxrl.blocks.networks``. Feed-forward.
    policy_head: the distribution over Box actions; see ``jaxrl.blocks.distributions.of_space``.

    The head is float32[..., A] logits for Discrete actions, float32[..., sum(nvec)] for MultiDiscrete ones, and (mean, log_std),
    each float32[..., D], for Box actions, or the two arguments of a Beta distribution; of a nested space, a head for every part.
    ``network`` has the outputs of all parts, one after another, without the deviations: these depend on no observation.
    """

    observation_space: Space
    action_space: Space
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    channels: tuple[int, ...] = ()
    memory_size: int = 0
    agent_ids: int = 0
    centralized: bool = False
    num_values: int | None = None
    network: Callable | None = None
    policy_head: str = "gaussian"
    memory: str = "gru"
    memory_length: int = 32
    memory_heads: int = 4
    memory_layers: int = 1

    def setup(self):
        self.convolution = CNN(self.channels) if self.channels else None
        self.embedding = MLP(self.hidden[:1], self.activation) if self.memory_size else None
        self.core = core(self)
        if self.centralized and self.memory_size:
            self.global_embedding, self.global_core = MLP(self.hidden[:1], self.activation), core(self)
        outputs = distributions.num_outputs(self.action_space, self.policy_head)
        normal = self.policy_head != "beta" and any(isinstance(part, Box) for part in spaces.parts(self.action_space))
        self.log_std = self.param("log_std", _first_log_std, self.action_space) if normal else None
        num_values = 1 if self.num_values is None else self.num_values
        if self.network is not None:
            self.actor = Own(self.network, self.observation_space, outputs)
            self.critic = Own(self.network, None if self.centralized else self.observation_space, num_values)
            return
        # A small last layer starts the policy near uniform (Andrychowicz et al. 2021, section 3.2).
        self.actor = MLP(self.hidden, self.activation, outputs, 0.01)
        self.critic = MLP(self.hidden, self.activation, num_values, 1.0)

    def features(self, obs, first, memory):
        """Turns observations PyTree[T, B, ...] into features float32[T, B, F] and the memories PyTree[T, B, ...].

        A network of the user's sees the observations themselves: they are its features.

        first: bool[T, B], an episode starts here: what came before is forgotten. memory: PyTree[B, ...], before step 0.
        """
        if self.network is not None:
            return obs, memory
        x = self.convolution(obs.astype(jnp.float32)) if self.convolution else spaces.flatten(self.observation_space, obs)
        if self.agent_ids:
            ids = jnp.eye(self.agent_ids, dtype=jnp.float32)
            x = jnp.concatenate([x, jnp.broadcast_to(ids, (*x.shape[:-1], self.agent_ids))], axis=-1)
        if self.core is None or self.embedding is None:
            return x, memory
        return unroll(self.core, memory, self.embedding(x), first)

    def critic_features(self, obs, first, memory, global_obs=None):
        """As ``features``, of what the critic looks at. ``memory`` is the critic's: the actor's, unless it is central."""
        if not self.centralized:
            return self.features(obs, first, memory)
        if not self.memory_size:
            return global_obs, memory
        return unroll(self.global_core, memory, self.global_embedding(global_obs), first)

    def head(self, features):
        """Returns the parameters of the action distribution; see ``jaxrl.blocks.distributions.of_space``."""

        def one(part, output, log_std):
            if not isinstance(part, Box):
                return output
            return tuple(jnp.split(output, 2, -1)) if log_std is None else (output, jnp.broadcast_to(log_std, output.shape))

        sizes = [distributions.num_outputs(part, self.policy_head) for part in spaces.parts(self.action_space)]
        outputs = spaces.split_features(self.action_space, self.actor(features), sizes)
        return spaces.map_parts(one, self.action_space, outputs, self.log_std)

    def distribution(self, outputs, mask=None):
        """Returns the distribution over actions that ``head`` describes. mask: the legal actions, or None."""
        return distributions.of_space(self.action_space, outputs, mask, self.policy_head)

    def value(self, features):
        """Returns the value estimates float32[T, B], or float32[T, B, num_values]."""
        values = self.critic(features)
        return values[..., 0] if self.num_values is None else values

    def act(self, obs, first, memory):
        """Returns the parameters of the action distribution and the memories; arguments as for ``features``."""
        features, memories = self.features(obs, first, memory)
        return self.head(features), memories

    def assess(self, obs, first, memory, global_obs=None):
        """Returns the value estimates and the critic's memories; arguments as for ``critic_features``."""
        features, memories = self.critic_features(obs, first, memory, global_obs)
        return self.value(features), memories

    def assess_next(self, obs, memory, global_obs=None):
        """Returns the value estimates float32[B], or float32[B, num_values], of the next step of episodes under way.

        obs: PyTree[B, ...]. memory: PyTree[B, ...], the critic's, which has taken in the observations before.
        """
        obs, global_obs = jax.tree.map(lambda leaf: leaf[None], (obs, global_obs))
        first = jnp.zeros((1, jax.tree.leaves(obs)[0].shape[1]), bool)
        return self.assess(obs, first, memory, global_obs)[0][0]

    def __call__(self, obs, first, memory, global_obs=None, critic_memory=()):
        features, _ = self.features(obs, first, memory)
        seen = self.critic_features(obs, first, critic_memory, global_obs)[0] if self.centralized else features
        return self.head(features), self.value(seen)

    def initial_memory(self):
        """Returns the memory of one environment at the start of an episode: zeros, or () without a core."""
        return initial_memory(self)


def actor_critic(env: Environment, config: Any, **agents: Any) -> ActorCritic:
    """Returns the actor and critic for an environment.

    Args:
        env: gives the spaces.
        config: has ``hidden``, ``activation``, ``channels``, ``network``, ``policy_head`` and the fields of a memory.
        agents: further fields of ``ActorCritic``.
    """
    names = "hidden", "activation", "channels", "network", "policy_head", *MEMORY_FIELDS
    return ActorCritic(env.observation_space, env.action_space, **{name: getattr(config, name) for name in names}, **agents)


def _first_log_std(key: jax.Array, space: Space) -> Any:
    """Returns the logarithm of a deviation of 1 for every entry of an action, float32[D] at each Box, None at other parts."""

    def one(part):
        return jnp.zeros(spaces.flat_size(part), jnp.float32) if isinstance(part, Box) else None

    return spaces.map_parts(one, space)
