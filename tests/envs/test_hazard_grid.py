"""Hazard grid: what costs, in steps, in transitions and in the table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworlds import hazard_grid
from envs.gridworlds.grid import DOWN, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError


def test_every_step_that_ends_in_a_hazard_costs():
    env = hazard_grid.make()
    _, state = env.reset(jax.random.key(0))
    found = []
    for action in (RIGHT, DOWN, UP, DOWN, RIGHT, RIGHT, RIGHT):
        after = env.step(jax.random.key(0), state, jnp.int32(action))
        told = hazard_grid.cost(env.params, state, action, after.obs)
        assert float(told) == float(after.info["cost"])
        found.append((int(after.state), float(after.reward), float(told), bool(after.terminated)))
        state = after.state
    # In, bumping inside, out, in again, on and on, and out at the goal.
    assert found == [
        (21, -1.0, 1.0, False),
        (21, -1.0, 1.0, False),
        (16, -1.0, 0.0, False),
        (21, -1.0, 1.0, False),
        (22, -1.0, 1.0, False),
        (23, -1.0, 1.0, False),
        (24, -1.0, 0.0, True),
    ]


def test_table_of_costs_lies_beside_the_rewards():
    env = hazard_grid.make(slip=0.1)
    model = tabulate(env)
    cost = hazard_grid.cost_table(model, env.params)
    assert cost.shape == model.reward.shape
    np.testing.assert_array_equal(cost, np.isin(model.observation[model.next_state], (21, 22, 23)))


def test_map_of_ones_own():
    env = hazard_grid.make(("S#h", "hhG"))
    assert np.asarray(env.params.cost).tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("parameters", [dict(slip=-1.0), dict(max_steps=0), dict(map=("S.G",)), dict(map=("SxG",))])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="hazard_grid"):
        hazard_grid.make(**parameters)
