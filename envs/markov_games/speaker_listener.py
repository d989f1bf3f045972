"""Speaker-listener: one agent knows which landmark is the goal and cannot move, the other moves and cannot know.

In every step the speaker utters one of L symbols, which the listener hears in its next observation. Both are paid minus the
squared distance of the listener from the goal. There is no terminal state.

The agents are unequal: the speaker, agent 0, sees the goal alone and has L actions; the listener, agent 1, sees its velocity,
the landmarks and the last symbol, and has five. Observations are padded with zeros, actions are masked.

Source: Lowe et al. (2017), "cooperative communication", with the constants of their code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from envs.markov_games import particles
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require

MOVES = 5  # of the listener


class State(NamedTuple):
    """The fields of ``particles.State`` for the listener alone, the number of the goal int32[], and the symbol int32[].

    Before the first one is uttered the symbol is L.
    """

    position: jax.Array
    velocity: jax.Array
    landmark: jax.Array
    goal: jax.Array
    symbol: jax.Array


@struct.dataclass
class Params:
    """L landmarks."""

    landmarks: jax.Array  # int32[L], the numbers 0 .. L - 1
    mass: jax.Array  # float32[1], kg
    radius: jax.Array  # float32[1], m, for pictures: there is no contact
    force: jax.Array  # float32[], N, of every move but standing still
    damping: jax.Array  # float32[], the share of the velocity that is lost in a step


def _observe(state, params):
    """float32[2, 2 + 3 L]: the goal, one-hot and padded; the listener's velocity, the landmarks from it, the symbol, one-hot."""
    width = 2 + 3 * len(params.landmarks)
    goal = (params.landmarks == state.goal).astype(jnp.float32)
    symbol = (params.landmarks == state.symbol).astype(jnp.float32)
    listener = jnp.concatenate([state.velocity[0], (state.landmark - state.position).reshape(-1), symbol])
    return jnp.stack([jnp.pad(goal, (0, width - len(goal))), listener])


def action_mask(state, params):
    """bool[2, A]: the speaker has a symbol for each landmark, the listener five moves."""
    symbols = len(params.landmarks)
    return jnp.arange(max(symbols, MOVES)) < jnp.array([[symbols], [MOVES]])


def global_obs(state, params):
    """float32[2 (2 + 3 L) + 2]: what both see, and where the listener is."""
    return jnp.concatenate([_observe(state, params).reshape(-1), state.position[0]])


def reset(key, params):
    """Draws listener and landmarks uniformly from the square [-1, 1]^2, and one of the landmarks as the goal."""
    place_key, goal_key = jax.random.split(key)
    goal = jax.random.randint(goal_key, (), 0, len(params.landmarks), jnp.int32)
    placed = particles.at_rest(place_key, 1, len(params.landmarks))
    state = State(*placed, goal, jnp.int32(len(params.landmarks)))
    return _observe(state, params), state


def step(key, state, action, params):
    """Speaks and moves at the same time."""
    force = params.force * particles.directions(action[1:])
    state = particles.move(state, force, params.mass, params.damping)._replace(symbol=action[0])
    distance = particles.squared_length(state.position[0] - state.landmark[state.goal])
    return Step(_observe(state, params), state, jnp.full(2, -distance), jnp.bool_(False))


def make(num_landmarks: int = 3, force: float = 5.0, damping: float = 0.25, max_steps: int = 25) -> Environment:
    """Builds speaker-listener. Observation: see ``_observe``.

    Actions of the speaker: its symbols. Actions of the listener: stand still, left, right, down, up.

    Args:
        num_landmarks: L, also the number of symbols.
        force: of a move, N. damping: share of the velocity lost in a step, in [0, 1].
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(num_landmarks >= 1, "speaker_listener", "num_landmarks must be at least 1", num_landmarks, "3 is usual.")
    require(0 <= damping <= 1, "speaker_listener", "damping must lie in [0, 1]", damping, "It is a share; 0.25 is usual.")
    require(max_steps >= 1, "speaker_listener", "max_steps must be at least 1", max_steps, "25 is usual.")
    params = Params(
        jnp.arange(num_landmarks, dtype=jnp.int32),
        jnp.ones(1, jnp.float32),
        jnp.full(1, 0.075, jnp.float32),
        jnp.float32(force),
        jnp.float32(damping),
    )
    return Environment(
        params,
        reset,
        step,
        Box(-jnp.inf, jnp.inf, (2 + 3 * num_landmarks,)),
        Discrete(max(num_landmarks, MOVES)),
        max_steps,
        num_agents=2,
        roles=(0, 1),
        action_mask_fn=action_mask,
        global_obs_fn=global_obs,
    )
