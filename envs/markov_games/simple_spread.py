"""Simple spread: N agents, pushed by forces in the plane, cover as many landmarks without talking to each other.

All are paid alike: minus the sum, over landmarks, of the distance of the nearest agent. Agents are discs that push each other
away where they touch. There is no terminal state.

    v <- (1 - damping) v + (u + F) / m dt
    x <- x + v dt

with u the chosen force and F the contact forces, from the positions before the step.

Source: Lowe et al. (2017), "cooperative navigation", with the constants and the order of the updates of their code. Later ports
(PettingZoo from simple_spread_v3 on, JaxMARL) move by the velocity before the step: that is ``lagging=True``, and a harder task.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.env import Environment, Step
from jaxrl.errors import require
from jaxrl.spaces import Box, Discrete

TIME_STEP = 0.1  # s
CONTACT_MARGIN = 1e-3  # m, over which contact forces set in


@struct.dataclass
class Params:
    """N agents and L landmarks; all traced, so that they can be randomised under vmap."""

    mass: jax.Array  # float32[N], kg
    radius: jax.Array  # float32[N], m
    weight: jax.Array  # float32[L], what a metre of distance to each landmark costs
    force: jax.Array  # float32[], N, of every action but standing still
    damping: jax.Array  # float32[], the share of the velocity that is lost in a step
    contact_force: jax.Array  # float32[], N/m, of penetration
    collision_penalty: jax.Array  # float32[], paid by all for every pair of agents that touch after the step
    lagging: jax.Array  # bool[], positions follow from the velocity before the step rather than after it


class State(NamedTuple):
    """position: float32[N, 2], m. velocity: float32[N, 2], m/s. landmark: float32[L, 2], m."""

    position: jax.Array
    velocity: jax.Array
    landmark: jax.Array


def _observe(state):
    """float32[N, 4 + 2 L + 2 (N - 1)]: own velocity and position, then landmarks and other agents as seen from oneself."""
    agents = state.position.shape[0]
    landmarks = (state.landmark - state.position[:, None]).reshape(agents, -1)
    others = without_diagonal(state.position - state.position[:, None]).reshape(agents, -1)
    return jnp.concatenate([state.velocity, state.position, landmarks, others], axis=-1)


def without_diagonal(pairs):
    """Returns [N, N - 1, ...], the rows of [N, N, ...] without their own entry; a reshaping, so it costs no look-ups."""
    size, rest = pairs.shape[0], pairs.shape[2:]
    return pairs.reshape(size * size, *rest)[1:].reshape(size - 1, size + 1, *rest)[:, :-1].reshape(size, size - 1, *rest)


def global_obs(state, params):
    """float32[4 N + 2 L]: all positions, velocities and landmarks."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in state])


def reset(key, params):
    """Draws agents and landmarks uniformly from the square [-1, 1]^2; the agents stand still."""
    agents, landmarks = params.mass.shape[0], params.weight.shape[0]
    points = jax.random.uniform(key, (agents + landmarks, 2), jnp.float32, -1.0, 1.0)
    state = State(points[:agents], jnp.zeros((agents, 2), jnp.float32), points[agents:])
    return _observe(state), state


def _pairs(position, params):
    """Yields each agent paired with the one ``shift`` places before it: where it is from there, and how far both reach.

    Together these are all ordered pairs, without those of an agent with itself. Whole arrays are shifted: measured on 1024
    environments, 1.3 times as many steps/s as with a table of all pairs.
    """
    for shift in range(1, position.shape[0]):
        yield position - jnp.roll(position, shift, 0), params.radius + jnp.roll(params.radius, shift)


def contact_forces(position, params):
    """Returns the force on each agent by those it touches, float32[N, 2], in N."""
    force = jnp.zeros_like(position)
    for delta, reach in _pairs(position, params):
        distance = jnp.sqrt(_squared_length(delta))
        overlap = (reach - distance) / CONTACT_MARGIN
        # log(1 + exp(overlap)), which cannot overflow when it is written like this
        penetration = CONTACT_MARGIN * (jnp.maximum(overlap, 0) + jnp.log1p(jnp.exp(-jnp.abs(overlap))))
        force += (params.contact_force * penetration / jnp.maximum(distance, 1e-12))[:, None] * delta
    return force


def touching_pairs(position, params):
    """Returns how many pairs of agents overlap, float32[]."""
    ordered = jnp.zeros(position.shape[0], jnp.float32)
    for delta, reach in _pairs(position, params):
        ordered += (_squared_length(delta) < jnp.square(reach)).astype(jnp.float32)
    return ordered.sum() / 2


def _squared_length(vector):
    return vector[:, 0] * vector[:, 0] + vector[:, 1] * vector[:, 1]


def nearest_distances(state):
    """Returns how far the nearest agent is from each landmark, float32[L], in m."""
    return jnp.sqrt(jnp.square(state.position[:, None] - state.landmark).sum(-1).min(0))


def step(key, state, action, params):
    """Moves for one time step. Actions: stand still, left, right, down, up."""
    direction = jnp.stack([(action == 2) * 1.0 - (action == 1), (action == 4) * 1.0 - (action == 3)], axis=-1)
    force = params.force * direction + contact_forces(state.position, params)
    velocity = (1 - params.damping) * state.velocity + force / params.mass[:, None] * TIME_STEP
    position = state.position + jnp.where(params.lagging, state.velocity, velocity) * TIME_STEP
    state = State(position, velocity, state.landmark)
    pairs = touching_pairs(position, params)
    reward = -(params.weight * nearest_distances(state)).sum() - params.collision_penalty * pairs
    return Step(_observe(state), state, jnp.broadcast_to(reward, params.mass.shape), jnp.bool_(False), {"touching_pairs": pairs})


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
) -> Environment:
    """Builds simple spread. Actions: stand still, left, right, down, up. Observation: see ``_observe``.

    Args:
        num_agents, num_landmarks: how many.
        mass: of an agent, kg. radius: of an agent, m. force: of an action, N.
        damping: share of the velocity lost in a step, in [0, 1].
        contact_force: N per m of penetration.
        collision_penalty: what every pair that touches costs all, in each step.
        lagging: whether positions follow from the velocity before the step, see above.
        max_steps: the time limit.

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
        step,
        observation_space,
        Discrete(5),
        max_steps=max_steps,
        num_agents=num_agents,
        global_obs_fn=global_obs,
    )
