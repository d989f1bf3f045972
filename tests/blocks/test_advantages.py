"""Advantages: means and deviations over a part against NumPy, and minibatches in which hardly anything counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks import advantages
from jaxrl.errors import ConfigError


def test_statistics_over_a_part():
    x, part = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.zeros((6, 4), bool)
    part[1:3] = True
    inside = x[part].astype(np.float64)
    np.testing.assert_allclose(advantages.masked_mean(jnp.asarray(x), jnp.asarray(part)), inside.mean(), rtol=1e-5)
    batch = advantages.spread(jnp.asarray(x), jnp.asarray(part))
    np.testing.assert_allclose(batch, (inside.mean(), inside.std()), rtol=1e-4)
    found = np.asarray(advantages.standardize(jnp.asarray(x), batch, jnp.asarray(part)))[part]
    np.testing.assert_allclose(found, (inside - inside.mean()) / inside.std(), rtol=1e-4)
    everywhere = advantages.standardize(jnp.asarray(x), batch, jnp.ones((6, 4), bool))
    np.testing.assert_allclose(everywhere, advantages.standardize(jnp.asarray(x), batch), rtol=1e-4, atol=1e-6)
    assert np.isfinite(advantages.standardize(jnp.asarray(x), batch, jnp.zeros((6, 4), bool))).all()


def test_a_minibatch_in_which_one_step_counts_is_standardised_by_the_batch():
    """On its own, one number is its own mean: every advantage would be 0. Two agents of one step are no two steps."""
    batch = advantages.Spread(jnp.float32(1.0), jnp.float32(2.0))
    one = jnp.array([[5.0]])
    np.testing.assert_allclose(advantages.standardize(one, batch), 2.0)
    np.testing.assert_allclose(advantages.standardize(jnp.full((1, 1, 3), 5.0), batch), 2.0)
    where = jnp.zeros((4, 2, 3), bool).at[2, 1].set(jnp.array([True, False, True]))
    x = jnp.full((4, 2, 3), 5.0)
    np.testing.assert_allclose(advantages.standardize(x, batch, where)[2, 1], 2.0)
    several = where.at[0, 0, 0].set(True)
    np.testing.assert_allclose(advantages.standardize(x.at[0, 0, 0].set(-1.0), batch, several)[2, 1, 0], 0.5**0.5, rtol=1e-5)


def test_counterfactual_baseline():
    """An agent that takes 2 with one chance in four and 6 otherwise is worth 5 beside what the others did."""
    np.testing.assert_allclose(advantages.counterfactual_baseline(np.array([2.0, 6.0]), np.array([0.25, 0.75])), 5.0)
    with pytest.raises(ConfigError, match=r"counterfactual_baseline: value and probability must have one shape"):
        advantages.counterfactual_baseline(jnp.zeros((3, 2)), jnp.zeros(2))
