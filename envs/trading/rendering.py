"""Pictures of markets: one function ``(state, params) -> uint8[H, W, 3]`` each, on the host. None shows what is to come."""

import numpy as np

from envs import charts, tiles
from envs.tiles import Board
from envs.trading import accounting, binomial_market, execution, gaussian_portfolio, option_hedging, single_asset

BARS = 64  # of a price path that are drawn, the present one at the right


def price_so_far(state: single_asset.State, params: single_asset.Params) -> np.ndarray:
    """The last 64 prices up to now and, below, the position: green long, red short, as wide as the share of wealth invested.

    The scale is the range of these prices; the present one is a dot at the right.
    """
    now = int(state.bar)
    known = np.asarray(params.table)[int(state.path), max(now - BARS + 1, 0) : now, 0]
    prices = np.append(known, float(state.price)).astype(np.float64)
    low, high = prices.min(), prices.max()
    picture, room = charts.canvas(), charts.HEIGHT - 2 * charts.MARGIN - 40

    def place(index):
        x = charts.WIDTH - charts.MARGIN - (charts.WIDTH - 2 * charts.MARGIN) * (len(prices) - 1 - index) / (BARS - 1)
        return x, charts.MARGIN + room * (high - prices[index]) / ((high - low) or 1.0)

    charts.path(picture, [place(index) for index in range(len(prices))], 2, tiles.BLUE)
    tiles.disc(picture, place(len(prices) - 1), 4, tiles.ORANGE)
    share = float(np.asarray(accounting.weight(state.account, state.price)))
    middle, bottom = charts.WIDTH / 2, charts.HEIGHT - charts.MARGIN
    reach = (middle - charts.MARGIN) * float(np.clip(share / max(float(params.limits.leverage), 1e-6), -1.0, 1.0))
    charts.box(picture, (middle, bottom - 18), (middle + reach, bottom), tiles.GREEN if share >= 0 else tiles.VERMILION)
    charts.line(picture, (middle, bottom - 22), (middle, bottom + 4), 2, tiles.WALL)
    return picture


def regime(state: binomial_market.State, params: binomial_market.Params) -> np.ndarray:
    """The regimes, the present one full, and the last move of the price; below, the weights, the chosen one full."""
    regimes, weights = len(params.rise), len(params.weights)
    board = Board(2, max(regimes + 1, weights))
    for number in range(regimes):
        board.draw((0, number), "disc" if number == int(state.regime) else "ring", tiles.PURPLE)
    up = int(state.up) == 1
    board.draw((0, board.picture.shape[1] // tiles.TILE - 1), f"arrow {3 if up else 1}", tiles.GREEN if up else tiles.VERMILION)
    for number, weight in enumerate(np.asarray(params.weights)):
        board.draw(
            (1, number), "block" if number == int(state.choice) else "frame", tiles.GREEN if weight >= 0 else tiles.VERMILION
        )
    return board.picture


def sale(state: execution.State, params: execution.Params) -> np.ndarray:
    """Three gauges: the lots that are left, the time that is left, and the price, full at the first one."""
    lots, steps = len(params.sales) - 1, len(params.temporary)
    price = float(state.price) / float(params.start)
    return charts.gauges(int(state.lots) / lots, 1 - int(state.t) / steps, price)


def time_left(state, params: gaussian_portfolio.Params) -> np.ndarray:
    """The time that is left."""
    return charts.gauges(1 - int(state) / (len(params.steps) - 1))


def lattice(state: option_hedging.State, params: option_hedging.Params) -> np.ndarray:
    """All prices that can be reached, on a logarithmic scale, the present one, the strike, and the shares held below."""
    picture, steps = charts.canvas(), len(params.steps)
    room = charts.HEIGHT - 2 * charts.MARGIN - 40

    def place(t, net):
        x = charts.MARGIN + (charts.WIDTH - 2 * charts.MARGIN) * t / steps
        return x, charts.MARGIN + room * (0.5 - net / (2 * steps))

    for t in range(steps):
        for net in range(-t, t + 1, 2):
            for move in (-1, 1):
                charts.line(picture, place(t, net), place(t + 1, net + move), 1, tiles.WALL, 0.45)
    strike = np.log(float(params.strike) / float(params.start)) / float(params.log_move)
    charts.line(picture, place(0, strike), place(steps, strike), 2, tiles.VERMILION, 0.7)
    t, ups = int(state.t), int(state.ups)
    tiles.disc(picture, place(t, 2 * ups - t), 6, tiles.BLUE)
    held = float(np.asarray(params.holdings)[int(state.choice)]) / max(float(np.max(params.holdings)), 1e-6)
    bottom, width = charts.HEIGHT - charts.MARGIN, charts.WIDTH - 2 * charts.MARGIN
    charts.box(picture, (charts.MARGIN, bottom - 18), (charts.MARGIN + width, bottom), tiles.LINE)
    charts.box(picture, (charts.MARGIN, bottom - 18), (charts.MARGIN + width * held, bottom), tiles.GREEN)
    return picture
