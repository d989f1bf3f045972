"""Players who weigh the variance of what they get against its mean, and equilibria between them.

A player who mixes its actions by x, against others who draw theirs, maximises

    x' m - aversion x' C x,

where m is the mean of what each action earns, and C the covariance of what they earn, over the draws of the others. By mixing
actions whose payoffs do not move together a player lowers the variance, so best responses are mixed, and there is one alone where
C is definite. With ``own_mixing`` the player's own draw counts in the variance, too: then this is x' (m^2 + diag C) - (x' m)^2,
mixing hedges nothing, and a best response is an action.

A profile is a risk-averse equilibrium where no player has a regret in these utilities. Payoff tables are
float[N, A_0, ..., A_{N-1}] and profiles sequences of N strategies, as in ``jaxrl.solvers.normal_form``. Everything is pure, and
vmaps over games, profiles and aversions. ``jaxrl.solvers.dynamics.risk_averse_play`` is fictitious play with these responses.

Source: Slumbers et al. (2023), "A game-theoretic framework for managing risk in multi-agent systems".
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import require_index, require_within
from jaxrl.solvers.normal_form import Profile, action_payoffs, game_table, joint_distribution, require_profile

MOST_STEPS = 1000  # of the search for a best response: where actions are nearly exchangeable it is slow


class Response(NamedTuple):
    """A best response. strategy: float[A]. gap: float[], how much more utility another one has at most."""

    strategy: jax.Array
    gap: jax.Array


def action_covariance(payoff: Any, profile: Sequence[Any], player: int) -> jax.Array:
    """Returns the covariance of what a player's actions earn, over the actions that the others draw, float[A_player, A_player].

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        profile: N strategies, float[A_i]; the player's own does not matter.
        player: an integer in [0, N).

    Raises:
        ConfigError: a strategy does not fit the game or is no distribution, or there is no such player.
    """
    where, table = "action_covariance", game_table("action_covariance", payoff)
    require_index(where, "player", player, table.shape[0])
    return _covariance(table, require_profile(where, table, profile), player)


def _covariance(table: jax.Array, profile: Profile, player: int) -> jax.Array:
    others = [strategy for number, strategy in enumerate(profile) if number != player]
    weight = joint_distribution(others).reshape(-1) if others else jnp.ones(1, table.dtype)
    earned = jnp.moveaxis(table[player], player, 0).reshape(table.shape[1 + player], -1)
    apart = earned - (earned * weight).sum(1, keepdims=True)
    return jnp.matmul(apart * weight, apart.T, precision="highest")


def utilities(payoff: Any, profile: Sequence[Any], aversion: Any, *, own_mixing: bool = False) -> jax.Array:
    """Returns the mean minus ``aversion`` times the variance of what every player gets, float[N].

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        profile: N strategies, float[A_i].
        aversion: at least 0, in one over the units of payoffs.
        own_mixing: whether the player's own draw counts in the variance.

    Raises:
        ConfigError: the profile does not fit the game, a strategy is no distribution, or the aversion is negative.
    """
    where, table = "utilities", game_table("utilities", payoff)
    _require_aversion(where, aversion)
    return _utilities(table, require_profile(where, table, profile), aversion, own_mixing)


def _require_aversion(where: str, aversion: Any) -> None:
    require_within(where, "aversion", aversion, 0, np.inf, "0 is risk neutral.", below=True)


def _utilities(table: jax.Array, profile: Profile, aversion: Any, own_mixing: bool) -> jax.Array:
    found = []
    for player, own in enumerate(profile):
        means, covariance = action_payoffs(table, profile, player), _covariance(table, profile, player)
        mean = (own * means).sum()
        if own_mixing:
            variance = (own * ((means - mean) ** 2 + jnp.diagonal(covariance))).sum()
        else:
            variance = (own * (covariance * own).sum(1)).sum()
        found.append(mean - aversion * variance)
    return jnp.stack(found)


def best_response(payoff: Any, profile: Sequence[Any], player: int, aversion: Any, *, own_mixing: bool = False) -> Response:
    """Returns the strategy of most utility against the strategies of the others.

    Args:
        payoff, profile, aversion, own_mixing: as for ``utilities``; the player's own strategy does not matter.
        player: an integer in [0, N).

    Raises:
        ConfigError: as for ``utilities``, or there is no such player.
    """
    where, table = "best_response", game_table("best_response", payoff)
    _require_aversion(where, aversion)
    require_index(where, "player", player, table.shape[0])
    strategies = require_profile(where, table, profile)
    means, covariance = action_payoffs(table, strategies, player), _covariance(table, strategies, player)
    return respond(means, covariance, aversion, own_mixing=own_mixing)


def respond(
    means: jax.Array, covariance: jax.Array, aversion: Any, *, own_mixing: bool = False, max_steps: int = MOST_STEPS
) -> Response:
    """Returns the strategy x that maximises x' means - aversion x' covariance x; see ``best_response``.

    From the action of the largest mean on, probability goes from the action that contributes least to the one that contributes
    most, as much as is best: Frank and Wolfe's method with pairwise steps, which converges linearly. Without aversion the first
    of the best actions is taken.

    Args:
        means: float[A].
        covariance: float[A, A], positive semidefinite.
        aversion: float[], at least 0.
        own_mixing: whether own draws count.
        max_steps: an end of the search (count); the gap says how much it may have left.

    Source: Lacoste-Julien and Jaggi (2015), "On the global linear convergence of Frank-Wolfe optimization variants".
    """
    count, dtype = len(means), means.dtype
    if own_mixing:
        action = (means - aversion * jnp.diagonal(covariance)).argmax()
        return Response(jax.nn.one_hot(action, count, dtype=dtype), jnp.zeros((), dtype))
    size = jnp.abs(means - means.max()).max() + aversion * jnp.abs(covariance).max()
    tolerance = 8 * jnp.finfo(dtype).eps * size

    def contributions(x):
        return means - 2 * aversion * (covariance * x).sum(1)

    def step(carry):
        x, number, _ = carry
        slope = contributions(x)
        best, worst = slope.argmax(), jnp.where(x > 0, slope, jnp.inf).argmin()
        gain = slope[best] - slope[worst]
        bend = 2 * aversion * (covariance[best, best] + covariance[worst, worst] - 2 * covariance[best, worst])
        most = x[worst]
        moved = jnp.where(gain >= bend * most, most, gain / jnp.where(bend > 0, bend, 1))
        return x.at[best].add(moved).at[worst].add(-moved), number + 1, gain

    def goes_on(carry):
        return (carry[1] < max_steps) & (carry[2] > tolerance)

    first = jax.nn.one_hot(means.argmax(), count, dtype=dtype), jnp.int32(0), jnp.asarray(jnp.inf, dtype)
    x, _, _ = jax.lax.while_loop(goes_on, step, first)
    x = x / x.sum()
    slope = contributions(x)
    return Response(x, slope.max() - (x * slope).sum())


def regrets(payoff: Any, profile: Sequence[Any], aversion: Any, *, own_mixing: bool = False) -> jax.Array:
    """Returns how much more utility every player could have, float[N]: 0 up to rounding at a risk-averse equilibrium.

    Args:
        payoff, profile, aversion, own_mixing: as for ``utilities``.

    Raises:
        ConfigError: as for ``utilities``.
    """
    where, table = "regrets", game_table("regrets", payoff)
    _require_aversion(where, aversion)
    strategies = require_profile(where, table, profile)
    now = _utilities(table, strategies, aversion, own_mixing)
    found = []
    for player in range(len(strategies)):
        means, covariance = action_payoffs(table, strategies, player), _covariance(table, strategies, player)
        answer, gap = respond(means, covariance, aversion, own_mixing=own_mixing)
        changed = tuple(answer if number == player else own for number, own in enumerate(strategies))
        found.append(_utilities(table, changed, aversion, own_mixing)[player] + gap - now[player])
    return jnp.stack(found)
