"""The two-step game: what each way through it pays."""

import dataclasses

import numpy as np
import pytest

from envs.markov_games import two_step
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp import host


def test_every_way_pays_as_the_tables_say():
    model = tabulate(two_step.make())
    start, joint = int(np.argmax(model.initial)), model.joint_shape
    assert joint == (2, 2)
    paid = {}
    for first in np.ndindex(joint):
        number = np.ravel_multi_index(first, joint)
        assert model.reward[start, number, 0].tolist() == [0.0, 0.0]
        after = model.next_state[start, number, 0]
        for second in np.ndindex(joint):
            last = np.ravel_multi_index(second, joint)
            assert bool(model.terminated[after, last, 0])
            assert model.reward[after, last, 0, 0] == model.reward[after, last, 0, 1]
            paid[first[0], *second] = float(model.reward[after, last, 0, 0])
    assert paid == {(0, i, j): 7.0 for i, j in np.ndindex(2, 2)} | {
        (1, 0, 0): 0.0,
        (1, 0, 1): 1.0,
        (1, 1, 0): 1.0,
        (1, 1, 1): 8.0,
    }


def test_the_best_is_8():
    model = tabulate(two_step.make())
    team = dataclasses.replace(model, reward=model.reward.mean(-1))
    assert float(model.initial @ host.finite_horizon(team, 1.0, 2)) == 8.0


def test_wrong_tables():
    with pytest.raises(ConfigError):
        two_step.make(safe=((7.0, np.nan), (7.0, 7.0)))
    with pytest.raises(ConfigError):
        two_step.make(risky=(1.0, 2.0))
