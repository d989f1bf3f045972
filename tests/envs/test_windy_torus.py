"""Windy torus: values in closed form without wind, the wind's outcomes, and turns of the picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds import windy_torus
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles

GAMMA = 0.95


def test_without_wind_the_value_is_that_of_the_shorter_way_round():
    model = tabulate(windy_torus.make(size=5))
    value = oracles.value_iteration(model, GAMMA)
    agent, goal = (np.stack(np.divmod(np.asarray(cells), 5), -1) for cells in model.state)
    apart = np.abs(agent - goal)
    steps = np.minimum(apart, 5 - apart).sum(-1)
    np.testing.assert_allclose(value, np.where(steps > 0, GAMMA ** (steps - 1.0), 0.0), atol=1e-9)
    assert model.num_states == 25 * 24 + 25


@pytest.mark.parametrize("size", [4, 5])
def test_the_wind_blows_in_the_right_half_alone(size):
    env = windy_torus.make(size=size, wind=0.3)
    for column in range(size):
        state = windy_torus.State(jnp.int32(column), jnp.int32(size * size - 1))
        found = env.outcomes_fn(state, jnp.int32(DOWN), env.params)
        below = size + column
        exposed = column >= size - (size - 1) // 2
        assert np.asarray(found.state.agent).tolist() == [below, size + (column + 1) % size]
        np.testing.assert_allclose(found.probability, [0.7, 0.3] if exposed else [1.0, 0.0], rtol=1e-6)


def test_a_certain_wind_carries_over_the_goal():
    env = windy_torus.make(size=5, wind=1.0)
    key = jax.random.key(0)
    beside = env.step(key, windy_torus.State(jnp.int32(3), jnp.int32(4)), jnp.int32(RIGHT))
    assert (int(beside.state.agent), float(beside.reward), bool(beside.terminated)) == (0, 0.0, False)
    blown = env.step(key, windy_torus.State(jnp.int32(3), jnp.int32(3)), jnp.int32(LEFT))
    assert (int(blown.state.agent), float(blown.reward), bool(blown.terminated)) == (3, 0.0, True)  # it was over
    arrived = env.step(key, windy_torus.State(jnp.int32(3), jnp.int32(24)), jnp.int32(UP))
    assert (int(arrived.state.agent), float(arrived.reward), bool(arrived.terminated)) == (24, 1.0, True)


def test_turns_turn_the_picture_and_four_of_them_nothing():
    model = tabulate(windy_torus.make(size=5))
    for quarters in (1, 2, 3):
        states, actions = windy_torus.turned(model, quarters)
        picture = np.asarray(model.observation)
        np.testing.assert_array_equal(picture[states], np.rot90(picture, quarters, (1, 2)))
        assert actions.tolist() == [(a + quarters) % 4 for a in range(4)]
        np.testing.assert_array_equal(np.sort(states), np.arange(model.num_states))
    states, _ = windy_torus.turned(model)
    np.testing.assert_array_equal(states[states[states[states]]], np.arange(model.num_states))


def test_a_quarter_turn_keeps_the_model_where_there_is_no_wind():
    """A move down is a move left that was turned: both reach cells that are turned alike."""
    model = tabulate(windy_torus.make(size=5))
    states, actions = windy_torus.turned(model)
    np.testing.assert_array_equal(states[model.next_state[..., 0]], model.next_state[..., 0][np.ix_(states, actions)])


def test_first_states_are_different_cells():
    env = envs.make("windy_torus", size=3)
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2000))[1]
    assert (states.agent != states.goal).all()
    counts = np.bincount(np.asarray(states.agent * 9 + states.goal), minlength=81).reshape(9, 9)
    assert counts[~np.eye(9, dtype=bool)].min() > 0


@pytest.mark.parametrize(
    "parameters", [dict(size=2), dict(wind=-0.1), dict(wind=1.5), dict(wind=float("nan")), dict(max_steps=0)]
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="windy_torus"):
        windy_torus.make(**parameters)
