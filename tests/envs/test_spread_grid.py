"""Spread grid: the best assignment against the exact optimum, with and without something to gain in passing."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import spread_grid
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.markov_games import for_player
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.testing.conformance import check_environment

STEPS = 6


def optimum(model, steps=STEPS):
    """Returns the most that all agents together can earn in this many steps from every state, float64[X]."""
    value, common = np.zeros(model.num_states), for_player(model, 0)
    with jax.enable_x64(True):
        for _ in range(steps):
            value = np.asarray(action_values(common, value, 1.0).max(-1))
    return value


def planned(model, steps=STEPS):
    states = [jax.tree.map(lambda leaf, i=i: leaf[i], model.state) for i in range(model.num_states)]
    return np.array([spread_grid.best_assignment(state, steps)[1] for state in states])


def test_best_assignment_is_optimal_where_nothing_lies_on_the_way():
    """Landmarks in opposite corners are never passed on the way to the other."""
    model = tabulate(spread_grid.make(size=3, num_agents=2, landmarks=((0, 0), (2, 2))))
    assert model.num_states == 81
    best = optimum(model)
    np.testing.assert_allclose(planned(model), best, atol=1e-9)
    assert best.min() == -3  # both on one landmark: the other is four moves away
    assert best.max() == 0


def test_passing_by_can_earn_more_than_the_best_assignment():
    """In a row: an agent, three free cells, an agent, two landmarks. The near agent covers both, the first of them in passing."""
    model = tabulate(spread_grid.make(size=8, num_agents=2, landmarks=((0, 6), (0, 7)), max_steps=12))
    start = spread_grid.State(np.array([[0, 1], [0, 5]]), np.array([[0, 6], [0, 7]]))
    state = np.flatnonzero((model.state.agent == start.agent).all((1, 2)))[0]
    assert spread_grid.best_assignment(start, 12)[1] == -5
    assert optimum(model, 12)[state] == -4


def test_optimum_is_never_below_the_best_assignment():
    model = tabulate(spread_grid.make(size=4, num_agents=2, landmarks=((1, 1), (2, 2))))
    gain = optimum(model) - planned(model)
    assert gain.min() >= -1e-9
    assert (gain < 0.5).mean() > 0.9


def test_going_to_the_assigned_landmarks_earns_what_is_planned():
    env = spread_grid.make()
    for seed in range(8):
        state = env.reset(jax.random.key(seed))[1]
        assigned, plan = spread_grid.best_assignment(state, env.max_steps)
        assert sorted(assigned) == [0, 1, 2]
        target, earned = state.landmark[assigned], 0.0
        for _ in range(env.max_steps):
            step = env.step(jax.random.key(0), state, spread_grid.toward(state.agent, target))
            state, earned = step.state, earned + float(step.reward[0])
        assert earned >= plan  # and more where somebody covers another landmark in passing
        assert not np.asarray(spread_grid.distances(state))[np.arange(3), assigned].any()


def test_random_agents_earn_the_closed_form():
    """Against the tables: what is expected of uniform actions, from agents anywhere, whatever the landmarks are."""
    model = tabulate(spread_grid.make(size=3, num_agents=2, landmarks=((0, 1), (2, 2))))
    earned = for_player(model, 0)
    value = np.zeros(model.num_states)
    with jax.enable_x64(True):
        for _ in range(STEPS):
            value = np.asarray(action_values(earned, value, 1.0).mean(-1))
    assert value.std() > 0.1
    np.testing.assert_allclose(value.mean(), spread_grid.random_return(2, 2, 3, STEPS), rtol=1e-6)


@pytest.mark.parametrize(("agents", "landmarks", "expected"), [(1, 2, -12.0), (2, 1, 0.0)])
def test_unequal_numbers(agents, landmarks, expected):
    agent = np.array([[0, 0], [4, 4]])[:agents]
    landmark = np.array([[0, 1], [4, 0]])[:landmarks]
    assigned, plan = spread_grid.best_assignment(spread_grid.State(agent, landmark), 12)
    assert plan == expected
    assert sorted(assigned) == ([0] if agents == 1 else [-1, 0])


def test_permuting_agents_permutes_what_they_see():
    env = spread_grid.make()
    state = env.reset(jax.random.key(3))[1]
    order, action = jnp.array([2, 0, 1]), jnp.array([1, 2, 3])
    step = env.step(jax.random.key(0), state, action)
    permuted = env.step(jax.random.key(0), state._replace(agent=state.agent[order]), action[order])
    np.testing.assert_array_equal(permuted.state.agent, step.state.agent[order])
    np.testing.assert_array_equal(permuted.reward, step.reward)
    np.testing.assert_array_equal(permuted.obs[:, :8], step.obs[order, :8])  # own place and landmarks
    for agent in range(3):  # the others, in some order
        seen = (sorted(map(tuple, obs.reshape(2, 2).tolist())) for obs in (permuted.obs[agent, 8:], step.obs[order[agent], 8:]))
        assert next(seen) == next(seen)


def test_landmarks_lie_apart():
    env = spread_grid.make(size=2, num_landmarks=4)
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 64))[1]
    cells = np.asarray(states.landmark) @ [2, 1]
    assert all(sorted(row) == [0, 1, 2, 3] for row in cells.tolist())
    assert len(set(map(tuple, cells.tolist()))) > 12


@pytest.mark.parametrize(
    "parameters", [dict(size=2, num_agents=1, num_landmarks=4), dict(size=3, num_agents=2, landmarks=((0, 0),))]
)
def test_extremes_keep_the_protocol(parameters):
    check_environment(spread_grid.make(**parameters), jax.random.key(0), rebuilt=spread_grid.make(**parameters))


@pytest.mark.parametrize(
    "parameters",
    [
        dict(size=1),
        dict(num_agents=0),
        dict(num_landmarks=26),
        dict(landmarks=((0, 5),)),
        dict(landmarks=(1, 2)),
        dict(max_steps=0),
    ],
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        spread_grid.make(**parameters)


def test_landmarks_stay_uncovered_while_nobody_stands_there():
    env = spread_grid.make(landmarks=((0, 0), (4, 4)), num_agents=2)
    for corners in itertools.product([(0, 0), (2, 2), (4, 4)], repeat=2):
        state = spread_grid.State(jnp.array(corners, jnp.int32), jnp.array([[0, 0], [4, 4]], jnp.int32))
        step = env.step(jax.random.key(0), state, jnp.zeros(2, jnp.int32))
        np.testing.assert_array_equal(step.reward, [-float(len({(0, 0), (4, 4)} - set(corners)))] * 2)


# ---- the view as a graph


def test_a_graph_shows_what_the_vector_shows():
    vector, graph = spread_grid.make(num_agents=2), spread_grid.make(num_agents=2, view="graph")
    key = jax.random.key(5)
    (flat, state), (seen, same) = vector.reset(key), graph.reset(key)
    jax.tree.map(np.testing.assert_array_equal, state, same)
    nodes = np.asarray(seen["nodes"])
    np.testing.assert_array_equal(nodes[:, 0, :2], 0.0)  # oneself
    np.testing.assert_allclose(nodes[:, 2:, :2].reshape(2, -1), flat[:, 2:8], atol=1e-6)
    np.testing.assert_allclose(nodes[:, 1, :2], flat[:, 8:], atol=1e-6)
    np.testing.assert_array_equal(nodes[:, :, 2:], [np.eye(3)[[0, 1, 2, 2, 2]]] * 2)
    place = np.concatenate([state.agent, state.landmark])
    for agent, order in enumerate(([0, 1, 2, 3, 4], [1, 0, 2, 3, 4])):
        apart = np.abs(place[order][:, None] - place[order]).sum(-1)
        np.testing.assert_allclose(seen["adjacency"][agent], (1 - np.eye(5)) / (1 + apart), rtol=1e-6)


@pytest.mark.parametrize("parameters", [dict(num_agents=1, num_landmarks=2), dict(size=3, num_agents=2, landmarks=((0, 0),))])
def test_graphs_keep_the_protocol(parameters):
    env = spread_grid.make(view="graph", **parameters)
    check_environment(env, jax.random.key(0), rebuilt=spread_grid.make(view="graph", **parameters))


def test_an_unknown_view_is_refused():
    with pytest.raises(ConfigError, match="view must be 'vector' or 'graph'"):
        spread_grid.make(view="image")
