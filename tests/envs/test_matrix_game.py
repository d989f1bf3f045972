"""Matrix games: payoffs, and how the game ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import matrix_game, named
from jaxrl.conformance import check_environment
from jaxrl.errors import ConfigError
from jaxrl.finite import tabulate

ASYMMETRIC = np.arange(18.0).reshape(2, 3, 3)


def play(env, actions):
    """Plays joint actions from the first round. Returns rewards [T, N] and terminations [T]."""
    _, state = env.reset(jax.random.key(0))
    rewards, ends = [], []
    for action in actions:
        step = env.step(jax.random.key(1), state, jnp.array(action, jnp.int32))
        np.testing.assert_array_equal(step.obs, np.zeros(env.num_agents))
        state = step.state
        rewards.append(np.asarray(step.reward))
        ends.append(bool(step.terminated))
    return np.array(rewards), ends


def test_prisoners_dilemma():
    env = matrix_game.make(named.PRISONERS_DILEMMA, rounds=None)
    rewards, ends = play(env, [(0, 0), (0, 1), (1, 0), (1, 1)])
    np.testing.assert_array_equal(rewards, [(-1, -1), (-3, 0), (0, -3), (-2, -2)])
    assert not any(ends)
    assert env.max_steps == 100


@pytest.mark.parametrize("players", [1, 2, 3])
def test_payoffs_are_one_look_up(players):
    payoff = np.random.default_rng(0).normal(size=(players, *[2] * players)).astype(np.float32)
    model = tabulate(matrix_game.make(payoff))
    assert model.joint_shape == (2,) * players
    for joint in range(model.num_actions):
        actions = np.unravel_index(joint, model.joint_shape)
        np.testing.assert_allclose(model.reward[model.initial.argmax(), joint, 0], payoff[(slice(None), *actions)])


def test_game_ends_after_its_rounds():
    rewards, ends = play(matrix_game.make(ASYMMETRIC), [(2, 1), (2, 1)])
    assert ends == [True, True]
    np.testing.assert_array_equal(rewards, [(7, 16), (0, 0)])
    rewards, ends = play(matrix_game.make(ASYMMETRIC, rounds=3), [(0, 2)] * 4)
    assert ends == [False, False, True, True]
    np.testing.assert_array_equal(rewards[:, 0], [2, 2, 2, 0])


def test_game_without_end_has_one_state():
    assert tabulate(matrix_game.make(ASYMMETRIC, rounds=None)).num_states == 1
    assert tabulate(matrix_game.make(ASYMMETRIC, rounds=4)).num_states == 5


def test_players_with_fewer_actions_are_masked():
    payoff = np.arange(12.0).reshape(2, 2, 3)
    env = matrix_game.make(payoff, rounds=2)
    check_environment(env, jax.random.key(0), rebuilt=matrix_game.make(payoff + 1, rounds=2))
    _, state = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(env.action_mask(state), [[True, True, False], [True, True, True]])
    rewards, _ = play(env, [(1, 2), (0, 1)])
    np.testing.assert_array_equal(rewards, [payoff[:, 1, 2], payoff[:, 0, 1]])
    assert matrix_game.make(ASYMMETRIC).action_mask_fn is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(payoff=np.zeros((2, 2))), "must have shape"),
        (dict(payoff=np.zeros((3, 2, 3))), "must have shape"),
        (dict(payoff=[[[1, 2]], [[1], [2]]]), "payoffs must be (a real number|real numbers)"),
        (dict(payoff=1.0), "must have shape"),
        (dict(payoff=np.full((1, 2), np.nan)), "finite"),
        (dict(payoff=ASYMMETRIC, rounds=0), "rounds"),
        (dict(payoff=ASYMMETRIC, max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        matrix_game.make(**parameters)
