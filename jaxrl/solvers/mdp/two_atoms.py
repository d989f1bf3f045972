"""Two-atom distributional dynamic programming: of every return, the mean of its worse part and that of its better part.

Each state keeps v1 <= v2 with the masses alpha and 1 - alpha. One step back:

    collect all w = r_k + gamma (1 - terminated_k) v_j(x'_k), with the masses pi(a | x) p_k alpha_j
    v1 <- the mean of the lowest share alpha of them (the lower average value at risk);   v2 <- the mean of the rest

The mean alpha v1 + (1 - alpha) v2 is that of the ordinary backup, so it is the value of the policy at every alpha. Both tail
means move by no more than the atoms they are taken of, so a sweep is a contraction by gamma. By the dual form of the average
value at risk, v1 is the value of an adversary, who sends the worse part of a state to successors of the adversary's choice, as
long as the law of all parts together stays what it is.

Actions that are alike in the mean can be told apart: a safe agent takes the one of largest v1, a risky one that of smallest v1,
which has the largest v2.

Source: Achab and Neu (2021), "Robustness and risk Management via Distributional Dynamic Programming".
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.blocks.utilities import tail_mean
from jaxrl.core.finite import TabularModel
from jaxrl.errors import require_number, require_within, unknown_name
from jaxrl.solvers.fixed_point import MAX_SWEEPS, FixedPoint, fixed_point
from jaxrl.solvers.mdp.backups import absolute_rewards, action_values, legal
from jaxrl.solvers.mdp.problem import require_policy, require_problem
from jaxrl.solvers.mdp.value_iteration import value_iteration

PREFERENCES = ("safe", "risky")


class TwoAtoms(NamedTuple):
    """Returns in two parts.

    value: float[X, 2], v1 and v2 of every state.
    policy: float[X, A], the policy that they belong to.
    iterations: int32[], sweeps.
    residual: float[], the largest change of an atom by the last sweep.
    error_bound: float[], how far an atom can be from its fixed point, rounding included; infinite without discount.
    mean_residual: float[], the largest amount by which the means alpha v1 + (1 - alpha) v2 miss v = r + gamma P v, or for control
        v = max_a Q: there up to what counts as a tie.
    converged: bool[], whether the tolerance or the limit of the precision was reached, for control by the means, too.
    """

    value: jax.Array
    policy: jax.Array
    iterations: jax.Array
    residual: jax.Array
    error_bound: jax.Array
    mean_residual: jax.Array
    converged: jax.Array


def two_atom_evaluation(
    model: TabularModel,
    policy: Any,
    gamma: jax.Array | float,
    level: jax.Array | float,
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> TwoAtoms:
    """Returns the worse and the better part of the return of a policy from every state.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[X, A], probabilities of the actions.
        gamma: discount in [0, 1]; at 1 the policy must end the episode or come to where nothing is paid.
        level: alpha in (0, 1), the mass of the worse part.
        tolerance, max_sweeps: see ``value_iteration``.

    Raises:
        ConfigError: a number is out of range, or a row of the policy is no distribution.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "two_atom_evaluation"
    _require(where, model, gamma, level, tolerance, max_sweeps)
    policy = require_policy(where, policy, (model.num_states, model.num_actions), model.action_mask)
    return _evaluation(model.tables, policy, gamma, level, tolerance, max_sweeps)


def two_atom_control(
    model: TabularModel,
    gamma: jax.Array | float,
    level: jax.Array | float,
    prefer: str = "safe",
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> TwoAtoms:
    """Returns the safest, or riskiest, of all policies that are optimal in the mean, and its two parts.

    The optimal actions are those of value iteration, up to the root of the precision, relative to the largest value. Among
    policies of one mean, the backup rises with v1, so its fixed point is the best, or worst, v1 in every state at once.

    Args:
        model, gamma, level, tolerance, max_sweeps: as for ``two_atom_evaluation``.
        prefer: "safe" for the largest v1, "risky" for the smallest.

    Raises:
        ConfigError: a number is out of range. UnknownNameError: there is no such preference.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "two_atom_control"
    _require(where, model, gamma, level, tolerance, max_sweeps)
    if prefer not in PREFERENCES:
        raise unknown_name(where, "preference", prefer, PREFERENCES)
    means = value_iteration(model, gamma, 0.0, max_sweeps)
    values = means.action_value
    best = values.max(-1, keepdims=True)
    ties = jnp.sqrt(jnp.finfo(values.dtype).eps) * jnp.abs(best).max()
    found = _control(model.tables, values >= best - ties, gamma, level, prefer == "safe", tolerance, max_sweeps)
    return found._replace(converged=found.converged & means.converged)


def _require(where: str, model: TabularModel, gamma: Any, level: Any, tolerance: Any, max_sweeps: Any) -> None:
    require_problem(where, model, gamma, tolerance, max_sweeps)
    require_number(where, "level", level, 0, 1, "0.1 is common.", above=True, below=True)


def split(atoms: Any, mass: Any, level: jax.Array | float) -> jax.Array:
    """Returns the means of the lowest share ``level`` of a law and of the rest, float[..., 2].

    Args:
        atoms, mass: float[..., M], in any order; the masses sum to 1.
        level: alpha in (0, 1).

    Raises:
        ConfigError: the level is out of range. Traced values are not checked.
    """
    require_within("split", "level", level, 0, 1, "0.1 is common.", above=True, below=True)
    lower = tail_mean(atoms, mass, level)
    mean = (atoms * mass).sum(-1)
    return jnp.stack([lower, (mean - level * lower) / (1 - level)], axis=-1)


def _outcomes(model: TabularModel, value: jax.Array, gamma: Any, level: Any) -> tuple[jax.Array, jax.Array]:
    """Returns the atoms that can follow on each action and their masses, float[X, A, K, 2] each."""
    onward = jnp.where(model.terminated[..., None], 0.0, value[model.next_state])
    atoms = jnp.asarray(model.reward, value.dtype)[..., None] + gamma * onward
    masses = jnp.stack([jnp.asarray(level, value.dtype), 1 - jnp.asarray(level, value.dtype)])
    return atoms, jnp.asarray(model.probability, value.dtype)[..., None] * masses


@jax.jit
def _evaluation(model, policy, gamma, level, tolerance, max_sweeps) -> TwoAtoms:
    largest = jnp.where(policy > 0, absolute_rewards(model), 0.0).max()

    def sweep(value):
        atoms, masses = _outcomes(model, value, gamma, level)
        rows = value.shape[0], -1
        masses = (policy[:, :, None, None] * masses).reshape(rows)
        return split(atoms.reshape(rows), masses, level), _magnitude(largest, value, level)

    return _answer(model, sweep, lambda _: policy, False, gamma, level, tolerance, max_sweeps)


@partial(jax.jit, static_argnames="safe")
def _control(model, optimal, gamma, level, safe, tolerance, max_sweeps) -> TwoAtoms:
    largest = jnp.where(optimal, absolute_rewards(model), 0.0).max()

    def parts(value):
        atoms, masses = _outcomes(model, value, gamma, level)
        rows = *optimal.shape, -1
        return split(atoms.reshape(rows), masses.reshape(rows), level)

    def preferred(values):
        worse = values[..., 0] if safe else -values[..., 0]
        return jnp.where(optimal, worse, -jnp.inf).argmax(-1)

    def sweep(value):
        values = parts(value)
        new = jnp.take_along_axis(values, preferred(values)[:, None, None], 1)[:, 0]
        return new, _magnitude(largest, value, level)

    def policy(value):
        return jax.nn.one_hot(preferred(parts(value)), optimal.shape[1], dtype=value.dtype)

    return _answer(model, sweep, policy, True, gamma, level, tolerance, max_sweeps)


def _magnitude(largest: jax.Array, value: jax.Array, level: Any) -> jax.Array:
    """Returns the size of the numbers that rounding acts on: a tail mean divides by the mass of its tail."""
    return (largest + jnp.abs(value).max()) / jnp.minimum(level, 1 - level)


def _answer(model, sweep, policy_of, optimal, gamma, level, tolerance, max_sweeps) -> TwoAtoms:
    start = jnp.zeros((model.num_states, 2), jnp.result_type(float))
    found: FixedPoint = fixed_point(sweep, start, gamma, tolerance, max_sweeps, 2 * model.next_state[0].size)
    policy = policy_of(found.value)
    mean = level * found.value[:, 0] + (1 - level) * found.value[:, 1]
    values = legal(model, action_values(model, mean, gamma))
    due = values.max(-1) if optimal else (policy * jnp.where(policy > 0, values, 0.0)).sum(-1)
    missed = jnp.abs(due - mean).max()
    return TwoAtoms(found.value, policy, found.sweeps, found.residual, found.error_bound, missed, found.converged)
