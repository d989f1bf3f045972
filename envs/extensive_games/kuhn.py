"""Kuhn poker: two players, one card each from a deck of three, one bet.

Both pay an ante of 1. Player 0 passes or bets 1; after a pass the other may bet. A bet is answered by a bet, which calls it, or
by a pass, which gives the ante up. Otherwise the higher card wins what both paid.

Source: Kuhn (1950), A simplified two-person poker. With three cards player 0 loses 1/18 a game if both play best.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from envs.extensive_games import turns
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require

HISTORIES = ("", "c", "r", "cr", "cc", "crf", "crc", "rf", "rc")
# To pass is to fold, or to check where there is nothing to pay; to bet is to raise, or to call. Both can always be done.
ROUND = turns.betting(HISTORIES, actions=("fc", "rc"))


class State(NamedTuple):
    """card: int32[2], from low to high. history: int32[], its number in HISTORIES."""

    card: jax.Array
    history: jax.Array


@struct.dataclass
class Params:
    deals: jax.Array  # int32[D, 2], the pairs of cards that may be dealt, all equally likely


def outcomes(state, action, params):
    """One outcome: the action of the player to move continues the history."""
    bets = ROUND.on_device()
    history = bets.successor[state.history, action[bets.mover[state.history]]]
    folder, over = bets.folder[history], bets.over[history]
    wins = jnp.where(folder == 2, state.card[0] > state.card[1], folder == 1)
    stake = (1 + bets.paid[history]).astype(jnp.float32)
    gain = jnp.where(over & ~bets.over[state.history], jnp.where(wins, stake, -stake), 0.0)
    reached = State(state.card[None], history[None])
    return Outcomes(jnp.ones(1, jnp.float32), reached, jnp.stack([gain, -gain])[None], over[None])


def initial(params):
    """All deals are equally likely."""
    count = params.deals.shape[0]
    return Initial(jnp.full(count, 1 / count), State(params.deals, jnp.zeros(count, jnp.int32)))


def observe(state, params):
    """int32[2]: for each player, its own card and the history, as one number."""
    return state.card * len(HISTORIES) + state.history


def action_mask(state, params):
    """Both actions for the player to move."""
    bets = ROUND.on_device()
    return turns.mask(jnp.full(2, ~bets.over[state.history]), bets.mover[state.history])


def make(cards: int = 3) -> Environment:
    """Builds Kuhn poker. Actions: pass, bet. Observation: ``9 * card + history``, see ``HISTORIES``.

    Args:
        cards: in the deck, at least 2.

    Raises:
        ConfigError: there are too few cards.
    """
    require(cards >= 2, "kuhn", "cards must be at least 2", cards, "3 is the default.")
    deals = jnp.array(list(itertools.permutations(range(cards), 2)), jnp.int32)
    space = Discrete(cards * len(HISTORIES))
    return finite(Params(deals), outcomes, initial, space, Discrete(2), 3, observe=observe, num_agents=2, action_mask=action_mask)
