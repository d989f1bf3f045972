"""LOLA: gradients against finite differences, naive learners as its limit, and what both learn in the prisoner's dilemma."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import named
from jaxrl.algorithms.games import lola
from jaxrl.errors import ConfigError
from jaxrl.solvers import memory_one
from jaxrl.training.runner import run

PD = named.PRISONERS_DILEMMA


def one_update(logits, **changes):
    algorithm = lola.make(jnp.asarray(PD), lola.Config(**changes))
    state, _ = jax.jit(algorithm.update)(lola.State(jnp.asarray(logits, jnp.float32)), jax.random.key(0))
    return np.asarray(state.logits, np.float64)


@pytest.mark.parametrize("lookahead", [0.0, 2.0])
def test_a_step_is_the_gradient_by_finite_differences(lookahead):
    """Of V_i(theta_i, theta_-i + eta grad_-i V_-i(theta)), in float64, where theta_-i alone stands still."""
    gamma, rng = 0.8, np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 2))
    with jax.enable_x64(True):

        def values(one, other):
            return memory_one.values(jnp.asarray(PD, jnp.float64), [jax.nn.softmax(one), jax.nn.softmax(other)], gamma)

        def ahead(one, other):
            return values(one, other + lookahead * jax.grad(lambda own: values(one, own)[1])(other))[0]

        ahead = jax.jit(ahead)
        for place in ((0, 0), (2, 1), (4, 0)):
            nudge = np.zeros((5, 2))
            nudge[place] = 1e-5
            expected = float(ahead(logits[0] + nudge, logits[1]) - ahead(logits[0] - nudge, logits[1])) / 2e-5
            found = one_update(logits, lookahead=lookahead, gamma=gamma, step_size=1.0)[0][place] - logits[0][place]
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5)


def test_players_who_change_places_learn_the_same():
    logits = np.random.default_rng(1).normal(size=(2, 5, 2))
    found, exchanged = one_update(logits, lookahead=1.0), one_update(logits[::-1], lookahead=1.0)
    np.testing.assert_allclose(found, exchanged[::-1], atol=1e-5)


def test_naive_learners_end_in_mutual_defection():
    done = run(lola.make, PD, lola.Config(iterations_per_update=40), seeds=16, num_updates=10)
    assert (done.metrics["welfare"][:, -1] < -1.8).mean() >= 0.9
    np.testing.assert_allclose(done.metrics["welfare"], (done.metrics["value/0"] + done.metrics["value/1"]) / 2, rtol=1e-5)


def test_what_cannot_run_is_refused():
    with pytest.raises(ConfigError, match="a table of shape"):
        lola.Config().validate(np.zeros((2, 2, 3)))
    with pytest.raises(ConfigError, match="gamma must lie in"):
        lola.Config(gamma=1.0).validate(PD)
    with pytest.raises(ConfigError, match="lookahead"):
        lola.Config(lookahead=-1.0).validate(PD)
