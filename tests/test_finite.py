"""Finite environments: sampling outcomes, walking states into tables, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.control import cartpole
from envs.gridworlds import corridor, frozen_lake, t_maze
from envs.matrix_games import matrix_game
from jaxrl.errors import EnvironmentError
from jaxrl.finite import Initial, Outcomes, finite, from_table, sample_index, tabulate
from jaxrl.spaces import Box, Discrete
from tests import oracles

WEIGHT = st.one_of(st.just(0.0), st.floats(2.0**-100, 1.0, width=32))
draw_many = jax.jit(jax.vmap(sample_index, in_axes=(0, None)))


@settings(max_examples=200, deadline=None)
@given(weights=st.lists(WEIGHT, min_size=6, max_size=6).filter(any), seed=st.integers(0, 2**31 - 1))
def test_impossible_indices_are_never_drawn(weights, seed):
    weights = np.array(weights, np.float32)
    drawn = draw_many(jax.random.split(jax.random.key(seed), 64), weights)
    assert (weights[np.asarray(drawn)] > 0).all()


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-24, 1.0 - 2.0**-23])
def test_impossible_indices_are_never_drawn_at_the_edges(monkeypatch, uniform):
    """The smallest and largest uniform numbers, with sums that round up or fall short of 1."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, dtype: jnp.asarray(uniform, dtype))
    for weights in ([0, 0.1, 0.2, 0.7, 0], [0, 1 / 3, 1 / 3, 1 / 3, 0], [0, 1e-30, 0, 1.0, 0], [0, 1.0, 1e-9, 0, 0]):
        index = sample_index(jax.random.key(0), jnp.array(weights, jnp.float32))
        assert weights[int(index)] > 0


def test_indices_are_as_frequent_as_their_probabilities():
    probability = np.array([0.1, 0.0, 0.6, 0.3], np.float32)
    drawn = draw_many(jax.random.split(jax.random.key(0), 20_000), probability)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, probability, atol=0.015)


def test_a_single_outcome_needs_no_draw():
    assert sample_index(jax.random.key(0), jnp.ones(1)) == 0


@pytest.fixture(scope="module")
def slippery_corridor():
    return corridor.make(3, slip=0.25)


def test_table_of_a_corridor(slippery_corridor):
    """Every number of a table that can be checked by hand: two open cells and an absorbing one."""
    model = tabulate(slippery_corridor)
    assert (model.num_states, model.num_actions, model.joint_shape) == (3, 2, (2,))
    np.testing.assert_array_equal(model.state, [0, 1, 2])
    np.testing.assert_array_equal(model.observation, [0, 1, 2])
    np.testing.assert_array_equal(model.initial, [1, 0, 0])
    np.testing.assert_array_equal(model.next_state[:2], [[[0, 1], [1, 0]], [[0, 2], [2, 0]]])
    np.testing.assert_array_equal(model.probability[:2], np.broadcast_to([0.75, 0.25], (2, 2, 2)))
    np.testing.assert_array_equal(model.reward[:2], [[[0, 0], [0, 0]], [[0, 1], [1, 0]]])
    np.testing.assert_array_equal(model.terminated[:2], model.next_state[:2] == 2)
    np.testing.assert_array_equal(model.next_state[2], 2)
    np.testing.assert_array_equal(model.probability[2], [[1, 0], [1, 0]])
    assert model.terminated[2].all()
    assert not model.reward[2].any()
    assert model.action_mask.all()


def test_table_is_in_double_precision():
    model = tabulate(frozen_lake.make())
    for table in (model.probability, model.reward, model.initial):
        assert table.dtype == np.float64
    np.testing.assert_allclose(model.probability.sum(-1), 1.0, rtol=0, atol=1e-15)
    value = oracles.start_value(model, oracles.value_iteration(model, 0.99))
    assert value == pytest.approx(0.542026, abs=1e-6)


def test_table_can_be_used_in_double_precision():
    """What jax computes from the table in float64 mode agrees with NumPy far below float32 rounding."""
    model = tabulate(frozen_lake.make())
    values = np.random.default_rng(0).random(model.num_states)
    with jax.enable_x64(True):
        tables = jax.tree.map(jnp.asarray, model)
        q = jax.jit(oracles.action_values)(tables, jnp.asarray(values), 0.99)
        assert q.dtype == jnp.float64
        np.testing.assert_allclose(q, oracles.action_values(model, values, 0.99), rtol=0, atol=1e-14)


def test_states_may_be_pytrees():
    model = tabulate(t_maze.make(length=2))
    assert set(zip(model.state.place.tolist(), model.state.cue.tolist(), strict=True)) == {
        (place, cue) for place in range(-1, 4) for cue in (t_maze.CUE_DOWN, t_maze.CUE_UP)
    }


@pytest.mark.parametrize(
    "env",
    [
        frozen_lake.make(),
        t_maze.make(length=3),
        matrix_game.make(np.arange(8.0).reshape(2, 2, 2), rounds=2),
        matrix_game.make(np.arange(2.0).reshape(1, 2)),
    ],
    ids=["frozen_lake", "t_maze", "two_players", "one_player_with_an_axis"],
)
def test_table_of_the_environment_of_a_table_is_the_same(env):
    model = tabulate(env)
    again = tabulate(from_table(model, env.max_steps))
    # States are numbered alike: both walks list the initial distribution first, which for a table is every state in order.
    for name in ("next_state", "terminated", "reward", "action_mask"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    np.testing.assert_allclose(again.probability, model.probability, atol=1e-7)
    np.testing.assert_allclose(again.initial, model.initial, atol=1e-7)
    assert again.joint_shape == model.joint_shape
    agents = () if env.num_agents is None else (env.num_agents,)
    assert again.observation.shape == (model.num_states, *agents)


def masked(state, params):
    return jnp.array([[True, True], [True, False]])


def masked_for_one(state, params):
    return jnp.array([True, False])


def test_masks_survive_the_table():
    game = matrix_game.make(np.arange(8.0).reshape(2, 2, 2)).replace(action_mask_fn=masked)
    model = tabulate(game)
    np.testing.assert_array_equal(model.action_mask[0].reshape(2, 2), [[True, False], [True, False]])
    np.testing.assert_array_equal(from_table(model, 1).action_mask(jnp.int32(0)), masked(None, None))
    alone = tabulate(corridor.make(2).replace(action_mask_fn=masked_for_one))
    np.testing.assert_array_equal(from_table(alone, 1).action_mask(jnp.int32(0)), [True, False])


def improbable(state, action, params):
    right = corridor.outcomes(state, action, params)
    return right._replace(probability=0.9 * right.probability)


def endless(state, action, params):
    return Outcomes(jnp.ones(1), (state + 1)[None], jnp.zeros(1), jnp.zeros(1, bool))


def from_zero(params):
    return Initial(jnp.ones(1), jnp.zeros(1, jnp.int32))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (cartpole.make(), "must state its outcomes"),
        (corridor.make(3).replace(outcomes_fn=improbable), "sum to 1"),
        (corridor.make(3).replace(action_space=Box(0.0, 1.0)), "must be Discrete"),
        (finite((), endless, from_zero, Discrete(10), Discrete(1), 10), "at most max_states = 50 states"),
    ],
)
def test_what_cannot_be_tabulated(env, message):
    with pytest.raises(EnvironmentError, match=message):
        tabulate(env, max_states=50)


def test_environments_built_again_are_equal():
    first, second = frozen_lake.make(), frozen_lake.make(slip=0.1)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert jax.tree.structure(from_table(tabulate(first), 5)) == jax.tree.structure(from_table(tabulate(second), 5))
