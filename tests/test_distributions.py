"""Action distributions against scipy, and the edges where others return NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrl.distributions import categorical, diagonal_gaussian, tanh_gaussian

LOGITS = jnp.array([[0.5, -1.0, 2.0, 0.0], [3.0, 0.0, 0.0, -3.0]])
MASK = jnp.array([[True, False, True, False], [False, False, False, True]])


def test_masked_categorical_is_the_softmax_over_legal_actions():
    policy = categorical(LOGITS, MASK)
    expected = np.where(MASK, np.exp(LOGITS), 0)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(policy.probs, expected, rtol=1e-6)
    np.testing.assert_allclose(policy.entropy(), [stats.entropy(expected[0]), 0.0], atol=1e-6)
    samples = policy.sample(seed=jax.random.key(0), sample_shape=(500,))
    assert MASK[jnp.arange(2), samples].all()


def test_entropy_of_a_masked_categorical_has_a_finite_gradient():
    gradient = jax.grad(lambda logits: categorical(logits, MASK).entropy().sum())(LOGITS)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~MASK], 0.0)


def test_diagonal_gaussian():
    mean, log_std = jnp.array([[0.5, -1.0]]), jnp.array([0.3, -0.2])
    policy, value = diagonal_gaussian(mean, log_std), jnp.array([[0.1, 0.4]])
    expected = stats.norm.logpdf(np.asarray(value), np.asarray(mean), np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(policy.log_prob(value), expected, rtol=1e-5)
    np.testing.assert_allclose(policy.entropy(), stats.norm.entropy(scale=np.exp(log_std)).sum(), rtol=1e-5)
    np.testing.assert_allclose(policy.mode(), mean)


@pytest.mark.parametrize("raw", [0.3, -2.0, 5.0])
def test_tanh_gaussian_has_the_change_of_variables(raw):
    mean, log_std = jnp.array([0.5]), jnp.array([0.3])
    policy = tanh_gaussian(mean, log_std)
    expected = stats.norm.logpdf(raw, 0.5, np.exp(0.3)) - np.log(1 - np.tanh(raw) ** 2)
    np.testing.assert_allclose(policy.log_prob(jnp.tanh(jnp.array([raw]))), expected, rtol=2e-2 if raw == 5.0 else 1e-4)
    samples, log_prob = policy.sample_and_log_prob(seed=jax.random.key(0), sample_shape=(1000,))
    assert (jnp.abs(samples) <= 1).all()
    assert jnp.isfinite(log_prob).all()


def test_categorical_agrees_with_distrax():
    import distrax

    masked = jnp.where(MASK, LOGITS, -1e9)
    for logits, mask, theirs in ((LOGITS, None, distrax.Categorical(LOGITS)), (LOGITS, MASK, distrax.Categorical(masked))):
        ours, value = categorical(logits, mask), jnp.array([0, 3])
        np.testing.assert_allclose(ours.log_prob(value), theirs.log_prob(value), rtol=1e-6)
        np.testing.assert_allclose(ours.entropy(), theirs.entropy(), atol=1e-6)
        np.testing.assert_allclose(ours.probs, theirs.probs, atol=1e-7)
        np.testing.assert_array_equal(ours.mode(), theirs.mode())
        gradient = jax.grad(lambda logits, mask=mask, value=value: categorical(logits, mask).log_prob(value).sum())(logits)
        np.testing.assert_allclose(gradient, jax.nn.one_hot(value, 4) - ours.probs, atol=1e-6)


def test_categorical_samples_with_its_probabilities():
    policy = categorical(LOGITS)
    counts = np.stack(
        [np.bincount(column, minlength=4) for column in policy.sample(seed=jax.random.key(0), sample_shape=(4000,)).T]
    )
    for found, expected in zip(counts, np.asarray(policy.probs, np.float64), strict=True):
        assert stats.chisquare(found, expected / expected.sum() * found.sum()).pvalue > 1e-3
