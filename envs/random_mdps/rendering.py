"""Pictures of random decision processes."""

import functools

import numpy as np

from envs import charts, tiles
from envs.random_mdps import random_graph, random_mdp

MOST_LINES = 120  # between states: of more, the likeliest are drawn


def graph(state, params: random_mdp.Params) -> np.ndarray:
    """The states on a ring, larger the more they pay on average, and where they lead, darker the likelier under random actions.

    The present state is blue.
    """
    next_state, probability = np.asarray(params.next_state), np.asarray(params.probability, np.float64)
    count, actions, _ = next_state.shape
    likely = np.zeros((count, count))
    np.add.at(likely, (np.broadcast_to(np.arange(count)[:, None, None], next_state.shape), next_state), probability / actions)
    picture = _edges(count, np.triu(likely + likely.T, 1).tobytes()).copy()
    pay = np.asarray(params.reward, np.float64).mean(-1)
    share = (pay - pay.min()) / (np.ptp(pay) or 1.0)
    for number, place in enumerate(charts.ring(count)):
        tiles.disc(picture, place, 6 + 8 * share[number], tiles.BLUE if number == int(state) else tiles.ORANGE)
    return picture


def walk(state, params: random_graph.Params) -> np.ndarray:
    """The nodes on a ring and the edges between them. The goal is green, the present node is blue."""
    edges = np.asarray(params.edges, np.float64)
    picture = _edges(len(edges), np.triu(edges, 1).tobytes()).copy()
    for number, place in enumerate(charts.ring(len(edges))):
        colour = tiles.BLUE if number == int(state) else tiles.GREEN if number == int(params.goal) else tiles.ORANGE
        tiles.disc(picture, place, 8, colour)
    return picture


@functools.lru_cache(maxsize=4)
def _edges(count: int, likely: bytes) -> np.ndarray:
    """Returns the lines between states, the same in all frames of a film; likely: float64[count, count] above the diagonal."""
    both = np.frombuffer(likely).reshape(count, count)
    picture, places = charts.canvas(288, 288), charts.ring(count)
    order = np.argsort(-both, axis=None, kind="stable")[: min(MOST_LINES, np.count_nonzero(both))]
    for start, end in zip(*np.unravel_index(order, both.shape), strict=True):
        charts.line(picture, places[start], places[end], 1.5, tiles.WALL, float(min(1.0, both[start, end])) * 0.8)
    return picture
