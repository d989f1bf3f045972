"""Acrobot: a double pendulum that is driven at the elbow alone swings its tip above a line one link's length over the pivot.

Every step costs 1 but the last one, on which the tip is above the line and the episode ends.

Source: Sutton (1996); equations of Sutton and Barto (1998), section 11.3; constants and the Runge-Kutta step of Gymnasium's
Acrobot-v1.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

MAX_SPEEDS = (4 * jnp.pi, 9 * jnp.pi)  # rad/s, of the first and of the second link


@struct.dataclass
class Params:
    """Physical constants, all float32[] and traced, so that they can be randomised under vmap."""

    gravity: jax.Array  # m/s^2
    mass_1: jax.Array  # kg, of the first link
    mass_2: jax.Array  # kg
    length_1: jax.Array  # m; the length of the second link plays no part
    centre_1: jax.Array  # m, from the joint to the link's centre of mass
    centre_2: jax.Array  # m
    inertia: jax.Array  # kg m^2, of each link
    torque: jax.Array  # N m
    time_step: jax.Array  # s


def _observe(state):
    angle_1, angle_2, speed_1, speed_2 = state
    return jnp.stack([jnp.cos(angle_1), jnp.sin(angle_1), jnp.cos(angle_2), jnp.sin(angle_2), speed_1, speed_2])


def reset(key, params):
    """Draws both angles (0 = hanging down, the second relative to the first) and both speeds uniformly from [-0.1, 0.1]."""
    state = jax.random.uniform(key, (4,), jnp.float32, -0.1, 0.1)
    return _observe(state), state


def _derivative(state, torque, params):
    angle_1, angle_2, speed_1, speed_2 = state
    lever = params.mass_2 * params.length_1 * params.centre_2
    inertia_2 = params.mass_2 * params.centre_2**2 + params.inertia
    d2 = inertia_2 + lever * jnp.cos(angle_2)
    d1 = params.mass_1 * params.centre_1**2 + params.mass_2 * params.length_1**2 + params.inertia + d2 + lever * jnp.cos(angle_2)
    weight_1 = (params.mass_1 * params.centre_1 + params.mass_2 * params.length_1) * params.gravity
    phi2 = params.mass_2 * params.centre_2 * params.gravity * jnp.sin(angle_1 + angle_2)
    phi1 = phi2 + weight_1 * jnp.sin(angle_1) - lever * speed_2 * (speed_2 + 2 * speed_1) * jnp.sin(angle_2)
    drive = torque + d2 / d1 * phi1 - lever * speed_1**2 * jnp.sin(angle_2) - phi2
    acceleration_2 = drive / (inertia_2 - d2**2 / d1)
    return jnp.stack([speed_1, speed_2, -(d2 * acceleration_2 + phi1) / d1, acceleration_2])


def step(key, state, action, params):
    """Applies a torque of -1, 0 or 1 times ``params.torque`` for one time step, integrated by one Runge-Kutta step of order 4."""
    torque, time_step = (action - 1) * params.torque, params.time_step
    slope_1 = _derivative(state, torque, params)
    slope_2 = _derivative(state + time_step / 2 * slope_1, torque, params)
    slope_3 = _derivative(state + time_step / 2 * slope_2, torque, params)
    slope_4 = _derivative(state + time_step * slope_3, torque, params)
    state = state + time_step / 6 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4)
    limit = jnp.array(MAX_SPEEDS, jnp.float32)
    state = jnp.concatenate([(state[:2] + jnp.pi) % (2 * jnp.pi) - jnp.pi, jnp.clip(state[2:], -limit, limit)])
    terminated = -jnp.cos(state[0]) - jnp.cos(state[0] + state[1]) > 1.0
    return Step(_observe(state), state, jnp.where(terminated, 0.0, jnp.float32(-1.0)), terminated)


def make(
    gravity: float = 9.8,
    mass_1: float = 1.0,
    mass_2: float = 1.0,
    length_1: float = 1.0,
    centre_1: float = 0.5,
    centre_2: float = 0.5,
    inertia: float = 1.0,
    torque: float = 1.0,
    time_step: float = 0.2,
    max_steps: int = 500,
) -> Environment:
    """Builds Acrobot. Actions: torque to one side, none, to the other. Observation: cosine and sine of both angles, both speeds.

    Args:
        gravity: m/s^2. mass_1, mass_2: kg, of the links. length_1: m, of the first link.
        centre_1, centre_2: m, from each link's joint to its centre of mass. inertia: kg m^2, of each link.
        torque: N m. time_step: s between decisions.
        max_steps: the time limit (500 = Acrobot-v1).

    Raises:
        ConfigError: a mass, a length, the inertia or the time step is not positive.
    """
    values = dict(
        gravity=gravity,
        mass_1=mass_1,
        mass_2=mass_2,
        length_1=length_1,
        centre_1=centre_1,
        centre_2=centre_2,
        inertia=inertia,
        torque=torque,
        time_step=time_step,
    )
    for name in ("mass_1", "mass_2", "length_1", "centre_1", "centre_2", "inertia", "time_step"):
        require(values[name] > 0, "acrobot", f"{name} must be positive", values[name], "Give a positive number.")
    require(max_steps >= 1, "acrobot", "max_steps must be at least 1", max_steps, "500 is the usual limit.")
    params = Params(**{name: jnp.float32(value) for name, value in values.items()})
    high = (1.0, 1.0, 1.0, 1.0, *MAX_SPEEDS)
    return Environment(params, reset, step, Box(tuple(-bound for bound in high), high, (6,)), Discrete(3), max_steps=max_steps)
