"""Distributional dynamic programming: the whole law of the discounted return, on a grid of atoms.

    eta(x) <- Pi sum_a pi(a | x) sum_k p_k law of r_k + gamma (1 - terminated_k) G(x'_k),   G(x') drawn from eta(x')

Pi shares the mass of what falls between two atoms among both, in inverse proportion to the distances: the mean is kept. What
falls beyond the ends is put on the ends: there the mean is not kept, which ``mean_residual`` shows. If the returns that can come
next always fall on atoms, nothing is shared, and the laws are exact.

For control the action is greedy in the means of the laws. Its means converge as in value iteration, but where actions of equal
mean have different laws, the laws need not: see ``distributional_value_iteration``.

Source: Bellemare, Dabney and Munos (2017), "A Distributional Perspective on Reinforcement Learning", algorithm 1, sections 3.3
and 3.4; Rowland et al. (2018), "An Analysis of Categorical Distributional Reinforcement Learning", on contraction.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.errors import is_traced, require, require_finite
from jaxrl.solvers.fixed_point import MAX_SWEEPS, rounding_of
from jaxrl.solvers.mdp.backups import action_values, legal
from jaxrl.solvers.mdp.problem import require_policy, require_problem


class ReturnLaws(NamedTuple):
    """Laws of the discounted return.

    law: float[X, N], the mass on each atom from every state.
    action_law: float[X, A, N], if that action is taken first.
    policy: float[X, A], the policy that the laws belong to.
    iterations: int32[], sweeps.
    residual: float[], the largest distance between the law of a state before and after the last sweep. Distances are Cramer's,
        relative to the width of the grid: sqrt(sum_i (F_i - G_i)^2 (z_{i+1} - z_i) / (z_N - z_1)), in [0, 1].
    error_bound: float[], how far a law can be from the fixed point of the equation above, in the same distance. Infinite without
        discount, and where the policy changes with the laws.
    mean_residual: float[], the largest amount by which the means miss v = r + gamma P v, or its optimum: what the ends of the
        grid cut off.
    converged: bool[], whether the tolerance or the limit of the precision was reached.
    """

    law: jax.Array
    action_law: jax.Array
    policy: jax.Array
    iterations: jax.Array
    residual: jax.Array
    error_bound: jax.Array
    mean_residual: jax.Array
    converged: jax.Array

    def start_law(self, model: TabularModel) -> jax.Array:
        """Returns the law of the return from the first state, float[N]."""
        return (jnp.asarray(model.initial, self.law.dtype)[:, None] * self.law).sum(0)


def distributional_evaluation(
    model: TabularModel,
    policy: Any,
    gamma: jax.Array | float,
    support: Any,
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = MAX_SWEEPS,
) -> ReturnLaws:
    """Returns the law of the return of a policy from every state.

    A sweep brings laws closer by sqrt(gamma) at least (Rowland et al.). It needs about 24 X A K N bytes in
    float64, for the place on the grid of everything that can follow.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        policy: float[X, A], probabilities of the actions.
        gamma: discount in [0, 1]. At 1 the policy must end the episode or come to where nothing is paid.
        support: float[N], the atoms, rising, N at least 2, evenly spaced or not.
        tolerance: the distance from the fixed point to accept (at gamma = 1, the last change of a sweep), relative to the width
            of the grid; 0 goes to the limit of the precision.
        max_sweeps: an end for problems with gamma = 1 that do not converge.

    Raises:
        ConfigError: gamma lies outside [0, 1], a row of the policy is no distribution, the support does not rise, or another
            number is out of range.
        EnvError: the model has a reward for each of several agents, or its tables are unsound.
    """
    where = "distributional_evaluation"
    require_problem(where, model, gamma, tolerance, max_sweeps)
    policy = require_policy(where, policy, (model.num_states, model.num_actions), model.action_mask)
    return _laws(model.tables, policy, gamma, require_support(where, support), tolerance, max_sweeps, None)


def first_of_best(law: jax.Array, mean: jax.Array) -> jax.Array:
    """Returns the action of largest mean in every state, the first among equals, int[X]; see ``choose`` below."""
    return mean.argmax(-1)


def distributional_value_iteration(
    model: TabularModel,
    gamma: jax.Array | float,
    support: Any,
    tolerance: jax.Array | float = 1e-6,
    max_sweeps: jax.Array | int = 10_000,
    choose: Callable[[jax.Array, jax.Array], jax.Array] = first_of_best,
) -> ReturnLaws:
    """Sweeps the laws with the actions that are greedy in their means.

    The means converge to the optimum on the grid. Where actions are tied, the laws converge if ties are decided alike each time,
    but a rule that looks at the laws can make them cycle for ever (Bellemare et al., section 3.4): then ``residual`` stays
    large, ``mean_residual`` becomes small, and ``converged`` is False.

    Args:
        model, gamma, support, tolerance: as for ``distributional_evaluation``.
        max_sweeps: an end for laws that cycle.
        choose: ``(law [X, N], mean [X, A]) -> action int[X]``, which decides between actions of the largest mean; pure. Means
            are minus infinity where an action is illegal.

    Raises:
        ConfigError, EnvError: as ``distributional_evaluation``.
    """
    where = "distributional_value_iteration"
    require_problem(where, model, gamma, tolerance, max_sweeps)
    return _laws(model.tables, None, gamma, require_support(where, support), tolerance, max_sweeps, choose)


def require_support(where: str, support: Any) -> jax.Array:
    """Returns the atoms of a law as an array; raises ConfigError unless they are finite and rise. Of traced ones the shape."""
    fix = "np.linspace(0.0, 1.0, 51), for example."
    atoms = support if is_traced(support) else require_finite(where, "support", support, fix)
    require(atoms.ndim == 1 and len(atoms) >= 2, where, "support must have shape [N], N at least 2", atoms.shape, fix)
    if not is_traced(support):
        dtype = jnp.result_type(float)
        rise = bool((np.diff(np.asarray(atoms, dtype)) > 0).all())
        require(rise, where, f"the atoms of support must rise, in {dtype}", support, fix)
    return jnp.asarray(atoms, jnp.result_type(float))


def places(support: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns between which atoms of ``support`` [N] each value lies: the lower one, int32, and the share of the upper one.

    Values beyond an end count as the end.
    """
    lower = jnp.clip(jnp.searchsorted(support, value, side="right") - 1, 0, len(support) - 2).astype(jnp.int32)
    share = (value - support[lower]) / (support[lower + 1] - support[lower])
    return lower, jnp.clip(share, 0.0, 1.0)


@partial(jax.jit, static_argnames="choose")
def _laws(model, policy, gamma, support, tolerance, max_sweeps, choose) -> ReturnLaws:
    dtype, gamma = support.dtype, jnp.asarray(gamma, support.dtype)
    states, actions, outcomes = model.next_state.shape
    chance = jnp.asarray(model.probability, dtype)[..., None]
    following = jnp.where(model.terminated[..., None], 0.0, support)
    lower, share = places(support, jnp.asarray(model.reward, dtype)[..., None] + gamma * following)
    row = jnp.arange(states)[:, None, None, None], jnp.arange(actions)[:, None, None]
    gaps = jnp.diff(support) / (support[-1] - support[0])

    def backup(law: jax.Array) -> jax.Array:
        mass = chance * law[model.next_state]
        spread = jnp.zeros((states, actions, len(support)), dtype).at[*row, lower].add((1 - share) * mass)
        return spread.at[*row, lower + 1].add(share * mass)

    def chosen(law: jax.Array, laws: jax.Array) -> jax.Array:
        if choose is None:
            return policy
        mean = legal(model, jnp.einsum("xan,n->xa", laws, support, precision="highest"))
        return jax.nn.one_hot(choose(law, mean), actions, dtype=dtype)

    def sweep(carry):
        law, _, count = carry
        laws = backup(law)
        new = jnp.einsum("xa,xan->xn", chosen(law, laws), laws, precision="highest")
        apart = jnp.cumsum(new - law, axis=-1)[:, :-1]
        return new, jnp.sqrt((apart**2 * gaps).sum(-1)).max(), count + 1

    root = jnp.sqrt(gamma)
    rounding = rounding_of(outcomes * actions + len(support), jnp.ones((), dtype))
    limit = jnp.maximum(tolerance * jnp.where(gamma < 1, (1 - root) / jnp.maximum(root, rounding), 1.0), rounding)
    lower_zero, share_zero = places(support, jnp.zeros((), dtype))
    nothing = jnp.zeros(len(support), dtype).at[lower_zero].add(1 - share_zero).at[lower_zero + 1].add(share_zero)
    start = (jnp.broadcast_to(nothing, (states, len(support))), jnp.asarray(jnp.inf, dtype), jnp.int32(0))
    law, residual, count = jax.lax.while_loop(lambda carry: (carry[1] > limit) & (carry[2] < max_sweeps), sweep, start)
    laws = backup(law)
    policy = chosen(law, laws)
    mean = (law * support).sum(-1)
    values = legal(model, action_values(model, mean, gamma))
    due = values.max(-1) if choose is not None else (policy * jnp.where(policy > 0, values, 0.0)).sum(-1)
    contracts = (gamma < 1) & (choose is None)
    bound = jnp.where(contracts, (root * residual + rounding) / jnp.where(contracts, 1 - root, 1.0), jnp.inf)
    return ReturnLaws(law, laws, policy, count, residual, bound, jnp.abs(due - mean).max(), residual <= limit)
