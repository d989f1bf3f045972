"""Games in normal form: what strategies earn, how much a player could gain by deviating, how far a profile is from equilibrium.

A game of N players is a table ``payoff``: float[N, A_0, ..., A_{N-1}], where ``payoff[i, a0, a1, ...]`` is what player i gets;
players may have different numbers of actions. A profile is a sequence of N mixed strategies, float[A_i] each, non-negative and
summing to 1. A joint distribution, float[A_0, ..., A_{N-1}], is what a correlation device draws joint actions from.

Everything here is pure, works for any N, and can be jitted, differentiated and vmapped over games and profiles. Tables,
strategies and distributions may be lists, NumPy arrays or jax arrays. A ConfigError says which of them is unsound; of traced ones
the shapes alone are checked.

Source: Shoham and Leyton-Brown (2008), Multiagent Systems, chapters 3 and 4.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import (
    is_traced,
    require,
    require_distribution,
    require_finite,
    require_game_shape,
    require_index,
    require_payoffs,
)
from jaxrl.solvers.precision import ROUNDING

Profile = tuple[jax.Array, ...]


def uniform_profile(payoff: Any) -> Profile:
    """Returns the profile in which every player takes every action with the same probability."""
    payoff = game_table("uniform_profile", payoff)
    return tuple(jnp.full(actions, 1 / actions, jnp.result_type(float)) for actions in payoff.shape[1:])


def pure_profile(payoff: Any, actions: Sequence[int]) -> Profile:
    """Returns the profile in which player i takes ``actions[i]`` for certain.

    Raises:
        ConfigError: there is not one action for each player, or a player has no such action.
    """
    where, counts = "pure_profile", game_table("pure_profile", payoff).shape[1:]
    must = f"there must be an action for each of {len(counts)} players"
    require(np.iterable(actions) and len(actions) == len(counts), where, must, actions, "Name one for each.")
    for player, (action, count) in enumerate(zip(actions, counts, strict=True)):
        require_index(where, f"the action of player {player}", action, count)
    return tuple(jax.nn.one_hot(action, n, dtype=jnp.result_type(float)) for action, n in zip(actions, counts, strict=True))


def game_table(where: str, payoff: Any) -> jax.Array:
    """Returns the payoff table of a game for compiled code, in its own floating-point precision if it is a jax array.

    Args:
        where: who asks.
        payoff: float[N, A_0, ..., A_{N-1}].

    Raises:
        ConfigError: it has another shape, or an entry is not a finite number, unless it is traced.
    """
    if is_traced(payoff):
        require_game_shape(where, jnp.shape(payoff))
        return jnp.asarray(payoff)
    table = require_payoffs(where, payoff)
    return payoff if isinstance(payoff, jax.Array) else jnp.asarray(table, jnp.result_type(float))


def symmetric_table(where: str, payoff: Any, fix: str) -> Any:
    """Returns the row player's table of a symmetric game of two players, [A, A]: NumPy's float64, of a traced one as it is.

    Args:
        where: who asks.
        payoff: float[2, A, A], the second table the transpose of the first.
        fix: what the user can do, one sentence.

    Raises:
        ConfigError: it has another shape, an entry is not finite, or the second table is not the transpose of the first, which
            is not looked at if it is traced.
    """
    table = game_table(where, payoff) if is_traced(payoff) else require_payoffs(where, payoff)
    shape = table.shape
    require(len(shape) == 3 and shape[1] == shape[2], where, "payoff must have shape [2, A, A]", shape, fix)
    if not is_traced(payoff):
        alike = bool(np.allclose(table[1], table[0].T, rtol=1e-6, atol=0))
        require(alike, where, "the second table must be the transpose of the first", payoff, fix)
    return table[0]


def require_profile(where: str, payoff: jax.Array, profile: Sequence[Any], *, mixed: bool = True) -> Profile:
    """Returns the strategies of a profile as arrays.

    Args:
        where: who asks.
        payoff: float[N, A_0, ..., A_{N-1}].
        profile: N strategies, float[A_i]; of traced ones the shape alone is checked.
        mixed: whether each must be a distribution, rather than finite numbers.

    Raises:
        ConfigError: there is not one strategy of the right size for every player, or one is no distribution.
    """
    sizes = [(actions,) for actions in payoff.shape[1:]]
    strategies = list(profile) if np.iterable(profile) else []
    named = [(f"the strategy of player {player}", strategy) for player, strategy in enumerate(strategies)]
    checked = [strategy if is_traced(strategy) else require_finite(where, name, strategy) for name, strategy in named]
    found = [strategy.shape for strategy in checked]
    must, fix = "a profile must have a strategy for every player, over its actions", "See uniform_profile."
    require(found == sizes, where, f"{must}: shapes {sizes}", found, fix)
    for name, strategy in named:
        if mixed and not is_traced(strategy):
            require_distribution(where, name, strategy, tolerance=1e-4)
    return tuple(jnp.asarray(strategy, jnp.result_type(strategy, jnp.float32)) for strategy in checked)


def action_payoffs(payoff: Any, profile: Sequence[Any], player: int) -> jax.Array:
    """Returns the mean payoff of each action of a player against the strategies of the others, float[A_player].

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        profile: N strategies, float[A_i]; the player's own does not matter. Linear in each of them.
        player: an integer in [0, N).

    Raises:
        ConfigError: a strategy does not fit the game or is not finite, or there is no such player.
    """
    where, payoff = "action_payoffs", game_table("action_payoffs", payoff)
    require_index(where, "player", player, payoff.shape[0])
    return _action_payoffs(payoff, require_profile(where, payoff, profile, mixed=False), player)


def _action_payoffs(payoff: jax.Array, profile: Profile, player: int) -> jax.Array:
    table = payoff[player]
    # The last axis first, so that the numbers of the axes still to come do not change. Products and sums rather than a matrix
    # product: faster for many small games side by side, and as precise on every device.
    for other in reversed(range(payoff.shape[0])):
        if other != player:
            weight = profile[other].reshape(-1, *(1,) * (table.ndim - other - 1))
            table = (table * weight).sum(other)
    return table


def expected_payoffs(payoff: Any, profile: Sequence[Any]) -> jax.Array:
    """Returns what every player earns on average, float[N].

    Raises:
        ConfigError: the profile does not fit the game, or a strategy is no distribution.
    """
    payoff = game_table("expected_payoffs", payoff)
    profile = require_profile("expected_payoffs", payoff, profile)
    players = range(payoff.shape[0])
    return jnp.stack([(_action_payoffs(payoff, profile, player) * profile[player]).sum() for player in players])


def best_response(payoff: Any, profile: Sequence[Any], player: int) -> jax.Array:
    """Returns the action that earns most against the strategies of the others, the first among equals, int32[].

    Raises:
        ConfigError: as for ``action_payoffs``.
    """
    return jnp.argmax(action_payoffs(payoff, profile, player)).astype(jnp.int32)


def regrets(payoff: Any, profile: Sequence[Any]) -> jax.Array:
    """Returns how much more every player would earn by its best response, float[N], non-negative up to rounding.

    Raises:
        ConfigError: the profile does not fit the game, or a strategy is no distribution.
    """
    payoff = game_table("regrets", payoff)
    profile = require_profile("regrets", payoff, profile)

    def regret(player):
        values = _action_payoffs(payoff, profile, player)
        return values.max() - (values * profile[player]).sum()

    return jnp.stack([regret(player) for player in range(payoff.shape[0])])


def nash_conv(payoff: Any, profile: Sequence[Any]) -> jax.Array:
    """Returns the sum of all players' regrets, float[]: 0 at a Nash equilibrium and nowhere else.

    Raises:
        ConfigError: as for ``regrets``.

    Source: Lanctot et al. (2017), A unified game-theoretic approach to multiagent reinforcement learning, section 2.
    """
    return regrets(payoff, profile).sum()


def exploitability(payoff: Any, profile: Sequence[Any]) -> jax.Array:
    """Returns the mean of all players' regrets, float[]: in a zero-sum game, what a best-responding opponent wins on average.

    Raises:
        ConfigError: as for ``regrets``.
    """
    return regrets(payoff, profile).mean()


def joint_distribution(profile: Sequence[jax.Array]) -> jax.Array:
    """Returns the distribution of joint actions when the players choose independently, float[A_0, ..., A_{N-1}]."""
    joint = jnp.asarray(profile[0])
    for strategy in profile[1:]:
        joint = joint[..., None] * jnp.asarray(strategy)
    return joint


def _require_joint(where: str, payoff: jax.Array, joint: Any) -> jax.Array:
    fix, shape = "joint_distribution makes one of a profile.", payoff.shape[1:]
    table = joint if is_traced(joint) else require_finite(where, "joint", joint, fix)
    require(table.shape == shape, where, f"joint must have shape {list(shape)}", table.shape, fix)
    if not is_traced(joint):
        require_distribution(where, "joint", table.reshape(-1), fix, tolerance=1e-4)
    return jnp.asarray(table, jnp.result_type(table, jnp.float32))


def coarse_correlated_regrets(payoff: Any, joint: Any) -> jax.Array:
    """Returns how much every player would gain by committing to one action before the joint action is drawn, float[N].

    None is positive exactly if ``joint`` is a coarse correlated equilibrium.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        joint: float[A_0, ..., A_{N-1}], non-negative, summing to 1.

    Raises:
        ConfigError: ``joint`` is no distribution over the joint actions of the game.

    Source: Moulin and Vial (1978); Shoham and Leyton-Brown (2008), section 3.4.5 on the finer notion.
    """
    payoff = game_table("coarse_correlated_regrets", payoff)
    joint = _require_joint("coarse_correlated_regrets", payoff, joint)

    def regret(player):
        others = joint.sum(player, keepdims=True)
        deviating = (payoff[player] * others).sum([axis for axis in range(joint.ndim) if axis != player])
        return deviating.max() - (payoff[player] * joint).sum()

    return jnp.stack([regret(player) for player in range(joint.ndim)])


def correlated_regrets(payoff: Any, joint: Any) -> jax.Array:
    """Returns how much every player would gain by the best answer to each recommendation, float[N], never negative.

    All are 0 exactly if ``joint`` is a correlated equilibrium.

    Args:
        payoff, joint: as for ``coarse_correlated_regrets``.

    Raises:
        ConfigError: as for ``coarse_correlated_regrets``.

    Source: Aumann (1974); Foster and Vohra (1997) on the regret of swapping actions.
    """
    payoff = game_table("correlated_regrets", payoff)
    joint = _require_joint("correlated_regrets", payoff, joint)

    def regret(player):
        mine = jnp.moveaxis(payoff[player], player, 0).reshape(joint.shape[player], -1)
        drawn = jnp.moveaxis(joint, player, 0).reshape(joint.shape[player], -1)
        earned = (drawn[:, None, :] * mine[None, :, :]).sum(-1)  # [recommended, taken]
        return (earned.max(1) - jnp.diagonal(earned)).sum()

    return jnp.stack([regret(player) for player in range(joint.ndim)])


def unilateral_deviations(payoff: Any) -> tuple[np.ndarray, np.ndarray | jax.Array]:
    """Returns where every profile of actions leads if one player deviates, and how much this player gains.

    The number of a profile is its place in the flattened table, last player's actions fastest. There are P profiles, and
    M = A_0 + ... + A_{N-1} deviations from each: those of player 0 to its actions 0, 1, ..., then those of player 1, and so on.
    One of each player's leads nowhere else. Payoffs that only differ by rounding are equal.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].

    Returns:
        The numbers of the profiles that they lead to, int32[P, M], and the gains: float64[P, M] on the host, subtracted before
        anything is rounded to float32; of a traced table in its own precision.

    Raises:
        ConfigError: the payoffs are no game or not finite.
    """
    xp: Any = jnp if is_traced(payoff) else np
    table = game_table("unilateral_deviations", payoff) if is_traced(payoff) else require_payoffs("unilateral_deviations", payoff)
    counts = table.shape[1:]
    numbers = np.arange(np.prod(counts), dtype=np.int32).reshape(counts)
    successors, gains = [], []
    for player, count in enumerate(counts):
        own = table[player]
        for action in range(count):
            changed, now = xp.take(own, xp.asarray([action]), axis=player), own
            gain = xp.where(abs(changed - now) <= ROUNDING * xp.maximum(abs(changed), abs(now)), 0, changed - now)
            gains.append(gain.reshape(-1))
            successors.append(np.broadcast_to(np.take(numbers, [action], axis=player), counts).reshape(-1))
    return np.stack(successors, -1), xp.stack(gains, -1)
