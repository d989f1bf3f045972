"""The Ising model as a game: agents on a torus point up or down, and are paid for agreeing with their four neighbours.

    reward_i = coupling / 2  sum_{j next to i} a_i a_j,    a = -1 or 1

All choose at the same time. The sum of all rewards is minus the energy of the physicist's model, whose spins agree below a
critical temperature and disagree above it; ``metropolis`` plays that model, turning one spin after another. Turning changes the
energy by twice as much as the agent's own reward, since its neighbours are paid too: one that chooses by a Boltzmann policy in
its own reward, at temperature T, behaves like a spin at temperature 2 T. There is no terminal state.

Source: Yang et al. (2018), "Mean field multi-agent reinforcement learning", section 5.2; Onsager (1944) and Yang (1952) for
``exact_order``.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require

CRITICAL_TEMPERATURE = 2 / math.log(1 + math.sqrt(2))  # in units of the coupling, on an infinite board


@struct.dataclass
class Params:
    up: jax.Array  # float32[n, n], the probability in [0, 1] with which each agent points up at first
    coupling: jax.Array  # float32[], of two neighbours


def neighbour_sum(spin: jax.Array) -> jax.Array:
    """Returns the sum of the four neighbours' spins on the torus. spin: [n, n]; [n, n]."""
    return sum(jnp.roll(spin, shift, axis) for axis in (0, 1) for shift in (-1, 1))  # type: ignore[return-value]


def _observe(spin):
    """int32[n * n], how many of its neighbours each agent sees pointing up."""
    return ((neighbour_sum(spin) + 4) // 2).reshape(-1)


def global_obs(state, params):
    """float32[n * n], all spins."""
    return state.reshape(-1).astype(jnp.float32)


def order(spin: jax.Array) -> jax.Array:
    """Returns the order parameter, the absolute value of the mean spin, in [0, 1]. spin: [..., n, n]; float32[...]."""
    return jnp.abs(spin.astype(jnp.float32).mean((-2, -1)))


def reset(key, params):
    """Draws all spins independently. The state is int32[n, n], -1 or 1."""
    spin = jnp.where(jax.random.uniform(key, params.up.shape, jnp.float32) < params.up, 1, -1).astype(jnp.int32)
    return _observe(spin), spin


def step(key, state, action, params):
    """Turns all spins at the same time. Actions: down, up."""
    spin = (2 * action - 1).reshape(state.shape)
    reward = params.coupling / 2 * (spin * neighbour_sum(spin)).reshape(-1)
    return Step(_observe(spin), spin, reward, jnp.bool_(False), {"order": order(spin)})


def metropolis(key: jax.Array, spin: jax.Array, temperature: jax.Array | float, num_sweeps: int) -> tuple[jax.Array, jax.Array]:
    """Plays the physicist's model: spins turn one after another, with probability min(1, exp(-energy it costs / temperature)).

    A sweep visits the white cells of the board like a chess board's, then the black ones, which are no neighbours of each other.

    Args:
        key: one key.
        spin: int32[n, n], n even.
        temperature: positive, in units of the coupling.
        num_sweeps: how many.

    Returns:
        The spins after the last sweep, and the order parameter after each, float32[num_sweeps].
    """
    require(spin.shape[0] % 2 == 0, "ising.metropolis", "the board must have an even size", spin.shape, "Add a row and a column.")
    colour = jnp.indices(spin.shape).sum(0) % 2

    def sweep(spin, key):
        for half, draw in enumerate(jax.random.uniform(key, (2, *spin.shape), jnp.float32)):
            turns = draw < jnp.exp(-2 * spin * neighbour_sum(spin) / temperature)
            spin = jnp.where(turns & (colour == half), -spin, spin)
        return spin, order(spin)

    return jax.lax.scan(sweep, spin, jax.random.split(key, num_sweeps))


def exact_order(temperature: float) -> float:
    """Returns the order parameter of an infinite board: (1 - sinh(2 / T)^-4)^(1/8) below the critical temperature, else 0."""
    return (1 - math.sinh(2 / temperature) ** -4) ** 0.125 if temperature < CRITICAL_TEMPERATURE else 0.0


def make(size: int = 20, coupling: float = 1.0, up: float = 0.5, max_steps: int = 100) -> Environment:
    """Builds the game of size x size agents. Actions: down, up. Observation: how many of the four neighbours point up.

    Args:
        size: rows and columns of the torus, at least 3.
        coupling: of two neighbours.
        up: probability in [0, 1] that an agent points up at first.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(size >= 3, "ising", "size must be at least 3, for four neighbours", size, "20 is the default.")
    require(0 <= up <= 1, "ising", "up must lie in [0, 1]", up, "It is a probability; 0.5 is the default.")
    require(max_steps >= 1, "ising", "max_steps must be at least 1", max_steps, "100 is the default.")
    params = Params(jnp.full((size, size), up, jnp.float32), jnp.float32(coupling))
    return Environment(params, reset, step, Discrete(5), Discrete(2), max_steps, num_agents=size * size, global_obs_fn=global_obs)
