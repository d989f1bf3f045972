"""A stock of what has been earned, beside the observation."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.finite import Initial, Outcomes
from jaxrl.core.spaces import Box, Dict
from jaxrl.core.transforms.inner import around
from jaxrl.errors import EnvError, require, require_discount, require_finite


@struct.dataclass
class StockParams:
    """The parameters of an environment with a stock.

    env: PyTree, the parameters of the environment underneath.
    first: float32[B], the stocks with which an episode begins, each as likely.
    gamma: float32[], the discount.
    """

    env: PyTree
    first: jax.Array
    gamma: jax.Array


class Stocked(NamedTuple):
    """The state of an environment with a stock.

    stock: float32[], gamma^-t times the first stock and the discounted rewards since then.
    over: bool[], the episode has terminated; the stock stays.
    state: PyTree, the state of the environment underneath.
    """

    stock: jax.Array
    over: jax.Array
    state: PyTree


def with_stock(env: Environment, first: Sequence[float] | np.ndarray, gamma: float = 1.0) -> Environment:
    """Shows beside the observation a stock of what has been earned: s' = (s + r) / gamma, from a first stock that is drawn.

    After t steps s_0 + G_0 = gamma^t (s_t + G_t). So an agent that begins with s_0 = -b sees by how much it still misses a return
    of b, and can act for the shortfall of b, on which conditional values at risk rest.

    If the environment is finite, so is the result; ``tabulate`` of it is exact if float32 adds the rewards exactly, as whole ones
    with gamma = 1.

    Source: Bauerle and Ott (2011), "Markov Decision Processes with Average-Value-at-Risk Criteria"; Pires (2025), "Optimizing
    Return Distributions with Distributional Dynamic Programming".

    Args:
        env: an environment without agents.
        first: float[B], the stocks with which an episode begins, drawn uniformly; -b for a target of b.
        gamma: discount in (0, 1], the learner's.

    Returns:
        The environment with ``params`` of type ``StockParams``, states of type ``Stocked`` and observations
        ``{"obs": that of env, "stock": float32[]}``.

    Raises:
        ConfigError: there is no first stock, one is not finite, or gamma lies outside (0, 1].
        EnvError: the environment has agents.
    """
    where = "with_stock"
    require_single_agent(where, env, "A stock is that of one reward.", EnvError)
    stocks = require_finite(where, "first", first, "[-7.0] aims at a return of 7.").reshape(-1)
    require(len(stocks) > 0, where, "there must be a first stock", 0, "[-7.0] aims at a return of 7.")
    require_discount(where, gamma)
    require(gamma > 0, where, "gamma must be positive", gamma, "1.0 adds rewards up.")
    params = StockParams(env.params, jnp.asarray(stocks, jnp.float32), jnp.float32(gamma))
    changed = around(env, params, _StockReset(env.reset_fn), _StockStep(env.step_fn))
    space = Dict.of(obs=env.observation_space, stock=Box(-jnp.inf, jnp.inf))
    changed = dataclasses.replace(changed, observation_space=space)
    if env.outcomes_fn is None or env.initial_fn is None or env.observe_fn is None:
        return dataclasses.replace(changed, outcomes_fn=None, initial_fn=None, observe_fn=None)
    return dataclasses.replace(
        changed,
        outcomes_fn=_StockOutcomes(env.outcomes_fn),
        initial_fn=_StockInitial(env.initial_fn),
        observe_fn=_StockObservation(env.observe_fn),
    )


def _carried_on(stocked: Stocked, reward: jax.Array, params: StockParams) -> jax.Array:
    """Returns the stock after a step, float32[...] as the reward."""
    after = (stocked.stock + reward) / params.gamma
    return jnp.where(stocked.over, stocked.stock, after).astype(stocked.stock.dtype)


@dataclass(frozen=True)
class _StockReset:
    reset: Callable

    def __call__(self, key, params: StockParams):
        reset_key, stock_key = jax.random.split(key)
        obs, state = self.reset(reset_key, params.env)
        stock = params.first[jax.random.randint(stock_key, (), 0, params.first.shape[0], jnp.int32)]
        return {"obs": obs, "stock": stock}, Stocked(stock, jnp.bool_(False), state)


@dataclass(frozen=True)
class _StockStep:
    step: Callable

    def __call__(self, key, state: Stocked, action, params: StockParams):
        inner: Step = self.step(key, state.state, action, params.env)
        stock = _carried_on(state, inner.reward, params)
        stocked = Stocked(stock, state.over | inner.terminated, inner.state)
        return inner._replace(obs={"obs": inner.obs, "stock": stock}, state=stocked)


@dataclass(frozen=True)
class _StockOutcomes:
    outcomes: Callable

    def __call__(self, state: Stocked, action, params: StockParams):
        inner: Outcomes = self.outcomes(state.state, action, params.env)
        stock = _carried_on(state, inner.reward, params)
        return inner._replace(state=Stocked(stock, state.over | inner.terminated, inner.state))


@dataclass(frozen=True)
class _StockInitial:
    initial: Callable

    def __call__(self, params: StockParams):
        inner, count = self.initial(params.env), params.first.shape[0]
        states = inner.probability.shape[0]
        stock, over = jnp.tile(params.first, states), jnp.zeros(states * count, bool)
        state = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), inner.state)
        return Initial(jnp.repeat(inner.probability, count) / count, Stocked(stock, over, state))


@dataclass(frozen=True)
class _StockObservation:
    inner: Callable

    def __call__(self, state: Stocked, params: StockParams):
        return {"obs": self.inner(state.state, params.env), "stock": state.stock}
