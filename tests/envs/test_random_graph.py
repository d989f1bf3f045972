"""Random graphs: distances against scipy, the law of the draw, the exact optimum, and what is illegal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components, shortest_path

import envs
from envs import rendering
from envs.random_mdps import random_graph
from jaxrl.blocks.policies import mixture
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import evaluate
from jaxrl.solvers.mdp import host

KEYS = jax.random.split(jax.random.key(0), 200)


@pytest.fixture(scope="module")
def graphs():
    """Two hundred graphs of 20 nodes, as NumPy arrays with a leading axis, and the distances to their goals."""
    params = jax.vmap(random_graph.draw)(KEYS)
    return jax.tree.map(np.asarray, (params, jax.vmap(random_graph.distances)(params.edges, params.goal)))


def test_distances_are_those_of_scipy(graphs):
    params, found = graphs
    for edges, goal, distance in zip(params.edges, params.goal, found, strict=True):
        expected = shortest_path(edges, unweighted=True, indices=goal)
        np.testing.assert_array_equal(distance, np.where(np.isinf(expected), -1, expected))


def test_distances_along_a_path_and_against_its_direction():
    edges = np.eye(5, k=1, dtype=bool)  # 0 -> 1 -> 2 -> 3 -> 4
    np.testing.assert_array_equal(random_graph.distances(jnp.asarray(edges), 4), [4, 3, 2, 1, 0])
    np.testing.assert_array_equal(random_graph.distances(jnp.asarray(edges), 1), [1, 0, -1, -1, -1])


def test_the_draw(graphs):
    """Edges are symmetric with their probability; the goal lies in a largest component, where all episodes begin."""
    params, distance = graphs
    np.testing.assert_array_equal(params.edges, np.swapaxes(params.edges, 1, 2))
    assert not params.edges[:, np.arange(20), np.arange(20)].any()
    pairs = params.edges[:, *np.triu_indices(20, 1)]
    assert pairs.mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / pairs.size))
    for edges, goal in zip(params.edges, params.goal, strict=True):
        _, component = connected_components(edges)
        sizes = np.bincount(component)
        assert sizes[component[goal]] == sizes.max()
    np.testing.assert_array_equal(params.initial > 0, distance > 0)
    np.testing.assert_allclose(params.initial.sum(-1), 1.0, atol=1e-6)
    assert len(np.unique(params.goal)) == 20


def test_the_optimum_is_minus_the_distance():
    env = envs.make("random_graph", seed=3)
    model = tabulate(env)
    values = np.asarray(host.solve(model, 1.0).value)
    distance = np.asarray(random_graph.distances(env.params.edges, env.params.goal))
    states = np.asarray(model.state)
    np.testing.assert_allclose(values, -distance[states], atol=1e-9)
    assert set(states.tolist()) == set(np.flatnonzero(distance >= 0).tolist())


def test_steps_and_masks():
    env = random_graph.of(random_graph.Params(jnp.asarray(np.eye(3, k=1) + np.eye(3, k=-1) > 0), jnp.int32(2), jnp.eye(3)[0]))
    key = jax.random.key(0)
    assert int(env.reset(key)[1]) == 0
    np.testing.assert_array_equal(env.action_mask(jnp.int32(1)), [True, False, True])
    reached = env.step(key, jnp.int32(1), jnp.int32(2))
    assert (int(reached.state), float(reached.reward), bool(reached.terminated)) == (2, -1.0, True)
    stays = env.step(key, jnp.int32(0), jnp.int32(2))  # no edge
    assert (int(stays.state), float(stays.reward), bool(stays.terminated)) == (0, -1.0, False)
    lonely = env.replace(params=env.params.replace(edges=jnp.zeros((3, 3), bool)))
    np.testing.assert_array_equal(lonely.action_mask(jnp.int32(1)), [False, True, False])
    np.testing.assert_array_equal(random_graph.random_walk(env.params), [[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]])
    np.testing.assert_array_equal(random_graph.random_walk(lonely.params), np.eye(3))


def test_from_each_node_a_walk_to_ever_nearer_nodes_takes_the_distance():
    params = random_graph.draw(KEYS[0], 20, 0.2)
    distance = random_graph.distances(params.edges, params.goal)
    near = jnp.where(params.edges & (distance >= 0), distance, 20).argmin(-1)

    def length(params):
        env = random_graph.of(params, 20)
        policy = mixture(jnp.eye(20)[near][None])
        return evaluate(jax.random.key(0), env, policy, 2).length

    found = np.asarray(jax.vmap(length)(random_graph.from_each_node(params)))
    leads = np.asarray(distance) > 0
    np.testing.assert_array_equal(found[leads], np.broadcast_to(np.asarray(distance)[leads, None], (leads.sum(), 2)))
    assert leads.sum() > 10


def test_a_graph_without_edges_begins_at_its_goal():
    params = random_graph.draw(jax.random.key(0), 4, 0.0)
    assert int(params.initial.argmax()) == int(params.goal)
    assert float(params.initial.max()) == 1.0


def test_numbers_that_are_refused():
    with pytest.raises(ConfigError, match="num_nodes must be at least 2, got 1"):
        random_graph.make(1)
    with pytest.raises(ConfigError, match=r"edge_probability must lie in \(0, 1\], got 0.0"):
        random_graph.make(edge_probability=0.0)
    with pytest.raises(ConfigError, match="max_steps must be at least 1"):
        random_graph.make(max_steps=0)
    with pytest.raises(EnvError, match="the graph must have an edge, got 0"):
        random_graph.make(2, 1e-6)


def test_the_picture_shows_edges_goal_and_walk():
    env = envs.make("random_graph")
    _, state = env.reset(jax.random.key(0))
    picture = rendering.render(env, state)
    assert picture.dtype == np.uint8
    assert (picture != rendering.render(env, env.params.goal)).any()
