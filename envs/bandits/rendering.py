"""Pictures of bandits: one function ``(state, params) -> uint8[H, W, 3]`` each, on the host.

They show the arms as they are, which no learner sees.
"""

import numpy as np

from envs import charts, tiles
from envs.bandits import (
    bernoulli_bandit,
    contextual_bandit,
    contextual_dueling_bandit,
    dueling_bandit,
    gamble_ladder,
    gaussian_bandit,
    linear_bandit,
    linear_dynamical_bandit,
    maximisation_bias,
    restless_bandit,
)
from envs.tiles import TILE, Board

IN_A_ROW = 10  # restless arms
OUTCOMES = {dueling_bandit.WON: tiles.GREEN, dueling_bandit.LOST: tiles.VERMILION, dueling_bandit.UNKNOWN: tiles.LINE}


def probabilities(state, params: bernoulli_bandit.Params) -> np.ndarray:
    """How likely every arm pays."""
    return charts.bars(np.asarray(params.probability), 0.0, 1.0)


def means(state, params: gaussian_bandit.Params) -> np.ndarray:
    """The mean reward of every arm now; means that walk far are cut off at the edge."""
    centre, wide = np.abs(np.asarray(params.mean)).max(), 0.0 if params.spread is None else float(params.spread)
    span = max(float(centre + 3 * wide), 1.0)
    return charts.bars(state, -span, span)


def context(state, params: contextual_bandit.Params) -> np.ndarray:
    """The reward of every response (columns) to every context (rows), the context at hand in a frame, none after the end."""
    gold = np.asarray(params.gold)
    picture, side = charts.table(gold), charts.cell_side(gold.shape)
    if int(state) < len(gold):
        charts.mark(picture, side, int(state), 0, columns=gold.shape[1])
    return charts.beside(picture)


def duel(state, params: dueling_bandit.Params) -> np.ndarray:
    """Which arm (row) is preferred to which (column): blue more often than not. The frame is green if the first arm has won."""
    picture = charts.beside(charts.table(np.asarray(params.preference) - 0.5, 0.5))
    return charts.frame(picture, OUTCOMES[int(state)])


def utilities(state: contextual_dueling_bandit.State, params: contextual_dueling_bandit.Params) -> np.ndarray:
    """The utility of every arm that can be chosen now. The frame is green if the first arm has won."""
    weight = np.asarray(params.weight)
    span = float(np.linalg.norm(weight)) or 1.0
    return charts.frame(charts.bars(np.asarray(state.features) @ weight, -span, span), OUTCOMES[int(state.outcome)])


def linear_means(state, params: linear_bandit.Params) -> np.ndarray:
    """The mean reward of every arm that can be chosen now."""
    weight = np.asarray(params.weight)
    span = float(np.linalg.norm(weight)) or 1.0
    return charts.bars(np.asarray(state) @ weight, -span, span)


def behind_the_left(state, params: maximisation_bias.Params) -> np.ndarray:
    """The mean reward of every arm, in a frame: blue before the choice, orange at the arms, grey after the end."""
    span = 2.0 * abs(float(params.mean)) or 1.0
    picture = charts.bars(np.full(len(params.arms), float(params.mean)), -span, span)
    return charts.frame(picture, (tiles.BLUE, tiles.ORANGE, tiles.LINE)[int(state)])


def rounds(state, params: gamble_ladder.Params) -> np.ndarray:
    """A bar for every round, a high one where it is over."""
    return charts.bars(np.where(np.arange(int(params.rounds)) < int(state), 1.0, 0.2), 0.0, 1.0)


def hidden_means(state, params: linear_dynamical_bandit.Params) -> np.ndarray:
    """The mean reward of every arm in the hidden state; values beyond three at once are cut off at the edge."""
    weight, pay = np.asarray(params.weight), np.asarray(params.pay)
    span = 3.0 * max(float(np.linalg.norm(weight, axis=-1).max()), 1e-6) + float(np.abs(pay).max())
    return charts.bars(weight @ np.asarray(state) + pay, -span, span)


def arms_at_work(state, params: restless_bandit.Params | restless_bandit.Arms) -> np.ndarray:
    """Every arm: full in its good state, hollow in its bad one."""
    good = np.asarray(state)
    board = Board(-(-len(good) // IN_A_ROW), min(len(good), IN_A_ROW))
    for arm, is_good in enumerate(good):
        place = divmod(arm, IN_A_ROW)
        board.fill(place, tiles.FLOOR)
        board.draw(place, "disc" if is_good else "ring", tiles.GREEN if is_good else tiles.WALL)
    return _padded(board.picture)


def _padded(picture: np.ndarray) -> np.ndarray:
    """Returns a board with a free margin of half a tile."""
    height, width = picture.shape[:2]
    whole = charts.canvas(width + TILE, height + TILE)
    whole[TILE // 2 : TILE // 2 + height, TILE // 2 : TILE // 2 + width] = picture
    return whole
