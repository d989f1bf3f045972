"""Pictures that are no boards: lines, bars, tables, gauges and graphs. Pure NumPy on the host, in the colours of ``envs.tiles``.

Every function draws into or returns a picture ``uint8[H, W, 3]``, RGB. Places are (x, y) in pixels, y downwards.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from envs import tiles
from envs.tiles import Colour

WIDTH, HEIGHT, MARGIN = 320, 224, 16  # pixels
LARGEST_CELL, SMALLEST_LINED = 48, 10  # pixels: the side of a cell of a table, and of the smallest cell with lines around it
COLOURS = (tiles.BLUE, tiles.VERMILION, tiles.GREEN, tiles.PURPLE, tiles.ORANGE, tiles.SKY)
Place = Sequence[float] | np.ndarray


def canvas(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Returns an empty picture."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = tiles.FLOOR
    return picture


def line(picture: np.ndarray, start: Place, end: Place, width: float, colour: Colour, opacity: float = 1.0) -> None:
    """Draws a line with round ends and smooth edges."""
    (x0, y0), (x1, y1) = np.asarray(start, np.float64), np.asarray(end, np.float64)
    reach = width / 2 + 1
    left, top = (max(int(min(pair) - reach), 0) for pair in ((x0, x1), (y0, y1)))
    right, bottom = (max(int(max(pair) + reach) + 1, 0) for pair in ((x0, x1), (y0, y1)))
    part = picture[top:bottom, left:right]  # nothing else changes
    x, y = np.meshgrid(left + np.arange(part.shape[1]) + 0.5, top + np.arange(part.shape[0]) + 0.5)
    length = (x1 - x0) ** 2 + (y1 - y0) ** 2
    along = 0.0 if length == 0 else np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0.0, 1.0)
    distance = np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))
    _blend(part, opacity * np.clip(width / 2 - distance + 0.5, 0.0, 1.0), colour)


def path(picture: np.ndarray, places: Sequence[Place] | np.ndarray, width: float, colour: Colour, opacity: float = 1.0) -> None:
    """Draws lines from each place to the next."""
    for start, end in itertools.pairwise(places):
        line(picture, start, end, width, colour, opacity)


def box(picture: np.ndarray, corner: Place, opposite: Place, colour: Colour, opacity: float = 1.0) -> None:
    """Fills the rectangle between two corners; pixels at its edges as far as they lie in it."""
    (x0, x1), (y0, y1) = (sorted((float(one), float(two))) for one, two in zip(corner, opposite, strict=True))
    left, top = max(int(x0), 0), max(int(y0), 0)
    part = picture[top : max(int(y1) + 1, 0), left : max(int(x1) + 1, 0)]  # nothing else changes
    columns, rows = left + np.arange(part.shape[1]), top + np.arange(part.shape[0])
    across = np.clip(np.minimum(columns + 1, x1) - np.maximum(columns, x0), 0.0, 1.0)
    down = np.clip(np.minimum(rows + 1, y1) - np.maximum(rows, y0), 0.0, 1.0)
    _blend(part, opacity * down[:, None] * across, colour)


def _blend(picture: np.ndarray, share: np.ndarray, colour: Colour) -> None:
    picture[:] = np.round((1 - share[..., None]) * picture + share[..., None] * np.array(colour, np.float64)).astype(np.uint8)


def frame(picture: np.ndarray, colour: Colour, width: int = 6) -> np.ndarray:
    """Returns the picture with a frame around its edge."""
    height, whole = picture.shape[:2]
    for corner, opposite in (
        ((0, 0), (whole, width)),
        ((0, height - width), (whole, height)),
        ((0, 0), (width, height)),
        ((whole - width, 0), (whole, height)),
    ):
        box(picture, corner, opposite, colour)
    return picture


def bars(values: Sequence[float] | np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns one bar for each value, from 0 or the nearer end of [low, high]; what lies beyond an end is cut off."""
    picture, values = canvas(), np.clip(np.asarray(values, np.float64), low, high)
    room = HEIGHT - 2 * MARGIN

    def y(value):
        return HEIGHT - MARGIN - room * (value - low) / (high - low)

    zero, slot = y(min(max(0.0, low), high)), (WIDTH - 2 * MARGIN) / len(values)
    for index, value in enumerate(values):
        left = MARGIN + (index + 0.15) * slot
        box(picture, (left, zero), (left + 0.7 * slot, y(value)), tiles.BLUE if value >= 0 else tiles.VERMILION)
    line(picture, (MARGIN, zero), (WIDTH - MARGIN, zero), 1.5, tiles.WALL)
    return picture


def table(values: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Returns a cell for each entry of float[R, C]: blue above 0, red below, white at 0.

    Args:
        values: the entries.
        largest: the size of the entries that have the full colour, by default that of the largest.
    """
    values = np.asarray(values, np.float64)
    share = np.clip(np.abs(values) / (largest or np.abs(values).max(initial=0.0) or 1.0), 0.0, 1.0)[..., None]
    colour = np.where(values[..., None] >= 0, np.array(tiles.BLUE), np.array(tiles.VERMILION))
    side = cell_side(values.shape)
    painted = np.round((1 - share) * 255 + share * colour).astype(np.uint8)
    picture = painted.repeat(side, axis=0).repeat(side, axis=1)
    if side >= SMALLEST_LINED:
        picture[::side], picture[:, ::side] = tiles.LINE, tiles.LINE
    return picture


def cell_side(shape: tuple[int, ...]) -> int:
    """Returns the side of a cell in a table of R x C, in pixels."""
    return int(np.clip(HEIGHT // max(shape), 2, LARGEST_CELL))


def mark(picture: np.ndarray, side: int, row: int, column: int, rows: int = 1, columns: int = 1) -> None:
    """Draws a frame around cells of a table whose cells have this side."""
    top, left = row * side, column * side
    part = picture[top : top + rows * side, left : left + columns * side]
    frame(part, tiles.DARK, max(2, side // 12))


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Returns pictures side by side, in the middle of a common height."""
    height = max(picture.shape[0] for picture in pictures) + 2 * MARGIN
    parts = [canvas(MARGIN, height)]
    for picture in pictures:
        part = canvas(picture.shape[1], height)
        top = (height - picture.shape[0]) // 2
        part[top : top + picture.shape[0]] = picture
        parts += [part, canvas(MARGIN, height)]
    return np.concatenate(parts, axis=1)


def gauges(*shares: float) -> np.ndarray:
    """Returns a horizontal gauge for each share in [0, 1], one below the other, as wide as they are filled."""
    rows = 40
    picture = canvas(WIDTH, rows * len(shares) + 2 * MARGIN)
    for index, (share, colour) in enumerate(zip(shares, COLOURS * len(shares), strict=False)):
        top, bottom = MARGIN + rows * index + 6, MARGIN + rows * (index + 1) - 6
        box(picture, (MARGIN, top), (WIDTH - MARGIN, bottom), tiles.LINE)
        box(picture, (MARGIN, top), (MARGIN + (WIDTH - 2 * MARGIN) * float(np.clip(share, 0.0, 1.0)), bottom), colour)
    return picture


def above(*pictures: np.ndarray) -> np.ndarray:
    """Returns pictures one below the other, in the middle of a common width."""
    return beside(*(picture.swapaxes(0, 1) for picture in pictures)).swapaxes(0, 1)


def ring(count: int, side: int = 288) -> np.ndarray:
    """Returns where so many nodes stand on a circle, clockwise from the top, float64[count, 2]."""
    angle = 2 * np.pi * np.arange(count) / count
    return side / 2 + (side / 2 - 2 * MARGIN) * np.stack([np.sin(angle), -np.cos(angle)], axis=-1)
