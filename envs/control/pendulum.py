"""Pendulum: swing up a pendulum by a torque too weak to lift it at once, and hold it there.

The reward is minus the cost of angle (0 = upright), speed and torque. There is no terminal state.

Source: Gymnasium's Pendulum-v1: its constants and semi-implicit Euler step.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box
from jaxrl.errors import require

MAX_TORQUE = 2.0  # N m
MAX_SPEED = 8.0  # rad/s


@struct.dataclass
class Params:
    """Physical constants, all float32[] and traced, so that they can be randomised under vmap."""

    gravity: jax.Array  # m/s^2
    mass: jax.Array  # kg
    length: jax.Array  # m
    time_step: jax.Array  # s


def _observe(state):
    angle, speed = state
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])


def reset(key, params):
    """Draws the angle uniformly from [-pi, pi] rad and the speed from [-1, 1] rad/s."""
    state = jax.random.uniform(key, (2,), jnp.float32, -1.0, 1.0) * jnp.array([jnp.pi, 1.0], jnp.float32)
    return _observe(state), state


def step(key, state, action, params):
    """Applies a torque in N m for one time step; torques beyond the limits act, and cost, as the limits do."""
    angle, speed = state
    torque = jnp.clip(action[0], -MAX_TORQUE, MAX_TORQUE)
    from_upright = (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
    cost = from_upright**2 + 0.1 * speed**2 + 0.001 * torque**2
    inertia = params.mass * params.length**2 / 3
    weight = params.mass * params.gravity * params.length / 2
    speed = jnp.clip(speed + (weight * jnp.sin(angle) + torque) / inertia * params.time_step, -MAX_SPEED, MAX_SPEED)
    state = jnp.stack([angle + speed * params.time_step, speed])
    return Step(_observe(state), state, -cost, jnp.bool_(False))


def make(
    gravity: float = 10.0, mass: float = 1.0, length: float = 1.0, time_step: float = 0.05, max_steps: int = 200
) -> Environment:
    """Builds Pendulum. Action: a torque in [-2, 2] N m. Observation: cosine and sine of the angle, speed in rad/s.

    Args:
        gravity: m/s^2. mass: kg. length: m. time_step: s between decisions.
        max_steps: the time limit (200 = Pendulum-v1).

    Raises:
        ConfigError: the mass, the length, the time step or max_steps is not positive.
    """
    values = dict(gravity=gravity, mass=mass, length=length, time_step=time_step)
    for name in ("mass", "length", "time_step"):
        require(values[name] > 0, "pendulum", f"{name} must be positive", values[name], "Give a positive number.")
    require(max_steps >= 1, "pendulum", "max_steps must be at least 1", max_steps, "200 is the usual limit.")
    params = Params(**{name: jnp.float32(value) for name, value in values.items()})
    bound = (1.0, 1.0, MAX_SPEED)
    observation_space = Box(tuple(-high for high in bound), bound, (3,))
    return Environment(params, reset, step, observation_space, Box(-MAX_TORQUE, MAX_TORQUE, (1,)), max_steps=max_steps)
