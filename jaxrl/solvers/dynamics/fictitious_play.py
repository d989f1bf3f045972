"""Fictitious play: answers to the averages of what the others have played, exact, by a softmax, or averse to variance."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxrl.errors import require_within
from jaxrl.solvers import risk_averse
from jaxrl.solvers.dynamics.play import Course, Rule, course
from jaxrl.solvers.normal_form import action_payoffs, game_table, pure_profile, uniform_profile

ANSWER_STEPS = 32  # of the search for each answer in risk_averse_play: nearly all end before


def fictitious_play(payoff: Any, num_steps: int, *, start: Sequence[Any] | None = None, num_records: int = 1) -> Course:
    """Every player answers, at the same time, what the others have played so far on average.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default every player's first action.
        num_records: C, how often the history is noted; a divisor of ``num_steps``.

    Returns:
        A Course; of several best responses the first is played.

    Raises:
        ConfigError: the payoffs are no game or not finite, ``start`` does not fit them, or an argument is out of range. Traced
            values are not checked.

    Source: Brown (1951), Iterative solution of games by fictitious play; Fudenberg and Levine (1998), chapter 2.
    """
    payoff = game_table("fictitious_play", payoff)
    first = pure_profile(payoff, [0] * payoff.shape[0]) if start is None else start
    return course(payoff, best_responses(payoff), first, num_steps, num_records)


def best_responses(payoff: jax.Array) -> Rule:
    """The rule of ``fictitious_play``; it remembers nothing but the sums of what was played."""
    players = range(payoff.shape[0])

    def advance(memory, profile, total):
        # Payoffs are linear in each strategy, so sums serve as well as averages, and ties between integer payoffs stay exact.
        answers = [action_payoffs(payoff, total, player).argmax() for player in players]
        return memory, tuple(jax.nn.one_hot(a, s.size, dtype=s.dtype) for a, s in zip(answers, profile, strict=True))

    return Rule(lambda profile: (), advance)


def smooth_fictitious_play(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    temperature: jax.Array | float = 0.1,
    num_records: int = 1,
) -> Course:
    """Every player answers what the others have played so far on average, the better an action the more often:

        x_i <- softmax(u_i(., average of x_-i) / temperature)

    In two-player zero-sum games and in potential games play converges to a logit equilibrium, in which all answer each other so.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default uniform.
        temperature: positive, in units of payoffs; towards 0 answers become best responses.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the temperature is not positive, or as for ``fictitious_play``.

    Source: Fudenberg and Levine (1998), The Theory of Learning in Games, chapter 4; Hofbauer and Sandholm (2002), "On the global
    convergence of stochastic fictitious play".
    """
    where = "smooth_fictitious_play"
    payoff = game_table(where, payoff)
    require_within(where, "temperature", temperature, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return course(payoff, logit_responses(payoff, temperature), first, num_steps, num_records)


def logit_responses(payoff: jax.Array, temperature: jax.Array | float) -> Rule:
    """The rule of ``smooth_fictitious_play``; it remembers nothing but the sums of what was played."""
    players = range(payoff.shape[0])

    def advance(memory, profile, total):
        average = tuple(part / part.sum() for part in total)
        return memory, tuple(jax.nn.softmax(action_payoffs(payoff, average, player) / temperature) for player in players)

    return Rule(lambda profile: (), advance)


def risk_averse_play(
    payoff: Any,
    num_steps: int,
    *,
    aversion: jax.Array | float,
    own_mixing: bool = False,
    start: Sequence[Any] | None = None,
    num_records: int = 1,
) -> Course:
    """Fictitious play of players who take ``aversion`` times the variance from the mean of what they get.

    Without aversion it is ``fictitious_play`` step by step. Where the averages come to rest, they are an equilibrium of such
    players: ``jaxrl.solvers.risk_averse.regrets`` says how far they are from one.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        aversion, own_mixing: see ``jaxrl.solvers.risk_averse``.
        start, num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the aversion is negative, or as for ``fictitious_play``.

    Source: Slumbers et al. (2023), "A game-theoretic framework for managing risk in multi-agent systems".
    """
    where = "risk_averse_play"
    payoff = game_table(where, payoff)
    require_within(where, "aversion", aversion, 0, np.inf, "0 is risk neutral.", below=True)
    first = pure_profile(payoff, [0] * payoff.shape[0]) if start is None else start
    return course(payoff, risk_averse_responses(payoff, aversion, own_mixing), first, num_steps, num_records)


def risk_averse_responses(payoff: jax.Array, aversion: jax.Array | float, own_mixing: bool = False) -> Rule:
    """The rule of ``risk_averse_play``; it remembers nothing but the sums of what was played."""
    players = range(payoff.shape[0])

    def advance(memory, profile, total):
        average = tuple(part / part.sum() for part in total)
        answers = []
        for player in players:
            # The means of sums are divided at last: ties between integer payoffs stay exact, as in best_responses.
            plays = math.prod(part.sum() for other, part in enumerate(total) if other != player)
            means = action_payoffs(payoff, total, player) / plays
            covariance = risk_averse.action_covariance(payoff, average, player)
            answer = risk_averse.respond(means, covariance, aversion, own_mixing=own_mixing, max_steps=ANSWER_STEPS)
            answers.append(answer.strategy)
        return memory, tuple(answers)

    return Rule(lambda profile: (), advance)
