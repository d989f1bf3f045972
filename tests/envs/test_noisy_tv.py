"""Noisy TV: exact values, pictures that are uniform whatever is done, and the way past them."""

from typing import Any

import numpy as np
import pytest

from envs.gridworlds import noisy_tv
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from envs.rendering import render
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


def test_optimal_value_is_that_of_the_shortest_way():
    model = tabulate(noisy_tv.make())
    assert oracles.start_value(model, oracles.value_iteration(model, 0.9)) == pytest.approx(0.9**3)


def test_pictures_are_uniform_in_front_of_the_television_and_nowhere_else():
    """Cells 0 .. 8 of 3 x 3; the television is cell 6, its other pictures are numbers from 9 on."""
    env: Any = noisy_tv.make(pictures=5)
    assert env.observation_space.n == 9 + 4
    for state, action in ((3, DOWN), (6, LEFT), (12, DOWN), (7, LEFT)):
        shown = env.outcomes_fn(np.int32(state), np.int32(action), env.params)
        np.testing.assert_array_equal(shown.state, [6, 9, 10, 11, 12])
        np.testing.assert_allclose(shown.probability, 0.2)
        assert not np.any(shown.reward)
    for state in (6, 9, 12):  # whatever is shown, the way leads on
        np.testing.assert_array_equal(env.outcomes_fn(np.int32(state), np.int32(UP), env.params).state, 3)
        np.testing.assert_array_equal(env.outcomes_fn(np.int32(state), np.int32(RIGHT), env.params).state, 7)
    last = env.outcomes_fn(np.int32(7), np.int32(RIGHT), env.params)
    assert (set(np.asarray(last.state)), set(np.asarray(last.reward)), bool(last.terminated.all())) == ({8}, {1.0}, True)
    after = env.outcomes_fn(np.int32(8), np.int32(LEFT), env.params)
    assert (set(np.asarray(after.state)), set(np.asarray(after.reward))) == ({8}, {0.0})


def test_one_picture_is_a_cell_like_any_other():
    assert len(tabulate(noisy_tv.make(pictures=1)).initial) == 9


def test_each_picture_looks_different():
    env = noisy_tv.make(pictures=3)
    shown = [render(env, np.int32(state)) for state in (6, 9, 10, 0)]
    assert len({picture.tobytes() for picture in shown}) == 4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pictures": 0}, "pictures must be at least 1"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"map": ("S.G",)}, "the map must have one T, got 0"),
        ({"map": ("STGG",)}, "the map must have one G, got 2"),
        ({"map": ("ST?G",)}, "may only contain"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        noisy_tv.make(**parameters)
