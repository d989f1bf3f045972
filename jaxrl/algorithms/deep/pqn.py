"""Parallelised Q-learning (PQN): many environments and layer normalisation in place of a replay memory and a target network.

    repeat
        take T steps in each of E environments, epsilon-greedy in Q
        going back from the last step:
            G_t = r_t + gamma (lambda G_{t+1} + (1 - lambda) max_a' Q(s_{t+1}, a'))
            with r_t alone where the episode terminated, and lambda = 0 at a time limit and at the last step
        for K epochs, for each minibatch: one Adam step on L(theta) = 1/2 (G - Q(s, a))^2

The network normalises each hidden layer, which bounds the expansion that off-policy updates can cause; without it, learning
without a target network may diverge. The returns of lambda follow the policy that acted, exploration included.

Source: Gallici et al. (2025), "Simplifying Deep Temporal Difference Learning", algorithm 1 and section 4; theirs takes
RAdam, which differs from Adam in its first steps.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import exploration, networks, optimisers, sequences
from jaxrl.blocks.losses import squared_value_loss
from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.blocks.returns import lambda_returns
from jaxrl.blocks.successors import successor_values
from jaxrl.blocks.value_heads import chosen
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm, epochs_of_minibatches
from jaxrl.core.averages import pooled
from jaxrl.core.config import require_discrete_actions, require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.errors import require_at_most, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 1e-3  # of Adam, falling linearly to 0 over anneal_updates
    anneal_updates: float = jnp.inf  # updates until the learning rate is 0 and stays there; infinite keeps it constant
    gamma: float = 0.99  # discount, in [0, 1]
    lambda_: float = 0.65  # in [0, 1]: 0 gives one-step targets, 1 returns of the episode
    epsilon_start: float = 1.0  # probability of a uniform action at the first step, in [0, 1]
    epsilon_end: float = 0.05  # and after epsilon_steps, falling linearly in between; in [0, epsilon_start]
    epsilon_steps: float = 100_000.0  # environment steps of one seed
    max_grad_norm: float = 10.0  # the global norm of the gradient is cut to this
    num_envs: int = static(default=32)  # E, environments side by side (count)
    num_steps: int = static(default=32)  # T, of each environment in one update (count)
    num_epochs: int = static(default=4)  # K, passes over the collected steps (count)
    num_minibatches: int = static(default=8)  # in each pass (count); must divide the steps
    hidden: tuple[int, ...] = static(default=(64, 64))  # layer sizes
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    layer_norm: bool = static(default=True)  # of each hidden layer
    # A network of your own in place of these layers: (observation_space, num_outputs) -> flax module; see jaxrl.blocks.networks.
    network: Callable | None = static(default=None)

    memory_size: ClassVar[int] = 0  # the network sees the last observation alone

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_discrete_actions("pqn", env, "Use jaxrl.algorithms.deep.ppo, or discretise it.")
        require_single_agent("pqn", env)
        networks.require_layers("pqn", self, env.observation_space)
        require_counts("pqn", self, "num_envs", "num_steps", "num_epochs", "num_minibatches")
        require_numbers("pqn", self, "anneal_updates", "epsilon_steps", "max_grad_norm")
        require_between("pqn", self, 0, 1, "gamma", "lambda_", "epsilon_start", "epsilon_end")
        require_positive("pqn", self, "learning_rate", "anneal_updates", "epsilon_steps", "max_grad_norm")
        require_at_most("pqn", self, "epsilon_end", "epsilon_start")
        sequences.require_minibatches("pqn", self)


@struct.dataclass
class State:
    """params, opt_state: of the network. episodes: E environments under way. steps: int32[], environment steps so far."""

    params: PyTree
    opt_state: PyTree
    episodes: Episode
    steps: jax.Array


class Experience(NamedTuple):
    """Steps to be trained on, leaves [B, ...]; target: G."""

    obs: PyTree
    action: jax.Array
    target: jax.Array


def q_network(env: Environment, config: Config) -> QNetwork:
    """Returns the network whose parameters are ``State.params``."""
    actions: Any = env.action_space
    layers = config.hidden, config.activation, config.channels
    return QNetwork(env.observation_space, actions.n, *layers, network=config.network, layer_norm=config.layer_norm)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds PQN on an environment with discrete actions."""
    network = q_network(env, config)
    gradient_steps = config.anneal_updates * config.num_epochs * config.num_minibatches
    adam = optimisers.adam(optimisers.annealed(config.learning_rate, gradient_steps), config.max_grad_norm, eps=1e-8)

    def values(state, obs):
        return network.apply(state.params, obs)

    def epsilon(state):
        return exploration.linear(config.epsilon_start, config.epsilon_end, config.epsilon_steps, state.steps)

    policy, probabilities = epsilon_greedy_over(values, epsilon, random_ties=False)

    def init(key):
        network_key, episode_key = jax.random.split(key)
        episodes = rollout.start(episode_key, env, config.num_envs)
        params = network.init(network_key, episodes.obs)
        return State(params, adam.init(params), episodes, counters.zeros())

    def update(state, key):
        act_key, order_key = jax.random.split(key)
        # Take T steps in each of E environments, epsilon-greedy in Q.
        episodes, batch = rollout.unroll(act_key, env, policy(state, False), state.episodes, config.num_steps)
        # Going back from the last step, the returns of lambda.
        target = returns(network, config, env.max_steps, state.params, batch)
        steps = rollout.flattened(Experience(batch.obs, batch.action, target))
        # For K epochs, for each minibatch: one Adam step on L(theta).
        (params, opt_state), metrics = epochs_of_minibatches(
            order_key,
            optimisers.gradient_step(partial(loss, network), adam),
            (state.params, state.opt_state),
            steps,
            config.num_epochs,
            config.num_minibatches,
        )
        count = counters.advanced(state.steps, config.steps_per_update)
        state = replace(state, params=params, opt_state=opt_state, episodes=episodes, steps=count)
        return state, pooled(metrics) | {"epsilon": epsilon(state)} | rollout.episode_metrics(batch)

    return Algorithm(init, update, policy, (), probabilities)


def returns(network: QNetwork, config: Config, max_steps: int, params: PyTree, batch: Transition) -> jax.Array:
    """Returns the targets G of a block Transition[T, E, ...], float32[T, E]."""

    def best(obs, mask):
        q: Any = network.apply(params, obs)
        return jnp.max(q, axis=-1, where=mask, initial=-jnp.inf)

    def critic(successors):
        return best(*successors)

    value = best(batch.obs, batch.mask)
    next_value = successor_values(value, (batch.next_obs, batch.next_mask), critic, batch.truncated, max_steps)
    every = jax.vmap(lambda_returns, in_axes=(1, 1, 1, 1, None, None), out_axes=1)
    return every(batch.reward, next_value, batch.terminated, batch.truncated, config.gamma, config.lambda_)


def loss(network: QNetwork, params: PyTree, steps: Experience) -> tuple[jax.Array, dict]:
    """Returns the mean of 1/2 (G - Q(s, a))^2 over a minibatch, float32[], and metrics of it."""
    value = chosen(network.apply(params, steps.obs), steps.action)  # pyright: ignore
    mean = squared_value_loss(value, steps.target).mean()
    return mean, {"loss": mean, "td_error": jnp.abs(steps.target - value).mean(), "value": value.mean()}
