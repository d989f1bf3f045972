"""Games in which two agents move by turns, and the betting rounds of poker as tables.

A player who is not to move has one legal action, action 0, which has no effect.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def mask(legal: jax.Array, mover: jax.Array) -> jax.Array:
    """Returns the actions of both agents, bool[2, A]: those of the one to move, and for the other action 0 alone.

    Args:
        legal: bool[A], what the one to move may do; after the end, where nothing is legal, action 0 alone.
        mover: int32[], 0 or 1.
    """
    waits = jnp.arange(legal.shape[0]) == 0
    return jnp.where(jnp.arange(2)[:, None] == mover, jnp.where(legal.any(), legal, waits), waits)


def one_hot(*values: tuple[jax.Array, int]) -> jax.Array:
    """Returns the one-hot vectors of pairs (number int32[], how many there are), one after another, float32[F]."""
    return jnp.concatenate([jax.nn.one_hot(number, count, dtype=jnp.float32) for number, count in values])


class Betting(NamedTuple):
    """The histories of a round of betting, numbered as they were given, H in all, and A actions.

    successor: int32[H, A]; after the end all stay. legal: bool[H, A].
    mover: int32[H], 0 or 1, whose turn it is.
    over: bool[H], whether the round is.
    folder: int32[H], who gave up, 0 or 1, or 2 for neither.
    paid: int32[H], how many raises both players paid.
    """

    successor: Any
    legal: Any
    mover: Any
    over: Any
    folder: Any
    paid: Any

    def on_device(self) -> "Betting":
        """Returns the tables as jax arrays, which traced numbers can index."""
        return Betting(*(jnp.asarray(table) for table in self))


def betting(histories: Sequence[str], actions: Sequence[str]) -> Betting:
    """Makes NumPy tables of a betting round. Histories are written with letters: f folds, c checks or calls, r bets or raises.

    Args:
        histories: all of them; one that no other continues is over.
        actions: the letters of the actions 0, 1, ...: an action does the first of its letters that continues the history. It is
            legal if that is the very first.
    """
    number = {history: index for index, history in enumerate(histories)}

    def reached(history, letters):
        return next((number[history + letter] for letter in letters if history + letter in number), number[history])

    successor = np.array([[reached(history, letters) for letters in actions] for history in histories], np.int32)
    legal = np.array([[history + letters[0] in number for letters in actions] for history in histories])
    mover = np.array([len(history) % 2 for history in histories], np.int32)
    over = (successor == np.arange(len(histories))[:, None]).all(-1)
    folder = np.array([(len(history) - 1) % 2 if history.endswith("f") else 2 for history in histories], np.int32)
    paid = np.array([history.count("r") for history in histories], np.int32) - (folder < 2)
    return Betting(successor, legal, mover, over, folder, paid.astype(np.int32))
