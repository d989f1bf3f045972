"""The contextual bandit: drawn worlds, pairs by coverage without repetition, exact values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import contextual_bandit
from envs.bandits.contextual_bandit import Params
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


def test_optimal_value_is_the_mean_best_response():
    params = Params(jnp.array([[1.0, 3.0], [-1.0, -2.0]]), jnp.full((2, 2), 0.5), jnp.zeros((2, 2, 1)))
    model = tabulate(contextual_bandit.of(params))
    assert model.num_states == 3
    assert oracles.start_value(model, oracles.value_iteration(model, 0.9)) == pytest.approx((3 - 1) / 2)
    assert model.terminated.all()


def test_gold_has_the_stated_variance_and_linear_share():
    for share in (0.0, 0.5, 1.0):
        world = contextual_bandit.draw(jax.random.key(1), 1, 20_000, 6, linear=share)
        features, gold = np.asarray(world.features[0], np.float64), np.asarray(world.gold[0], np.float64)
        assert gold.var() == pytest.approx(1.0, abs=0.05)
        explained = features @ np.linalg.lstsq(features, gold, rcond=None)[0]
        assert explained.var() / gold.var() == pytest.approx(share, abs=0.02)


def test_coverage_is_a_permuted_zipf_law():
    world = contextual_bandit.draw(jax.random.key(0), 3, 10, zipf=0.7)
    expected = (1.0 + np.arange(10)) ** -0.7
    np.testing.assert_allclose(-np.sort(-np.asarray(world.coverage), axis=1), [expected / expected.sum()] * 3, rtol=1e-5)
    assert len({int(best) for best in world.coverage.argmax(1)}) > 1


def test_pairs_are_drawn_by_coverage_without_repetition():
    """Against P(i, j) = c_i c_j / (1 - c_i), chi-square with 11 degrees of freedom at 0.1 %."""
    coverage = np.array([0.5, 0.3, 0.15, 0.05])
    params = Params(jnp.zeros((2, 4)), jnp.tile(jnp.asarray(coverage, jnp.float32), (2, 1)), jnp.zeros((2, 4, 1)))
    context, first, second = (np.asarray(part) for part in contextual_bandit.sample_pairs(jax.random.key(2), params, 50_000))
    assert (first != second).all()
    assert abs(context.mean() - 0.5) < 0.01
    counts = np.zeros((4, 4))
    np.add.at(counts, (first, second), 1)
    expected = 50_000 * np.outer(coverage, coverage) / (1 - coverage[:, None])
    off = ~np.eye(4, dtype=bool)
    assert ((counts[off] - expected[off]) ** 2 / expected[off]).sum() < 31.3


@pytest.mark.parametrize(
    "parameters", [dict(num_contexts=0), dict(num_responses=1), dict(num_features=0), dict(zipf=-1.0), dict(linear=2.0)]
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="contextual_bandit"):
        contextual_bandit.make(**parameters)
