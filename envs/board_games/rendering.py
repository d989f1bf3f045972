"""Pictures of board games whose players place stones, for tic-tac-toe and connect four alike."""

from typing import Any

import numpy as np

from envs import charts, tiles
from envs.board_games import in_a_row
from envs.tiles import Board

STONES = (tiles.BLUE, tiles.VERMILION)


def stones(state: in_a_row.State, params: Any) -> np.ndarray:
    """The stones of both players; the frame has the colour of the one to move, and is dark once the game is over."""
    cells = np.asarray(state.board)
    board = Board(*cells.shape)
    for place, stone in np.ndenumerate(cells):
        board.fill(place, tiles.FLOOR)
        if stone != in_a_row.EMPTY:
            board.draw(place, "disc", STONES[stone])
    picture = charts.beside(board.picture)
    return charts.frame(picture, tiles.DARK if state.over else STONES[int(state.mover)], 4)
