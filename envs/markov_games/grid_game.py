"""Grid games: two agents on a 3 x 3 board race to their goals without getting into each other's way.

They start in the lower corners and move at the same time. If both would be in one cell that is not a goal, neither moves and
each pays 1. A move off the board means staying. Reaching one's goal pays 100, and the game ends once somebody has.

    game 1: the goals are the opposite upper corners; the shortest ways, of four moves, cross.
    game 2: both have the same goal, in the middle of the upper row, and may enter it together. Above each start is a barrier, by
            which a move up fails half of the time; beside it there is room for one.

Source: Hu and Wellman (2003), "Nash Q-learning for general-sum stochastic games", section 5.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.markov_games import board
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require

SIZE = 3
LEFT, DOWN, RIGHT, UP = range(4)
START = ((2, 0), (2, 2))  # (row, column) of each agent
GOALS = {1: ((0, 2), (0, 0)), 2: ((0, 1), (0, 1))}  # game -> where each agent wants to go
BARRIERS = {1: (), 2: START}  # game -> the cells from which a move up may fail


@struct.dataclass
class Params:
    goal: jax.Array  # int32[2, 2], (row, column) of each agent's goal
    barrier: jax.Array  # float32[3, 3], the probability in [0, 1] that a move up from each cell fails
    prize: jax.Array  # float32[], for reaching the goal
    collision: jax.Array  # float32[], the reward of each agent for a collision


def _arrived(position, params):
    """bool[2], which agents stand in their goals."""
    return (position == params.goal).all(-1)


def _moved(position, target, params):
    """Returns where the agents are after trying to enter these cells, int32[2, 2], and what each is paid, float32[2]."""
    collided = (target[0] == target[1]).all() & ~_arrived(target, params).any()
    position = jnp.where(collided, position, target)
    reward = jnp.where(collided, params.collision, params.prize * _arrived(position, params))
    return position, reward.astype(jnp.float32)


def outcomes(state, action, params):
    """Four outcomes: each agent's move succeeds, or fails at a barrier. The state is where both are, int32[2, 2]."""
    over = _arrived(state, params).any()
    target = jnp.clip(state + board.moves(action + 1), 0, SIZE - 1)
    fails = jnp.where(action == UP, params.barrier[state[:, 0], state[:, 1]], 0.0)
    failed = jnp.array([[False, False], [False, True], [True, False], [True, True]])
    probability = jnp.where(failed, fails, 1 - fails).prod(-1)
    reached, reward = jax.vmap(_moved, in_axes=(None, 0, None))(state, jnp.where(failed[:, :, None], state, target), params)
    reached, reward = jnp.where(over, state, reached), jnp.where(over, 0.0, reward).astype(jnp.float32)
    return Outcomes(probability, reached, reward, jax.vmap(_arrived, in_axes=(0, None))(reached, params).any(-1))


def initial(params):
    """The lower corners."""
    return Initial(jnp.ones(1), jnp.array([START], jnp.int32))


def observe(state, params):
    """int32[2], the number of the state, the same for both: who stands where."""
    cell = state[:, 0] * SIZE + state[:, 1]
    return jnp.full(2, cell[0] * SIZE**2 + cell[1], jnp.int32)


def make(game: int = 1, barrier: float = 0.5, prize: float = 100.0, collision: float = -1.0, max_steps: int = 50) -> Environment:
    """Builds a grid game. Actions: left, down, right, up. Observation: the number of the state, 81 in all.

    Args:
        game: 1 or 2.
        barrier: probability in [0, 1] that a move through a barrier fails.
        prize: for reaching the goal. collision: the reward for a collision.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(game in GOALS, "grid_game", f"game must be one of {tuple(GOALS)}", game, "Choose one of them.")
    require(0 <= barrier <= 1, "grid_game", "barrier must lie in [0, 1]", barrier, "It is a probability; 0.5 is usual.")
    require(max_steps >= 1, "grid_game", "max_steps must be at least 1", max_steps, "50 is the default.")
    fails = np.zeros((SIZE, SIZE))
    for place in BARRIERS[game]:
        fails[place] = barrier
    params = Params(
        jnp.array(GOALS[game], jnp.int32), jnp.asarray(fails, jnp.float32), jnp.float32(prize), jnp.float32(collision)
    )
    return finite(params, outcomes, initial, Discrete(SIZE**4), Discrete(4), max_steps, observe=observe, num_agents=2)
