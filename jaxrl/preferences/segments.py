"""Segments of behaviour and preferences between them: the data that reward models are fitted to.

Segments come from any environment and policy (``collect``), or from a user. A preference names two segments of a pool by their
numbers, so a segment that is compared often is stored once.

Source: Christiano et al. (2017), section 2.2.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl import rollout
from jaxrl.env import Environment, PyTree
from jaxrl.rollout import Decision, Policy, Transition


class Segments(NamedTuple):
    """A pool of N segments of at most T steps each.

    obs, action, next_obs: PyTree[N, T, ...]; next_obs is the true successor.
    mask: bool[N, T], True where the segment has this step; a segment ends where its episode ended.
    reward: float32[N, T], what the environment paid. The labeller may know it, the reward model never sees it. None where
        nobody knows.
    """

    obs: PyTree
    action: PyTree
    next_obs: PyTree
    mask: jax.Array
    reward: jax.Array | None = None

    @property
    def count(self) -> int:
        """N, how many segments there are."""
        return self.mask.shape[0]


@struct.dataclass
class Preferences:
    """P comparisons between segments of a pool.

    segments: the pool.
    first, second: int32[P], the numbers of the two segments in the pool.
    label: float32[P] in [0, 1], the probability that the first is preferred: 1 first, 0 second, 1/2 neither.
    weight: float32[P], at least 0; a comparison that was skipped has 0.
    """

    segments: Segments
    first: jax.Array
    second: jax.Array
    label: jax.Array
    weight: jax.Array

    @property
    def count(self) -> int:
        """P, how many comparisons there are."""
        return self.label.shape[0]


def take(segments: Segments, index: jax.Array) -> Segments:
    """Returns the segments with these numbers; index: int32[M]."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), segments)


def cut(batch: Transition) -> Segments:
    """Turns transitions [T, E, ...] into E segments, each ending where the first episode in it ends."""
    over = jnp.cumsum(batch.done, axis=0) - batch.done > 0
    parts = Segments(batch.obs, batch.action, batch.next_obs, ~over, batch.reward)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), parts)


def collect(key: jax.Array, env: Environment, policy: Policy, num_segments: int, length: int, memory: PyTree = ()) -> Segments:
    """Collects segments from the beginnings of fresh episodes.

    Args:
        key: one key.
        env: an environment without agents.
        policy: see ``jaxrl.rollout.Policy``; it acts in all segments side by side.
        num_segments: N.
        length: T, steps of a segment.
        memory: the policy's, for one environment.
    """
    start_key, step_key = jax.random.split(key)
    episodes = rollout.start(start_key, env, num_segments, memory)
    return cut(rollout.unroll(step_key, env, policy, episodes, length)[1])


def single_steps(obs: PyTree, action: PyTree) -> Segments:
    """Returns segments of one step each, for contexts and responses; obs, action: PyTree[N, ...]."""
    obs, action = jax.tree.map(lambda leaf: leaf[:, None], (obs, action))
    return Segments(obs, action, obs, jnp.ones((jax.tree.leaves(action)[0].shape[0], 1), bool))


def mixture(policies: jax.Array) -> Policy:
    """Returns the policy that follows table m in environments m, m + M, m + 2 M, ...

    Args:
        policies: float32[M, X, A], the probabilities of the actions for each observation number; several tables give segments
            of different quality.
    """

    def act(key, view):
        table = jnp.arange(view.obs.shape[0]) % policies.shape[0]
        return Decision(jax.random.categorical(key, jnp.log(policies[table, view.obs])).astype(jnp.int32))

    return act


def sample_pairs(key: jax.Array, num_segments: int, num_pairs: int) -> tuple[jax.Array, jax.Array]:
    """Draws pairs of two different segments uniformly; returns their numbers, int32[P] each."""
    first_key, other_key = jax.random.split(key)
    first = jax.random.randint(first_key, (num_pairs,), 0, num_segments, jnp.int32)
    others = jax.random.randint(other_key, (num_pairs,), 1, num_segments, jnp.int32)
    return first, (first + others) % num_segments


def summed(rewards: jax.Array, mask: jax.Array, discount: jax.Array | float = 1.0) -> jax.Array:
    """Returns the sum of the rewards of each segment, float32[N].

    Args:
        rewards: float32[N, T].
        mask: bool[N, T].
        discount: in [0, 1], of steps further from the end; below 1 it is a judge who remembers the end best (Lee et al. 2021,
            "B-Pref", section 3.1, myopic).
    """
    after = mask.sum(-1, keepdims=True) - 1 - jnp.arange(mask.shape[-1])
    weight = jnp.asarray(discount, rewards.dtype) ** jnp.maximum(after, 0)
    return jnp.sum(jnp.where(mask, weight * rewards, 0.0), axis=-1)


def scores(reward: Callable, params: PyTree, segments: Segments) -> jax.Array:
    """Returns the sum of a reward function over each segment, float32[N].

    Args:
        reward: ``(params, obs, action, next_obs) -> float32[...]`` for any leading axes, as the models of
            ``jaxrl.preferences.reward_models``; an advantage function gives regret-based preferences (Knox et al. 2022).
        params: its parameters.
        segments: the pool.
    """
    return summed(reward(params, segments.obs, segments.action, segments.next_obs), segments.mask)
