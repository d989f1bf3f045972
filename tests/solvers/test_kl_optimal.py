"""Closed-form policies and best-of-n, exactly, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from jaxrl.solvers import kl_optimal as closed

REFERENCE = np.array([0.5, 0.2, 0.2, 0.1])
SCORE = np.array([0.0, 1.0, -2.0, 0.5])


def enumerated_best_of_n(reference, score, n):
    """The probability that each response is best, over all draws of n; ties are shared by how often each was drawn."""
    probability = np.zeros(len(score))
    for draw in itertools.product(range(len(score)), repeat=n):
        best = [i for i in draw if score[i] == max(score[j] for j in draw)]
        for i in best:
            probability[i] += np.prod(reference[list(draw)]) / len(best)
    return probability


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("score", [SCORE, np.array([1.0, 0.0, 1.0, 0.0]), np.zeros(4)], ids=str)
def test_best_of_n_against_enumeration(n, score):
    with jax.enable_x64(True):
        found = closed.best_of_n(jnp.asarray(REFERENCE), jnp.asarray(score), n)
        np.testing.assert_allclose(found, enumerated_best_of_n(REFERENCE, score, n), atol=1e-14)


def test_best_of_one_is_the_reference_and_best_of_many_the_best():
    found = closed.best_of_n(jnp.asarray(REFERENCE), jnp.asarray(SCORE), 1)
    np.testing.assert_allclose(found, REFERENCE, atol=1e-6)
    np.testing.assert_allclose(closed.best_of_n(jnp.asarray(REFERENCE), jnp.asarray(SCORE), 4096), [0, 1, 0, 0], atol=1e-6)


def test_best_of_n_sums_to_one_in_single_precision():
    score = jax.random.normal(jax.random.key(0), (1000,))
    reference = jax.nn.softmax(jax.random.normal(jax.random.key(1), (1000,)))
    for n in (1.0, 64.0, 4096.0):
        chosen = closed.best_of_n(reference, score, n)
        assert float(chosen.sum()) == pytest.approx(1.0, abs=1e-5)
        assert bool((chosen >= 0).all())


def test_divergence_of_best_of_n_is_below_its_formula_and_near_it_with_many_responses():
    with jax.enable_x64(True):
        score = jnp.arange(200_000.0)
        reference = jnp.full(200_000, 1 / 200_000)
        for n in (1, 2, 16, 256):
            chosen = closed.best_of_n(reference, score, n)
            divergence = closed.kl_divergence(jnp.log(chosen), jnp.log(reference))
            assert divergence <= closed.best_of_n_kl(n) + 1e-12
            np.testing.assert_allclose(divergence, closed.best_of_n_kl(n), rtol=2e-3, atol=1e-9)
        np.testing.assert_allclose(closed.best_of_n_kl(4), np.log(4) - 0.75)


def test_kl_optimal_maximises_reward_less_divergence():
    with jax.enable_x64(True):
        beta, reward = 0.3, jnp.asarray(SCORE)
        found = closed.kl_optimal(jnp.log(jnp.asarray(REFERENCE)), reward, beta)
        np.testing.assert_allclose(np.exp(found), special.softmax(np.log(REFERENCE) + SCORE / beta), rtol=1e-12)

        def negative(logits):
            policy = special.softmax(logits)
            return -(policy @ SCORE - beta * np.sum(policy * np.log(policy / REFERENCE)))

        best = optimize.minimize(negative, np.zeros(4), options={"gtol": 1e-10})
        np.testing.assert_allclose(special.softmax(best.x), np.exp(found), atol=1e-6)
        value = closed.optimal_value(jnp.log(jnp.asarray(REFERENCE)), reward, beta)
        np.testing.assert_allclose(value, -best.fun, rtol=1e-10)
        divergence = closed.kl_divergence(found, jnp.log(jnp.asarray(REFERENCE)))
        np.testing.assert_allclose(jnp.exp(found) @ reward - beta * divergence, value, rtol=1e-12)


def test_impossible_responses_stay_impossible():
    log_reference = jnp.log(jnp.array([0.5, 0.5, 0.0]))
    found = closed.kl_optimal(log_reference, jnp.array([0.0, 1.0, 100.0]), 1.0)
    np.testing.assert_allclose(jnp.exp(found), [1 / (1 + np.e), np.e / (1 + np.e), 0.0], rtol=1e-6)
    assert np.isfinite(closed.kl_divergence(found, log_reference))


def test_psi_with_the_logit_is_rlhf_and_with_the_identity_is_ipo():
    with jax.enable_x64(True):
        gold, log_reference = jnp.asarray(SCORE), jnp.log(jnp.asarray(REFERENCE))
        preference = jax.nn.sigmoid(gold[:, None] - gold)
        behaviour = jnp.asarray([0.4, 0.3, 0.2, 0.1])
        rlhf = closed.psi_optimal(log_reference, preference, behaviour, 0.7, closed.logit)
        np.testing.assert_allclose(rlhf, closed.kl_optimal(log_reference, gold, 0.7), atol=1e-12)
        ipo = closed.psi_optimal(log_reference, preference, behaviour, 0.7, lambda p: p)
        np.testing.assert_allclose(ipo, closed.kl_optimal(log_reference, preference @ behaviour, 0.7), atol=1e-12)
        # A certain preference has an infinite logit, but a finite one under the identity: where RLHF forgets its reference.
        certain = jnp.asarray([[0.5, 1.0], [0.0, 0.5]])
        half = jnp.log(jnp.full(2, 0.5))
        gap = closed.psi_optimal(half, certain, jnp.full(2, 0.5), 0.5, lambda p: p)
        np.testing.assert_allclose(gap[0] - gap[1], 1 / (2 * 0.5), atol=1e-12)


@pytest.mark.parametrize("beta", [1e-3, 1.0, 1e4, 1e7, 1e30])
def test_the_optimal_value_keeps_its_digits_at_every_beta(beta):
    reference, reward = np.array([0.2, 0.5, 0.3]), np.array([1.0, 2.0, 5.0])
    expected = 5 + beta * np.log1p((reference * np.expm1((reward - 5) / beta)).sum())
    found = closed.optimal_value(jnp.log(jnp.asarray(reference, jnp.float32)), jnp.asarray(reward, jnp.float32), beta)
    assert float(found) == pytest.approx(expected, rel=1e-5)
