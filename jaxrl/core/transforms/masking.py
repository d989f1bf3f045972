"""Masks of actions, fixed ones and those that are a function of what is seen."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core import masks
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.spaces import Discrete
from jaxrl.core.transforms.inner import around
from jaxrl.errors import EnvError, require, require_number


def with_action_mask(env: Environment, mask: Callable) -> Environment:
    """Forbids actions, beside those that the environment forbids already.

    Args:
        env: an environment whose action space has a discrete part.
        mask: ``(state, params) -> bool[A]`` (bool[N, A] with agents), True = legal; of spaces other than Discrete see
            ``jaxrl.core.masks``.

    Raises:
        EnvError: no part of the action space is discrete.
    """
    must, fix = "the action space must have a Discrete or MultiDiscrete part", "Actions of a Box cannot be masked."
    require(masks.can_be_masked(env.action_space), "with_action_mask", must, env.action_space, fix, EnvError)
    both = mask if env.action_mask_fn is None else _BothMasks(env.action_mask_fn, mask)
    return dataclasses.replace(env, action_mask_fn=both)


@struct.dataclass
class MaskParams:
    """The parameters of an environment with a mask of what is seen.

    env: PyTree, the parameters of the environment underneath.
    mask: PyTree, the parameters of the mask.
    unmasked: float32[], the share of the steps without it, in [0, 1].
    """

    env: PyTree
    mask: PyTree
    unmasked: jax.Array


class Masked(NamedTuple):
    """The state of an environment with a mask of what is seen.

    seen: PyTree, what the mask is a function of: the observation, or features of the state.
    lifted: bool[], this step is without it.
    state: PyTree, the state of the environment underneath.
    """

    seen: PyTree
    lifted: jax.Array
    state: PyTree


def with_mask(
    env: Environment,
    mask: Callable,
    params: PyTree = (),
    unmasked: jax.Array | float = 0.0,
    features: Callable | None = None,
) -> Environment:
    """Forbids actions by a function of what is seen, whose parameters are a traced part of the environment's.

    In a share of the steps it forbids nothing, so that a learner that explores finds out what is forbidden by mistake. Nor does
    it where it would leave no action. The environment's own mask always holds. The result is not finite even if the environment
    is: its state knows if the mask is lifted.

    Args:
        env: an environment with discrete actions and without agents.
        mask: ``(params, seen) -> bool[A]``, True = legal.
        params: the parameters of the mask, any pytree of arrays.
        unmasked: the share of the steps, in [0, 1].
        features: ``(state, params) -> PyTree``, of the environment's own state and parameters: what the mask sees. None for the
            observation.

    Returns:
        The environment with ``params`` of type ``MaskParams`` and states of type ``Masked``.

    Raises:
        ConfigError: the share is out of range.
        EnvError: the environment has agents, its actions are not discrete, or the mask has another shape.
    """
    where, space = "with_mask", env.action_space
    require_single_agent(where, env, "Mask the actions of agents by with_action_mask.", EnvError)
    if not isinstance(space, Discrete):
        raise EnvError(f"{where}: the action space must be Discrete, got {space}. Use with_action_mask.")
    require_number(where, "unmasked", unmasked, 0, 1, "0.05 is common.")
    masking = _Masking(mask, features, env.action_mask_fn)
    obs, state = jax.eval_shape(env.reset, jax.random.key(0))
    found: Any = jax.eval_shape(lambda params, *seen: mask(params, masking.seen(*seen)), params, obs, state, env.params)
    must, value = f"the mask must return bool[{space.n}]", f"{found.dtype}{list(found.shape)}"
    require((found.shape, found.dtype) == ((space.n,), jnp.bool_), where, must, value, "Give a flag for each action.", EnvError)
    all_params = MaskParams(env.params, params, jnp.asarray(unmasked, jnp.float32))
    changed = around(env, all_params, _MaskReset(env.reset_fn, masking), _MaskStep(env.step_fn, masking))
    return dataclasses.replace(changed, action_mask_fn=masking, outcomes_fn=None, initial_fn=None, observe_fn=None)


@dataclass(frozen=True)
class _BothMasks:
    first: Callable
    second: Callable

    def __call__(self, state, params):
        return masks.both(self.first(state, params), self.second(state, params))


@dataclass(frozen=True)
class _Masking:
    """The mask of a state, and the states of an environment with one. own: the mask of the environment underneath, or None."""

    mask: Callable
    features: Callable | None
    own: Callable | None

    def seen(self, obs, state, params):
        return obs if self.features is None else self.features(state, params)

    def state(self, key, obs, state, params: MaskParams) -> Masked:
        lifted = jax.random.uniform(key, (), jnp.float32) < params.unmasked
        return Masked(self.seen(obs, state, params.env), lifted, state)

    def __call__(self, state: Masked, params: MaskParams):
        own = None if self.own is None else self.own(state.state, params.env)
        legal = masks.both(self.mask(params.mask, state.seen), own)
        return masks.unless_empty(legal & ~state.lifted, own)


@dataclass(frozen=True)
class _MaskReset:
    reset: Callable
    masking: _Masking

    def __call__(self, key, params):
        reset_key, draw_key = jax.random.split(key)
        obs, state = self.reset(reset_key, params.env)
        return obs, self.masking.state(draw_key, obs, state, params)


@dataclass(frozen=True)
class _MaskStep:
    step: Callable
    masking: _Masking

    def __call__(self, key, state, action, params):
        step_key, draw_key = jax.random.split(key)
        inner: Step = self.step(step_key, state.state, action, params.env)
        return inner._replace(state=self.masking.state(draw_key, inner.obs, inner.state, params))
