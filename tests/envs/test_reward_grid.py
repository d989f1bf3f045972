"""RewardGrid: what cells pay, how moves slip, that nothing ends, and exact values."""

import numpy as np
import pytest

from envs.gridworlds import reward_grid
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles

PAYS = (0.0, 1.0, 2.0, 3.0)  # two by two


@pytest.fixture(scope="module")
def law():
    return oracles.environment_law(reward_grid.make(2, 2, slip=0.2, rewards=PAYS))


def test_moves_slip_to_either_side_and_pay_what_they_enter(law):
    probability, reward = law
    expected = {(0, RIGHT): {1: 0.8, 2: 0.1, 0: 0.1}, (3, UP): {1: 0.8, 2: 0.1, 3: 0.1}, (2, LEFT): {2: 0.9, 0: 0.1}}
    for (cell, action), successors in expected.items():
        for successor, chance in successors.items():
            assert probability[cell, action, successor, 0] == pytest.approx(chance)
            assert reward[cell, action, successor, 0] == pytest.approx(chance * PAYS[successor])
        assert probability[cell, action].sum() == pytest.approx(1.0)


def test_nothing_ends(law):
    np.testing.assert_array_equal(law[0][..., 1], 0.0)
    model = tabulate(reward_grid.make())
    assert model.num_states == 36
    assert not model.terminated.any()
    np.testing.assert_allclose(model.initial, 1 / 36)


def test_without_slip_the_best_cell_is_where_to_stay():
    """Staying in the best corner for ever pays 3 / (1 - gamma); the cell opposite needs one step through a cell worth 2."""
    model = tabulate(reward_grid.make(2, 2, slip=0.0, rewards=PAYS))
    values = oracles.value_iteration(model, 0.5)
    by_cell = values[np.argsort(model.observation)]
    np.testing.assert_allclose(by_cell, [2 + 0.5 * 6, 3 + 0.5 * 6, 3 + 0.5 * 6, 6.0])


def test_a_constant_changes_no_policy():
    """Adding c to every cell adds c / (1 - gamma) to every value."""
    values = [
        oracles.value_iteration(tabulate(reward_grid.make(3, 3, rewards=tuple(np.arange(9.0) + c))), 0.9) for c in (0.0, 2.0)
    ]
    np.testing.assert_allclose(values[1] - values[0], 20.0)


def test_default_rewards_come_from_the_seed():
    one, other = (np.asarray(reward_grid.make(seed=seed).params.reward) for seed in (0, 1))
    assert not np.array_equal(one, other)
    assert one[0, DOWN] == pytest.approx(reward_grid.cell_rewards(6, 6, 0)[6], rel=1e-6)


@pytest.mark.parametrize(
    "parameters",
    [
        dict(rows=0),
        dict(rows=1, columns=1),
        dict(slip=2.0),
        dict(max_steps=0),
        dict(rewards=(1.0,)),
        dict(rewards=(np.nan,) * 36),
    ],
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="reward_grid"):
        reward_grid.make(**parameters)
