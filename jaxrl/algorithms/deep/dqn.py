"""Deep Q-learning: replay, a target network, and on request double and dueling.

    repeat
        take T steps in each of E environments, epsilon-greedy in Q, and store them
        G times: draw a minibatch (s, a, r, s') of stored steps; one Adam step on
            L(theta) = Huber(r + gamma Q_target(s', a*) - Q(s, a))
        every N Adam steps: theta_target <- theta_target + tau (theta - theta_target)

with a* = argmax_a' Q_target(s', a'), or argmax_a' Q(s', a') for double Q-learning. tau = 1 copies the network every N steps
(Mnih et al. 2015); N = 1 with a small tau follows it smoothly (Lillicrap et al. 2016). N = tau = 1 is learning without a target
network.

Source: Mnih et al. (2015), algorithm 1; double: van Hasselt et al. (2016), equation 4; dueling: Wang et al. (2016), equation 9.
The defaults are those of CleanRL's DQN on CartPole (Huang et al. 2022, "CleanRL"), the squared loss among them.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import replay
from jaxrl.blocks.losses import double_q_target, huber_loss, q_learning_target
from jaxrl.blocks.networks import QNetwork, activation
from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import SpaceError, require, require_at_most, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 2.5e-4  # of Adam
    gamma: float = 0.99  # discount, in [0, 1]
    epsilon_start: float = 1.0  # probability of a uniform action at the first step, in [0, 1]
    epsilon_end: float = 0.05  # and after epsilon_steps, falling linearly in between; in [0, epsilon_start]
    epsilon_steps: float = 250_000.0  # environment steps of one seed, those before the first update not counted
    # Errors beyond it count linearly; infinite squares them all. Mnih et al. (2015) take 1, with rewards clipped to [-1, 1]:
    # where returns are large (CartPole's are near 100), that leaves the rare errors where episodes end unheeded, and values
    # diverge.
    huber_delta: float = jnp.inf
    max_grad_norm: float = jnp.inf  # the global norm of the gradient is cut to this
    target_step_size: float = 1.0  # tau, in [0, 1]: how far the target network moves towards the network; 1 copies it
    target_interval: int = static(default=50)  # N, Adam steps between two moves of the target network (count)
    num_envs: int = static(default=1)  # E, environments side by side (count)
    num_steps: int = static(default=10)  # T, of each environment between two rounds of learning (count)
    num_gradient_steps: int = static(default=1)  # G, in each round of learning (count)
    num_rounds: int = static(default=100)  # rounds of acting and learning in one update; its metrics are means (count)
    batch_size: int = static(default=128)  # stored steps in one gradient step (count)
    buffer_size: int = static(default=10_000)  # steps that are kept (count)
    learning_starts: int = static(default=10_000)  # steps with random actions before the first update, at least (count)
    hidden: tuple[int, ...] = static(default=(120, 84))  # layer sizes
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    double: bool = static(default=False)  # the network selects the next action, the target network values it
    dueling: bool = static(default=False)  # a value and an advantage stream
    replay: bool = static(default=True)  # False learns from the E * T newest steps alone; see without_replay

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps * self.num_rounds

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        space = env.action_space
        require(isinstance(space, Discrete), "dqn", "the action space must be Discrete", space, "Discretise it.", SpaceError)
        require(
            env.num_agents is None,
            "dqn",
            "the environment must have no agent axis",
            env.num_agents,
            "Use a multi-agent algorithm.",
        )
        if self.channels:
            seen = env.observation_space
            image = isinstance(seen, Box) and len(seen.shape) == 3
            must = "channels need observations of shape [H, W, C]"
            require(image, "dqn", must, seen, "Set channels=().", SpaceError)
        require_counts("dqn", self, "target_interval", "num_envs", "num_steps", "num_gradient_steps", "num_rounds")
        require_numbers("dqn", self, "epsilon_steps", "huber_delta", "max_grad_norm")
        require_between("dqn", self, 0, 1, "gamma", "epsilon_start", "epsilon_end", "target_step_size")
        require_positive("dqn", self, "learning_rate", "epsilon_steps", "huber_delta", "max_grad_norm")
        require_at_most("dqn", self, "epsilon_end", "epsilon_start")
        require(len(self.hidden) >= 1, "dqn", "hidden must name at least one layer", self.hidden, "(64, 64) is common.")
        activation(self.activation)
        if self.replay:
            self._validate_buffer()
        else:
            self._validate_newest()

    def _validate_newest(self) -> None:
        newest = {"batch_size": self.num_envs * self.num_steps, "buffer_size": 0, "learning_starts": 0}
        for name, value in newest.items():
            found, fix = getattr(self, name), f"Set {name}={value}, or replay=True."
            require(found == value, "dqn", f"without replay, {name} must be {value}: nothing is kept", found, fix)

    def _validate_buffer(self) -> None:
        require_counts("dqn", self, "batch_size", "buffer_size", "learning_starts")
        size = self.buffer_size
        for name, count in (
            ("batch_size", self.batch_size),
            ("learning_starts", self.warm_up_steps * self.num_envs),
            ("num_envs * num_steps", self.num_envs * self.num_steps),
        ):
            must = f"buffer_size must be at least {name} ({count})"
            require(size >= count, "dqn", must, size, f"Try buffer_size={count}.")

    @property
    def warm_up_steps(self) -> int:
        """Steps that each environment takes before the first update."""
        return -(-self.learning_starts // self.num_envs)

    @property
    def steps_before_first_update(self) -> int:
        """Environment steps of one seed before the first update: the random ones that fill the buffer."""
        return self.warm_up_steps * self.num_envs

    def without_replay(self) -> "Config":
        """Returns these values for learning from the newest steps alone: no buffer, so that nothing is sampled or kept."""
        newest = self.num_envs * self.num_steps
        return dataclasses.replace(self, replay=False, batch_size=newest, buffer_size=0, learning_starts=0)


@struct.dataclass
class State:
    """params, opt_state: of the network. target_params: of the target network. episodes: E environments under way.

    buffer: the stored steps, or None without replay.
    steps: int32[], environment steps so far, those before the first update not counted.
    since_target: int32[], Adam steps since the target network moved last, below target_interval.
    """

    params: PyTree
    target_params: PyTree
    opt_state: PyTree
    episodes: Episode
    buffer: ReplayBuffer | None
    steps: jax.Array
    since_target: jax.Array


class Experience(NamedTuple):
    """What is remembered of a step; see ``rollout.Transition``. A time limit is no part of it: the target reaches beyond."""

    obs: PyTree
    action: jax.Array
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    next_mask: jax.Array | None


def q_network(env: Environment, config: Config) -> QNetwork:
    """Returns the network whose parameters are ``State.params``."""
    actions: Any = env.action_space
    return QNetwork(env.observation_space, actions.n, config.hidden, config.activation, config.channels, config.dueling)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds DQN on an environment with discrete actions."""
    network = q_network(env, config)
    values: Any = network.apply
    # One vector instead of a tree of small arrays: Adam then is a handful of kernels.
    optimiser = optax.flatten(
        optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate, eps=1e-8))
    )

    def epsilon(state):
        # optax.linear_schedule does not take a traced number of steps.
        fraction = jnp.minimum(state.steps / config.epsilon_steps, 1.0)
        return config.epsilon_start + fraction * (config.epsilon_end - config.epsilon_start)

    behaviour, probabilities = epsilon_greedy_over(lambda state, obs: values(state.params, obs), epsilon, random_ties=False)

    def init(key):
        network_key, episode_key, act_key = jax.random.split(key, 3)
        episodes = rollout.start(episode_key, env, config.num_envs)
        params = network.init(network_key, episodes.obs)
        buffer = None
        if config.replay:
            random = rollout.uniform_policy(env)
            episodes, batch = rollout.unroll(act_key, env, random, episodes, config.warm_up_steps)
            experience = remembered(batch)
            one = jax.tree.map(lambda leaf: leaf[0], experience)
            buffer = replay.add(replay.create(one, config.buffer_size), experience)
        return State(params, params, optimiser.init(params), episodes, buffer, counters.zeros(), counters.zeros())

    def remembered(batch):
        """The steps [T, E, ...] as experience [T * E, ...], in the order of time."""
        kept = Experience(batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated, batch.next_mask)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), kept)

    def targets(params, target_params, batch):
        next_values = values(target_params, batch.next_obs)
        mask_axis = None if batch.next_mask is None else 0
        if not config.double:
            each = jax.vmap(q_learning_target, in_axes=(0, 0, 0, None, mask_axis))
            return each(batch.reward, next_values, batch.terminated, config.gamma, batch.next_mask)
        selector = values(params, batch.next_obs)
        each = jax.vmap(double_q_target, in_axes=(0, 0, 0, 0, None, mask_axis))
        return each(batch.reward, next_values, selector, batch.terminated, config.gamma, batch.next_mask)

    def loss(params, batch, target):
        taken = jnp.take_along_axis(values(params, batch.obs), batch.action[:, None], axis=-1)[:, 0]
        losses = huber_loss(taken, target, config.huber_delta)
        return losses.mean(), {"loss": losses.mean(), "td_error": jnp.abs(target - taken).mean(), "value": taken.mean()}

    def gradient_step(state, batch):
        target = targets(state.params, state.target_params, batch)
        gradient, metrics = jax.grad(loss, has_aux=True)(state.params, batch, target)
        updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        since_target = (state.since_target + 1) % config.target_interval
        moved = optax.incremental_update(params, state.target_params, config.target_step_size)
        due = since_target == 0
        target_params = jax.tree.map(lambda new, old: jnp.where(due, new, old), moved, state.target_params)
        return state.replace(params=params, target_params=target_params, opt_state=opt_state, since_target=since_target), metrics

    def round_(state, key):
        """Acts, stores, learns."""
        act_key, sample_key = jax.random.split(key)
        episodes, batch = rollout.unroll(act_key, env, behaviour(state, False), state.episodes, config.num_steps)
        experience = remembered(batch)
        buffer = replay.add(state.buffer, experience) if config.replay else None
        steps = counters.advanced(state.steps, config.num_envs * config.num_steps)
        state = state.replace(episodes=episodes, buffer=buffer, steps=steps)

        def learn(state, key):
            newest = experience if buffer is None else replay.sample(key, buffer, config.batch_size)
            return gradient_step(state, newest)

        state, metrics = scan(learn, state, jax.random.split(sample_key, config.num_gradient_steps))
        return state, (metrics, batch)

    def update(state, key):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        metrics = jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon(state)}
        return state, metrics | rollout.episode_metrics(batch)

    return Algorithm(init, update, behaviour, probabilities=probabilities)
