"""Leduc poker: two players, six cards of three ranks, two rounds of betting, one public card between them.

Both pay an ante of 1 and get one card. In each round the players may check, bet, call, raise and fold, with two raises at most; a
raise is 2 in the first round and 4 in the second. The public card is turned over between the rounds. In the end a pair with it
wins, otherwise the higher card; equal cards share.

The two cards of a rank cannot be told apart, so cards are ranks here.

Source: Southey et al. (2005), Bayes' bluff: opponent modelling in poker. Player 0 loses 0.0856064 a game if both play best.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.extensive_games import turns
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

RANKS, COPIES = 3, 2
HIDDEN = RANKS  # in the place of the public card
HISTORIES = ("", "c", "r", "cr", "rr", "crr", "cc", "rf", "rc", "crf", "crc", "rrf", "rrc", "crrf", "crrc")
# A fold with nothing to pay is a check, and a raise after two raises is a call.
ROUND = turns.betting(HISTORIES, actions=("fc", "c", "rc"))
FEATURES = 2 * RANKS + 2 * len(HISTORIES)


class State(NamedTuple):
    """card: int32[2], ranks from low to high. public: int32[], a rank or HIDDEN. history: int32[2], of both rounds."""

    card: jax.Array
    public: jax.Array
    history: jax.Array


@struct.dataclass
class Params:
    ante: jax.Array  # float32[], what both pay to play
    raises: jax.Array  # float32[2], the size of a raise in each round


def _turn(state):
    """Returns the round under way, int32[], and the player to move, int32[]."""
    second = (state.public != HIDDEN).astype(jnp.int32)
    return second, ROUND.on_device().mover[state.history[second]]


def _is_over(state):
    bets = ROUND.on_device()
    return bets.over[state.history[1]] | (bets.folder[state.history[0]] < 2)


def _gain(state, params):
    """Returns what player 0 wins if the game ends here, float32[]."""
    bets = ROUND.on_device()
    folder = bets.folder[state.history].min()
    stake = params.ante + (bets.paid[state.history] * params.raises).sum()
    strength = jnp.where(state.card == state.public, RANKS, state.card)
    sign = jnp.where(folder == 2, jnp.sign(strength[0] - strength[1]), jnp.where(folder == 1, 1, -1))
    return stake * sign


def outcomes(state, action, params):
    """One outcome for each public card that may be turned over, where the first round has just ended; otherwise one."""
    second, mover = _turn(state)
    bets = ROUND.on_device()
    history = bets.successor[state.history[second], action[mover]]
    history = jnp.where(_is_over(state), state.history, state.history.at[second].set(history))
    reached = State(state.card, state.public, history)
    over = _is_over(reached)
    turned = (second == 0) & bets.over[history[0]] & ~over
    ranks = jnp.arange(RANKS, dtype=jnp.int32)
    left = COPIES - (ranks[:, None] == state.card).sum(1)
    probability = jnp.where(turned, left / (RANKS * COPIES - 2), (ranks == 0).astype(jnp.result_type(float)))
    successors = State(
        jnp.broadcast_to(state.card, (RANKS, 2)),
        jnp.where(turned, ranks, state.public),
        jnp.broadcast_to(history, (RANKS, 2)),
    )
    gain = jnp.where(over & ~_is_over(state), _gain(reached, params), 0.0)
    reward = jnp.broadcast_to(jnp.stack([gain, -gain]), (RANKS, 2))
    return Outcomes(probability, successors, reward, jnp.full(RANKS, over))


def initial(params):
    """The ways to deal two of the cards, told apart by rank."""
    deals = np.indices((RANKS, RANKS), np.int32).reshape(2, -1).T
    left = COPIES - (deals[:, 0] == deals[:, 1])
    probability = jnp.asarray(COPIES * left / (RANKS * COPIES * (RANKS * COPIES - 1)), jnp.result_type(float))
    count = len(deals)
    return Initial(probability, State(jnp.asarray(deals), jnp.full(count, HIDDEN, jnp.int32), jnp.zeros((count, 2), jnp.int32)))


def observe(state, params):
    """float32[2, 36]: for each player, one-hot, its own card, the public card once it is turned, the history of both rounds."""
    count = len(HISTORIES)
    known = turns.one_hot((state.public, RANKS), (state.history[0], count), (state.history[1], count))
    return jnp.stack([jnp.concatenate([turns.one_hot((state.card[player], RANKS)), known]) for player in range(2)])


def action_mask(state, params):
    """The legal actions of the player to move."""
    second, mover = _turn(state)
    return turns.mask(ROUND.on_device().legal[state.history[second]] & ~_is_over(state), mover)


def make(ante: float = 1.0, raises: tuple[float, float] = (2.0, 4.0)) -> Environment:
    """Builds Leduc poker. Actions: fold, check or call, bet or raise. Observation: see ``observe``.

    Args:
        ante: what both pay to play.
        raises: the size of a raise in each round.

    Raises:
        ConfigError: one of them is negative, or there are not two rounds.
    """
    require(ante >= 0, "leduc", "ante must not be negative", ante, "1 is the default.")
    two = len(raises) == 2 and min(raises) >= 0
    require(two, "leduc", "raises must be two numbers that are not negative", raises, "(2, 4) is the default.")
    params = Params(jnp.float32(ante), jnp.asarray(raises, jnp.float32))
    space = Box(0.0, 1.0, (FEATURES,))
    return finite(params, outcomes, initial, space, Discrete(3), 8, observe=observe, num_agents=2, action_mask=action_mask)
