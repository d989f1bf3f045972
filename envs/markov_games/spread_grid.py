"""Spread grid: N agents cover L landmarks on a board without talking to each other.

All move at the same time, each by one cell or not at all, and may share cells. All are paid alike: minus the number of
landmarks where no agent stands after the move. There is no terminal state.

If every agent takes the shortest way to a landmark of its own, the assignment with the least sum of distances is the best one
(``best_assignment``; Kuhn 1955, Munkres 1957). No way of playing earns more, but for agents that stand on a landmark in
passing, on their way to another, before its own agent arrives.

Source: Lowe et al. (2017), "cooperative navigation", on a grid.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.markov_games import board
from envs.markov_games.agents import distinct, others
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Outcomes
from jaxrl.core.spaces import Box, Dict
from jaxrl.errors import require


class State(NamedTuple):
    """agent: int32[N, 2], (row, column) of each. landmark: int32[L, 2]."""

    agent: jax.Array
    landmark: jax.Array


@struct.dataclass
class Params:
    rows: jax.Array  # int32[n], the numbers 0 .. n - 1 of the rows, and of the columns
    start: State | None  # [K0], the first states, where they are listed


def outcomes(state, action, params):
    """One outcome."""
    agent = jnp.clip(state.agent + board.moves(action), 0, len(params.rows) - 1)
    covered = (agent[:, None] == state.landmark).all(-1).any(0)
    reward = jnp.full((1, len(agent)), -(~covered).sum(), jnp.float32)
    return Outcomes(jnp.ones(1), State(agent[None], state.landmark[None]), reward, jnp.zeros(1, bool))


def observe(state, params):
    """float32[N, 2 + 2 L + 2 (N - 1)]: where one is, and where landmarks and other agents are from there, in board widths."""
    agents = len(state.agent)
    landmarks = (state.landmark - state.agent[:, None]).reshape(agents, -1)
    neighbours = (others(state.agent) - state.agent[:, None]).reshape(agents, -1)
    return jnp.concatenate([state.agent, landmarks, neighbours], axis=-1).astype(jnp.float32) / (len(params.rows) - 1)


def observe_graph(state, params):
    """Each agent sees a graph of agents and landmarks: itself, the other agents, then the landmarks.

    nodes: float32[N, N + L, 5], where each is from there, (row, column) in board widths, and which it is, one-hot: the agent
        itself, another one, or a landmark.
    adjacency: float32[N, N + L, N + L], 1 / (1 + d) of two nodes that are d moves apart, and 0 of a node and itself.
    """
    agents, landmarks = len(state.agent), len(state.landmark)
    there = jnp.broadcast_to(state.landmark, (agents, landmarks, 2))
    place = jnp.concatenate([state.agent[:, None], others(state.agent), there], axis=1)
    kind = jnp.repeat(jnp.eye(3, dtype=jnp.float32), np.array([1, agents - 1, landmarks]), axis=0)
    offset = (place - state.agent[:, None]).astype(jnp.float32) / (len(params.rows) - 1)
    nodes = jnp.concatenate([offset, jnp.broadcast_to(kind, (agents, *kind.shape))], axis=-1)
    apart = jnp.abs(place[:, :, None] - place[:, None]).sum(-1).astype(jnp.float32)
    return {"nodes": nodes, "adjacency": jnp.where(jnp.eye(len(kind), dtype=bool), 0.0, 1 / (1 + apart))}


def global_obs(state, params):
    """float32[2 N + 2 L]: where all agents and landmarks are, in board widths."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in state]).astype(jnp.float32) / (len(params.rows) - 1)


@dataclass(frozen=True)
class Drawn:
    """Draws agents independently, and landmarks in different cells."""

    agents: int
    landmarks: int
    observe: Callable

    def __call__(self, key, params):
        agent_key, landmark_key = jax.random.split(key)
        size = len(params.rows)
        agent = jax.random.randint(agent_key, (self.agents, 2), 0, size, jnp.int32)
        cell = distinct(landmark_key, self.landmarks, size * size)
        state = State(agent, jnp.stack([cell // size, cell % size], axis=-1))
        return self.observe(state, params), state


def distances(state: State) -> np.ndarray:
    """Returns how many moves each agent is from each landmark, int[N, L]; on the host."""
    agent, landmark = np.asarray(state.agent), np.asarray(state.landmark)
    return np.abs(agent[:, None] - landmark).sum(-1)


def best_assignment(state: State, steps: int) -> tuple[np.ndarray, float]:
    """Assigns agents to landmarks so that the landmarks are uncovered as little as possible, on the host (Hungarian method).

    Args:
        state: one state.
        steps: how many are left to play.

    Returns:
        The landmark of each agent int[N], or -1 where none is left for it, and what they earn if each goes there and stays.
    """
    from scipy.optimize import linear_sum_assignment

    uncovered = np.clip(distances(state) - 1, 0, steps)  # steps: the reward counts after the move
    agents, landmarks = uncovered.shape
    # Landmarks beyond the agents fall to agents who never arrive.
    uncovered = np.vstack([uncovered, np.full((max(landmarks - agents, 0), landmarks), steps)])
    row, column = linear_sum_assignment(uncovered)
    assigned = np.full(len(uncovered), -1)
    assigned[row] = column
    return assigned[:agents], -float(uncovered[row, column].sum())


def random_return(num_agents: int, num_landmarks: int, size: int = 5, max_steps: int = 12) -> float:
    """Returns what each of these agents earns on average if all act uniformly at random, exactly, where agents begin anywhere.

    As many moves lead into each cell as out of it, so that agents stay uniformly distributed, and independent of each other.
    """
    return -max_steps * num_landmarks * (1 - 1 / size**2) ** num_agents


def toward(agent: jax.Array, target: jax.Array) -> jax.Array:
    """Returns the actions that lead agents int32[..., 2] to targets int32[..., 2] on a shortest way, rows first; int32[...]."""
    row, column = target[..., 0] - agent[..., 0], target[..., 1] - agent[..., 1]
    sideways = jnp.where(column > 0, 3, jnp.where(column < 0, 1, 0))
    return jnp.where(row > 0, 2, jnp.where(row < 0, 4, sideways)).astype(jnp.int32)


def make(
    size: int = 5,
    num_agents: int = 3,
    num_landmarks: int = 3,
    landmarks: tuple[tuple[int, int], ...] | None = None,
    max_steps: int = 12,
    view: str = "vector",
) -> Environment:
    """Builds spread grid. Actions: stay, left, down, right, up.

    Args:
        size: rows and columns of the board, at least 2.
        num_agents: how many; they begin anywhere.
        num_landmarks: how many, in different cells that are drawn for every episode.
        landmarks: (row, column) of each, instead: the game is finite then, and can be tabulated.
        max_steps: the time limit.
        view: what an agent sees: "vector", see ``observe``, or "graph", see ``observe_graph``, for ``networks.GraphNetwork``: its
            parameters know no number of agents.

    Raises:
        ConfigError: one of them is out of range.
    """
    require(view in ("vector", "graph"), "spread_grid", "view must be 'vector' or 'graph'", view, "Choose one.")
    require(size >= 2, "spread_grid", "size must be at least 2 cells", size, "5 is the default.")
    for name, count in (("num_agents", num_agents), ("max_steps", max_steps)):
        require(count >= 1, "spread_grid", f"{name} must be at least 1", count, "3 and 12 are the defaults.")
    fits = 1 <= num_landmarks <= size * size
    require(fits, "spread_grid", "num_landmarks must be at least 1, with a cell for each", num_landmarks, "3 is the default.")
    rows, start, landmark = jnp.arange(size, dtype=jnp.int32), None, np.asarray(landmarks or ((0, 0),))
    if landmarks is not None:
        fits = landmark.ndim == 2 and landmark.shape[1] == 2 and bool(((landmark >= 0) & (landmark < size)).all())
        require(fits, "spread_grid", "landmarks must be cells of the board (row, column)", landmarks, "Choose others.")
        cells = np.indices((size,) * (2 * num_agents), np.int32).reshape(2 * num_agents, -1).T.reshape(-1, num_agents, 2)
        start = State(jnp.asarray(cells), jnp.asarray(np.broadcast_to(landmark, (len(cells), *landmark.shape)), jnp.int32))
        num_landmarks = len(landmark)
    count, seen = num_agents + num_landmarks, observe if view == "vector" else observe_graph
    env = board.game(Params(rows, start), outcomes, 2 * count, max_steps, seen, global_obs, num_agents, low=-1.0)
    if view == "graph":
        graph = Dict.of(nodes=Box(-1.0, 1.0, (count, 5)), adjacency=Box(0.0, 1.0, (count, count)))
        env = replace(env, observation_space=graph)
    return env if landmarks is not None else board.not_listed(env, Drawn(num_agents, num_landmarks, seen))
