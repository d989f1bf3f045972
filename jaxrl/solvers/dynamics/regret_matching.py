"""Regret matching: actions in proportion to how much a player regrets not having taken them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.solvers.dynamics.play import Course, Rule, course
from jaxrl.solvers.normal_form import action_payoffs, game_table, uniform_profile


def regret_matching(
    payoff: Any,
    num_steps: int,
    *,
    start: Sequence[Any] | None = None,
    plus: bool = False,
    predictive: bool = False,
    alternating: bool = False,
    averaging: float = 0.0,
    num_records: int = 1,
) -> Course:
    """Every player takes actions in proportion to how much it regrets not having taken them, if it does.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        num_steps: plays, the first one ``start``.
        start: the profile of the first play, by default uniform; in games where that is an equilibrium it is never left.
        plus: regret matching plus: a regret that turns negative is forgotten.
        predictive: the last regret is counted twice, as a forecast of the next one.
        alternating: the players move one after the other, each knowing what those before it have just chosen.
        averaging: step t counts with weight ``t ** averaging`` in the averages: 0 all the same, 1 linear, 2 quadratic.
        num_records: as for ``fictitious_play``.

    Raises:
        ConfigError: as for ``fictitious_play``.

    Source: Hart and Mas-Colell (2000); Tammelin (2014) for plus; Farina, Kroer and Sandholm (2021) for predictive.
    """
    payoff = game_table("regret_matching", payoff)
    first = uniform_profile(payoff) if start is None else start
    rule = regret_proportions(payoff, plus=plus, predictive=predictive, alternating=alternating)
    return course(payoff, rule, first, num_steps, num_records, averaging)


def regret_proportions(payoff: jax.Array, *, plus: bool = False, predictive: bool = False, alternating: bool = False) -> Rule:
    """The rule of ``regret_matching``, which explains its arguments; it remembers the regrets, N of float[A_i]."""
    players = range(payoff.shape[0])

    def advance(regrets, profile, total):
        seen, regrets = list(profile), list(regrets)
        for player in players:
            values = action_payoffs(payoff, seen if alternating else profile, player)
            regret = values - (values * profile[player]).sum()
            accumulated = regrets[player] + regret
            regrets[player] = jnp.maximum(accumulated, 0) if plus else accumulated
            seen[player] = _in_proportion(regrets[player] + regret if predictive else regrets[player])
        return tuple(regrets), tuple(seen)

    return Rule(lambda profile: tuple(jnp.zeros_like(strategy) for strategy in profile), advance)


def _in_proportion(regret: jax.Array) -> jax.Array:
    """Returns probabilities in proportion to the positive part, uniform where nothing is positive."""
    positive = jnp.maximum(regret, 0)
    total = positive.sum()
    return jnp.where(total > 0, positive / jnp.where(total > 0, total, 1), 1 / regret.size)
