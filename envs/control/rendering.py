"""Pictures of control tasks: one function ``(state, params) -> uint8[H, W, 3]`` each, on the host, drawn to scale."""

import numpy as np

from envs import charts, tiles
from envs.control import acrobot, cartpole, lqr, mountain_car, pendulum

CART_SCALE, CART_SEEN, CART_GROUND = 60.0, 2.7, 150  # pixels a metre; metres to either side; y of the ground
ARM = 84.0  # pixels, of the whole arm of a pendulum or of both links of an acrobot
HILL = (-1.2, 0.6)  # positions, from the wall to the right end
FULL_SPEED = 0.07  # of a car, drawn as the longest arrow


def cart(state, params: cartpole.Params) -> np.ndarray:
    """Cart and pole. The marks on the ground are where the episode ends; a red pole leans further than it may."""
    picture = charts.canvas(round(2 * CART_SEEN * CART_SCALE), 192)
    position, _, angle, _ = np.asarray(state, np.float64)
    middle = CART_SEEN * CART_SCALE

    charts.line(picture, (0, CART_GROUND), (picture.shape[1], CART_GROUND), 2, tiles.WALL)
    for limit in (-cartpole.POSITION_LIMIT, cartpole.POSITION_LIMIT):
        x = middle + limit * CART_SCALE
        charts.line(picture, (x, CART_GROUND - 12), (x, CART_GROUND + 12), 3, tiles.WALL)
    x, top = middle + position * CART_SCALE, CART_GROUND - 28
    charts.box(picture, (x - 24, top), (x + 24, CART_GROUND - 6), tiles.BLUE)
    for wheel in (x - 14, x + 14):
        tiles.disc(picture, (wheel, CART_GROUND - 6), 6, tiles.SHADE)
    length = 2 * float(params.half_length) * CART_SCALE
    lean = tiles.VERMILION if abs(angle) > float(cartpole.ANGLE_LIMIT) else tiles.ORANGE
    charts.line(picture, (x, top), (x + length * np.sin(angle), top - length * np.cos(angle)), 8, lean)
    tiles.disc(picture, (x, top), 5, tiles.DARK)
    return picture


def _links(angles: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture with a joint in its middle and links of this length in pixels; angles in rad from straight down.

    Also the places of the joints and of the end, (x, y).
    """
    picture = charts.canvas(224, 224)
    steps = length * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    places = np.concatenate([[[112.0, 112.0]], 112.0 + np.cumsum(steps, axis=0)])
    charts.path(picture, places, 12, tiles.BLUE)
    for place in places[:-1]:
        tiles.disc(picture, place, 5, tiles.WHITE)
    tiles.disc(picture, places[-1], 9, tiles.VERMILION)
    return picture, places


def swing(state, params: pendulum.Params) -> np.ndarray:
    """The pendulum; the faint line is upright. A dot runs ahead of its end as fast as it swings."""
    angle, speed = np.asarray(state, np.float64)  # from upright
    picture, places = _links(np.array([np.pi - angle]), ARM)
    charts.line(picture, (112, 112), (112, 112 - ARM), 2, tiles.GREEN, 0.35)
    ahead = np.pi - (angle + 0.05 * speed)
    tiles.disc(picture, (112 + ARM * np.sin(ahead), 112 + ARM * np.cos(ahead)), 4, tiles.ORANGE)
    tiles.disc(picture, places[0], 5, tiles.DARK)
    return picture


def two_links(state, params: acrobot.Params) -> np.ndarray:
    """Both links, drawn equally long, and the height that the end must reach."""
    first, second = np.asarray(state, np.float64)[:2]
    picture, _ = _links(np.array([first, first + second]), ARM / 2)
    charts.line(picture, (16, 112 - ARM / 2), (208, 112 - ARM / 2), 2, tiles.GREEN)
    return picture


def hill(state, params: mountain_car.Params) -> np.ndarray:
    """The hill, the car and the flag; the dot ahead of the car shows its speed."""
    picture = charts.canvas()
    position, speed = np.asarray(state, np.float64)
    low, high = HILL

    def place(x, above=0.0):
        width = charts.WIDTH - 2 * charts.MARGIN
        return charts.MARGIN + width * (x - low) / (high - low), 128 - 72 * np.sin(3 * x) - above

    charts.path(picture, [place(x) for x in np.linspace(low, high, 61)], 3, tiles.WALL)
    goal = float(params.goal_position)
    charts.line(picture, place(goal), place(goal, 34), 3, tiles.DARK)
    (x, y), _ = place(goal, 34), None
    charts.box(picture, (x, y), (x + 18, y + 12), tiles.GREEN)
    tiles.disc(picture, place(position, 10), 10, tiles.BLUE)
    tiles.disc(picture, place(float(np.clip(position + 0.15 * speed / FULL_SPEED, low, high)), 10), 3.5, tiles.ORANGE)
    return picture


def coordinates(state, params: lqr.Params) -> np.ndarray:
    """A bar for each coordinate of the state; the full height is twice the largest first one."""
    span = 2.0 * max(float(params.start), 1e-6)
    return charts.bars(state, -span, span)
