"""Tiles: what the pictures of boards are put together from. Pure NumPy on the host.

A picture is ``uint8[H, W, 3]``, RGB. A shape says how much of each pixel of a tile it covers; shapes are drawn once, sixteen
samples to a pixel, so that edges are smooth, and then looked up.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

TILE = 32  # pixels, the side of a tile
SAMPLES = 4  # per pixel and axis

Colour = tuple[int, int, int]
Place = Sequence[int] | np.ndarray  # (row, column)

# Okabe & Ito (2008), "Color Universal Design": told apart with every common form of colour blindness.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, YELLOW = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
)
FLOOR, LINE, WALL, SHADE, DARK, WHITE = (
    (246, 246, 243),
    (222, 222, 216),
    (74, 80, 92),
    (52, 57, 66),
    (28, 32, 38),
    (255, 255, 255),
)
ICE, WATER, LAVA, CLIFF, FIELD = (222, 238, 248), (28, 66, 110), (226, 88, 34), (118, 82, 62), (92, 158, 92)

# ---- shapes: which points (x to the right, y down, both in [0, 1]) belong to them


def _disc(x, y, radius=0.34):
    return (x - 0.5) ** 2 + (y - 0.5) ** 2 <= radius**2


def _square(x, y, margin=0.0):
    return (np.minimum(x, y) >= margin) & (np.maximum(x, y) <= 1 - margin)


def _polygon(x, y, corners):
    """Even-odd rule: a point is inside if a line from it to the right crosses the border an odd number of times."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _turned(shape: Callable, quarters: int) -> Callable:
    """Turns a shape that points to the right clockwise."""

    def turned(x, y):
        for _ in range(quarters):
            x, y = y, 1 - x
        return shape(x, y)

    return turned


def _triangle(x, y):
    return _polygon(x, y, [(0.18, 0.18), (0.86, 0.5), (0.18, 0.82), (0.34, 0.5)])


def _chevron(x, y):
    return _polygon(x, y, [(0.34, 0.2), (0.5, 0.2), (0.76, 0.5), (0.5, 0.8), (0.34, 0.8), (0.6, 0.5)])


def _star(x, y):
    corners = []
    for point in range(10):
        angle, radius = math.pi * (point / 5 - 0.5), (0.42, 0.18)[point % 2]
        corners.append((0.5 + radius * math.cos(angle), 0.53 + radius * math.sin(angle)))
    return _polygon(x, y, corners)


def _key(x, y):
    bow = ((x - 0.3) ** 2 + (y - 0.5) ** 2 <= 0.17**2) & ((x - 0.3) ** 2 + (y - 0.5) ** 2 >= 0.08**2)
    shaft = (x >= 0.44) & (x <= 0.86) & (np.abs(y - 0.5) <= 0.045)
    return bow | shaft | (((np.abs(x - 0.7) <= 0.04) | (np.abs(x - 0.82) <= 0.04)) & (y >= 0.5) & (y <= 0.66))


def _wave(x, y):
    return np.abs((y * 3) % 1 - 0.5 - 0.18 * np.sin(4 * math.pi * x)) <= 0.13


def _stripes(x, y):
    return ((x + y) * 3) % 1 < 0.42


def _brick(x, y):
    row = np.floor(y * 3)
    return (np.abs(y * 3 - np.round(y * 3)) < 0.09) | (np.abs((x * 2 + 0.5 * row) % 1 - 0.5) < 0.045)


SHAPES: dict[str, Callable] = {
    "square": _square,
    "block": functools.partial(_square, margin=0.12),
    "frame": lambda x, y: _square(x, y, 0.06) & ~_square(x, y, 0.14),
    "slab": lambda x, y: (x >= 0.04) & (x <= 0.96) & (y >= 0.62) & (y <= 0.9),
    "disc": _disc,
    "dot": functools.partial(_disc, radius=0.13),
    "pool": functools.partial(_disc, radius=0.42),
    "ring": lambda x, y: _disc(x, y, 0.4) & ~_disc(x, y, 0.31),
    "star": _star,
    "key": _key,
    "wave": _wave,
    "stripes": _stripes,
    "brick": _brick,
    "cross": lambda x, y: _square(x, y, 0.16) & (np.minimum(np.abs(x - y), np.abs(x + y - 1)) <= 0.11),
    "leaf": lambda x, y: (x >= 0.86) & _square(x, y, 0.0),
    **{f"agent {heading}": _turned(_triangle, heading) for heading in range(4)},  # 0 .. 3: right, down, left, up
    **{f"arrow {heading}": _turned(_chevron, heading) for heading in range(4)},
}


@functools.cache
def coverage(shape: str) -> np.ndarray:
    """Returns how much of each pixel of a tile a shape covers, float64[TILE, TILE] in [0, 1]."""
    places = (np.arange(TILE * SAMPLES) + 0.5) / (TILE * SAMPLES)
    x, y = np.meshgrid(places, places)
    inside = SHAPES[shape](x, y).astype(np.float64)
    cover = inside.reshape(TILE, SAMPLES, TILE, SAMPLES).mean((1, 3))
    cover.flags.writeable = False
    return cover


def blend(colour: Colour, other: Colour, share: float) -> Colour:
    """Returns a colour with this share of another, in [0, 1]."""
    red, green, blue = (round(one + share * (two - one)) for one, two in zip(colour, other, strict=True))
    return red, green, blue


class Board:
    """A board of R x C tiles that is painted cell by cell."""

    def __init__(self, rows: int, columns: int, colour: Colour = FLOOR):
        self.picture = np.empty((rows * TILE, columns * TILE, 3), np.uint8)
        self.picture[:] = colour

    def _tile(self, place: Place) -> np.ndarray:
        row, column = (int(each) * TILE for each in place)
        return self.picture[row : row + TILE, column : column + TILE]

    def draw(self, place: Place, shape: str, colour: Colour, opacity: float = 1.0) -> None:
        """Draws a shape into the cell at (row, column)."""
        tile, share = self._tile(place), opacity * coverage(shape)[..., None]
        tile[:] = np.round((1 - share) * tile + share * np.array(colour, np.float64)).astype(np.uint8)

    def fill(self, place: Place, colour: Colour, line: Colour | None = LINE) -> None:
        """Fills the cell at (row, column), with a thin line around it."""
        tile = self._tile(place)
        tile[:] = colour
        if line is not None:
            tile[0], tile[:, 0] = line, line

    def wall(self, place: Place) -> None:
        """Builds a wall in the cell at (row, column)."""
        self.fill(place, WALL, None)
        self.draw(place, "brick", SHADE)

    def goal(self, place: Place) -> None:
        """Marks the cell at (row, column) as the goal."""
        self.fill(place, blend(FLOOR, GREEN, 0.35))
        self.draw(place, "star", GREEN)

    def agent(self, place: Place, colour: Colour = BLUE, heading: int | None = None, shape: str = "disc") -> None:
        """Draws an agent at (row, column); a heading (0 .. 3: right, down, left, up) makes it an arrow head."""
        self.draw(place, shape if heading is None else f"agent {heading}", colour)
        if heading is None and shape == "disc":
            self.draw(place, "dot", WHITE, 0.85)


def disc(picture: np.ndarray, centre: Sequence[float] | np.ndarray, radius: float, colour: Colour, opacity: float = 1.0) -> None:
    """Draws a disc with a smooth edge into a picture; centre (x, y) and radius in pixels. The part outside is cut off."""
    reach = radius + 0.5
    left, top = (max(int(middle - reach), 0) for middle in centre)
    right, bottom = (max(int(middle + reach) + 1, 0) for middle in centre)
    part = picture[top:bottom, left:right]  # nothing else changes
    x, y = np.meshgrid(left + np.arange(part.shape[1]) + 0.5, top + np.arange(part.shape[0]) + 0.5)
    share = opacity * np.clip(reach - np.hypot(x - centre[0], y - centre[1]), 0.0, 1.0)[..., None]
    part[:] = np.round((1 - share) * part + share * np.array(colour, np.float64)).astype(np.uint8)
