"""Logistic regression: weights in closed form, those of another optimiser, and weights that do not exist."""

import numpy as np
import pytest
from scipy import optimize, special

from jaxrl.errors import ConfigError, SolverError
from jaxrl.solvers.logistic_regression import fit


@pytest.mark.parametrize("chosen", [1, 30, 50, 99])
def test_one_feature_has_the_log_odds(chosen):
    found = fit(np.ones((100, 1)), np.arange(100) < chosen)
    assert found.weight[0] == pytest.approx(special.logit(chosen / 100), abs=1e-7)
    share = chosen / 100
    assert found.loss == pytest.approx(special.entr(share) + special.entr(1 - share))
    scaled = fit(np.full((100, 1), 1e-3), np.arange(100) < chosen)
    assert scaled.weight[0] == pytest.approx(1e3 * special.logit(share), rel=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 0.5, 100.0])
def test_the_loss_is_least(ridge):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 5))
    label = generator.uniform(size=200) < special.expit(x @ [1, -2, 0, 3, 0.5])
    found = fit(x, label, ridge)

    def loss(weight):
        return np.logaddexp(0, -np.where(label, 1, -1) * (x @ weight)).sum() + ridge / 2 * weight @ weight

    other = optimize.minimize(loss, np.zeros(5), tol=1e-10)
    np.testing.assert_allclose(found.weight, other.x, atol=1e-4)
    assert loss(found.weight) <= other.fun + 1e-10
    slope = optimize.approx_fprime(found.weight, loss, 1e-6)
    np.testing.assert_allclose(slope / 200, 0, atol=1e-5)
    assert found.residual < 1e-8


def test_weights_that_do_not_exist():
    x, label = np.array([[-1.0], [1.0]]), [0, 1]
    with pytest.raises(SolverError, match="weights of least loss"):
        fit(x, label)
    # One weight w with a ridge of 1 solves 2 / (1 + e^w) = w.
    weight = fit(x, label, 1.0).weight[0]
    assert 2 / (1 + np.exp(weight)) == pytest.approx(weight, abs=1e-8)


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: fit(np.zeros(3), [0, 1, 0]), r"features must have shape \[M, D\]"),
        (lambda: fit(np.zeros((3, 2)), [0, 1]), r"labels must have shape \[3\]"),
        (lambda: fit(np.zeros((2, 2)), [0, 2]), "labels must be 0 or 1"),
        (lambda: fit([[np.inf]], [1]), "features must be finite"),
        (lambda: fit([[1.0]], [1], -1.0), "ridge must"),
    ],
)
def test_unsound_arguments_are_refused(solve, message):
    with pytest.raises(ConfigError, match=message):
        solve()
