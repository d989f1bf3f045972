"""Multi-agent deep deterministic policy gradient (MADDPG): DDPG for N agents, whose critics see what all of them see and do.

    fill the replay memory with random steps; initialise all actors mu_i, critics Q_i, and target networks as their copies
    repeat
        take T steps in each of E environments with a_i = mu_i(o_i) + noise, and store the joint steps in the replay memory
        G times
            d times
                sample a minibatch of joint transitions (o, a, r, o')
                a'_i = mu_target_i(o'_i) + clipped noise, for every agent
                y_i = r_i + gamma min_k Q_target_ik(o', a'), or r_i where the episode terminated
                one Adam step on each agent's critics:   sum_k 1/2 (Q_ik(o, a) - y_i)^2
            one Adam step on each agent's actor:         -Q_i1(o, (a_-i, mu_i(o_i)))
            all target networks <- each moved by tau towards the networks

Acting is decentralised: an actor sees its own observation alone. To a critic that sees all actions the others' learning is no
change of the world, and every agent may be paid for something else: the task may be cooperative, competitive or both. Networks
and optimisers are the agents' own.

Actions and noise are in units of half the range of the action space, and kept within [-1, 1]. MADDPG has one critic, d = 1 and no
noise in the target; with two critics, d = 2 and noise it is the twin delayed form, ``MATD3``. With one agent it is
``jaxrl.algorithms.deep.td3``, DDPG or TD3.

Source: Lowe et al. (2017), "Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments", algorithm 1, without the
inference of other agents' policies and the ensembles of sections 4.2 and 4.3; the twin delayed form: Ackermann et al. (2019),
"Reducing Overestimation Bias in Multi-Agent Domains Using Double Centralized Critics".
"""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.deep import td3
from jaxrl.blocks import networks, off_policy, optimisers, replay
from jaxrl.core import spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents
from jaxrl.core.environment import Environment, static
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, joint


@struct.dataclass
class Config(td3.Config):
    """Those of TD3, for every agent. Where the defaults differ they are those of Lowe et al. (2017), appendix, for DDPG."""

    gamma: float = 0.95  # discount, in [0, 1]
    target_step_size: float = 0.01  # tau, in [0, 1]: how far the target networks move towards the networks
    target_noise: float = 0.0  # deviation of the noise of actions in the target, in half ranges
    num_critics: int = static(default=1)  # of each agent, of which the least is believed (count)
    policy_interval: int = static(default=1)  # d, steps of the critics for each one of the actors (count)
    hidden: tuple[int, ...] = static(default=(64, 64))  # layer sizes of each network

    name: ClassVar[str] = "maddpg"

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents(self.name, env, "Use jaxrl.algorithms.deep.td3 with its preset DDPG.")
        self.validate_learner(env)


# Ackermann et al. (2019).
MATD3 = Config(target_noise=0.2, num_critics=2, policy_interval=2)


@struct.dataclass
class State(td3.State):
    """As that of TD3; every leaf of the parameters and the optimisers has a leading axis N."""


def critic_network(env: Environment, config: Config) -> Any:
    """Returns the network of each agent whose parameters are ``State.critics``: of what all agents see, and what they do."""
    agents = env.num_agents or 1
    seen, done = (agents * spaces.flat_size(space) for space in (env.observation_space, env.action_space))
    everything = Box(-jnp.inf, jnp.inf, (seen,)), Box(-1.0, 1.0, (done,))
    return networks.critics(config.num_critics, *everything, config.hidden, config.activation, (), config.network)


def together(env: Environment, steps: off_policy.Experience) -> off_policy.Experience:
    """Puts side by side what all agents see and do: steps whose observations are float32[B, N * F], actions float32[B, N * D]."""
    obs, next_obs = (joint(env.observation_space, obs) for obs in (steps.obs, steps.next_obs))
    return steps._replace(obs=obs, action=steps.action.reshape(obs.shape[0], -1), next_obs=next_obs)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds MADDPG on an environment with agents whose actions are a bounded Box. The policy's actions are [E, N, ...]."""
    num_agents = env.num_agents or 1
    actor: Any = td3.actor_network(env, config)
    critics = critic_network(env, config)
    actor_adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    critic_adam = optimisers.adam(config.critic_learning_rate, config.max_grad_norm, eps=1e-8)

    def init(key):
        actor_key, critic_key, begin_key = jax.random.split(key, 3)
        episodes, buffer = off_policy.begin(begin_key, env, config)
        one = jax.tree.map(lambda leaf: leaf[:1], buffer.items)
        everything = together(env, one)
        params = jax.vmap(actor.init, (0, 1))(jax.random.split(actor_key, num_agents), one.obs)
        critic_keys = jax.random.split(critic_key, num_agents)
        critic_params = jax.vmap(critics.init, (0, None, None))(critic_keys, everything.obs, everything.action)
        optimisers_ = jax.vmap(actor_adam.init)(params), jax.vmap(critic_adam.init)(critic_params)
        return State(params, critic_params, params, critic_params, *optimisers_, episodes, buffer)

    def mu(params, obs):
        return jnp.tanh(actor.apply(params, obs))

    every_mu = jax.vmap(mu, (0, 1), 1)

    policy = td3.behaviour(env, config, every_mu)

    def learn_values(state, key):
        sample_key, noise_key = jax.random.split(key)
        batch = replay.sample(sample_key, state.buffer, config.batch_size)
        # a'_i = mu_target_i(o'_i) + clipped noise, for every agent.
        next_action = every_mu(state.target_actor, batch.next_obs)
        next_action = off_policy.smoothed(noise_key, next_action, config.target_noise, config.target_noise_clip)
        everything, next_action = together(env, batch), next_action.reshape(config.batch_size, -1)

        def of_agent(params, opt_state, target_params, reward):
            # y_i = r_i + gamma min_k Q_target_ik(o', a'), and one Adam step on the critics.
            steps = everything._replace(reward=reward)
            target = off_policy.least_value_target(critics, target_params, next_action, config.gamma, steps)
            step = optimisers.gradient_step(partial(off_policy.critic_loss, env.action_space, critics), critic_adam)
            return step((params, opt_state), (steps, target))

        learn_beside_each_other = jax.vmap(of_agent, (0, 0, 0, 1))
        before = state.critics, state.critic_opt, state.target_critics, batch.reward
        (critic_params, critic_opt), metrics = learn_beside_each_other(*before)
        return replace(state, critics=critic_params, critic_opt=critic_opt), (metrics, batch)

    def learn(state, key):
        state, (metrics, seen) = scan(learn_values, state, jax.random.split(key, config.policy_interval))
        newest = jax.tree.map(lambda leaf: leaf[-1], seen)
        obs = together(env, newest).obs

        def of_agent(agent, params, opt_state, critic_params, own_obs):
            def actor_loss(params, own_obs):
                action = newest.action.at[:, agent].set(mu(params, own_obs)).reshape(config.batch_size, -1)
                value = critics.apply(critic_params, obs, action)[0]
                return -value.mean(), {"value": value.mean()}

            # One Adam step on the actor: the others do what they did.
            return optimisers.gradient_step(actor_loss, actor_adam)((params, opt_state), own_obs)

        learn_beside_each_other = jax.vmap(of_agent, (0, 0, 0, 0, 1))
        before = jnp.arange(num_agents), state.actor, state.actor_opt, state.critics, newest.obs
        (params, actor_opt), actor_metrics = learn_beside_each_other(*before)
        # All target networks move.
        state = td3.followed(config, replace(state, actor=params, actor_opt=actor_opt))
        return state, jax.tree.map(jnp.mean, metrics | actor_metrics)

    # Take T steps in each of E environments with a_i = mu_i(o_i) + noise, and store them; G times learn.
    return Algorithm(init, off_policy.updates(env, config, policy, learn), policy)
