"""Evaluating a policy from data that another policy has collected.

    importance_sampling    episodes weighted by how much likelier the evaluated policy makes them, in three forms
    doubly_robust          importance sampling per decision, with estimated values as a baseline that takes away variance
    fitted_q_evaluation    the exact value in the model that the data say is likeliest; for finite observations

Of networks, ``jaxrl.algorithms.offline.fitted_q_evaluation`` is an algorithm, with seeds of its own.

The first two estimate the expected discounted sum of the rewards *within the episodes as they are recorded*: rewards beyond a cut
are left out. They have no bias only if the behaviour policy takes every action that the evaluated policy takes. Fitted Q
evaluation goes on beyond a cut.

Source: Precup, Sutton and Singh (2000), "Eligibility Traces for Off-Policy Policy Evaluation"; Jiang and Li (2016), "Doubly
Robust Off-policy Value Evaluation for Reinforcement Learning"; Le, Voloshin and Yue (2019), "Batch Policy Learning under
Constraints".
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.blocks import value_heads
from jaxrl.blocks.datasets import Dataset
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.finite import TabularModel
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Discrete
from jaxrl.errors import (
    AlgorithmError,
    DataError,
    SpaceError,
    require,
    require_discount,
    require_distribution,
    require_finite,
    require_real,
    unknown_name,
)
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.statistics import bootstrap_interval

KINDS = ("ordinary", "weighted", "per_decision")


# ---- the policy that is evaluated


def probabilities(algorithm: Algorithm, state: Any, data: Dataset, successors: bool = False) -> jax.Array:
    """Returns the probabilities with which the policy of an algorithm takes each action, float32[N, T, A].

    Args:
        algorithm: made; its policy has no memory and Discrete actions.
        state: of one seed.
        data: whose observations the policy is shown.
        successors: whether it is shown ``next_obs`` in place of ``obs``.

    Raises:
        AlgorithmError: the algorithm cannot say its probabilities.
    """
    must, fix = "the algorithm must say its probabilities", "Evaluate one with Discrete actions and no memory."
    if algorithm.probabilities is None:
        raise AlgorithmError(f"off_policy.probabilities: {must}, got None. {fix}")
    seen = (data.next_obs, data.next_mask) if successors else (data.obs, data.mask)
    obs, mask = rollout.flattened(seen)
    return algorithm.probabilities(state, View(obs, mask, ())).reshape(*data.valid.shape, -1)


def log_probs(chances: Any, data: Dataset) -> jax.Array:
    """Returns the log-probabilities of the actions of the data, float[N, T]; minus infinity for one that is never taken.

    Args:
        chances: float[N, T, A], the probabilities of all actions; see ``probabilities``. Of a table [X, A] they are
            ``table[data.obs]``.
        data: with Discrete actions.
    """
    return jnp.log(value_heads.chosen(jnp.asarray(chances), data.action))


# ---- importance sampling


class EpisodeTerms(NamedTuple):
    """The numbers of each episode that importance sampling adds up, float[N] each.

    weight: prod_t pi(a_t | s_t) / b(a_t | s_t). return_: the discounted return.
    per_decision: sum_t gamma^t r_t prod_{k <= t} pi(a_k | s_k) / b(a_k | s_k).
    """

    weight: jax.Array
    return_: jax.Array
    per_decision: jax.Array

    @property
    def effective_sample_size(self) -> jax.Array:
        """(sum w)^2 / sum w^2, float[]: as many episodes of the evaluated policy itself would say as much; 0 if all w are 0."""
        largest = self.weight.max()
        weight = self.weight / jnp.where(largest > 0, largest, 1.0)  # the squares of large weights overflow
        return jnp.square(weight.sum()) / jnp.where(largest > 0, jnp.square(weight).sum(), 1.0)

    def ratio(self, kind: str) -> tuple[jax.Array, jax.Array]:
        """Returns what is summed over and under the line of an estimate, float[N] each. kind: one of ``KINDS``."""
        over = self.per_decision if kind == "per_decision" else self.weight * self.return_
        return over, self.weight if kind == "weighted" else jnp.ones_like(self.weight)

    def estimate(self, kind: str) -> jax.Array:
        """Returns the estimate of the value, float[]. kind: one of ``KINDS``.

        ``ordinary`` and ``per_decision`` have no bias, ``weighted`` has less variance and a bias that vanishes with N.
        """
        over, under = self.ratio(kind)
        return over.sum() / under.sum()


def episode_terms(data: Dataset, log_prob: jax.Array, gamma: jax.Array | float) -> EpisodeTerms:
    """Returns the terms of importance sampling of each episode; goes through ``jit`` and ``vmap``.

    Args:
        data: with ``log_prob``, that of the behaviour policy.
        log_prob: float[N, T], of the actions of the data under the evaluated policy; minus infinity for one it never takes.
        gamma: discount in [0, 1].

    Source: Precup, Sutton and Singh (2000), equations 3 to 5.
    """
    behaviour: Any = data.log_prob
    ratio = jnp.cumsum(jnp.where(data.valid, log_prob - behaviour, 0.0), axis=1)
    paid = _discounts(data, gamma) * jnp.where(data.valid, data.reward, 0.0)
    return EpisodeTerms(jnp.exp(ratio[:, -1]), paid.sum(1), (jnp.exp(ratio) * paid).sum(1))


def _discounts(data: Dataset, gamma: Any) -> jax.Array:
    return jnp.asarray(gamma, data.reward.dtype) ** jnp.arange(data.length)


class OffPolicyEstimate(NamedTuple):
    """The estimated value of a policy, and how far it is to be believed.

    value: the estimate. low, high: its bootstrap confidence interval over the episodes; too narrow where few episodes carry the
        weight. effective_sample_size: how many episodes of the evaluated policy itself would say as much, at most N.
    """

    value: float
    low: float
    high: float
    effective_sample_size: float


def importance_sampling(
    data: Dataset,
    log_prob: Any,
    gamma: float,
    kind: str = "per_decision",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> OffPolicyEstimate:
    """Estimates the value of a policy from the episodes of another one by importance sampling, in float64.

    Args:
        data: with ``log_prob``, that of the behaviour policy.
        log_prob: float[N, T], of the actions of the data under the evaluated policy; see ``log_probs``.
        gamma: discount in [0, 1].
        kind: "ordinary", "weighted" or "per_decision"; see ``EpisodeTerms.estimate``.
        confidence, resamples, seed: of the interval; see ``jaxrl.statistics.bootstrap_interval``.

    Raises:
        DataError: the data are unsound, have fewer than two episodes or no log-probabilities, or no episode (per decision: no
            first step) is possible under the evaluated policy.
        ConfigError: ``log_prob`` has another shape, is NaN or positive infinity, or an argument is out of range.
        UnknownNameError: there is no such kind.
    """
    where = "importance_sampling"
    if kind not in KINDS:
        raise unknown_name(where, "kind", kind, KINDS)
    log_prob = _require_sound(where, data, log_prob, gamma)
    with jax.enable_x64(True):
        terms = episode_terms(_double(data), jnp.asarray(log_prob), gamma)
        size = float(terms.effective_sample_size)
        over, under = (np.asarray(part) for part in terms.ratio(kind))
    # Per decision, the steps before an impossible action count.
    possible = np.asarray(terms.weight) > 0 if kind != "per_decision" else log_prob[:, 0] > -np.inf
    must, fix = "an episode must be possible under the evaluated policy", "Collect data with a policy that is nearer to it."
    require(bool(possible.any()), where, must, "none", fix, DataError)
    return _with_interval(where, over, under, size, confidence, resamples, seed)


def doubly_robust(
    data: Dataset,
    chances: Any,
    action_value: Any,
    gamma: float,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> OffPolicyEstimate:
    """Estimates the value of a policy by importance sampling per decision of what estimated values miss, in float64.

    Without bias whatever these values are, if they are not estimated from the same episodes; the better, the less variance.

    Args:
        data, gamma, confidence, resamples, seed: as for ``importance_sampling``; actions are Discrete.
        chances: float[N, T, A], the probabilities of all actions under the evaluated policy; see ``probabilities``.
        action_value: float[N, T, A], the estimated values Q(s, a) under that policy.

    Raises:
        DataError, ConfigError: as for ``importance_sampling``; or a row of ``chances`` is no distribution, or a value not finite.

    Source: Jiang and Li (2016), equation 10.
    """
    where, valid = "doubly_robust", np.asarray(data.valid)
    found = {
        "chances": require_real(where, "chances", chances),
        "action_value": require_real(where, "action_value", action_value),
    }
    for name, array in found.items():
        must, fix = f"{name} must have shape [{data.num_episodes}, {data.length}, A]", "Give every action of every step one."
        good = array.ndim == 3 and array.shape[:2] == valid.shape and array.shape == found["chances"].shape
        require(good, where, must, list(array.shape), fix)
    require_distribution(where, "chances", found["chances"][valid])
    require_finite(where, "action_value", found["action_value"][valid])
    log_prob = _require_sound(where, data, log_probs(found["chances"], data), gamma)
    with jax.enable_x64(True):
        double, known = _double(data), [jnp.asarray(array, jnp.float64) for array in found.values()]
        size = float(episode_terms(double, jnp.asarray(log_prob), gamma).effective_sample_size)
        estimates = np.asarray(robust_terms(double, known[0], known[1], gamma))
    return _with_interval(where, estimates, np.ones(len(estimates)), size, confidence, resamples, seed)


def robust_terms(data: Dataset, chances: jax.Array, action_value: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns the doubly robust estimate of each episode, float[N]: v_t = V(s_t) + rho_t (r_t + gamma v_{t+1} - Q(s_t, a_t)).

    V is the mean of Q under the evaluated policy, and rho_t the ratio of the probabilities of a_t. Goes through ``jit`` and
    ``vmap``. Arguments as for ``doubly_robust``.
    """
    behaviour: Any = data.log_prob
    ratio = jnp.exp(jnp.where(data.valid, log_probs(chances, data) - behaviour, 0.0))
    value = jnp.where(data.valid, (chances * action_value).sum(-1), 0.0)
    taken = value_heads.chosen(action_value, data.action)
    missed = jnp.where(data.valid, data.reward - taken, 0.0)

    def step(beyond, terms):
        ratio, value, missed = terms
        return value + ratio * (missed + gamma * beyond), None

    return jax.lax.scan(step, jnp.zeros_like(value[:, 0]), (ratio.T, value.T, missed.T), reverse=True)[0]


def _ratio_of(over: np.ndarray, under: np.ndarray) -> Callable:
    """Returns sum over / sum under as a statistic of the numbers of episodes; that of all where a resample has no weight."""

    def ratio(number: np.ndarray, axis: int) -> np.ndarray:
        index = number.astype(np.int64)
        total, weight = over[index].sum(axis), under[index].sum(axis)
        return np.where(weight > 0, total, over.sum()) / np.where(weight > 0, weight, under.sum())

    return ratio


def _with_interval(
    where: str, over: np.ndarray, under: np.ndarray, size: float, confidence: float, resamples: int, seed: int
) -> OffPolicyEstimate:
    """Returns sum over / sum under and its bootstrap interval; raises DataError where a number is not finite."""
    must, fix = "the weights of all episodes must be finite", "Collect data with a policy that is nearer to the evaluated one."
    sound = np.isfinite(size) and np.isfinite([over, under]).all()
    require(bool(sound), where, must, "an infinite one", fix, DataError)
    number = np.arange(len(over))
    found = bootstrap_interval(number, _ratio_of(over, under), confidence, resamples=resamples, seed=seed)
    return OffPolicyEstimate(found.estimate, found.low, found.high, size)


def _require_sound(where: str, data: Dataset, log_prob: Any, gamma: Any) -> np.ndarray:
    """Returns the log-probabilities of the evaluated policy in float64, after a check of all that is given."""
    data.validate(where)
    require_discount(where, gamma)
    must, fix = "the data must have log-probabilities of the behaviour policy", "Collect with policies.noting_log_prob."
    require(data.log_prob is not None, where, must, None, fix, DataError)
    must, fix = "there must be two episodes or more", "An interval needs them."
    require(data.num_episodes >= 2, where, must, data.num_episodes, fix, DataError)
    found = require_real(where, "log_prob", log_prob).astype(np.float64)
    must, fix = f"log_prob must have shape {list(data.valid.shape)}", "Give one for each action; see off_policy.log_probs."
    require(found.shape == data.valid.shape, where, must, list(found.shape), fix)
    good = bool(np.all(found[np.asarray(data.valid)] < np.inf))  # NaN is not
    require(good, where, "log_prob must be below infinity", "NaN or infinity", "Correct the evaluated policy.")
    return found


def _double(data: Dataset) -> Dataset:
    """Returns the data with rewards and log-probabilities in float64."""
    names = ("reward", "log_prob")
    return replace(data, **{name: jnp.asarray(np.asarray(getattr(data, name), np.float64)) for name in names})


# ---- fitted Q evaluation


def empirical_model(where: str, data: Dataset) -> TabularModel:
    """Returns the finite environment that makes the data likeliest: every observation is a state.

    An outcome of an action is as probable as it was frequent, and pays what it paid on average. An action that was never taken in
    a state ends the episode without pay. The distribution of the first state is that of the episodes.

    Args:
        where: who asks.
        data: with Discrete observations and actions.

    Raises:
        SpaceError: a space is not Discrete. DataError: the data are unsound.
    """
    for name, space in (("observation", data.observation_space), ("action", data.action_space)):
        fix = "Use jaxrl.algorithms.offline.fitted_q_evaluation."
        require(isinstance(space, Discrete), where, f"the {name}_space must be Discrete", space, fix, SpaceError)
    data.validate(where)
    seen: Any = data.observation_space
    taken: Any = data.action_space
    states, actions = seen.n, taken.n
    valid = np.asarray(data.valid)
    obs, action, after, ended, paid = (
        np.asarray(leaf)[valid] for leaf in (data.obs, data.action, data.next_obs, data.terminated, data.reward)
    )
    # The distinct outcomes of every pair of state and action, one after another.
    rows, inverse, count = np.unique(np.stack([obs, action, after, ended], -1), axis=0, return_inverse=True, return_counts=True)
    reward = np.bincount(inverse.ravel(), paid.astype(np.float64)) / count
    pair = rows[:, 0] * actions + rows[:, 1]
    first = np.searchsorted(pair, pair)  # the place of the first outcome of the same pair
    place = rows[:, 0], rows[:, 1], np.arange(len(rows)) - first
    shape = (states, actions, int(place[2].max()) + 1)
    number = np.bincount(pair, count, minlength=states * actions).reshape(states, actions)
    next_state = np.broadcast_to(np.arange(states, dtype=np.int32)[:, None, None], shape).copy()
    probability, pays, terminated = np.zeros(shape), np.zeros(shape), np.ones(shape, bool)
    probability[..., 0] = number == 0
    next_state[place], terminated[place], pays[place] = rows[:, 2], rows[:, 3].astype(bool), reward
    probability[place] = count / number[place[:2]]
    legal = np.ones((states, actions), bool)
    if data.mask is not None:
        legal[obs] = np.asarray(data.mask)[valid]
    initial = np.bincount(np.asarray(data.obs)[:, 0], minlength=states) / data.num_episodes
    numbers = np.arange(states, dtype=np.int32)
    return TabularModel(next_state, probability, pays, terminated, initial, legal, numbers, numbers, (actions,))


class FittedValue(NamedTuple):
    """The value of a policy in the model of the data.

    value: its expected value at the first observations, in the units of the return.
    action_value: float64[X, A]; 0 for an action that was never taken in a state.
    unseen: how often, discounted, the policy takes an action that no data tell about before the episode ends; 0 if the data cover
        it. The value counts nothing from there on.
    error_bound: how far ``value`` can be from the exact value in this model for rounding.
    """

    value: float
    action_value: np.ndarray
    unseen: float
    error_bound: float


def fitted_q_evaluation(data: Dataset, policy: Any, gamma: float) -> FittedValue:
    """Returns the fixed point of fitted Q evaluation with a table, exactly, in float64.

    Iterating Q(s, a) <- the mean of r + gamma sum_b pi(b | s') Q(s', b) over the data leads to the value of the policy in the
    model of which outcomes are as probable as they were frequent: a linear system. It goes on beyond cuts.

    Args:
        data: with Discrete observations and actions.
        policy: float[X, A], the probabilities of the actions for each observation number.
        gamma: discount in [0, 1].

    Raises:
        SpaceError: a space is not Discrete. DataError: the data are unsound.
        ConfigError: a row of the policy is no distribution, or the policy earns for ever without discount.

    Source: Le, Voloshin and Yue (2019), algorithm 3.
    """
    where = "fitted_q_evaluation"
    require_discount(where, gamma)
    model = empirical_model(where, data)
    shape, fix = (model.num_states, model.num_actions), "Give each observation a row."
    require(np.shape(policy) == shape, where, f"the policy must have shape {list(shape)}", list(np.shape(policy)), fix)
    policy = require_distribution(where, "the policy", policy)
    found = host.evaluate(model, policy, gamma)
    seen = np.zeros(shape, bool)
    seen[np.asarray(data.obs)[np.asarray(data.valid)], np.asarray(data.action)[np.asarray(data.valid)]] = True
    unseen = host.evaluate(replace(model, reward=np.broadcast_to(~seen[..., None], model.reward.shape) * 1.0), policy, gamma)
    with jax.enable_x64(True):
        table = np.asarray(action_values(replace(model, action_mask=np.ones(shape, bool)), found.value, gamma))
    return FittedValue(
        float(found.start_value(model)), table, float(unseen.start_value(model)), float(np.asarray(found.error_bound))
    )
