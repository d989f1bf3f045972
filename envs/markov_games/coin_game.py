"""Coin game: a red and a blue agent pick coins on a torus; a social dilemma that goes on for ever.

An agent that picks a coin gets 1, but if it had the other's colour, the other gets -2. Then the next coin, of either colour with
equal probability, appears in a random cell where no agent stands. Both agents move at the same time, may share a cell, and may
pick the same coin together. If both pick everything, each gets 0 on average; if both pick their own colour only, more.

Source: Lerer and Peysakhovich (2017); Foerster et al. (2018), "Learning with opponent-learning awareness", section 5.2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.markov_games import board
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Outcomes
from jaxrl.errors import require


class State(NamedTuple):
    """Seen from the red agent, as offsets (row, column). All int32.

    blue: [2], the other agent. coin: [2]. colour: [], of the coin, 0 = red, 1 = blue.
    """

    blue: jax.Array
    coin: jax.Array
    colour: jax.Array


@struct.dataclass
class Params:
    start: State  # [K0], the first states: agents and coin in three different cells
    cells: jax.Array  # int32[n * n, 2], (row, column) of each cell


def _size(params):
    return round(len(params.cells) ** 0.5)


def outcomes(state, action, params):
    """One outcome for each place and colour of the next coin; the first stands for the old coin while it lies there."""
    size = _size(params)
    red_move, blue_move = board.moves(action)
    blue = board.wrapped(state.blue + blue_move - red_move, size)
    coin = board.wrapped(state.coin - red_move, size)
    picked = jnp.stack([(coin == 0).all(), (coin == blue).all()])  # by red, by blue
    robbed = picked[::-1] & (state.colour == jnp.arange(2))
    reward = picked.astype(jnp.float32) - 2.0 * robbed.astype(jnp.float32)

    free = (params.cells != 0).any(-1) & (params.cells != blue).any(-1)
    next_coin = jnp.where(picked.any(), params.cells, coin)
    next_colour = jnp.where(picked.any(), jnp.arange(2, dtype=jnp.int32), state.colour)
    appears = jnp.concatenate([free, free]) / (2 * free.sum(dtype=jnp.result_type(float)))
    count = len(appears)
    probability = jnp.where(picked.any(), appears, jnp.where(jnp.arange(count) == 0, 1.0, 0.0))
    successors = State(jnp.broadcast_to(blue, (count, 2)), jnp.tile(next_coin, (2, 1)), jnp.repeat(next_colour, count // 2))
    return Outcomes(probability, successors, jnp.broadcast_to(reward, (count, 2)), jnp.zeros(count, bool))


def observe(state, params):
    """float32[2, 3 n * n]: for each agent, where the other agent, a coin of its colour and one of the other's are, one-hot."""
    size = _size(params)
    other = jnp.stack([state.blue, board.wrapped(-state.blue, size)])
    coin = jnp.stack([state.coin, board.wrapped(state.coin - state.blue, size)])
    there, here = ((offset[:, None] == params.cells).all(-1) for offset in (other, coin))
    own = (state.colour == jnp.arange(2))[:, None]
    return jnp.concatenate([there, here & own, here & ~own], axis=-1).astype(jnp.float32)


def global_obs(state, params):
    """float32[3 n * n]: what the red agent observes, which is everything."""
    return observe(state, params)[0]


def picks(reward: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns how many coins were picked by the agent of their colour and by the other, float32[...] each.

    Args:
        reward: float32[..., 2], of single steps. Their sum tells: 1 is a coin of one's own, -1 of the other's, and 0 with a
            reward that is not 0 is one picked by both.
    """
    total, both = reward.sum(-1), (reward != 0).all(-1) & (reward.sum(-1) == 0)
    return ((total == 1) | both).astype(jnp.float32), ((total == -1) | both).astype(jnp.float32)


def make(size: int = 3, max_steps: int = 50) -> Environment:
    """Builds the coin game. Actions: stay, left, down, right, up. Observation: see ``observe``.

    Args:
        size: rows and columns of the torus, at least 2.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(size >= 2, "coin_game", "size must be at least 2 cells", size, "3 is the default.")
    require(max_steps >= 1, "coin_game", "max_steps must be at least 1", max_steps, "50 is the default.")
    cells = np.indices((size, size), np.int32).reshape(2, -1).T
    blue, coin, colour = np.indices((size * size, size * size, 2), np.int32).reshape(3, -1)
    apart = (blue != 0) & (coin != 0) & (blue != coin)
    start = State(jnp.asarray(cells[blue[apart]]), jnp.asarray(cells[coin[apart]]), jnp.asarray(colour[apart]))
    return board.game(Params(start, jnp.asarray(cells)), outcomes, 3 * size * size, max_steps, observe, global_obs)
