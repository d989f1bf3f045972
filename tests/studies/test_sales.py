"""Sales of schedules by simulation, against the closed form of their cost, and on the paths of policies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.trading import execution, schedules
from jaxrl.evaluation.paths import open_loop
from jaxrl.studies import sales

LOTS, STEPS, KEY = 6, 4, jax.random.key(0)


@pytest.fixture(scope="module")
def env():
    return execution.make(LOTS, num_steps=STEPS, temporary=[1.0, 2.0, 2.0, 3.0], permanent=0.5)


@pytest.fixture(scope="module")
def measured(env):
    return dict(sales.of_schedules(KEY, env, 2_000))


def test_schedules_cost_what_their_closed_form_says(env, measured):
    impacts = execution.mean_impacts(env.params)
    fixed = schedules.in_whole_lots(LOTS, *impacts)
    assert list(measured) == [*fixed, "quadratic programme"]
    for method, schedule in fixed.items():
        np.testing.assert_allclose(measured[method]["sold"], schedule)
        assert float(measured[method]["cost"][-1]) == pytest.approx(schedules.cost(schedule, *impacts), rel=0.1)
    optimum = measured["quadratic programme"]["cost"][-1]
    assert optimum <= min(schedules.cost(schedule, *impacts) for schedule in fixed.values()) + 1e-9


def test_policies_sell_on_the_paths_of_the_schedules(env, measured):
    equal = jnp.asarray(schedules.whole_lots(schedules.twap(LOTS, STEPS)), jnp.int32)
    found = sales.of_policies(KEY, env, open_loop, equal[None], 2_000)
    for name in ("sold", "cost"):
        np.testing.assert_allclose(found[name][0], measured["equal sales"][name], rtol=1e-6)
