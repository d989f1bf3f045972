"""Without discount, endless problems are refused by every solver of the optimum, and others are solved."""

import numpy as np
import pytest

import envs
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.prioritised_sweeping import prioritised_sweeping
from jaxrl.solvers.mdp.value_iteration import value_iteration
from tests.solvers.mdp.test_host import loop
from tests.solvers.models import ring

SOLVERS = {
    "value_iteration": value_iteration,
    "policy_iteration": policy_iteration,
    "prioritised_sweeping": prioritised_sweeping,
    "host.solve": host.solve,
}
ENDLESS = {
    "earns in every step": ring(3),
    "earns now and then, and could rest": loop(1.0, 0.0, 0.0),
    "earns more than it loses": loop(1.0, -2.0, 1.5),
    "loses whatever it does": loop(-1.0, -1.0, stay=-0.1),
    "swings": loop(1.0, -1.0, stay=-1.0),
}


@pytest.mark.parametrize("model", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("name", SOLVERS)
def test_endless_problems_are_refused(name, model):
    with pytest.raises(ConfigError, match=rf"{name}: at gamma = 1 .* got rewards for ever in state \d.*below 1.*average_reward"):
        SOLVERS[name](model, 1.0)
    assert float(SOLVERS[name](model, 0.9).error_bound) < 1e-4  # with a discount it has an optimum


@pytest.mark.parametrize("name", SOLVERS)
def test_what_a_proper_policy_ends_is_solved(name):
    """Into a wall an agent can walk for ever, at a cost."""
    model = tabulate(envs.make("cliff_walking"))
    found = SOLVERS[name](model, 1.0)
    assert bool(found.converged)
    assert float(found.start_value(model)) == pytest.approx(-13.0)


@pytest.mark.parametrize("name", ["value_iteration", "prioritised_sweeping", "host.solve"])
def test_rest_is_an_end(name):
    np.testing.assert_array_equal(SOLVERS[name](loop(1.0, -2.0), 1.0).value, [1.0, 0.0])


@pytest.mark.parametrize("name", SOLVERS)
def test_an_environment_is_no_model(name):
    with pytest.raises(EnvError, match=rf"{name}: model must be a TabularModel, got 'Environment'\. Write tabulate\(env\)"):
        SOLVERS[name](envs.make("cliff_walking"), 0.9)
