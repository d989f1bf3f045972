"""Deep Q-learning: replay, a target network, and on request double and dueling.

    initialise the replay memory with random steps, the network, and the target network as its copy
    repeat
        take T steps in each of E environments, epsilon-greedy in Q
        store the transitions in the replay memory
        G times
            sample a minibatch of transitions (s, a, r, s')
            y = r + gamma Q_target(s', a*), or r where the episode terminated
            one Adam step on L(theta) = Huber(y - Q(s, a))
            every N Adam steps: theta_target <- theta_target + tau (theta - theta_target)

with a* = argmax_a' Q_target(s', a'), or argmax_a' Q(s', a') for double Q-learning. tau = 1 copies the network every N steps
(Mnih et al. 2015); N = 1 with a small tau follows it smoothly (Lillicrap et al. 2016). N = tau = 1 is learning without a target
network.

Source: Mnih et al. (2015), algorithm 1; double: van Hasselt et al. (2016), equation 4; dueling: Wang et al. (2016), equation 9.
The defaults are those of CleanRL's DQN on CartPole (Huang et al. 2022, "CleanRL"), the squared loss among them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import networks, optimisers, replay
from jaxrl.blocks.losses import double_q_target, huber_loss, q_learning_target
from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Discrete
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
    # A network of your own in place of these layers: (observation_space, num_outputs) -> flax module; see jaxrl.blocks.networks.
    network: Callable | None = static(default=None)
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
        networks.require_layers("dqn", self, env.observation_space, "dueling")
        require_counts("dqn", self, "target_interval", "num_envs", "num_steps", "num_gradient_steps", "num_rounds")
        require_numbers("dqn", self, "epsilon_steps", "huber_delta", "max_grad_norm")
        require_between("dqn", self, 0, 1, "gamma", "epsilon_start", "epsilon_end", "target_step_size")
        require_positive("dqn", self, "learning_rate", "epsilon_steps", "huber_delta", "max_grad_norm")
        require_at_most("dqn", self, "epsilon_end", "epsilon_start")
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
        return replace(self, replay=False, batch_size=newest, buffer_size=0, learning_starts=0)


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
    """The stored part of a step; see ``rollout.Transition``. A time limit is no part of it: the target reaches beyond."""

    obs: PyTree
    action: jax.Array
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    next_mask: jax.Array | None


def q_network(env: Environment, config: Config) -> QNetwork:
    """Returns the network whose parameters are ``State.params``."""
    actions: Any = env.action_space
    layers = config.hidden, config.activation, config.channels, config.dueling, config.network
    return QNetwork(env.observation_space, actions.n, *layers)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds DQN on an environment with discrete actions."""
    network = q_network(env, config)
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)

    def values(state, obs):
        return network.apply(state.params, obs)

    behaviour, probabilities = epsilon_greedy_over(values, lambda state: epsilon(config, state.steps), random_ties=False)

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
        return State(params, params, adam.init(params), episodes, buffer, counters.zeros(), counters.zeros())

    def learn(state, transitions):
        # One Adam step on L(theta), towards targets that are constants.
        target = targets(network, config, state.params, state.target_params, transitions)
        step = optimisers.gradient_step(partial(loss, network, config), adam)
        (params, opt_state), metrics = step((state.params, state.opt_state), (transitions, target))
        # Every N Adam steps the target network moves.
        since_target = (state.since_target + 1) % config.target_interval
        target_params = moved(config, since_target == 0, params, state.target_params)
        return replace(state, params=params, opt_state=opt_state, target_params=target_params, since_target=since_target), metrics

    def round_(state, key):
        act_key, sample_key = jax.random.split(key)
        # Take T steps in each of E environments, epsilon-greedy in Q, and store the transitions.
        episodes, batch = rollout.unroll(act_key, env, behaviour(state, False), state.episodes, config.num_steps)
        experience = remembered(batch)
        buffer = replay.add(state.buffer, experience) if config.replay else None
        steps = counters.advanced(state.steps, config.num_envs * config.num_steps)
        state = replace(state, episodes=episodes, buffer=buffer, steps=steps)

        def sample_and_learn(state, key):
            return learn(state, experience if buffer is None else replay.sample(key, buffer, config.batch_size))

        state, metrics = scan(sample_and_learn, state, jax.random.split(sample_key, config.num_gradient_steps))
        return state, (metrics, batch)

    def update(state, key):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        metrics = jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon(config, state.steps)}
        return state, metrics | rollout.episode_metrics(batch)

    return Algorithm(init, update, behaviour, probabilities=probabilities)


def epsilon(config: Config, steps: jax.Array) -> jax.Array:
    """Returns the probability of a uniform action after int32[] environment steps, float32[]."""
    # optax.linear_schedule does not take a traced number of steps.
    fraction = jnp.minimum(steps / config.epsilon_steps, 1.0)
    return config.epsilon_start + fraction * (config.epsilon_end - config.epsilon_start)


def remembered(batch: Transition) -> Experience:
    """Returns what is remembered of the steps [T, E, ...], in the order of time, leaves [T * E, ...]."""
    kept = Experience(batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated, batch.next_mask)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), kept)


def targets(network: QNetwork, config: Config, params: PyTree, target_params: PyTree, batch: Experience) -> jax.Array:
    """Returns y = r + gamma Q_target(s', a*) of Experience[B], float32[B]."""
    values: Any = network.apply
    next_values = values(target_params, batch.next_obs)
    mask_axis = None if batch.next_mask is None else 0
    if not config.double:
        each = jax.vmap(q_learning_target, in_axes=(0, 0, 0, None, mask_axis))
        return each(batch.reward, next_values, batch.terminated, config.gamma, batch.next_mask)
    selector = values(params, batch.next_obs)
    each = jax.vmap(double_q_target, in_axes=(0, 0, 0, 0, None, mask_axis))
    return each(batch.reward, next_values, selector, batch.terminated, config.gamma, batch.next_mask)


def loss(network: QNetwork, config: Config, params: PyTree, batch: tuple[Experience, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns the mean of Huber(y - Q(s, a)) over Experience[B] and its targets float32[B], and metrics of it."""
    transitions, target = batch
    values: Any = network.apply(params, transitions.obs)
    taken = jnp.take_along_axis(values, transitions.action[:, None], axis=-1)[:, 0]
    losses = huber_loss(taken, target, config.huber_delta)
    return losses.mean(), {"loss": losses.mean(), "td_error": jnp.abs(target - taken).mean(), "value": taken.mean()}


def moved(config: Config, due: jax.Array, params: PyTree, target_params: PyTree) -> PyTree:
    """Returns the parameters of the target network, moved by tau towards those of the network where that is due, bool[]."""
    nearer = optax.incremental_update(params, target_params, config.target_step_size)
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), nearer, target_params)
