"""A price of what an environment reports as costs, as constraints need it."""

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
from jaxrl.core.transforms.inner import around, examples
from jaxrl.errors import EnvError, require


@struct.dataclass
class PriceParams:
    """The parameters of an environment whose costs have a price.

    env: PyTree, the parameters of the environment underneath.
    multiplier: float32[], the price of a unit of the cost, or float32[I] of I costs.
    gamma: float32[], the discount of the costs of an episode. reward_weight: float32[], of the environment's own reward.
    """

    env: PyTree
    multiplier: jax.Array
    gamma: jax.Array
    reward_weight: jax.Array


class Charged(NamedTuple):
    """The parts of what a step paid, as ``Step.info`` of an environment with a price names them under ``rollout.BLOCK``.

    reward: float32[], the environment's own. return_: float32[], its sum in the episode up to and including this step.
    cost: float32[] or float32[I], of this step. total: the same, its discounted sum in the episode.
    """

    reward: jax.Array
    return_: jax.Array
    cost: jax.Array
    total: jax.Array


class Spending(NamedTuple):
    """The state of an environment with a price.

    over: bool[], the episode has terminated; whatever follows costs nothing.
    discount: float32[], gamma to the number of steps so far.
    return_, total: the sums so far, as in ``Charged``. state: PyTree, the state of the environment underneath.
    """

    over: jax.Array
    discount: jax.Array
    return_: jax.Array
    total: jax.Array
    state: PyTree


def with_price(
    env: Environment,
    cost: str,
    multiplier: jax.Array | float,
    gamma: jax.Array | float,
    reward_weight: jax.Array | float = 1.0,
) -> Environment:
    """Takes the price of its costs from the reward: reward_weight * reward - sum_i multiplier_i cost_i.

    The price is a traced part of the environment's parameters. ``Step.info`` asks for the steps (``rollout.BLOCK``), so that a
    learner hands them on, and names the parts of what each was paid, ``Charged``. The state holds the sums of the episode so far,
    so the result is not finite even if the environment is.

    Args:
        env: an environment without agents.
        cost: which entry of ``Step.info`` holds the costs of a step, one number or I of them.
        multiplier: the price of a unit, float[] or float[I].
        gamma: the discount in [0, 1] of the costs of an episode, as ``Charged.total`` sums them.
        reward_weight: of the environment's own reward.

    Returns:
        The environment with ``params`` of type ``PriceParams`` and states of type ``Spending``.

    Raises:
        EnvError: the environment has agents, or reports no such costs.
    """
    require_single_agent("with_price", env, "Give the agents one reward by with_reward.", EnvError)
    shape = cost_shape("with_price", env, cost)
    multiplier = jnp.broadcast_to(jnp.asarray(multiplier, jnp.float32), shape)
    params = PriceParams(env.params, multiplier, *(jnp.asarray(value, jnp.float32) for value in (gamma, reward_weight)))
    changed = around(env, params, _PriceReset(env.reset_fn, shape), _PriceStep(env.step_fn, cost))
    return dataclasses.replace(changed, outcomes_fn=None, initial_fn=None, observe_fn=None)


def cost_shape(where: str, env: Environment, cost: str) -> tuple[int, ...]:
    """Returns the shape of the costs that an environment reports: () of one number, (I,) of several.

    Args:
        where: who asks.
        env: the environment.
        cost: which entry of ``Step.info`` holds them.

    Raises:
        EnvError: there is no such entry, or it has more axes.
    """
    key, action = jax.random.key(0), examples(env)[1]
    info = jax.eval_shape(lambda action: env.step(key, env.reset(key)[1], action).info, action)
    must, fix = f"the environment must report {cost!r} in Step.info, one number or a vector", "Name another entry by cost=..."
    shapes = {name: entry.shape for name, entry in info.items() if isinstance(entry, jax.ShapeDtypeStruct)}
    require(len(shapes.get(cost, (0, 0))) <= 1, where, must, shapes, fix, EnvError)
    return shapes[cost]


@dataclass(frozen=True)
class _PriceReset:
    reset: Callable
    shape: tuple[int, ...]

    def __call__(self, key, params):
        obs, state = self.reset(key, params.env)
        zero = jnp.float32(0.0)
        return obs, Spending(jnp.bool_(False), jnp.float32(1.0), zero, jnp.zeros(self.shape, jnp.float32), state)


@dataclass(frozen=True)
class _PriceStep:
    step: Callable
    cost: str

    def __call__(self, key, state, action, params):
        inner: Step = self.step(key, state.state, action, params.env)
        cost = jnp.where(state.over, 0.0, inner.info[self.cost]).astype(jnp.float32)
        charged = Charged(inner.reward, state.return_ + inner.reward, cost, state.total + state.discount * cost)
        reward = params.reward_weight * inner.reward - (params.multiplier * cost).sum()
        spending = Spending(inner.terminated, state.discount * params.gamma, charged.return_, charged.total, inner.state)
        return inner._replace(state=spending, reward=reward.astype(jnp.float32), info=inner.info | {BLOCK: charged})
