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
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import machine
from jaxrl.core.finite import Initial, Outcomes, TabularModel, byte_rows, finite, from_table, sample_index, tabulate, tabulation
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import ConfigError, EnvError
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
    for table in (model.probability, model.reward, model.initial, tabulate(matrix_game.make(np.ones((2, 2, 2)))).probability):
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
    with pytest.raises(EnvError, match=message):
        tabulate(env, max_states=50)


# ---- what enters a table


def two_agents(state, action, params):
    """A matching of pennies, zero-sum, whose reward lacks one of the two agents."""
    won = jnp.where(action[0] == action[1], 1.0, -1.0)
    return Outcomes(jnp.ones(1), jnp.zeros(1, jnp.int32), won[None, None], jnp.ones(1, bool))


def with_chance(*chance):
    """Outcomes 0 .. K-1 with these probabilities."""

    def outcomes(state, action, params):
        return Outcomes(jnp.array(chance), jnp.arange(len(chance)), jnp.zeros(len(chance)), jnp.zeros(len(chance), bool))

    return finite((), outcomes, from_zero, Discrete(3), Discrete(2), 10)


def paying(*reward):
    """Two outcomes, the second impossible, that pay these rewards."""

    def outcomes(state, action, params):
        return Outcomes(jnp.array([1.0, 0.0]), jnp.arange(2), jnp.array(reward), jnp.ones(2, bool))

    return finite((), outcomes, from_zero, Discrete(2), Discrete(1), 10)


THREE = Discrete(3)


def beginning(chance, states, space=THREE):
    def initial(params):
        return Initial(jnp.array(chance), jnp.array(states))

    def outcomes(state, action, params):
        return Outcomes(jnp.ones(1), state[None], jnp.zeros(1), jnp.ones(1, bool))

    return finite((), outcomes, initial, space, Discrete(1), 10)


def moving_to(successor):
    def outcomes(state, action, params):
        return Outcomes(jnp.ones(1), jnp.full(1, successor, jnp.int32), jnp.zeros(1), jnp.zeros(1, bool))

    return finite((), outcomes, from_zero, Discrete(3), Discrete(2), 10)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (finite((), two_agents, from_zero, Discrete(1), Discrete(2), 1, num_agents=2), r"reward .* shape \[1, 2\], got \[1, 1\]"),
        (with_chance(0.9, 0.0), r"sum to 1, got 0.9.* for action 0 in state 0"),
        (with_chance(NAN, 1.0), "numbers of at least 0, got nan"),
        (with_chance(1.5, -0.5), "numbers of at least 0, got -0.5"),
        (with_chance(INFINITE, 0.0), "sum to 1, got inf"),
        (paying(NAN, 0.0), r"rewards must be finite, got \[nan, 0.0\] for action 0 in state 0"),
        (paying(INFINITE, 0.0), "rewards must be finite"),
        (beginning([1.5, -0.5], [0, 1]), "initial distribution must not be negative, got '-0.5'"),
        (beginning([0.9, 0.0], [0, 1]), "initial distribution must sum to 1, got 'a sum of 0.9'"),
        (beginning([NAN, 1.0], [0, 1]), "initial distribution must be finite, got 'nan at index 0'"),
        (beginning([0.5, 0.5], [0.0, NAN]), "states and observations must not be NaN"),
        (beginning([0.5, 0.5], [0, 1, 2]), r"every part of the state of initial must have shape \[2\], got \[3\]"),
        (beginning([0.5, 0.5], [0, 3]), r"reached must be observed within Discrete\(n=3\), got '3 in state 3'"),
        (moving_to(9), r"got '9 in state 9'. Mend the successors"),
        (moving_to(-1), r"got '-1 in state -1'"),
        (beginning([[0.5, 0.5]], [0]), r"probability of initial must have shape \[1\], got \[1, 2\]"),
    ],
)
def test_tables_that_are_none_are_refused_with_the_place(env, message):
    with pytest.raises(EnvError, match=message):
        tabulate(env)


@pytest.mark.parametrize("chance", [(0.9,), (0.9, 0.0), (NAN, 1.0), (-0.5, 1.5), (1.5, -0.5), (0.0, 0.0)])
def test_a_step_by_no_distribution_pays_nan(chance):
    env = with_chance(*chance)
    assert np.isnan(env.step(jax.random.key(0), jnp.int32(0), jnp.int32(0)).reward)
    assert not np.isnan(with_chance(0.25, 0.75).step(jax.random.key(0), jnp.int32(0), jnp.int32(0)).reward)


def test_learning_from_no_distribution_does_not_go_unnoticed():
    """Three of four seeds get slip probabilities in [0, 1], one gets 1.5."""
    env = corridor.make(3)
    task = env.replace(params=env.params.replace(slip=jnp.array([0.0, 0.1, 1.5, 1.0])))
    config = q_learning.Config(num_steps=10)

    @jax.jit
    def learned(slip, key):
        algorithm = q_learning.make(env.replace(params=env.params.replace(slip=slip)), config)
        return algorithm.update(algorithm.init(key), key)[1]["td_error"]

    error = jax.vmap(learned)(task.params.slip, jax.random.split(jax.random.key(0), 4))
    np.testing.assert_array_equal(np.isnan(error), [False, False, True, False])


def test_an_impossible_outcome_may_be_anything():
    model = tabulate(paying(2.0, NAN))
    np.testing.assert_array_equal(model.reward[0, 0], [2.0, 0.0])
    np.testing.assert_array_equal(model.initial, [1.0])
    assert tabulate(beginning([1.0, 0.0], [0.0, NAN], Box(0.0, 1.0, ()))).num_states == 1


def test_zeros_of_either_sign_are_one_state():
    """A position that is turned about 0: times -1 it is -0.0, the same place."""

    def outcomes(state, action, params):
        following = jnp.stack([-state, 1.0 - jnp.abs(state)])
        return Outcomes(jnp.array([0.5, 0.5]), following, following, jnp.zeros(2, bool))

    def initial(params):
        return Initial(jnp.array([0.25, 0.75]), jnp.array([0.0, -0.0], jnp.float32))

    model = tabulate(finite((), outcomes, initial, Box(-1.0, 1.0, ()), Discrete(1), 10))
    np.testing.assert_array_equal(np.sort(model.state), [-1.0, 0.0, 1.0])
    np.testing.assert_array_equal(model.initial[model.state == 0.0], [1.0])


def test_bytes_of_equal_entries_are_equal():
    entries = {"place": np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]]), "turn": np.array([True, True, True])}
    rows = byte_rows("here", entries)
    assert (rows.shape, rows.dtype) == ((3, 17), np.uint8)
    assert (rows[0] == rows[1]).all()
    assert (rows[0] != rows[2]).any()
    seen = byte_rows("here", np.array([[[0.0], [-0.0]]], np.float32), axes=2)
    assert seen.shape == (1, 2, 4)
    assert not seen.any()
    with pytest.raises(EnvError, match=r"here: states and observations must not be NaN, got \{'place': \[nan, 1.0\]"):
        byte_rows("here", {"place": np.array([[0.0, 1.0], [NAN, 1.0]])})


def test_tables_do_not_depend_on_how_many_states_are_expanded_at_once(monkeypatch):
    env = frozen_lake.make(map="8x8")
    at_once = tabulate(env)
    monkeypatch.setattr(tabulation, "_BLOCK", 1)
    monkeypatch.setattr(tabulation, "_LARGE_BLOCK", 4)
    jax.tree.map(np.testing.assert_array_equal, tabulate(env), at_once)


def test_tables_that_do_not_fit_are_refused_before(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1000.0)
    with pytest.raises(ConfigError, match=r"the tables of 16 states must fit into the memory of this machine"):
        tabulate(frozen_lake.make())


def unequal_game(**changes):
    """A one-shot game of two players with 2 and 4 actions; the first is paid 10 i + j, the second the negative."""
    pay = (10.0 * np.arange(2)[:, None] + np.arange(4)).reshape(1, 8, 1)
    tables = dict(
        next_state=np.zeros((1, 8, 1), np.int32),
        probability=np.ones((1, 8, 1)),
        reward=np.stack([pay, -pay], axis=-1),
        terminated=np.ones((1, 8, 1), bool),
        initial=np.ones(1),
        action_mask=np.ones((1, 8), bool),
        observation=np.zeros((1, 2), np.int32),
        state=np.zeros(1, np.int32),
        joint_shape=(2, 4),
    )
    return TabularModel(**(tables | changes))


def test_agents_with_unequal_numbers_of_actions_keep_them_all():
    env = from_table(unequal_game(), 1)
    assert env.action_space.n == 4
    np.testing.assert_array_equal(env.action_mask(jnp.int32(0)), [[True, True, False, False], [True] * 4])
    for joint in ((0, 3), (1, 2), (1, 3)):
        step = env.step(jax.random.key(0), jnp.int32(0), jnp.array(joint))
        np.testing.assert_array_equal(step.reward, [10 * joint[0] + joint[1], -10 * joint[0] - joint[1]])
    model = tabulate(env)
    assert model.joint_shape == (4, 4)
    assert model.action_mask.sum() == 8
    np.testing.assert_array_equal(model.reward[0, model.action_mask[0], 0, 0], unequal_game().reward[0, :, 0, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(probability=np.full((1, 8, 1), 0.9)), "sum to 1, got 0.9 for action 0 in state 0"),
        (dict(probability=np.full((1, 8, 1), NAN)), "numbers of at least 0"),
        (dict(probability=np.ones((1, 8))), r"probability must have shape \[1, 8, 1\], got \[1, 8\]"),
        (dict(reward=np.ones((1, 8, 1, 1))), r"reward must have shape \[1, 8, 1, 2\]"),
        (dict(reward=np.full((1, 8, 1, 2), -INFINITE)), "rewards must be finite"),
        (dict(next_state=np.ones((1, 8, 1), np.int32)), r"next_state must hold whole numbers in \[0, 1\)"),
        (dict(next_state=np.zeros((1, 8, 1))), "next_state must hold whole numbers"),
        (dict(initial=np.full(1, 0.9)), "initial distribution must sum to 1"),
        (dict(action_mask=np.zeros((1, 8), bool)), "every state must have a legal action, got 'none in state 0'"),
        (dict(joint_shape=(2, 2)), "joint_shape must be the numbers of actions of the agents, with a product of 8"),
    ],
)
def test_tables_of_ones_own_are_checked_alike(changes, message):
    with pytest.raises(EnvError, match=f"from_table: .*{message}"):
        from_table(unequal_game(**changes), 1)


def test_environments_built_again_are_equal():
    first, second = frozen_lake.make(), frozen_lake.make(slip=0.1)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert jax.tree.structure(from_table(tabulate(first), 5)) == jax.tree.structure(from_table(tabulate(second), 5))
