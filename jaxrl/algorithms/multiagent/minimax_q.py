"""Minimax-Q: the value of a two-player zero-sum Markov game, learned by playing it.

    Q(s, a, b) <- Q(s, a, b) + alpha [r + gamma V(s') - Q(s, a, b)]
    V(s)       <- max over p of min over b of sum_a p_a Q(s, a, b), with p(s) the strategy that attains it

Both players learn, each a table of its own, with a the own action and b the opponent's. Each plays its strategy p, mixed with
uniform exploration. Only the stage game of the visited state is solved again after a step, exactly, by
``jaxrl.solvers.zero_sum``; the metric ``stage_gap`` is the largest duality gap of these solutions, in units of the value. Rewards
that do not sum to zero are found by random play before training; if only training meets them, the error turns to NaN, which
puts the seed into quarantine.

Source: Littman (1994), Markov games as a framework for multi-agent reinforcement learning, Figure 1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.core import counters, rollout, spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents, require_discrete
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision, Episode
from jaxrl.core.scan import scan
from jaxrl.errors import (
    EnvError,
    nan_unless,
    require,
    require_at_most,
    require_between,
    require_counts,
    require_numbers,
    require_positive,
)
from jaxrl.solvers import zero_sum


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Defaults: Littman (1994)."""

    learning_rate: float = 1.0  # alpha at first, in (0, 1]
    learning_rate_final: float = 0.01  # alpha after decay_steps, in (0, learning_rate]; it falls geometrically, and goes on
    decay_steps: float = 1e6  # environment steps
    # Visits of a joint action after which its alpha has halved once more; infinite, as in the paper, looks at the time alone.
    # That learns next to nothing about what is first tried late, when alpha is small everywhere.
    learning_rate_half_life: float = jnp.inf
    gamma: float = 0.9  # discount, in [0, 1]
    initial_value: float = 1.0  # of every table entry; the most that can be won makes players try what they do not know
    epsilon: float = 0.2  # probability of a uniform action of each player, in [0, 1]
    num_envs: int = static(default=1)  # environments side by side, sharing one table (count)
    num_steps: int = static(default=100)  # steps of each environment in one update (count); the table learns at every step

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        fix = "Minimax-Q is for two players whose rewards sum to zero."
        require_agents("minimax_q", env, fix, count=2)
        require_discrete("minimax_q", env, "Use MAPPO, or number observations and actions.")
        require_counts("minimax_q", self, "num_envs", "num_steps")
        require_numbers("minimax_q", self, "decay_steps", "learning_rate_half_life")
        require_between("minimax_q", self, 0, 1, "learning_rate", "learning_rate_final", "gamma", "epsilon")
        require_positive("minimax_q", self, "learning_rate", "learning_rate_final", "decay_steps", "learning_rate_half_life")
        require_at_most("minimax_q", self, "learning_rate_final", "learning_rate")
        rewards = np.asarray(_rewards_of_random_play(env), np.float64)
        worst = rewards[np.abs(rewards.sum(-1)).argmax()]
        must = "the rewards of both players must sum to zero"
        require(bool(_sums_to_zero(worst)), "minimax_q", must, worst.tolist(), fix, EnvError)


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


@jax.jit
def _rewards_of_random_play(env: Environment) -> jax.Array:
    """Returns the rewards of some steps of random play, float32[n, 2]."""
    start_key, play_key = jax.random.split(jax.random.key(0))
    episodes = rollout.start(start_key, env, 16)
    _, batch = rollout.unroll(play_key, env, rollout.uniform_policy(env), episodes, 32)
    return batch.reward.reshape(-1, 2)


def _sums_to_zero(reward: jax.Array | np.ndarray) -> jax.Array:
    """Returns whether the rewards of two players cancel, up to what float32 rounds away, bool[...]; reward: float[..., 2]."""
    return jnp.abs(reward.sum(-1)) <= 1e-5 * jnp.abs(reward).max(-1)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds minimax-Q on an environment with two agents whose rewards sum to zero, and who both observe the whole state."""
    players = jnp.arange(2)
    states, actions = spaces.flat_size(env.observation_space), spaces.flat_size(env.action_space)

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
        reward = nan_unless(_sums_to_zero(seen.reward)[:, None], seen.reward)
        error = reward + config.gamma * onward - state.q[players, obs, joint]
        left = config.learning_rate_final / config.learning_rate
        alpha = config.learning_rate * left ** (state.steps / config.decay_steps)
        step_size = harmonic_schedule(alpha, config.learning_rate_half_life, 0.0)
        learn_both = jax.vmap(tables.learn, in_axes=(0, 0, 1, 1, None))
        q, visits = learn_both(state.q, state.visits, (obs, joint), error, step_size)

        game = q[players, obs].reshape(-1, 2, actions, actions)
        masks: Any = () if view.mask is None else (view.mask, view.mask[:, ::-1])  # own actions, the opponent's
        solution = jax.vmap(jax.vmap(zero_sum.solve))(game, *masks)
        value = state.value.at[players, obs].set(solution.value.astype(jnp.float32))
        strategy = state.strategy.at[players, obs].set(solution.row.astype(jnp.float32))
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
