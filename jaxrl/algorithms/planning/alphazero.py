"""AlphaZero: a network guides a search with the true model, and learns from what the search and the games came to.

    repeat
        T times in each of E games: search from s, guided by (p, v) = f_theta(s), for a better policy pi, and act
        z = what the player to move in s won in the end, from its own view
        store (s, pi, z)
        G times
            sample a minibatch of stored positions
            one Adam step on (z - v)^2 - pi^T log p + c ||theta||^2

One network plays both sides of a two-player zero-sum game by turns, each from its own view. An environment without agents is
searched in the same way, with its rewards. A game that the block of T steps leaves unfinished, or that a time limit cuts, goes on
with v. The search is that of Gumbel MuZero in place of PUCT: it improves on p with few simulations, and its noise explores.

The search sees the state of the environment itself, whatever the observation hides, and takes one draw of a random step for all:
it is for deterministic environments with perfect information.

Source: Silver et al. (2018), "A general reinforcement learning algorithm that masters chess, shogi, and Go through self-play",
equation 1; the search: Danihelka et al. (2022), "Policy improvement by planning with Gumbel".
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import distributions, networks, optimisers, replay, search
from jaxrl.blocks.networks import ActorCritic
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.blocks.returns import discounted_returns
from jaxrl.blocks.search import Predict, Prediction
from jaxrl.blocks.successors import successor_values
from jaxrl.core import rollout, spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_discrete_actions
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Decision, Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.errors import AlgorithmError, require, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers and names set shapes: they do."""

    learning_rate: float = 1e-3  # of Adam
    gamma: float = 1.0  # discount, in [0, 1]
    weight_decay: float = 1e-4  # c, at least 0
    # Of the noise with which the search explores, at least 0. Where self-play repeats itself, more of it shows other positions.
    gumbel_scale: float = 1.0
    max_grad_norm: float = jnp.inf  # the global norm of the gradient is cut to this
    num_simulations: int = static(default=32)  # of each search (count)
    max_considered: int = static(default=16)  # actions with which the search begins at the root (count)
    num_envs: int = static(default=64)  # E, games side by side (count)
    num_steps: int = static(default=16)  # T, of each game in one update (count)
    num_gradient_steps: int = static(default=32)  # G, in one update (count)
    batch_size: int = static(default=256)  # positions in one gradient step (count)
    buffer_size: int = static(default=16_384)  # positions that are kept (count)
    hidden: tuple[int, ...] = static(default=(64, 64))  # layer sizes of policy and value each
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    network: Callable | None = static(default=None)  # of your own in place of these layers; see jaxrl.blocks.networks

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    @property
    def simulated_steps_per_update(self) -> int:
        """Steps that the searches imagine in one update."""
        return self.num_simulations * self.steps_per_update

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError or SpaceError where these values cannot run on ``env``."""
        require_discrete_actions("alphazero", env)
        networks.require_layers("alphazero", self, env.observation_space)
        counts = ("num_simulations", "max_considered", "num_envs", "num_steps", "num_gradient_steps", "batch_size", "buffer_size")
        require_counts("alphazero", self, *counts)
        require_numbers("alphazero", self, "max_grad_norm")
        require_between("alphazero", self, 0, 1, "gamma")
        require_between("alphazero", self, 0, jnp.inf, "weight_decay", "gumbel_scale")
        require_positive("alphazero", self, "learning_rate", "max_grad_norm")
        for name, count in (("batch_size", self.batch_size), ("num_envs * num_steps", self.steps_per_update)):
            must = f"buffer_size must be at least {name} ({count})"
            require(self.buffer_size >= count, "alphazero", must, self.buffer_size, f"Try buffer_size={count}.")
        search.require_turns("alphazero", env)


@struct.dataclass
class State:
    """params, opt_state: of the network. episodes: E games under way. buffer: the stored positions."""

    params: PyTree
    opt_state: PyTree
    episodes: Episode
    buffer: ReplayBuffer


class Position(NamedTuple):
    """The stored part of a step, of the player to move. obs: PyTree. mask: bool[A] or None. policy: float32[A], pi.

    outcome: float32[], z.
    """

    obs: PyTree
    mask: jax.Array | None
    policy: jax.Array
    outcome: jax.Array


def make(env: Environment, config: Config) -> Algorithm:
    """Builds AlphaZero on an environment with discrete actions: without agents, or a two-player zero-sum game by turns."""
    actions = spaces.flat_size(env.action_space)
    network = ActorCritic(
        env.observation_space, env.action_space, config.hidden, config.activation, config.channels, network=config.network
    )
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)

    def predict(params):
        def guess(obs, mask):
            found: Any = network.apply(params, obs, None, ())
            return Prediction(*found)

        return guess

    def searching(params, gumbel_scale):
        """Returns the policy that searches from the environment's own state."""
        model = search.of_environment(env, predict(params), config.gamma)

        def act(key, view):
            must, fix = (
                "a search with the true model must see the state of the environment",
                "Evaluate it where states are known.",
            )
            require(view.state is not None, "alphazero", must, view.state, fix, AlgorithmError)
            player = search.mover(env, view.mask)
            obs, mask = search.seen_by(player, (view.obs, view.mask))
            root = predict(params)(obs, mask)
            node = search.Node(view.state, jnp.zeros(root.value.shape, bool))
            plan = search.search(key, root, node, model, config.num_simulations, mask, gumbel_scale, config.max_considered)
            noted = {"policy": plan.policy, "value": root.value}
            return Decision(search.joint_action(view.mask, player, plan.action), noted)

        return act

    def policy(state, greedy):
        return searching(state.params, 0.0 if greedy else config.gumbel_scale)

    def init(key):
        network_key, episode_key = jax.random.split(key)
        episodes = rollout.start(episode_key, env, config.num_envs)
        view = rollout.view(env, episodes)
        obs, mask = search.seen_by(search.mover(env, view.mask), (view.obs, view.mask))
        params = network.init(network_key, obs, None, ())
        obs, mask = jax.tree.map(lambda leaf: leaf[0], (obs, mask))
        example = Position(obs, mask, jnp.zeros(actions, jnp.float32), jnp.float32(0.0))
        return State(params, adam.init(params), episodes, replay.create(example, config.buffer_size))

    step = optimisers.gradient_step(partial(loss, predict, config.weight_decay), adam)

    def update(state, key):
        play_key, learn_key = jax.random.split(key)
        # T times in each of E games, search and act.
        episodes, batch = rollout.unroll(play_key, env, policy(state, False), state.episodes, config.num_steps)
        # z: what the player to move won in the end. Store (s, pi, z).
        buffer = replay.add(state.buffer, positions(env, predict(state.params), config.gamma, batch))

        # G times, learn from a minibatch of stored positions.
        def learn(carry, key):
            return step(carry, replay.sample(key, buffer, config.batch_size))

        keys = jax.random.split(learn_key, config.num_gradient_steps)
        (params, opt_state), metrics = scan(learn, (state.params, state.opt_state), keys)
        state = replace(state, params=params, opt_state=opt_state, episodes=episodes, buffer=buffer)
        return state, jax.tree.map(jnp.mean, metrics) | rollout.episode_metrics(batch)

    return Algorithm(init, update, policy)


def positions(env: Environment, predict: Predict, gamma: jax.Array | float, batch: Transition) -> Position:
    """Returns what is stored of the steps [T, E, ...], leaves [T * E, ...].

    Args:
        env: the environment.
        predict: of the network that played.
        gamma: discount.
        batch: the steps, with pi as ``extras["policy"]`` and v as ``extras["value"]``.
    """
    here = search.mover(env, batch.mask)

    # All from the view of the first player: then the two of them are one, who earns rewards.
    def critic(successors):
        there = search.mover(env, successors[1])
        return search.for_first(there, predict(*search.seen_by(there, successors)).value)

    value, successors = search.for_first(here, batch.extras["value"]), (batch.next_obs, batch.next_mask)
    beyond = successor_values(value, successors, critic, batch.truncated, env.max_steps)
    returns = jax.vmap(discounted_returns, in_axes=(1, 1, 1, 1, None), out_axes=1)
    outcome = returns(search.checked_reward(env, batch), beyond, batch.terminated, batch.truncated, gamma)
    outcome = search.for_first(here, outcome)
    obs, mask = search.seen_by(here, (batch.obs, batch.mask))
    stored = Position(obs, mask, batch.extras["policy"], outcome)
    return rollout.flattened(stored)


def loss(
    predict: Callable[[PyTree], Predict], weight_decay: jax.Array | float, params: PyTree, batch: Position
) -> tuple[jax.Array, dict]:
    """Returns (z - v)^2 - pi^T log p, its mean over Position[B], plus c ||theta||^2; and metrics."""
    logits, value = predict(params)(batch.obs, batch.mask)
    log_p = distributions.categorical(logits, batch.mask).log_probs
    value_loss = jnp.square(batch.outcome - value).mean()
    policy_loss = -(batch.policy * log_p).sum(-1).mean()
    size = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
    return value_loss + policy_loss + weight_decay * size, {"value_loss": value_loss, "policy_loss": policy_loss}
