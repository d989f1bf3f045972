"""Other names of actions: numbers for real ones, several for each."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxrl.core.environment import Environment
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import EnvError, require, require_real


def with_discrete_actions(env: Environment, actions: Sequence[Sequence[float]]) -> Environment:
    """Leaves an environment with real actions some of them, by their numbers: action ``a`` of the result is ``actions[a]``.

    Args:
        env: an environment with a Box of one axis as action space.
        actions: A of its actions, in rows of the Box's size.

    Raises:
        EnvError: the action space is another one.
        ConfigError: there are no actions, or one lies outside of the Box.
    """
    where, space = "with_discrete_actions", env.action_space
    box = isinstance(space, Box) and len(space.shape) == 1
    require(box, where, "the action space must be a Box of one axis", space, "Write a step function of your own.", EnvError)
    assert isinstance(space, Box)
    table = require_real(where, "actions", actions)
    must = f"actions must have shape [A, {space.shape[0]}], A at least 1"
    require(table.ndim == 2 and len(table) > 0 and table.shape[1:] == space.shape, where, must, list(table.shape), "Add a row.")
    table = table.astype(space.dtype)
    for row in table:
        require(bool(space.contains(jnp.asarray(row))), where, f"every action must lie in {space}", row.tolist(), "Cut it.")
    step = _OfNumberedAction(env.step_fn, tuple(map(tuple, table.tolist())), np.dtype(space.dtype).name)
    outcomes = env.outcomes_fn and dataclasses.replace(step, function=env.outcomes_fn)
    return dataclasses.replace(env, step_fn=step, outcomes_fn=outcomes, action_space=Discrete(len(table)))


def with_copied_actions(env: Environment, copies: int) -> Environment:
    """Gives every action several names: action ``a`` of the result is the action ``a // copies`` of the environment.

    Source: the redundant actions of Wang et al. (2016), section 4.1, there idle ones.

    Args:
        env: an environment with discrete actions.
        copies: names of each action (count).

    Raises:
        ConfigError: copies is no positive integer.
        EnvError: the actions are not discrete.
    """
    where, space = "with_copied_actions", env.action_space
    whole = isinstance(copies, (int, np.integer)) and copies >= 1
    require(whole, where, "copies must be an integer of at least 1", copies, "Give a number of names.")
    if not isinstance(space, Discrete):
        raise EnvError(f"{where}: the action space must be Discrete, got {space}. Only single choices can be copied.")
    copies = int(copies)
    return dataclasses.replace(
        env,
        step_fn=_OfCopiedAction(env.step_fn, copies),
        outcomes_fn=env.outcomes_fn and _OfCopiedAction(env.outcomes_fn, copies),
        action_mask_fn=env.action_mask_fn and _CopiedMask(env.action_mask_fn, copies),
        action_space=Discrete(copies * space.n),
    )


@dataclass(frozen=True)
class _OfNumberedAction:
    """A function of an action that comes last but for the parameters, called with its number."""

    function: Callable
    actions: tuple[tuple[float, ...], ...]
    dtype: str

    def __call__(self, *arguments):
        *before, action, params = arguments
        return self.function(*before, jnp.asarray(self.actions, self.dtype)[action], params)


@dataclass(frozen=True)
class _OfCopiedAction:
    """A function of an action that comes last but for the parameters."""

    function: Callable
    copies: int

    def __call__(self, *arguments):
        *before, action, params = arguments
        return self.function(*before, action // self.copies, params)


@dataclass(frozen=True)
class _CopiedMask:
    mask: Callable
    copies: int

    def __call__(self, state, params):
        return jnp.repeat(self.mask(state, params), self.copies, axis=-1)
