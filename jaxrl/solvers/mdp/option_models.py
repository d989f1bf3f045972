"""Options as models: their rewards and outcomes by linear solves, and the best choice among them.

    R_o(x)     = r_pi(x) + gamma sum_x' P_pi(x, x') (1 - beta(x')) R_o(x')
    P_o(x, x') = gamma P_pi(x, x') beta(x') + gamma sum_y P_pi(x, y) (1 - beta(y)) P_o(y, x')

that is P_o = (I - gamma P_pi (1 - beta))^-1 gamma P_pi beta: the discounted probability of ending in x', sum_k gamma^k Pr(ends in
x' after k steps). With such a model an option is like an action, and sweeps look as far ahead as options last:

    V(x) <- max_{o may begin in x} R_o(x) + sum_x' P_o(x, x') V(x')

Models and built options are on the host, in float64; the sweeps compile.

Source: Sutton, Precup and Singh (1999), "Between MDPs and semi-MDPs", equations 5 to 7 (models), 9 (optimality) and 12 (sweeps);
Precup (2000), "Temporal Abstraction in Reinforcement Learning", section 2.5.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.blocks.options import Options, require_options
from jaxrl.core import machine
from jaxrl.core.finite import TabularModel
from jaxrl.errors import (
    SolverError,
    is_traced,
    require,
    require_discount,
    require_index,
    require_real,
    require_tolerance,
    require_within,
)
from jaxrl.solvers.fixed_point import MAX_SWEEPS, fixed_point
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import greedy_policy
from jaxrl.solvers.mdp.problem import require_one_reward
from jaxrl.solvers.mdp.solution import Solution

RESIDUAL = 1e-9  # that a model may miss its equations by, relative to its largest entry


class OptionModels(NamedTuple):
    """The models of O options over X states.

    reward: float64[O, X], expected discounted reward until the option ends. transition: float64[O, X, X], discounted
    probabilities of ending in each state; an episode that ends is in none. initiation: bool[O, X], where each may begin.
    residual: by how much they miss their equations, relative to the largest entry of each.
    """

    reward: Any
    transition: Any
    initiation: Any
    residual: float


def option_models(model: TabularModel, options: Options, gamma: float) -> OptionModels:
    """Returns the models of options.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        options: over the states of the model: ``options.at(model.observation)`` of options over observations.
        gamma: discount in [0, 1]. At 1 every option must end, from wherever it may be.

    Raises:
        ConfigError: gamma lies outside [0, 1], the options do not fit the model (see ``require_options``), one takes an illegal
            action, or the models are too large for the memory of this machine.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
        SolverError: an option need not end, without discount.
    """
    where = "option_models"
    require_discount(where, gamma)
    require_one_reward(where, model)
    states, actions = model.num_states, model.num_actions
    require_options(where, options, states, actions)
    machine.require_room(where, f"models of {options.count} options", 8 * (options.count + 8) * states**2, "Take fewer states.")
    policy, termination = (np.asarray(part, np.float64) for part in (options.policy, options.termination))
    policy = policy / policy.sum(-1, keepdims=True)
    initiation = np.asarray(options.initiation)
    illegal = ((policy > 0) & ~np.asarray(model.action_mask)).any(-1) & initiation
    found = "option {} in state {}".format(*np.argwhere(illegal)[0]) if illegal.any() else ""
    require(not illegal.any(), where, "options must take legal actions", found, "Give the illegal ones probability 0.")
    reward, transition = _of_actions(model)
    solved = [_solve(reward, gamma * transition, *option) for option in zip(policy, termination, strict=True)]
    rewards, transitions, residuals = (np.stack(part) for part in zip(*solved, strict=True))
    # A matrix that is all but singular has solutions, too: they are no probabilities.
    certain = (transitions.min((1, 2)) >= -RESIDUAL) & (transitions.sum(-1).max(-1) <= 1 + RESIDUAL)
    bad = np.flatnonzero(~((residuals <= RESIDUAL) & certain))
    found = f"option {bad[0]}, with a residual of {residuals[bad[0]]:g}" if len(bad) else ""
    require(not len(bad), where, "every option must end", found, "Lower gamma, or raise its termination.", SolverError)
    return OptionModels(rewards, transitions, initiation, float(residuals.max()))


def _of_actions(model: TabularModel) -> tuple[np.ndarray, np.ndarray]:
    """Returns the expected rewards float64[X, A] and the probabilities of going on to each state, float64[A, X, X]."""
    tables = model.tables
    chance = np.asarray(tables.probability, np.float64)
    chance = chance / chance.sum(-1, keepdims=True)  # float32 leaves sums that miss 1, which never ends without discount
    going_on = np.where(np.asarray(tables.terminated), 0.0, chance)
    states, actions, _ = going_on.shape
    transition = np.zeros((actions, states, states))
    place = np.arange(actions)[None, :, None], np.arange(states)[:, None, None], np.asarray(tables.next_state)
    np.add.at(transition, place, going_on)
    return (chance * np.asarray(tables.reward)).sum(-1), transition


def _solve(reward: np.ndarray, onward: np.ndarray, policy: np.ndarray, termination: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the model of one option, float64[X] and float64[X, X], and its residual. onward: gamma P, float64[A, X, X]."""
    step = np.einsum("xa,axy->xy", policy, onward)
    paid, goes_on = (policy * reward).sum(-1), step * (1 - termination)
    known = np.column_stack([paid, step * termination])
    try:
        found = np.linalg.solve(np.eye(len(paid)) - goes_on, known)
    except np.linalg.LinAlgError:  # exactly singular: the option never ends
        return paid, step, np.array(np.inf)
    # By size, and not by the norm of both: rewards and probabilities have units of their own.
    missing = np.abs(known + goes_on @ found - found)
    parts = [(missing[:, part].max(), np.abs(found[:, part]).max()) for part in (slice(1), slice(1, None))]
    return found[:, 0], found[:, 1:], np.array(max(miss / size if size else miss for miss, size in parts))


def smdp_value_iteration(
    models: OptionModels, tolerance: jax.Array | float = 1e-6, max_sweeps: jax.Array | int = MAX_SWEEPS
) -> Solution:
    """Sweeps V <- max_o R_o + P_o V from 0, until the value is as close to the optimum among these options as asked for.

    Args:
        models: of the options; an action is one of them.
        tolerance: the error to accept, relative to the largest value; 0 goes to the limit of the precision.
        max_sweeps: an end, an integer of at least 1.

    Returns:
        The solution; its ``action_value`` is float[X, O], of the options, minus infinity where one may not begin. The bound of
        the error is infinite if an option is not discounted, or does not end, from somewhere.

    Raises:
        ConfigError: the tolerance is negative, ``max_sweeps`` is below 1, or in some state no option may begin. Traced models are
            not checked.
    """
    where = "smdp_value_iteration"
    require_tolerance(where, tolerance)
    require_within(where, "max_sweeps", max_sweeps, 1, np.inf, f"The default is {MAX_SWEEPS}.")
    if not is_traced(models):
        without = np.flatnonzero(~np.asarray(models.initiation).any(0))
        found, fix = f"none in state {without[0]}" if len(without) else "", "Add options of one step."
        require(not len(without), where, "an option must be able to begin in every state", found, fix)
    return _smdp_value_iteration(models, tolerance, max_sweeps)


@jax.jit
def _smdp_value_iteration(models, tolerance, max_sweeps) -> Solution:
    dtype = jnp.result_type(float)
    reward, transition = (jnp.asarray(part, dtype) for part in (models.reward, models.transition))
    # An option that lasts longer shrinks errors more: a sweep shrinks them at least by the largest of its sums.
    contraction = jnp.minimum(jnp.where(models.initiation, transition.sum(-1), 0.0).max(), 1.0)

    def backup(value):
        values = reward + jnp.einsum("oxy,y->ox", transition, value, precision="highest")
        return jnp.where(models.initiation, values, -jnp.inf).T

    def sweep(value):
        values = backup(value)
        return values.max(-1), jnp.abs(jnp.where(values >= values.max(-1, keepdims=True), reward.T, 0.0)).max()

    start = jnp.zeros(reward.shape[1], dtype)
    found = fixed_point(sweep, start, contraction, tolerance, max_sweeps, reward.shape[1])
    return Solution(found.value, backup(found.value), found.sweeps, found.residual, found.error_bound, found.converged)


def towards(model: TabularModel, region: Any, target: int, gamma: float = 0.9) -> Options:
    """Returns one option that goes to a state as soon as it can without leaving a region, and ends there, or outside.

    Its policy is the best one for a reward of 1 on arrival, discounted, and 0 for ending elsewhere.

    Args:
        model: the environment's tables; their rewards do not matter.
        region: bool[X], where the option may begin; the target is left out of it.
        target: number of a state.
        gamma: discount in (0, 1) of the policy's own problem.

    Raises:
        ConfigError: the region has another shape, the target is no state, or gamma is out of range.
        EnvError: the tables are unsound.
    """
    where, states = "towards", model.num_states
    require_index(where, "target", target, states)
    require_within(where, "gamma", gamma, 0, 1, "0.9 is common.", above=True, below=True)
    inside = np.array(require_real(where, "region", region, "Give a flag for each state."), bool)
    require(inside.shape == (states,), where, f"region must have shape [{states}]", inside.shape, "Give a flag for each state.")
    inside[target] = False
    arrives = np.asarray(model.next_state) == target
    ends = np.asarray(model.terminated) | ~inside[np.asarray(model.next_state)]
    goal = dataclasses.replace(model, reward=np.where(arrives, 1.0, 0.0), terminated=ends)
    policy = np.asarray(greedy_policy(model, host.solve(goal, gamma).action_value), np.float32)
    return Options(inside[None], policy[None], np.where(inside, 0.0, 1.0).astype(np.float32)[None])
