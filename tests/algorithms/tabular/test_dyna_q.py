"""Dyna-Q, Dyna-Q+ and prioritised sweeping: the probes, the model by hand, how pairs are drawn, and what planning is worth."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import dyna_q
from jaxrl.core import counters
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Transition
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.training.runner import run
from tests import probes
from tests.marks import rest_is_slow

GAMMA = 0.9
CONFIG = dyna_q.Config(gamma=GAMMA, learning_rate=0.5, epsilon=0.5)
KINDS = {
    "q_learning": CONFIG.replace(planning_steps=0),
    "dyna_q": CONFIG,
    "dyna_q_plus": replace(CONFIG, explores_untried=True),
    "prioritised": CONFIG.replace(prioritised=True, learning_rate=1.0),
}


def learned(env, config, num_updates=20):
    """Returns the tables of four seeds, [4, X, A]."""
    return np.asarray(run(dyna_q.make, env, config, seeds=4, num_updates=num_updates).state.q)


@pytest.mark.parametrize("kind", rest_is_slow(KINDS, ("dyna_q_plus", "prioritised")))
def test_the_probes(kind):
    """One program for all of them. A time limit is none of the model's business: it knows where a step leads."""
    config = KINDS[kind]
    np.testing.assert_allclose(learned(probes.constant_reward(), config)[:, 0], 1.0, atol=0.01)
    q = learned(probes.observation_dependent_reward(), config)
    np.testing.assert_allclose(q[:, :2], np.broadcast_to([[-1.0] * 2, [1.0] * 2], (4, 2, 2)), atol=0.01)
    q = learned(probes.delayed_reward(), config)
    np.testing.assert_allclose(q[:, :2], np.broadcast_to([[GAMMA] * 2, [1.0] * 2], (4, 2, 2)), atol=0.01)
    q = learned(probes.action_dependent_reward(), config)
    np.testing.assert_allclose(q[:, :2], np.broadcast_to(np.eye(2), (4, 2, 2)), atol=0.01)
    q = learned(probes.limit_or_end(), config)
    np.testing.assert_allclose(q[:, :2], np.broadcast_to([[1 / (1 - GAMMA)] * 2, [1.0] * 2], (4, 2, 2)), rtol=0.02)


@pytest.mark.parametrize("kind", ["dyna_q", "dyna_q_plus"])
def test_masked_actions_are_neither_taken_nor_imagined(kind):
    q = learned(probes.masked_action(), KINDS[kind])
    assert (q[:, 0, 2] == 0).all()
    np.testing.assert_allclose(q[:, 0, 0], 0.5, atol=0.01)


def steps(**changes):
    """Returns three steps: two of one pair at once, and one that ends."""
    none = dict.fromkeys(Transition._fields)
    found = {
        "obs": jnp.array([0, 0, 1]),
        "action": jnp.array([1, 1, 0]),
        "reward": jnp.array([1.0, 3.0, -1.0]),
        "next_obs": jnp.array([1, 2, 0]),
        "terminated": jnp.array([False, False, True]),
    }
    return Transition(**none | found | changes)


def test_the_model_keeps_the_last_outcome():
    model = dyna_q.observed(dyna_q.empty_model((3, 2)), steps(), jnp.int32(7))
    np.testing.assert_array_equal(model.next_obs, [[0, 2], [0, 1], [2, 2]])
    np.testing.assert_array_equal(model.reward, [[0, 3], [-1, 0], [0, 0]])
    np.testing.assert_array_equal(model.terminated, [[False, False], [True, False], [False, False]])
    np.testing.assert_array_equal(model.known, [[False, True], [True, False], [False, False]])
    np.testing.assert_array_equal(model.last, [[0, 7], [7, 0], [0, 0]])
    np.testing.assert_array_equal(dyna_q.candidates(model, False), model.known)
    np.testing.assert_array_equal(dyna_q.candidates(model, True), [[True, True], [True, True], [False, False]])


def test_legal_actions_are_remembered_by_state():
    masks = {"mask": jnp.array([[True, False]] * 3), "next_mask": jnp.array([[True, True], [False, True], [True, False]])}
    model = dyna_q.observed(dyna_q.empty_model((3, 2)), steps(**masks), jnp.int32(1))
    np.testing.assert_array_equal(model.legal, [[True, False], [True, True], [False, True]])


def test_pairs_are_drawn_uniformly_among_those_allowed():
    allowed = jnp.zeros((5, 3), bool).at[jnp.array([0, 2, 4]), jnp.array([1, 0, 2])].set(True)
    drawn = jax.vmap(lambda key: jnp.stack(dyna_q.draw(key, allowed)))(jax.random.split(jax.random.key(0), 3000))
    pairs, counts = np.unique(np.asarray(drawn), axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 1], [2, 0], [4, 2]]
    assert ((counts - 1000) ** 2 / 1000).sum() < 13.8  # chi-square of two degrees, 0.1 %


def test_the_bonus_grows_with_the_time_since_a_pair_was_tried():
    """One imagined step of Dyna-Q+ on a pair that was never tried: r = 0, s' = s, and kappa sqrt(tau) more."""
    env = envs.make("corridor")
    config = CONFIG.replace(explores_untried=True, kappa=0.1, planning_steps=1, learning_rate=1.0, num_steps=1)
    algorithm = dyna_q.make(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    state = state.replace(time=counters.zeros() + 99)
    after, _ = jax.jit(algorithm.update)(state, jax.random.key(1))
    # After 100 steps, the pair that was just tried has no bonus, and the other one that of 100 steps.
    obs = int(state.episodes.obs[0])
    assert set(np.round(np.asarray(after.q[obs]), 5).tolist()) <= {0.0, 1.0}
    many = config.replace(planning_steps=50)
    after, _ = jax.jit(dyna_q.make(env, many).update)(state, jax.random.key(1))
    untried = np.asarray(~after.model.known[obs])
    assert (np.asarray(after.q[obs])[untried] > 1.0).all()  # it leads back, so it pays more than once


@pytest.mark.parametrize("kind", rest_is_slow(["dyna_q", "prioritised"], ("prioritised",)))
def test_planning_comes_to_the_exact_values_of_a_known_world(kind):
    """In a world without chance the model is the world, where it was tried."""
    env = envs.make("corridor")
    q = learned(env, KINDS[kind].replace(planning_steps=20, epsilon=1.0))
    exact = np.asarray(value_iteration(tabulate(env), GAMMA).action_value)
    numbers = np.asarray(tabulate(env).observation)
    alive = ~np.isclose(exact, 0).all(-1)
    np.testing.assert_allclose(q[:, numbers[alive]], np.broadcast_to(exact[alive], (4, *exact[alive].shape)), atol=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planning_steps": -1}, "planning_steps"),
        ({"prioritised": True, "planning_steps": 0}, "must imagine a step"),
        ({"prioritised": True, "explores_untried": True}, "without a bonus"),
        ({"prioritised": True, "kappa": 0.1}, "without a bonus for what was tried long ago"),
        ({"kappa": -1.0}, "kappa"),
        ({"threshold": float("nan")}, "threshold"),
    ],
)
def test_a_bad_value_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        CONFIG.replace(**changes).validate(envs.make("corridor"))
