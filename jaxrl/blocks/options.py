"""Options: courses of action over several steps, as arrays, and environments that carry the options of their learner.

An option may begin in the states of its initiation set, acts by a policy of its own, and ends in each state that it comes to with
a probability of its own. An action is the option that may begin anywhere and ends after one step.

Source: Sutton, Precup and Singh (1999), "Between MDPs and semi-MDPs: A Framework for Temporal Abstraction in Reinforcement
Learning", section 2.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.spaces import Discrete, flat_size
from jaxrl.core.transforms import LimitOfInner
from jaxrl.errors import SpaceError, is_traced, require, require_distribution, require_real, require_within


@struct.dataclass
class Options:
    """O options over X states, or as many observations, with A actions.

    initiation: bool[O, X], I: where each may begin.
    policy: float32[O, X, A], pi: the probabilities of its actions.
    termination: float32[O, X], beta: the probability in [0, 1] that it ends once it has come to a state.
    """

    initiation: Any
    policy: Any
    termination: Any

    @property
    def count(self) -> int:
        """O."""
        return self.initiation.shape[0]

    def at(self, index: Any) -> "Options":
        """Returns the options over other states, of which each is like the one of the given number here.

        Args:
            index: int[Y], such as the observation in every state of a model.
        """
        return jax.tree.map(lambda leaf: leaf[:, index], self)


def primitive(num_states: int, num_actions: int) -> Options:
    """Returns the actions as options: each may begin anywhere and ends after one step."""
    everywhere = np.ones((num_actions, num_states))
    policy = np.broadcast_to(np.eye(num_actions)[:, None], (num_actions, num_states, num_actions))
    return Options(everywhere.astype(bool), policy.astype(np.float32), everywhere.astype(np.float32))


def joined(*parts: Options) -> Options:
    """Returns all options of several collections, in their order."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def require_options(where: str, options: Options, num_states: int, num_actions: int) -> None:
    """Refuses options that no learner or solver could follow. Of traced arrays the shapes alone are checked.

    Args:
        where: who asks.
        options: over ``num_states`` states and ``num_actions`` actions.
        num_states, num_actions: X and A, counts.

    Raises:
        ConfigError: an array has another shape, a row of a policy is no distribution, a probability of ending lies outside
            [0, 1], no option may begin in some state, or one may go on in a state in which it may not begin.
    """
    shape = len(np.shape(options.initiation)) and np.shape(options.initiation)[0], num_states
    fix = "See jaxrl.blocks.options.Options."
    for name, expected in (("initiation", shape), ("policy", (*shape, num_actions)), ("termination", shape)):
        found = np.shape(getattr(options, name))
        require(found == expected and shape[0] > 0, where, f"options.{name} must have shape {list(expected)}", found, fix)
    if is_traced(options):
        return
    kind = np.asarray(options.initiation).dtype.name
    require(kind == "bool", where, "options.initiation must be bool", kind, "Write initiation.astype(bool).")
    require_distribution(where, "options.policy", options.policy, "Divide its rows by their sums.")
    require_within(where, "options.termination", options.termination, 0, 1, "1 ends an option after one step.")
    without = np.flatnonzero(~np.asarray(options.initiation).any(0))
    found = f"none in state {without[0]}" if len(without) else ""
    fix = "Join them with primitive(num_states, num_actions)."
    require(not len(without), where, "an option must be able to begin in every state", found, fix)
    goes_on = (np.asarray(require_real(where, "options.termination", options.termination)) < 1) & ~np.asarray(options.initiation)
    found = "option {} in state {}".format(*np.argwhere(goes_on)[0]) if goes_on.any() else ""
    fix = "Add the state to its initiation set, or set its termination to 1 there."
    require(not goes_on.any(), where, "an option must be able to begin wherever it may go on", found, fix)


@struct.dataclass
class OptionParams:
    """The parameters of an environment that carries options. env: PyTree, of the environment underneath. options: over its
    observations.
    """

    env: PyTree
    options: Options


def with_options(env: Environment, options: Options) -> Environment:
    """Returns the same environment with options for its learner in its parameters, ``env.params.options``.

    They are arrays that all seeds share: learners with other options of the same number are the same program.

    Args:
        env: an environment with discrete observations and actions, without an agent axis and without illegal actions.
        options: over its observations.

    Raises:
        ConfigError: as ``require_options``; or the environment has agents, or a mask.
        SpaceError: observations or actions are no numbers.
    """
    where = "with_options"
    for name, space in (("observation_space", env.observation_space), ("action_space", env.action_space)):
        must, fix = f"the {name} must be Discrete", "Number observations and actions."
        require(isinstance(space, Discrete), where, must, space, fix, SpaceError)
    require_single_agent(where, env, "Take one with one agent.")
    must, fix = "the environment must have no illegal actions", "Let an illegal action do nothing."
    require(env.action_mask_fn is None, where, must, env.action_mask_fn, fix)
    require_options(where, options, flat_size(env.observation_space), flat_size(env.action_space))
    arrays = Options(
        jnp.asarray(options.initiation), *(jnp.asarray(part, jnp.float32) for part in (options.policy, options.termination))
    )
    named = {field.name: getattr(env, field.name) for field in dataclasses.fields(env) if field.name.endswith("_fn")}
    wrapped: dict[str, Any] = {name: function and _OfInnerParams(function) for name, function in named.items()}
    if env.limit_fn is not None:
        wrapped["limit_fn"] = LimitOfInner(env.limit_fn)
    return dataclasses.replace(env, params=OptionParams(env.params, arrays), **wrapped)


@dataclass(frozen=True)
class _OfInnerParams:
    """A function of an environment whose last argument is its parameters."""

    function: Callable

    def __call__(self, *arguments):
        *before, params = arguments
        return self.function(*before, params.env)
