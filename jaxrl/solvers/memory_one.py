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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import (
    is_traced,
    nan_unless,
    require,
    require_discount,
    require_distribution,
    require_number,
    require_payoffs,
    require_real,
    require_within,
)
from jaxrl.solvers.normal_form import game_table, joint_distribution


def of_cooperation(first: float, after: Sequence[float]) -> jax.Array:
    """Returns the strategy of a two-action game that takes action 0 with these probabilities, float[5, 2].

    Args:
        first: in the first round.
        after: four probabilities, after both took action 0, only the player itself, only the other, neither.

    Raises:
        ConfigError: there are not four, or one lies outside [0, 1].
    """
    where = "of_cooperation"
    require(
        np.iterable(after) and len(after) == 4, where, "after must hold four probabilities", after, "Tit for tat is (1, 0, 1, 0)."
    )
    require_number(where, "first", first, 0, 1, "0 is defection, 1 cooperation.")
    require_within(where, "after", after, 0, 1, "Give probabilities.")
    cooperates = jnp.asarray([first, *after], jnp.result_type(float))
    return jnp.stack([cooperates, 1 - cooperates], axis=-1)


def zero_determinant(payoff: Any, gamma: float, slope: float, baseline: float, weight: float, first: float = 0.0) -> jax.Array:
    """Returns a strategy that fixes a line on which the values of both players lie, whatever the other does, float[5, 2].

    Against every opponent ``own - baseline = slope * (other - baseline)``, of values per round. A slope above 1 extorts: of what
    both earn beyond the baseline, the player takes the larger share. After each joint action (row for row: 1, 1, 0, 0 to repeat
    oneself) it takes action 0 with probability

        ([1, 1, 0, 0] + weight [(own payoff - baseline) - slope (other's payoff - baseline)] - (1 - gamma) first) / gamma

    Args:
        payoff: float[2, 2, 2], symmetric: of one round.
        gamma: the discount, in (0, 1).
        slope, baseline: of the line; the baseline in reward units.
        weight: how strongly it reacts, not 0. Small weights leave more lines possible.
        first: the probability of action 0 in the first round.

    Raises:
        ConfigError: the game is no symmetric one of two actions, a number is out of range, or a probability of the strategy would
            lie outside [0, 1].

    Source: Press and Dyson (2012), equation 7; with a discount, Hilbe, Traulsen and Sigmund (2015), Partners or rivals?
    Strategies for the iterated prisoner's dilemma, equation 7.
    """
    where = "zero_determinant"
    table = require_payoffs(where, payoff)
    symmetric = table.shape == (2, 2, 2) and bool(np.allclose(table[1], table[0].T))
    require(symmetric, where, "payoff must be a symmetric game of two actions", table.shape, "The prisoner's dilemma is one.")
    require_discount(where, gamma, below_one=True)
    require(gamma > 0, where, "gamma must be above 0", gamma, "0.96 is usual.")
    for name, value in (("slope", slope), ("baseline", baseline), ("weight", weight)):
        require_number(where, name, value, -np.inf, np.inf, "Extortion has a slope above 1.")
    require(weight != 0, where, "weight must not be 0", weight, "Try 0.1.")
    require_number(where, "first", first, 0, 1, "0 is defection, 1 cooperation.")
    own, other = table[0].reshape(-1), table[1].reshape(-1)
    reaction = weight * ((own - baseline) - slope * (other - baseline))
    after = (np.array([1.0, 1.0, 0.0, 0.0]) + reaction - (1 - gamma) * first) / gamma
    possible = bool(((after >= -1e-12) & (after <= 1 + 1e-12)).all())
    must = "the probabilities after each joint action must lie in [0, 1]"
    require(possible, where, must, after.tolist(), "Take another weight, or a line that the game allows.")
    return of_cooperation(first, after.clip(0, 1).tolist())


def play(profile: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns the chain that strategies make: the law of the first joint action, float[J], and of the next one, float[J, J].

    Joint actions are numbered as by ``numpy.ravel_multi_index``, player 0 first.

    Args:
        profile: N strategies, float[1 + A^N, A].

    Raises:
        ConfigError: a strategy has another shape, or a row of it is no distribution.
    """
    profile = _require_strategies(profile)
    players, actions = len(profile), profile[0].shape[1]
    first = joint_distribution([strategy[0] for strategy in profile]).reshape(-1)

    def in_joint_order(player):
        """Rows by joint action as the player numbers it, rearranged to the common number: axes i, i+1, ... back to 0, 1, ..."""
        own_first = profile[player][1:].reshape(*(actions,) * players, actions)
        axes = [(axis - player) % players for axis in range(players)]
        return own_first.transpose(*axes, players).reshape(-1, actions)

    following = jax.vmap(lambda *rows: joint_distribution(rows).reshape(-1))(*(in_joint_order(i) for i in range(players)))
    return first, following


def _require_strategies(profile: Any) -> list[jax.Array]:
    where, fix = "memory_one", "of_cooperation makes one."
    parts = list(profile) if np.iterable(profile) else []
    require(len(parts) >= 1, where, "the profile must hold a strategy for each player", profile, fix)
    tables = [part if is_traced(part) else require_real(where, f"strategy {i}", part) for i, part in enumerate(parts)]
    shapes = [table.shape for table in tables]
    fits = len(shapes[0]) == 2 and set(shapes) == {(1 + shapes[0][1] ** len(tables), shapes[0][1])}
    require(fits, where, "every strategy must have shape [1 + A^N, A], N being their number", shapes, fix)
    for player, table in enumerate(tables):
        if not is_traced(table):
            require_distribution(where, f"every row of strategy {player}", table, "Normalise its rows.")
    return [jnp.asarray(table) for table in tables]


def occupancy(profile: Sequence[jax.Array], gamma: jax.Array | float) -> jax.Array:
    """Returns how often each joint action is played, discounted and normalised, float[J]: ``(1 - gamma) sum_t gamma^t P(t)``.

    Args:
        profile: N strategies, float[1 + A^N, A].
        gamma: the discount, in [0, 1). Without discount, at 1, there is no such number: NaN if it is traced.

    Raises:
        ConfigError: the discount is out of range.
    """
    require_discount("memory_one", gamma, below_one=True)
    first, following = play(profile)
    leaving = jnp.asarray(1 - gamma, first.dtype)
    chances = _ends_of_walks(gamma * following, jnp.full_like(first, leaving), first)
    return nan_unless(leaving > 0, chances)


def values(payoff: jax.Array, profile: Sequence[jax.Array], gamma: jax.Array | float) -> jax.Array:
    """Returns what every player earns per round, float[N]: the discounted sum of rewards, times ``1 - gamma``.

    Args:
        payoff: float[N, A, ..., A], as many actions for every player.
        profile: N strategies, float[1 + A^N, A].
        gamma: the discount, in [0, 1).

    Raises:
        ConfigError: the discount is out of range, or the payoffs or strategies do not fit together.
    """
    payoff = game_table("memory_one", payoff)
    tables = _require_strategies(profile)
    shape = (len(tables), *(tables[0].shape[1],) * len(tables))
    require(payoff.shape == shape, "memory_one", f"payoff must have shape {list(shape)}", payoff.shape, "See its argument.")
    return (payoff.reshape(payoff.shape[0], -1) * occupancy(profile, gamma)).sum(-1)


def _ends_of_walks(onward: jax.Array, stop: jax.Array, first: jax.Array) -> jax.Array:
    """Returns where walks stop that begin at ``first`` and go on as ``onward`` says, float[J]; it sums to 1.

    States are taken out one by one: ways through them become ways around them. Nothing is ever subtracted, so every entry is
    precise, however rarely walks stop. It needs no LAPACK.

    Args:
        onward: float[J, J], the chance of each step.
        stop: float[J], the chance to stop; with the steps it sums to 1.
        first: float[J], the distribution of the first state.

    Source: Alfa, Xue and Ye (2002), Accurate computation of the smallest eigenvalue of a diagonally dominant M-matrix.
    """
    size = len(first)
    states = jnp.arange(size)

    def take_out(carry, state):
        onward, stop = carry
        later = states > state
        # The transitions from this state to later ones, relative to leaving it at all.
        leaves = stop[state] + jnp.sum(onward[state], where=later)
        share = jnp.where(later, onward[:, state] / leaves, 0.0)
        around = share[:, None] * jnp.where(later, onward[state], 0.0)
        return (onward + around * ~jnp.eye(size, dtype=bool), stop + share * stop[state]), (onward[state], share, leaves)

    (_, _), (ways, shares, leaves) = jax.lax.scan(take_out, (onward, stop), states)
    ahead = jnp.where(states[None] > states[:, None], ways / leaves[:, None], 0.0)  # from each state to those taken out later

    def arrive(reached, state):
        return reached + reached[state] * ahead[state], None

    def spread(total, state):
        back = jnp.where(states > state, shares[state], 0.0)
        return total.at[state].add(jnp.sum(back * total)), None

    reached = jax.lax.scan(arrive, first, states)[0]
    total = jax.lax.scan(spread, reached / leaves, states[::-1])[0]
    return total * stop
