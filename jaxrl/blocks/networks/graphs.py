"""Graph networks: layers in which a node sees its neighbours, with outputs for each node or for the graph.

A graph of N nodes with F features each is observed as ``Dict.of(nodes=..., adjacency=...)`` or as a Tuple of the same parts:

    nodes      Box of shape [N, F], the features
    adjacency  Box of shape [N, N], not negative: entry (v, u) is the weight with which v sees u, 0 where it does not
    mask       Box of shape [N], 1 where there is a node and 0 where its place is empty; it may be left out

``GraphNetwork`` is a ``network`` for every deep algorithm (``jaxrl.blocks.networks``):

    ppo.Config(network=GraphNetwork(layers=(32, 32), pooling="attention", head="nodes"))

No parameter depends on N: those of one number of nodes apply to another. Outputs of nodes move with the nodes where these are
numbered otherwise, those of the graph do not change, and neither depends on what stands in an empty place, NaN included.

Source: Scarselli et al. (2009), "The Graph Neural Network Model"; Gilmer et al. (2017), "Neural Message Passing for Quantum
Chemistry"; Kipf and Welling (2017), "Semi-Supervised Classification with Graph Convolutional Networks", the symmetric weights.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxrl.blocks.networks.layers import MLP, activation, dense, orthogonal
from jaxrl.core import spaces
from jaxrl.core.spaces import Box, Dict, Space, Tuple
from jaxrl.errors import SpaceError, require, require_count, unknown_name

AGGREGATIONS = ("mean", "sum", "symmetric")
POOLINGS = ("mean", "max", "attention")
HEADS = ("graph", "nodes")


def neighbour_weights(adjacency: jax.Array, aggregation: str) -> jax.Array:
    """Returns the weights of the sum over neighbours, float32[..., N, N], from an adjacency of the same shape.

    Args:
        adjacency: float32[..., N, N], not negative; row v has the neighbours that v sees.
        aggregation: "sum" takes the adjacency itself, "mean" divides each row by its sum d_v, and "symmetric" divides entry
            (v, u) by sqrt(d_v d_u). A node without neighbours has weights of 0.
    """
    if aggregation == "sum":
        return adjacency
    degree = adjacency.sum(-1)
    degree = jnp.where(degree > 0, degree, 1.0)
    if aggregation == "mean":
        return adjacency / degree[..., None]
    return adjacency / jnp.sqrt(degree[..., :, None] * degree[..., None, :])


class GraphConvolution(nn.Module):
    """One step of message passing without its activation: h'_v = W h_v + b + sum_u a(v, u) W' h_u.

    size: of h'. aggregation: how a(v, u) follows from the adjacency, see ``neighbour_weights``.

    Called with nodes float32[..., N, F] and an adjacency float32[..., N, N], returns float32[..., N, size].
    """

    size: int
    aggregation: str = "mean"

    @nn.compact
    def __call__(self, nodes, adjacency):
        # Two sums of scale 1 make one of scale sqrt(2), which is common before a relu.
        seen = neighbour_weights(adjacency, self.aggregation) @ nodes
        messages = nn.Dense(self.size, use_bias=False, kernel_init=orthogonal(), name="neighbours")(seen)
        return dense(self.size, 1.0, "own")(nodes) + messages


class GraphPooling(nn.Module):
    """Turns nodes float32[..., N, F] and a mask bool[..., N] into features of the graph, float32[..., F].

    pooling: "mean" or "max" of each feature over the nodes that are there, or "attention": with keys K and values V, linear in
    the nodes, and a query q that is learned, the mean of V weighted by softmax(K q / sqrt(F)).

    A graph without nodes has features of 0.
    """

    pooling: str = "mean"

    @nn.compact
    def __call__(self, nodes, mask):
        there, lowest = mask[..., None], jnp.finfo(nodes.dtype).min
        if self.pooling == "max":
            return jnp.where(mask.any(-1, keepdims=True), jnp.where(there, nodes, lowest).max(-2), 0.0)
        if self.pooling == "mean":
            return jnp.where(there, nodes, 0.0).sum(-2) / jnp.maximum(there.sum(-2), 1)
        width = nodes.shape[-1]
        keys, values = dense(width, 1.0, "keys")(nodes), dense(width, 1.0, "values")(nodes)
        query = self.param("query", nn.initializers.normal(1.0), (width,))
        weight = nn.softmax(jnp.where(mask, keys @ query / width**0.5, lowest), axis=-1)
        return (jnp.where(mask, weight, 0.0)[..., None] * values).sum(-2)


@dataclass(frozen=True)
class GraphNetwork:
    """Builds graph networks: ``(observation_space, num_outputs) -> flax module``, see the head of this file.

    layers: sizes of the graph convolutions. aggregation: of neighbours, see ``neighbour_weights``.
    head: "graph" makes all outputs of the pooled nodes. "nodes" makes as many for every node, in the order of the nodes: of N k
        outputs, node v has those from v k to v k + k - 1. A single output, a value, is of the graph with either head.
    pooling: of nodes to a graph, see ``GraphPooling``.
    hidden: sizes of layers between the nodes, or the graph, and the outputs. activation: behind every layer but the last.
    output_scale: of the orthogonal weights of the outputs; 0.01 starts a policy near uniform.

    Empty places have outputs of 0; their actions are for the environment to forbid.

    A critic of a Box action sees a Tuple of graph and action: with head "graph" the action stands beside the pooled nodes; with
    head "nodes" it has k numbers for every node, as the policy's outputs do, and stands beside the features of the nodes. Where a
    distribution has two parameters for each entry of an action (beta, or SAC's mean and deviation), the outputs are all of the
    first and then all of the second, which are no longer in the order of the nodes: the head is "graph" there.

    Raises:
        ConfigError: sizes are no positive integers, or the outputs cannot be shared evenly by the nodes.
        UnknownNameError: there is no such aggregation, pooling, head or activation.
        SpaceError: the observations are no graphs.
    """

    layers: tuple[int, ...] = (64, 64)
    aggregation: str = "mean"
    head: str = "graph"
    pooling: str = "mean"
    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    output_scale: float = 1.0

    def __post_init__(self):
        where = "GraphNetwork"
        for name in ("layers", "hidden"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a list would not be hashable
            for size in getattr(self, name):
                require_count(where, f"each of {name}", size)
        require(len(self.layers) >= 1, where, "layers must name at least one layer", self.layers, "(64, 64) is common.")
        for name, known in (("aggregation", AGGREGATIONS), ("pooling", POOLINGS), ("head", HEADS)):
            if getattr(self, name) not in known:
                raise unknown_name(where, name, getattr(self, name), known)
        activation(self.activation)

    def __call__(self, observation_space: Space, num_outputs: int) -> "GraphLayers":
        where = "GraphNetwork"
        graph, action = _graph_and_action(observation_space)
        num_nodes = _require_graph(where, graph)
        if self.head == "nodes":
            counts = {"outputs": num_outputs, "entries of an action": 0 if action is None else spaces.flat_size(action)}
            for name, count in counts.items():
                must, fix = f"the number of {name} must be a multiple of the {num_nodes} nodes", 'Set head="graph".'
                require((name == "outputs" and count == 1) or count % num_nodes == 0, where, must, count, fix)
        return GraphLayers(self, num_outputs, action is not None)


class GraphLayers(nn.Module):
    """The module that ``GraphNetwork`` builds.

    settings: how. num_outputs: K. with_action: whether it sees a Tuple of a graph and an action.

    Called with graphs PyTree[..., ...] of any batch axes, returns float32[..., K].
    """

    settings: GraphNetwork
    num_outputs: int
    with_action: bool = False

    @nn.compact
    def __call__(self, obs):
        settings = self.settings
        graph, action = obs if self.with_action else (obs, None)
        nodes, adjacency, mask = _parts(graph)
        there = jnp.ones(nodes.shape[:-1], bool) if mask is None else jnp.asarray(mask) > 0
        # Empty places are replaced before anything is computed of them: 0 times NaN would be NaN, in gradients as well.
        x = jnp.where(there[..., None], jnp.asarray(nodes).astype(jnp.float32), 0.0)
        both = there[..., :, None] & there[..., None, :]
        adjacency = jnp.where(both, jnp.asarray(adjacency).astype(jnp.float32), 0.0)
        of_nodes = settings.head == "nodes"
        if action is not None and of_nodes:
            each = action.reshape(*x.shape[:-1], -1)
            x = jnp.concatenate([x, jnp.where(there[..., None], each, 0.0)], axis=-1)
        for size in settings.layers:
            x = activation(settings.activation)(GraphConvolution(size, settings.aggregation)(x, adjacency))
        if of_nodes and self.num_outputs > 1:
            outputs = MLP(settings.hidden, settings.activation, self.num_outputs // x.shape[-2], settings.output_scale)(x)
            return jnp.where(there[..., None], outputs, 0.0).reshape(*x.shape[:-2], self.num_outputs)
        x = GraphPooling(settings.pooling)(x, there)
        if action is not None and not of_nodes:
            x = jnp.concatenate([x, action], axis=-1)
        return MLP(settings.hidden, settings.activation, self.num_outputs, settings.output_scale)(x)


def _parts(graph: Any) -> tuple[Any, Any, Any]:
    """Returns nodes, adjacency and mask, or None in its place, of what has them by name or in a row: a value or its space."""
    if isinstance(graph, dict):
        return graph["nodes"], graph["adjacency"], graph.get("mask")
    return graph[0], graph[1], graph[2] if len(graph) > 2 else None


def _graph_and_action(space: Space) -> tuple[Space, Space | None]:
    """Returns the space of a graph and that of the action beside it, or None."""
    if isinstance(space, Tuple) and len(space.items) == 2 and spaces.is_nested(space.items[0]):
        return space.items
    return space, None


def _require_graph(where: str, space: Space) -> int:
    """Returns N, the number of nodes, of the observations of graphs; raises SpaceError if they are anything else."""
    must = "observations must be a graph: nodes and adjacency, and a mask if there are empty places"
    fix = "Use Dict.of(nodes=Box of [N, F], adjacency=Box of [N, N], mask=Box of [N])."
    if isinstance(space, Dict):
        items: Any = dict(space.items)
        sound = {"nodes", "adjacency"} <= set(items) <= {"nodes", "adjacency", "mask"}
    else:
        items = space.items if isinstance(space, Tuple) else ()
        sound = len(items) in (2, 3)
    require(sound, where, must, space, fix, SpaceError)
    nodes, adjacency, mask = _parts(items)
    boxes = all(isinstance(part, Box) for part in (nodes, adjacency, mask) if part is not None)
    require(boxes and len(nodes.shape) == 2, where, must, space, fix, SpaceError)
    count = nodes.shape[0]
    fits = adjacency.shape == (count, count) and (mask is None or mask.shape == (count,))
    require(fits, where, f"adjacency must have shape {(count, count)} and mask {(count,)}", space, fix, SpaceError)
    return count
