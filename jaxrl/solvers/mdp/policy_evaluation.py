"""The exact value of a policy, the Markov chain that it makes of a model, and its return within a time limit.

Source: Sutton and Barto (2018), section 4.1; Puterman (1994), section 6.1.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import is_traced, require, require_count, require_finite
from jaxrl.solvers.fixed_point import fixed_point
from jaxrl.solvers.markov_chain import Chain, discounted_sums, doubling_is_faster
from jaxrl.solvers.mdp.backups import going_on
from jaxrl.solvers.mdp.problem import require_policy, require_problem
from jaxrl.solvers.mdp.solution import PolicyValue


def policy_evaluation(
    model: TabularModel,
    policy: jax.Array,
    gamma: jax.Array | float,
    beyond: Any = None,
    max_steps: int | None = None,
    dense: bool | None = None,
) -> PolicyValue:
    """Returns the exact value of a stochastic policy, V = sum_t (gamma P)^t R.

    Exact to rounding for gamma < 1, and for gamma = 1 where the policy terminates. A policy that never terminates has no value at
    gamma = 1 unless it comes to pay nothing: it is followed for a long but finite time then, and the value has not converged. The
    value can be differentiated with respect to the policy, the rewards and gamma.

    Args:
        model: the environment's tables.
        policy: float[X, A], probabilities of the (joint) actions.
        gamma: discount in [0, 1].
        beyond: float[X] (or [X, N] with agents), the value after the last step that is followed, by default 0.
        max_steps: for how many steps, at least, a policy is followed at gamma = 1; see ``discounted_sums``.
        dense: whether to compute with matrices [X, X] rather than by sweeps; by default what is faster.

    Raises:
        ConfigError: gamma lies outside [0, 1], a row of the policy is not a distribution, ``beyond`` has another shape or is not
            finite, or ``max_steps`` is no integer of at least 1.
        EnvError: the tables of the model are unsound.
    """
    where = "policy_evaluation"
    require_problem(where, model, gamma, one_reward=False)
    policy = require_policy(where, policy, (model.num_states, model.num_actions), model.action_mask)
    if beyond is not None:
        shape, fix = np.shape(model.reward)[:1] + np.shape(model.reward)[3:], "Give each state a value."
        beyond = jnp.asarray(beyond if is_traced(beyond) else require_finite(where, "beyond", beyond, fix))
        require(beyond.shape == shape, where, f"beyond must have shape {list(shape)}", beyond.shape, fix)
    if max_steps is not None:
        require_count(where, "max_steps", max_steps)
    states, actions, outcomes = model.next_state.shape
    dense = doubling_is_faster(states, actions * outcomes, gamma) if dense is None else dense
    return _policy_evaluation(model.tables, policy, gamma, beyond, max_steps, dense)


@partial(jax.jit, static_argnames=("max_steps", "dense"))
def _policy_evaluation(model, policy, gamma, beyond, max_steps, dense) -> PolicyValue:
    chain = policy_chain(model, policy, gamma)
    weight = jnp.asarray(policy)[..., None] * model.probability  # [X, A, K]
    reward = jnp.asarray(model.reward, weight.dtype).reshape(*weight.shape, -1)
    paid = jnp.einsum("xak,xakn->xn", weight, reward, precision="highest")
    beyond = None if beyond is None else jnp.asarray(beyond, paid.dtype).reshape(paid.shape)
    sums = discounted_sums(chain, paid, beyond, max_steps, dense=dense)
    largest = jnp.where(weight > 0, jnp.abs(reward).max(-1), 0).max(initial=0)
    residual, bound = sums.check(chain, paid, largest)
    return PolicyValue(sums.value.reshape(model.reward.shape[:1] + model.reward.shape[3:]), residual, bound, sums.converged)


def policy_chain(model: TabularModel, policy: jax.Array, gamma: jax.Array | float) -> Chain:
    """Returns the Markov chain that a policy [X, A] makes of a model; each state has A K successors.

    Raises:
        ConfigError: gamma lies outside [0, 1], or a row of the policy is not a distribution.
        EnvError: the tables of the model are unsound.
    """
    require_problem("policy_chain", model, gamma, one_reward=False)
    policy = require_policy("policy_chain", policy, (model.num_states, model.num_actions), model.action_mask)
    weight = going_on(model.terminated, jnp.asarray(policy)[..., None] * model.probability, gamma)
    shape = (model.num_states, -1)
    return Chain(jnp.reshape(model.next_state, shape), weight.reshape(shape), jnp.asarray(gamma))


def return_variance(model: TabularModel, policy: Any, gamma: jax.Array | float) -> PolicyValue:
    """Returns the variance of the discounted return of a stochastic policy, as a value with its check.

    It is the value of the squared surprises of a step, discounted by gamma squared:
    Var(x) = E[(r + gamma V(x') - V(x))^2] + gamma^2 E[Var(x')] (Sobel 1982).

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[X, A], probabilities of the actions.
        gamma: discount in [0, 1]. At 1 the policy must end the episode or come to where nothing is paid.

    Raises:
        ConfigError, EnvError: as ``policy_evaluation``, or the model has a reward for each of several agents.
    """
    require_problem("return_variance", model, gamma)
    model = model.tables
    mean = policy_evaluation(model, policy, gamma)
    beyond = gamma * jnp.where(model.terminated, 0.0, mean.value[model.next_state])
    surprise = jnp.where(model.probability > 0, model.reward + beyond - mean.value[:, None, None], 0.0)
    found = policy_evaluation(dataclasses.replace(model, reward=surprise**2), policy, gamma**2)
    # An error of the mean enters once in each step.
    steps = policy_evaluation(dataclasses.replace(model, reward=jnp.ones_like(surprise)), policy, gamma**2).value.max()
    off = (1 + gamma) * mean.error_bound
    bound = found.error_bound + steps * off * (2 * jnp.abs(surprise).max() + off)
    return found._replace(error_bound=bound, converged=found.converged & mean.converged)


def return_of_policy(model: TabularModel, policy: jax.Array, num_steps: int) -> jax.Array:
    """Returns what a stochastic policy earns in the next ``num_steps`` steps, without discount, float[X].

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[X, A], probabilities of the (joint) actions.
        num_steps: after which nothing is paid, as by a time limit.

    Raises:
        ConfigError: a row of the policy is not a distribution, or ``num_steps`` is no integer of at least 0.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "return_of_policy"
    if not is_traced(num_steps):
        require_count(where, "num_steps", num_steps, 0)
    require_problem(where, model)
    policy = require_policy(where, policy, (model.num_states, model.num_actions), model.action_mask)
    model = model.tables
    chain = policy_chain(model, policy, 1.0)
    paid = (jnp.asarray(policy)[..., None] * model.probability * model.reward).sum((1, 2))[:, None]

    def sweep(value):
        return paid + chain.onward(value), jnp.abs(paid).max()

    # As many sweeps as steps, unless one changes nothing: then nor would the others.
    return fixed_point(sweep, jnp.zeros_like(paid), max_sweeps=num_steps, min_sweeps=num_steps).value[:, 0]
