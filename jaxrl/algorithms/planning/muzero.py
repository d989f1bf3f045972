"""MuZero: a search in a model that is learned for it, of rewards, values and policies alone.

    fill the replay memory with random steps
    repeat
        T times in each of E environments
            s^0 = h(o); search from s^0 with the model g and the prediction f for a better policy pi and a value nu, and act
            store (o, a, r, pi, nu)
        G times
            sample stored sequences that begin at some t, and one Adam step on their mean loss plus c ||theta||^2:
            s^0 = h(o_t)
            for k = 0 .. K
                p^k, v^k = f(s^k)
                r^k, s^{k+1} = g(s^k, a_{t+k})
                z = r_{t+k} + gamma r_{t+k+1} + ... + gamma^{n-1} r_{t+k+n-1} + gamma^n nu_{t+k+n}
                loss += -pi_{t+k}^T log p^k + l(z, v^k) + l(r_{t+k}, r^k), divided by K but for k = 0

The search is that of Gumbel MuZero. Rewards and values are distributions over a fixed support, and l is their cross-entropy. A
gradient is halved where it leaves g for the state that g was given. Beyond the end of an episode the model learns that nothing
is paid any more, whatever is done. A time limit is no end: the return goes on with v of the state behind it, and the model
learns nothing of what follows, which is another episode.

The weights are ours in one point: the source has no reward at k = 0 of its own, as its r^k is that of the step before s^k.

Only the root knows the legal actions. Observations need not show whole states: h sees the last one alone.

Source: Schrittwieser et al. (2020), "Mastering Atari, Go, chess and shogi by planning with a learned model", equation 1 and
appendices F and G; the search: Danihelka et al. (2022), "Policy improvement by planning with Gumbel".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import distributions, networks, optimisers, replay, search, two_hot
from jaxrl.blocks.networks import LatentModel
from jaxrl.blocks.off_policy import OffPolicyConfig
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.blocks.returns import n_step_returns
from jaxrl.blocks.search import Outcome, Prediction
from jaxrl.blocks.successors import successor_values
from jaxrl.core import rollout, spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_discrete_actions, require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.errors import require, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config(OffPolicyConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers and names set shapes: they do."""

    learning_rate: float = 1e-3  # of Adam
    gamma: float = 0.99  # discount, in [0, 1]
    # Of the noise with which the search explores, at least 0. The search stretches the values of a state to [0, 1], even if they
    # differ by an error of the model alone: with little noise an action may be given up before it was ever tried.
    gumbel_scale: float = 1.0
    value_coefficient: float = 0.25  # of the loss of values, at least 0 (Schrittwieser et al. 2020, appendix H)
    weight_decay: float = 1e-4  # c, at least 0
    max_grad_norm: float = 10.0  # the global norm of the gradient is cut to this
    num_simulations: int = static(default=16)  # of each search (count)
    max_considered: int = static(default=16)  # actions with which the search begins at the root (count)
    unroll_steps: int = static(default=5)  # K, steps of the model in the loss (count)
    bootstrap_steps: int = static(default=10)  # n, rewards in a target of the value (count)
    support_size: int = static(default=10)  # m, atoms to either side of 0; 10 tells values up to 117, 30 up to 905 (count)
    latent_size: int = static(default=32)  # of a latent state
    num_envs: int = static(default=16)  # E, environments side by side (count)
    num_steps: int = static(default=4)  # T, of each environment between two rounds of learning (count)
    num_gradient_steps: int = static(default=16)  # G, in each round of learning (count)
    num_rounds: int = static(default=16)  # rounds of acting and learning in one update; its metrics are means (count)
    batch_size: int = static(default=128)  # sequences in one gradient step (count)
    buffer_size: int = static(default=32_768)  # steps that are kept (count)
    learning_starts: int = static(default=1_024)  # steps with random actions before the first update, at least (count)
    hidden: tuple[int, ...] = static(default=(64,))  # layer sizes of h, g, and each head of f
    # A network of your own as h, called with the size of a latent state: (observation_space, latent_size) -> flax module.

    @property
    def sequence_length(self) -> int:
        """Stored steps that a sequence needs: its last target looks n steps beyond step K."""
        return self.unroll_steps + self.bootstrap_steps + 1

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_discrete_actions("muzero", env)
        require_single_agent("muzero", env, "Use jaxrl.algorithms.planning.alphazero for games by turns.")
        networks.require_layers("muzero", self, env.observation_space)
        counts = ("num_simulations", "max_considered", "unroll_steps", "bootstrap_steps", "support_size", "latent_size")
        require_counts("muzero", self, *counts, "num_envs", "num_steps", "num_gradient_steps", "num_rounds")
        require_numbers("muzero", self, "max_grad_norm")
        require_between("muzero", self, 0, 1, "gamma")
        require_between("muzero", self, 0, jnp.inf, "gumbel_scale", "value_coefficient", "weight_decay")
        require_positive("muzero", self, "learning_rate", "max_grad_norm")
        self.require_buffer("muzero")
        length, envs = self.sequence_length, self.num_envs
        must, least = f"buffer_size must hold a sequence of each environment ({length * envs} steps)", length * envs
        require(self.buffer_size >= least, "muzero", must, self.buffer_size, f"Try buffer_size={least}.")
        must = f"the first sequence needs {length} steps of each environment before it is drawn"
        missing = max(length - self.num_steps, 1) * envs
        there = self.warm_up_steps + self.num_steps
        require(there >= length, "muzero", must, there, f"Try learning_starts={missing}.")


@struct.dataclass
class State:
    """params, opt_state: of h, g and f. episodes: E environments under way. buffer: the stored steps."""

    params: PyTree
    opt_state: PyTree
    episodes: Episode
    buffer: ReplayBuffer


class Experience(NamedTuple):
    """The stored part of a step. policy: float32[A], pi. value: float32[], nu, of the search.

    beyond: float32[], where a time limit cut the episode v of the successor, with which the return goes on; unread elsewhere.
    """

    obs: PyTree
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    policy: jax.Array
    value: jax.Array
    beyond: jax.Array


class Targets(NamedTuple):
    """Of the K + 1 steps of B sequences, leaves [K + 1, B, ...].

    action: int32, takes the model on. policy: float32[..., A]. value, reward: float32.
    alive: float32, 1 up to the end of the episode. known: float32, 1 also beyond it if it terminated.
    """

    action: jax.Array
    policy: jax.Array
    value: jax.Array
    reward: jax.Array
    alive: jax.Array
    known: jax.Array


class Functions(NamedTuple):
    """h, g and f with the parameters of a state, and values in place of logits.

    represent: ``obs -> latent``. guess: ``latent -> Prediction``. model: as ``search.Model``.
    """

    represent: Any
    guess: Any
    model: Any


def latent_model(env: Environment, config: Config) -> LatentModel:
    """Returns the network whose parameters are ``State.params``."""
    sizes = 2 * config.support_size + 1, config.latent_size
    layers = config.hidden, config.activation, config.channels, config.network
    return LatentModel(env.observation_space, spaces.flat_size(env.action_space), *sizes, *layers)


def functions(network: LatentModel, config: Config, params: PyTree) -> Functions:
    """Returns h, g and f as the search takes them."""
    apply: Any = partial(network.apply, params)
    atoms = two_hot.support(config.support_size)

    def guess(latent):
        logits, value = apply(latent, method="predict")
        return Prediction(logits, two_hot.decode(value, atoms))

    def model(key, action, latent):
        latent, reward = apply(latent, action, method="step")
        discount = jnp.broadcast_to(jnp.float32(config.gamma), action.shape)
        return Outcome(two_hot.decode(reward, atoms), discount, guess(latent)), latent

    return Functions(partial(apply, method="represent"), guess, model)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds MuZero on an environment with discrete actions and without agents."""
    network = latent_model(env, config)
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    gradient_step = optimisers.gradient_step(partial(loss, network, config), adam)

    def policy(state, greedy):
        represent, guess, model = functions(network, config, state.params)
        gumbel_scale = 0.0 if greedy else config.gumbel_scale

        def act(key, view):
            # s^0 = h(o); search from s^0 for a better policy pi and a value nu, and act.
            latent = represent(view.obs)
            how = config.num_simulations, view.mask, gumbel_scale, config.max_considered
            plan = search.search(key, guess(latent), latent, model, *how)
            return Decision(plan.action, {"policy": plan.policy, "value": plan.value})

        return act

    def unsearched(params):
        """Returns the policy that draws legal actions uniformly: pi is uniform, and nu the network's own value."""
        uniform = rollout.uniform_policy(env)
        represent, guess, _ = functions(network, config, params)

        def act(key, view):
            logits, value = guess(represent(view.obs))
            pi = distributions.categorical(jnp.zeros_like(logits), view.mask).probs
            return uniform(key, view)._replace(extras={"policy": pi, "value": value})

        return act

    def play(key, act, params, episodes, num_steps):
        episodes, batch = rollout.unroll(key, env, act, episodes, num_steps)
        represent, guess, _ = functions(network, config, params)

        def critic(obs):
            return guess(represent(obs)).value

        beyond = successor_values(batch.extras["value"], batch.next_obs, critic, batch.truncated, env.max_steps)
        return episodes, experience(batch, beyond), batch

    def init(key):
        network_key, episode_key, act_key = jax.random.split(key, 3)
        episodes = rollout.start(episode_key, env, config.num_envs)
        params = network.init(network_key, episodes.obs, jnp.zeros(config.num_envs, jnp.int32))
        episodes, steps, _ = play(act_key, unsearched(params), params, episodes, config.warm_up_steps)
        one = jax.tree.map(lambda leaf: leaf[0], steps)
        return State(params, adam.init(params), episodes, replay.add(replay.create(one, config.buffer_size), steps))

    def round_(state, key):
        act_key, learn_key = jax.random.split(key)
        # T times in each of E environments, search and act. Store (o, a, r, pi, nu).
        episodes, steps, batch = play(act_key, policy(state, False), state.params, state.episodes, config.num_steps)
        buffer = replay.add(state.buffer, steps)

        # G times, learn from stored sequences.
        def learn(carry, key):
            length = config.sequence_length
            sequences = replay.sample_sequences(key, buffer, config.batch_size, length, config.num_envs)
            obs = jax.tree.map(lambda leaf: leaf[0], sequences.obs)
            return gradient_step(carry, (obs, targets(config, sequences)))

        keys = jax.random.split(learn_key, config.num_gradient_steps)
        (params, opt_state), metrics = scan(learn, (state.params, state.opt_state), keys)
        return State(params, opt_state, episodes, buffer), (metrics, batch)

    def update(state, key):
        state, (metrics, batch) = scan(round_, state, jax.random.split(key, config.num_rounds))
        return state, jax.tree.map(jnp.mean, metrics) | rollout.episode_metrics(batch)

    return Algorithm(init, update, policy)


def experience(batch: Transition, beyond: jax.Array) -> Experience:
    """Returns what is stored of the steps [T, E, ...], in the order of time, leaves [T * E, ...].

    beyond: float32[T, E], v of the successors where a time limit cut the episode.
    """
    searched = batch.extras["policy"], batch.extras["value"]
    what = Experience(batch.obs, batch.action, batch.reward, batch.terminated, batch.truncated, *searched, beyond)
    return rollout.flattened(what)


def targets(config: Config, steps: Experience) -> Targets:
    """Returns what the model should answer along sequences Experience[K + n + 1, B]."""
    first = config.unroll_steps + 1
    # Where a time limit cut the episode, the next stored step is another episode's.
    next_value = jnp.where(steps.truncated, steps.beyond, jnp.roll(steps.value, -1, axis=0))
    window = jax.tree.map(lambda leaf: leaf[:-1], (steps.reward, next_value, steps.terminated, steps.truncated))
    returns: Any = jax.vmap(n_step_returns, in_axes=(1, 1, 1, 1, None, None), out_axes=1)
    value = returns(*window, config.gamma, config.bootstrap_steps)[:first]
    # Which of the steps 0 .. K come after an end, which after a cut that was none.
    before = jnp.zeros_like(steps.terminated[:1])
    done = jnp.concatenate([before, (steps.terminated | steps.truncated)[: first - 1]])
    alive = jnp.cumsum(done, axis=0, dtype=jnp.int32) == 0
    after = jnp.concatenate([jnp.ones_like(before), alive[:-1]])  # the step before was alive
    cut = jnp.concatenate([before, steps.truncated[: first - 1]]) & after
    known = jnp.cumsum(cut, axis=0, dtype=jnp.int32) == 0
    value, reward = (jnp.where(alive, leaf, 0.0) for leaf in (value, steps.reward[:first]))
    flags = {"alive": alive.astype(jnp.float32), "known": known.astype(jnp.float32)}
    return Targets(steps.action[:first], steps.policy[:first], value, reward, **flags)


def loss(network: LatentModel, config: Config, params: PyTree, batch: tuple[PyTree, Targets]) -> tuple[jax.Array, dict]:
    """Returns the loss of the model, unrolled along Targets[K + 1, B] from observations PyTree[B, ...]; and metrics."""
    apply: Any = partial(network.apply, params)
    atoms = two_hot.support(config.support_size)

    def step(latent, wanted):
        logits, value = apply(latent, method="predict")
        policy_loss = -wanted.alive * (wanted.policy * jax.nn.log_softmax(logits)).sum(-1)
        value_loss = wanted.known * two_hot.loss(value, wanted.value, atoms)
        half = 0.5 * latent + 0.5 * jax.lax.stop_gradient(latent)  # f passes its gradient on whole
        latent, reward = apply(half, wanted.action, method="step")
        reward_loss = wanted.known * two_hot.loss(reward, wanted.reward, atoms)
        return latent, {"policy_loss": policy_loss, "value_loss": value_loss, "reward_loss": reward_loss}

    obs, wanted = batch
    _, losses = jax.lax.scan(step, apply(obs, method="represent"), wanted)
    weight = jnp.full(config.unroll_steps + 1, 1 / config.unroll_steps, jnp.float32).at[0].set(1.0)
    metrics = {name: jnp.dot(weight, each.mean(1)) for name, each in losses.items()}
    total = metrics["policy_loss"] + config.value_coefficient * metrics["value_loss"] + metrics["reward_loss"]
    size = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
    return total + config.weight_decay * size, metrics
