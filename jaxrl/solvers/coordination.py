"""Coordination graphs: the joint action of N agents whose common payoff is a sum over agents and over pairs of them.

    maximise  u(a) = sum_i f_i(a_i) + sum_(i,j) f_ij(a_i, a_j)

There are A^N joint actions. Variable elimination finds the best one exactly: one agent after another is replaced by its best
response to its neighbours, at a cost that is exponential in how many neighbours it has by then. Max-plus sends messages along
the edges,

    m_ij(a_j) = max over a_i of [f_i(a_i) + f_ij(a_i, a_j) + sum_(k neighbour of i, not j) m_ki(a_i)] - mean,

and is exact in graphs without cycles; in others the best joint action that was met on the way is returned. How far it may be from
the best is certified by an upper bound, from a linear relaxation that is lowered one edge after another.

The graph is part of the program; payoffs are arrays: jit it, vmap it over payoffs. An enumeration serves as a check.

Source: Guestrin, Lagoudakis and Parr (2002), "Coordinated reinforcement learning", section 3 (variable elimination); Kok and
Vlassis (2006), "Collaborative multiagent reinforcement learning by payoff propagation", equations 8 to 10 (max-plus, anytime);
Globerson and Jaakkola (2007), "Fixing max-product", for the bound.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import require, require_count

LARGEST_TABLE = 10_000_000  # entries
Edges = tuple[tuple[int, int], ...]


class JointAction(NamedTuple):
    """action: int32[N]. value: float[], its payoff u.

    gap: float[], by how much the best joint action may exceed it at most: 0 of an exact solution.
    iterations: int32[], rounds of messages until they no longer changed, or the limit; 0 of an exact solution.
    """

    action: jax.Array
    value: jax.Array
    gap: jax.Array
    iterations: jax.Array


def require_edges(where: str, edges: Any, agents: int) -> Edges:
    """Returns the edges of a graph as pairs of numbers.

    Raises:
        ConfigError: an edge is no pair of different agents, or stands there twice.
    """
    pairs = np.asarray(edges if len(edges) else np.zeros((0, 2), int))
    fits = pairs.ndim == 2 and pairs.shape[1:] == (2,) and np.issubdtype(pairs.dtype, np.integer)
    fits = fits and bool(((pairs >= 0) & (pairs < agents)).all() and (pairs[:, 0] != pairs[:, 1]).all())
    must = f"edges must be pairs of two different agents of 0 .. {agents - 1}"
    require(fits, where, must, edges, "Give ((0, 1), (1, 2)), for example.")
    once = len({frozenset(pair) for pair in pairs.tolist()}) == len(pairs)
    require(once, where, "an edge must stand there once", edges, "Add the payoffs of the two up.")
    return tuple((int(first), int(second)) for first, second in pairs)


def payoff(edges: Edges, own: jax.Array, pair: jax.Array, action: jax.Array) -> jax.Array:
    """Returns u of a joint action, float[].

    Args:
        edges: E pairs (i, j).
        own: float[N, A], f_i.
        pair: float[E, A, A], f_ij, the action of i first.
        action: int[N].
    """
    first, second = (np.array([edge[end] for edge in edges], int) for end in (0, 1))
    alone = own[np.arange(own.shape[0]), action].sum()
    return alone + pair[np.arange(len(edges)), action[first], action[second]].sum()


def _arrays(where: str, edges: Any, own: Any, pair: Any) -> tuple[Edges, jax.Array, jax.Array]:
    own, pair = jnp.asarray(own, jnp.result_type(own, float)), jnp.asarray(pair, jnp.result_type(pair, float))
    require(own.ndim == 2, where, "own must have shape [N, A]", own.shape, "Give a row of zeros to each agent without payoffs.")
    checked, actions = require_edges(where, edges, own.shape[0]), own.shape[1]
    shape = (len(checked), actions, actions)
    require(pair.shape == shape, where, f"pair must have shape {list(shape)}", pair.shape, "Give a table for each edge.")
    return checked, own, pair


def elimination_order(edges: Edges, agents: int) -> tuple[tuple[int, ...], int]:
    """Returns in which order agents are eliminated, one with the fewest neighbours first, and the most neighbours there are then.

    Args:
        edges: pairs (i, j).
        agents: N.
    """
    near = {agent: set() for agent in range(agents)}
    for first, second in edges:
        near[first].add(second)
        near[second].add(first)
    order, width = [], 0
    while near:
        agent = min(near, key=lambda one: (len(near[one]), one))
        beside = near.pop(agent)
        width = max(width, len(beside))
        for other in beside:  # whom it stood between are neighbours now
            near[other] = (near[other] | beside) - {agent, other}
        order.append(agent)
    return tuple(order), width


def variable_elimination(edges: Any, own: Any, pair: Any) -> JointAction:
    """Finds the best joint action, exactly.

    Args:
        edges, own, pair: see ``payoff``.

    Raises:
        ConfigError: shapes or edges do not fit, or a table on the way would be too large.
    """
    where = "coordination.variable_elimination"
    edges, own, pair = _arrays(where, edges, own, pair)
    agents, actions = own.shape
    _, width = elimination_order(edges, agents)
    entries, fix = actions ** (width + 1), "Use max_plus, or leave edges out."
    require(entries <= LARGEST_TABLE, where, f"a table must have at most {LARGEST_TABLE:,} entries", entries, fix)
    return _eliminated(edges, own, pair)


@partial(jax.jit, static_argnames="edges")
def _eliminated(edges: Edges, own: jax.Array, pair: jax.Array) -> JointAction:
    agents = own.shape[0]
    factors: list[tuple[tuple[int, ...], Any]] = [((agent,), own[agent]) for agent in range(agents)]
    factors += zip(edges, pair, strict=True)
    responses, total = [], jnp.zeros((), own.dtype)
    for agent in elimination_order(edges, agents)[0]:
        mine = [factor for factor in factors if agent in factor[0]]
        factors = [factor for factor in factors if agent not in factor[0]]
        beside = sorted({other for scope, _ in mine for other in scope} - {agent})
        table = sum((_spread(scope, values, (*beside, agent)) for scope, values in mine), jnp.zeros((), own.dtype))
        responses.append((agent, beside, table.argmax(-1)))
        if beside:
            factors.append((tuple(beside), table.max(-1)))
        else:
            total = total + table.max(-1)
    action = jnp.zeros(agents, jnp.int32)
    for agent, beside, response in reversed(responses):  # whom the response depends on has chosen already
        action = action.at[agent].set(response[tuple(action[other] for other in beside)].astype(jnp.int32))
    return JointAction(action, payoff(edges, own, pair, action), jnp.zeros_like(total), jnp.int32(0))


def _spread(scope: tuple[int, ...], values: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Returns a table over the agents in ``scope`` with ``axes``, of length 1 where it does not depend on an agent."""
    order = sorted(range(len(scope)), key=lambda place: axes.index(scope[place]))
    ordered, there = values.transpose(order), {scope[place] for place in order}
    sizes = iter(ordered.shape)
    return ordered.reshape([next(sizes) if agent in there else 1 for agent in axes])


def max_plus(edges: Any, own: Any, pair: Any, max_iterations: int = 100, tolerance: float = 1e-6) -> JointAction:
    """Finds a good joint action by messages, the best one in a graph without cycles.

    Args:
        edges, own, pair: see ``payoff``.
        max_iterations: rounds of messages, at least 1; as many are spent on the bound.
        tolerance: messages that change by no more than this, in units of the payoff, are at rest.

    Returns:
        The best joint action that the messages of any round pointed to; its gap is certain up to rounding.

    Raises:
        ConfigError: shapes or edges do not fit, or ``max_iterations`` is no count.
    """
    require_count("coordination.max_plus", "max_iterations", max_iterations)
    edges, own, pair = _arrays("coordination.max_plus", edges, own, pair)
    found = propagated(edges, own, pair, max_iterations, tolerance)
    bound = upper_bound(edges, own, pair, max_iterations)
    return found._replace(gap=jnp.maximum(bound - found.value, 0))


@partial(jax.jit, static_argnames=("edges", "max_iterations"))
def propagated(edges: Edges, own: jax.Array, pair: jax.Array, max_iterations: int, tolerance: Any = 1e-6) -> JointAction:
    """As ``max_plus``, without checks and without a bound: the gap is infinite."""
    actions = own.shape[1]
    source, target, table = _directed(edges, pair)
    back = np.concatenate([np.arange(len(edges)) + len(edges), np.arange(len(edges))])

    def beliefs(messages):
        return own.at[target].add(messages)

    def round_(carry):
        messages, best, value, iterations, _ = carry
        before = beliefs(messages)[source] - messages[back]
        new = (before[:, :, None] + table).max(1)
        new = new - new.mean(-1, keepdims=True)
        action = beliefs(new).argmax(-1).astype(jnp.int32)
        found = payoff(edges, own, pair, action)
        better = found > value
        return (
            new,
            jnp.where(better, action, best),
            jnp.maximum(found, value),
            iterations + 1,
            jnp.abs(new - messages).max(initial=0),
        )

    def unsettled(carry):
        return (carry[3] < max_iterations) & (carry[4] > tolerance)

    first = own.argmax(-1).astype(jnp.int32)
    silent = jnp.zeros((2 * len(edges), actions), own.dtype)
    start = silent, first, payoff(edges, own, pair, first), jnp.int32(0), jnp.full((), jnp.inf, own.dtype)
    _, best, value, iterations, _ = jax.lax.while_loop(unsettled, round_, start)
    return JointAction(best, value, jnp.full_like(value, jnp.inf), iterations)


def _directed(edges: Edges, pair: jax.Array) -> tuple[np.ndarray, np.ndarray, jax.Array]:
    """Returns the senders and receivers of messages, int[2 E], both ways, and their tables, the sender's action first."""
    ends = np.array(edges, int).reshape(-1, 2)
    table = jnp.concatenate([pair, jnp.swapaxes(pair, 1, 2)])
    return np.concatenate([ends[:, 0], ends[:, 1]]), np.concatenate([ends[:, 1], ends[:, 0]]), table


@partial(jax.jit, static_argnames=("edges", "sweeps"))
def upper_bound(edges: Edges, own: jax.Array, pair: jax.Array, sweeps: int) -> jax.Array:
    """Returns a number that no joint action exceeds, float[].

    Each edge may move payoff between its table and those of its agents, which changes no sum: with d_ji(a_i) moved to agent i,

        u(a) <= sum_i max [f_i + sum_j d_ji] + sum_(i,j) max [f_ij - d_ij - d_ji],

    lowered by the best move of one edge after another (Globerson and Jaakkola 2007, the algorithm MPLP).

    Args:
        edges, own, pair: see ``payoff``.
        sweeps: over all edges.
    """
    if not edges:
        return own.max(-1).sum()
    ends = jnp.array(edges, jnp.int32)

    def lower(carry, edge):
        beliefs, moved = carry  # f_i + sum_j d_ji, [N, A]; d_ji and d_ij of each edge, [E, 2, A]
        i, j = ends[edge]
        alone_i, alone_j = beliefs[i] - moved[edge, 0], beliefs[j] - moved[edge, 1]
        joint = alone_i[:, None] + pair[edge] + alone_j[None, :]
        new = jnp.stack([joint.max(1) / 2 - alone_i, joint.max(0) / 2 - alone_j])
        beliefs = beliefs.at[i].set(alone_i + new[0]).at[j].set(alone_j + new[1])
        return (beliefs, moved.at[edge].set(new)), None

    carry = own, jnp.zeros((len(edges), 2, own.shape[1]), own.dtype)
    (beliefs, moved), _ = jax.lax.scan(lower, carry, jnp.tile(jnp.arange(len(edges)), sweeps))
    left = pair - moved[:, 0, :, None] - moved[:, 1, None, :]
    return beliefs.max(-1).sum() + left.max((1, 2)).sum()


def enumeration(edges: Any, own: Any, pair: Any) -> JointAction:
    """Finds the best of all joint actions by looking at each: a check of the others.

    Args:
        edges, own, pair: see ``payoff``.

    Raises:
        ConfigError: shapes or edges do not fit, or there are too many joint actions.
    """
    where = "coordination.enumeration"
    edges, own, pair = _arrays(where, edges, own, pair)
    agents, actions = own.shape
    must = f"there must be at most {LARGEST_TABLE // agents:,} joint actions"
    require(actions**agents <= LARGEST_TABLE // agents, where, must, actions**agents, "Use variable_elimination.")
    joint = jnp.asarray(np.indices((actions,) * agents, np.int32).reshape(agents, -1).T)
    value = jax.vmap(partial(payoff, edges, own, pair))(joint)
    best = value.argmax()
    return JointAction(joint[best], value[best], jnp.zeros_like(value[best]), jnp.int32(0))


def line(agents: int) -> Edges:
    """Returns a graph in which each of N agents stands beside the next."""
    return tuple((agent, agent + 1) for agent in range(agents - 1))


def complete(agents: Sequence[int]) -> Edges:
    """Returns a graph in which all agents of a list are beside each other."""
    return tuple((first, second) for place, first in enumerate(agents) for second in agents[place + 1 :])
