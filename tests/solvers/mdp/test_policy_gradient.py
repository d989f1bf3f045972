"""Finite horizons: backward induction and both policy gradients, against recursions, automatic differentiation and each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.random_mdps import random_mdp
from experiments.control import dyn_pg
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers import stopping
from jaxrl.solvers.mdp import policy_gradient
from jaxrl.solvers.mdp.finite_horizon import backward_induction, evaluation
from jaxrl.solvers.mdp.policy_evaluation import return_of_policy
from jaxrl.solvers.mdp.policy_gradient import dynamic_policy_gradient, simultaneous_policy_gradient
from tests import oracles
from tests.solvers.mdp.lakes import LAKE

pytestmark = pytest.mark.usefixtures("double_precision")
OFFERS = stopping.offers(dyn_pg.OFFERS)
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


def accepting(difference):
    """The chance to accept an offer, by how much more that is preferred."""
    return 1 / (1 + np.exp(-difference))


def worth_backwards(worth, horizon, num_updates):
    """The value of gradient ascent offer by offer, the last epoch first.

    Preferences y and -y of an offer that comes with the chance 1/10 move by 5/10 p (1 - p) (w - v) each and away from each other,
    so that their difference moves by p (1 - p) (w - v): p is the chance to accept, w the offer and v the worth of going on.
    """
    following = 0.0
    for _ in range(horizon):
        difference = np.zeros(len(worth))
        for _ in range(num_updates):
            chance = accepting(difference)
            difference = difference + chance * (1 - chance) * (worth - following)
        chance = accepting(difference)
        following = np.mean(chance * worth + (1 - chance) * following)
    return following


def worth_together(worth, horizon, num_updates):
    """The same of all epochs at once, where an epoch counts by the chance that all offers before it have been let go."""
    difference = np.zeros((horizon, len(worth)))
    for update in range(num_updates + 1):
        chance, following, onward = accepting(difference), [0.0], []
        for own in chance[::-1]:
            onward.append(worth - following[-1])
            following.append(np.mean(own * worth + (1 - own) * following[-1]))
        if update == num_updates:
            return following[-1]
        reached = np.cumprod(np.append(1.0, (1 - chance).mean(1)))[:-1]
        difference = difference + reached[:, None] * chance * (1 - chance) * np.array(onward[::-1])


@pytest.mark.parametrize(("horizon", "num_updates"), dyn_pg.KNOWN)
def test_known_numbers_of_stopping(horizon, num_updates):
    """The numbers that the experiment claims, and both methods with its step size, against a plain loop."""
    loops = [loop(dyn_pg.OFFERS, horizon, num_updates) for loop in (worth_backwards, worth_together)]
    np.testing.assert_allclose(dyn_pg.KNOWN[horizon, num_updates], loops, atol=5e-4)
    for train, expected in zip((dynamic_policy_gradient, simultaneous_policy_gradient), loops, strict=True):
        found = train(OFFERS, horizon, dyn_pg.STEP_SIZE, num_updates)
        assert float(found.value) == pytest.approx(expected, rel=1e-10)
        optimum = backward_induction(OFFERS, horizon).start_value(OFFERS)
        assert float(found.gap + found.value) == pytest.approx(float(optimum))


@pytest.mark.slow
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


@pytest.mark.slow
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
