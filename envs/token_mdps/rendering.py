"""Pictures of token processes."""

import numpy as np

from envs import charts, tiles
from envs.tiles import Board
from envs.token_mdps import token_mdp


def prefix(state, params: token_mdp.Params) -> np.ndarray:
    """The tokens so far, a colour for each, and empty frames for those that are to come."""
    vocabulary, length = params.score.shape[0], params.score.ndim
    node, tokens = int(state), []
    while node > 0:
        node, token = divmod(node - 1, vocabulary)
        tokens.append(token)
    board = Board(1, length)
    for place in range(length):
        board.draw((0, place), "frame", tiles.LINE)
    for place, token in enumerate(reversed(tokens)):
        colour = charts.COLOURS[token % len(charts.COLOURS)]
        board.draw((0, place), "block", tiles.blend(colour, tiles.DARK, 0.3 * (token // len(charts.COLOURS) % 3)))
    return charts.beside(board.picture)
