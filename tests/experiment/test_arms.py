"""Arms: those of one structure are one program, and each is what it would be alone."""

import itertools

import chex
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.errors import ConfigError
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import arms
from jaxrl.experiment.arms import Arm
from jaxrl.training.runner import run

Q = q_learning.Config(num_steps=20)
SHARED = {"seeds": 2, "num_updates": 4, "chunk_length": 2}


def lake(slip):
    return envs.make("frozen_lake", slip=slip)


def grid():
    """Two slips, two discounts, and two numbers of steps: the last alone is no number of the program."""
    for slip, gamma, steps in itertools.product((0.1, 0.3), (0.9, 0.95), (10, 20)):
        env = lake(slip)
        config = Q.replace(gamma=gamma, num_steps=steps)
        factors = {"slip": slip, "gamma": gamma, "steps": steps}
        yield Arm(factors, q_learning.make, env, config, evaluators=(ExactValue.of(env, gamma),), **SHARED)


def test_arms_of_one_structure_share_a_program():
    assert arms.programs(list(grid())) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_an_arm_is_what_it_is_alone():
    every = list(grid())
    for arm, done in zip(every, arms.train(every, group=1), strict=True):
        alone = run(arm.make, arm.task, arm.config, evaluators=arm.evaluators, group=1, **SHARED)
        chex.assert_trees_all_equal(done.metrics, alone.metrics)
        np.testing.assert_array_equal(done.state.q, alone.state.q)
        assert list(done.seeds) == [0, 1]
        # An exact value is a sum, whose order may differ with the program around it.
        for name, values in alone.evaluations.items():
            np.testing.assert_allclose(done.evaluations[name], values, rtol=1e-5, atol=1e-6)


class Noted:
    def __init__(self):
        self.begun, self.chunks, self.ended = [], [], []

    def begin(self, plan):
        self.begun.append(plan)

    def chunk(self, chunk):
        self.chunks.append(chunk)

    def end(self, summary):
        self.ended.append(summary)


def test_sinks_see_an_arm_as_if_it_ran_alone():
    sinks = {arm.label: Noted() for arm in grid()}
    done = arms.train(grid(), sinks=lambda arm: (sinks[arm.label],))
    for arm, found in zip(grid(), done, strict=True):
        sink = sinks[arm.label]
        assert [plan.seeds.tolist() for plan in sink.begun] == [[0, 1]]
        assert [(chunk.first_update, chunk.num_updates) for chunk in sink.chunks] == [(0, 2), (2, 2)]
        td = np.concatenate([chunk.metrics["td_error"] for chunk in sink.chunks], axis=1)
        np.testing.assert_array_equal(td, found.metrics["td_error"])
        assert len(sink.ended) == 1


def test_labels():
    assert arms.label({"loss": "softplus", "shift": 20.0, "dueling": True}) == "softplus, shift 20, dueling 1"


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([], "there must be an arm"),
        ([{"a": 1}, {"b": 1}], r"every arm must have the factors \['a'\], got \['b'\]"),
        ([{}], "every arm must have the factors"),
        ([{"a": 1}, {"a": 1}], r"arms must differ in their factors, got \{'a': 1\}"),
        ([{"a": (1, 2)}], "values of factors must be texts, numbers or flags"),
    ],
)
def test_what_is_no_list_of_arms(factors, message):
    env = lake(0.1)
    with pytest.raises(ConfigError, match=message):
        arms.train([Arm(each, q_learning.make, env, Q, **SHARED) for each in factors])
