"""Replicator dynamics: populations in which the actions that earn more than the average spread."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_real, require_within
from jaxrl.solvers.dynamics.logits import centred, logarithms, shares_of
from jaxrl.solvers.dynamics.play import Course, Rule, course
from jaxrl.solvers.dynamics.starts import from_starts
from jaxrl.solvers.normal_form import action_payoffs, game_table


def replicator(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any],
    step_size: jax.Array | float = 0.01,
    mutation: jax.Array | float = 0.0,
    num_records: int = 1,
) -> Course:
    """A population for each player, in which actions that earn more than the average spread.

        dx_ia / dt = x_ia [u_i(a, x_-i) - u_i(x)] + mutation [1 / A_i - x_ia]

    integrated by the classical Runge-Kutta method of fourth order for the logarithms of the shares, which grow at the rates
    u_i(a, x_-i) up to a constant: shares then stay shares whatever the step. Mutation is solved exactly, for half a step before
    and half a step after. In a symmetric game with equal starts the populations stay equal, which is the dynamic of a single
    population.

    At rest no action earns more than the average by as much as ``mutation``: each player's regret is smaller.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: integration steps.
        start: the first profile; an action of probability 0 stays there, unless there is mutation.
        step_size: time in one step, positive. In a step the logarithms of two shares can move apart by ``step_size`` times the
            range of a player's payoffs, which must not exceed 1: beyond, the steps no longer follow the differential equation.
        mutation: rate at which individuals take an action at random, at least 0, in units of payoffs.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is too long for these payoffs, the rate is negative, or as for ``fictitious_play``.

    Source: Taylor and Jonker (1978); Weibull (1995), Evolutionary Game Theory, sections 3.1 and 5.1; for mutation Hofbauer and
    Sigmund (1998), Evolutionary Games and Population Dynamics, section 20.1, and Abe, Sakamoto and Iwasaki (2022),
    "Mutation-driven follow the regularized leader for last-iterate convergence in zero-sum games".
    """
    payoff = game_table("replicator", payoff)
    require_step_size("replicator", payoff, step_size)
    require_within("replicator", "mutation", mutation, 0, np.inf, "0.01, say.", below=True)
    return course(payoff, replication(payoff, step_size, mutation), start, num_steps, num_records)


def require_step_size(where: str, payoff: Any, step_size: Any) -> None:
    """Raises ConfigError unless steps of the replicator follow its differential equation. Traced values are not checked.

    Args:
        where: who asks.
        payoff: float[N, A_0, ..., A_{N-1}].
        step_size: time in one step, a number or an array of them.
    """
    if is_traced(payoff, step_size):
        return
    span = max(float(np.ptp(table)) for table in np.asarray(payoff, np.float64))
    must, fix = "step_size times the range of the payoffs must lie in (0, 1]", f"Use {0.9 / span if span else 1:.2g}, say."
    step = require_real(where, "step_size", step_size, fix).astype(np.float64)
    require(bool(np.all((step > 0) & (step * span <= 1 + 1e-6))), where, must, step_size, fix)


def replication(payoff: jax.Array, step_size: jax.Array | float, mutation: jax.Array | float = 0.0) -> Rule:
    """The rule of ``replicator``; it remembers the logarithms of the shares, up to a constant."""
    players = range(payoff.shape[0])

    def growth(shares):
        return tuple(action_payoffs(payoff, shares, player) for player in players)

    def move(logits, slope, time):
        return tuple(logit + time * change for logit, change in zip(logits, slope, strict=True))

    def mutated(logits):
        """Moves all shares towards 1 / A for half a step."""
        time = mutation * step_size / 2
        fresh = -jnp.expm1(-time)
        new = jnp.where(fresh > 0, jnp.log(jnp.where(fresh > 0, fresh, 1)), -jnp.inf)
        return tuple(jnp.logaddexp(jax.nn.log_softmax(logit) - time, new - math.log(logit.size)) for logit in logits)

    mutates = is_traced(mutation) or mutation != 0

    def advance(logits, shares, total):
        if mutates:
            logits = mutated(logits)
            shares = shares_of(logits)
        first = growth(shares)
        second = growth(shares_of(move(logits, first, step_size / 2)))
        third = growth(shares_of(move(logits, second, step_size / 2)))
        fourth = growth(shares_of(move(logits, third, step_size)))
        slope = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True))
        logits = move(logits, slope, step_size)
        logits = centred(mutated(logits) if mutates else logits)
        return logits, shares_of(logits)

    return Rule(logarithms, advance)


def populations(payoff: Any, first: Any, num_steps: int, step_size: float, num_records: int) -> tuple[np.ndarray, np.ndarray]:
    """Follows S populations, each playing a symmetric game against itself, by the replicator dynamics.

    Args:
        payoff: float[2, A, A].
        first: float[S, A], the shares of the actions at first.
        num_steps, step_size, num_records: as for ``replicator``.

    Returns:
        The shares, and their averages over time so far, float64[S, C, A].
    """
    move = partial(replicator, num_steps=num_steps, step_size=step_size, num_records=num_records)
    history = from_starts(move, payoff, (first, first)).history
    return np.asarray(history.profile[0], np.float64), np.asarray(history.average[0], np.float64)
