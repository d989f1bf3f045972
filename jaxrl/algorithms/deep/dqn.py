"""Deep Q-learning: replay, a target network, and on request double, dueling and recurrent.

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

With memory, Q(s, a) is Q(h, a), where a GRU's state h has taken in what the episode has shown up to s. A minibatch then is of
sequences: L successive steps of one environment each, through the ends of episodes, where h starts at zeros. At its first step
a sequence has the h with which that step was acted on, stored with it (Kapturowski et al. 2019, section 3: "stored state"; zeros,
as in Hausknecht and Stone 2015, would not know what was shown before). It comes from older parameters: the first ``burn_in``
steps bring it up to date, by each network for itself, and nothing is learned from them. h goes on to s' with s' itself, so that
the values beyond a time limit are those of the episode that was cut.

Source: Mnih et al. (2015), algorithm 1; double: van Hasselt et al. (2016), equation 4; dueling: Wang et al. (2016), equation 9;
recurrent: Hausknecht and Stone (2015), section 4, with the stored state and burn-in of Kapturowski et al. (2019), section 3.
The defaults are those of CleanRL's DQN on CartPole (Huang et al. 2022, "CleanRL"), the squared loss among them.
"""

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
from jaxrl.blocks.off_policy import OffPolicyConfig
from jaxrl.blocks.policies import epsilon_greedy_with_memory
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_discrete_actions, require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode, Policy, Transition, View
from jaxrl.core.scan import scan
from jaxrl.errors import (
    require,
    require_at_most,
    require_between,
    require_counts,
    require_numbers,
    require_positive,
    require_whole,
)


@struct.dataclass
class Config(OffPolicyConfig):
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
    num_steps: int = static(default=10)  # T, of each environment between two rounds of learning (count)
    batch_size: int = static(default=128)  # stored steps in one gradient step, with memory sequences of them (count)
    buffer_size: int = static(default=10_000)  # steps that are kept (count)
    learning_starts: int = static(default=10_000)  # steps with random actions before the first update, at least (count)
    hidden: tuple[int, ...] = static(default=(120, 84))  # layer sizes
    double: bool = static(default=False)  # the network selects the next action, the target network values it
    dueling: bool = static(default=False)  # a value and an advantage stream
    replay: bool = static(default=True)  # False learns from the E * T newest steps alone; see without_replay
    memory_size: int = static(default=0)  # of a GRU; 0 for a feed-forward network
    sequence_length: int = static(default=16)  # L, successive steps that a network with memory is unrolled over (count)
    burn_in: int = static(default=0)  # the first steps of a sequence, which only bring the memory up to date; below L

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_discrete_actions("dqn", env, "Use jaxrl.algorithms.deep.ppo, or discretise it.")
        require_single_agent("dqn", env)
        networks.require_layers("dqn", self, env.observation_space, "dueling", "memory_size")
        require_counts("dqn", self, "target_interval", "num_envs", "num_steps", "num_gradient_steps", "num_rounds")
        require_numbers("dqn", self, "epsilon_steps", "huber_delta", "max_grad_norm")
        require_between("dqn", self, 0, 1, "gamma", "epsilon_start", "epsilon_end", "target_step_size")
        require_positive("dqn", self, "learning_rate", "epsilon_steps", "huber_delta", "max_grad_norm")
        require_at_most("dqn", self, "epsilon_end", "epsilon_start")
        if self.replay:
            self.require_buffer("dqn")
        else:
            self._validate_newest()
        require_whole("dqn", self, "memory_size", "burn_in")
        if self.memory_size:
            self._validate_sequences()
        else:
            must, fix = "burn_in must be 0 without memory", "Set burn_in=0, or memory_size=64."
            require(self.burn_in == 0, "dqn", must, self.burn_in, fix)

    def _validate_sequences(self) -> None:
        must, fix = "with memory, replay must be True: sequences are drawn from the buffer", "Set memory_size=0, or replay=True."
        require(self.replay, "dqn", must, self.replay, fix)
        require_counts("dqn", self, "sequence_length")
        length, envs = self.sequence_length, self.num_envs
        must = f"burn_in must be below sequence_length ({length}), or nothing is learned from"
        require(self.burn_in < length, "dqn", must, self.burn_in, f"Try burn_in={length // 2}.")
        must, least = "buffer_size must hold a sequence of each environment", length * envs
        fix = f"Try buffer_size={least}, or sequence_length={max(self.buffer_size // envs, 1)}."
        require(self.buffer_size >= least, "dqn", f"{must} (sequence_length * num_envs = {least})", self.buffer_size, fix)
        there, missing = self.warm_up_steps + self.num_steps, max(length - self.num_steps, 1) * envs
        must = f"the first sequence needs sequence_length ({length}) steps of each environment before it is drawn"
        require(there >= length, "dqn", must, there, f"Try learning_starts={missing}.")

    def _validate_newest(self) -> None:
        newest = {"batch_size": self.num_envs * self.num_steps, "buffer_size": 0, "learning_starts": 0}
        for name, value in newest.items():
            found, fix = getattr(self, name), f"Set {name}={value}, or replay=True."
            require(found == value, "dqn", f"without replay, {name} must be {value}: nothing is kept", found, fix)

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
    """The stored part of a step; see ``rollout.Transition``. A time limit is no part of it: the target reaches beyond.

    first: bool, an episode starts here; None without memory. memory: that of the network before the step; () without memory.
    """

    obs: PyTree
    action: jax.Array
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    next_mask: jax.Array | None
    first: jax.Array | None
    memory: PyTree


def q_network(env: Environment, config: Config) -> QNetwork:
    """Returns the network whose parameters are ``State.params``."""
    actions: Any = env.action_space
    layers = config.hidden, config.activation, config.channels, config.dueling, config.network, config.memory_size
    return QNetwork(env.observation_space, actions.n, *layers)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds DQN on an environment with discrete actions."""
    network = q_network(env, config)
    memory = network.initial_memory()
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)

    def values(state, obs, memory):
        return network.apply(state.params, obs, memory, method="step")

    behaviour, probabilities = epsilon_greedy_with_memory(values, lambda state: epsilon(config, state.steps), random_ties=False)

    def init(key):
        network_key, episode_key, act_key = jax.random.split(key, 3)
        episodes = rollout.start(episode_key, env, config.num_envs, memory)
        params = network.init(network_key, episodes.obs, episodes.memory)
        buffer = None
        if config.replay:
            random = noting_memory(random_policy(env, network, params))
            episodes, batch = rollout.unroll(act_key, env, random, episodes, config.warm_up_steps)
            experience = remembered(config, batch)
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
        policy = noting_memory(behaviour(state, False))
        episodes, batch = rollout.unroll(act_key, env, policy, state.episodes, config.num_steps)
        experience = remembered(config, batch)
        buffer = replay.add(state.buffer, experience) if config.replay else None
        steps = counters.advanced(state.steps, config.num_envs * config.num_steps)
        state = replace(state, episodes=episodes, buffer=buffer, steps=steps)

        def sample_and_learn(state, key):
            return learn(state, experience if buffer is None else sampled(key, config, buffer))

        state, metrics = scan(sample_and_learn, state, jax.random.split(sample_key, config.num_gradient_steps))
        return state, (metrics, batch)

    def update(state, key):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        metrics = jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon(config, state.steps)}
        return state, metrics | rollout.episode_metrics(batch)

    return Algorithm(init, update, behaviour, memory, None if config.memory_size else probabilities)


def epsilon(config: Config, steps: jax.Array) -> jax.Array:
    """Returns the probability of a uniform action after int32[] environment steps, float32[]."""
    # optax.linear_schedule does not take a traced number of steps.
    fraction = jnp.minimum(steps / config.epsilon_steps, 1.0)
    return config.epsilon_start + fraction * (config.epsilon_end - config.epsilon_start)


def random_policy(env: Environment, network: QNetwork, params: PyTree) -> Policy:
    """Returns the policy that acts uniformly at random, while the network's memory takes in what is shown."""
    uniform = rollout.uniform_policy(env)

    def act(key, view):
        after: Any = network.apply(params, view.obs, view.memory, method="next_features")
        return uniform(key, view)._replace(memory=after[1])

    return act


def noting_memory(policy: Policy) -> Policy:
    """Returns a policy that notes with every step what it remembered before it, as ``extras["memory"]``."""

    def act(key: jax.Array, view: View):
        decision = policy(key, view)
        return decision._replace(extras=decision.extras | {"memory": view.memory})

    return act


def remembered(config: Config, batch: Transition) -> Experience:
    """Returns what is remembered of the steps [T, E, ...], in the order of time, leaves [T * E, ...]."""
    first = batch.t == 0 if config.memory_size else None
    what = batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated, batch.next_mask, first, batch.extras["memory"]
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), Experience(*what))


def sampled(key: jax.Array, config: Config, buffer: ReplayBuffer) -> Experience:
    """Draws a minibatch: Experience[B], or with memory Experience[L, B] whose memory is that before the first step, [B, H]."""
    if not config.memory_size:
        return replay.sample(key, buffer, config.batch_size)
    steps = replay.sample_sequences(key, buffer, config.batch_size, config.sequence_length, config.num_envs)
    return steps._replace(memory=steps.memory[0])


def targets(network: QNetwork, config: Config, params: PyTree, target_params: PyTree, batch: Experience) -> jax.Array:
    """Returns y = r + gamma Q_target(s', a*) of Experience[B], float32[B], or of Experience[L, B], float32[L, B]."""

    def next_values(params):
        apply: Any = network.apply
        _, memories = apply(params, batch.obs, batch.first, batch.memory, method="features")
        return apply(params, batch.next_obs, memories, method="step")[0]

    values = (next_values(target_params), next_values(params)) if config.double else (next_values(target_params),)
    mask_axis = None if batch.next_mask is None else 0
    each: Any = double_q_target if config.double else q_learning_target
    for _ in batch.reward.shape:
        each = jax.vmap(each, in_axes=(0, *(0 for _ in values), 0, None, mask_axis))
    return each(batch.reward, *values, batch.terminated, config.gamma, batch.next_mask)


def warmed_up(network: QNetwork, config: Config, params: PyTree, batch: Experience) -> Experience:
    """Returns the steps of Experience[L, B] after the burn-in, and the network's memory there, a constant to the gradient."""
    if not config.burn_in:
        return batch
    before = jax.tree.map(lambda leaf: leaf[: config.burn_in], batch._replace(memory=()))
    after = jax.tree.map(lambda leaf: leaf[config.burn_in :], batch._replace(memory=()))
    done: Any = network.apply(params, before.obs, before.first, batch.memory, method="features")
    return after._replace(memory=jax.lax.stop_gradient(done[1][-1]))


def loss(network: QNetwork, config: Config, params: PyTree, batch: tuple[Experience, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns the mean of Huber(y - Q(s, a)) over the steps after the burn-in, and metrics of it.

    batch: Experience[B] and its targets float32[B], or Experience[L, B] and float32[L, B].
    """
    steps, target = warmed_up(network, config, params, batch[0]), batch[1][config.burn_in :]
    values: Any = network.apply(params, steps.obs, steps.first, steps.memory, method="unroll")
    taken = jnp.take_along_axis(values[0], steps.action[..., None], axis=-1)[..., 0]
    losses = huber_loss(taken, target, config.huber_delta)
    return losses.mean(), {"loss": losses.mean(), "td_error": jnp.abs(target - taken).mean(), "value": taken.mean()}


def moved(config: Config, due: jax.Array, params: PyTree, target_params: PyTree) -> PyTree:
    """Returns the parameters of the target network, moved by tau towards those of the network where that is due, bool[]."""
    nearer = optax.incremental_update(params, target_params, config.target_step_size)
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), nearer, target_params)
