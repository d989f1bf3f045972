"""The cross-entropy method: a quadratic, one iteration against NumPy, bounds, and values that are NaN."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.blocks.cross_entropy import maximise

KEY = jax.random.key(0)


def quadratic(target):
    return lambda key, candidates: -jnp.square(candidates - target).sum((1, 2))


def test_the_maximum_of_a_quadratic_is_found():
    target = jnp.array([[0.5, -0.9], [0.0, 0.2]])
    found = maximise(KEY, quadratic(target), jnp.zeros((2, 2)), 0.5, 12, 100, 10)
    np.testing.assert_allclose(found.mean, target, atol=0.02)
    assert found.deviation.max() < 0.05
    assert -1e-2 < found.value <= 0.0


def test_one_iteration_is_that_of_numpy():
    """The value notes the candidates: they come back as its own sums."""
    weights, seen = np.arange(1.0, 7.0).reshape(3, 2), []

    def value(key, candidates):
        jax.debug.callback(lambda drawn: seen.append(np.asarray(drawn, np.float64)), candidates)
        return (candidates * weights).sum((1, 2))

    mean = jnp.full((3, 2), 0.1)
    found = maximise(KEY, value, mean, 0.3, 1, 50, 7, momentum=0.25, bounded=False)
    jax.effects_barrier()
    (candidates,) = seen
    kept = candidates[np.argsort(-(candidates * weights).sum((1, 2)))[:7]]
    np.testing.assert_allclose(found.mean, 0.25 * 0.1 + 0.75 * kept.mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.square(found.deviation), 0.25 * 0.09 + 0.75 * kept.var(0), rtol=1e-5)
    np.testing.assert_allclose(found.value, (kept * weights).sum((1, 2)).mean(), rtol=1e-5)
    np.testing.assert_allclose(candidates.std(), 0.3, rtol=0.1)


def test_bounded_candidates_stay_within_one():
    def value(key, candidates):
        return jnp.where(jnp.abs(candidates).max((1, 2)) > 1.0, 1e9, candidates.sum((1, 2)))

    bounded = maximise(KEY, value, jnp.zeros((2, 1)), 0.5, 20, 50, 5)
    np.testing.assert_allclose(bounded.mean, 1.0, atol=0.01)
    assert float(jnp.abs(bounded.mean).max()) <= 1.0
    assert bounded.value < 3.0
    far = maximise(KEY, quadratic(3.0), jnp.zeros((2, 1)), 3.0, 12, 100, 10, bounded=False)
    np.testing.assert_allclose(far.mean, 3.0, atol=0.05)


def test_a_value_of_nan_is_the_worst():
    def value(key, candidates):
        return jnp.where(candidates[:, 0, 0] > 0.2, jnp.nan, candidates[:, 0, 0])

    found = maximise(KEY, value, jnp.zeros((1, 1)), 0.5, 10, 50, 5)
    assert np.isfinite(found.value)
    assert 0.1 < float(found.mean[0, 0]) <= 0.2
