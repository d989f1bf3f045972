"""Level-based foraging: agents collect food that some of them can only lift together.

Agents and food have levels. Actions: stay, left, down, right, up, load. All move at the same time, never into food or a cell
that somebody else is in or enters. Food is collected when the levels of the agents that stand next to it and load sum to its
own at least; they share its level in proportion to theirs, as a share of all the food there was, so that all agents together
earn 1. An agent next to several pieces loads the first. The episode ends once no food is left.

Source: Albrecht and Ramamoorthy (2013); with the rewards of Papoudakis et al. (2021), "Benchmarking multi-agent deep
reinforcement learning algorithms in cooperative tasks", section 4.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.markov_games import board
from envs.markov_games.agents import distinct_among, others
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Outcomes
from jaxrl.errors import require

LOAD = 5


class State(NamedTuple):
    """All int32.

    agent: [N, 2], (row, column). level: [N].
    food: [F, 2]. food_level: [F], 0 once it has been collected.
    total: [], the sum of the levels of all food there was.
    """

    agent: jax.Array
    level: jax.Array
    food: jax.Array
    food_level: jax.Array
    total: jax.Array


@struct.dataclass
class Params:
    rows: jax.Array  # int32[n], the numbers 0 .. n - 1 of the rows, and of the columns
    max_level: jax.Array  # int32[], of an agent
    cooperative: jax.Array  # bool[], every piece of food needs all agents
    start: State | None  # [1], the first state, where it is not drawn


def _moved(state, action, params):
    """int32[N, 2], where the agents are after their moves."""
    target = jnp.clip(state.agent + board.moves(action), 0, len(params.rows) - 1)
    on_food = ((target[:, None] == state.food).all(-1) & (state.food_level > 0)).any(-1)
    return board.without_collisions(state.agent, jnp.where(on_food[:, None], state.agent, target))


def outcomes(state, action, params):
    """One outcome."""
    near = (jnp.abs(state.agent[:, None] - state.food).sum(-1) == 1) & (state.food_level > 0)
    loads = near & (jnp.cumsum(near, axis=1) == 1) & (action == LOAD)[:, None]  # [N, F]
    strength = (state.level[:, None] * loads).sum(0)
    collected = (strength >= state.food_level) & (strength > 0)
    worth = jnp.where(collected, state.food_level / jnp.maximum(strength, 1), 0.0) / state.total
    reward = (loads * worth).sum(1) * state.level
    over = (state.food_level == 0).all()
    food_level = jnp.where(collected, 0, state.food_level)
    reached = state._replace(agent=jnp.where(over, state.agent, _moved(state, action, params)), food_level=food_level)
    only = (reached, reward.astype(jnp.float32), (food_level == 0).all())
    return Outcomes(jnp.ones(1), *jax.tree.map(lambda leaf: leaf[None], only))


def observe(state, params):
    """float32[N, 3 N + 3 F]: own place and level; of the other agents and of the food, place seen from oneself, and level.

    Places are in board widths, levels of agents are shares of the highest, levels of food of N times that. Collected food is 0.
    """
    agents = len(state.level)
    scale, heaviest = len(params.rows) - 1, params.max_level.astype(jnp.float32)
    level = (state.level / heaviest)[:, None]
    own = jnp.concatenate([state.agent / scale, level], axis=-1)
    neighbour = jnp.concatenate([(others(state.agent) - state.agent[:, None]) / scale, others(level)], axis=-1)
    food_level = jnp.broadcast_to(state.food_level / (agents * heaviest), (agents, len(state.food)))[..., None]
    food = jnp.concatenate([(state.food - state.agent[:, None]) / scale, food_level], axis=-1)
    food = jnp.where((state.food_level > 0)[:, None], food, 0.0)
    return jnp.concatenate([own, neighbour.reshape(agents, -1), food.reshape(agents, -1)], axis=-1).astype(jnp.float32)


def global_obs(state, params):
    """float32[3 N + 3 F]: what agent 0 observes, which is everything."""
    return observe(state, params)[0]


@dataclass(frozen=True)
class Drawn:
    """Draws levels, food that lies apart and off the border, so that four cells lead to it, and agents in other cells."""

    agents: int
    food: int

    def __call__(self, key, params):
        food_key, agent_key, level_key, food_level_key = jax.random.split(key, 4)
        size = len(params.rows)
        cells = jnp.stack(jnp.meshgrid(params.rows, params.rows, indexing="ij"), axis=-1).reshape(-1, 2)
        allowed = ((cells > 0) & (cells < size - 1)).all(-1)
        food = []
        for each in jax.random.split(food_key, self.food):
            food.append(cells[distinct_among(each, 1, allowed)[0]])
            allowed &= jnp.abs(cells - food[-1]).max(-1) > 1
        food = jnp.stack(food)
        free = (cells[:, None] != food).any(-1).all(-1)
        level = jax.random.randint(level_key, (self.agents,), 1, params.max_level + 1, jnp.int32)
        together = level.sum(dtype=jnp.int32)
        food_level = jax.random.randint(food_level_key, (self.food,), 1, together + 1, jnp.int32)
        food_level = jnp.where(params.cooperative, together, food_level)
        state = State(
            cells[distinct_among(agent_key, self.agents, free)], level, food, food_level, food_level.sum(dtype=jnp.int32)
        )
        return observe(state, params), state


def make(
    size: int = 8, num_agents: int = 2, num_food: int = 2, max_level: int = 2, cooperative: bool = False, max_steps: int = 50
) -> Environment:
    """Builds foraging with places and levels drawn for every episode. Observation: see ``observe``.

    Levels of agents are uniform in 1 .. max_level, levels of food in 1 .. the sum of the agents'.

    Args:
        size: rows and columns of the board, at least 3.
        num_agents, num_food: how many.
        max_level: of an agent.
        cooperative: whether every piece of food needs all agents.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range, or there is no room for the food.
    """
    for name, count in (("num_agents", num_agents), ("num_food", num_food), ("max_level", max_level), ("max_steps", max_steps)):
        require(count >= 1, "foraging", f"{name} must be at least 1", count, "2, 2, 2 and 50 are the defaults.")
    # A piece of food keeps at most 9 cells from the next; the agents find room on the border.
    roomy = size >= 3 and (size - 2) ** 2 > 9 * (num_food - 1) and num_agents <= 4 * (size - 1)
    require(roomy, "foraging", "the board must have room for food that lies apart, and for the agents", size, "Raise size.")
    return board.not_listed(
        _game(size, num_agents, num_food, max_level, cooperative, None, max_steps), Drawn(num_agents, num_food)
    )


def of(
    size: int, agents: tuple[tuple[int, int, int], ...], food: tuple[tuple[int, int, int], ...], max_steps: int = 50
) -> Environment:
    """Builds foraging that always begins alike; it is finite, and can be tabulated.

    Args:
        size: rows and columns of the board.
        agents, food: (row, column, level) of each.
        max_steps: the time limit.

    Raises:
        ConfigError: one of them is out of range, or two are in the same cell.
    """
    table = np.asarray([*agents, *food])
    fits = table.shape == (len(agents) + len(food), 3) and len(agents) > 0 and len(food) > 0
    fits = fits and bool(((table[:, :2] >= 0) & (table[:, :2] < size)).all() and (table[:, 2] >= 1).all())
    require(fits, "foraging", "agents and food must be (row, column, level) on the board, levels from 1", table, "Correct them.")
    apart = len(set(map(tuple, table[:, :2].tolist()))) == len(table)
    require(apart, "foraging", "agents and food must be in different cells", table[:, :2].tolist(), "Move one of them.")
    agent, pieces = np.split(table, [len(agents)])
    leaves = agent[:, :2], agent[:, 2], pieces[:, :2], pieces[:, 2], pieces[:, 2].sum()
    start = State(*(jnp.asarray(leaf, jnp.int32)[None] for leaf in leaves))
    # Observed levels are shares of the highest: food may be heavier than all agents together can lift.
    max_level = max(int(agent[:, 2].max()), -(-int(pieces[:, 2].max()) // len(agents)))
    return _game(size, len(agents), len(food), max_level, False, start, max_steps)


def _game(size, num_agents, num_food, max_level, cooperative, start, max_steps):
    params = Params(jnp.arange(size, dtype=jnp.int32), jnp.int32(max_level), jnp.bool_(cooperative), start)
    features = 3 * (num_agents + num_food)
    return board.game(params, outcomes, features, max_steps, observe, global_obs, num_agents, LOAD + 1, low=-1.0)
