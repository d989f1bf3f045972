"""A model of an environment in states of a network's own: where actions lead, what they pay, and what to do there."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.blocks.networks.layers import CNN, MLP, Own
from jaxrl.core import spaces
from jaxrl.core.spaces import Space


class LatentModel(nn.Module):
    """The representation h, the dynamics g and the prediction f of MuZero, with latent states float32[..., H] in [0, 1].

    observation_space: what is seen. num_actions: A. num_atoms: M, logits of every reward and value.
    latent_size: H.
    hidden, activation: the hidden layers of each function. channels: of a convolution in h over image observations.
    network: of the user's, in place of h; see ``jaxrl.blocks.networks``.

    Source: Schrittwieser et al. (2020), appendix G.
    """

    observation_space: Space
    num_actions: int
    num_atoms: int
    latent_size: int = 64
    hidden: tuple[int, ...] = (64,)
    activation: str = "relu"
    channels: tuple[int, ...] = ()
    network: Callable | None = None

    def setup(self):
        layers = self.hidden, self.activation
        if self.network is None:
            self.representation = MLP(*layers, self.latent_size)
        else:
            self.representation = Own(self.network, self.observation_space, self.latent_size)
        self.convolution = CNN(self.channels) if self.channels else None
        self.dynamics = MLP(*layers, self.latent_size)
        # Small last layers: at first no reward, no value and no preference.
        self.reward = MLP(*layers, self.num_atoms, 0.01)
        self.policy = MLP(*layers, self.num_actions, 0.01)
        self.value = MLP(*layers, self.num_atoms, 0.01)

    def represent(self, obs):
        """h: returns the latent states float32[..., H] of observations PyTree[..., ...]."""
        if self.network is None:
            convolution = self.convolution
            obs = convolution(obs.astype(jnp.float32)) if convolution else spaces.flatten(self.observation_space, obs)
        return _scaled(self.representation(obs))

    def step(self, latent, action):
        """g: returns the next latent states and the reward logits float32[..., M] of actions int32[...]."""
        x = jnp.concatenate([latent, jax.nn.one_hot(action, self.num_actions, dtype=jnp.float32)], axis=-1)
        return _scaled(latent + self.dynamics(x)), self.reward(x)

    def predict(self, latent):
        """f: returns the policy logits float32[..., A] and the value logits float32[..., M]."""
        return self.policy(latent), self.value(latent)

    def __call__(self, obs, action):
        latent = self.represent(obs)
        return self.step(latent, action), self.predict(latent)


def _scaled(latent: jax.Array) -> jax.Array:
    """Scales each latent state to [0, 1], the range of the one-hot actions beside it."""
    low, high = latent.min(-1, keepdims=True), latent.max(-1, keepdims=True)
    return (latent - low) / jnp.maximum(high - low, 1e-5)
