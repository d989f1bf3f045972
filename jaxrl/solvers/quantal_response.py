"""Players who do not answer best: logit quantal response equilibria, levels of reasoning and the cognitive hierarchy.

Payoff tables are float[N, A_0, ..., A_{N-1}]. All functions are pure, without LAPACK, and vmap over games and parameters.

Source: McKelvey and Palfrey (1995), "Quantal response equilibria for normal form games"; Turocy (2005), "A dynamic homotopy
interpretation of the logistic quantal response equilibrium correspondence"; Stahl and Wilson (1995) and Nagel (1995) on levels;
Camerer, Ho and Chong (2004), "A cognitive hierarchy model of games".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, nan_unless, require_count, require_number
from jaxrl.solvers.fixed_point import rounding_of
from jaxrl.solvers.normal_form import Profile, action_payoffs, game_table, require_profile, uniform_profile
from jaxrl.solvers.precision import first_smallest, refined

CORRECTIONS = 5  # Newton steps after each step along the path
# Of a step that is kept: the largest correction of the logarithm of a probability, times the root of the probability, and the
# smallest cosine of a turn.
FARTHEST, STRAIGHT = 0.1, 0.98
TOLERANCE = 1e-4  # the largest residual of an answer that is returned, as a share of the smaller probability


class QuantalResponse(NamedTuple):
    """A logit equilibrium, or NaN where the path to it did not end.

    profile: N strategies, float[A_i].
    residual: float[], the largest difference of a probability from the logit answer to the others, as a share of it.
    steps: int32[], along the path, those included that were too long and tried again.
    """

    profile: Profile
    residual: jax.Array
    steps: jax.Array


def logit_equilibrium(payoff: Any, precision: Any, max_steps: int = 1_000) -> QuantalResponse:
    """Follows the principal branch of logit equilibria from the uniform profile to a precision.

    In a logit equilibrium of precision lambda every player answers the others by

        x_i = softmax(lambda u_i(., x_-i)).

    At lambda = 0 all are uniform. From there a path of equilibria leads on, in almost all games to a single Nash equilibrium as
    lambda grows. Along it lambda may fall for a while; the first equilibrium of the precision is returned. The path is followed
    in the logarithms of the probabilities, with steps along the tangent that grow while it is straight, and Newton's method back
    onto it; in float64 if float32 is not precise enough. Where branches cross, in symmetric games, it goes straight on.

    The residual proves that the answer is an equilibrium, not that no step led to another branch. Where one did, the path may not
    come to the precision: this happens to some degenerate games, and to some with a payoff far from all others, if lambda is
    thousands of times one over what is at stake.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        precision: lambda, at least 0, in one over the units of payoffs.
        max_steps: an end of paths that are too long (count).

    Raises:
        ConfigError: the payoffs are no game or not finite, or an argument is out of range. Traced values are not checked.

    Source: Turocy (2005), sections 3 and 4.
    """
    where = "logit_equilibrium"
    require_number(where, "precision", precision, 0, np.inf, "1 over the range of the payoffs, say.", below=True)
    require_count(where, "max_steps", max_steps)
    xp: Any = jnp if is_traced(payoff) else np
    table = game_table(where, payoff)
    # Payoffs count from the best one against every choice of the others, in units of what is at stake: the most that a player
    # can miss by the action by which this is least.
    exact = table if is_traced(payoff) else np.asarray(payoff, np.float64)
    missed = xp.stack([own - own.max(player, keepdims=True) for player, own in enumerate(exact)])
    axes = [tuple(other for other in range(len(missed)) if other != player) for player in range(len(missed))]
    stake = xp.stack([-own.min(others).max() for own, others in zip(missed, axes, strict=True)]).max()
    unit = xp.where(stake > 0, stake, xp.where(missed.min() < 0, -missed.min(), 1.0))
    dtype = jnp.result_type(table, jnp.float32)
    return _equilibrium(jnp.asarray(missed / unit, dtype), jnp.asarray(precision * unit, dtype), max_steps)


@partial(jax.jit, static_argnums=2)
def _equilibrium(table: jax.Array, precision: jax.Array, max_steps: int) -> QuantalResponse:
    found, solved = refined(lambda problem: _followed(problem[0], problem[1], max_steps), (table, precision))
    logits, residual, steps = found
    profile = tuple(nan_unless(solved, jax.nn.softmax(own)) for own in _split(logits, table.shape[1:]))
    return QuantalResponse(profile, residual, steps)


def _split(logits: jax.Array, counts: tuple[int, ...]) -> list[jax.Array]:
    return jnp.split(logits, np.cumsum(counts)[:-1])


def _followed(table: jax.Array, target: jax.Array, max_steps: int) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
    """Returns the logits float[L] of all players at a precision, the residual and the steps; and whether it is solved."""
    counts, dtype = table.shape[1:], table.dtype
    size = sum(counts)
    lam = np.eye(1, size + 1, size)[0]  # the direction of lambda alone

    def answers(logits, precision):
        profile = [jax.nn.softmax(own) for own in _split(logits, counts)]
        return precision * jnp.concatenate([action_payoffs(table, profile, player) for player in range(len(counts))])

    def logarithms(point):
        return jnp.concatenate([jax.nn.log_softmax(own) for own in _split(point[:-1], counts)])

    def missed(point):  # the path is where this is 0; a point is all logits and lambda
        return point[:-1] - answers(point[:-1], point[-1])

    slopes = jax.jacfwd(missed)

    def bordered(point, border, right):
        return _solve(jnp.concatenate([slopes(point), border[None]]), right)

    def tangent(point, border):
        direction = bordered(point, border, jnp.asarray(lam, dtype))
        return direction / jnp.sqrt((direction**2).sum())

    def corrected(point, border):
        def newton(carry, _):
            point, _ = carry
            change = bordered(point, border, jnp.append(missed(point), jnp.zeros((), dtype)))
            return (point - change, jnp.abs(change).max()), None

        return jax.lax.scan(newton, (point, jnp.zeros((), dtype)), length=CORRECTIONS)[0]

    def step(carry):
        point, direction, length, count, _ = carry
        left = target - point[-1]
        ends = (direction[-1] > 0) & (length * direction[-1] >= left)
        length = jnp.where(ends, left / jnp.where(ends, direction[-1], 1), length)
        predicted = point + length * direction
        predicted = predicted.at[-1].set(jnp.where(ends, target, predicted[-1]))
        border = jnp.where(ends, jnp.asarray(lam, dtype), direction)
        found, last = corrected(predicted, border)
        turned = tangent(found, direction)
        # A correction that changes probabilities much may lead to another branch, and so may one around a corner.
        before, after = logarithms(predicted), logarithms(found)
        apart = (jnp.abs(after - before) * jnp.exp(jnp.maximum(after, before) / 2)).max()
        near = (jnp.abs(found - predicted).max() <= 0.3 * length) & (apart <= FARTHEST)
        settled = last <= jnp.sqrt(jnp.finfo(dtype).eps) + 8 * jnp.finfo(dtype).eps * jnp.abs(found).max()
        within = (found[-1] >= 0) & (ends | (found[-1] <= target))
        kept = near & settled & within & ((turned * direction).sum() >= STRAIGHT)
        return (
            jnp.where(kept, found, point),
            jnp.where(kept, turned, direction),
            jnp.where(kept, 2 * length, length / 4),
            count + 1,
            kept & ends,
        )

    start = jnp.zeros(size + 1, dtype)
    first = start, tangent(start, jnp.asarray(lam, dtype)), jnp.asarray(0.1, dtype), jnp.int32(0), target <= 0
    point, _, _, count, arrived = jax.lax.while_loop(lambda carry: ~carry[-1] & (carry[-2] < max_steps), step, first)
    logits = point[:-1]
    pairs = zip(_split(logits, counts), _split(answers(logits, target), counts), strict=True)
    apart = [jnp.abs(jnp.expm1(jax.nn.log_softmax(own) - jax.nn.log_softmax(answer))).max() for own, answer in pairs]
    residual = jnp.stack(apart).max()
    return (logits, residual, count), arrived & (residual <= TOLERANCE)


def _solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solves a linear system by Gauss and Jordan's elimination with partial pivoting; not finite where it is singular."""
    places = np.arange(len(right), dtype=np.int32)

    def eliminate(column, table):
        size = jnp.where(places >= column, jnp.abs(table[:, column]), -1)
        pivot = first_smallest(-size)
        row = table[pivot] / table[pivot, column]
        table = table.at[pivot].set(table[column])
        return (table - table[:, column, None] * row).at[column].set(row)

    table = jnp.concatenate([matrix, right[:, None]], 1)
    return jax.lax.fori_loop(jnp.int32(0), jnp.int32(len(right)), eliminate, table)[:, -1]


class Levels(NamedTuple):
    """Strategies of players who reason to depths 0 to K.

    profile: N of float[K + 1, A_i], by level.
    frequency: float[K + 1], how many players are of each level, summing to 1; of ``level_k``, all are of the last.
    average: N of float[A_i], the strategies weighted by the frequencies.
    regret: float[K + 1, N], how much each player would gain by its best response to its belief: 0 up to rounding, but at level 0,
        which believes nothing and is measured against its own level.
    beyond: float[], the share of players who would reason further than to K and are left out.
    """

    profile: Profile
    frequency: jax.Array
    average: Profile
    regret: jax.Array
    beyond: jax.Array


def level_k(payoff: Any, levels: int, *, start: Any = None) -> Levels:
    """Returns what players do who believe that all others reason one level less, evenly among best responses.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        levels: K, the highest level (count).
        start: the profile of level 0, by default uniform.

    Raises:
        ConfigError: the payoffs are no game or not finite, ``start`` does not fit them, or ``levels`` is below 1.

    Source: Nagel (1995), "Unraveling in guessing games"; Stahl and Wilson (1995).
    """
    where = "level_k"
    table = game_table(where, payoff)
    require_count(where, "levels", levels)
    frequency = jnp.asarray(np.arange(levels + 1) == levels, jnp.result_type(table, jnp.float32))
    first = uniform_profile(payoff) if start is None else require_profile(f"{where}, start", table, start)
    return _levels(table, first, np.eye(levels + 1), frequency, jnp.zeros((), frequency.dtype))


def cognitive_hierarchy(payoff: Any, tau: Any, levels: int = 20, *, start: Any = None) -> Levels:
    """Returns what players do who believe that all others reason less than they, at levels that follow a Poisson distribution.

    Players of level k know how the levels below k are distributed, and answer their average, evenly among best responses.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        tau: the mean level, at least 0; about 1.5 in many experiments.
        levels: K, the highest level that is looked at (count).
        start: the profile of level 0, by default uniform.

    Raises:
        ConfigError: the payoffs are no game or not finite, ``start`` does not fit them, or an argument is out of range.

    Source: Camerer, Ho and Chong (2004), section II.
    """
    where = "cognitive_hierarchy"
    table = game_table(where, payoff)
    require_count(where, "levels", levels)
    require_number(where, "tau", tau, 0, np.inf, "1.5 is common.", below=True)
    numbers = np.arange(levels + 1)
    dtype = jnp.result_type(table, jnp.float32)
    logs = jax.scipy.special.xlogy(jnp.asarray(numbers, dtype), jnp.asarray(tau, dtype)) - jax.scipy.special.gammaln(
        jnp.asarray(numbers + 1, dtype)
    )
    known = numbers[None, :] < numbers[:, None]
    beliefs = jax.nn.softmax(jnp.where(known | (numbers == 0), logs, -jnp.inf), -1)
    beyond = jnp.where(
        jnp.asarray(tau) > 0, jax.scipy.special.gammainc(jnp.asarray(levels + 1.0, dtype), jnp.asarray(tau, dtype)), 0
    )
    first = uniform_profile(payoff) if start is None else require_profile(f"{where}, start", table, start)
    return _levels(table, first, jnp.roll(beliefs, -1, 0), jax.nn.softmax(logs), beyond)


def _levels(table: jax.Array, first: Profile, beliefs: Any, frequency: jax.Array, beyond: jax.Array) -> Levels:
    """Goes from level to level. beliefs: float[K + 1, K + 1]; row k is what level k + 1 believes about levels 0 to k."""
    players, dtype = range(table.shape[0]), frequency.dtype
    # A constant that is added to all payoffs must not hide differences in their rounding.
    table = jnp.stack([own - own.max(player, keepdims=True) for player, own in enumerate(table)]).astype(dtype)
    profile = tuple(own[None].astype(dtype) for own in first)
    regrets = [jnp.stack([_regret(table, first, first, player) for player in players])]
    for level in range(1, len(frequency)):
        belief = [jnp.tensordot(jnp.asarray(beliefs[level - 1, :level], dtype), own, 1, precision="highest") for own in profile]
        answer = []
        for player in players:
            values = action_payoffs(table, belief, player)
            rounding = rounding_of(table[0].size // len(values), jnp.abs(table[player]).max())
            best = values >= values.max() - rounding
            answer.append(best / best.sum(dtype=dtype))
        regrets.append(jnp.stack([_regret(table, belief, answer, player) for player in players]))
        profile = tuple(jnp.concatenate([own, new[None]]) for own, new in zip(profile, answer, strict=True))
    average = tuple(jnp.tensordot(frequency, own, 1, precision="highest") for own in profile)
    return Levels(profile, frequency, average, jnp.stack(regrets), beyond)


def _regret(table: jax.Array, belief: Any, answer: Any, player: int) -> jax.Array:
    values = action_payoffs(table, belief, player)
    return values.max() - (values * answer[player]).sum()
