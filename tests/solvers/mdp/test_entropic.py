"""Value iteration with an exponential utility, against closed forms and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.trading import option_hedging
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.entropic import certainty_equivalents, entropic_plan, entropic_value_iteration
from tests.solvers.mdp.lakes import LAKE

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.mark.parametrize("aversion", [1e-6, 0.5, 10.0])
def test_certainty_equivalent_of_a_lake_that_pays_once(aversion):
    """The sum of the rewards is 0 or 1, so whoever is averse to risk wants what everyone wants: 1 with probability 14/17."""
    model = LAKE["4x4"]
    solution = entropic_value_iteration(model, aversion, tolerance=1e-13)
    expected = -np.log1p(14 / 17 * np.expm1(-aversion)) / aversion
    assert float(solution.start_value(model)) == pytest.approx(expected, rel=1e-6)


def test_certainty_equivalents_in_numpy():
    """Of stochastic moves with rewards and ends, from any values; and of values that exp() could not hold."""
    model, aversion = tabulate(envs.make("cliff_walking", slip=0.3)), 0.7
    values = np.random.default_rng(0).normal(size=model.num_states)
    onward = model.reward + ~model.terminated * values[model.next_state]
    expected = -np.log((model.probability * np.exp(-aversion * onward)).sum(-1)) / aversion
    np.testing.assert_allclose(certainty_equivalents(model, values, aversion), expected, rtol=1e-10)
    lifted, going_on = np.asarray(certainty_equivalents(model, values + 1e4, aversion)), ~model.terminated.any(-1)
    np.testing.assert_allclose(lifted[going_on], expected[going_on] + 1e4, rtol=1e-10)


@pytest.mark.parametrize("aversion", [0.0, -1.0, float("nan"), float("inf")])
def test_risk_aversions_that_are_none(aversion):
    with pytest.raises(ConfigError, match="risk_aversion must be a positive number"):
        entropic_value_iteration(LAKE["4x4"], aversion)


@pytest.mark.parametrize("aversion", [1e-6, 1e-3, 1.0, 1e3])
def test_certainty_equivalents_in_single_precision(aversion):
    """Near indifference the utility is a straight line, and its curvature must not be lost in rounding."""
    model = LAKE["4x4"]
    values = np.random.default_rng(0).normal(size=16)
    exact = certainty_equivalents(model, values, aversion)
    with jax.enable_x64(False):
        found = certainty_equivalents(jax.tree.map(jnp.asarray, model), values.astype(np.float32), aversion)
    np.testing.assert_allclose(found, exact, atol=2e-6)


def test_a_plan_says_where_it_leads_and_how_far_off_others_are():
    model = tabulate(option_hedging.make((0.0, 0.5, 1.0), 2.0, 2.0, cost=0.01, num_steps=2))
    plan = entropic_plan(model, 5.0)
    solution = entropic_value_iteration(model, 5.0, tolerance=1e-12)
    assert plan.value == pytest.approx(float(solution.start_value(model)), rel=1e-12)
    assert plan.observations[0] == model.observation[model.initial.argmax()]
    assert len(plan.observations) == len(set(plan.observations.tolist())) == 3  # the start, and after a move either way
    best = np.asarray(solution.action_value).argmax(-1)
    states = [int(np.flatnonzero(model.observation == seen)[0]) for seen in plan.observations]
    np.testing.assert_array_equal(plan.choices, best[states])
    q = np.zeros((2, model.num_states, 3)) + plan.value - 1.0
    q[0, plan.observations, plan.choices] = plan.value
    q[1, plan.observations, (plan.choices + 1) % 3] = np.nan
    error, off = plan.errors(q + 3.0, offset=3.0)
    assert error.tolist() == [pytest.approx(0.0, abs=1e-12), np.inf]
    assert off[0] == 0
    assert off[1] > 0
    assert plan.errors(q[:1], offset=0.5 * abs(plan.value))[0][0] == pytest.approx(0.5)
