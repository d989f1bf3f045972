"""Games in normal form: what strategies earn, how much a player could gain by deviating, how far a profile is from equilibrium.

A game of N players is a table ``payoff``: float[N, A_0, ..., A_{N-1}], where ``payoff[i, a0, a1, ...]`` is what player i gets;
players may have different numbers of actions. A profile is a sequence of N mixed strategies, float[A_i] each, non-negative and
summing to 1. A joint distribution, float[A_0, ..., A_{N-1}], is what a correlation device draws joint actions from.

Everything here is pure, works for any N, and can be jitted, differentiated and vmapped over games and profiles.

Source: Shoham and Leyton-Brown (2008), Multiagent Systems, chapters 3 and 4.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl.errors import is_traced, require, require_distribution, require_payoffs

Profile = tuple[jax.Array, ...]


def uniform_profile(payoff: jax.Array) -> Profile:
    """Returns the profile in which every player takes every action with the same probability."""
    return tuple(jnp.full(actions, 1 / actions, jnp.result_type(float)) for actions in payoff.shape[1:])


def pure_profile(payoff: jax.Array, actions: Sequence[int]) -> Profile:
    """Returns the profile in which player i takes ``actions[i]`` for certain.

    Raises:
        ConfigError: there is no such action.
    """
    counts = payoff.shape[1:]
    if not is_traced(*actions):
        known = len(actions) == len(counts) and all(0 <= action < n for action, n in zip(actions, counts, strict=True))
        must = f"actions must be one of each player's, of which there are {list(counts)}"
        require(known, "pure_profile", must, list(actions), "Actions count from 0.")
    return tuple(jax.nn.one_hot(action, n, dtype=jnp.result_type(float)) for action, n in zip(actions, counts, strict=True))


def game_table(where: str, payoff: Any) -> jax.Array:
    """Returns the payoff table of a game for compiled code: of numbers, after a look at them; what is traced as it is.

    Raises:
        ConfigError: it has no such shape, or an entry is no finite number.
    """
    if is_traced(payoff):
        return payoff
    table = require_payoffs(where, payoff)
    return payoff if isinstance(payoff, jax.Array) else jnp.asarray(table, jnp.result_type(float))


def require_profile(where: str, payoff: jax.Array, profile: Sequence[jax.Array]) -> None:
    """Raises ConfigError unless a profile has a distribution over the actions of every player; of what is traced, the shape."""
    sizes, found = [(actions,) for actions in jnp.shape(payoff)[1:]], [jnp.shape(strategy) for strategy in profile]
    must, fix = "a profile must have a strategy for every player, over its actions", "See uniform_profile."
    require(found == sizes, where, f"{must}: shapes {sizes}", found, fix)
    for player, strategy in enumerate(profile):
        if not is_traced(strategy):
            require_distribution(where, f"the strategy of player {player}", strategy, tolerance=1e-4)


def action_payoffs(payoff: jax.Array, profile: Sequence[jax.Array], player: int) -> jax.Array:
    """Returns what each action of a player earns on average against the strategies of the others, float[A_player].

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        profile: N strategies, float[A_i]; the player's own is not looked at. Linear in each of them.
        player: whose, in [0, N).
    """
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
        ConfigError: the profile does not fit the game.
    """
    require_profile("expected_payoffs", payoff, profile)
    players = range(payoff.shape[0])
    return jnp.stack([(action_payoffs(payoff, profile, player) * profile[player]).sum() for player in players])


def best_response(payoff: jax.Array, profile: Sequence[jax.Array], player: int) -> jax.Array:
    """Returns the action that earns most against the strategies of the others, the first among equals, int32[]."""
    return jnp.argmax(action_payoffs(payoff, profile, player)).astype(jnp.int32)


def regrets(payoff: jax.Array, profile: Sequence[jax.Array]) -> jax.Array:
    """Returns how much more every player would earn by its best response, float[N], non-negative up to rounding.

    Raises:
        ConfigError: the profile does not fit the game.
    """
    require_profile("regrets", payoff, profile)

    def regret(player):
        values = action_payoffs(payoff, profile, player)
        return values.max() - (values * profile[player]).sum()

    return jnp.stack([regret(player) for player in range(payoff.shape[0])])


def nash_conv(payoff: jax.Array, profile: Sequence[jax.Array]) -> jax.Array:
    """Returns the sum of all players' regrets, float[]: 0 at a Nash equilibrium and nowhere else.

    Source: Lanctot et al. (2017), A unified game-theoretic approach to multiagent reinforcement learning, section 2.
    """
    return regrets(payoff, profile).sum()


def exploitability(payoff: jax.Array, profile: Sequence[jax.Array]) -> jax.Array:
    """Returns the mean of all players' regrets, float[]: in a zero-sum game, what a best-responding opponent wins on average."""
    return regrets(payoff, profile).mean()


def joint_distribution(profile: Sequence[jax.Array]) -> jax.Array:
    """Returns the distribution of joint actions when the players choose independently, float[A_0, ..., A_{N-1}]."""
    joint = profile[0]
    for strategy in profile[1:]:
        joint = joint[..., None] * strategy
    return joint


def coarse_correlated_regrets(payoff: jax.Array, joint: jax.Array) -> jax.Array:
    """Returns how much every player would gain by committing to one action before the joint action is drawn, float[N].

    None is positive exactly if ``joint`` is a coarse correlated equilibrium.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        joint: float[A_0, ..., A_{N-1}], non-negative, summing to 1.

    Source: Moulin and Vial (1978); Shoham and Leyton-Brown (2008), section 3.4.5 on the finer notion.
    """

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

    Source: Aumann (1974); Foster and Vohra (1997) on the regret of swapping actions.
    """

    def regret(player):
        mine = jnp.moveaxis(payoff[player], player, 0).reshape(joint.shape[player], -1)
        drawn = jnp.moveaxis(joint, player, 0).reshape(joint.shape[player], -1)
        earned = (drawn[:, None, :] * mine[None, :, :]).sum(-1)  # [recommended, taken]
        return (earned.max(1) - jnp.diagonal(earned)).sum()

    return jnp.stack([regret(player) for player in range(joint.ndim)])
