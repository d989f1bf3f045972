"""Off-policy learning: a learner that acts, stores, and makes gradient steps on minibatches of stored steps, in turn.

    fill the replay memory with random steps
    repeat
        take T steps in each of E environments, and store them
        G times: sample a minibatch, and learn from it

Here stand the sizes, the stored steps, the random beginning and the loop; an algorithm says how it acts and what it learns.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import replay, value_heads
from jaxrl.blocks.losses import squared_value_loss
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.blocks.returns import one_step_target
from jaxrl.core import masks, rollout, spaces
from jaxrl.core.algorithm import PolicyOf
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, Episode, Policy, Transition, View
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require, require_counts


@struct.dataclass
class OffPolicyConfig:
    """Sizes and layers of an off-policy learner. They set shapes: none is traced."""

    num_envs: int = static(default=1)  # E, environments side by side (count)
    num_steps: int = static(default=1)  # T, of each environment between two rounds of learning (count)
    num_gradient_steps: int = static(default=1)  # G, in each round of learning (count)
    num_rounds: int = static(default=100)  # rounds of acting and learning in one update; its metrics are means (count)
    batch_size: int = static(default=256)  # stored steps in one gradient step (count)
    buffer_size: int = static(default=100_000)  # steps that are kept (count)
    learning_starts: int = static(default=1_000)  # steps with random actions before the first update, at least (count)
    hidden: tuple[int, ...] = static(default=(256, 256))  # layer sizes of each network
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    # A network of your own in place of these layers: (observation_space, num_outputs) -> flax module; see jaxrl.blocks.networks.
    # A critic of real actions is shown the tuple of observation and action.
    network: Callable | None = static(default=None)

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps * self.num_rounds

    @property
    def warm_up_steps(self) -> int:
        """Steps that each environment takes before the first update."""
        return -(-self.learning_starts // self.num_envs)

    @property
    def steps_before_first_update(self) -> int:
        """Environment steps of one seed before the first update: the random ones that fill the buffer."""
        return self.warm_up_steps * self.num_envs

    def require_buffer(self, where: str) -> None:
        """Raises ConfigError unless the buffer holds a minibatch, the first steps and those of a round. where: who asks."""
        require_counts(where, self, "batch_size", "buffer_size", "learning_starts")
        size = self.buffer_size
        for name, count in (
            ("batch_size", self.batch_size),
            ("learning_starts", self.warm_up_steps * self.num_envs),
            ("num_envs * num_steps", self.num_envs * self.num_steps),
        ):
            must = f"buffer_size must be at least {name} ({count})"
            require(size >= count, where, must, size, f"Try buffer_size={count}.")


class Experience(NamedTuple):
    """The stored part of a step; see ``rollout.Transition``. A time limit is no part of it: the target reaches beyond.

    action: as the policy drew it: a number, or float32[..., D] before it was scaled to the bounds of the action space.
    """

    obs: PyTree
    action: jax.Array
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    mask: jax.Array | None
    next_mask: jax.Array | None


def experience(batch: Transition) -> Experience:
    """Returns what is stored of the steps [T, E, ...], in the order of time, leaves [T * E, ...].

    The policy noted its draw as ``extras["raw_action"]``.
    """
    raw = batch.extras["raw_action"]
    what = batch.obs, raw, batch.reward, batch.next_obs, batch.terminated, batch.mask, batch.next_mask
    return rollout.flattened(Experience(*what))


def random_policy(env: Environment) -> Policy:
    """Returns the policy that draws legal actions uniformly, standard normal ones where a Box is unbounded."""
    space: Any = env.action_space
    agents = () if env.num_agents is None else (env.num_agents,)

    def act(key: jax.Array, view: View) -> Decision:
        batch = (jax.tree.leaves(view.obs)[0].shape[0], *agents)
        if isinstance(space, Box):
            shape = (*batch, spaces.flat_size(space))
            raw = (
                jax.random.uniform(key, shape, jnp.float32, -1.0) if space.bounded else jax.random.normal(key, shape, jnp.float32)
            )
        else:
            raw = masks.sample(key, space, view.mask, batch)
        return Decision(spaces.from_unit(space, raw), {"raw_action": raw})

    return act


def begin(key: jax.Array, env: Environment, config: Any) -> tuple[Episode, ReplayBuffer]:
    """Fills the replay memory with random steps.

    Args:
        key: one key.
        env: with actions that are Discrete or a Box.
        config: has ``num_envs``, ``warm_up_steps`` and ``buffer_size``.

    Returns:
        The E episodes under way, and the buffer of ``Experience``.
    """
    episode_key, act_key = jax.random.split(key)
    episodes = rollout.start(episode_key, env, config.num_envs)
    episodes, batch = rollout.unroll(act_key, env, random_policy(env), episodes, config.warm_up_steps)
    steps = experience(batch)
    one = jax.tree.map(lambda leaf: leaf[0], steps)
    return episodes, replay.add(replay.create(one, config.buffer_size), steps)


def updates(env: Environment, config: OffPolicyConfig, policy: PolicyOf, learn: Callable) -> Callable:
    """Returns the update of a learner: rounds of acting, storing and learning, with the means of their metrics.

    Args:
        env: the environment.
        config: the sizes.
        policy: of the algorithm; it explores by its sampled policy, which notes its draws as ``extras["raw_action"]``.
        learn: ``(state, key) -> (state, metrics)``, from stored steps; the state has ``episodes`` and ``buffer``.
    """

    def round_(state: Any, key: jax.Array):
        act_key, learn_key = jax.random.split(key)
        episodes, batch = rollout.unroll(act_key, env, policy(state, False), state.episodes, config.num_steps)
        state = replace(state, episodes=episodes, buffer=replay.add(state.buffer, experience(batch)))
        state, metrics = scan(learn, state, jax.random.split(learn_key, config.num_gradient_steps))
        return state, (metrics, batch)

    def update(state: Any, key: jax.Array):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        return state, jax.tree.map(jnp.mean, metrics) | rollout.episode_metrics(batch)

    return update


def moved(due: jax.Array, step_size: jax.Array | float, params: PyTree, target_params: PyTree) -> PyTree:
    """Returns the parameters of a target network, moved towards those of the network where that is due.

    Args:
        due: bool[].
        step_size: tau in [0, 1], how far; 1 copies them.
        params, target_params: of the network and the target network.
    """
    nearer = optax.incremental_update(params, target_params, step_size)
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), nearer, target_params)


def taken_values(space: Any, critics: Any, params: PyTree, steps: Experience) -> jax.Array:
    """Returns Q_i(s, a) of the steps Experience[B], float32[N, B] of N critics. space: of the actions."""
    if isinstance(space, Discrete):
        return jax.vmap(value_heads.chosen, (0, None))(critics.apply(params, steps.obs), steps.action)
    return critics.apply(params, steps.obs, steps.action)


def smoothed(key: jax.Array, action: jax.Array, deviation: jax.Array | float, largest: jax.Array | float) -> jax.Array:
    """Returns actions with clipped normal noise, kept within [-1, 1], float32[B, D].

    Args:
        key: one key.
        action: float32[B, D], in units of half the range.
        deviation, largest: of the noise, in the same units.

    Source: Fujimoto et al. (2018), equation 14 (target policy smoothing).
    """
    noise = jnp.clip(deviation * jax.random.normal(key, action.shape, jnp.float32), -largest, largest)
    return jnp.clip(action + noise, -1.0, 1.0)


def least_value_target(critics: Any, params: PyTree, next_action: jax.Array, gamma: jax.Array | float, steps: Experience):
    """Returns y = r + gamma min_i Q_i(s', a') of Experience[B], float32[B].

    Args:
        critics: N networks, with ``params``.
        next_action: float32[B, D], a'.
        gamma: discount in [0, 1].
        steps: the steps.

    Source: Fujimoto et al. (2018), equation 10 (clipped double Q-learning).
    """
    next_value = critics.apply(params, steps.next_obs, next_action).min(0)
    return one_step_target(steps.reward, next_value, steps.terminated, gamma)


def critic_loss(space: Any, critics: Any, params: PyTree, batch: tuple[Experience, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns the sum over critics of 1/2 (Q_i(s, a) - y)^2, its mean over the batch, and metrics.

    batch: Experience[B] and its targets y, float32[B].
    """
    steps, target = batch
    found = taken_values(space, critics, params, steps)
    loss = squared_value_loss(found, jnp.broadcast_to(target, found.shape)).sum(0).mean()
    return loss, {"critic_loss": loss, "q_value": found.mean()}
