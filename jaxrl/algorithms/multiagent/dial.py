"""Learning to communicate by deep Q-learning: real messages that gradients flow through (DIAL), or bits that are chosen (RIAL).

    repeat
        play E episodes; in each step every agent i
            hears c_i, the sum of the messages that the others sent a step ago
            computes Q_i, z_i and its memory from what it observes, c_i, its own last action and message, and its memory
            acts epsilon-greedily in Q_i, and sends a message m_i of B entries:
                DIAL    m_i = sigmoid(z_i + noise)
                RIAL    m_ib = argmax of the two values z_ib of bit b, with probability epsilon a random bit
        y_i = r_i + gamma max_a Q_target_i(a) one step later; r_i at the end of the episode
        L = 1/2 E[(y_i - Q_i(a_i))^2],   RIAL: + 1/2 sum_b E[(y_i - z_ib(m_ib))^2]
        one Adam step on L, through time and, in DIAL, through the messages to those who sent them
        every M updates the target network becomes a copy of the network

In DIAL a message is a number while agents learn, and the noise drives it away from the middle of the sigmoid. When the
greedy policy plays, it is a bit, 1 where z > 0. In RIAL a bit is an action like any other, valued by what its sender earns.
``channel`` is "dial", "rial" or "none": no agent ever hears anything.

The agents share one network, to which their number is shown, and remember by a recurrent core. Messages that are heard together
are added up; the paper puts them beside each other. An agent that has no choice, because its row of the action mask leaves one
action, neither speaks nor hears (``mute_inactive``): in the switch riddle the channel takes the place of the bulb.

Episodes are played from their first step, and learned from once. A time limit is an end: an episode is worth what it has paid.

Source: Foerster, Assael, de Freitas and Whiteson (2016), "Learning to communicate with deep multi-agent reinforcement learning",
sections 4 and 5, algorithm 1.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import agents, exploration, networks, optimisers, value_heads
from jaxrl.blocks.losses import squared_value_loss
from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.off_policy import moved
from jaxrl.blocks.returns import one_step_target
from jaxrl.core import counters, masks, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents, require_discrete_actions
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, Transition
from jaxrl.core.spaces import Box, Tuple
from jaxrl.errors import require, require_between, require_counts, require_numbers, require_positive, unknown_name

CHANNELS = "dial", "rial", "none"


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 5e-4  # of Adam
    gamma: float = 1.0  # discount, in [0, 1]
    epsilon: float = 0.05  # probability of a uniform action, and of a random bit in RIAL, in [0, 1]
    noise: float = 2.0  # standard deviation of what is added to z in DIAL, at least 0
    max_grad_norm: float = 10.0  # the global norm of the gradient is cut to this
    target_interval: int = static(default=100)  # M, updates between two copies to the target network (count)
    num_envs: int = static(default=32)  # E, episodes side by side (count)
    num_steps: int = static(default=6)  # the time limit of the environment: every update plays whole episodes
    channel: str = static(default="dial")  # dial, rial or none
    message_size: int = static(default=1)  # B, entries or bits of a message (count)
    mute_inactive: bool = static(default=True)  # an agent without a choice neither speaks nor hears
    hidden: tuple[int, ...] = static(default=(64,))  # layer sizes behind the memory; the first is that before it, too
    memory_size: int = static(default=64)  # of the recurrent core (count)

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents("dial", env, "Use jaxrl.algorithms.deep.dqn.")
        require_discrete_actions("dial", env, "Use jaxrl.algorithms.multiagent.mappo, or discretise it.")
        agents.require_one_role("dial", env, "Use jaxrl.algorithms.multiagent.mappo with roles='environment'.")
        networks.require_sizes("dial", "hidden", self.hidden)
        if self.channel not in CHANNELS:
            raise unknown_name("dial", "channel", self.channel, CHANNELS)
        require_counts("dial", self, "num_envs", "num_steps", "target_interval", "message_size", "memory_size")
        require_numbers("dial", self, "max_grad_norm")
        require_between("dial", self, 0, 1, "gamma", "epsilon")
        require_between("dial", self, 0, float("inf"), "noise")
        require_positive("dial", self, "learning_rate", "max_grad_norm")
        limit, must = env.max_steps, f"num_steps must be the time limit of the environment, {env.max_steps}"
        require(self.num_steps == limit, "dial", must, self.num_steps, f"Set num_steps={limit}, to play whole episodes.")


@struct.dataclass
class Recall:
    """An agent's memory between two steps. Batched: every leaf has leading axes [E, N].

    core: float32[H], of the recurrent core. action: float32[A], the last action, one-hot. message: float32[B], the last one sent.
    """

    core: jax.Array
    action: jax.Array
    message: jax.Array


@struct.dataclass
class State:
    """params, target_params: of the network and the target network. opt_state: of Adam. since_target: int32[], updates since."""

    params: PyTree
    target_params: PyTree
    opt_state: PyTree
    since_target: jax.Array


class Said(NamedTuple):
    """The outputs of the network in one step. values: float32[E, N, A]. signal: z, float32[E, N, B], in RIAL [E, N, B, 2]."""

    values: jax.Array
    signal: jax.Array


class Team:
    """The network of all agents, as functions of its parameters."""

    def __init__(self, env: Environment, config: Config):
        self.config, self.env = config, env
        self.num_agents, space = env.num_agents or 1, env.action_space
        self.num_actions = space.n  # type: ignore[union-attr]
        self.num_signals = config.message_size * (2 if config.channel == "rial" else 1)
        features = Box(-jnp.inf, jnp.inf, (self.num_agents + self.num_actions + 2 * config.message_size,))
        seen = Tuple.of(env.observation_space, features)
        outputs = self.num_actions + self.num_signals
        self.network = QNetwork(seen, outputs, config.hidden, memory_size=config.memory_size)

    def silence(self, *batch: int) -> Recall:
        """Returns the memory of the agents as an episode begins, leaves [..., N, ...]."""
        shape = *batch, self.num_agents
        sizes = self.config.memory_size, self.num_actions, self.config.message_size
        return Recall(*(jnp.zeros((*shape, size), jnp.float32) for size in sizes))

    def init(self, key: jax.Array, obs: PyTree) -> PyTree:
        """Returns parameters. obs: PyTree[E, N, ...]."""
        recall = self.silence(jax.tree.leaves(obs)[0].shape[0])
        return self.network.init(key, self.inputs(recall, obs, None), recall.core)

    def step(self, params: PyTree, recall: Recall, obs: PyTree, mask: jax.Array | None) -> tuple[Said, jax.Array]:
        """Returns the outputs of one step and the recurrent memory after it.

        recall: leaves [E, N, ...], zeros at a first step. obs: PyTree[E, N, ...]. mask: bool[E, N, A] or None.
        """
        inputs = self.inputs(recall, obs, self.present(mask))
        apply: Any = self.network.apply
        outputs, core = apply(params, inputs, recall.core, method="step")
        values, signal = outputs[..., : self.num_actions], outputs[..., self.num_actions :]
        if self.config.channel == "rial":
            signal = signal.reshape(*signal.shape[:-1], self.config.message_size, 2)
        return Said(values, signal), core

    def sent(self, signal: jax.Array, mask: jax.Array | None, noise: jax.Array | None = None, bits: jax.Array | None = None):
        """Returns the messages, float32[E, N, B].

        Args:
            signal: of ``Said``.
            mask: of the actions, bool[E, N, A] or None.
            noise: float32[E, N, B], what is added to z in DIAL; None sends bits.
            bits: int32[E, N, B], of RIAL; None takes the better ones.
        """
        if self.config.channel == "none":
            return jnp.zeros(signal.shape, jnp.float32)
        if self.config.channel == "rial":
            message = (exploration.greedy(signal) if bits is None else bits).astype(jnp.float32)
        else:
            message = (signal > 0).astype(jnp.float32) if noise is None else jax.nn.sigmoid(signal + noise)
        present = self.present(mask)
        return message if present is None else message * present[..., None]

    def present(self, mask: jax.Array | None) -> jax.Array | None:
        """Returns who speaks and hears, float32[E, N] of 0 and 1; None for all."""
        active = masks.active(self.env.action_space, mask) if self.config.mute_inactive else None
        return None if active is None else active.astype(jnp.float32)

    def inputs(self, recall: Recall, obs: PyTree, present: jax.Array | None) -> PyTree:
        """Returns what the network is shown: the observation, and who one is, did, said and hears."""
        heard = recall.message.sum(-2, keepdims=True) - recall.message
        if present is not None:
            heard = heard * present[..., None]
        ids = jnp.broadcast_to(jnp.eye(self.num_agents, dtype=jnp.float32), (*heard.shape[:-1], self.num_agents))
        return obs, jnp.concatenate([ids, recall.action, recall.message, heard], axis=-1)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds DIAL, RIAL or Q-learners that are silent, on an environment with agents and discrete actions."""
    team = Team(env, config)
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)

    def init(key):
        network_key, episode_key = jax.random.split(key)
        params = team.init(network_key, rollout.start(episode_key, env, config.num_envs).obs)
        return State(params, params, adam.init(params), counters.zeros())

    def policy(state, greedy):
        def act(key, view):
            recall = view.memory
            said, core = team.step(state.params, recall, view.obs, view.mask)
            if greedy:
                action, extras, message = exploration.greedy(said.values, view.mask), {}, team.sent(said.signal, view.mask)
            else:
                action_key, message_key = jax.random.split(key)
                action = exploration.epsilon_greedy(action_key, said.values, config.epsilon, view.mask)
                extras = disturbance(message_key, config, said.signal)
                message = team.sent(said.signal, view.mask, **extras)
            done = jax.nn.one_hot(action, team.num_actions, dtype=jnp.float32)
            return Decision(action, extras, Recall(core, done, message))

        return act

    def update(state, key):
        start_key, play_key = jax.random.split(key)
        # Play E episodes, from their first step to their end.
        episodes = rollout.start(start_key, env, config.num_envs, team.silence())
        _, batch = rollout.unroll(play_key, env, policy(state, False), episodes, config.num_steps)
        # One Adam step on L, through time and messages, towards targets that are constants.
        target = targets(team, state.target_params, batch)
        step = optimisers.gradient_step(partial(loss, team), adam)
        (params, opt_state), metrics = step((state.params, state.opt_state), (batch, target))
        # Every M updates the target network becomes a copy of the network.
        since_target = (state.since_target + 1) % config.target_interval
        target_params = moved(since_target == 0, 1.0, params, state.target_params)
        return State(params, target_params, opt_state, since_target), metrics | rollout.episode_metrics(first_episodes(batch))

    return Algorithm(init, update, policy, team.silence())


def disturbance(key: jax.Array, config: Config, signal: jax.Array) -> dict[str, jax.Array]:
    """Returns what is random in the messages while agents learn, as ``Team.sent`` takes it.

    key: one key. signal: of ``Said``. Returns ``noise``, float32[E, N, B], in DIAL; ``bits``, int32[E, N, B], in RIAL.
    """
    if config.channel == "rial":
        return {"bits": exploration.epsilon_greedy(key, signal, config.epsilon, random_ties=True)}
    return {"noise": config.noise * jax.random.normal(key, signal.shape, jnp.float32)} if config.channel == "dial" else {}


def first_episodes(batch: Transition) -> Transition:
    """Returns the steps [T, E, ...] with no ends but those of the episodes that began with the first step."""
    first = of_first_episodes(batch.done)
    return batch._replace(terminated=batch.terminated & first, truncated=batch.truncated & first)


def of_first_episodes(done: jax.Array) -> jax.Array:
    """Returns which steps belong to the episodes that began with the first step, bool[T, E]. done: bool[T, E]."""
    ended_before = jnp.cumsum(done, axis=0) - done
    return ended_before == 0


def relived(team: Team, params: PyTree, batch: Transition) -> Said:
    """Returns the outputs in each step of first episodes, leaves [T, E, N, ...], of the same observations, actions and draws."""

    def step(recall, seen):
        obs, mask, action, extras = seen
        said, core = team.step(params, recall, obs, mask)
        message = team.sent(said.signal, mask, **extras)
        return Recall(core, jax.nn.one_hot(action, team.num_actions, dtype=jnp.float32), message), said

    first = team.silence(batch.done.shape[1])
    return jax.lax.scan(step, first, (batch.obs, batch.mask, batch.action, batch.extras))[1]


def targets(team: Team, params: PyTree, batch: Transition) -> jax.Array:
    """Returns y of each step [T, E, ...] of first episodes, float32[T, E, N]. params: of the target network."""
    values = relived(team, params, batch).values
    best = value_heads.chosen(values, exploration.greedy(values, batch.mask))
    ended = agents.of_every_agent(batch.done, batch.reward)
    return one_step_target(batch.reward, jnp.roll(best, -1, axis=0), ended, team.config.gamma)


def loss(team: Team, params: PyTree, batch: tuple[Transition, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns L of the steps [T, E, ...] and their targets float32[T, E, N], float32[], and metrics of it."""
    steps, target = batch
    said, counted = relived(team, params, steps), agents.of_every_agent(of_first_episodes(steps.done), target)
    value = value_heads.chosen(said.values, steps.action)
    total = jnp.where(counted, squared_value_loss(value, target), 0.0).sum()
    if team.config.channel == "rial":
        # A bit is paid what the action beside it is paid: both are valued by the best action of the next step.
        bit = value_heads.chosen(said.signal, steps.extras["bits"])
        error = squared_value_loss(bit, jnp.broadcast_to(target[..., None], bit.shape))
        speaks = team.present(steps.mask)
        heard = counted if speaks is None else counted & (speaks > 0)
        total += jnp.where(heard[..., None], error, 0.0).sum()
    mean = total / counted.sum()
    error = jnp.where(counted, jnp.abs(target - value), 0.0).sum() / counted.sum()
    return mean, {"loss": mean, "td_error": error}
