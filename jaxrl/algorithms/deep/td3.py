"""Twin delayed deep deterministic policy gradient (TD3), and deep deterministic policy gradient (DDPG) as its plain form.

    fill the replay memory with random steps; initialise the actor mu, the critics Q_i, and target networks as their copies
    repeat
        take T steps in each of E environments with a = mu(s) + noise, and store them in the replay memory
        G times
            d times
                sample a minibatch of transitions (s, a, r, s')
                a' = mu_target(s') + clipped noise
                y = r + gamma min_i Q_target_i(s', a'), or r where the episode terminated
                one Adam step on the critics:    sum_i 1/2 (Q_i(s, a) - y)^2
            one Adam step on the actor:          -Q_1(s, mu(s))
            mu_target, Q_target <- each moved by tau towards mu, Q

Actions and noise are in units of half the range of the action space, and kept within [-1, 1]. DDPG has one critic, d = 1 and no
noise in the target; its noise is normal here, where the paper's is an Ornstein-Uhlenbeck process.

Source: Fujimoto et al. (2018), "Addressing Function Approximation Error in Actor-Critic Methods", algorithm 1, equations 10 and
14; DDPG: Lillicrap et al. (2016), "Continuous Control with Deep Reinforcement Learning", algorithm 1.
The defaults are those of Fujimoto et al. (2018), appendix C, with a replay memory that suits small tasks.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import networks, off_policy, optimisers, replay
from jaxrl.blocks.off_policy import OffPolicyConfig
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import spaces
from jaxrl.core.algorithm import Algorithm, PolicyOf
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, Episode
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box
from jaxrl.errors import SpaceError, require, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config(OffPolicyConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 1e-3  # of the actor's Adam
    critic_learning_rate: float = 1e-3  # of the critics' Adam
    gamma: float = 0.99  # discount, in [0, 1]
    target_step_size: float = 0.005  # tau, in [0, 1]: how far the target networks move towards the networks
    exploration_noise: float = 0.1  # deviation of the noise of actions that are taken, in half ranges
    target_noise: float = 0.2  # deviation of the noise of actions in the target, in half ranges
    target_noise_clip: float = 0.5  # the noise of the target is cut to this
    max_grad_norm: float = jnp.inf  # the global norm of each gradient is cut to this
    num_critics: int = static(default=2)  # of which the least is believed (count)
    policy_interval: int = static(default=2)  # d, steps of the critics for each one of the actor (count)
    num_steps: int = static(default=2)  # T, of each environment between two rounds of learning (count)
    num_gradient_steps: int = static(default=1)  # G, steps of the actor in each round of learning (count)
    num_rounds: int = static(default=50)  # rounds of acting and learning in one update; its metrics are means (count)

    name: ClassVar[str] = "td3"  # in messages

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent(self.name, env)
        self.validate_learner(env)

    def validate_learner(self, env: Environment) -> None:
        """As ``validate``, whatever the number of agents."""
        where, space, fix = self.name, env.action_space, "Use jaxrl.algorithms.deep.sac, or bound every entry."
        known = isinstance(space, Box) and space.bounded and not space.integer
        require(known, where, "the action_space must be a bounded Box of reals", space, fix, SpaceError)
        networks.require_layers(where, self, env.observation_space)
        require_counts(where, self, "num_critics", "policy_interval", "num_envs", "num_steps", "num_gradient_steps", "num_rounds")
        require_numbers(where, self, "max_grad_norm", "target_noise_clip")
        require_between(where, self, 0, 1, "gamma", "target_step_size")
        require_between(where, self, 0, float("inf"), "exploration_noise", "target_noise", "target_noise_clip")
        require_positive(where, self, "learning_rate", "critic_learning_rate", "max_grad_norm")
        self.require_buffer(where)


# Lillicrap et al. (2016), without batch normalisation and weight decay.
DDPG = Config(
    learning_rate=1e-4, target_step_size=0.001, target_noise=0.0, num_critics=1, policy_interval=1, num_steps=1, num_rounds=100
)


@struct.dataclass
class State:
    """The parameters, and the progress of the training.

    actor, critics, target_actor, target_critics: parameters. actor_opt, critic_opt: of the two optimisers.
    episodes: E environments under way. buffer: the stored steps.
    """

    actor: PyTree
    critics: PyTree
    target_actor: PyTree
    target_critics: PyTree
    actor_opt: PyTree
    critic_opt: PyTree
    episodes: Episode
    buffer: ReplayBuffer


def actor_network(env: Environment, config: Config) -> networks.Actor:
    """Returns the network whose parameters are ``State.actor``; tanh of its outputs is mu(s)."""
    layers = config.hidden, config.activation, config.channels, config.network
    return networks.Actor(env.observation_space, spaces.flat_size(env.action_space), *layers)


def critic_network(env: Environment, config: Config) -> Any:
    """Returns the network whose parameters are ``State.critics``."""
    layers = config.hidden, config.activation, config.channels, config.network
    return networks.critics(config.num_critics, env.observation_space, env.action_space, *layers)


def behaviour(env: Environment, config: Config, mu: Callable[[PyTree, PyTree], jax.Array]) -> PolicyOf:
    """Returns how actors act, with noise unless greedy. mu: ``(params, obs) -> raw actions`` in units of half ranges."""

    def policy(state, greedy):
        def act(key, view):
            raw = mu(state.actor, view.obs)
            if not greedy:
                raw = jnp.clip(raw + config.exploration_noise * jax.random.normal(key, raw.shape, jnp.float32), -1.0, 1.0)
            return Decision(spaces.from_unit(env.action_space, raw), {"raw_action": raw})

        return act

    return policy


def followed(config: Config, state: Any) -> Any:
    """Returns the state after its target networks have moved towards the networks."""
    new, old = (state.actor, state.critics), (state.target_actor, state.target_critics)
    moved: Any = optax.incremental_update(new, old, config.target_step_size)
    return replace(state, target_actor=moved[0], target_critics=moved[1])


def make(env: Environment, config: Config) -> Algorithm:
    """Builds TD3 on an environment whose actions are a bounded Box."""
    actor: Any = actor_network(env, config)
    critics = critic_network(env, config)
    actor_adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    critic_adam = optimisers.adam(config.critic_learning_rate, config.max_grad_norm, eps=1e-8)

    def init(key):
        actor_key, critic_key, begin_key = jax.random.split(key, 3)
        episodes, buffer = off_policy.begin(begin_key, env, config)
        obs, action = jax.tree.map(lambda leaf: leaf[:1], (buffer.items.obs, buffer.items.action))
        params, critic_params = actor.init(actor_key, obs), critics.init(critic_key, obs, action)
        optimisers_ = actor_adam.init(params), critic_adam.init(critic_params)
        return State(params, critic_params, params, critic_params, *optimisers_, episodes, buffer)

    def mu(params, obs):
        return jnp.tanh(actor.apply(params, obs))

    policy = behaviour(env, config, mu)

    def learn_values(state, key):
        sample_key, noise_key = jax.random.split(key)
        batch = replay.sample(sample_key, state.buffer, config.batch_size)
        # a' = mu_target(s') + clipped noise; y = r + gamma min_i Q_target_i(s', a').
        next_action = mu(state.target_actor, batch.next_obs)
        next_action = off_policy.smoothed(noise_key, next_action, config.target_noise, config.target_noise_clip)
        target = off_policy.least_value_target(critics, state.target_critics, next_action, config.gamma, batch)
        # One Adam step on the critics.
        step = optimisers.gradient_step(partial(off_policy.critic_loss, env.action_space, critics), critic_adam)
        (critic_params, critic_opt), metrics = step((state.critics, state.critic_opt), (batch, target))
        return replace(state, critics=critic_params, critic_opt=critic_opt), (metrics, batch.obs)

    def learn(state, key):
        state, (metrics, seen) = scan(learn_values, state, jax.random.split(key, config.policy_interval))
        newest = jax.tree.map(lambda leaf: leaf[-1], seen)

        # One Adam step on the actor.
        def actor_loss(params, obs):
            value = critics.apply(state.critics, obs, mu(params, obs))[0]
            return -value.mean(), {"value": value.mean()}

        step = optimisers.gradient_step(actor_loss, actor_adam)
        (params, actor_opt), actor_metrics = step((state.actor, state.actor_opt), newest)
        # The target networks move.
        state = followed(config, replace(state, actor=params, actor_opt=actor_opt))
        return state, jax.tree.map(jnp.mean, metrics) | actor_metrics

    # Take T steps in each of E environments with a = mu(s) + noise, and store them; G times learn.
    update = off_policy.updates(env, config, policy, learn)

    return Algorithm(init, update, policy)
