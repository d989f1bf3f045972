"""Problems, policies and values that exact solvers refuse."""

import jax
import numpy as np
import pytest

import envs
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.solvers.mdp.entropic import certainty_equivalents, entropic_value_iteration
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation, return_of_policy
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests.solvers.mdp.lakes import LAKE
from tests.solvers.models import with_a_ruinous_action

pytestmark = pytest.mark.usefixtures("double_precision")


def test_rewards_of_several_agents_are_not_those_of_one():
    model = tabulate(envs.make("prisoners_dilemma"))
    for solver in (value_iteration, policy_iteration, entropic_value_iteration):
        with pytest.raises(EnvError, match=r"must have one reward, \[X, A, K\], got \[2, 4, 1, 2\]"):
            solver(model, 0.9)


def test_policies_that_are_none():
    model = LAKE["4x4"]
    with pytest.raises(ConfigError, match=r"the policy must sum to 1, got 'a sum of 0\.9"):
        policy_evaluation(model, np.full((16, 4), 0.225), 0.9)
    with pytest.raises(ConfigError, match="the policy must be finite"):
        policy_evaluation(model, np.full((16, 4), np.nan), 0.9)
    with pytest.raises(ConfigError, match=r"the policy must have shape \[16, 4\]"):
        policy_evaluation(model, np.full((16, 3), 1 / 3), 0.9)


ASKED = {  # tests/test_doors.py has the other solvers
    "action_values": lambda model: action_values(model, np.zeros(1), 0.9),
    "certainty_equivalents": lambda model: certainty_equivalents(model, np.zeros(1), 1.0),
    "return_of_policy": lambda model: return_of_policy(model, np.array([[0.5, 0.5]]), 3),
}


@pytest.mark.parametrize("solver", ASKED)
@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("probability", 1.4, "probabilities must sum to 1, got 1.4 for action 0 in state 0"),
        ("next_state", 77, r"next_state must hold whole numbers in \[0, 1\), got \(0, 77\)"),
        ("reward", np.nan, "rewards must be finite"),
    ],
)
def test_a_model_that_is_not_sound_is_refused(solver, name, number, message):
    table = getattr(with_a_ruinous_action(), name).copy()
    table[0, 0, 0] = number
    with pytest.raises(EnvError, match=f"^{solver}: .*{message}"):
        ASKED[solver](with_a_ruinous_action().replace(**{name: table}))


def test_a_traced_model_is_not_checked():
    model = with_a_ruinous_action()
    found = jax.jit(lambda model: value_iteration(model, 0.9).value)(model.replace(reward=np.full((1, 2, 1), np.nan)))
    assert np.isnan(np.asarray(found)).all()


@pytest.mark.parametrize("tolerance", [np.nan, -1e-3, "1e-6"])
def test_an_unsound_tolerance_is_refused(tolerance):
    model = with_a_ruinous_action()
    for solve in (
        lambda: value_iteration(model, 0.9, tolerance),
        lambda: entropic_value_iteration(model, 1.0, tolerance),
        lambda: host.solve(model, 0.9, tolerance),
    ):
        with pytest.raises(ConfigError, match="tolerance must be"):
            solve()


def test_a_discount_that_is_text_is_refused():
    for solve in (value_iteration, policy_iteration, host.solve):
        with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\], got '0\.9'"):
            solve(with_a_ruinous_action(), "0.9")
