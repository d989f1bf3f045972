"""Learning values of joint actions in a Markov game of two players: the part that all solutions of its stage games share.

    for every step (s, a_1, a_2, r_1, r_2, s'), and for both players i, with a the player's action and b the other's
        Q_i(s, a, b) <- Q_i(s, a, b) + alpha [r_i + gamma V_i(s') - Q_i(s, a, b)]
        the stage game of s is solved again: V_i(s) is what player i gets from it, p_i(s) the strategy that player i plays

The learners differ in their solution, a function of the tables Q_1(s, ., .) and Q_2(s, ., .): see ``jaxrl.algorithms.multiagent``
for ``minimax_q``, ``nash_q`` and ``friend_or_foe_q``. Each player plays p_i, mixed with uniform exploration.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents, require_discrete
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision, Episode
from jaxrl.core.scan import scan
from jaxrl.errors import require_at_most, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class StageGameConfig:
    """Hyper-parameters of both players. Floats are traced: sweeping them recompiles nothing."""

    learning_rate: float = 1.0  # alpha at first, in (0, 1]
    learning_rate_final: float = 0.01  # alpha after decay_steps, in (0, learning_rate]; it falls geometrically, and goes on
    decay_steps: float = 1e6  # environment steps
    # Visits of a joint action after which its alpha has halved once more; infinite looks at the time alone, which learns next to
    # nothing about what is first tried late, when alpha is small everywhere.
    learning_rate_half_life: float = jnp.inf
    gamma: float = 0.9  # discount, in [0, 1]
    initial_value: float = 1.0  # of every table entry; the most that can be won makes players try what they do not know
    epsilon: float = 0.2  # probability of a uniform action of each player, in [0, 1]
    num_envs: int = static(default=1)  # environments side by side, sharing one table (count)
    num_steps: int = static(default=100)  # steps of each environment in one update (count); the table learns at every step

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate_play(self, where: str, env: Environment, fix: str) -> None:
        """Raises ConfigError or SpaceError where a value is out of range, or ``env`` is no discrete game of two.

        where: who asks. fix: for an environment that has not two players.
        """
        require_agents(where, env, fix, count=2)
        require_discrete(where, env, "Use MAPPO, or number observations and actions.")
        require_counts(where, self, "num_envs", "num_steps")
        require_numbers(where, self, "decay_steps", "learning_rate_half_life")
        require_between(where, self, 0, 1, "learning_rate", "learning_rate_final", "gamma", "epsilon")
        require_positive(where, self, "learning_rate", "learning_rate_final", "decay_steps", "learning_rate_half_life")
        require_at_most(where, self, "learning_rate_final", "learning_rate")


class StageSolution(NamedTuple):
    """value: float[2], what each player gets from the stage game. strategy: float[2, A], what each plays in it.

    gap: float[], how far this is from what the solution promises, in units of the value.
    """

    value: jax.Array
    strategy: jax.Array
    gap: jax.Array


@struct.dataclass
class State:
    """The tables of both players; X observations, A actions.

    q: float32[2, X, A * A], by ``own action * A + the opponent's``. visits: int32, shaped as q.
    value: float32[2, X], of the stage games. strategy: float32[2, X, A], what each plays in them.
    steps: int32[], environment steps so far. episodes: E environments under way.
    """

    q: jax.Array
    visits: jax.Array
    value: jax.Array
    strategy: jax.Array
    steps: jax.Array
    episodes: Episode


def unchanged(reward: jax.Array) -> jax.Array:
    """Returns the rewards as they are, float32[E, 2]."""
    return reward


def learner(env: Environment, config: StageGameConfig, solve: Callable, received: Callable = unchanged) -> Algorithm:
    """Builds the learner of one solution, on an environment of two players who both observe the whole state.

    The metric ``stage_gap`` is the largest gap of the stage games that were solved in an update.

    Args:
        env: with two agents, discrete observations and discrete actions.
        config: its hyper-parameters.
        solve: ``(q, mask) -> StageSolution``, of one stage game: float32[2, A, A], each player's own action first, and
            bool[2, A], the legal actions of each, or None where all are.
        received: ``(float32[E, 2]) -> float32[E, 2]``, the rewards that the players learn from.
    """
    players = jnp.arange(2)
    states, actions = tables.shape(env)

    def init(key):
        unknown = jnp.zeros((2, states), jnp.float32) + config.initial_value
        q = jnp.zeros((2, states, actions * actions), jnp.float32) + config.initial_value
        strategy = jnp.full((2, states, actions), 1 / actions, jnp.float32)
        return State(q, counters.zeros(*q.shape), unknown, strategy, counters.zeros(), rollout.start(key, env, config.num_envs))

    def strategies(state, view, epsilon):
        """Returns the probabilities float32[E, 2, A] of both players' actions, a share epsilon of them uniform."""
        learned = state.strategy[players, view.obs]
        legal = jnp.ones_like(learned) if view.mask is None else view.mask.astype(jnp.float32)
        # In states that were never visited, or with other actions legal, the strategy still allows for illegal actions.
        uniform = _normalised(legal)
        known = (learned * legal).sum(-1, keepdims=True) > 0
        return (1 - epsilon) * jnp.where(known, _normalised(learned * legal), uniform) + epsilon * uniform

    def sample(key, probabilities):
        return Decision(jax.random.categorical(key, jnp.log(probabilities)).astype(jnp.int32))

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        view = rollout.view(env, state.episodes)
        decision = sample(policy_key, strategies(state, view, config.epsilon))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)

        obs, joint = seen.obs, seen.action * actions + seen.action[:, ::-1]  # [E, 2]
        onward = jnp.where(seen.terminated[:, None], 0.0, state.value[players, seen.next_obs])
        error = received(seen.reward) + config.gamma * onward - state.q[players, obs, joint]
        left = config.learning_rate_final / config.learning_rate
        alpha = config.learning_rate * left ** (state.steps / config.decay_steps)
        step_size = harmonic_schedule(alpha, config.learning_rate_half_life, 0.0)
        learn_both = jax.vmap(tables.learn, in_axes=(0, 0, 1, 1, None))
        q, visits = learn_both(state.q, state.visits, (obs, joint), error, step_size)

        games = q[players, obs].reshape(-1, 2, actions, actions)
        solution = jax.vmap(solve, in_axes=(0, None if view.mask is None else 0))(games, view.mask)
        value = state.value.at[players, obs].set(solution.value.astype(jnp.float32))
        strategy = state.strategy.at[players, obs].set(solution.strategy.astype(jnp.float32))
        state = State(q, visits, value, strategy, counters.advanced(state.steps, config.num_envs), episodes)
        return state, (seen, jnp.abs(error), solution.gap)

    def update(state, key):
        state, (batch, error, gap) = scan(step, state, jax.random.split(key, config.num_steps))
        return state, rollout.episode_metrics(batch) | {"td_error": error.mean(), "stage_gap": gap.max().astype(jnp.float32)}

    def probabilities(state, view):
        return strategies(state, view, 0.0)

    def policy(state, greedy):
        def act(key, view):
            learned = probabilities(state, view)
            return Decision(learned.argmax(-1).astype(jnp.int32)) if greedy else sample(key, learned)

        return act

    return Algorithm(init, update, policy, probabilities=probabilities)


def _normalised(weight: jax.Array) -> jax.Array:
    """Makes the rows sum to 1; a row of zeros stays as it is."""
    return weight / jnp.maximum(weight.sum(-1, keepdims=True), 1e-30)
