"""Deep sea treasure: its rules, and what each treasure takes."""

import jax
import numpy as np
import pytest

from envs.gridworlds import deep_sea_treasure
from jaxrl.core.finite import tabulate
from jaxrl.core.transforms import with_time_limit
from jaxrl.errors import ConfigError, UnknownNameError
from tests import oracles

LEFT, DOWN, RIGHT, UP = range(4)
STEPS = (1, 3, 5, 7, 8, 9, 13, 14, 17, 19)  # Vamplew et al. (2011), figure 4


def play(env, actions):
    """Plays from the start. Returns the cells, the objectives and the ends."""
    state = deep_sea_treasure.State(np.int32(0), np.int32(0), np.int32(0))
    cells, earned, ends = [], [], []
    for action in actions:
        step = env.step(jax.random.key(0), state, np.int32(action))
        state = step.state
        cells.append((int(state.row), int(state.column)))
        earned.append(np.asarray(step.info["objectives"]).tolist())
        ends.append(bool(step.terminated))
        np.testing.assert_allclose(float(step.reward), env.params.weights @ step.info["objectives"])
        np.testing.assert_array_equal(step.info["cost"], -step.info["objectives"])
    return cells, earned, ends


def test_rules():
    env = deep_sea_treasure.make(weights=(0.5, 2.0))
    cells, earned, ends = play(env, [LEFT, UP, RIGHT, DOWN, LEFT])
    assert cells == [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)]  # out of the sea nothing moves; a treasure is reached from its side
    assert earned == [[0.0, -1.0]] * 4 + [[1.0, -1.0]]
    assert ends == [False] * 4 + [True]
    cells, earned, _ = play(env, [RIGHT] * 6 + [DOWN] * 5 + [LEFT])
    assert cells[-1] == (5, 6)  # against the floor
    assert earned[-1] == [0.0, -1.0]


def test_air_ends():
    env = with_time_limit(deep_sea_treasure.make(), 3)
    assert play(env, [UP] * 3)[2] == [False, False, True]
    assert int(env.params.air) == 3


def test_every_treasure_takes_its_steps():
    """With a weight of the steps that only breaks ties, and one treasure alone worth anything, the best value tells the steps."""
    for column, steps in enumerate(STEPS):
        alone = tuple(1000.0 * (c == column) for c in range(10))
        model = tabulate(deep_sea_treasure.make(alone))
        assert oracles.start_value(model, oracles.horizon_values(model, 25)) == pytest.approx(1000 - steps)


def test_the_table_of_objectives_is_that_of_the_reward():
    env = deep_sea_treasure.make("concave", (0.25, 3.0), max_steps=12)
    model = tabulate(env)
    table = deep_sea_treasure.objective_table(model, env.params)
    np.testing.assert_allclose(table @ [0.25, 3.0], model.reward, rtol=1e-6)


@pytest.mark.parametrize(
    "parameters", [dict(treasures=(1.0, 2.0)), dict(weights=(1.0,)), dict(weights=(1.0, float("nan"))), dict(max_steps=0)]
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        deep_sea_treasure.make(**parameters)
    with pytest.raises(UnknownNameError):
        deep_sea_treasure.make("deep")
