"""Catch: its rules, and exact values of the best and of the uniform policy."""

import itertools

import jax
import numpy as np
import pytest

from envs.gridworlds import catch
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests import oracles

LEFT, STAY, RIGHT = range(3)


@pytest.fixture(scope="module")
def env():
    return catch.make()


@pytest.fixture(scope="module")
def model(env):
    return tabulate(env)


def play(env, column, actions):
    """Plays actions from the start. Returns the paddle's columns, the rewards, the ends, and the last board."""
    state = catch.State(np.int32(0), np.int32(column), np.int32(env.params.board.shape[1] // 2))
    paddles, rewards, ends, board = [], [], [], None
    for action in actions:
        step = env.step(jax.random.key(0), state, np.int32(action))
        state, board = step.state, step.obs
        paddles.append(int(state.paddle))
        rewards.append(float(step.reward))
        ends.append(bool(step.terminated))
    return paddles, rewards, ends, np.asarray(board)


def test_the_ball_lands_after_nine_steps(env):
    paddles, rewards, ends, board = play(env, 4, [LEFT] * 4 + [RIGHT] * 5)
    assert paddles == [1, 0, 0, 0, 1, 2, 3, 4, 4]
    assert rewards == [0] * 8 + [1]
    assert ends == [False] * 8 + [True]
    assert board.shape == (10, 5, 1)
    assert board[9, 4, 0] == board.sum() == 1
    _, rewards, ends, board = play(env, 0, [STAY] * 9)
    assert (sum(rewards), ends[-1]) == (-1, True)
    assert board[9, 0, 0] == board[9, 2, 0] == 1
    assert board.sum() == 2


def test_the_board_shows_ball_and_paddle(env):
    *_, board = play(env, 1, [RIGHT, STAY, STAY])
    assert {tuple(cell) for cell in np.argwhere(board[..., 0])} == {(3, 1), (9, 3)}


@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.9])
def test_optimal_value(model, gamma):
    """Every ball can be reached in time; the reward comes at the ninth step."""
    assert oracles.start_value(model, oracles.value_iteration(model, gamma)) == pytest.approx(gamma**8)
    with jax.enable_x64(True):
        assert float(value_iteration(model, gamma).start_value(model)) == pytest.approx(gamma**8)


def test_value_of_the_uniform_policy(env, model):
    """The paddle is a random walk between walls: enumerate all 3^9 action sequences of the 5 columns."""
    ends = np.full(3**9, 2)
    for move in np.array(list(itertools.product((-1, 0, 1), repeat=9))).T:
        ends = np.clip(ends + move, 0, 4)
    expected = np.mean([2 * (ends == column).mean() - 1 for column in range(5)])
    values = oracles.horizon_values(model, env.max_steps, oracles.uniform(model))
    assert oracles.start_value(model, values) == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx(-0.6)


def test_number_of_states(model):
    """Row 0: 5 balls, one paddle; row 1: three paddles; rows 2 to 9: all five."""
    assert model.num_states == 5 * (1 + 3 + 8 * 5)


def test_other_sizes():
    small = catch.make(rows=3, columns=7)
    model = tabulate(small)
    # Two moves from the middle reach columns 1 to 5 of 0 .. 6.
    assert oracles.start_value(model, oracles.value_iteration(model, 1.0)) == pytest.approx(5 / 7 - 2 / 7)
    assert small.observation_space.shape == (3, 7, 1)


@pytest.mark.parametrize("parameters", [dict(rows=1), dict(columns=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        catch.make(**parameters)
