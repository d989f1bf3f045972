"""Tabular Q-learning: the probes, convergence to the exact values, and refusal of what it cannot do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks import tables
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Transition
from jaxrl.core.transforms import with_potential
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation import ExactValue
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.training.runner import run
from tests import probes

GAMMA = 0.9
CONFIG = q_learning.Config(gamma=GAMMA, num_steps=100, epsilon=0.5)


def learned(env, num_updates=60, **changes):
    """Returns the tables of four seeds, [4, X, A]."""
    return np.asarray(run(q_learning.make, env, CONFIG.replace(**changes), seeds=4, num_updates=num_updates).state.q)


def test_constant_reward():
    np.testing.assert_allclose(learned(probes.constant_reward())[:, 0], 1.0, atol=0.05)


def test_observation_dependent_reward():
    q = learned(probes.observation_dependent_reward())
    np.testing.assert_allclose(q[:, 0], -1.0, atol=0.05)
    np.testing.assert_allclose(q[:, 1], 1.0, atol=0.05)


def test_delayed_reward():
    q = learned(probes.delayed_reward())
    np.testing.assert_allclose(q[:, 0], GAMMA, atol=0.05)
    np.testing.assert_allclose(q[:, 1], 1.0, atol=0.05)


def test_action_dependent_reward():
    np.testing.assert_allclose(learned(probes.action_dependent_reward())[:, :2], np.broadcast_to(np.eye(2), (4, 2, 2)), atol=0.05)


def test_a_time_limit_is_not_an_end():
    np.testing.assert_allclose(learned(probes.time_limit_loop())[:, 0], 1 / (1 - GAMMA), rtol=0.02)
    q = learned(probes.limit_or_end())
    np.testing.assert_allclose(q[:, 0], 1 / (1 - GAMMA), rtol=0.02)
    np.testing.assert_allclose(q[:, 1], 1.0, rtol=0.02)


def test_one_step_by_hand():
    """Three environments: two share a step to their mean target, the third ends. (1 - alpha) Q + alpha (r + gamma max Q)."""
    q = jnp.array([[1.0, 2.0], [4.0, 8.0]])
    seen = Transition(
        obs=jnp.array([0, 0, 1]),
        action=jnp.array([1, 1, 0]),
        reward=jnp.array([1.0, 3.0, -1.0]),
        next_obs=jnp.array([1, 1, 0]),
        terminated=jnp.array([False, False, True]),
        truncated=jnp.zeros(3, bool),
        mask=None,
        next_mask=jnp.array([[True, True], [True, False], [True, True]]),
        t=jnp.zeros(3, jnp.int32),
        return_=jnp.zeros(3),
        extras={},
    )
    error = q_learning.td_errors(q, seen, 0.5)
    np.testing.assert_allclose(error, [1 + 0.5 * 8 - 2, 3 + 0.5 * 4 - 2, -1 - 4])
    taken = seen.obs, seen.action
    found, visits = tables.learn(q, jnp.zeros((2, 2), jnp.int32), taken, error, lambda visits: 0.1 + 0.0 * visits)
    np.testing.assert_allclose(found, [[1.0, 0.9 * 2 + 0.1 * 5], [0.9 * 4 - 0.1, 8.0]])
    np.testing.assert_array_equal(visits, [[0, 2], [1, 0]])


def test_an_optimistic_table_tries_every_pair():
    """Without exploration: a pair that was tried is worth gamma times the optimism at most, so that the next one is tried."""
    env = envs.make("corridor", length=6)
    begun = q_learning.make(env, CONFIG.replace(initial_value=2.0)).init(jax.random.key(0))
    np.testing.assert_array_equal(begun.q, 2.0)
    greedy = {"epsilon": 0.0, "learning_rate": 1.0, "learning_rate_half_life": np.inf}
    optimistic = learned(env, num_updates=3, initial_value=2.0, **greedy)
    assert (optimistic[:, :5] < 2.0).all()


def test_masked_actions_are_neither_taken_nor_valued():
    q = learned(probes.masked_action())
    assert (q[:, 0, 2] == 0).all()
    np.testing.assert_allclose(q[:, 0, 0], 0.5, atol=0.02)


@pytest.mark.slow
def test_converges_to_the_exact_values_of_a_stochastic_environment():
    """With full exploration and a falling step size every table must approach Q*: 64 seeds, mean error, fixed beforehand."""
    env = envs.make("frozen_lake", slip=0.3)
    # Step sizes near 10 / n: large enough to forget the start, small enough to average out the maximisation bias.
    config = q_learning.Config(
        gamma=GAMMA, epsilon=1.0, num_envs=8, learning_rate=1.0, learning_rate_half_life=10.0, learning_rate_min=0.0
    )
    done = run(q_learning.make, env, config, seeds=64, num_updates=200)
    model = tabulate(env)
    with jax.enable_x64(True):
        exact = np.asarray(value_iteration(model, GAMMA, 1e-12).action_value)
    numbers = np.asarray(model.observation)  # tabulated states are numbered in order of discovery
    error = np.abs(np.asarray(done.state.q)[:, numbers] - exact)
    assert error.mean() < 0.01
    assert error.mean(0).max() < 0.05


@pytest.mark.slow
def test_the_greedy_policy_is_good_after_a_hundred_thousand_steps():
    """core-td: the mean exact value is at least 0.50 of the optimal 0.542026; here over 64 seeds."""
    env = envs.make("frozen_lake")
    evaluators = (ExactValue.of(env, 0.99),)
    done = run(q_learning.make, env, q_learning.Config(), seeds=64, num_updates=1000, chunk_length=100, evaluators=evaluators)
    value = done.evaluations["greedy_exact_value"].mean(0)
    assert value[-1] >= 0.50
    assert value[0] < value[-1]
    np.testing.assert_allclose(
        done.evaluations["greedy_optimality_gap"] + done.evaluations["greedy_exact_value"], 0.542026, atol=1e-4
    )
    assert done.evaluations["sampled_exact_value"][:, -1].mean() < value[-1]  # exploring costs


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        (envs.make("cartpole"), {}, SpaceError, "observation_space must be Discrete"),
        (envs.make("prisoners_dilemma"), {}, ConfigError, "no agent axis, got 2"),
        (envs.make("corridor"), {"gamma": 1.5}, ConfigError, r"gamma must lie in \[0, 1\], got 1.5"),
        (envs.make("corridor"), {"epsilon": np.array([0.1, -0.1])}, ConfigError, "epsilon must lie in"),
        (envs.make("corridor"), {"num_steps": 0}, ConfigError, "num_steps must be an integer of at least 1"),
        (envs.make("corridor"), {"learning_rate_half_life": 0.0}, ConfigError, "must be positive"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(q_learning.make, env, q_learning.Config(**changes), seeds=2, num_updates=2)


def at_random(table, obs):
    return table[obs]


def test_a_first_table_of_potentials_is_shaping():
    """Of Wiewiora (2003): from Q = Phi, and from 0 with shaped rewards, the tables differ by Phi after every step."""
    env, gamma = envs.make("frozen_lake"), 0.9
    config = q_learning.Config(gamma=gamma, epsilon=1.0, num_steps=10, learning_rate=0.5)
    phi = jax.random.normal(jax.random.key(5), (16,), jnp.float32)
    ending = jnp.array([letter in "HG" for letter in "SFFFFHFHFFFHHFFG"])
    worlds = env, with_potential(env, at_random, gamma, phi)
    plain, shaped = (q_learning.make(world, config) for world in worlds)
    first, other = jax.jit(plain.init)(jax.random.key(0)), jax.jit(shaped.init)(jax.random.key(0))
    first = first.replace(q=first.q + phi[:, None])
    for key in jax.random.split(jax.random.key(1), 30):
        (first, _), (other, _) = jax.jit(plain.update)(first, key), jax.jit(shaped.update)(other, key)
        difference = np.asarray(first.q - other.q - phi[:, None])
        np.testing.assert_allclose(difference[~ending], 0.0, atol=1e-5)
    assert np.asarray(first.visits).sum() == 300
