"""Exponential weights of what the actions have earned, plain, optimistic, and with a step ahead (mirror prox)."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxrl.errors import require_within
from jaxrl.solvers.dynamics.logits import centred, logarithms, shares_of
from jaxrl.solvers.dynamics.play import Course, Rule, course
from jaxrl.solvers.normal_form import action_payoffs, game_table, uniform_profile


def multiplicative_weights(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    step_size: jax.Array | float = 0.1,
    optimistic: bool = False,
    num_records: int = 1,
) -> Course:
    """Every player weights its actions by exponentials of what they have earned so far (Hedge).

        x_i <- softmax(step_size * sum of all u_i(., x_-i) so far)         from the uniform profile

    In T plays with payoffs of range R a player regrets at most ln(A) / step_size + step_size T R^2 / 8 in all.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: T, plays, the first one ``start``.
        start: the profile of the first play, by default uniform, in games where that is an equilibrium it is never left; an
            action of probability 0 stays there.
        step_size: positive, in one over the units of payoffs.
        optimistic: the last payoffs count twice, as a forecast of the next ones. With payoffs in [0, 1] and a step of
            1 / (2 (N - 1)) the players' regrets then add up to a constant, however long they play.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is not positive, or as for ``fictitious_play``.

    Source: Freund and Schapire (1999), "Adaptive game playing using multiplicative weights"; Cesa-Bianchi and Lugosi (2006),
    theorem 2.2, on regret; Bailey and Piliouras (2018) on its play; for optimistic Syrgkanis et al. (2015), "Fast convergence of
    regularized learning in games", and Daskalakis and Panageas (2019), "Last-iterate convergence".
    """
    where = "multiplicative_weights"
    payoff = game_table(where, payoff)
    require_within(where, "step_size", step_size, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return course(payoff, exponential_weights(payoff, step_size, optimistic=optimistic), first, num_steps, num_records)


def exponential_weights(payoff: jax.Array, step_size: jax.Array | float, *, optimistic: bool = False) -> Rule:
    """The rule of ``multiplicative_weights``; it remembers the logarithms of the weights, up to a constant."""
    players = range(payoff.shape[0])

    def advance(logits, profile, total):
        gains = tuple(step_size * action_payoffs(payoff, profile, player) for player in players)
        logits = tuple(logit + gain for logit, gain in zip(logits, gains, strict=True))
        logits = centred(logits)
        expected = tuple(logit + gain for logit, gain in zip(logits, gains, strict=True)) if optimistic else logits
        return logits, shares_of(expected)

    return Rule(logarithms, advance)


def mirror_prox(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    step_size: jax.Array | float = 0.1,
    num_records: int = 1,
) -> Course:
    """Every player weights its actions by exponentials of their payoffs at the profile to which a first such step would lead.

        x_i <- z_i exp(step_size * u_i(., z_-i)) / sum        is played
        z_i <- z_i exp(step_size * u_i(., x_-i)) / sum

    ``extragradient`` with the relative entropy as the distance. With payoffs of at most R in size and a step of at most 1 / R,
    the average play of T steps in a two-player zero-sum game has a NashConv of at most a constant over ``step_size * T``, which
    grows with the logarithms of the numbers of actions. Play converges, too, where the equilibrium is the only one.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: T, plays, the first one ``start``, which is z at first.
        start: the profile of the first play, by default uniform; an action of probability 0 stays there.
        step_size: positive, in one over the units of payoffs.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: the step is not positive, or as for ``fictitious_play``.

    Source: Nemirovski (2004), "Prox-method with rate of convergence O(1/t) for variational inequalities with Lipschitz continuous
    monotone operators and smooth convex-concave saddle point problems", example 2 on simplices.
    """
    where = "mirror_prox"
    payoff = game_table(where, payoff)
    require_within(where, "step_size", step_size, 0, np.inf, "0.1, say.", above=True, below=True)
    first = uniform_profile(payoff) if start is None else start
    return course(payoff, extrapolated_weights(payoff, step_size), first, num_steps, num_records)


def extrapolated_weights(payoff: jax.Array, step_size: jax.Array | float) -> Rule:
    """The rule of ``mirror_prox``; it remembers the logarithms of the weights z, up to a constant."""

    def stepped(logits, at):
        gains = tuple(action_payoffs(payoff, at, player) for player in range(payoff.shape[0]))
        moved = (logit + step_size * gain for logit, gain in zip(logits, gains, strict=True))
        return centred(tuple(moved))

    def advance(logits, profile, total):
        logits = stepped(logits, profile)
        return logits, shares_of(stepped(logits, shares_of(logits)))

    return Rule(logarithms, advance)
