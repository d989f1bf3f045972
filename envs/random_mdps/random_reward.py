"""Random rewards: an environment's own reward is replaced by a random function of what is observed and done.

    space = env.observation_space
    weights = random_reward.draw(key, space, env.action_space)
    env = jaxrl.core.transforms.with_reward(env, random_reward.RandomReward(space), weights)

Over a discrete observation the function is a table with a number for each observation and action, over features it is linear. A
finite environment stays finite and is solved exactly. The weights are a traced part of it, so many rewards can be vmapped.

Source: Lyle et al. (2021), On the effect of auxiliary tasks on representation dynamics (random rewards as tasks).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxrl.core.spaces import Discrete, Space, flat_size, flatten


@dataclass(frozen=True)
class RandomReward:
    """The reward of an observation and an action: ``flatten(observation) @ weights[:, action]``.

    observation_space: what is observed.
    """

    observation_space: Space

    def __call__(self, weights: jax.Array, obs, action, next_obs) -> jax.Array:
        if isinstance(self.observation_space, Discrete):
            return weights[obs, action]
        return flatten(self.observation_space, obs) @ weights[:, action]


def draw(
    key: jax.Array, observation_space: Space, action_space: Discrete, share: jax.Array | float = 1.0, deviation: float = 1.0
) -> jax.Array:
    """Draws weights, float32[F, A] for F features (observations, where these are discrete).

    Args:
        key: one key.
        observation_space, action_space: the environment's.
        share: in [0, 1], how many of the weights are not 0; small makes a sparse reward.
        deviation: of the weights that are not 0, which are normal.
    """
    weight_key, place_key = jax.random.split(key)
    shape = (flat_size(observation_space), action_space.n)
    weights = deviation * jax.random.normal(weight_key, shape, jnp.float32)
    return jnp.where(jax.random.uniform(place_key, shape, jnp.float32) < share, weights, 0.0)
