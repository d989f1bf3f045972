"""Simple spread: N agents, pushed by forces in the plane, cover as many landmarks without talking to each other.

All are paid alike: minus the sum, over landmarks, of the distance of the nearest agent. Agents are discs that push each other
away where they touch (``particles``). There is no terminal state.

Source: Lowe et al. (2017), "cooperative navigation", with the constants and the order of the updates of their code. Later ports
(PettingZoo from simple_spread_v3 on, JaxMARL) move by the velocity before the step: that is ``lagging=True``, and a harder task.
"""

import jax
import jax.numpy as jnp
from flax import struct

from envs.markov_games import particles
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require


@struct.dataclass
class Params:
    """N agents and L landmarks; all traced, so that they can be randomised under vmap."""

    mass: jax.Array  # float32[N], kg
    radius: jax.Array  # float32[N], m
    weight: jax.Array  # float32[L], what a metre of distance to each landmark costs
    force: jax.Array  # float32[], N, of every action but standing still; with continuous ones, along each axis at most
    damping: jax.Array  # float32[], the share of the velocity that is lost in a step
    contact_force: jax.Array  # float32[], N/m, of penetration
    collision_penalty: jax.Array  # float32[], paid by all for every pair of agents that touch after the step
    lagging: jax.Array  # bool[], positions follow from the velocity before the step rather than after it


def reset(key, params):
    """Draws agents and landmarks uniformly from the square [-1, 1]^2; the agents stand still."""
    state = particles.at_rest(key, params.mass.shape[0], params.weight.shape[0])
    return particles.observe(state), state


def nearest_distances(state):
    """Returns how far the nearest agent is from each landmark, float32[L], in m."""
    return jnp.sqrt(jnp.square(state.position[:, None] - state.landmark).sum(-1).min(0))


def step(key, state, action, params):
    """Moves for one time step. Actions: stand still, left, right, down, up."""
    return pushed(state, particles.directions(action), params)


def step_anywhere(key, state, action, params):
    """Moves for one time step. action: float32[N, 2], the share of the force to the right and upwards, in [-1, 1]."""
    return pushed(state, action, params)


def pushed(state, direction, params):
    """Moves for one time step by forces along ``direction``, float32[N, 2], and where agents touch."""
    contact = particles.contact_forces(state.position, params.radius, params.contact_force)
    force = params.force * direction + contact
    state = particles.move(state, force, params.mass, params.damping, params.lagging)
    pairs = particles.touching_pairs(state.position, params.radius)
    reward = -(params.weight * nearest_distances(state)).sum() - params.collision_penalty * pairs
    return Step(
        particles.observe(state), state, jnp.broadcast_to(reward, params.mass.shape), jnp.bool_(False), {"touching_pairs": pairs}
    )


def make(
    num_agents: int = 3,
    num_landmarks: int = 3,
    mass: float = 1.0,
    radius: float = 0.15,
    force: float = 5.0,
    damping: float = 0.25,
    contact_force: float = 100.0,
    collision_penalty: float = 0.0,
    lagging: bool = False,
    max_steps: int = 25,
    continuous: bool = False,
) -> Environment:
    """Builds simple spread. Actions: stand still, left, right, down, up; if continuous, see ``step_anywhere``. Observation: see
    ``particles.observe``.

    Args:
        num_agents, num_landmarks: how many.
        mass: of an agent, kg. radius: of an agent, m. force: of an action, N.
        damping: share of the velocity lost in a step, in [0, 1].
        contact_force: N per m of penetration.
        collision_penalty: what every pair that touches costs all, in each step.
        lagging: whether positions follow from the velocity before the step, see above.
        max_steps: the time limit.
        continuous: whether an action is a force of any size up to ``force`` along each axis, or one of five.

    Raises:
        ConfigError: one of them is out of range.
    """
    for name, count in (("num_agents", num_agents), ("num_landmarks", num_landmarks), ("max_steps", max_steps)):
        require(count >= 1, "simple_spread", f"{name} must be at least 1", count, "3, 3 and 25 are usual.")
    require(mass > 0, "simple_spread", "mass must be positive", mass, "1 is usual.")
    require(radius >= 0, "simple_spread", "radius must not be negative", radius, "0 makes points.")
    require(0 <= damping <= 1, "simple_spread", "damping must lie in [0, 1]", damping, "It is a share; 0.25 is usual.")
    params = Params(
        mass=jnp.full(num_agents, mass, jnp.float32),
        radius=jnp.full(num_agents, radius, jnp.float32),
        weight=jnp.ones(num_landmarks, jnp.float32),
        force=jnp.float32(force),
        damping=jnp.float32(damping),
        contact_force=jnp.float32(contact_force),
        collision_penalty=jnp.float32(collision_penalty),
        lagging=jnp.bool_(lagging),
    )
    features = 4 + 2 * num_landmarks + 2 * (num_agents - 1)
    observation_space = Box(-jnp.inf, jnp.inf, (features,))
    return Environment(
        params,
        reset,
        step_anywhere if continuous else step,
        observation_space,
        Box(-1.0, 1.0, (2,)) if continuous else Discrete(5),
        max_steps=max_steps,
        num_agents=num_agents,
        global_obs_fn=particles.global_obs,
    )
