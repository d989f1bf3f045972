"""Tag: slow predators hunt a quick prey among obstacles in the plane.

Each predator that touches the prey pays all predators 10 and costs the prey 10, in every step. The prey also pays for leaving
the square [-1, 1]^2: nothing within 0.9 of the middle, then 10 per metre up to 1, then exp(2 x - 2) up to 10, for each
coordinate x. Obstacles push away agents that touch them. There is no terminal state.

The agents are unequal: the predators come first, then the prey, which is smaller, stronger and quicker. Only predators see how
fast the prey is; its own observation is padded with zeros to their width.

Source: Lowe et al. (2017), "predator-prey", with the constants of their code.
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.markov_games import particles
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

CATCH = 10.0  # the reward for touching the prey


@struct.dataclass
class Params:
    """N agents, the prey last, and L obstacles."""

    radius: jax.Array  # float32[N + L], m, of agents and obstacles
    mass: jax.Array  # float32[N], kg
    force: jax.Array  # float32[N], N, of every action but standing still
    max_speed: jax.Array  # float32[N], m/s
    damping: jax.Array  # float32[], the share of the velocity that is lost in a step
    contact_force: jax.Array  # float32[], N/m, of penetration


def _observe(state):
    """float32[N, 4 + 2 L + 2 (N - 1) + 2]: ``particles.observe``, then the prey's velocity, zeros for the prey itself."""
    prey_velocity = jnp.broadcast_to(state.velocity[-1], state.velocity.shape).at[-1].set(0.0)
    return jnp.concatenate([particles.observe(state), prey_velocity], axis=-1)


def reset(key, params):
    """Draws agents and obstacles uniformly from the square [-1, 1]^2; the agents stand still."""
    agents = params.mass.shape[0]
    state = particles.at_rest(key, agents, params.radius.shape[0] - agents)
    return _observe(state), state


def leaving(position: jax.Array) -> jax.Array:
    """Returns what the prey pays for being at a place float32[2], float32[]."""
    far = jnp.abs(position)
    return jnp.where(far < 0.9, 0.0, jnp.where(far < 1.0, 10 * (far - 0.9), jnp.minimum(jnp.exp(2 * far - 2), 10.0))).sum()


def step(key, state, action, params):
    """Moves for one time step. Actions: stand still, left, right, down, up."""
    agents = params.mass.shape[0]
    everybody = jnp.concatenate([state.position, state.landmark])
    contact = particles.contact_forces(everybody, params.radius, params.contact_force)[:agents]
    force = params.force[:, None] * particles.directions(action) + contact
    state = particles.move(state, force, params.mass, params.damping, max_speed=params.max_speed)
    gap = particles.squared_length(state.position[:-1] - state.position[-1])
    caught = (gap < jnp.square(params.radius[: agents - 1] + params.radius[agents - 1])).sum().astype(jnp.float32)
    prey = jnp.arange(agents) == agents - 1
    reward = jnp.where(prey, -CATCH * caught - leaving(state.position[-1]), CATCH * caught)
    return Step(_observe(state), state, reward, jnp.bool_(False), {"caught": caught})


def make(
    num_predators: int = 3,
    num_obstacles: int = 2,
    predator_force: float = 3.0,
    prey_force: float = 4.0,
    predator_speed: float = 1.0,
    prey_speed: float = 1.3,
    damping: float = 0.25,
    contact_force: float = 100.0,
    max_steps: int = 25,
) -> Environment:
    """Builds tag. Actions: stand still, left, right, down, up. Observation: see ``_observe``.

    Args:
        num_predators: at least 1. num_obstacles: may be 0.
        predator_force, prey_force: of an action, N. predator_speed, prey_speed: the highest, m/s, positive.
        damping: share of the velocity lost in a step, in [0, 1].
        contact_force: N per m of penetration.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(num_predators >= 1, "tag", "num_predators must be at least 1", num_predators, "3 is usual.")
    require(num_obstacles >= 0, "tag", "num_obstacles must not be negative", num_obstacles, "2 is usual.")
    slowest = min(predator_speed, prey_speed)
    require(slowest > 0, "tag", "predator_speed and prey_speed must be positive", slowest, "1 and 1.3 are usual.")
    require(0 <= damping <= 1, "tag", "damping must lie in [0, 1]", damping, "It is a share; 0.25 is usual.")
    require(max_steps >= 1, "tag", "max_steps must be at least 1", max_steps, "25 is usual.")
    agents = num_predators + 1
    params = Params(
        radius=jnp.array([0.075] * num_predators + [0.05] + [0.2] * num_obstacles, jnp.float32),
        mass=jnp.ones(agents, jnp.float32),
        force=jnp.array([predator_force] * num_predators + [prey_force], jnp.float32),
        max_speed=jnp.array([predator_speed] * num_predators + [prey_speed], jnp.float32),
        damping=jnp.float32(damping),
        contact_force=jnp.float32(contact_force),
    )
    space = Box(-jnp.inf, jnp.inf, (4 + 2 * num_obstacles + 2 * (agents - 1) + 2,))
    roles = (0,) * num_predators + (1,)
    options = {"num_agents": agents, "roles": roles, "global_obs_fn": particles.global_obs}
    return Environment(params, reset, step, space, Discrete(5), max_steps, **options)
