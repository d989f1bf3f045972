"""Graph networks: against loops by hand, and what no output may depend on: numbers of nodes, empty places, the order of nodes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.random_mdps import random_graph
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks.networks import Critic, GraphConvolution, GraphNetwork, GraphPooling
from jaxrl.blocks.networks.graphs import AGGREGATIONS, HEADS, POOLINGS
from jaxrl.core.contracts import equal_when_rebuilt
from jaxrl.core.spaces import Box, Dict, Discrete, Tuple
from jaxrl.core.transforms import with_observation
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError

KEY = jax.random.key(0)
FEATURES = 3


def space_of(nodes, features=FEATURES):
    endless = Box(-jnp.inf, jnp.inf, (nodes, features))
    return Dict.of(nodes=endless, adjacency=Box(0.0, 1.0, (nodes, nodes)), mask=Box(0.0, 1.0, (nodes,)))


def graph_of(nodes, empty=0, seed=1):
    """Returns a directed graph with weights; its first node has no neighbours, its last ``empty`` places are empty."""
    keys = jax.random.split(jax.random.key(seed), 3)
    edges = jax.random.bernoulli(keys[0], 0.5, (nodes, nodes)) * jax.random.uniform(keys[1], (nodes, nodes))
    mask = (jnp.arange(nodes) < nodes - empty).astype(jnp.float32)
    return {"nodes": jax.random.normal(keys[2], (nodes, FEATURES)), "adjacency": edges.at[0].set(0.0), "mask": mask}


def moved(params, size=0.3):
    """Returns parameters of which no bias is 0."""
    return jax.tree.map(lambda leaf: leaf + size * jax.random.normal(jax.random.key(9), leaf.shape), params)


@functools.cache
def network(nodes, outputs, **fields):
    module = GraphNetwork(**{"layers": (6, 5), "hidden": (4,)} | fields)(space_of(nodes), outputs)
    return moved(jax.jit(module.init)(KEY, graph_of(nodes))), jax.jit(module.apply)


# ---- by hand, one node after another


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_layer_is_the_sum_over_neighbours(aggregation):
    graph = graph_of(5)
    layer = GraphConvolution(4, aggregation)
    params = moved(jax.jit(layer.init)(KEY, graph["nodes"], graph["adjacency"]))
    own, other = (jax.tree.map(np.float64, params["params"][name]) for name in ("own", "neighbours"))
    nodes, edges = np.float64(graph["nodes"]), np.float64(graph["adjacency"])
    degree = [sum(edges[v]) or 1.0 for v in range(5)]
    for v in range(5):
        by_hand = own["bias"] + nodes[v] @ own["kernel"]
        for u in range(5):
            share = {"sum": 1.0, "mean": degree[v], "symmetric": np.sqrt(degree[v] * degree[u])}[aggregation]
            by_hand = by_hand + edges[v, u] / share * (nodes[u] @ other["kernel"])
        np.testing.assert_allclose(layer.apply(params, graph["nodes"], graph["adjacency"])[v], by_hand, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_a_loop_over_the_nodes_that_are_there(pooling):
    nodes, mask = jax.random.normal(KEY, (5, 4)), jnp.array([True, False, True, True, False])
    layer = GraphPooling(pooling)
    params = moved(jax.jit(layer.init)(KEY, nodes, mask))
    there = [np.float64(nodes[v]) for v in (0, 2, 3)]
    if pooling == "attention":
        own = jax.tree.map(np.float64, params["params"])
        score = [np.exp(own["query"] @ (x @ own["keys"]["kernel"] + own["keys"]["bias"]) / 2.0) for x in there]
        value = [x @ own["values"]["kernel"] + own["values"]["bias"] for x in there]
        by_hand = sum(s * v for s, v in zip(score, value, strict=True)) / sum(score)
    else:
        by_hand = [sum(x[f] for x in there) / 3 if pooling == "mean" else max(x[f] for x in there) for f in range(4)]
    np.testing.assert_allclose(layer.apply(params, nodes, mask), by_hand, atol=1e-5)
    np.testing.assert_array_equal(layer.apply(params, nodes, jnp.zeros(5, bool)), np.zeros(4))


# ---- what outputs may depend on


@pytest.mark.parametrize(("aggregation", "pooling"), list(zip(AGGREGATIONS, POOLINGS, strict=True)))
def test_outputs_of_nodes_move_with_the_nodes_and_those_of_the_graph_do_not(aggregation, pooling):
    graph, order = graph_of(6, empty=1), jnp.array([3, 0, 5, 1, 4, 2])
    other = {"nodes": graph["nodes"][order], "adjacency": graph["adjacency"][order][:, order], "mask": graph["mask"][order]}
    params, apply = network(6, 12, aggregation=aggregation, head="nodes")
    before, after = (apply(params, each).reshape(6, 2) for each in (graph, other))
    np.testing.assert_allclose(after, before[order], atol=1e-5)
    assert np.abs(after - before).max() > 1e-2
    params, apply = network(6, 2, aggregation=aggregation, pooling=pooling)
    np.testing.assert_allclose(apply(params, other), apply(params, graph), atol=1e-5)
    fewer_edges = graph | {"adjacency": graph["adjacency"].at[2].set(0.0)}
    assert np.abs(apply(params, fewer_edges) - apply(params, graph)).max() > 1e-4  # but edges do matter


@pytest.mark.parametrize("fill", [7.0, jnp.nan, jnp.inf])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_empty_places_change_nothing_whatever_they_hold(fill, head, pooling):
    """The parameters of five places apply to the three nodes alone, with the same outputs."""
    graph, outputs = graph_of(5, empty=2), 5 if head == "nodes" else 2
    params, apply = network(5, outputs, head=head, pooling=pooling, aggregation="sum")
    filled = {
        "nodes": graph["nodes"].at[3:].set(fill),
        "adjacency": graph["adjacency"].at[3:].set(fill).at[:, 3:].set(fill),
        "mask": graph["mask"],
    }
    found = apply(params, filled)
    np.testing.assert_array_equal(found, apply(params, graph))
    small = {"nodes": graph["nodes"][:3], "adjacency": graph["adjacency"][:3, :3], "mask": graph["mask"][:3]}
    _, apply_small = network(3, 3 if head == "nodes" else 2, head=head, pooling=pooling, aggregation="sum")
    alone = apply_small(params, small)
    np.testing.assert_allclose(found[: len(alone)], alone, atol=1e-5)
    np.testing.assert_array_equal(found[len(alone) :], 0.0)
    present = apply(params, graph | {"mask": jnp.ones(5)})
    assert np.abs(present - found).max() > 1e-3  # nodes that are there do matter


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_parameters_know_no_number_of_nodes(head, pooling):
    each = {n: network(n, n if head == "nodes" else 2, head=head, pooling=pooling) for n in (4, 9)}
    shapes = [jax.tree.map(jnp.shape, params) for params, _ in each.values()]
    assert shapes[0] == shapes[1]
    found = each[9][1](each[4][0], graph_of(9))
    assert found.shape == (9 if head == "nodes" else 2,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("empty", [4, 5])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_gradient_is_finite_with_one_node_or_none(pooling, empty):
    graph = graph_of(5, empty)
    graph["nodes"] = jnp.where(graph["mask"][:, None] > 0, graph["nodes"], jnp.nan)
    params, apply = network(5, 1, head="nodes", pooling=pooling, hidden=(), activation="tanh")
    gradient = jax.grad(lambda params, graph: apply(params, graph).sum(), (0, 1))(params, graph)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    kernel = gradient[0]["params"]["GraphConvolution_0"]["own"]["kernel"]
    assert (np.abs(kernel).max() > 1e-4) == (empty == 4)


def test_tuples_and_graphs_without_a_mask_and_batches_are_the_same():
    graph, (params, apply) = graph_of(4), network(4, 2)
    expected = apply(params, graph)
    row = Tuple.of(*(dict(space_of(4).items)[name] for name in ("nodes", "adjacency")))
    module = GraphNetwork(layers=[6, 5], hidden=[4])(row, 2)
    np.testing.assert_allclose(module.apply(params, (graph["nodes"], graph["adjacency"])), expected, rtol=1e-6)
    np.testing.assert_allclose(
        module.apply(params, (graph["nodes"], graph["adjacency"] > 0)),
        apply(params, graph | {"adjacency": (graph["adjacency"] > 0).astype(jnp.int8)}),
        rtol=1e-6,
    )
    batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2, 3, *leaf.shape)), graph)
    np.testing.assert_allclose(apply(params, batch), np.broadcast_to(expected, (2, 3, 2)), atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_a_critic_sees_the_action_beside_the_graph(head):
    """With a number for each node, value and action are those of the nodes: numbered otherwise, the value is the same."""
    graph, action, order = graph_of(4), jax.random.normal(KEY, (4,)), jnp.array([2, 0, 3, 1])
    critic = Critic(space_of(4), Box(-1.0, 1.0, (4,)), network=GraphNetwork((8,), head=head))
    params = moved(jax.jit(critic.init)(KEY, graph, action))
    other = {"nodes": graph["nodes"][order], "adjacency": graph["adjacency"][order][:, order], "mask": graph["mask"]}
    value = critic.apply(params, graph, action)
    assert value.shape == ()
    assert abs(critic.apply(params, graph, action + 1) - value) > 1e-3
    same = abs(critic.apply(params, other, action[order]) - value) < 1e-5
    assert same == (head == "nodes")


# ---- settings, and a whole algorithm


def test_made_again_it_is_equal():
    assert GraphNetwork((8,), hidden=[4]) == GraphNetwork([8], hidden=(4,))
    assert hash(GraphNetwork([8])) == hash(GraphNetwork((8,))) != hash(GraphNetwork((9,)))
    assert equal_when_rebuilt(GraphNetwork())


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"layers": ()}, ConfigError, "layers must name at least one layer"),
        ({"hidden": (0,)}, ConfigError, "each of hidden must be an integer of at least 1, got 0"),
        ({"pooling": "men"}, UnknownNameError, "no pooling is named 'men'. Did you mean 'mean'"),
        ({"head": "node"}, UnknownNameError, "Did you mean 'nodes'"),
        ({"aggregation": "max"}, UnknownNameError, "no aggregation is named 'max'"),
        ({"activation": "sine"}, UnknownNameError, "no activation is named 'sine'"),
    ],
)
def test_settings_are_checked(fields, error, message):
    with pytest.raises(error, match=message):
        GraphNetwork(**fields)


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3),
        Box(0.0, 1.0, (4, 3)),
        Dict.of(nodes=Box(0.0, 1.0, (4, 3))),
        Dict.of(nodes=Box(0.0, 1.0, (4, 3)), adjacency=Box(0.0, 1.0, (4, 3))),
        Dict.of(nodes=Box(0.0, 1.0, (4, 3)), adjacency=Box(0.0, 1.0, (4, 4)), mask=Box(0.0, 1.0, (3,))),
        Dict.of(nodes=Box(0.0, 1.0, (4, 3)), adjacency=Box(0.0, 1.0, (4, 4)), masks=Box(0.0, 1.0, (4,))),
        Tuple.of(Box(0.0, 1.0, (4, 3)), Discrete(4)),
    ],
)
def test_observations_that_are_no_graphs_are_refused(space):
    with pytest.raises(SpaceError, match=r"GraphNetwork: .* Use Dict.of\(nodes=Box of \[N, F\]"):
        GraphNetwork()(space, 1)


def test_outputs_that_nodes_cannot_share_are_refused():
    with pytest.raises(ConfigError, match=r'number of outputs must be a multiple of the 4 nodes, got 6\. Set head="graph"'):
        GraphNetwork(head="nodes")(space_of(4), 6)
    with pytest.raises(ConfigError, match="number of entries of an action must be a multiple of the 4 nodes, got 3"):
        GraphNetwork(head="nodes")(Tuple.of(space_of(4), Box(-1.0, 1.0, (3,))), 1)


WALK = random_graph.make(6, 0.5, max_steps=4)


def as_graph(node):
    """Shows the graph of WALK, with the node where the walk is and the goal marked."""
    marks = jax.nn.one_hot(jnp.stack([node, WALK.params.goal]), 6, axis=0)
    return {"nodes": marks, "adjacency": WALK.params.edges.astype(jnp.float32), "mask": jnp.ones(6)}


@pytest.mark.slow
def test_ppo_learns_with_an_output_for_every_node():
    env = with_observation(WALK, as_graph, space_of(6, 2))
    network = GraphNetwork((8, 8), pooling="attention", head="nodes", output_scale=0.01)
    config = ppo.Config(network=network, num_envs=2, num_steps=8, num_epochs=1, num_minibatches=1)
    algorithm = ppo.make(env, config)
    before = jax.jit(algorithm.init)(KEY)
    after, metrics = jax.jit(lambda state: jax.lax.scan(algorithm.update, state, jax.random.split(KEY, 2)))(before)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, metrics)))
    change = jax.tree.map(lambda old, new: float(np.abs(old - new).max()), before.params, after.params)
    assert min(jax.tree.leaves(change["params"]["actor"])) > 0
