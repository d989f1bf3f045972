"""Pictures of gridworlds: one function ``(state, params) -> uint8[H, W, 3]`` for each family, on the host, from shared tiles."""

import numpy as np

from envs import tiles
from envs.control import point_maze
from envs.gridworlds import (
    blocking_maze,
    catch,
    corridor,
    deep_sea,
    deep_sea_treasure,
    doorkey,
    egocentric,
    empty_room,
    grid,
    hazard_grid,
    noisy_grid,
    noisy_tv,
    random_maze,
    short_corridor,
    t_maze,
    windy_torus,
)
from envs.tiles import TILE, Board

ARROWS = {">": 0, "v": 1, "<": 2, "^": 3}  # the headings of the tiles


def cells(params: grid.Walk) -> np.ndarray:
    """Returns where each free cell of a walk lies, (row, column), int[C, 2]."""
    return np.argwhere(np.asarray(params.letters) != ord(grid.WALL))


def walk(state, params: grid.Walk) -> np.ndarray:
    """A walk over the cells of a map: FrozenLake, cliff, rooms, mazes, wind, maps of one's own."""
    return _walk(state, params, hazards=())


def hazardous_walk(state, params: hazard_grid.Params) -> np.ndarray:
    """A walk in which some cells, striped, have a cost beside the reward."""
    return _walk(state, params, hazards=np.flatnonzero(np.asarray(params.cost)))


def _walk(state, params: grid.Walk, hazards) -> np.ndarray:
    board = _map(np.asarray(params.letters))
    place, pays = cells(params), _pays(params)
    largest = np.abs(pays).max() or 1.0
    for cell in np.flatnonzero(pays):
        board.fill(
            place[cell], tiles.blend(tiles.FLOOR, tiles.ORANGE if pays[cell] > 0 else tiles.PURPLE, abs(pays[cell]) / largest)
        )
    letters = np.asarray(params.letters)[tuple(place.T)]
    for cell in np.flatnonzero(np.asarray(params.absorbing) & ~np.isin(letters, [ord("H"), ord("L")])):
        board.goal(place[cell])
    for cell in hazards:
        board.draw(place[cell], "stripes", tiles.VERMILION, 0.55)
    start = np.asarray(params.start)
    if len(start) == 1:
        board.draw(place[start[0]], "frame", tiles.BLUE, 0.6)
    board.agent(place[int(state)])
    return board.picture


def _pays(params: grid.Walk) -> np.ndarray:
    """Returns by how much ending a step in each cell pays more than usual, float64[C]; 0 where the episode ends."""
    going_on = ~np.asarray(params.absorbing)
    pays = np.full(len(going_on), -np.inf)
    np.maximum.at(pays, np.asarray(params.neighbour)[going_on], np.asarray(params.reward, np.float64)[going_on])
    entered = going_on & np.isfinite(pays)
    usual = np.median(pays[entered]) if entered.any() else 0.0
    return np.where(entered, pays, usual) - usual


def _map(letters: np.ndarray) -> Board:
    """Paints a map, int[R, C] of ASCII codes, without goals and agent."""
    board = Board(*letters.shape)
    icy = bool((letters == ord("F")).any())
    for place, code in np.ndenumerate(letters):
        letter = chr(code)
        board.fill(place, tiles.ICE if icy else tiles.FLOOR)
        if letter == grid.WALL:
            board.wall(place)
        elif letter == "H":
            board.draw(place, "pool", tiles.WATER if icy else tiles.DARK)
        elif letter == "L":
            board.fill(place, tiles.LAVA)
            board.draw(place, "wave", tiles.YELLOW, 0.8)
        elif letter == "C":
            board.fill(place, tiles.CLIFF, None)
            board.draw(place, "stripes", tiles.DARK, 0.35)
        elif letter == "+":
            board.fill(place, tiles.blend(tiles.FLOOR, tiles.YELLOW, 0.35))
        elif letter in ARROWS:
            board.draw(place, f"arrow {ARROWS[letter]}", tiles.SHADE, 0.5)
        elif letter in "123456789":
            strength = min(int(letter), 3) / 3
            board.fill(place, tiles.blend(tiles.FLOOR, tiles.SKY, 0.45 * strength))
            board.draw(place, "arrow 3", tiles.WHITE, 0.4 + 0.6 * strength)
    return board


def blocking(state: blocking_maze.State, params: blocking_maze.Params) -> np.ndarray:
    """The blocking maze as it is at this time."""
    letters = np.asarray(params.letters)[int(state.clock >= params.switch_at)]
    board, columns = _map(letters), letters.shape[1]
    board.goal(divmod(int(params.goal), columns))
    board.draw(divmod(int(params.start), columns), "frame", tiles.BLUE, 0.6)
    board.agent(divmod(int(state.cell), columns))
    return board.picture


def corridor_row(state, params: corridor.Params) -> np.ndarray:
    """The corridor, its goal at the right end."""
    length = len(params.reward)
    board = _open(1, length)
    board.goal((0, length - 1))
    board.agent((0, int(state)))
    return board.picture


def alike(state, params: short_corridor.Params) -> np.ndarray:
    """The three cells, the one with swapped actions shaded (the agent sees no difference), and the goal."""
    board = _open(1, short_corridor.CELLS + 1)
    board.fill((0, short_corridor.SWAPPED), tiles.blend(tiles.FLOOR, tiles.PURPLE, 0.35))
    board.goal((0, short_corridor.GOAL))
    board.agent((0, int(state)))
    return board.picture


def catch_board(state: catch.State, params: catch.Params) -> np.ndarray:
    """Ball and paddle."""
    board = _open(*params.board.shape)
    board.draw((len(params.board) - 1, int(state.paddle)), "slab", tiles.BLUE)
    board.draw((int(state.row), int(state.column)), "disc", tiles.VERMILION)
    return board.picture


def sea(state: deep_sea.State, params: deep_sea.Params) -> np.ndarray:
    """The sea, darker in the deep; the treasure at the bottom right. After the last row the diver is below the board."""
    size = len(params.right)
    board = Board(size + 1, size)
    for row, column in np.ndindex(size + 1, size):
        depth = tiles.blend(tiles.SKY, tiles.WATER, row / size)
        board.fill((row, column), depth, tiles.blend(depth, tiles.WHITE, 0.15))
    board.draw((size, size - 1), "star", tiles.YELLOW)
    board.agent((int(state.row), int(state.column)), tiles.ORANGE)
    return board.picture


def sea_floor(state: deep_sea_treasure.State, params: deep_sea_treasure.Params) -> np.ndarray:
    """The sea above its floor; the more a treasure is worth, the brighter it shines."""
    floor, treasure = np.asarray(params.floor), np.asarray(params.treasure, np.float64)
    board, most = Board(deep_sea_treasure.ROWS, len(floor)), np.abs(treasure).max() or 1.0
    for row, column in np.ndindex(deep_sea_treasure.ROWS, len(floor)):
        if row > floor[column]:
            board.wall((row, column))
            continue
        depth = tiles.blend(tiles.SKY, tiles.WATER, row / deep_sea_treasure.ROWS)
        board.fill((row, column), depth, tiles.blend(depth, tiles.WHITE, 0.15))
    for column, row in enumerate(floor):
        worth = float(np.sqrt(abs(treasure[column]) / most))
        board.draw((row, column), "star", tiles.YELLOW, 0.3 + 0.7 * worth)
    board.agent((int(state.row), int(state.column)), tiles.ORANGE)
    return board.picture


def noisy(state, params: noisy_grid.Params) -> np.ndarray:
    """The open grid; the end lies nowhere, so the agent is shown in the goal then."""
    size = round((len(params.neighbour) - 1) ** 0.5)
    board, goal = _open(size, size), int(params.goal)
    board.goal(divmod(goal, size))
    board.agent(divmod(min(int(state), size * size) if int(state) < size * size else goal, size))
    return board.picture


def television(state, params: noisy_tv.Params) -> np.ndarray:
    """The map; the television is striped in a colour of its own for each picture while the agent sees one."""
    letters = np.asarray(params.letters)
    board, place = _map(letters), np.argwhere(letters != ord(grid.WALL))
    cell, screen = int(noisy_tv.cell(state, params)), int(params.television)
    colours = (tiles.BLUE, tiles.VERMILION, tiles.GREEN, tiles.PURPLE, tiles.ORANGE, tiles.SKY, tiles.YELLOW)
    shown = colours[int(state) % len(colours)] if cell == screen else tiles.DARK
    board.draw(place[screen], "stripes", shown, 0.8)
    board.goal(place[int(params.goal)])
    board.draw(place[int(params.start)], "frame", tiles.BLUE, 0.6)
    board.agent(place[cell])
    return board.picture


def t_junction(state: t_maze.State, params: t_maze.Params) -> np.ndarray:
    """The corridor and its two arms; the cue is an arrow, shown bright at the first step and faint later, for us alone."""
    length, place = int(params.length), int(state.place)
    up = int(state.cue) == t_maze.CUE_UP
    board = Board(3, length + 1, tiles.WALL)
    for cell in np.ndindex(3, length + 1):
        if cell[0] == 1 or cell[1] == length:
            board.fill(cell, tiles.FLOOR)
        else:
            board.wall(cell)
    board.goal((0 if up else 2, length))
    board.draw((1, 0), f"arrow {3 if up else 1}", tiles.GREEN, 1.0 if place < 0 else 0.3)
    # A turned agent's arm is not part of the state: it is shown at the junction.
    board.agent((1, min(max(place, 0), length)))
    return board.picture


def key_and_door(state: doorkey.State, params: doorkey.Params) -> np.ndarray:
    """The board of DoorKey; a carried key hovers over the agent."""
    board = _coded(np.asarray(doorkey.board(state, params)), state)
    if int(state.key[0]) < 0:
        board.draw(np.asarray(state.position), "key", tiles.YELLOW)
    return board.picture


def bare_room(state: empty_room.State, params: empty_room.Params) -> np.ndarray:
    """The room, its goal and where the agent looks."""
    return _coded(np.asarray(empty_room.board(state, params)), state).picture


def _coded(codes: np.ndarray, state: doorkey.State | empty_room.State) -> Board:
    """Draws what an egocentric agent sees of a board, int[n, n, 3], and the agent."""
    board = _open(*codes.shape[:2])
    for place in np.ndindex(codes.shape[:2]):
        kind, _, condition = codes[place]
        if kind == egocentric.WALL[0]:
            board.wall(place)
        elif kind == egocentric.GOAL[0]:
            board.goal(place)
        elif kind == egocentric.KEY[0]:
            board.draw(place, "key", tiles.ORANGE)
        elif kind == egocentric.DOOR[0] and condition == egocentric.OPEN:
            board.draw(place, "leaf", tiles.ORANGE)
        elif kind == egocentric.DOOR[0]:
            board.draw(place, "block", tiles.ORANGE)
            board.draw(place, "key" if condition == egocentric.LOCKED else "dot", tiles.DARK)
    board.agent(np.asarray(state.position), heading=int(state.heading))
    return board


def maze(state: random_maze.State, params: random_maze.Params) -> np.ndarray:
    """The maze of this episode."""
    walls = np.asarray(state.walls)
    board = _open(*walls.shape)
    for place in np.argwhere(walls):
        board.wall(place)
    board.goal((len(walls) - 2, len(walls) - 2))
    board.agent(np.asarray(state.position))
    return board.picture


def borderless(state: windy_torus.State, params: windy_torus.Params) -> np.ndarray:
    """The torus; arrows show where the wind blows, the brighter the likelier."""
    size = round(len(params.exposed) ** 0.5)
    board, wind = _open(size, size), float(params.wind)
    for cell in np.flatnonzero(np.asarray(params.exposed)):
        board.fill(divmod(int(cell), size), tiles.blend(tiles.FLOOR, tiles.SKY, 0.45 * wind))
        board.draw(divmod(int(cell), size), "arrow 0", tiles.WHITE, wind)
    board.goal(divmod(int(state.goal), size))
    board.agent(divmod(int(state.agent), size))
    return board.picture


def point_in_maze(state: point_maze.State, params: point_maze.Params) -> np.ndarray:
    """The point mass in its maze, a small dot where it would be in a fifth of a second, and the disc that is the goal."""
    free = np.asarray(params.free)
    board = _open(*free.shape)
    for place in np.argwhere(~free):
        board.wall(place)

    def pixels(place):
        return (np.asarray(place, np.float64)[::-1] + 1) * TILE  # the map begins inside the border

    tiles.disc(board.picture, pixels(state.goal), float(params.goal_radius) * TILE, tiles.GREEN, 0.5)
    tiles.disc(board.picture, pixels(state.position), 0.22 * TILE, tiles.BLUE)
    tiles.disc(board.picture, pixels(state.position + 0.2 * state.velocity), 0.08 * TILE, tiles.ORANGE)
    return board.picture


def _open(rows: int, columns: int) -> Board:
    board = Board(rows, columns)
    for place in np.ndindex(rows, columns):
        board.fill(place, tiles.FLOOR)
    return board
