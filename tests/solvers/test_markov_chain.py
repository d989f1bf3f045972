"""Markov chains: by which method their sums are computed, and which are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers import markov_chain


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def test_methods_are_chosen_by_size():
    assert markov_chain.doubling_is_faster(100, 8, 0.5)
    assert not markov_chain.doubling_is_faster(1000, 8, 0.9)
    assert markov_chain.doubling_is_faster(1000, 8, 1.0)
    assert not markov_chain.doubling_is_faster(10_000, 8, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"next_state": np.full((1, 2), 3, np.int32)}, r"next_state must hold whole numbers in \[0, 1\)"),
        ({"weight": np.array([[0.9, 0.4]])}, "must not add up to more than the discount, got 1.3"),
        ({"weight": np.array([[0.9, -0.4]])}, "weights must not be negative, got -0.4"),
        ({"weight": np.array([[0.9, np.nan]])}, "weights must be finite"),
        ({"weight": np.array([0.9])}, r"must have one shape \[X, M\]"),
        ({"discount": np.array(2.0)}, r"gamma must lie in \[0, 1\]"),
    ],
)
def test_a_chain_that_is_not_sound_is_refused(changes, message):
    chain = markov_chain.Chain(np.zeros((1, 2), np.int32), np.array([[0.5, 0.4]]), np.array(0.9))
    assert float(markov_chain.discounted_sums(jax.tree.map(jnp.asarray, chain), jnp.ones((1, 1))).value[0, 0]) == pytest.approx(
        10
    )
    with pytest.raises(ConfigError, match=message):
        markov_chain.discounted_sums(chain._replace(**changes), np.ones((1, 1)))
