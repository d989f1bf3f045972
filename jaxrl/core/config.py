"""The protocol of a configuration, and the requirements that algorithms share.

A Config is a frozen dataclass and a pytree: its traced fields are the numbers that can be swept, the static ones set shapes. The
runner reads more of one that has more to say. Each of these members is a protocol of its own, so that
``isinstance(config, DeclaresSteps)`` asks for it by its name, and a configuration needs none of them to be trained:

    Validates       validate(task)               refuses a task, or values that do not fit it
    DeclaresSteps   steps_per_update             environment steps in an update: budgets in steps, throughput
    DeclaresStart   steps_before_first_update    environment steps before the first update
    Batched         num_envs, replace            environments side by side: a run can be divided over devices
    Discounted      gamma                        the discount: exact evaluation

``Config`` is what every algorithm of the library has, ``EnvironmentConfig`` what one has that steps environments itself.
"""

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import jax

from jaxrl.core.environment import Environment
from jaxrl.core.spaces import Box, Discrete, Space
from jaxrl.errors import ConfigError, JaxrlError, SpaceError, require


@runtime_checkable
class Validates(Protocol):
    """Judges a task before anything is traced. Evaluators are asked as configurations are."""

    def validate(self, task: Any, /) -> None:
        """Raises ConfigError, EnvError or SpaceError where these values cannot run on a task."""


@runtime_checkable
class DeclaresSteps(Protocol):
    """Knows how many environment steps an update takes."""

    @property
    def steps_per_update(self) -> int | None:
        """Environment steps of one seed in one update, at least 1; None where it is not known."""


@runtime_checkable
class Simulates(Protocol):
    """Plans with the environment's own step: it takes steps that happen in a search alone."""

    @property
    def simulated_steps_per_update(self) -> int:
        """Steps of the environment that are only imagined, of one seed in one update, at least 0; they are no experience."""
        ...


@runtime_checkable
class DeclaresStart(Protocol):
    """Knows how many environment steps come before the first update, to fill a replay buffer, say."""

    @property
    def steps_before_first_update(self) -> int:
        """Environment steps of one seed before its first update, at least 0."""
        ...


@runtime_checkable
class Batched(Protocol):
    """Has an axis of environments side by side, whose length can be changed."""

    @property
    def num_envs(self) -> int:
        """E, environments side by side."""
        ...

    def replace(self, **changes: Any) -> Self:
        """Returns these values with some of them changed."""
        ...


@runtime_checkable
class Discounted(Protocol):
    """Maximises discounted returns."""

    @property
    def gamma(self) -> Any:
        """The discount, float in [0, 1] or an array of them, one for each seed."""


class Config(Validates, Protocol):
    """The configuration of an algorithm of the library."""

    def replace(self, **changes: Any) -> Self:
        """Returns these values with some of them changed."""
        ...


class EnvironmentConfig(Config, DeclaresSteps, Batched, Protocol):
    """The configuration of an algorithm that steps environments itself."""


# ---- traced fields


def traced_values(config: Any) -> dict[str, Any]:
    """Returns the traced fields of a configuration by their names, with dots where they belong to a configuration inside."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(config)[0]}


def with_traced_values(config: Any, values: Mapping[str, Any]) -> Any:
    """Returns a configuration with other values of some traced fields, by names as those of ``traced_values``."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: values.get(_name(path), leaf), config)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


# ---- requirements of a task


def require_single_agent(
    where: str, env: Environment, fix: str = "Use a multi-agent algorithm.", error: type[JaxrlError] = ConfigError
) -> None:
    """Raises an error, by default ConfigError, where an environment has an agent axis.

    Args:
        where: who asks.
        env: the environment.
        fix: what the user can do, one sentence.
        error: the class to raise.
    """
    require(env.num_agents is None, where, "the environment must have no agent axis", env.num_agents, fix, error)


def require_agents(where: str, env: Environment, fix: str, count: int | None = None) -> None:
    """Raises ConfigError unless an environment has an agent axis.

    Args:
        where: who asks.
        env: the environment.
        fix: what the user can do, one sentence.
        count: N, how many agents there must be; any number by default.
    """
    must = "an agent axis (num_agents)" if count is None else f"{count} agents"
    found = env.num_agents is not None and count in (None, env.num_agents)
    require(found, where, f"the environment must have {must}", env.num_agents, fix)


def require_discrete_actions(where: str, env: Environment, fix: str = "Discretise it.") -> None:
    """Raises SpaceError unless actions are numbers. Arguments as for ``require_single_agent``."""
    space = env.action_space
    require(isinstance(space, Discrete), where, "the action_space must be Discrete", space, fix, SpaceError)


def require_discrete_observations(where: str, env: Environment, fix: str) -> None:
    """Raises SpaceError unless observations are numbers. Arguments as for ``require_single_agent``."""
    space = env.observation_space
    require(isinstance(space, Discrete), where, "the observation_space must be Discrete", space, fix, SpaceError)


def require_discrete(where: str, env: Environment, fix: str) -> None:
    """Raises SpaceError unless observations and actions are numbers, so that a table can hold a value for each pair.

    Arguments as for ``require_single_agent``.
    """
    require_discrete_observations(where, env, fix)
    require_discrete_actions(where, env, fix)


def require_image(where: str, name: str, space: Space, fix: str) -> None:
    """Raises SpaceError unless observations are images, [H, W, C].

    Args:
        where: who asks.
        name: of the field that needs images.
        space: of the observations.
        fix: what the user can do, one sentence.
    """
    image = isinstance(space, Box) and len(space.shape) == 3
    require(image, where, f"{name} need observations of shape [H, W, C]", space, fix, SpaceError)


# ---- requirements of counts


def require_divisor(where: str, whole: str, size: int, name: str, divisor: int) -> None:
    """Raises ConfigError unless one count divides another; the message names the largest smaller count that does.

    Args:
        where: who asks.
        whole, size: name and value of what is divided.
        name, divisor: name and value of the number of parts.
    """
    fits = largest_divisor(size, divisor)
    require(size % divisor == 0, where, f"{whole} ({size}) must be divisible by {name}", divisor, f"Try {name}={fits}.")


def largest_divisor(size: int, most: int) -> int:
    """Returns the largest divisor of ``size`` that is at most ``most``, both at least 1."""
    return max(divisor for divisor in range(1, most + 1) if size % divisor == 0)
