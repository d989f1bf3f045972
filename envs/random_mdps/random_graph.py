"""Random graphs: X nodes, of which any two are joined by an edge with one probability, and a walk along edges to a goal.

An action names the node to go to; neighbours alone are legal. Every step pays -1, and entering the goal ends the episode, so that
the best return of a node is minus its distance. The goal is a node of the largest connected component, and an episode begins
at any other node of that component. A node without neighbours, where no episode leads, may go to itself.

The draw is pure, so it can be vmapped over keys, and so are ``distances``, by breadth-first search.

Source: Chen et al. (2021), "Decision Transformer", section 3, the illustrative example (20 nodes, edge probability 0.1, random
walks of length 10); Gilbert (1959), the graphs.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import EnvError, require


@struct.dataclass
class Params:
    """X nodes.

    edges: bool[X, X], symmetric, nothing on the diagonal. goal: int32[], a node.
    initial: float32[X], the distribution of the first node.
    """

    edges: jax.Array
    goal: jax.Array
    initial: jax.Array


def distances(edges: jax.Array, goal: jax.Array | int) -> jax.Array:
    """Returns the fewest steps from every node to a goal, int32[X]; -1 where no way leads to it.

    Args:
        edges: bool[X, X], ``edges[a, b]`` leads from a to b. It need not be symmetric.
        goal: a node.
    """
    count = edges.shape[0]
    start = jnp.where(jnp.arange(count) == goal, 0, -1).astype(jnp.int32)

    def reach(step, found):
        fresh = (found < 0) & (edges & (found >= 0)).any(-1)
        return jnp.where(fresh, step, found)

    return jax.lax.fori_loop(1, count, reach, start)


def draw(key: jax.Array, num_nodes: int = 20, edge_probability: jax.Array | float = 0.1) -> Params:
    """Draws a graph, its goal and where episodes begin.

    In a graph without edges, which has no other node to begin at, episodes begin at the goal and last one step.

    Args:
        key: one key.
        num_nodes: X, at least 2; static.
        edge_probability: of an edge between any two nodes, in (0, 1].
    """
    edge_key, goal_key = jax.random.split(key)
    above = jnp.triu(jax.random.uniform(edge_key, (num_nodes, num_nodes), jnp.float32) < edge_probability, 1)
    edges = above | above.T
    nodes = jnp.arange(num_nodes, dtype=jnp.int32)
    reached = jax.vmap(distances, (None, 0))(edges, nodes) >= 0
    size = reached.sum(-1)
    # Uniform among the nodes of the largest component: the largest of random numbers.
    goal = jnp.argmax(jnp.where(size == size.max(), jax.random.uniform(goal_key, (num_nodes,), jnp.float32), -1.0))
    first = reached[goal] & ((nodes != goal) | (size.max() == 1))
    return Params(edges, goal.astype(jnp.int32), (first / first.sum()).astype(jnp.float32))


def from_each_node(params: Params) -> Params:
    """Returns a graph X times, Params[X, ...]: all episodes of the n-th begin at node n. So a policy is judged node by node."""
    count = params.initial.shape[0]
    each = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), params)
    return each.replace(initial=jnp.eye(count, dtype=jnp.float32))


def outcomes(state, action, params):
    """The walk goes where the action says if an edge leads there, and stays if none does, or if it has arrived."""
    moves = params.edges[state, action] & (state != params.goal)
    successor = jnp.where(moves, action, state).astype(jnp.int32)
    reward = jnp.where(state == params.goal, 0.0, -1.0).astype(jnp.float32)
    return Outcomes(jnp.ones(1, jnp.float32), successor[None], reward[None], (successor == params.goal)[None])


def initial(params):
    """Every node but the goal that leads to it is equally likely, unless ``params.initial`` has been replaced."""
    return Initial(params.initial, jnp.arange(params.initial.shape[0], dtype=jnp.int32))


def action_mask(state, params):
    """The neighbours; the node itself if it has none."""
    row = params.edges[state]
    return row | ((jnp.arange(row.shape[0]) == state) & ~row.any())


def random_walk(params: Params) -> jax.Array:
    """Returns the probabilities of a random walk, float32[X, X]: from each node, uniform over the legal actions."""
    legal = jax.vmap(action_mask, (0, None))(jnp.arange(params.initial.shape[0]), params)
    return (legal / legal.sum(-1, keepdims=True)).astype(jnp.float32)


def of(params: Params, max_steps: int = 10) -> Environment:
    """Builds the environment of a graph. Actions: 0 .. X - 1, the node to go to. Observation: the number of the node."""
    nodes = Discrete(params.initial.shape[-1])
    return finite(params, outcomes, initial, nodes, nodes, max_steps, action_mask=action_mask)


def make(num_nodes: int = 20, edge_probability: float = 0.1, seed: int = 0, max_steps: int = 10) -> Environment:
    """Builds a random graph drawn from a seed.

    Args:
        num_nodes: X, at least 2.
        edge_probability: of an edge between any two nodes, in (0, 1].
        seed: numbers the draw.
        max_steps: the time limit.

    Raises:
        ConfigError: a number is out of range. EnvError: the graph that was drawn has no edge.
    """
    where = "random_graph"
    require(num_nodes >= 2, where, "num_nodes must be at least 2", num_nodes, "Set num_nodes to 20, say.")
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "Set max_steps to 10, say.")
    must, fix = "edge_probability must lie in (0, 1]", "Set edge_probability to 0.1, say."
    require(0 < edge_probability <= 1, where, must, edge_probability, fix)
    params = draw(jax.random.key(seed), num_nodes, edge_probability)
    fix = f"Take another seed, or a larger edge_probability, {min(1.0, 2 * edge_probability):g}, say."
    require(bool(params.edges.any()), where, "the graph must have an edge", 0, fix, EnvError)
    return of(params, max_steps)
