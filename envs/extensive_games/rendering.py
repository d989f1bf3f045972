"""Pictures of games by turns: one function ``(state, params) -> uint8[H, W, 3]`` each, on the host.

They show all that is hidden, from the players, too.
"""

from collections.abc import Sequence

import numpy as np

from envs import tiles
from envs.extensive_games import kuhn, leduc, lewis
from envs.tiles import TILE, Board

PLAYERS = (tiles.BLUE, tiles.VERMILION)
ACTIONS = {"f": "cross", "c": "ring", "r": "disc"}  # folds, checks or calls, bets or raises
PIPS = 3  # on a card in a row


def hands(state: kuhn.State, params: kuhn.Params) -> np.ndarray:
    """Both cards, with a pip for each rank, and what was done: a disc is a bet, a ring a check or a call, a cross a fold."""
    longest = max(map(len, kuhn.HISTORIES))
    board = Board(3, 1 + longest)
    for player, row in enumerate((0, 2)):
        _card(board, (row, 0), int(state.card[player]), PLAYERS[player])
    _actions(board, 1, 1, kuhn.HISTORIES[int(state.history)])
    return board.picture


def rounds(state: leduc.State, params: leduc.Params) -> np.ndarray:
    """Both cards above and below the public one, which is face down in the first round, and what was done in each round."""
    longest = max(map(len, leduc.HISTORIES))
    board = Board(3, 2 + 2 * longest)
    for player, row in enumerate((0, 2)):
        _card(board, (row, 0), int(state.card[player]), PLAYERS[player])
    public = (1, 1 + longest)
    if int(state.public) == leduc.HIDDEN:
        board.draw(public, "block", tiles.WALL)
    else:
        _card(board, public, int(state.public), tiles.GREEN)
    first, second = (leduc.HISTORIES[int(history)] for history in state.history)
    _actions(board, 1, 1, first)
    _actions(board, 1, 2 + longest, second)
    return board.picture


def signals(state: lewis.State, params: lewis.Params) -> np.ndarray:
    """The states of the world, the present one full; below, the signals, the one that was sent full. A star: it is over."""
    worlds, sent = len(params.probability), int(state.stage) != lewis.SENDING
    board = Board(2, max(worlds, len(params.signals)) + 1)
    for world in range(worlds):
        board.draw((0, world), "disc" if world == int(state.world) else "ring", tiles.BLUE)
    for signal in np.flatnonzero(np.asarray(params.signals)):
        board.draw((1, int(signal)), "block" if sent and signal == int(state.signal) else "frame", tiles.ORANGE)
    if int(state.stage) == lewis.OVER:
        board.draw((0, board.picture.shape[1] // TILE - 1), "star", tiles.GREEN)
    return board.picture


def _card(board: Board, place: Sequence[int], rank: int, colour: tiles.Colour) -> None:
    """Draws a card with rank + 1 pips."""
    board.draw(place, "square", tiles.WHITE)
    board.draw(place, "frame", colour)
    row, column = place
    for pip in range(rank + 1):
        down, across = divmod(pip, PIPS)
        centre = column * TILE + TILE * (0.28 + 0.22 * across), row * TILE + TILE * (0.32 + 0.2 * down)
        tiles.disc(board.picture, centre, 2.4, tiles.DARK)


def _actions(board: Board, row: int, column: int, history: str) -> None:
    """Draws the letters of a history, in the colours of the players by turns."""
    for number, letter in enumerate(history):
        board.draw((row, column + number), ACTIONS[letter], PLAYERS[number % 2])
