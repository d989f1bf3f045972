"""A function of the observation in its place."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Space


def with_observation(env: Environment, observe: Callable, observation_space: Space) -> Environment:
    """Replaces the observation by a function of it.

    Args:
        env: the environment.
        observe: ``(obs) -> obs``; with agents, of the observations of all N at once.
        observation_space: the space of one agent's new observation.
    """
    return dataclasses.replace(
        env,
        reset_fn=_ObservationReset(env.reset_fn, observe),
        step_fn=_ObservationStep(env.step_fn, observe),
        observe_fn=env.observe_fn and _Observation(env.observe_fn, observe),
        observation_space=observation_space,
    )


@dataclass(frozen=True)
class _ObservationReset:
    reset: Callable
    observe: Callable

    def __call__(self, key, params):
        obs, state = self.reset(key, params)
        return self.observe(obs), state


@dataclass(frozen=True)
class _ObservationStep:
    step: Callable
    observe: Callable

    def __call__(self, key, state, action, params):
        inner: Step = self.step(key, state, action, params)
        return inner._replace(obs=self.observe(inner.obs))


@dataclass(frozen=True)
class _Observation:
    inner: Callable
    observe: Callable

    def __call__(self, state, params):
        return self.observe(self.inner(state, params))
