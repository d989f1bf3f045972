"""check_algorithm as a whole: what its report lists, and what it lets pass."""

import jax.numpy as jnp
import pytest

from jaxrl.core.averages import optional
from jaxrl.core.rollout import Decision, last_step
from jaxrl.evaluation import Episodes
from tests.testing.conformance.algorithm import test_acting, test_declaration, test_running, test_structure
from tests.testing.conformance.algorithm.subject import (
    CELLS,
    Declaring,
    Evaluator,
    Measuring,
    check,
    make,
    make_that_steps,
    undefined,
)

PARTS = (test_declaration, test_structure, test_running, test_acting)


def small_and_missing(metrics):
    return metrics | {"each": jnp.ones(3, jnp.float32), "maybe": optional(jnp.nan)}


def maybe_undefined(logits):
    return optional(undefined(logits))


@pytest.fixture(scope="module")
def report():
    config = Declaring(steps_per_update=6)
    return check(evaluators=(Episodes(CELLS, num_episodes=2),)), check(make_that_steps, config=config, eager=False)


def test_every_check_has_a_broken_algorithm(report):
    assert {broken.check for module in PARTS for broken in module.BROKEN} == set(report[0].passed) | set(report[1].passed)


def test_report_lists_what_applies(report):
    assert report[0].skipped == ("steps per update",)
    assert {"compiled equals eager", "actions in space", "frequencies", "evaluations are finite"} <= set(report[1].skipped)


def make_that_sees_all(task, config):
    """Its policy looks at whatever a rollout shows."""
    right = make(task, config)

    def policy(state, greedy):
        def act(key, view):
            seen = view.t + view.action + view.reward.astype(jnp.int32) + view.state
            action = right.policy(state, greedy)(key, view).action
            return Decision(jnp.where(seen % 2 == 0, action, 0), memory=view.memory)

        return act

    return right._replace(policy=policy, memory=last_step(task), probabilities=None)


def test_a_policy_may_look_at_all_that_a_rollout_shows():
    assert "actions are legal" in check(make_that_sees_all, evaluators=(Episodes(CELLS, num_episodes=2),), eager=False).passed


def test_arrays_and_what_is_declared_as_missing_are_right():
    check(Measuring(small_and_missing), evaluators=(Evaluator(maybe_undefined),))
