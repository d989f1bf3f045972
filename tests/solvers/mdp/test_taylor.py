"""The Taylor expansion in the discount, against linear solves and the closed form of its bound."""

import jax
import numpy as np
import pytest

from envs.random_mdps import random_mdp
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.taylor import taylor_expansion, truncation_bound
from tests import oracles
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import garnet, ring

pytestmark = pytest.mark.usefixtures("double_precision")
CHANCE = np.full((10, 2), 0.5)


def random_model(seed):
    return garnet(seed, 10, 2)


def test_a_reward_for_ever_attains_the_bound():
    """One state that pays 1 for ever is worth 10 at discount 0.9 and 100 at 0.99; the expansion begins with the 10."""
    model = ring(1)
    found = taylor_expansion(model, np.ones((1, 1)), 0.9, 0.99, 60)
    error = 100 - found.value[:, 0]
    np.testing.assert_allclose(error[:3], [90.0, 81.0, 72.9], rtol=1e-10)
    np.testing.assert_allclose(truncation_bound(0.9, 0.99, np.arange(61), 1.0), error, rtol=1e-10)
    assert (error <= found.error_bound).all()


@pytest.mark.parametrize("to", [0.9, 0.95, 0.99])
def test_orders_are_powers_of_the_operator(to):
    """Every order against NumPy's own matrix powers, and the last against the value under the larger discount."""
    model = random_model(0)
    found = taylor_expansion(model, CHANCE, 0.9, to, 300)
    matrix, rows = np.zeros((10, 10)), np.arange(10)[:, None, None]
    np.add.at(matrix, (np.broadcast_to(rows, model.next_state.shape), model.next_state), model.probability / 2)
    reward = (model.probability * model.reward).sum(-1).mean(1)
    operator = (to - 0.9) * np.linalg.inv(np.eye(10) - 0.9 * matrix) @ matrix
    terms = [np.linalg.matrix_power(operator, k) @ np.linalg.solve(np.eye(10) - 0.9 * matrix, reward) for k in range(8)]
    np.testing.assert_allclose(found.value[:8], np.cumsum(terms, 0), rtol=1e-10)
    np.testing.assert_allclose(found.value[-1], oracles.policy_values(model, CHANCE, to), rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_errors_stay_below_the_bound_and_above_nothing(seed):
    model = random_model(seed)
    found = taylor_expansion(model, CHANCE, 0.9, 0.99, 400)
    error = np.abs(found.value - oracles.policy_values(model, CHANCE, 0.99)).max(1)
    assert (error <= found.error_bound).all()
    assert error[0] > 0.1
    assert float(found.error_bound[-1]) < 1e-10  # 100 * 0.9 ** 401 is 4e-17


def test_episodes_that_end():
    """Where an outcome ends the episode nothing goes on, in the operator as in the value."""
    model = LAKE["4x4"]
    policy = np.full((model.num_states, 4), 0.25)
    found = taylor_expansion(model, policy, 0.9, 0.99, 400)
    np.testing.assert_allclose(found.value[-1], oracles.policy_values(model, policy, 0.99), atol=1e-9)
    expected = taylor_expansion(model, policy, 0.5, 0.5, 2).value
    np.testing.assert_array_equal(expected[1:], expected[:-1])  # nothing to expand


def test_an_estimate_is_carried_along_linearly():
    model = random_model(1)
    noise = np.random.default_rng(0).normal(size=10)
    exact = taylor_expansion(model, CHANCE, 0.9, 0.99, 5)
    shifted = taylor_expansion(model, CHANCE, 0.9, 0.99, 5, exact.value[0] + noise)
    alone = taylor_expansion(model, CHANCE, 0.9, 0.99, 5, noise)
    np.testing.assert_allclose(shifted.value - exact.value, alone.value, atol=1e-10)


def test_many_at_once_in_single_precision():
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(0), 8)
        models = jax.vmap(lambda key: random_mdp.table(random_mdp.dense(key, 10, 2)))(keys)
        found = jax.jit(jax.vmap(lambda model: taylor_expansion(model, CHANCE, 0.9, 0.95, 60)))(models)
    assert found.value.dtype == np.float32
    for place in range(8):
        model = jax.tree.map(lambda leaf, place=place: np.asarray(leaf)[place], models)
        exact = oracles.policy_values(model, CHANCE, 0.95)
        error = np.abs(found.value[place] - exact).max(1)
        assert (error <= found.error_bound[place]).all()


def test_a_discount_that_single_precision_takes_for_1_is_refused():
    with jax.enable_x64(False), pytest.raises(ConfigError, match="float32 must be able to tell to from 1"):
        truncation_bound(0.9, 0.99999999, 0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "must"),
    [
        ((0.9, 1.0, 3), r"to must lie in \[0, 1\)"),
        ((1.0, 1.0, 3), "gamma must lie in"),
        ((0.99, 0.9, 3), "gamma must not exceed to"),
        ((0.9, np.nan, 3), "to must lie in"),
        ((0.9, 0.99, -1), "order must be an integer of at least 0"),
        ((0.9, 0.99, 3, np.zeros(4)), r"value must have shape \[10\]"),
    ],
)
def test_what_cannot_be_expanded(arguments, must):
    with pytest.raises(ConfigError, match=must):
        taylor_expansion(random_model(0), CHANCE, *arguments)
