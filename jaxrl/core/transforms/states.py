"""Reported states: every step says which state it left and which it reached, so that what was done can be shown afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxrl.core.environment import Environment, Step

STATES = "states"  # the name in ``Step.info``


def with_reported_states(env: Environment) -> Environment:
    """Has every step report the state that it left and the one that it reached, as ``info["states"]``, a pair.

    A rollout hands them on in ``Transition.info``; they take as much memory as the states of all its steps.
    """
    return replace(env, step_fn=_Reporting(env.step_fn))


@dataclass(frozen=True)
class _Reporting:
    step_fn: Callable

    def __call__(self, key, state, action, params) -> Step:
        step = self.step_fn(key, state, action, params)
        return step._replace(info=step.info | {STATES: (state, step.state)})
