"""Pictures of games on boards and of particles: one function ``(state, params) -> uint8[H, W, 3]`` each, on the host."""

import numpy as np

from envs import charts, tiles
from envs.gridworlds.grid import WALL
from envs.markov_games import (
    beer_game,
    coin_game,
    commons,
    foraging,
    gathering,
    grid_game,
    ising,
    levers,
    liquidity_game,
    pursuit,
    simple_spread,
    soccer,
    speaker_listener,
    spread_grid,
    switch_riddle,
    tag,
    traffic_junction,
    two_step,
)
from envs.tiles import Board

RED_AGENT, BLUE_AGENT = tiles.VERMILION, tiles.BLUE
AGENTS = (tiles.BLUE, tiles.VERMILION, tiles.GREEN, tiles.PURPLE, tiles.ORANGE, tiles.SKY)  # and again from the first
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


def particles(state, params: simple_spread.Params | tag.Params | speaker_listener.Params) -> np.ndarray:
    """The plane from -1.4 m to 1.4 m, y upwards: agents are discs of their size, landmarks dark dots, obstacles dark discs.

    Beyond, no agent is seen.
    """
    side = round(2 * SEEN_METRES * PIXELS_PER_METRE)
    picture = np.full((side, side, 3), tiles.FLOOR, np.uint8)
    middle = round(SEEN_METRES * PIXELS_PER_METRE)
    picture[middle], picture[:, middle] = tiles.LINE, tiles.LINE

    def pixels(place):
        return ((np.asarray(place, np.float64) * (1, -1)) + SEEN_METRES) * PIXELS_PER_METRE

    agents = len(state.position)
    radii, obstacles = np.split(np.asarray(params.radius), [agents])
    for index, (place, radius) in enumerate(zip(pixels(state.position), radii, strict=True)):
        colour = AGENTS[index % len(AGENTS)]
        tiles.disc(picture, place, radius * PIXELS_PER_METRE, colour, 0.75)
        tiles.disc(picture, place + (4.0, -4.0) * np.asarray(state.velocity, np.float64)[index], 2.5, tiles.WHITE, 0.9)
    for index, place in enumerate(pixels(state.landmark)):
        tiles.disc(picture, place, obstacles[index] * PIXELS_PER_METRE if len(obstacles) else 5.0, tiles.DARK)
    return picture


def race(state, params: grid_game.Params) -> np.ndarray:
    """The board with the goals in their agents' colours, or green where they share it; barriers are striped."""
    board, goals = _floor(grid_game.SIZE, grid_game.SIZE), np.asarray(params.goal)
    for place in np.argwhere(np.asarray(params.barrier) > 0):
        board.draw(place, "stripes", tiles.DARK, 0.35)
    shared = bool((goals[0] == goals[1]).all())
    for agent, goal in enumerate(goals):
        board.draw(goal, "star", tiles.GREEN if shared else AGENTS[agent])
    return _with_agents(board, np.asarray(state))


def covering(state: spread_grid.State, params: spread_grid.Params) -> np.ndarray:
    """Landmarks are stars, green once somebody stands there. Agents on one cell are drawn over each other."""
    board = _floor(len(params.rows), len(params.rows))
    for place in np.asarray(state.landmark):
        covered = bool((np.asarray(state.agent) == place).all(-1).any())
        board.fill(place, tiles.blend(tiles.FLOOR, tiles.GREEN if covered else tiles.DARK, 0.35))
        board.draw(place, "star", tiles.DARK)
    return _with_agents(board, np.asarray(state.agent))


def forage(state: foraging.State, params: foraging.Params) -> np.ndarray:
    """Agents and food, the food darker the heavier it is."""
    board = _floor(len(params.rows), len(params.rows))
    for place, level in zip(np.asarray(state.food), np.asarray(state.food_level), strict=True):
        if level:
            board.draw(place, "star", tiles.blend(tiles.YELLOW, tiles.VERMILION, min(level / state.total, 1.0)))
    return _with_agents(board, np.asarray(state.agent))


def orchard(state: gathering.State, params: gathering.Params) -> np.ndarray:
    """Players look where their arrows point; a player that is away is not shown. Apples are green dots."""
    letters = np.asarray(params.letters)
    board, places = _floor(*letters.shape), np.argwhere(letters != ord(WALL))
    for place in np.argwhere(letters == ord(WALL)):
        board.wall(place)
    for cell, unripe in zip(np.asarray(params.apple), np.asarray(state.unripe), strict=True):
        board.draw(places[cell], "dot", tiles.GREEN, 0.2 if unripe else 1.0)
    turned = (2, 1, 0, 3)  # tiles count headings the other way round: right, down, left, up
    for player in np.flatnonzero(np.asarray(state.away) == 0):
        board.agent(places[int(state.cell[player])], AGENTS[player], heading=turned[int(state.heading[player])])
    return board.picture


def spins(state, params: ising.Params) -> np.ndarray:
    """Spins up are blue, spins down are light."""
    board = Board(*np.asarray(state).shape)
    for place, spin in np.ndenumerate(np.asarray(state)):
        board.fill(place, tiles.BLUE if spin > 0 else tiles.FLOOR, None)
    return board.picture


def _floor(rows: int, columns: int) -> Board:
    board = Board(rows, columns)
    for place in np.ndindex(rows, columns):
        board.fill(place, tiles.FLOOR)
    return board


def _with_agents(board: Board, places: np.ndarray) -> np.ndarray:
    for agent, place in enumerate(places):
        board.agent(place, AGENTS[agent % len(AGENTS)])
    return board.picture


def _torus(size: int) -> Board:
    board = Board(size, size)
    for row, column in np.ndindex(size, size):
        board.fill((row, column), tiles.FLOOR if (row + column) % 2 else tiles.blend(tiles.FLOOR, tiles.LINE, 0.5))
    return board


def stock(state, params: commons.Params) -> np.ndarray:
    """The stock, full at the capacity."""
    return charts.gauges(float(state) / float(params.capacity))


def called(state, params: levers.Params) -> np.ndarray:
    """The agents who play, the darker the higher their number in the population; the gauge is full until they have."""
    identity, played = state
    numbers, board = np.asarray(identity), Board(1, len(identity))
    for place, number in enumerate(numbers):
        board.draw((0, place), "disc", tiles.blend(tiles.SKY, tiles.DARK, number / max(len(params.population) - 1, 1)))
    return charts.above(board.picture, charts.gauges(0.0 if played else 1.0))


def inventories(state: liquidity_game.State, params: liquidity_game.Params) -> np.ndarray:
    """The inventory of each dealer, long ones above the line; the gauge shows the rounds that are left."""
    most = float(np.max(params.bound))
    return charts.above(
        charts.bars(np.asarray(state.inventory), -most, most), charts.gauges(int(state.left) / int(params.rounds))
    )


def supply_chain(state: beer_game.State, params: beer_game.Params) -> np.ndarray:
    """The stock of each stage from retailer to factory, below the line what it owes; the gauge shows the weeks that are left."""
    stock = np.asarray(state.stock)
    most = float(max(np.abs(stock).max(), beer_game.FIRST_STOCK))
    return charts.above(charts.bars(stock, -most, most), charts.gauges(1 - int(state.week) / int(params.weeks)))


def cell_block(state: switch_riddle.State, params: switch_riddle.Params) -> np.ndarray:
    """The prisoners, full discs for those who were in the room, today's visitor in a frame; the bulb; and the time left."""
    count = len(params.number)
    board = _floor(2, count)
    for number, been in enumerate(np.asarray(state.been)):
        board.draw((0, number), "disc" if been else "ring", tiles.BLUE)
    board.draw((0, int(state.visitor)), "frame", tiles.VERMILION)
    board.draw((1, count // 2), "pool", tiles.YELLOW if state.bulb else tiles.SHADE)
    return charts.above(board.picture, charts.gauges(1 - int(state.day) / int(params.days)))


def crossing(state: traffic_junction.State, params: traffic_junction.Params) -> np.ndarray:
    """Two one-way roads, to the right and down, and the cars on them; cars in one cell are crossed out."""
    length = len(params.places)
    board, middle = Board(length, length, tiles.FIELD), length // 2
    for place in range(length):
        for cell in ((middle, place), (place, middle)):
            board.fill(cell, tiles.LINE, tiles.WHITE)
    collided = np.asarray(traffic_junction.collided(state, params))
    for car, (road, place) in enumerate(zip(np.asarray(state.road), np.asarray(state.place), strict=True)):
        if road != traffic_junction.ABSENT:
            cell = (middle, int(place)) if road == 0 else (int(place), middle)
            board.agent(cell, AGENTS[car % len(AGENTS)], heading=int(road))
            if collided[car]:
                board.draw(cell, "cross", tiles.DARK)
    return board.picture


def two_games(state, params: two_step.Params) -> np.ndarray:
    """Both games of the second step, the darker an entry the more it pays; the one that is played has a frame."""
    payoff = np.asarray(params.payoff)
    pictures = [charts.table(payoff[game], float(np.abs(payoff).max())) for game in (two_step.A, two_step.B)]
    framed = [
        charts.frame(picture, tiles.VERMILION if int(state) == game else tiles.WHITE)
        for picture, game in zip(pictures, (two_step.A, two_step.B), strict=True)
    ]
    return charts.beside(*framed)
