"""Over-optimisation: exact outcomes against draws and solvers, and the curve that is fitted to them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.algorithms.preferences.overoptimisation import by_best_of_n, by_kl_penalty, fall_from_peak, fit_distance

REFERENCE = np.array([0.4, 0.3, 0.2, 0.1])
GOLD = np.array([[0.0, 1.0, 2.0, -3.0], [1.0, 0.0, -1.0, 0.5]])
PROXY = np.array([[0.0, 1.0, 2.0, 3.0], [0.2, 0.1, 0.3, 0.0]])  # the rarest response of the first seed is overrated


def in_float64(optimise, proxy, strengths):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, optimise(*map(jnp.asarray, (REFERENCE, GOLD, proxy, strengths))))


def test_best_of_n_against_draws():
    draws = np.random.default_rng(0).choice(4, size=(200_000, 3), p=REFERENCE)
    found = in_float64(by_best_of_n, PROXY, [1.0, 3.0, 1000.0])
    np.testing.assert_allclose(found.gold[:, 0], GOLD @ REFERENCE)
    np.testing.assert_allclose(found.divergence[:, 0], 0.0, atol=1e-12)
    for gold, proxy, gold_of_3, proxy_of_3 in zip(GOLD, PROXY, found.gold[:, 1], found.proxy[:, 1], strict=True):
        best = draws[np.arange(len(draws)), proxy[draws].argmax(1)]
        np.testing.assert_allclose([gold_of_3, proxy_of_3], [gold[best].mean(), proxy[best].mean()], atol=0.02)
    np.testing.assert_allclose(found.gold[:, 2], [-3.0, -1.0], atol=1e-6)
    np.testing.assert_allclose(found.divergence[0, 2], -np.log(0.1), atol=1e-6)


def test_the_penalty_is_paid_in_full():
    """With gold as the proxy, gold less beta times the divergence is beta log E[exp(gold / beta)] under the reference."""
    betas = np.array([5.0, 0.5])
    found = in_float64(by_kl_penalty, GOLD, betas)
    best = betas * np.log(np.exp(GOLD[:, None] / betas[:, None]) @ REFERENCE)
    np.testing.assert_allclose(found.gold - betas * found.divergence, best, rtol=1e-10)
    np.testing.assert_array_equal(found.gold, found.proxy)


def test_the_curve_is_recovered():
    d = np.linspace(0.0, 3.0, 7)
    gold = np.array([[0.5], [-1.0]]) + d * (np.array([[2.0], [1.0]]) - np.array([[0.6], [-0.1]]) * d)
    a, b = fit_distance(d, gold)
    np.testing.assert_allclose(a, [2.0, 1.0])
    np.testing.assert_allclose(b, [0.6, -0.1])


def test_a_peak_is_where_the_other_half_of_the_seeds_has_it():
    gold = np.array([[0.0, 5.0, 1.0], [0.0, 3.0, 1.0], [9.0, 4.0, 2.0], [7.0, 4.0, 2.0]])
    np.testing.assert_array_equal(fall_from_peak(gold), [-1.0, -1.0, 2.0, 2.0])
    noise = np.random.default_rng(0).normal(size=(4000, 10))
    assert abs(fall_from_peak(noise).mean()) < 0.1  # at its own largest value every seed would fall, by 1.5 on average
