"""How many steps an episode has at most, and their report to the learner."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxrl.core.environment import Environment, Step
from jaxrl.core.rollout import BLOCK
from jaxrl.errors import require


def with_time_limit(env: Environment, max_steps: int) -> Environment:
    """Replaces the number of steps after which an episode is truncated, and what the environment derives from it.

    The result is that of the environment's factory with this ``max_steps``. An environment whose parameters depend on its time
    limit (a reward that falls until then, a table of prices that must reach so far) says how in its ``limit_fn``.

    Raises:
        ConfigError: max_steps is no positive integer.
        EnvError: the environment cannot have this limit, for example since its data end before.
    """
    whole = isinstance(max_steps, (int, np.integer)) and max_steps >= 1
    require(whole, "with_time_limit", "max_steps must be an integer of at least 1", max_steps, "Give a number of steps.")
    max_steps = int(max_steps)
    params = env.params if env.limit_fn is None else env.limit_fn(env.params, max_steps)
    return dataclasses.replace(env, params=params, max_steps=max_steps)


def with_steps(env: Environment, note: Callable) -> Environment:
    """Asks for the steps: a learner hands them on among its metrics, out of which ``rollout.apart`` takes them.

    Args:
        env: the environment.
        note: ``(state) -> PyTree``, what each step says of the state before it, under ``rollout.BLOCK`` of its ``info``.
    """
    return dataclasses.replace(env, step_fn=_AskingStep(env.step_fn, note))


@dataclass(frozen=True)
class _AskingStep:
    step: Callable
    note: Callable

    def __call__(self, key, state, action, params):
        step: Step = self.step(key, state, action, params)
        return step._replace(info=step.info | {BLOCK: self.note(state)})
