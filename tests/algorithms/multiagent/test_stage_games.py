"""Nash-Q and friend-or-foe Q: what each is in zero-sum games, in games of common interest, and in the first grid game."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.multiagent import friend_or_foe_q, minimax_q, nash_q
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.finite import from_table, tabulate
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.evaluation import AgentValues, Exploitability
from jaxrl.solvers import nash
from jaxrl.training.runner import run
from tests.algorithms.multiagent.test_minimax_q import _bait, _no_bait, probe
from tests.solvers.test_markov_games import random_model

GAMMA = 0.9
SIZES = {"gamma": GAMMA, "epsilon": 0.5, "num_steps": 100}
NASH, FIRST = nash_q.Config(**SIZES), nash_q.Config(**SIZES, selection="first")
FRIEND, FOE = friend_or_foe_q.Config(**SIZES), friend_or_foe_q.Config(**SIZES, other="foe")
SURE = {"learning_rate_half_life": float("inf")}  # alpha 1: exact where nothing is random


@functools.cache
def zero_sum_game():
    return from_table(random_model(joint_shape=(3, 3), zero_sum=True), max_steps=50)


@functools.cache
def common_interest():
    """A deterministic game whose two players are paid alike, and the exact table of a planner who moves both, [X, A * A]."""
    rng, states, joint = np.random.default_rng(3), 6, 9
    reward = rng.integers(-3, 4, size=(states, joint)).astype(float)
    next_state = rng.integers(states, size=(states, joint)).astype(np.int32)
    model = dataclasses.replace(
        random_model(states=states, joint_shape=(3, 3)),
        probability=np.ones((states, joint, 1)),
        next_state=next_state[:, :, None],
        reward=np.repeat(reward[:, :, None, None], 2, axis=-1),
        terminated=np.zeros((states, joint, 1), bool),
    )
    q = np.zeros((states, joint))
    for _ in range(500):
        q = reward + GAMMA * q.max(1)[next_state]
    return model, q


def final(make, env, config, num_updates, seeds=2, **options):
    return jax.tree.map(np.asarray, run(make, env, config, seeds=seeds, num_updates=num_updates, **options).state)


def test_in_a_zero_sum_game_foe_q_is_minimax_q():
    """The same numbers, to the last bit: tables, visits, values and strategies."""
    same = minimax_q.Config(**SIZES, learning_rate_final=1.0, learning_rate_half_life=1.0, initial_value=0.0)
    foe = final(friend_or_foe_q.make, zero_sum_game(), FOE, 3)
    minimax = final(minimax_q.make, zero_sum_game(), same, 3)
    for name in ("q", "visits", "value", "strategy"):
        np.testing.assert_array_equal(getattr(foe, name), getattr(minimax, name))
    assert np.abs(foe.value).max() > 0.1


def test_in_a_zero_sum_game_nash_q_has_the_values_of_minimax_q():
    """Equilibria are interchangeable there: its tables are zero-sum, and each stage game pays what minimax secures."""
    state = final(nash_q.make, zero_sum_game(), NASH, 3)
    games = jnp.asarray(state.q.reshape(2, 2, -1, 3, 3))
    np.testing.assert_allclose(games[:, 0], -jnp.swapaxes(games[:, 1], -1, -2), atol=1e-4)
    secured = jax.vmap(minimax_q.solve, in_axes=(0, None))(jnp.moveaxis(games, 1, 2).reshape(-1, 2, 3, 3), None).value
    visited = state.visits[:, 0].sum(-1) > 0
    value = np.moveaxis(state.value, 1, 2)
    np.testing.assert_allclose(value[visited], secured.reshape(value.shape)[visited], atol=1e-4)
    assert visited.sum() > 4


@pytest.mark.parametrize(("make", "config"), [(friend_or_foe_q.make, FRIEND), (nash_q.make, NASH)])
def test_with_common_interests_it_is_q_learning_over_joint_actions(make, config):
    """Both end with the exact table of a planner who moves both, and so does Q-learning on the game with one agent."""
    model, exact = common_interest()
    env = from_table(model, max_steps=20)
    numbers = np.asarray(tabulate(env).observation)[:, 0]
    state = final(make, env, config.replace(epsilon=1.0, num_envs=8, **SURE), 20)
    np.testing.assert_allclose(state.q[:, 0, numbers], np.broadcast_to(exact, (2, *exact.shape)), atol=1e-3)
    own_first = state.q[:, 1].reshape(2, -1, 3, 3).swapaxes(-1, -2).reshape(state.q[:, 1].shape)
    np.testing.assert_array_equal(state.q[:, 0], own_first)


def test_q_learning_over_joint_actions_finds_that_table():
    model, exact = common_interest()
    one = dataclasses.replace(model, reward=model.reward[..., 0], observation=model.observation[:, 0], joint_shape=(9,))
    alone = from_table(one, max_steps=20)
    config = q_learning.Config(gamma=GAMMA, epsilon=1.0, learning_rate=1.0, num_envs=8, **SURE)
    numbers = np.asarray(tabulate(alone).observation)
    found = final(q_learning.make, alone, config, 20).q[:, numbers]
    np.testing.assert_allclose(found, np.broadcast_to(exact, found.shape), atol=1e-3)


def test_friends_hope_and_foes_fear():
    """In chicken a friend hopes for 7, and drives on; a foe secures 2, and swerves: payoffs (6, 2), (7, 0)."""
    env = matrix_game.make(named.CHICKEN)
    hope, fear = (final(friend_or_foe_q.make, env, config, 3) for config in (FRIEND, FOE))
    np.testing.assert_allclose(hope.value[:, :, 0], 7, atol=1e-4)
    np.testing.assert_allclose(hope.strategy[:, :, 0], np.broadcast_to([0, 1], (2, 2, 2)), atol=1e-5)
    np.testing.assert_allclose(fear.value[:, :, 0], 2, atol=1e-4)
    np.testing.assert_allclose(fear.strategy[:, :, 0], np.broadcast_to([1, 0], (2, 2, 2)), atol=1e-5)


@pytest.mark.parametrize("config", [NASH, FIRST])
def test_nash_q_learns_an_equilibrium_of_chicken(config):
    """A pure one, 2 and 7, as either rule selects: the first in order, or where the path of the first label ends."""
    state = final(nash_q.make, matrix_game.make(named.CHICKEN), config, 3)
    played = nash.select(named.CHICKEN, config.selection)
    np.testing.assert_allclose(state.value[:, :, 0], np.broadcast_to(played.payoff, (2, 2)), atol=1e-4)
    np.testing.assert_allclose(state.strategy[:, :, 0], np.broadcast_to([played.row, played.column], (2, 2, 2)), atol=1e-4)
    assert sorted(np.round(played.payoff)) == [2, 7]


def test_nash_q_mixes_where_it_must():
    """Matching pennies has no pure equilibrium."""
    state = final(nash_q.make, matrix_game.make(named.MATCHING_PENNIES), NASH, 3)
    np.testing.assert_allclose(state.strategy[:, :, 0], 0.5, atol=1e-4)


@pytest.mark.parametrize(("make", "config"), [(nash_q.make, NASH), (friend_or_foe_q.make, FRIEND)])
def test_masked_actions_are_neither_taken_nor_valued(make, config):
    """Action 2 would win 10 for its player, and is illegal."""
    state = final(make, probe(_bait, 3, action_mask=_no_bait), config, 3)
    visits = state.visits.reshape(2, 2, 3, 3, 3)
    assert (visits[..., 2, :] == 0).all()
    assert (visits[..., 2] == 0).all()
    assert (state.strategy[:, :, :2, 2] == 0).all()
    np.testing.assert_allclose(state.value[:, :, :2], 0 if make is nash_q.make else 1, atol=1e-3)  # matching pennies


@pytest.mark.slow
def test_nash_q_reaches_the_best_equilibrium_of_the_first_grid_game():
    """Both walk their four steps: 100 * 0.99^3 each, and neither gains by another way."""
    env = envs.make("grid_game_1")
    evaluators = AgentValues.of(env, 0.99), Exploitability.of(env, 0.99)
    config = nash_q.Config(epsilon=1.0, learning_rate_half_life=20.0, num_steps=1_000)
    done = run(nash_q.make, env, config, seeds=8, num_updates=30, chunk_length=30, evaluators=evaluators)
    for agent in range(2):
        np.testing.assert_allclose(done.evaluations[f"greedy_agent_value/{agent}"][:, -1], 97.0299, atol=1e-3)
    np.testing.assert_allclose(done.evaluations["greedy_exploitability"][:, -1], 0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(done.metrics["stage_gap"]), 0, atol=1e-2)


@pytest.mark.parametrize(
    ("make", "config", "env", "error", "message"),
    [
        (nash_q.make, NASH, "corridor", ConfigError, "nash_q: the environment must have 2 agents, got None"),
        (nash_q.make, NASH.replace(selection="worst"), "chicken", UnknownNameError, "selection"),
        (friend_or_foe_q.make, FRIEND.replace(other="rival"), "chicken", UnknownNameError, "other"),
        (friend_or_foe_q.make, FRIEND, "pursuit", SpaceError, "observation_space must be Discrete"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(make, config, env, error, message):
    with pytest.raises(error, match=message):
        run(make, envs.make(env), config, num_updates=1)
