"""Mountain car: a car too weak for the hill before it must swing back and forth to reach the flag on top.

The left wall is inelastic. In the discrete task every step costs 1 and the car pushes left, not at all, or right; in the
continuous one a push costs a tenth of its square and the flag pays 100. Reaching the flag ends the episode.

Source: Moore (1990); constants and rules of Gymnasium's MountainCar-v0 and MountainCarContinuous-v0.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

MIN_POSITION, MAX_POSITION = -1.2, 0.6
MAX_SPEED = 0.07  # per step


@struct.dataclass
class Params:
    """All float32[] and traced, so that they can be randomised under vmap. Time is counted in steps."""

    force: jax.Array  # acceleration of a full push
    gravity: jax.Array  # acceleration on the steepest slope
    goal_position: jax.Array
    goal_speed: jax.Array  # the least speed that counts as reaching the goal


def reset(key, params):
    """Draws the position uniformly from [-0.6, -0.4], in the valley; the car stands still."""
    state = jnp.stack([jax.random.uniform(key, (), jnp.float32, -0.6, -0.4), jnp.float32(0.0)])
    return state, state


def _drive(state, push, params):
    """Returns the state after a push in [-1, 1], and whether the goal is reached."""
    position, speed = state
    speed = speed + push * params.force - params.gravity * jnp.cos(3 * position)
    speed = jnp.clip(speed, -MAX_SPEED, MAX_SPEED)
    position = jnp.clip(position + speed, MIN_POSITION, MAX_POSITION)
    speed = jnp.where((position <= MIN_POSITION) & (speed < 0), 0.0, speed)
    reached = (position >= params.goal_position) & (speed >= params.goal_speed)
    return jnp.stack([position, speed]), reached


def step(key, state, action, params):
    """Pushes left (0), not at all (1) or right (2); reward -1 for every step."""
    state, reached = _drive(state, action - 1, params)
    return Step(state, state, jnp.float32(-1.0), reached)


def step_continuous(key, state, action, params):
    """Pushes as hard as the action, cut to [-1, 1]; what is beyond the limits costs all the same."""
    state, reached = _drive(state, jnp.clip(action[0], -1.0, 1.0), params)
    return Step(state, state, jnp.where(reached, 100.0, 0.0) - 0.1 * action[0] ** 2, reached)


def _build(where, step_fn, action_space, force, gravity, goal_position, goal_speed, max_steps) -> Environment:
    for name, value in (("force", force), ("gravity", gravity)):
        require(value >= 0, where, f"{name} must not be negative", value, "Give its size; its direction is fixed.")
    must = f"goal_position must lie in ({MIN_POSITION}, {MAX_POSITION}]"
    require(MIN_POSITION < goal_position <= MAX_POSITION, where, must, goal_position, "Put the flag on the road.")
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "Give a number of steps.")
    params = Params(jnp.float32(force), jnp.float32(gravity), jnp.float32(goal_position), jnp.float32(goal_speed))
    road = Box((MIN_POSITION, -MAX_SPEED), (MAX_POSITION, MAX_SPEED), (2,))
    return Environment(params, reset, step_fn, road, action_space, max_steps=max_steps)


def make(
    force: float = 0.001,
    gravity: float = 0.0025,
    goal_position: float = 0.5,
    goal_speed: float = 0.0,
    max_steps: int = 200,
) -> Environment:
    """Builds mountain car. Actions: left, none, right. Observation: position and speed.

    Args:
        force: acceleration of a push, per step squared.
        gravity: acceleration on the steepest slope, per step squared.
        goal_position: where the flag is, in (-1.2, 0.6].
        goal_speed: the least speed at the flag that ends the episode.
        max_steps: the time limit (200 = MountainCar-v0).

    Raises:
        ConfigError: a number is out of range.
    """
    return _build("mountain_car", step, Discrete(3), force, gravity, goal_position, goal_speed, max_steps)


def make_continuous(
    force: float = 0.0015,
    gravity: float = 0.0025,
    goal_position: float = 0.45,
    goal_speed: float = 0.0,
    max_steps: int = 999,
) -> Environment:
    """Builds continuous mountain car. Action: a push in [-1, 1]. Observation: position and speed.

    Args:
        force: acceleration of a full push, per step squared.
        gravity: acceleration on the steepest slope, per step squared.
        goal_position: where the flag is, in (-1.2, 0.6].
        goal_speed: the least speed at the flag that ends the episode.
        max_steps: the time limit (999 = MountainCarContinuous-v0).

    Raises:
        ConfigError: a number is out of range.
    """
    push = Box(-1.0, 1.0, (1,))
    where = "mountain_car_continuous"
    return _build(where, step_continuous, push, force, gravity, goal_position, goal_speed, max_steps)
