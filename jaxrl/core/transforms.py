"""Transforms: an environment in, a changed environment out. Algorithms and exact solvers cannot tell the difference.

Every transform changes the sampled functions and, where the environment is finite, its outcome probabilities alike, so that
``jaxrl.core.finite.tabulate`` of the result is still the exact model of what is sampled. The changed functions are frozen
dataclasses: applied again to the same environment with the same functions, a transform gives an environment that compares
equal and finds its compiled program. Functions handed in must therefore live at module level, or be frozen dataclasses.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core import masks
from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.finite import Initial, Outcomes
from jaxrl.core.rollout import BLOCK
from jaxrl.core.spaces import Box, Dict, Discrete, Space, example
from jaxrl.errors import EnvError, require, require_discount, require_finite, require_number, require_real


@struct.dataclass
class RewardParams:
    """The parameters of an environment whose reward was replaced or shaped.

    env: PyTree, the parameters of the environment underneath.
    reward: PyTree, the parameters of the reward function, or ``Shaping``.
    """

    env: PyTree
    reward: PyTree


class Seen(NamedTuple):
    """The state of an environment whose reward was replaced or shaped.

    obs: PyTree, what the environment underneath shows in its state; the reward is a function of it.
    over: bool[], the episode has terminated; whatever follows pays nothing.
    state: PyTree, the state of the environment underneath.
    """

    obs: PyTree
    over: jax.Array
    state: PyTree


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


def with_reward(env: Environment, reward: Callable, params: PyTree = ()) -> Environment:
    """Replaces the reward by a function of what the agent sees and does.

    The parameters of the reward are a traced part of the environment's. A reward that is learned is exchanged without
    compiling again: ``env.replace(params=env.params.replace(reward=fitted))``.

    Args:
        env: the environment.
        reward: ``(params, obs, action, next_obs) -> float32[]``; with agents everything has its leading axis N and the reward
            is float32[N]. ``next_obs`` is the true successor, also where the episode ends.
        params: the parameters of the reward, any pytree of arrays.

    Returns:
        The environment with ``params`` of type ``RewardParams`` and states of type ``Seen``.

    Raises:
        EnvError: the reward has another shape.
    """
    must, fix = "the reward function must return {}", "Squeeze or sum the axes beyond."
    obs, action = _examples(env)
    _require_one_number("with_reward", must, env, jax.eval_shape(reward, params, obs, action, obs), fix)
    return _with_changed_reward(env, _Replaced(reward), params)


@struct.dataclass
class Shaping:
    """The parameters of a potential. gamma: float32[], the discount. potential: PyTree, those of the function."""

    gamma: jax.Array
    potential: PyTree


def with_potential(env: Environment, potential: Callable, gamma: float, params: PyTree = ()) -> Environment:
    """Adds the difference of a potential to the reward of every step, F = gamma Phi(s') - Phi(s), with Phi = 0 beyond the end.

    Then the values of every policy are Q(s, a) - Phi(s), and the best policies are the same: Phi may tell what a learner would
    take long to find out. Where a time limit cuts an episode, Phi(s') remains in the reward, as the value of s' in the target.

    The parameters are traced: other numbers compile nothing again. They are ``env.params.reward``, of type ``Shaping``.

    Source: Ng, Harada and Russell (1999), "Policy Invariance Under Reward Transformations", equation 2 and theorem 1; Phi = 0
    beyond the end: Grzes (2017), "Reward Shaping in Episodic Reinforcement Learning".

    Args:
        env: the environment.
        potential: ``(params, obs) -> float32[]``, in reward units; with agents of all observations at once, float32[N].
        gamma: the discount in [0, 1] of the learner. With another one, the best policies may be others.
        params: the parameters of the potential, any pytree of arrays.

    Returns:
        The environment with ``params`` of type ``RewardParams`` and states of type ``Seen``.

    Raises:
        ConfigError: gamma lies outside [0, 1].
        EnvError: the potential has another shape.
    """
    require_discount("with_potential", gamma)
    must, fix = "the potential must return {}", "Squeeze or sum the axes beyond."
    _require_one_number("with_potential", must, env, jax.eval_shape(potential, params, _examples(env)[0]), fix)
    return _with_changed_reward(env, _Shaped(potential), Shaping(jnp.float32(gamma), params))


def _examples(env: Environment) -> tuple[PyTree, PyTree]:
    """Returns an observation and an action by shape and dtype, with the agent axis where there is one."""
    agents = () if env.num_agents is None else (env.num_agents,)
    obs, _ = jax.eval_shape(env.reset, jax.random.key(0))
    action = example(env.action_space)
    return obs, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*agents, *leaf.shape), leaf.dtype), action)


def _require_one_number(where: str, must: str, env: Environment, found: jax.ShapeDtypeStruct, fix: str) -> None:
    agents = () if env.num_agents is None else (env.num_agents,)
    value = f"{found.dtype}{list(found.shape)}"
    require(found.shape == agents, where, must.format(f"float32{list(agents)}"), value, fix, EnvError)


def _around(env: Environment, params: PyTree, reset: Callable, step: Callable) -> Environment:
    """Returns an environment whose state holds that of another one as ``state``, and its parameters those as ``env``."""
    return dataclasses.replace(
        env,
        params=params,
        reset_fn=reset,
        step_fn=step,
        action_mask_fn=env.action_mask_fn and _OfInnerState(env.action_mask_fn),
        global_obs_fn=env.global_obs_fn and _OfInnerState(env.global_obs_fn),
        limit_fn=env.limit_fn and LimitOfInner(env.limit_fn),
    )


def _with_changed_reward(env: Environment, change: Callable, params: PyTree) -> Environment:
    """Changes the reward by ``(params, reward, terminated, obs, action, next_obs) -> reward``."""
    changed = _around(env, RewardParams(env.params, params), _RewardReset(env.reset_fn), _RewardStep(env.step_fn, change))
    if env.outcomes_fn is None or env.initial_fn is None or env.observe_fn is None:
        return changed
    return dataclasses.replace(
        changed,
        outcomes_fn=_RewardOutcomes(env.outcomes_fn, env.observe_fn, change),
        initial_fn=_RewardInitial(env.initial_fn, env.observe_fn),
        observe_fn=_seen_obs,
    )


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
    must, fix = "the environment must have no agent axis", "Give the agents one reward by with_reward."
    require(env.num_agents is None, "with_bonus", must, env.num_agents, fix, EnvError)
    must, fix = "the bonus function must return {}", "Squeeze or sum the axes beyond."
    obs, action = _examples(env)
    _require_one_number("with_bonus", must, env, jax.eval_shape(bonus, params, obs, action, obs), fix)
    weights = (jnp.asarray(weight, jnp.float32) for weight in (reward_weight, bonus_weight))
    changed = _around(env, BonusParams(env.params, params, *weights), _BonusReset(env.reset_fn), _BonusStep(env.step_fn, bonus))
    return dataclasses.replace(changed, outcomes_fn=None, initial_fn=None, observe_fn=None)


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
    must, fix = "the environment must have no agent axis", "Give the agents one reward by with_reward."
    require(env.num_agents is None, "with_price", must, env.num_agents, fix, EnvError)
    shape = cost_shape("with_price", env, cost)
    multiplier = jnp.broadcast_to(jnp.asarray(multiplier, jnp.float32), shape)
    params = PriceParams(env.params, multiplier, *(jnp.asarray(value, jnp.float32) for value in (gamma, reward_weight)))
    changed = _around(env, params, _PriceReset(env.reset_fn, shape), _PriceStep(env.step_fn, cost))
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
    key, action = jax.random.key(0), _examples(env)[1]
    info = jax.eval_shape(lambda action: env.step(key, env.reset(key)[1], action).info, action)
    must, fix = f"the environment must report {cost!r} in Step.info, one number or a vector", "Name another entry by cost=..."
    shapes = {name: entry.shape for name, entry in info.items() if isinstance(entry, jax.ShapeDtypeStruct)}
    require(len(shapes.get(cost, (0, 0))) <= 1, where, must, shapes, fix, EnvError)
    return shapes[cost]


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
    must, fix = "the environment must have no agent axis", "A stock is that of one reward."
    require(env.num_agents is None, where, must, env.num_agents, fix, EnvError)
    stocks = require_finite(where, "first", first, "[-7.0] aims at a return of 7.").reshape(-1)
    require(len(stocks) > 0, where, "there must be a first stock", 0, "[-7.0] aims at a return of 7.")
    require_discount(where, gamma)
    require(gamma > 0, where, "gamma must be positive", gamma, "1.0 adds rewards up.")
    params = StockParams(env.params, jnp.asarray(stocks, jnp.float32), jnp.float32(gamma))
    changed = _around(env, params, _StockReset(env.reset_fn), _StockStep(env.step_fn))
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


def with_steps(env: Environment, note: Callable) -> Environment:
    """Asks for the steps: a learner hands them on among its metrics, out of which ``rollout.apart`` takes them.

    Args:
        env: the environment.
        note: ``(state) -> PyTree``, what each step says of the state before it, under ``rollout.BLOCK`` of its ``info``.
    """
    return dataclasses.replace(env, step_fn=_AskingStep(env.step_fn, note))


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
    must, fix = "the environment must have no agent axis", "Mask the actions of agents by with_action_mask."
    require(env.num_agents is None, where, must, env.num_agents, fix, EnvError)
    if not isinstance(space, Discrete):
        raise EnvError(f"{where}: the action space must be Discrete, got {space}. Use with_action_mask.")
    require_number(where, "unmasked", unmasked, 0, 1, "0.05 is common.")
    masking = _Masking(mask, features, env.action_mask_fn)
    obs, state = jax.eval_shape(env.reset, jax.random.key(0))
    found: Any = jax.eval_shape(lambda params, *seen: mask(params, masking.seen(*seen)), params, obs, state, env.params)
    must, value = f"the mask must return bool[{space.n}]", f"{found.dtype}{list(found.shape)}"
    require((found.shape, found.dtype) == ((space.n,), jnp.bool_), where, must, value, "Give a flag for each action.", EnvError)
    all_params = MaskParams(env.params, params, jnp.asarray(unmasked, jnp.float32))
    changed = _around(env, all_params, _MaskReset(env.reset_fn, masking), _MaskStep(env.step_fn, masking))
    return dataclasses.replace(changed, action_mask_fn=masking, outcomes_fn=None, initial_fn=None, observe_fn=None)


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
class _RewardReset:
    reset: Callable

    def __call__(self, key, params):
        obs, state = self.reset(key, params.env)
        return obs, Seen(obs, jnp.bool_(False), state)


@dataclass(frozen=True)
class _Replaced:
    """Another reward in place of the environment's."""

    function: Callable

    def __call__(self, params, reward, terminated, obs, action, next_obs):
        return self.function(params, obs, action, next_obs)


@dataclass(frozen=True)
class _Shaped:
    """The environment's reward and the difference of a potential."""

    potential: Callable

    def __call__(self, params: Shaping, reward, terminated, obs, action, next_obs):
        before, after = (self.potential(params.potential, seen) for seen in (obs, next_obs))
        return reward + params.gamma * jnp.where(terminated, 0.0, after) - before


@dataclass(frozen=True)
class _RewardStep:
    step: Callable
    change: Callable

    def __call__(self, key, state, action, params):
        inner: Step = self.step(key, state.state, action, params.env)
        reward = self.change(params.reward, inner.reward, inner.terminated, state.obs, action, inner.obs)
        seen = Seen(inner.obs, inner.terminated, inner.state)
        return inner._replace(state=seen, reward=jnp.where(state.over, 0.0, reward).astype(jnp.float32))


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


@dataclass(frozen=True)
class _AskingStep:
    step: Callable
    note: Callable

    def __call__(self, key, state, action, params):
        step: Step = self.step(key, state, action, params)
        return step._replace(info=step.info | {BLOCK: self.note(state)})


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


@dataclass(frozen=True)
class _OfInnerState:
    function: Callable

    def __call__(self, state, params):
        return self.function(state.state, params.env)


@dataclass(frozen=True)
class LimitOfInner:
    """The ``limit_fn`` of an environment whose parameters hold those of the environment underneath as ``env``."""

    limit: Callable

    def __call__(self, params, max_steps):
        return params.replace(env=self.limit(params.env, max_steps))


@dataclass(frozen=True)
class _RewardOutcomes:
    outcomes: Callable
    observe: Callable
    change: Callable

    def __call__(self, state, action, params):
        inner: Outcomes = self.outcomes(state.state, action, params.env)
        obs = jax.vmap(self.observe, in_axes=(0, None))(inner.state, params.env)
        change = jax.vmap(self.change, in_axes=(None, 0, 0, None, None, 0))
        reward = change(params.reward, inner.reward, inner.terminated, state.obs, action, obs)
        reward = jnp.where(state.over, 0.0, reward).astype(inner.reward.dtype)
        return inner._replace(state=Seen(obs, inner.terminated, inner.state), reward=reward)


@dataclass(frozen=True)
class _RewardInitial:
    initial: Callable
    observe: Callable

    def __call__(self, params):
        inner: Initial = self.initial(params.env)
        obs = jax.vmap(self.observe, in_axes=(0, None))(inner.state, params.env)
        return inner._replace(state=Seen(obs, jnp.zeros(inner.probability.shape, bool), inner.state))


def _seen_obs(state, params):
    return state.obs


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


@dataclass(frozen=True)
class _BothMasks:
    first: Callable
    second: Callable

    def __call__(self, state, params):
        return masks.both(self.first(state, params), self.second(state, params))


@dataclass(frozen=True)
class _OfCopiedAction:
    """A function of an action that comes last but for the parameters."""

    function: Callable
    copies: int

    def __call__(self, *arguments):
        *before, action, params = arguments
        return self.function(*before, action // self.copies, params)


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
class _CopiedMask:
    mask: Callable
    copies: int

    def __call__(self, state, params):
        return jnp.repeat(self.mask(state, params), self.copies, axis=-1)
