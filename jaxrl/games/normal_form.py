"""Games in normal form: what strategies earn, how much a player could gain by deviating, how far a profile is from equilibrium.

A game of N players is a table ``payoff``: float[N, A_0, ..., A_{N-1}], where ``payoff[i, a0, a1, ...]`` is what player i gets;
players may have different numbers of actions. A profile is a sequence of N mixed strategies, float[A_i] each, non-negative and
summing to 1. A joint distribution, float[A_0, ..., A_{N-1}], is what a correlation device draws joint actions from.

Everything here is pure, works for any N, and can be jitted, differentiated and vmapped over games and profiles. What does not fit
the game is a ConfigError; of what is traced the shapes alone are looked at.

Source: Shoham and Leyton-Brown (2008), Multiagent Systems, chapters 3 and 4.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_distribution, require_finite, require_payoffs

Profile = tuple[jax.Array, ...]


def game(where: str, payoff: Any) -> jax.Array:
    """Returns a table of payoffs in the precision that jax is set to. Raises ConfigError where it is none. where: who asks."""
    return jnp.asarray(require_payoffs(where, payoff), jnp.result_type(float))


def profile_of(where: str, payoff: jax.Array, profile: Any, mixed: bool = True, called: str = "the profile") -> Profile:
    """Returns the strategies of a profile as arrays; those that are traced are only looked at for their shape.

    Args:
        where: who asks.
        payoff: float[N, A_0, ..., A_{N-1}].
        profile: N strategies.
        mixed: whether each must be a distribution, rather than finite numbers.
        called: the name of the profile.

    Raises:
        ConfigError: there is not one strategy of the right size for each player, or one is no distribution.
    """
    must, fix = f"{called} must name a strategy for each of {payoff.shape[0]} players", "uniform_profile makes one."
    require(len(profile) == payoff.shape[0], where, must, len(profile), fix)
    for player, (strategy, actions) in enumerate(zip(profile, payoff.shape[1:], strict=True)):
        name = f"the strategy of player {player} in {called}"
        numbers = strategy if is_traced(strategy) else require_finite(where, name, strategy, fix)
        require(np.shape(numbers) == (actions,), where, f"{name} must have shape [{actions}]", np.shape(numbers), fix)
        if mixed and not is_traced(strategy):
            require_distribution(where, name, numbers)
    return tuple(jnp.asarray(strategy, jnp.result_type(float)) for strategy in profile)


def _require_player(where: str, payoff: jax.Array, player: Any) -> None:
    players = payoff.shape[0]
    known = is_traced(player) or player in range(players)
    require(known, where, f"player must be a whole number in [0, {players})", player, "0 is the first.")


def uniform_profile(payoff: jax.Array) -> Profile:
    """Returns the profile in which every player takes every action with the same probability."""
    payoff = game("uniform_profile", payoff)
    return tuple(jnp.full(actions, 1 / actions, jnp.result_type(float)) for actions in payoff.shape[1:])


def pure_profile(payoff: jax.Array, actions: Sequence[int]) -> Profile:
    """Returns the profile in which player i takes ``actions[i]`` for certain.

    Raises:
        ConfigError: there is not one action for each player, or a player has no such action.
    """
    where, counts = "pure_profile", game("pure_profile", payoff).shape[1:]
    must = f"there must be an action for each of {len(counts)} players"
    require(len(actions) == len(counts), where, must, len(actions), "Name one for each.")
    for player, (action, count) in enumerate(zip(actions, counts, strict=True)):
        known = is_traced(action) or action in range(count)
        must = f"the action of player {player} must be a whole number in [0, {count})"
        require(known, where, must, action, "0 is the first.")
    return tuple(jax.nn.one_hot(action, n, dtype=jnp.result_type(float)) for action, n in zip(actions, counts, strict=True))


def action_payoffs(payoff: jax.Array, profile: Sequence[jax.Array], player: int) -> jax.Array:
    """Returns what each action of a player earns on average against the strategies of the others, float[A_player].

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        profile: N strategies, float[A_i]; the player's own is not looked at. Linear in each of them.
        player: whose, in [0, N).

    Raises:
        ConfigError: a strategy is not of the size of the game, or there is no such player.
    """
    where = "action_payoffs"
    payoff = game(where, payoff)
    _require_player(where, payoff, player)
    return _action_payoffs(payoff, profile_of(where, payoff, profile, mixed=False), player)


def _action_payoffs(payoff: jax.Array, profile: Profile, player: int) -> jax.Array:
    table = payoff[player]
    # The last axis first, so that the numbers of the axes still to come do not change. Products and sums rather than a matrix
    # product: faster for many small games side by side, and as precise on every device.
    for other in reversed(range(payoff.shape[0])):
        if other != player:
            weight = profile[other].reshape(-1, *(1,) * (table.ndim - other - 1))
            table = (table * weight).sum(other)
    return table


def expected_payoffs(payoff: jax.Array, profile: Sequence[jax.Array]) -> jax.Array:
    """Returns what every player earns on average, float[N].

    Raises:
        ConfigError: the profile does not fit the game, or a strategy is no distribution.
    """
    payoff = game("expected_payoffs", payoff)
    profile = profile_of("expected_payoffs", payoff, profile)
    players = range(payoff.shape[0])
    return jnp.stack([(_action_payoffs(payoff, profile, player) * profile[player]).sum() for player in players])


def best_response(payoff: jax.Array, profile: Sequence[jax.Array], player: int) -> jax.Array:
    """Returns the action that earns most against the strategies of the others, the first among equals, int32[].

    Raises:
        ConfigError: as for ``action_payoffs``.
    """
    return jnp.argmax(action_payoffs(payoff, profile, player)).astype(jnp.int32)


def regrets(payoff: jax.Array, profile: Sequence[jax.Array]) -> jax.Array:
    """Returns how much more every player would earn by its best response, float[N], non-negative up to rounding.

    Raises:
        ConfigError: the profile does not fit the game, or a strategy is no distribution.
    """
    payoff = game("regrets", payoff)
    profile = profile_of("regrets", payoff, profile)

    def regret(player):
        values = _action_payoffs(payoff, profile, player)
        return values.max() - (values * profile[player]).sum()

    return jnp.stack([regret(player) for player in range(payoff.shape[0])])


def nash_conv(payoff: jax.Array, profile: Sequence[jax.Array]) -> jax.Array:
    """Returns the sum of all players' regrets, float[]: 0 at a Nash equilibrium and nowhere else.

    Raises:
        ConfigError: as for ``regrets``.

    Source: Lanctot et al. (2017), A unified game-theoretic approach to multiagent reinforcement learning, section 2.
    """
    return regrets(payoff, profile).sum()


def exploitability(payoff: jax.Array, profile: Sequence[jax.Array]) -> jax.Array:
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


def _game_and_joint(where: str, payoff: Any, joint: Any) -> tuple[jax.Array, jax.Array]:
    payoff, fix = game(where, payoff), "joint_distribution makes one of a profile."
    joint = joint if is_traced(joint) else require_finite(where, "joint", joint, fix)
    shape = payoff.shape[1:]
    require(np.shape(joint) == shape, where, f"joint must have shape {list(shape)}", np.shape(joint), fix)
    if not is_traced(joint):
        require_distribution(where, "joint", joint.reshape(-1))
    return payoff, jnp.asarray(joint, jnp.result_type(float))


def coarse_correlated_regrets(payoff: jax.Array, joint: jax.Array) -> jax.Array:
    """Returns how much every player would gain by committing to one action before the joint action is drawn, float[N].

    None is positive exactly if ``joint`` is a coarse correlated equilibrium.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        joint: float[A_0, ..., A_{N-1}], non-negative, summing to 1.

    Raises:
        ConfigError: ``joint`` is no distribution over the joint actions of the game.

    Source: Moulin and Vial (1978); Shoham and Leyton-Brown (2008), section 3.4.5 on the finer notion.
    """
    payoff, joint = _game_and_joint("coarse_correlated_regrets", payoff, joint)

    def regret(player):
        others = joint.sum(player, keepdims=True)
        deviating = (payoff[player] * others).sum([axis for axis in range(joint.ndim) if axis != player])
        return deviating.max() - (payoff[player] * joint).sum()

    return jnp.stack([regret(player) for player in range(joint.ndim)])


def correlated_regrets(payoff: jax.Array, joint: jax.Array) -> jax.Array:
    """Returns how much every player would gain by the best answer to each recommendation, float[N], never negative.

    All are 0 exactly if ``joint`` is a correlated equilibrium.

    Args:
        payoff, joint: as for ``coarse_correlated_regrets``.

    Raises:
        ConfigError: as for ``coarse_correlated_regrets``.

    Source: Aumann (1974); Foster and Vohra (1997) on the regret of swapping actions.
    """
    payoff, joint = _game_and_joint("correlated_regrets", payoff, joint)

    def regret(player):
        mine = jnp.moveaxis(payoff[player], player, 0).reshape(joint.shape[player], -1)
        drawn = jnp.moveaxis(joint, player, 0).reshape(joint.shape[player], -1)
        earned = (drawn[:, None, :] * mine[None, :, :]).sum(-1)  # [recommended, taken]
        return (earned.max(1) - jnp.diagonal(earned)).sum()

    return jnp.stack([regret(player) for player in range(joint.ndim)])
