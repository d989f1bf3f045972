"""A bonus beside the reward, as exploration pays it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.rollout import BLOCK
from jaxrl.core.transforms.inner import around, examples, require_one_number
from jaxrl.errors import EnvError


@struct.dataclass
class BonusParams:
    """The parameters of an environment with a bonus.

    env: PyTree, the parameters of the environment underneath.
    bonus: PyTree, the parameters of the bonus function.
    reward_weight, bonus_weight: float32[], of the environment's own reward and of the bonus in what is paid.
    """

    env: PyTree
    bonus: PyTree
    reward_weight: jax.Array
    bonus_weight: jax.Array


class Paid(NamedTuple):
    """The parts of what a step paid, as ``Step.info`` of an environment with a bonus names them under ``rollout.BLOCK``.

    reward: float32[], the environment's own. return_: float32[], its sum in the episode up to and including this step.
    bonus: float32[], not weighted.
    """

    reward: jax.Array
    return_: jax.Array
    bonus: jax.Array


class Earning(NamedTuple):
    """The state of an environment with a bonus.

    obs: PyTree, what the environment underneath shows in its state; the bonus is a function of it.
    over: bool[], the episode has terminated; whatever follows pays no bonus.
    return_: float32[], the sum of the environment's own rewards so far.
    state: PyTree, the state of the environment underneath.
    """

    obs: PyTree
    over: jax.Array
    return_: jax.Array
    state: PyTree


def with_bonus(
    env: Environment,
    bonus: Callable,
    params: PyTree = (),
    reward_weight: jax.Array | float = 1.0,
    bonus_weight: jax.Array | float = 1.0,
) -> Environment:
    """Adds a function of what the agent sees and does to the reward: reward_weight * reward + bonus_weight * bonus.

    The parameters of the bonus are a traced part of the environment's, as in ``with_reward``. ``Step.info`` asks for the steps
    (``rollout.BLOCK``), so that a learner hands them on, and names the parts of what each was paid, ``Paid``. The state holds the
    return of the episode so far, so the result is not finite even if the environment is.

    Args:
        env: an environment without agents.
        bonus: ``(params, obs, action, next_obs) -> float32[]``; ``next_obs`` is the true successor, also where the episode ends.
        params: the parameters of the bonus, any pytree of arrays.
        reward_weight, bonus_weight: what is paid for a unit of each.

    Returns:
        The environment with ``params`` of type ``BonusParams`` and states of type ``Earning``.

    Raises:
        EnvError: the environment has agents, or the bonus has another shape.
    """
    require_single_agent("with_bonus", env, "Give the agents one reward by with_reward.", EnvError)
    must, fix = "the bonus function must return {}", "Squeeze or sum the axes beyond."
    obs, action = examples(env)
    require_one_number("with_bonus", must, env, jax.eval_shape(bonus, params, obs, action, obs), fix)
    weights = (jnp.asarray(weight, jnp.float32) for weight in (reward_weight, bonus_weight))
    changed = around(env, BonusParams(env.params, params, *weights), _BonusReset(env.reset_fn), _BonusStep(env.step_fn, bonus))
    return dataclasses.replace(changed, outcomes_fn=None, initial_fn=None, observe_fn=None)


@dataclass(frozen=True)
class _BonusReset:
    reset: Callable

    def __call__(self, key, params):
        obs, state = self.reset(key, params.env)
        return obs, Earning(obs, jnp.bool_(False), jnp.float32(0.0), state)


@dataclass(frozen=True)
class _BonusStep:
    step: Callable
    bonus: Callable

    def __call__(self, key, state, action, params):
        inner: Step = self.step(key, state.state, action, params.env)
        bonus = jnp.where(state.over, 0.0, self.bonus(params.bonus, state.obs, action, inner.obs)).astype(jnp.float32)
        paid = Paid(inner.reward, state.return_ + inner.reward, bonus)
        reward = params.reward_weight * paid.reward + params.bonus_weight * bonus
        earning = Earning(inner.obs, inner.terminated, paid.return_, inner.state)
        return inner._replace(state=earning, reward=reward.astype(jnp.float32), info=inner.info | {BLOCK: paid})
