"""Two-hot values: the atoms and the weights against rlax, round trips, and the mean of a random target."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks import two_hot
from jaxrl.errors import ConfigError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import rlax

ATOMS = two_hot.support(10)


def test_atoms_are_those_of_rlax():
    number = np.arange(-10, 11, dtype=np.float32)
    np.testing.assert_allclose(ATOMS, rlax.signed_parabolic(number, two_hot.EPSILON), rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(rlax.signed_hyperbolic(ATOMS, two_hot.EPSILON), number, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ATOMS, -ATOMS[::-1])


@pytest.mark.parametrize(("size", "reach"), [(10, 117), (30, 905)])
def test_the_reach_is_as_documented(size, reach):
    assert round(float(two_hot.support(size)[-1])) == reach


def test_weights_on_atoms_at_equal_distances_are_those_of_rlax():
    values = np.array([-3.0, -2.0, -0.3, 0.0, 1.9, 2.0, 7.0], np.float32)
    even = jnp.linspace(-2.0, 2.0, 5)
    np.testing.assert_allclose(two_hot.encode(values, even), rlax.transform_to_2hot(values, -2.0, 2.0, 5), atol=1e-5)


def test_a_value_is_shared_by_its_neighbours_and_found_again():
    values = jnp.asarray(np.random.default_rng(0).uniform(-117, 117, (3, 50)), jnp.float32)
    weights = two_hot.encode(values, ATOMS)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-6)
    assert int((weights > 0).sum(-1).max()) == 2
    np.testing.assert_allclose(two_hot.decode(jnp.log(weights), ATOMS), values, rtol=1e-4, atol=1e-4)
    beyond = two_hot.encode(jnp.array([-1e6, 1e6]), ATOMS)
    np.testing.assert_array_equal(beyond.argmax(-1), [0, 20])


def test_a_random_target_is_met_by_its_mean():
    """The best logits for 0 and 10 in turn have the mean 5, however far apart the atoms between them are."""
    targets = jnp.array([0.0, 10.0])
    best = jnp.log(two_hot.encode(targets, ATOMS).mean(0) + 1e-30)
    slope = jax.grad(lambda logits: two_hot.loss(jnp.stack([logits, logits]), targets, ATOMS).mean())(best)
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    np.testing.assert_allclose(two_hot.decode(best, ATOMS), 5.0, rtol=1e-5)


@pytest.mark.parametrize("size", [0, 1.5, -3])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ConfigError, match="support: size must be an integer of at least 1"):
        two_hot.support(size)
