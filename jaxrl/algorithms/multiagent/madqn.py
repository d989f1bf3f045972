"""Deep Q-learning of several agents: each for itself (MADQN), or as a team whose value is mixed of theirs (VDN, QMIX).

    initialise the replay memory with random steps, the networks, and the target networks as their copies
    repeat
        take T steps in each of E environments, every agent epsilon-greedy in its own Q_i
        store the joint transitions in the replay memory
        G times
            sample a minibatch of joint transitions (s, a, r, s')
            a*_i = argmax_a Q_i(s'_i, a), for every agent
            none        y_i = r_i + gamma Q_target_i(s'_i, a*_i)            L = 1/2 E[mean_i (y_i - Q_i(s_i, a_i))^2]
            sum, monotonic
                        y = mean_i r_i + gamma mix_target(Q_target_1(s'_1, a*_1), ..., s')
                        L = 1/2 E[(y - mix(Q_1(s_1, a_1), ..., Q_N(s_N, a_N), s))^2]
            one Adam step on L
            every M Adam steps: the target networks move towards the networks

``mixer`` is "none" for learners beside each other, "sum" for value decomposition networks (VDN), where the value of the team is
the sum of the agents' values, and "monotonic" for QMIX, where it is a function of them and of the global state that never falls
in any of them. With either, the joint action of largest value is that of each agent's own best action: acting needs no state.
A team is paid the mean of what its agents are paid. The global state is ``env.global_obs`` or, where the environment has none,
the observations of all agents.

The agents share one network, to whose observation their number is appended (``agent_ids``), or each has its own. A learner beside
others sees a world that changes as they learn: a ``fingerprint`` appends epsilon to what it observes, from which it can tell how
far the others had come when a step was stored.

An agent that has no choice, because its row of the action mask leaves one action, is inactive: dead, waiting, or not to move. Its
steps are learned from like all others: what it is still paid belongs to the values that led there. With one agent and no mixer
this is DQN.

Source: Gupta, Egorov and Kochenderfer (2017) for learners that share parameters; Foerster et al. (2017), "Stabilising experience
replay for deep multi-agent reinforcement learning", section 3.2; Sunehag et al. (2018), "Value-decomposition networks for
cooperative multi-agent learning"; Rashid et al. (2018), "QMIX", equations 3 to 6.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import agents, exploration, networks, optimisers, replay, value_heads
from jaxrl.blocks.losses import squared_value_loss
from jaxrl.blocks.networks import MonotonicMixer, QNetwork
from jaxrl.blocks.off_policy import OffPolicyConfig, moved
from jaxrl.blocks.policies import epsilon_greedy_with_memory
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.blocks.returns import one_step_target
from jaxrl.core import counters, rollout, spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents, require_discrete_actions
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Space
from jaxrl.errors import (
    require,
    require_at_most,
    require_between,
    require_counts,
    require_numbers,
    require_positive,
    unknown_name,
)

MIXERS = "none", "sum", "monotonic"


@struct.dataclass
class Config(OffPolicyConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 5e-4  # of Adam, at the first update
    anneal_updates: float = jnp.inf  # updates over which the learning rate falls linearly to 0; infinite keeps it
    gamma: float = 0.99  # discount, in [0, 1]
    epsilon_start: float = 1.0  # probability of a uniform action at the first step, in [0, 1]
    epsilon_end: float = 0.05  # and after epsilon_steps, falling linearly in between; in [0, epsilon_start]
    epsilon_steps: float = 50_000.0  # environment steps of one seed, those before the first update not counted
    max_grad_norm: float = 10.0  # the global norm of the gradient is cut to this
    target_step_size: float = 1.0  # in [0, 1]: how far the target networks move towards the networks; 1 copies them
    target_interval: int = static(default=200)  # M, Adam steps between two moves of the target networks (count)
    num_envs: int = static(default=8)  # E, environments side by side (count)
    batch_size: int = static(default=128)  # joint steps in one gradient step (count)
    buffer_size: int = static(default=50_000)  # joint steps that are kept (count)
    hidden: tuple[int, ...] = static(default=(64, 64))  # layer sizes of an agent's network
    mixer: str = static(default="none")  # of the agents' values: none, sum (VDN) or monotonic (QMIX)
    mixing_size: int = static(default=32)  # of the layer of a monotonic mixer (count)
    double: bool = static(default=True)  # the networks select the next actions, the target networks value them
    shared_parameters: bool = static(default=True)  # one network for all agents; False: each its own
    # A role for each agent, or "environment": those that it names. Agents of one role share, others do not. None: see above.
    roles: tuple[int, ...] | str | None = static(default=None)
    agent_ids: bool = static(default=False)  # append the agent's number, one-hot, to its observation (shared parameters)
    fingerprint: bool = static(default=False)  # append epsilon, as of when the step was taken (no mixer)

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents("madqn", env, "Use jaxrl.algorithms.deep.dqn.")
        require_discrete_actions("madqn", env, "Use jaxrl.algorithms.multiagent.mappo, or discretise it.")
        networks.require_layers("madqn", self, env.observation_space)
        if self.mixer not in MIXERS:
            raise unknown_name("madqn", "mixer", self.mixer, MIXERS)
        counts = "num_envs", "num_steps", "num_gradient_steps", "num_rounds", "target_interval", "mixing_size"
        require_counts("madqn", self, *counts)
        require_numbers("madqn", self, "epsilon_steps", "anneal_updates", "max_grad_norm")
        require_between("madqn", self, 0, 1, "gamma", "epsilon_start", "epsilon_end", "target_step_size")
        require_positive("madqn", self, "learning_rate", "epsilon_steps", "anneal_updates", "max_grad_norm")
        require_at_most("madqn", self, "epsilon_end", "epsilon_start")
        self.require_buffer("madqn")
        self._require_appended()
        agents.require_roles("madqn", env, self)

    def _require_appended(self) -> None:
        """Raises ConfigError unless there is something to append a number or epsilon to, and a use for it."""
        agents.require_ids("madqn", self)
        lone, must = self.mixer == "none" or not self.fingerprint, "a fingerprint must come without a mixer"
        require(lone, "madqn", must, "fingerprint=True", "A team learns one joint value: set fingerprint=False.")
        agents.require_appendable("madqn", self, "agent_ids", "fingerprint")


class Experience(NamedTuple):
    """The stored part of a joint step; leaves [..., N, ...] of the agents, but for what belongs to the environment.

    reward: float32[..., N], or float32[...] of a team. terminated: bool[...]. A time limit is no part of it.
    state, next_state: float32[..., S], of a monotonic mixer; else None. epsilon: float32[...], a fingerprint, or None.
    """

    obs: PyTree
    action: jax.Array
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    next_mask: jax.Array | None
    state: jax.Array | None
    next_state: jax.Array | None
    epsilon: jax.Array | None


class Params(NamedTuple):
    """agents: of the network, with R networks every leaf has a leading axis R. mixer: of a monotonic mixer, or ()."""

    agents: PyTree
    mixer: PyTree


@struct.dataclass
class State:
    """params, target_params: of networks and target networks. opt_state: of Adam. episodes: E environments under way.

    buffer: the stored steps. steps: int32[], environment steps so far, those before the first update not counted.
    since_target: int32[], Adam steps since the target networks moved last.
    """

    params: Params
    target_params: Params
    opt_state: PyTree
    episodes: Episode
    buffer: ReplayBuffer
    steps: jax.Array
    since_target: jax.Array


class Team(NamedTuple):
    """The values of N agents: their networks, and the mixer of a team."""

    env: Environment
    config: Config

    @property
    def num_agents(self) -> int:
        return self.env.num_agents or 1

    @property
    def roles(self) -> tuple[int, ...] | None:
        return agents.roles_of(self.env, self.config)

    @property
    def network(self) -> QNetwork:
        """The network of an agent."""
        config, actions = self.config, self.env.action_space
        space: Space = self.env.observation_space
        appended = self.num_agents * config.agent_ids + config.fingerprint
        if appended:
            space = Box(-jnp.inf, jnp.inf, (spaces.flat_size(space) + appended,))
        return QNetwork(space, actions.n, config.hidden, config.activation, config.channels, network=config.network)  # type: ignore[union-attr]

    def init(self, key: jax.Array, obs: PyTree, state: jax.Array | None) -> Params:
        """Returns first parameters, from the observations [E, N, ...] and the global states float32[E, S] or None."""
        agents_key, mixer_key = jax.random.split(key)
        inputs = self.inputs(obs, jnp.zeros(jax.tree.leaves(obs)[0].shape[:1], jnp.float32))
        params = agents.first_parameters(self.network, agents_key, inputs, 1, self.roles)
        if self.config.mixer != "monotonic":
            return Params(params, ())
        assert state is not None
        values = jnp.zeros((state.shape[0], self.num_agents), jnp.float32)
        return Params(params, MonotonicMixer(self.config.mixing_size).init(mixer_key, values, state))

    def inputs(self, obs: PyTree, epsilon: jax.Array | None) -> PyTree:
        """Appends to observations [..., N, ...] what the agents' network is shown besides; epsilon: float32[...]."""
        if not self.config.agent_ids and not self.config.fingerprint:
            return obs
        features = spaces.flatten(self.env.observation_space, obs)
        if self.config.agent_ids:
            features = agents.numbered(features)
        if self.config.fingerprint:
            assert epsilon is not None
            marks = jnp.broadcast_to(epsilon[..., None, None], (*features.shape[:-1], 1))
            features = jnp.concatenate([features, marks], axis=-1)
        return features

    def values(self, params: Params, obs: PyTree, epsilon: jax.Array | None) -> jax.Array:
        """Returns Q_i of all actions, float32[B, N, A], of observations [B, N, ...]."""
        return agents.outputs(self.network, params.agents, self.inputs(obs, epsilon), 1, self.roles)

    def mixed(self, params: Params, values: jax.Array, state: jax.Array | None) -> jax.Array:
        """Returns the value of the team, float32[B], or those of its agents, float32[B, N]; values: float32[B, N]."""
        if self.config.mixer == "none":
            return values
        if self.config.mixer == "sum":
            return values.sum(-1)
        return MonotonicMixer(self.config.mixing_size).apply(params.mixer, values, state)  # type: ignore[return-value]


def make(env: Environment, config: Config) -> Algorithm:
    """Builds MADQN, VDN or QMIX on an environment with agents and discrete actions. The policy's actions are int32[E, N]."""
    team = Team(env, config)
    gradient_steps = config.anneal_updates * config.num_rounds * config.num_gradient_steps
    adam = optimisers.adam(optimisers.annealed(config.learning_rate, gradient_steps), config.max_grad_norm, eps=1e-8)

    def values(state, obs, memory):
        rows = jax.tree.leaves(obs)[0].shape[0]
        return team.values(state.params, obs, jnp.full(rows, epsilon(config, state.steps))), memory

    policy, probabilities = epsilon_greedy_with_memory(values, lambda state: epsilon(config, state.steps), random_ties=False)

    def init(key):
        network_key, episode_key, act_key = jax.random.split(key, 3)
        episodes = rollout.start(episode_key, env, config.num_envs)
        episodes, batch = rollout.unroll(act_key, env, rollout.uniform_policy(env), episodes, config.warm_up_steps)
        experience = remembered(env, config, batch, jnp.float32(config.epsilon_start))
        params = team.init(network_key, episodes.obs, experience.state)
        one = jax.tree.map(lambda leaf: leaf[0], experience)
        buffer = replay.add(replay.create(one, config.buffer_size), experience)
        return State(params, params, adam.init(params), episodes, buffer, counters.zeros(), counters.zeros())

    def learn(state, key):
        batch = replay.sample(key, state.buffer, config.batch_size)
        # One Adam step on L, towards targets that are constants.
        target = targets(team, state.params, state.target_params, batch)
        step = optimisers.gradient_step(partial(loss, team), adam)
        (params, opt_state), metrics = step((state.params, state.opt_state), (batch, target))
        # Every M Adam steps the target networks move.
        since_target = (state.since_target + 1) % config.target_interval
        target_params = moved(since_target == 0, config.target_step_size, params, state.target_params)
        state = replace(state, params=params, target_params=target_params, opt_state=opt_state, since_target=since_target)
        return state, metrics

    def round_(state, key):
        act_key, learn_key = jax.random.split(key)
        # Take T steps in each of E environments, every agent epsilon-greedy in its own Q, and store the joint transitions.
        episodes, batch = rollout.unroll(act_key, env, policy(state, False), state.episodes, config.num_steps)
        buffer = replay.add(state.buffer, remembered(env, config, batch, epsilon(config, state.steps)))
        steps = counters.advanced(state.steps, config.num_envs * config.num_steps)
        state = replace(state, episodes=episodes, buffer=buffer, steps=steps)
        state, metrics = scan(learn, state, jax.random.split(learn_key, config.num_gradient_steps))
        return state, (metrics, batch)

    def update(state, key):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        metrics = jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon(config, state.steps)}
        return state, metrics | rollout.episode_metrics(batch)

    return Algorithm(init, update, policy, probabilities=probabilities)


def epsilon(config: Config, steps: jax.Array) -> jax.Array:
    """Returns the probability of a uniform action after int32[] environment steps, float32[]."""
    return exploration.linear(config.epsilon_start, config.epsilon_end, config.epsilon_steps, steps)


def remembered(env: Environment, config: Config, batch: Transition, explored: jax.Array) -> Experience:
    """Returns the stored part of the steps [T, E, ...], in the order of time, leaves [T * E, ...].

    explored: float32[], the epsilon with which they were taken.
    """
    reward, state, next_state, noted = batch.reward, None, None, None
    if config.mixer != "none":
        reward = reward.mean(-1)
    if config.mixer == "monotonic":
        state, next_state = agents.global_observations(env, batch)
    if config.fingerprint:
        noted = jnp.broadcast_to(explored, batch.terminated.shape)
    what = batch.obs, batch.action, reward, batch.next_obs, batch.terminated, batch.next_mask, state, next_state, noted
    return rollout.flattened(Experience(*what))


def targets(team: Team, params: Params, target_params: Params, batch: Experience) -> jax.Array:
    """Returns y of Experience[B]: float32[B] of a team, float32[B, N] of learners beside each other."""
    following = team.values(target_params, batch.next_obs, batch.epsilon)
    selector = team.values(params, batch.next_obs, batch.epsilon) if team.config.double else following
    best = exploration.greedy(selector, batch.next_mask)
    value = team.mixed(target_params, value_heads.chosen(following, best), batch.next_state)
    terminated = agents.of_every_agent(batch.terminated, batch.reward)
    return one_step_target(batch.reward, value, terminated, team.config.gamma)


def loss(team: Team, params: Params, batch: tuple[Experience, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns half the mean squared error of the values of a minibatch and its targets, float32[], and metrics of it."""
    steps, target = batch
    taken = value_heads.chosen(team.values(params, steps.obs, steps.epsilon), steps.action)
    value = team.mixed(params, taken, steps.state)
    mean = squared_value_loss(value, target).mean()
    return mean, {"loss": mean, "td_error": jnp.abs(target - value).mean(), "value": value.mean()}
