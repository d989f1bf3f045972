"""Finite horizons: backward induction and both policy gradients, against recursions, automatic differentiation and each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.random_mdps import random_mdp
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers import stopping
from jaxrl.solvers.mdp import policy_gradient
from jaxrl.solvers.mdp.finite_horizon import backward_induction, evaluation
from jaxrl.solvers.mdp.policy_evaluation import return_of_policy
from jaxrl.solvers.mdp.policy_gradient import dynamic_policy_gradient, simultaneous_policy_gradient
from tests import oracles
from tests.solvers.mdp.lakes import LAKE

pytestmark = pytest.mark.usefixtures("double_precision")
OFFERS = stopping.offers(np.arange(1, 11) / 10)
RANDOM = random_mdp.table(random_mdp.dense(jax.random.key(0), 4, 3))


@pytest.mark.parametrize(("horizon", "optimum"), [(5, 0.824050), (20, 0.968176)])
def test_the_optimum_of_offers_is_the_known_number(horizon, optimum):
    assert float(backward_induction(OFFERS, horizon).start_value(OFFERS)) == pytest.approx(optimum, abs=1e-6)


def test_values_of_policies_by_epoch():
    """A policy that is the same in all epochs, against the value within a time limit; the greedy one, against the optimum."""
    model = LAKE["4x4"]
    policy = np.random.default_rng(0).dirichlet(np.ones(4), model.num_states)
    found = evaluation(model, np.broadcast_to(policy, (7, *policy.shape)))
    for left in range(8):
        np.testing.assert_allclose(found.value[7 - left], return_of_policy(model, policy, left), atol=1e-12)
    best = backward_induction(model, 7)
    np.testing.assert_allclose(best.value[0], oracles.horizon_values(model, 7), atol=1e-12)
    greedy = jax.nn.one_hot(best.action_value.argmax(-1), 4)
    np.testing.assert_allclose(evaluation(model, greedy).value, best.value, atol=1e-12)


@pytest.mark.parametrize("model", [OFFERS, RANDOM], ids=["offers", "random"])
def test_the_exact_gradient_is_that_of_the_value(model):
    theta = jnp.asarray(np.random.default_rng(1).normal(size=(4, model.num_states, model.num_actions)))

    def value(theta):
        return evaluation(model, jax.nn.softmax(theta)).start_value(model)

    policy = jax.nn.softmax(theta)
    values = evaluation(model, policy).action_value
    ours = policy_gradient.expected_gradient(theta, values, policy_gradient.visits(model.tables, policy))
    np.testing.assert_allclose(ours, jax.grad(value)(theta), atol=1e-12)


@pytest.mark.parametrize(
    ("horizon", "num_updates", "backward", "together"),
    [(5, 300, 0.814, 0.788), (20, 300, 0.939, 0.826), (20, 1000, 0.960, 0.877)],
)
def test_known_numbers_of_stopping(horizon, num_updates, backward, together):
    """Step 1 on one logit for each offer is step 5 on two of them, of which each offer has the chance 1 / 10."""
    one = dynamic_policy_gradient(OFFERS, horizon, 5.0, num_updates)
    other = simultaneous_policy_gradient(OFFERS, horizon, 5.0, num_updates)
    assert float(one.value) == pytest.approx(backward, abs=5e-4)
    assert float(other.value) == pytest.approx(together, abs=5e-4)
    optimum = backward_induction(OFFERS, horizon).start_value(OFFERS)
    assert float(one.gap + one.value) == pytest.approx(float(optimum))


@pytest.mark.parametrize("epoch", [0, 2])
def test_sampled_gradients_have_the_mean_of_exact_ones(epoch):
    theta = jnp.asarray(np.random.default_rng(2).normal(size=(3, 4, 3)))
    policy = jax.nn.softmax(theta)
    values, model = evaluation(RANDOM, policy).action_value, RANDOM.tables
    keys = jax.random.split(jax.random.key(3), 400)
    found = jax.vmap(lambda key: policy_gradient._sampled_at(key, model, theta, epoch, 100))(keys)
    _agree(found, policy_gradient.expected_gradient(theta[epoch], values[epoch], RANDOM.initial))
    found = jax.vmap(lambda key: policy_gradient._sampled_everywhere(key, model, theta, 100))(keys)
    _agree(found, policy_gradient.expected_gradient(theta, values, policy_gradient.visits(model, policy)))


def _agree(samples, expected):
    """The largest of these standard scores is above 4.5 by chance in one of thousands of tests."""
    samples = np.asarray(samples)
    score = (samples.mean(0) - expected) / (samples.std(0) / np.sqrt(len(samples)))
    assert np.abs(score).max() < 4.5
    assert samples.std(0).min() > 0


@pytest.mark.parametrize("method", [dynamic_policy_gradient, simultaneous_policy_gradient])
def test_samples_lead_near_the_exact_method(method):
    train = partial(method, OFFERS, 3, 5.0, 200)
    found = jax.vmap(lambda key: train(key=key, batch_size=32).value)(jax.random.split(jax.random.key(0), 8))
    assert np.ptp(found) > 0
    assert np.mean(found) == pytest.approx(float(train().value), abs=0.02)


@pytest.mark.parametrize(
    ("model", "arguments", "options", "error", "must"),
    [
        (OFFERS, (0, 1.0, 3), {}, ConfigError, "horizon must be an integer of at least 1"),
        (OFFERS, (3, -1.0, 3), {}, ConfigError, "learning_rate must be a number of at least 0"),
        (OFFERS, (3, np.nan, 3), {}, ConfigError, "learning_rate must be a number"),
        (OFFERS, (3, np.inf, 3), {}, ConfigError, "learning_rate must be a number"),
        (OFFERS, (3, 1.0, -3), {}, ConfigError, "num_updates must lie in"),
        (OFFERS, (3, 1.0, 2.5), {}, ConfigError, "num_updates must be whole"),
        (OFFERS, (3, 1.0, 3), {"batch_size": 4}, ConfigError, "key and batch_size belong together"),
        (OFFERS, (3, 1.0, 3), {"batch_size": 0, "key": jax.random.key(0)}, ConfigError, "batch_size must be"),
    ],
)
def test_what_cannot_be_trained(model, arguments, options, error, must):
    for method in (dynamic_policy_gradient, simultaneous_policy_gradient):
        with pytest.raises(error, match=must):
            method(model, *arguments, **options)


def test_illegal_actions_are_refused():
    masked = OFFERS.replace(action_mask=np.arange(20).reshape(10, 2) > 0)
    with pytest.raises(EnvError, match="every action must be legal"):
        dynamic_policy_gradient(masked, 3, 1.0, 3)
