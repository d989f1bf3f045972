"""Deep sea: its rules, and exact values of the best and of the uniform policy."""

import jax
import numpy as np
import pytest

from envs.gridworlds import deep_sea
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import oracles


def play(env, goes_right):
    """Plays an episode from the top left. Returns the columns, the rewards and the ends."""
    state = deep_sea.State(np.int32(0), np.int32(0))
    columns, rewards, ends = [], [], []
    for right in goes_right:
        action = env.params.right[state.row, state.column]
        step = env.step(jax.random.key(0), state, action if right else 1 - action)
        state = step.state
        columns.append(int(state.column))
        rewards.append(float(step.reward))
        ends.append(bool(step.terminated))
    return columns, rewards, ends


@pytest.mark.parametrize("seed", [0, 3, None])
def test_rules(seed):
    env = deep_sea.make(size=4, seed=seed)
    columns, rewards, ends = play(env, [True] * 4)
    assert columns == [1, 2, 3, 3]
    np.testing.assert_allclose(rewards, [-0.0025] * 3 + [0.9975], rtol=1e-6)
    assert ends == [False] * 3 + [True]
    columns, rewards, _ = play(env, [False, True, True, True])
    assert columns == [0, 1, 2, 3]
    np.testing.assert_allclose(rewards, [0, -0.0025, -0.0025, -0.0025], rtol=1e-6)
    columns, rewards, _ = play(env, [True, True, True, False])
    assert columns == [1, 2, 3, 2]
    assert rewards[-1] == 0


@pytest.mark.parametrize("size", [1, 4, 10, 20])
def test_optimal_value_without_discount(size):
    model = tabulate(deep_sea.make(size))
    assert oracles.start_value(model, oracles.value_iteration(model, 1.0)) == pytest.approx(0.99)
    with jax.enable_x64(True):
        assert float(value_iteration(model, 1.0).start_value(model)) == pytest.approx(0.99)


def test_optimal_value_with_discount():
    size, gamma = 10, 0.9
    model = tabulate(deep_sea.make(size))
    expected = gamma ** (size - 1) - 0.01 / size * (1 - gamma**size) / (1 - gamma)
    assert oracles.start_value(model, oracles.value_iteration(model, gamma)) == pytest.approx(expected)


@pytest.mark.parametrize("size", [4, 10])
def test_uniform_actions_find_the_treasure_with_probability_two_to_the_minus_n(size):
    model = tabulate(deep_sea.make(size))
    # Half of the moves go right.
    value = oracles.start_value(model, oracles.horizon_values(model, size, oracles.uniform(model)))
    assert value == pytest.approx(0.5**size - 0.005)


def test_states_and_observations():
    env = deep_sea.make(size=5)
    model = tabulate(env)
    assert model.num_states == 5 * 6 / 2 + 5  # a triangle of cells, and where episodes end
    assert sorted(set(model.observation.tolist())) == sorted({r * 5 + c for r in range(5) for c in range(r + 1)} | {25})


def test_the_seed_decides_which_action_goes_right():
    one, same, other = (np.asarray(deep_sea.make(8, seed).params.right) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert set(one.ravel()) == {0, 1}
    assert (np.asarray(deep_sea.make(8, None).params.right) == 1).all()


@pytest.mark.parametrize("parameters", [dict(size=0), dict(seed=-1), dict(cost=-0.1)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        deep_sea.make(**parameters)
