"""Incremental worst-case search: the robust optimum, its certificate, and adversaries of one's own."""

import numpy as np
import pytest

from jaxrl.core.finite import TabularModel
from jaxrl.errors import ConfigError, SolverError, UnknownNameError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.robust import robust_value_iteration
from jaxrl.solvers.mdp.worst_cases import incremental_worst_cases, worst_case_search
from tests.solvers.models import garnet


def candidates(seed, count=4):
    """A random process and other transition laws on the same successors, the process's own first."""
    model = garnet(seed)
    others = np.random.default_rng(seed).dirichlet(np.ones(3), (count - 1, *model.next_state.shape[:2]))
    return model, np.concatenate([model.probability[None], others])


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("adversary", ["candidates", "total_variation", "contamination"])
def test_the_policy_is_worth_the_robust_optimum(adversary, gamma, double_precision):
    for seed in range(4):
        model, rows = candidates(seed)
        uncertainty = rows if adversary == "candidates" else 0.2
        found = incremental_worst_cases(model, gamma, uncertainty, adversary)
        best = np.asarray(robust_value_iteration(model, gamma, uncertainty, adversary, 0.0).solution.value)
        assert bool(found.converged)
        np.testing.assert_allclose(found.value, best, atol=1e-9)
        assert abs(float(found.gap)) <= 1e-9 * np.abs(best).max()
        assert (found.promises >= model.initial @ best - 1e-9).all()
        sure = [host.evaluate(one, found.policy, gamma).value for one in found.models]
        assert (np.min(sure, axis=0) >= best - 1e-9).all()  # no model of the search is worse than the worst


def test_the_certificate_holds_before_the_end(double_precision):
    """With the nominal model alone the robust optimum lies between the worth of the policy and the promise."""
    worse = 0
    for seed in range(6):
        model, rows = candidates(seed)
        stopped = incremental_worst_cases(model, 0.9, rows, "candidates", max_models=1)
        best = robust_value_iteration(model, 0.9, rows, "candidates", 0.0).solution
        optimum = float(best.start_value(model))
        assert not bool(stopped.converged)
        assert len(stopped.promises) == 1
        sure = float(stopped.promises[0] - stopped.gap)
        assert sure <= optimum + 1e-12 < float(stopped.promises[0])
        worse += sure < optimum - 1e-6
    assert worse > 0  # the nominal policy is not always the robust one


def matching_wind():
    """One state, two actions, two winds: each action pays 1 in one wind and nothing in the other; then it is over."""
    chance = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    reward, ends, start = np.tile([1.0, 0.0], (1, 2, 1)), np.ones((1, 2, 2), bool), np.ones(1)
    state = np.arange(1)
    return TabularModel(np.zeros((1, 2, 2), np.int32), chance, reward, ends, start, np.ones((1, 2), bool), state, state, (2,))


def test_an_adversary_of_ones_own():
    """Neither action is sure of anything, though in each wind one of them pays."""
    model = matching_wind()
    other = model.replace(probability=model.probability[:, ::-1])

    def worst(policy):
        values = [np.asarray(host.evaluate(one, policy, 0.5).value) for one in (model, other)]
        return (model, other)[int(np.argmin([value[0] for value in values]))]

    found = worst_case_search(model, 0.5, worst)
    assert float(found.value[0]) == 0.0
    assert len(found.promises) == 2
    assert bool(found.converged)
    assert found.promises.tolist() == [1.0, 0.0]


def test_an_adversary_of_rewards():
    """Two models of the same transitions: each action pays nothing in one of them."""
    model = matching_wind()
    paying = [model.replace(reward=np.array([[[one, one], [1.0 - one, 1.0 - one]]])) for one in (1.0, 0.2)]

    def worst(policy):
        return min(paying, key=lambda one: host.evaluate(one, policy, 0.5).value[0])

    found = worst_case_search(paying[0], 0.5, worst)
    assert bool(found.converged)
    assert float(found.value[0]) == pytest.approx(0.2)
    assert len(found.models) == 2


def test_a_nominal_model_that_the_adversary_may_not_choose_is_refused():
    """Its promise of 0.6 would lie below the robust optimum, 0.9."""
    model = matching_wind().replace(probability=np.array([[[0.5, 0.5], [0.6, 0.4]]]))
    other = np.array([[[[0.4, 0.6], [0.9, 0.1]]]])
    with pytest.raises(ConfigError, match="one of the candidates must be the nominal model"):
        incremental_worst_cases(model, 0.5, other, "candidates")
    with pytest.raises(SolverError, match="no model may promise less"):
        worst_case_search(model, 0.5, lambda policy: model.replace(probability=other[0]))


def test_bad_arguments_are_refused():
    model, rows = candidates(0)
    with pytest.raises(ConfigError, match="gamma"):
        incremental_worst_cases(model, 1.0, 0.1)
    with pytest.raises(ConfigError, match="radius"):
        incremental_worst_cases(model, 0.9, 1.5)
    with pytest.raises(ConfigError, match="candidates must have shape"):
        incremental_worst_cases(model, 0.9, rows[0], "candidates")
    with pytest.raises(ConfigError, match="max_models"):
        incremental_worst_cases(model, 0.9, 0.1, max_models=0)
    with pytest.raises(UnknownNameError):
        incremental_worst_cases(model, 0.9, 0.1, "wind")
