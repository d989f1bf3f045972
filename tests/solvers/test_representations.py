"""Flows of representations, against automatic differentiation, linear algebra of NumPy and SciPy, and what each must conserve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from envs.random_mdps import random_mdp
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers import representations
from jaxrl.solvers.representations import Values

STATES, GAMMA = 6, 0.9


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def chain(kind="symmetric", seed=0):
    params = random_mdp.KINDS["dense" if kind == "ring" else kind](jax.random.key(seed), STATES, 1)
    params = random_mdp.along_a_ring(params) if kind == "ring" else params
    table = np.asarray(params.probability[:, 0], np.float64)
    return table / table.sum(1, keepdims=True)


def orthonormal(seed, count=2):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(STATES, count)))[0]


def start(seed, rewards=3):
    generator = np.random.default_rng(seed)
    return Values(generator.normal(size=(STATES, 2)), generator.normal(size=(2, rewards))), generator.normal(
        size=(STATES, rewards)
    )


@pytest.mark.parametrize("kind", ["symmetric", "dense", "ring"])
def test_a_step_of_td_learning_is_its_semi_gradient(kind):
    values, reward = start(0)
    matrix = chain(kind)
    course = representations.td_learning(matrix, reward, values, GAMMA, 0.01, 1)

    def loss(values, target):
        return ((values.features @ values.weights - target) ** 2).sum() / 2

    slope = jax.grad(loss)(values, reward + GAMMA * matrix @ values.features @ values.weights)
    for found, before, change in zip(course.state, values, slope, strict=True):
        np.testing.assert_allclose(found[0], before - 0.01 * change, atol=1e-12)
    truth = np.linalg.solve(np.eye(STATES) - GAMMA * matrix, reward)
    apart = np.asarray(course.state.features[0] @ course.state.weights[0]) - truth
    assert float(course.measures["squared_error"][0]) == pytest.approx((apart**2).sum())
    energy = np.trace(apart.T @ (np.eye(STATES) - GAMMA * matrix) @ apart)
    assert float(course.measures["energy"][0]) == pytest.approx(energy)


def test_td_learning_of_a_symmetric_chain_lowers_the_energy_to_nothing():
    """Of as many features as rewards, the values can be represented: both measures go to 0, at each discount of those vmapped."""
    values, reward = start(1, rewards=2)
    run = jax.vmap(lambda gamma: representations.td_learning(chain(), reward, values, gamma, 0.01, 8000, 4))
    course = run(jnp.array([0.0, 0.5]))
    assert (course.rise["energy"] == 0).all()
    assert (course.fall["energy"] > 0).all()
    assert (np.diff(course.measures["energy"], axis=1) < 0).all()
    assert (course.measures["squared_error"][:, -1] < 1e-6).all()


def test_a_rise_is_found():
    """Steps that are far too long."""
    values, reward = start(2)
    course = representations.td_learning(chain(), reward, values, GAMMA, 0.5, 3)
    assert float(course.rise["energy"]) > 1


@pytest.mark.parametrize("target", ["stopped", "moving"])
def test_a_step_of_self_prediction_is_its_gradient(target):
    """The loss as a sum over all transitions, its gradient through what is predicted or not."""
    matrix, features = chain("dense"), np.random.default_rng(3).normal(size=(STATES, 2))
    best = np.linalg.lstsq(features, matrix @ features, rcond=None)[0]

    def loss(features, predicted):
        apart = (features @ best)[:, None] - predicted[None]
        return (matrix * (apart**2).sum(-1)).sum() / 2

    slope = jax.grad(loss)(features, features)
    if target == "moving":
        slope = jax.grad(lambda features: loss(features, features))(features)
    course = representations.self_prediction(matrix, features, 0.01, 1, target=target)
    np.testing.assert_allclose(course.state[0], features - 0.01 * slope, atol=1e-12)


def test_self_prediction_finds_the_leading_eigenvectors_and_keeps_its_covariance():
    matrix = chain()
    course = representations.self_prediction(matrix, orthonormal(4), 0.01, 40_000, 4)
    best = representations.leading_eigenvectors(matrix, 2, absolute=True)
    squared = np.sort(np.linalg.eigvalsh(matrix) ** 2)[-2:].sum()
    assert float(course.measures["objective"][-1]) == pytest.approx(squared, rel=5e-3)  # the steps drift
    assert np.degrees(representations.principal_angles(course.state[-1], best)).max() < 3
    assert float(course.fall["objective"]) < 1e-12
    assert float(course.measures["drift"][-1]) < 5e-3
    shorter = representations.self_prediction(matrix, orthonormal(4), 0.001, 1000, 1)
    longer = representations.self_prediction(matrix, orthonormal(4), 0.01, 100, 1)
    ratio = float(shorter.measures["drift"][-1] / longer.measures["drift"][-1])
    assert ratio == pytest.approx(0.1, rel=0.1)  # of the steps, not of the flow


@pytest.mark.parametrize("options", [{"target": "moving"}, {"predictor_rate": 0.0}])
def test_what_lets_the_covariance_collapse(options):
    """All but the direction in which everything is the same dies out."""
    course = representations.self_prediction(chain(), orthonormal(5), 0.01, 5000, 1, **options)
    left = course.state[0] if "predictor_rate" in options else course.state
    np.testing.assert_allclose(left[0] - left[0].mean(0), 0.0, atol=1e-4)
    kept = representations.self_prediction(chain(), orthonormal(5), 0.01, 5000, 1)
    assert float(kept.measures["covariance"][-1]) == pytest.approx(np.sqrt(2), abs=1e-2)


def test_a_fast_predictor_is_the_best_one():
    matrix, features = chain(), orthonormal(6)
    fast = representations.self_prediction(matrix, features, 0.002, 5000, 1, predictor_rate=200.0)
    best = representations.self_prediction(matrix, features, 0.002, 5000, 1)
    assert float(fast.measures["objective"][0]) == pytest.approx(float(best.measures["objective"][0]), rel=0.1)


def test_bidirectional_prediction_finds_the_singular_vectors():
    matrix = chain("dense")
    course = representations.bidirectional(matrix, orthonormal(7), orthonormal(8), 0.01, 40_000, 2)
    left, sizes, right = np.linalg.svd(matrix)
    assert float(course.measures["objective"][-1]) == pytest.approx((sizes[:2] ** 2).sum(), rel=1e-3)
    for found, best in zip(course.state, (left[:, :2], right[:2].T), strict=True):
        assert np.degrees(representations.principal_angles(found[-1], best)).max() < 3
    assert float(course.fall["objective"]) < 1e-12


@pytest.mark.parametrize("angle", [0.0, 1e-10, 0.3, np.pi / 2])
def test_angles_of_planes(angle):
    turned = np.array([[1.0, 0, 0], [0, np.cos(angle), np.sin(angle)]]).T
    found = representations.principal_angles(turned @ [[2.0, 1], [0, 3]], np.eye(3)[:, :2])
    np.testing.assert_allclose(found, [0.0, angle], atol=1e-15)


def test_angles_as_scipy_has_them():
    generator = np.random.default_rng(9)
    one, other = generator.normal(size=(5, 8, 2)), generator.normal(size=(5, 8, 3))
    expected = [np.sort(scipy.linalg.subspace_angles(*pair)) for pair in zip(one, other, strict=True)]
    np.testing.assert_allclose(representations.principal_angles(one, other), expected, atol=1e-12)


def test_leading_eigenvectors():
    matrix = np.diag([1.0, -3.0, 2.0])
    np.testing.assert_allclose(np.abs(representations.leading_eigenvectors(matrix, 2)), np.eye(3)[:, [2, 0]])
    np.testing.assert_allclose(np.abs(representations.leading_eigenvectors(matrix, 2, absolute=True)), np.eye(3)[:, [1, 2]])


def test_whole_rewards_are_numbers_too():
    start = Values(orthonormal(0), np.eye(2))
    whole, real = (
        representations.td_learning(chain(), np.ones((6, 2), kind), start, 0.9, 0.1, 2).measures["energy"]
        for kind in (int, float)
    )
    np.testing.assert_array_equal(whole, real)


@pytest.mark.parametrize(
    ("call", "error", "must"),
    [
        (lambda m, f: representations.self_prediction(m + 1, f, 0.1, 1), ConfigError, "transition must sum to 1"),
        (lambda m, f: representations.self_prediction(m[:3], f, 0.1, 1), ConfigError, r"transition must have shape \[X, X\]"),
        (lambda m, f: representations.self_prediction(m, f[:3], 0.1, 1), ConfigError, r"features must have shape \[6, F\]"),
        (lambda m, f: representations.self_prediction(m, f * np.nan, 0.1, 1), ConfigError, "features must be finite"),
        (lambda m, f: representations.self_prediction(m, f, 0.0, 1), ConfigError, "step_size must be a positive number"),
        (lambda m, f: representations.self_prediction(m, f, 0.1, 3, 2), ConfigError, "num_records must divide num_steps"),
        (lambda m, f: representations.self_prediction(m, f, 0.1, 1, target="still"), UnknownNameError, "no target is named"),
        (lambda m, f: representations.self_prediction(m, f, 0.1, 1, predictor_rate=-1.0), ConfigError, "predictor_rate must be"),
        (lambda m, f: representations.bidirectional(m, f, f[:, :1], 0.1, 1), ConfigError, "must have the same shape"),
        (lambda m, f: representations.td_learning(m, f, Values(f, np.eye(2)), 1.0, 0.1, 1), ConfigError, "gamma must lie in"),
        (lambda m, f: representations.td_learning(m, f, Values(f, f), 0.9, 0.1, 1), ConfigError, "must have shapes"),
        (
            lambda m, f: representations.td_learning(m, f * np.nan, Values(f, np.eye(2)), 0.9, 0.1, 1),
            ConfigError,
            "reward must be finite",
        ),
        (lambda m, f: representations.self_prediction(m, f, np.inf, 1), ConfigError, "step_size must be a positive number"),
        (lambda m, f: representations.principal_angles(m, f), ConfigError, "the shapes must be"),
        (lambda m, f: representations.leading_eigenvectors(f, 1), ConfigError, r"the matrix must have shape \[..., X, X\]"),
        (lambda m, f: representations.leading_eigenvectors(m, 7), ConfigError, "count must be at most 6"),
    ],
)
def test_what_does_not_fit_together(call, error, must):
    with pytest.raises(error, match=must):
        call(chain(), orthonormal(0))
