"""Mean paths: schedules cost what they cost on average, and all policies see the same paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.trading import execution, schedules
from jaxrl.errors import ConfigError
from jaxrl.evaluation.paths import mean_path, open_loop

RISING = np.linspace(1.0, 3.0, 5)


def test_schedules_sell_as_they_say_and_cost_what_they_cost_on_average():
    env = execution.make(8, temporary=RISING, permanent=RISING / 2, num_steps=5, volatility=0.01)
    fixed = schedules.in_whole_lots(8, *execution.mean_impacts(env.params))
    lots = jnp.asarray(list(fixed.values()), jnp.int32)
    played = mean_path(jax.random.key(0), env, open_loop, lots, 500)
    np.testing.assert_allclose(played.action, lots, rtol=1e-6)
    expected = [schedules.cost_so_far(schedule, RISING, RISING / 2) for schedule in fixed.values()]
    np.testing.assert_allclose(-np.asarray(played.earned) * float(env.params.cost_scale), expected, rtol=0.01)


def test_all_policies_see_the_same_paths():
    env = execution.make(4, num_steps=3, volatility=5.0)
    same = mean_path(jax.random.key(1), env, open_loop, jnp.tile(jnp.array([2, 1, 1]), (2, 1)), 3).earned
    np.testing.assert_array_equal(same[0], same[1])
    other = mean_path(jax.random.key(2), env, open_loop, jnp.array([[2, 1, 1]]), 3).earned
    assert (np.abs(other - same[:1]).max(1) > 0.01).all()
    with pytest.raises(ConfigError, match="num_paths must be at least 1, got 0"):
        mean_path(jax.random.key(1), env, open_loop, jnp.array([[2, 1, 1]]), 0)
