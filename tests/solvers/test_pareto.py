"""Fronts of several objectives: golden numbers of deep sea treasure, and oracles by counting and by weights."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.gridworlds import deep_sea_treasure, hazard_grid
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError, SolverError
from jaxrl.solvers import pareto

STEPS = (1, 3, 5, 7, 8, 9, 13, 14, 17, 19)
REFERENCE = (0.0, -25.0)


def front(treasures: str) -> np.ndarray:
    return np.stack([deep_sea_treasure.TREASURES[treasures], -np.array(STEPS, float)], -1)


@pytest.mark.parametrize(
    ("treasures", "full", "of_supported", "supported", "mixtures"),
    [("classic", 1155.0, 762.0, [0, 9], 1869.0), ("concave", 401.8, 399.7, [0, 1, 2, 3, 4, 5, 6, 8, 9], None)],
)
def test_deep_sea_treasure(treasures, full, of_supported, supported, mixtures):
    points = front(treasures)
    assert pareto.hypervolume(points, REFERENCE) == pytest.approx(full)
    best = pareto.supported(points)
    assert np.flatnonzero(best).tolist() == supported
    assert pareto.hypervolume(points[best], REFERENCE) == pytest.approx(of_supported)
    if mixtures is not None:
        assert pareto.mixture_hypervolume(points, REFERENCE) == pytest.approx(mixtures)


@pytest.mark.parametrize("treasures", ["classic", "concave"])
def test_the_exact_front_of_the_model(treasures):
    env = deep_sea_treasure.make(treasures)
    model = tabulate(env)
    found = pareto.pareto_front(model, deep_sea_treasure.objective_table(model, env.params))
    np.testing.assert_allclose(found.points, front(treasures), rtol=1e-6)
    assert found.sweeps <= 26 + 1


sets = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), min_size=1, max_size=6).map(np.array)
)


@settings(deadline=None, max_examples=50)
@given(sets)
def test_hypervolume_counts_unit_cells(points):
    cells = np.stack(np.meshgrid(*[np.arange(4)] * points.shape[1], indexing="ij"), -1).reshape(-1, points.shape[1])
    expected = (cells[:, None] + 1 <= points[None]).all(-1).any(-1).sum()
    assert pareto.hypervolume(points, np.zeros(points.shape[1])) == pytest.approx(expected)
    kept = pareto.non_dominated(points)
    assert pareto.hypervolume(points[kept], np.zeros(points.shape[1])) == pytest.approx(expected)
    assert len(np.unique(points[kept], axis=0)) == kept.sum()


@settings(deadline=None, max_examples=25)
@given(sets.filter(lambda points: points.shape[1] == 2))
def test_supported_points_are_best_for_some_weights(points):
    angle = np.linspace(0, np.pi / 2, 2001)  # much finer than the angles at which two points of small integers are as good
    points = np.unique(points, axis=0)
    values = np.stack([np.cos(angle), np.sin(angle)], -1) @ points.T
    best = values >= values.max(-1, keepdims=True) - 1e-9
    expected = (best & (best.sum(-1, keepdims=True) == 1)).any(0)
    np.testing.assert_array_equal(pareto.supported(points), expected)


def test_mixtures_hold_more_than_points():
    assert pareto.mixture_hypervolume([[1, 3], [3, 1]], (0, 0)) == pytest.approx(3 + 4)  # 1 x 3, and a trapezoid
    assert pareto.mixture_hypervolume([[1, 3], [3, 1], [1.5, 1.5]], (0, 0)) == pytest.approx(7)
    assert pareto.mixture_hypervolume([[-1, 3]], (0, 0)) == 0


def test_crowding_sparsity_and_utility():
    points = [[0.0, 4.0], [1.0, 3.0], [4.0, 0.0]]
    np.testing.assert_allclose(pareto.crowding_distance(points), [np.inf, 2.0, np.inf])
    assert pareto.sparsity(points) == pytest.approx((1 + 9 + 9 + 1) / 2)
    assert pareto.sparsity(points[:1]) == 0
    assert pareto.expected_utility(points, [[1, 0], [0, 1], [0.5, 0.5]]) == pytest.approx((4 + 4 + 2) / 3)


def test_extensions_are_of_the_sparsest_points_on_the_front():
    points = [[0.0, -1.0], [2.0, -9.0], [1.0, -9.5], [4.0, -19.0], [0.5, -2.0]]  # the third is dominated
    found = pareto.extensions(points, (0.0, -25.0), 3, 0.9)
    assert found.place.tolist() == [0, 0, 3, 3, 1, 1]  # the gap around (2, -9) is wider than that around (0.5, -2)
    assert found.objective.tolist() == [0, 1] * 3
    never = -np.inf
    expected = [[never, -3.4], [0.0, never], [never, -19.6], [3.6, never], [never, -10.6], [1.8, never]]
    np.testing.assert_allclose(found.bounds, expected)
    assert pareto.extensions(points[:1], (0.0, -25.0), 2, 1.0).place.tolist() == [0, 0, 0, 0]  # in turn


def test_what_has_no_front_is_refused():
    env = deep_sea_treasure.make(max_steps=4)
    model = tabulate(env)
    table = deep_sea_treasure.objective_table(model, env.params)
    with pytest.raises(ConfigError, match="shape"):
        pareto.pareto_front(model, table[:, :, 0])
    endless = dataclasses.replace(model, terminated=np.zeros_like(model.terminated), next_state=0 * model.next_state)
    with pytest.raises(SolverError, match="must end"):
        pareto.pareto_front(endless, table - 1.0, max_sweeps=20)
    slippery = tabulate(hazard_grid.make(slip=0.1))
    with pytest.raises(EnvError, match="certain"):
        pareto.pareto_front(slippery, slippery.reward[..., None])


@pytest.mark.parametrize(
    "call",
    [
        lambda: pareto.hypervolume([[1.0, float("nan")]], (0, 0)),
        lambda: pareto.hypervolume([[1.0, 2.0]], (0, 0, 0)),
        lambda: pareto.hypervolume([1.0, 2.0], (0, 0)),
        lambda: pareto.mixture_hypervolume([[1.0, 2.0, 3.0]], (0, 0, 0)),
        lambda: pareto.extensions([[1.0, 2.0]], (0, 0), 0, 0.9),
        lambda: pareto.extensions([[1.0, 2.0]], (0, 0), 1, 1.1),
        lambda: pareto.expected_utility([[1.0, 2.0]], [[-1.0, 0.0]]),
    ],
)
def test_bad_numbers_are_refused(call):
    with pytest.raises(ConfigError):
        call()
