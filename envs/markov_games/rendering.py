"""Pictures of games on boards and of particles: one function ``(state, params) -> uint8[H, W, 3]`` each, on the host."""

import numpy as np

from envs import tiles
from envs.markov_games import coin_game, pursuit, simple_spread, soccer
from envs.tiles import Board

RED_AGENT, BLUE_AGENT = tiles.VERMILION, tiles.BLUE
PIXELS_PER_METRE, SEEN_METRES = 80, 1.4  # of the plane; it is seen from -1.4 to 1.4 in both directions


def coins(state: coin_game.State, params: coin_game.Params) -> np.ndarray:
    """The torus as the red agent sees it, itself in the middle. Agents on one cell are drawn over each other."""
    size = round(len(params.cells) ** 0.5)
    board, centre = _torus(size), size // 2
    coin, blue = ((np.asarray(each) + centre) % size for each in (state.coin, state.blue))
    board.agent(blue, BLUE_AGENT)
    board.agent((centre, centre), RED_AGENT, shape="ring" if tuple(blue) == (centre, centre) else "disc")
    colour = (RED_AGENT, BLUE_AGENT)[int(state.colour)]
    board.draw(coin, "block", tiles.YELLOW, 0.35)
    board.draw(coin, "star", colour)
    return board.picture


def hunt(state, params: pursuit.Params) -> np.ndarray:
    """The torus as the prey sees it, itself in the middle; cells next to it are shaded, where it is caught."""
    size = len(params.rows)
    board, centre = _torus(size), size // 2
    for row, column in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
        board.fill(((centre + row) % size, (centre + column) % size), tiles.blend(tiles.FLOOR, tiles.GREEN, 0.3))
    board.draw((centre, centre), "star", tiles.GREEN)
    places = (np.asarray(state) + centre) % size
    together = bool((places[0] == places[1]).all())
    board.agent(places[0], RED_AGENT)
    board.agent(places[1], BLUE_AGENT, shape="ring" if together else "disc")
    return board.picture


def field(state: soccer.State, params: soccer.Params) -> np.ndarray:
    """The field between its two goals, A red and B blue; the ball is white. After the end only the field is left."""
    board = Board(soccer.ROWS, soccer.COLUMNS + 2, tiles.DARK)
    for row, column in np.ndindex(soccer.ROWS, soccer.COLUMNS):
        board.fill((row, column + 1), tiles.FIELD, tiles.blend(tiles.FIELD, tiles.WHITE, 0.35))
    for row in (1, 2):  # A scores on the left side, B on the right
        board.fill((row, 0), tiles.blend(RED_AGENT, tiles.WHITE, 0.45))
        board.fill((row, soccer.COLUMNS + 1), tiles.blend(BLUE_AGENT, tiles.WHITE, 0.45))
    owner = int(state.owner)
    if owner != soccer.OVER:
        for player, colour in enumerate((RED_AGENT, BLUE_AGENT)):
            place = np.asarray(state.position)[player] + (0, 1)
            board.draw(place, "disc", colour)
            if player == owner:
                board.draw(place, "dot", tiles.WHITE)
    return board.picture


def particles(state: simple_spread.State, params: simple_spread.Params) -> np.ndarray:
    """The plane from -1.4 m to 1.4 m, y upwards: agents are discs of their size, landmarks dark dots. Beyond, nobody is seen."""
    side = round(2 * SEEN_METRES * PIXELS_PER_METRE)
    picture = np.full((side, side, 3), tiles.FLOOR, np.uint8)
    middle = round(SEEN_METRES * PIXELS_PER_METRE)
    picture[middle], picture[:, middle] = tiles.LINE, tiles.LINE

    def pixels(place):
        return ((np.asarray(place, np.float64) * (1, -1)) + SEEN_METRES) * PIXELS_PER_METRE

    colours = (tiles.BLUE, tiles.VERMILION, tiles.GREEN, tiles.PURPLE, tiles.ORANGE, tiles.SKY)
    for index, (place, radius) in enumerate(zip(pixels(state.position), np.asarray(params.radius), strict=True)):
        colour = colours[index % len(colours)]
        tiles.disc(picture, place, radius * PIXELS_PER_METRE, colour, 0.75)
        tiles.disc(picture, place + (4.0, -4.0) * np.asarray(state.velocity, np.float64)[index], 2.5, tiles.WHITE, 0.9)
    for place in pixels(state.landmark):
        tiles.disc(picture, place, 5.0, tiles.DARK)
    return picture


def _torus(size: int) -> Board:
    board = Board(size, size)
    for row, column in np.ndindex(size, size):
        board.fill((row, column), tiles.FLOOR if (row + column) % 2 else tiles.blend(tiles.FLOOR, tiles.LINE, 0.5))
    return board
