"""CartPole: keep a pole upright on a cart that is pushed left or right.

Source: Barto, Sutton and Anderson (1983), with the constants and the explicit Euler step of Gymnasium's CartPole-v1.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

ANGLE_LIMIT = 12 * 2 * jnp.pi / 360  # rad
POSITION_LIMIT = 2.4  # m


@struct.dataclass
class Params:
    """Physical constants, all float32[] and traced, so that they can be randomised under vmap."""

    gravity: jax.Array  # m/s^2
    mass_cart: jax.Array  # kg
    mass_pole: jax.Array  # kg
    half_length: jax.Array  # m, half the length of the pole
    force: jax.Array  # N
    time_step: jax.Array  # s


def reset(key, params):
    """Draws position, velocity, angle and angular velocity uniformly from [-0.05, 0.05]."""
    state = jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05)
    return state, state


def step(key, state, action, params):
    """Pushes once; reward 1 for every step, also the one on which the pole falls."""
    position, velocity, angle, angular_velocity = state
    force = jnp.where(action == 1, params.force, -params.force)
    mass = params.mass_cart + params.mass_pole
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    pull = (force + params.mass_pole * params.half_length * angular_velocity**2 * sine) / mass
    leverage = params.half_length * (4.0 / 3.0 - params.mass_pole * cosine**2 / mass)
    angular_acceleration = (params.gravity * sine - cosine * pull) / leverage
    acceleration = pull - params.mass_pole * params.half_length * angular_acceleration * cosine / mass
    state = jnp.stack(
        [
            position + params.time_step * velocity,
            velocity + params.time_step * acceleration,
            angle + params.time_step * angular_velocity,
            angular_velocity + params.time_step * angular_acceleration,
        ]
    )
    terminated = (jnp.abs(state[0]) > POSITION_LIMIT) | (jnp.abs(state[2]) > ANGLE_LIMIT)
    return Step(state, state, jnp.float32(1.0), terminated)


def make(
    gravity: float = 9.8,
    mass_cart: float = 1.0,
    mass_pole: float = 0.1,
    half_length: float = 0.5,
    force: float = 10.0,
    time_step: float = 0.02,
    max_steps: int = 500,
) -> Environment:
    """Builds CartPole.

    Args:
        gravity: m/s^2. mass_cart, mass_pole: kg. half_length: half the pole's length in m. force: of a push, N.
        time_step: s between decisions.
        max_steps: the time limit (500 = CartPole-v1).

    Raises:
        ConfigError: a mass, the length or the time step is not positive.
    """
    values = dict(
        gravity=gravity, mass_cart=mass_cart, mass_pole=mass_pole, half_length=half_length, force=force, time_step=time_step
    )
    for name in ("mass_cart", "mass_pole", "half_length", "time_step"):
        require(values[name] > 0, "cartpole", f"{name} must be positive", values[name], "Give a positive number.")
    require(max_steps >= 1, "cartpole", "max_steps must be at least 1", max_steps, "500 is the usual limit.")
    params = Params(**{name: jnp.float32(value) for name, value in values.items()})
    high = (2 * POSITION_LIMIT, float("inf"), 2 * float(ANGLE_LIMIT), float("inf"))
    low = tuple(-bound for bound in high)
    return Environment(params, reset, step, Box(low, high, (4,)), Discrete(2), max_steps=max_steps)
