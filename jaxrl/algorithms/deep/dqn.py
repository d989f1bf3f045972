"""Deep Q-learning: replay, a target network, and on request double, dueling, recurrent, n steps, priorities, C51 and quantiles.

    initialise the replay memory with random steps, the network, and the target network as its copy
    repeat
        take T steps in each of E environments, epsilon-greedy in Q
        store the transitions in the replay memory
        G times
            sample a minibatch of transitions (s, a, r, s')
            y = r + gamma Q_target(s', a*), or r where the episode terminated
            one Adam step on the mean of L(theta) = Huber(y - Q(s, a))
            every N Adam steps: theta_target <- theta_target + tau (theta - theta_target)

with a* = argmax_a' Q_target(s', a'), or argmax_a' Q(s', a') for double Q-learning. tau = 1 copies the network every N steps
(Mnih et al. 2015); N = 1 with a small tau follows it smoothly (Lillicrap et al. 2016). N = tau = 1 is learning without a target
network.

With ``averaging`` the greedy policy, which is the one that is evaluated, maximises the Q of an average of the parameters over
past Adam steps, theta_average <- theta_average + nu (theta - theta_average): where actions differ in value by less than the noise
of the fit, the newest parameters tell them apart on some days only. Actions are taken and targets made as before.

With memory, Q(s, a) is Q(h, a), where h has taken in what the episode has shown up to s: the state of a GRU, or what attention
looks back at. A minibatch then is of sequences: L successive steps of one environment each, through the ends of episodes, where h
starts at zeros. At its first step a sequence has the h with which that step was acted on, stored with it (Kapturowski et al.
2019, section 3: "stored state"; zeros, as in Hausknecht and Stone 2015, would not know what was shown before). It comes from
older parameters: the first ``burn_in`` steps bring it up to date, by each network for itself, and nothing is learned from them. h
goes on to s' with s' itself, so that the values beyond a time limit are those of the episode that was cut.

With n steps, r is the sum of n discounted rewards, s' the state after them and gamma^n the discount; a sum ends with its episode
and with its sequence. With priorities, a transition is drawn with a probability in proportion to (delta + 1e-6)^alpha as of when
it was drawn last, and its loss counts with (N P)^-beta, where beta rises to 1; delta is |y - Q(s, a)|, of laws their
Kullback-Leibler divergence from y, and of a sequence eta max_t delta_t + (1 - eta) mean_t delta_t over the steps after the
burn-in. Memory, n steps, priorities, double and dueling together are R2D2, without its rescaled values and its many actors.

With ``head="categorical"`` (C51) the network gives each action a law of the return on fixed atoms: Q is its mean, y the law of
r + gamma Z_target(s', a*) projected on the atoms, and L the cross-entropy. With ``head="quantile"`` (QR-DQN) it gives N
quantiles: y_j = r + gamma theta_j(s', a*), and L is the quantile Huber loss. All of these with double and dueling are the parts
of Rainbow, without its noisy layers. Of a law, a* and the action that is taken may maximise another utility than the mean: its
CVaR, or with the stock of ``with_stock`` in sight its expected shortfall of a target; see ``jaxrl.blocks.utilities``.

Source: Mnih et al. (2015), algorithm 1; double: van Hasselt et al. (2016), equation 4; dueling: Wang et al. (2016), equation 9;
recurrent: Hausknecht and Stone (2015), section 4, with the stored state, the burn-in and the priorities of Kapturowski et al.
(2019), sections 2.3 and 3; n steps and the union of all: Hessel et al. (2018); priorities: Schaul et al. (2016), algorithm 1;
C51: Bellemare et al. (2017), algorithm 1; quantiles: Dabney et al. (2018), algorithm 1; utilities: Pires (2025);
averages of parameters: Polyak and Juditsky (1992), with weights that fall exponentially. The defaults are
those of CleanRL's DQN on CartPole (Huang et al. 2022, "CleanRL"), the squared loss among them.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import exploration, multi_step, networks, optimisers, replay, stored_steps, utilities, value_heads
from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.off_policy import OffPolicyConfig, moved
from jaxrl.blocks.policies import epsilon_greedy_with_memory
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.blocks.stored_steps import Experience, Sample, noting_memory, remembered, reprioritised, sampled, stored
from jaxrl.blocks.value_heads import Head
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_discrete_actions, require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Episode, Policy
from jaxrl.core.scan import scan
from jaxrl.errors import (
    require_at_most,
    require_between,
    require_counts,
    require_numbers,
    require_positive,
)


@struct.dataclass
class Config(OffPolicyConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 2.5e-4  # of Adam, at the first update
    anneal_updates: float = jnp.inf  # updates over which the learning rate falls linearly to 0; infinite keeps it
    gamma: float = 0.99  # discount, in [0, 1]
    epsilon_start: float = 1.0  # probability of a uniform action at the first step, in [0, 1]
    epsilon_end: float = 0.05  # and after epsilon_steps, falling linearly in between; in [0, epsilon_start]
    epsilon_steps: float = 250_000.0  # environment steps of one seed, those before the first update not counted
    # Errors beyond it count linearly; infinite squares them all. Mnih et al. (2015) take 1, with rewards clipped to [-1, 1]:
    # where returns are large (CartPole's are near 100), that leaves the rare errors where episodes end unheeded, and values
    # diverge.
    huber_delta: float = jnp.inf  # kappa of quantiles, which must be finite; 1 is common
    max_grad_norm: float = jnp.inf  # the global norm of the gradient is cut to this
    target_step_size: float = 1.0  # tau, in [0, 1]: how far the target network moves towards the network; 1 copies it
    averaging_step_size: float = 2.5e-4  # nu, in [0, 1]: how far averages move in an Adam step; without effect unless averaging
    target_interval: int = static(default=50)  # N, Adam steps between two moves of the target network (count)
    num_steps: int = static(default=10)  # T, of each environment between two rounds of learning (count)
    batch_size: int = static(default=128)  # stored steps in one gradient step, with memory sequences of them (count)
    buffer_size: int = static(default=10_000)  # steps that are kept (count)
    learning_starts: int = static(default=10_000)  # steps with random actions before the first update, at least (count)
    hidden: tuple[int, ...] = static(default=(120, 84))  # layer sizes
    double: bool = static(default=False)  # the network selects the next action, the target network values it
    averaging: bool = static(default=False)  # the greedy policy goes by an average of the parameters over past Adam steps
    dueling: bool = static(default=False)  # a value and an advantage stream
    n_steps: int = static(default=1)  # n, rewards that a target sums before it takes a value (count)
    prioritised: bool = static(default=False)  # draws by the error of the past, not uniformly
    priority_exponent: float = 0.6  # alpha in [0, 1]: 0 draws uniformly
    priority_max_share: float = 0.9  # eta in [0, 1], with memory: of the largest error of a sequence; the mean has the rest
    importance_exponent: float = 0.4  # beta at the first step, in [0, 1]; 1 corrects for all of the uneven drawing
    importance_steps: float = 250_000.0  # environment steps after which beta has risen to 1
    head: str = static(default="mean")  # of each action: mean, categorical (C51) or quantile (QR-DQN)
    num_atoms: int = static(default=51)  # N, of a law or of quantiles; without effect on means (count)
    value_min: float = -10.0  # the least return that a categorical law knows (reward units)
    value_max: float = 10.0  # and the largest
    utility: str = static(default="mean")  # of a law, in which actions are greedy: mean, cvar or shortfall
    risk_level: float = 0.5  # tau in (0, 1]: the share of the worst returns that a cvar counts; without effect on others
    replay: bool = static(default=True)  # False learns from the E * T newest steps alone; see without_replay
    memory_size: int = static(default=0)  # of a memory; 0 for a feed-forward network
    memory: str = static(default="gru")  # what it is: gru, or attention (GTrXL) to the last steps of the episode
    memory_length: int = static(default=32)  # of attention: steps that a layer looks back (count)
    memory_heads: int = static(default=4)  # of attention: heads of a layer (count); must divide memory_size
    memory_layers: int = static(default=1)  # of attention: layers (count); each looks back from where the one before did
    sequence_length: int = static(default=16)  # L, successive steps that a network with memory is unrolled over (count)
    burn_in: int = static(default=0)  # the first steps of a sequence, which only bring the memory up to date; below L

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_discrete_actions("dqn", env, "Use jaxrl.algorithms.deep.ppo, or discretise it.")
        require_single_agent("dqn", env)
        networks.require_layers("dqn", self, env.observation_space, "dueling", "memory_size")
        require_counts("dqn", self, "target_interval", "num_envs", "num_steps", "num_gradient_steps", "num_rounds")
        lengths = "epsilon_steps", "importance_steps", "anneal_updates"
        require_numbers("dqn", self, *lengths, "huber_delta", "max_grad_norm")
        require_between("dqn", self, 0, 1, "gamma", "epsilon_start", "epsilon_end", "target_step_size", "averaging_step_size")
        require_between("dqn", self, 0, 1, "priority_exponent", "priority_max_share", "importance_exponent")
        require_positive("dqn", self, "learning_rate", *lengths, "huber_delta", "max_grad_norm")
        require_at_most("dqn", self, "epsilon_end", "epsilon_start")
        value_heads.require_head("dqn", self)
        networks.require_memory("dqn", self)
        utilities.require_utility("dqn", self, env)
        stored_steps.require_stored("dqn", self)

    def without_replay(self) -> "Config":
        """Returns these values for learning from the newest steps alone: no buffer, so that nothing is sampled or kept."""
        newest = self.num_envs * self.num_steps
        return replace(self, replay=False, batch_size=newest, buffer_size=0, learning_starts=0)


@struct.dataclass
class State:
    """params, opt_state: of the network. target_params: of the target network. episodes: E environments under way.

    average_params: averages of params, or None without averaging.
    buffer: the stored steps, or None without replay.
    steps: int32[], environment steps so far, those before the first update not counted.
    since_target: int32[], Adam steps since the target network moved last, below target_interval.
    """

    params: PyTree
    target_params: PyTree
    average_params: PyTree
    opt_state: PyTree
    episodes: Episode
    buffer: ReplayBuffer | None
    steps: jax.Array
    since_target: jax.Array


def q_network(env: Environment, config: Config) -> QNetwork:
    """Returns the network whose parameters are ``State.params``."""
    actions: Any = env.action_space
    layers = config.hidden, config.activation, config.channels, config.dueling, config.network
    memory = {name: getattr(config, name) for name in networks.MEMORY_FIELDS}
    return QNetwork(env.observation_space, actions.n, *layers, num_atoms=value_heads.make(config).num_atoms, **memory)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds DQN on an environment with discrete actions."""
    network, head = q_network(env, config), value_heads.make(config)
    worth = utilities.make(config, head)
    memory = network.initial_memory()
    gradient_steps = config.anneal_updates * config.num_rounds * config.num_gradient_steps
    adam = optimisers.adam(optimisers.annealed(config.learning_rate, gradient_steps), config.max_grad_norm, eps=1e-8)

    def values(state, obs, memory):
        outputs: Any = network.apply(state.params, obs, memory, method="step")
        return worth(outputs[0], obs), outputs[1]

    behaving, probabilities = epsilon_greedy_with_memory(values, lambda state: epsilon(config, state.steps), random_ties=False)

    def behaviour(state, greedy):
        averaged = greedy and config.averaging
        return behaving(replace(state, params=state.average_params) if averaged else state, greedy)

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
            buffer = stored(config, replay.create(one, config.buffer_size, config.prioritised), experience)
        average = params if config.averaging else None
        return State(params, params, average, adam.init(params), episodes, buffer, counters.zeros(), counters.zeros())

    def learn(state, sample):
        # One Adam step on L(theta), towards targets that are constants.
        target = targets(network, head, config, state.params, state.target_params, sample)
        step = optimisers.gradient_step(partial(loss, network, head, config), adam)
        (params, opt_state), metrics = step((state.params, state.opt_state), (sample, target))
        # Every N Adam steps the target network moves.
        since_target = (state.since_target + 1) % config.target_interval
        target_params = moved(since_target == 0, config.target_step_size, params, state.target_params)
        average = state.average_params
        if config.averaging:
            average = optax.incremental_update(params, average, config.averaging_step_size)
        # From now on, a transition is as likely as its target was far.
        buffer = reprioritised(config, state.buffer, sample, metrics.pop("errors"))
        state = replace(state, params=params, opt_state=opt_state, target_params=target_params, average_params=average)
        return replace(state, since_target=since_target, buffer=buffer), metrics

    def round_(state, key):
        act_key, sample_key = jax.random.split(key)
        # Take T steps in each of E environments, epsilon-greedy in Q, and store the transitions.
        policy = noting_memory(behaviour(state, False))
        episodes, batch = rollout.unroll(act_key, env, policy, state.episodes, config.num_steps)
        experience = remembered(config, batch)
        buffer = stored(config, state.buffer, experience) if config.replay else None
        steps = counters.advanced(state.steps, config.num_envs * config.num_steps)
        state = replace(state, episodes=episodes, buffer=buffer, steps=steps)

        def sample_and_learn(state, key):
            newest = Sample(experience, config.gamma)
            return learn(state, newest if state.buffer is None else sampled(key, config, state.buffer, beta(config, state.steps)))

        state, metrics = scan(sample_and_learn, state, jax.random.split(sample_key, config.num_gradient_steps))
        return state, (metrics, batch)

    def update(state, key):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        metrics = jax.tree.map(jnp.mean, metrics) | {"epsilon": epsilon(config, state.steps)}
        return state, metrics | rollout.episode_metrics(batch)

    return Algorithm(init, update, behaviour, memory, None if config.memory_size else probabilities)


def epsilon(config: Config, steps: jax.Array) -> jax.Array:
    """Returns the probability of a uniform action after int32[] environment steps, float32[]."""
    return exploration.linear(config.epsilon_start, config.epsilon_end, config.epsilon_steps, steps)


def beta(config: Config, steps: jax.Array) -> jax.Array:
    """Returns the exponent of the weights that correct for priorities after int32[] environment steps, float32[]."""
    return exploration.linear(config.importance_exponent, 1.0, config.importance_steps, steps)


def random_policy(env: Environment, network: QNetwork, params: PyTree) -> Policy:
    """Returns the policy that acts uniformly at random, while the network's memory takes in what is shown."""
    uniform = rollout.uniform_policy(env)

    def act(key, view):
        after: Any = network.apply(params, view.obs, view.memory, method="next_features")
        return uniform(key, view)._replace(memory=after[1])

    return act


def targets(network: QNetwork, head: Head, config: Config, params: PyTree, target_params: PyTree, sample: Sample) -> jax.Array:
    """Returns y, of r + gamma Q_target(s', a*): float32[B, *event], or float32[L, B, *event]; see ``value_heads``."""
    batch = sample.steps

    def next_outputs(params):
        apply: Any = network.apply
        _, memories = apply(params, batch.obs, batch.first, batch.memory, method="features")
        return apply(params, batch.next_obs, memories, method="step")[0]

    outputs = next_outputs(target_params)
    selector = utilities.make(config, head)(next_outputs(params) if config.double else outputs, batch.next_obs)
    best = exploration.greedy(selector, batch.next_mask)
    following = value_heads.chosen(outputs, best)
    if sample.last is not None:
        following = multi_step.at_last(following, sample.last)
    return head.target(batch.reward, following, batch.terminated, sample.discount)


def warmed_up(network: QNetwork, config: Config, params: PyTree, batch: Experience) -> Experience:
    """Returns the steps of Experience[L, B] after the burn-in, and the network's memory there, a constant to the gradient."""
    if not config.burn_in:
        return batch
    before = jax.tree.map(lambda leaf: leaf[: config.burn_in], batch._replace(memory=()))
    after = jax.tree.map(lambda leaf: leaf[config.burn_in :], batch._replace(memory=()))
    done: Any = network.apply(params, before.obs, before.first, batch.memory, method="features")
    return after._replace(memory=jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf[-1]), done[1]))


def loss(network: QNetwork, head: Head, config: Config, params: PyTree, batch: tuple[Sample, jax.Array]):
    """Returns the weighted mean of the losses of the steps after the burn-in, float32[], and metrics of it.

    batch: the minibatch and its targets; see ``targets``. Among the metrics are the ``errors`` of the steps, float32[..., B].
    """
    sample, target = batch[0], batch[1][config.burn_in :]
    steps = warmed_up(network, config, params, sample.steps)
    outputs: Any = network.apply(params, steps.obs, steps.first, steps.memory, method="unroll")
    taken = value_heads.chosen(outputs[0], steps.action)
    losses = head.loss(taken, target)
    mean = losses.mean() if sample.weight is None else (sample.weight * losses).mean()
    value, error = head.mean(taken), jnp.abs(head.mean_of_target(target) - head.mean(taken))
    return mean, {"loss": mean, "td_error": error.mean(), "value": value.mean(), "errors": head.error(taken, target)}
