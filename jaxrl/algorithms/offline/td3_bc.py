"""TD3+BC: TD3 on fixed data, whose actor is held to the actions of the data.

    initialise the actor mu, the critics Q_i, and target networks as their copies
    repeat
        d times
            sample a minibatch of transitions (s, a, r, s') of the data
            a' = mu_target(s') + clipped noise
            y = r + gamma min_i Q_target_i(s', a'), or r where the episode terminated
            one Adam step on the critics:    sum_i 1/2 (Q_i(s, a) - y)^2
        one Adam step on the actor:          mean[-lambda Q_1(s, mu(s)) + (mu(s) - a)^2],  lambda = alpha / mean |Q_1(s, mu(s))|
        mu_target, Q_target <- each moved by tau towards mu, Q

Actions and noise are in units of half the range of the action space, and kept within [-1, 1]. alpha = 0 clones the behaviour by
least squares. Observations are taken as they are: the paper scales them by their mean and deviation over the data.

Source: Fujimoto and Gu (2021), "A Minimalist Approach to Offline Reinforcement Learning", equations 3 and 5.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import datasets, networks, off_policy, offline, optimisers
from jaxrl.blocks.datasets import Dataset
from jaxrl.blocks.offline import OfflineConfig
from jaxrl.core import spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree, static
from jaxrl.core.rollout import Decision
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box
from jaxrl.errors import SpaceError, require, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config(OfflineConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 3e-4  # of the actor's Adam
    critic_learning_rate: float = 3e-4  # of the critics' Adam
    gamma: float = 0.99  # discount, in [0, 1]
    alpha: float = 2.5  # weight of the value against the actions of the data, at least 0
    target_step_size: float = 0.005  # tau, in [0, 1]: how far the target networks move towards the networks
    target_noise: float = 0.2  # deviation of the noise of actions in the target, in half ranges
    target_noise_clip: float = 0.5  # the noise of the target is cut to this
    max_grad_norm: float = jnp.inf  # the global norm of each gradient is cut to this
    num_gradient_steps: int = static(default=50)  # of the actor, in one update; its metrics are means (count)
    num_critics: int = static(default=2)  # of which the least is believed (count)
    policy_interval: int = static(default=2)  # d, steps of the critics for each one of the actor (count)

    def validate(self, task: Any) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``task``, DataError where its data are unsound."""
        space, fix = self.require_data("td3_bc", task).action_space, "Use jaxrl.algorithms.offline.implicit_q_learning."
        known = isinstance(space, Box) and space.bounded and not space.integer
        require(known, "td3_bc", "the action_space must be a bounded Box of reals", space, fix, SpaceError)
        require_counts("td3_bc", self, "num_critics", "policy_interval")
        require_numbers("td3_bc", self, "max_grad_norm", "target_noise_clip")
        require_between("td3_bc", self, 0, 1, "gamma", "target_step_size")
        require_between("td3_bc", self, 0, float("inf"), "alpha", "target_noise", "target_noise_clip")
        require_positive("td3_bc", self, "learning_rate", "critic_learning_rate", "max_grad_norm")


@struct.dataclass
class State:
    """actor, critics, target_actor, target_critics: parameters. actor_opt, critic_opt: of the two optimisers.

    data: this seed's own data set, None where all seeds share one.
    """

    actor: PyTree
    critics: PyTree
    target_actor: PyTree
    target_critics: PyTree
    actor_opt: PyTree
    critic_opt: PyTree
    data: Dataset | None = None


def make(task: Any, config: Config) -> Algorithm:
    """Builds TD3+BC on a data set whose actions are a bounded Box, or on a pytree that draws one from a key."""
    given = offline.data_of("td3_bc", task)
    space = given.action_space
    actor: Any = networks.Actor(given.observation_space, spaces.flat_size(space), *config.layers)
    critics: Any = networks.critics(config.num_critics, given.observation_space, space, *config.layers)
    actor_adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    critic_adam = optimisers.adam(config.critic_learning_rate, config.max_grad_norm, eps=1e-8)
    critic_step = optimisers.gradient_step(partial(off_policy.critic_loss, space, critics), critic_adam)

    def mu(params, obs):
        return jnp.tanh(actor.apply(params, obs))

    def begin(key, data):
        sample_key, actor_key, critic_key = jax.random.split(key, 3)
        one = datasets.sample(sample_key, data, 1)
        params, critic_params = actor.init(actor_key, one.obs), critics.init(critic_key, one.obs, one.action)
        return State(params, critic_params, params, critic_params, actor_adam.init(params), critic_adam.init(critic_params))

    def learn_values(state, data, key):
        sample_key, noise_key = jax.random.split(key)
        batch = datasets.sample(sample_key, data, config.batch_size)
        # a' = mu_target(s') + clipped noise; y = r + gamma min_i Q_target_i(s', a').
        next_action = mu(state.target_actor, batch.next_obs)
        next_action = off_policy.smoothed(noise_key, next_action, config.target_noise, config.target_noise_clip)
        target = off_policy.least_value_target(critics, state.target_critics, next_action, config.gamma, batch)
        # One Adam step on the critics.
        (critic_params, critic_opt), metrics = critic_step((state.critics, state.critic_opt), (batch, target))
        return replace(state, critics=critic_params, critic_opt=critic_opt), (metrics, (batch.obs, batch.action))

    def learn(state, data, key):
        keys = jax.random.split(key, config.policy_interval)
        state, (metrics, seen) = scan(lambda state, key: learn_values(state, data, key), state, keys)
        newest = jax.tree.map(lambda leaf: leaf[-1], seen)
        # One Adam step on the actor.
        value = partial(first_value, critics, state.critics)
        step = optimisers.gradient_step(partial(actor_loss, mu, value, config.alpha), actor_adam)
        (params, actor_opt), actor_metrics = step((state.actor, state.actor_opt), newest)
        # The target networks move.
        new, old = (params, state.critics), (state.target_actor, state.target_critics)
        moved: Any = optax.incremental_update(new, old, config.target_step_size)
        state = replace(state, actor=params, actor_opt=actor_opt, target_actor=moved[0], target_critics=moved[1])
        return state, jax.tree.map(jnp.mean, metrics) | actor_metrics

    def policy(state, greedy):
        def act(key, view):
            raw = mu(state.actor, view.obs)
            return Decision(spaces.from_unit(space, raw), {"raw_action": raw})

        return act

    return offline.learner(task, config, begin, learn, policy)


def first_value(critics: Any, params: PyTree, obs: PyTree, action: jax.Array) -> jax.Array:
    """Returns Q_1(s, a), float32[B]."""
    return critics.apply(params, obs, action)[0]


def actor_loss(mu: Any, value: Any, alpha: Any, params: PyTree, batch: tuple[PyTree, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns mean[-lambda Q_1(s, mu(s)) + (mu(s) - a)^2], and metrics.

    lambda = alpha / mean |Q_1(s, mu(s))| is a constant to the gradient; the paper's equation 5 has Q of the actions of the data
    there, its implementation these. The squared distance is the mean over the entries of an action, as there.

    batch: observations PyTree[B, ...] and actions float32[B, D] of the data.
    """
    obs, taken = batch
    action = mu(params, obs)
    found = value(obs, action)
    scale = jax.lax.stop_gradient(jnp.abs(found).mean())
    weight = alpha / jnp.maximum(scale, 1e-6)  # values that are all 0 say nothing
    distance = jnp.square(action - taken).mean()
    return distance - weight * found.mean(), {"distance": distance, "value": found.mean()}
