"""Iterated games between strategies that remember the last joint action, exactly: the play is a Markov chain of joint actions.

A strategy of player i is float[1 + A^N, A]: its action probabilities in the first round (row 0), and after each joint action,
which is numbered with the player's own action first and those of the others after it, in a circle. In the prisoner's dilemma,
where actions are cooperate and defect, rows 1 to 4 are: both cooperated, only the other defected, only the player itself did,
both did.

Everything is pure and differentiable, in float32 or, inside ``jax.enable_x64(True)``, in float64.

Source: Press and Dyson (2012), Iterated prisoner's dilemma contains strategies that dominate any evolutionary opponent; Foerster
et al. (2018), Learning with opponent-learning awareness.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxrl.games.normal_form import joint_distribution


def of_cooperation(first: float, after: Sequence[float]) -> jax.Array:
    """Returns the strategy of a two-action game that takes action 0 with these probabilities, float[5, 2].

    Args:
        first: in the first round.
        after: four probabilities, after both took action 0, only the player itself, only the other, neither.
    """
    cooperates = jnp.asarray([first, *after], jnp.result_type(float))
    return jnp.stack([cooperates, 1 - cooperates], axis=-1)


def play(profile: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns the chain that strategies make: the law of the first joint action, float[J], and of the next one, float[J, J].

    Joint actions are numbered as by ``numpy.ravel_multi_index``, player 0 first.

    Args:
        profile: N strategies, float[1 + A^N, A].
    """
    players, actions = len(profile), profile[0].shape[1]
    first = joint_distribution([strategy[0] for strategy in profile]).reshape(-1)

    def in_joint_order(player):
        """Rows by joint action as the player numbers it, rearranged to the common number: axes i, i+1, ... back to 0, 1, ..."""
        own_first = profile[player][1:].reshape(*(actions,) * players, actions)
        axes = [(axis - player) % players for axis in range(players)]
        return own_first.transpose(*axes, players).reshape(-1, actions)

    following = jax.vmap(lambda *rows: joint_distribution(rows).reshape(-1))(*(in_joint_order(i) for i in range(players)))
    return first, following


def occupancy(profile: Sequence[jax.Array], gamma: jax.Array | float) -> jax.Array:
    """Returns how often each joint action is played, discounted and normalised, float[J]: ``(1 - gamma) sum_t gamma^t P(t)``.

    Args:
        profile: N strategies, float[1 + A^N, A].
        gamma: the discount, in [0, 1).
    """
    first, following = play(profile)
    # d (1 - gamma T) = (1 - gamma) first
    return _solve(jnp.eye(len(first), dtype=first.dtype) - gamma * following.T, (1 - gamma) * first)


def values(payoff: jax.Array, profile: Sequence[jax.Array], gamma: jax.Array | float) -> jax.Array:
    """Returns what every player earns per round, float[N]: the discounted sum of rewards, times ``1 - gamma``.

    Args:
        payoff: float[N, A, ..., A], as many actions for every player.
        profile: N strategies, float[1 + A^N, A].
        gamma: the discount, in [0, 1).
    """
    return (payoff.reshape(payoff.shape[0], -1) * occupancy(profile, gamma)).sum(-1)


def _solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solves a small linear system by Gauss-Jordan elimination, without LAPACK.

    Columns must be strictly diagonally dominant, as those of 1 - gamma T transposed are: then no pivoting is needed.
    """

    def eliminate(system, pivot):
        row = system[pivot] / system[pivot, pivot]
        return (system - system[:, pivot, None] * row).at[pivot].set(row), None

    system = jnp.concatenate([matrix, right[:, None]], axis=1)
    return jax.lax.scan(eliminate, system, jnp.arange(len(right)))[0][:, -1]
