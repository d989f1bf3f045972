"""Data sets of labelled responses to one prompt: a bandit with features stands in for a language model.

Source: after Coste et al. (2023), whose comparisons cover the responses unevenly.
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.bandits import contextual_bandit
from jaxrl.algorithms.preferences.labellers import Labeller, ask
from jaxrl.algorithms.preferences.segments import Preferences, single_steps
from jaxrl.core.environment import static


@struct.dataclass
class LabelledResponses:
    """A task of ``reward_fitting`` with a new world for every seed: gold, coverage and features drawn, pairs labelled.

    The pool holds every response once, its number as the action and its features as the observation; its rewards are gold,
    which has mean 0 and variance 1 over worlds.
    """

    labeller: Labeller
    linear: jax.Array  # float32[] in [0, 1], the share of gold's variance that is linear in the features
    num_responses: int = static()  # K (count)
    num_pairs: int = static()  # labelled comparisons (count)
    num_features: int = static(default=8)  # of a response (count)
    zipf: float = static(default=0.7)  # exponent: the response of rank k is compared in proportion to k ** -zipf

    def __call__(self, key: jax.Array) -> Preferences:
        """Draws the data set of a seed."""
        world_key, pair_key, label_key = jax.random.split(key, 3)
        world = contextual_bandit.draw(world_key, 1, self.num_responses, self.num_features, zipf=self.zipf, linear=self.linear)
        _, first, second = contextual_bandit.sample_pairs(pair_key, world, self.num_pairs)
        segments = single_steps(world.features[0], jnp.arange(self.num_responses, dtype=jnp.int32))
        return ask(label_key, self.labeller, segments._replace(reward=world.gold[0][:, None]), first, second)
