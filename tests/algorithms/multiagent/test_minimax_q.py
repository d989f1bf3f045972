"""Minimax-Q: exact stage games, time limits, masks, and the value of random games and of soccer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import matrix_game
from jaxrl.algorithms.multiagent import minimax_q
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite, from_table, tabulate
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, EnvError, QuarantineWarning, SpaceError
from jaxrl.evaluation import Exploitability
from jaxrl.solvers import markov_games
from jaxrl.training.runner import run
from tests.solvers.test_markov_games import random_model

GAMMA = 0.9
CONFIG = minimax_q.Config(gamma=GAMMA, epsilon=0.5, decay_steps=4_000.0, num_steps=100)
WEIGHTED = np.array([[0.0, -1, 2], [1, 0, -3], [-2, 3, 0]])


def learned(env, num_updates=40, **changes):
    """Returns the final states of four seeds."""
    return jax.tree.map(np.asarray, run(minimax_q.make, env, CONFIG.replace(**changes), seeds=4, num_updates=num_updates).state)


def test_one_shot_game_is_solved_exactly():
    """The payoffs are certain, so the table is exact once each joint action was taken, and the stage game is the game."""
    state = learned(matrix_game.make(np.stack([WEIGHTED, -WEIGHTED])))
    for player, payoff in enumerate((WEIGHTED, -WEIGHTED.T)):
        learned_payoff = state.q[:, player, 0].reshape(4, 3, 3)
        np.testing.assert_allclose(learned_payoff, np.broadcast_to(payoff, (4, 3, 3)), atol=1e-4)
    np.testing.assert_allclose(state.value[:, :, 0], 0, atol=1e-4)
    np.testing.assert_allclose(state.strategy[:, :, 0], np.broadcast_to([1 / 2, 1 / 3, 1 / 6], (4, 2, 3)), atol=1e-4)


# Probes for two players: the first one's reward, the second's is its negative.


def _start(params):
    return Initial(jnp.full(2, 0.5), jnp.arange(2, dtype=jnp.int32))


def _both(state, params):
    return jnp.full(2, state, jnp.int32)


def _limit_or_end(state, action, params):
    # As in the probes for one agent: state 0 goes on until the time limit, state 1 ends at once; both pay 1 a step.
    return Outcomes(jnp.ones(1), state[None], jnp.array([[1.0, -1.0]]), (state == 1)[None])


def _delayed(state, action, params):
    pay = jnp.where(state == 1, 1.0, 0.0) * jnp.where(action[0] == 1, 2.0, 1.0)
    return Outcomes(jnp.ones(1), (state + 1)[None], jnp.stack([pay, -pay])[None], (state == 1)[None])


def _bait(state, action, params):
    # What is forbidden is best: action 2 would win 10 for its player.
    pay = (
        jnp.where(action[0] == 2, 10.0, 0.0) - jnp.where(action[1] == 2, 10.0, 0.0) + jnp.where(action[0] == action[1], 1.0, -1.0)
    )
    return Outcomes(jnp.ones(1), jnp.full(1, 2, jnp.int32), jnp.stack([pay, -pay])[None], jnp.ones(1, bool))


def _no_bait(state, params):
    return jnp.array([[True, True, False]] * 2)


def probe(outcomes, actions, max_steps=10, **parts) -> Environment:
    return finite(None, outcomes, _start, Discrete(3), Discrete(actions), max_steps, observe=_both, num_agents=2, **parts)


def test_a_time_limit_is_not_an_end():
    state = learned(probe(_limit_or_end, 2, max_steps=2), 60, learning_rate_final=0.5)
    for player, sign in enumerate((1, -1)):
        np.testing.assert_allclose(sign * state.value[:, player, 0], 1 / (1 - GAMMA), rtol=0.02)
        np.testing.assert_allclose(sign * state.value[:, player, 1], 1.0, rtol=1e-4)


def test_values_travel_backwards():
    state = learned(probe(_delayed, 2))
    for player, sign in enumerate((1, -1)):
        np.testing.assert_allclose(sign * state.value[:, player, 1], 2.0, atol=1e-3)  # the first player prefers action 1
        np.testing.assert_allclose(sign * state.value[:, player, 0], 2 * GAMMA, atol=1e-2)
    np.testing.assert_allclose(state.strategy[:, 0, 1], np.broadcast_to([0, 1], (4, 2)), atol=1e-4)


def test_masked_actions_are_neither_taken_nor_valued():
    env = probe(_bait, 3, action_mask=_no_bait)
    state = learned(env)
    visits = state.visits.reshape(4, 2, 3, 3, 3)
    assert (visits[..., 2, :] == 0).all()
    assert (visits[..., 2] == 0).all()
    np.testing.assert_allclose(state.value[:, :, :2], 0, atol=1e-3)  # matching pennies on the legal actions
    np.testing.assert_allclose(state.strategy[:, :, :2], np.broadcast_to([0.5, 0.5, 0], (4, 2, 2, 3)), atol=1e-3)
    # In a state that was never seen the strategy is uniform over what is legal.
    algorithm = minimax_q.make(env, CONFIG)
    view = View(jnp.full((1, 2), 2), jnp.asarray([[[True, False, True], [True, True, True]]]), ())
    first = jax.tree.map(lambda leaf: leaf[0], state)
    np.testing.assert_allclose(algorithm.probabilities(first, view)[0], [[0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]], atol=1e-6)


def test_policies_follow_their_probabilities():
    env = matrix_game.make(np.stack([WEIGHTED, -WEIGHTED]))
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), learned(env))
    algorithm = minimax_q.make(env, CONFIG)
    view = View(jnp.zeros((20_000, 2), jnp.int32), None, ())
    drawn = np.asarray(algorithm.policy(state, False)(jax.random.key(0), view).action)
    assert drawn.dtype == np.int32
    for player in range(2):
        share = np.bincount(drawn[:, player], minlength=3) / len(drawn)
        np.testing.assert_allclose(share, [1 / 2, 1 / 3, 1 / 6], atol=0.02)
    assert (np.asarray(algorithm.policy(state, True)(jax.random.key(0), view).action) == 0).all()


@pytest.mark.slow
def test_converges_to_the_exact_values_of_a_random_game():
    """16 seeds, full exploration: values within 0.15 of Shapley's everywhere on average, fixed beforehand (rewards near 1)."""
    model = random_model(joint_shape=(3, 3), zero_sum=True)
    env = from_table(model, max_steps=50)
    config = CONFIG.replace(epsilon=1.0, num_envs=8, decay_steps=80_000.0)
    evaluators = (Exploitability.of(env, GAMMA),)
    done = run(minimax_q.make, env, config, seeds=16, num_updates=200, chunk_length=100, evaluators=evaluators)
    numbers = np.asarray(tabulate(env).observation)[:, 0]
    with jax.enable_x64(True):
        exact = np.asarray(markov_games.shapley(model, GAMMA, 1e-12).value)
        span = np.abs(exact).max()
    expected = np.stack([exact[numbers], -exact[numbers]])
    error = np.abs(np.asarray(done.state.value)[:, :, numbers] - expected)
    assert error.mean() < 0.15
    assert span > 0.5
    assert done.evaluations["sampled_exploitability"][:, -1].mean() < 0.3


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        (envs.make("corridor"), {}, ConfigError, "must have 2 agents, got None"),
        (envs.make("pursuit"), {}, SpaceError, "observation_space must be Discrete"),
        (envs.make("soccer"), {"gamma": 1.5}, ConfigError, r"gamma must lie in \[0, 1\], got 1.5"),
        (envs.make("soccer"), {"learning_rate_final": 0.0}, ConfigError, "learning_rate_final must be positive"),
        (envs.make("soccer"), {"num_envs": 0}, ConfigError, "num_envs must be an integer of at least 1"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(minimax_q.make, env, CONFIG.replace(**changes), seeds=2, num_updates=2)


def test_a_game_whose_rewards_do_not_cancel_is_refused():
    with pytest.raises(EnvError, match="must sum to zero, got "):
        run(minimax_q.make, envs.make("chicken"), CONFIG, num_updates=1)


def _late(state, action, params):
    """Pays both players from the 41st step on, where random play before training does not come."""
    return Outcomes(jnp.ones(1), (state + 1)[None], jnp.where(state > 40, 1.0, 0.0) * jnp.ones((1, 2)), jnp.zeros(1, bool))


def _at_zero(params):
    return Initial(jnp.ones(1), jnp.zeros(1, jnp.int32))


def test_rewards_that_cease_to_cancel_put_the_seed_into_quarantine():
    env = finite((), _late, _at_zero, Discrete(61), Discrete(2), max_steps=60, observe=_both, num_agents=2)
    with pytest.warns(QuarantineWarning):
        failed = run(minimax_q.make, env, CONFIG, num_updates=1).summary.failed_seeds
    assert failed[0].update == 0


def test_an_action_that_is_illegal_now_is_not_played_though_the_strategy_knows_no_other():
    """One observation, but only action 1 is legal while the strategy plays action 0."""
    env = matrix_game.make(np.stack([WEIGHTED, -WEIGHTED]))
    algorithm = minimax_q.make(env, CONFIG)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    state = state.replace(strategy=jnp.zeros_like(state.strategy).at[..., 0].set(1.0))
    mask = jnp.zeros((1, 2, 3), bool).at[..., 1].set(True)
    view = View(jnp.zeros((1, 2), jnp.int32), mask, ())
    np.testing.assert_array_equal(algorithm.probabilities(state, view)[0], [[0, 1, 0]] * 2)
