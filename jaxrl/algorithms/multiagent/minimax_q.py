"""Minimax-Q: the value of a two-player zero-sum Markov game, learned by playing it.

    Q(s, a, b) <- Q(s, a, b) + alpha [r + gamma V(s') - Q(s, a, b)]
    V(s)       <- max over p of min over b of sum_a p_a Q(s, a, b), with p(s) the strategy that attains it

Both players learn, each a table of its own, with a the own action and b the opponent's. Each plays its strategy p, mixed with
uniform exploration. Only the stage game of the visited state is solved again after a step, exactly, by
``jaxrl.solvers.zero_sum``; the metric ``stage_gap`` is the largest duality gap of these solutions, in units of the value. Rewards
that do not sum to zero are found by random play before training; if only training meets them, the error turns to NaN, which
puts the seed into quarantine. The line of Q, and how players act, stand in ``jaxrl.blocks.stage_games``.

Source: Littman (1994), Markov games as a framework for multi-agent reinforcement learning, Figure 1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import stage_games
from jaxrl.blocks.stage_games import StageGameConfig, StageSolution
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment
from jaxrl.errors import EnvError, nan_unless, require
from jaxrl.solvers import zero_sum


@struct.dataclass
class Config(StageGameConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Defaults: Littman (1994)."""

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        fix = "Minimax-Q is for two players whose rewards sum to zero."
        self.validate_play("minimax_q", env, fix)
        rewards = np.asarray(_rewards_of_random_play(env), np.float64)
        worst = rewards[np.abs(rewards.sum(-1)).argmax()]
        must = "the rewards of both players must sum to zero"
        require(bool(_sums_to_zero(worst)), "minimax_q", must, worst.tolist(), fix, EnvError)


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


def _if_they_cancel(reward: jax.Array) -> jax.Array:
    """Returns the rewards float32[E, 2], NaN where they do not sum to zero."""
    return nan_unless(_sums_to_zero(reward)[:, None], reward)


def solve(q: jax.Array, mask: jax.Array | None) -> StageSolution:
    """Each player secures what it can: V = max over p of min over b of sum_a p_a Q(s, a, b). The gap is that of duality.

    Args:
        q: float32[2, A, A], each player's own action first.
        mask: bool[2, A], the legal actions of each, or None where all are.
    """
    masks: Any = () if mask is None else (mask, mask[::-1])  # own actions, the opponent's
    solution = jax.vmap(zero_sum.solve)(q, *masks)
    return StageSolution(solution.value, solution.row, solution.gap.max())


def make(env: Environment, config: Config) -> Algorithm:
    """Builds minimax-Q on an environment with two agents whose rewards sum to zero, and who both observe the whole state."""
    return stage_games.learner(env, config, solve, _if_they_cancel)
