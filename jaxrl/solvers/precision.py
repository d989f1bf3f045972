"""Solving in float32, and once more in float64 where that was not precise enough, inside compiled code.

float64 takes twice the time and more on most devices, and few problems need it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

PyTree = Any


# Numbers that differ by less, relative to their size, are equal: payoffs are computed, and rounded, before they come here. It is
# the rounding of float64 in float32 too: numbers of float32 differ by more, and are taken as they are.
ROUNDING = 8 * float(jnp.finfo(jnp.float64).eps)
_LANES = 16  # problems that are solved again at a time


def refined(solve: Callable, problem: PyTree) -> tuple[PyTree, jax.Array]:
    """Solves a problem, and if its own check finds the answer wanting, solves it again in float64.

    Of problems side by side (under ``jax.vmap``), only those that need it are solved again.

    Args:
        solve: ``(problem) -> (solution, solved)``: computes in the precision of the problem's floats, and says in ``solved``,
            bool[], whether the solution passes its check. All arrays that it reads are in the problem. It must use no operation
            that compiles in jax's own precision only (``argmin`` and ``argmax``; ``first_smallest`` serves).
        problem: PyTree of arrays. Where its floats are float64, one try is all there is.

    Returns:
        The solution in the precision of the problem, and whether it is solved.
    """
    if not any(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(problem)):
        return solve(problem)

    # vmap turns a branch into both of its sides and a loop into the longest of all. So the rule for vmap is written here: it
    # gathers the problems that are left and solves these.
    @custom_vmap
    def one(problem):
        solution, solved = solve(problem)
        return jax.lax.cond(solved, lambda: (solution, solved), lambda: _in_float64(solve, problem, solution))

    @one.def_vmap
    def _(count, batched, problem):
        return _and_batched(many(_all_batched(count, batched[0], problem)))

    @custom_vmap
    def many(problems):
        return _refined_together(solve, problems)

    @many.def_vmap
    def _(count, batched, problems):
        problems = _all_batched(count, batched[0], problems)
        found = many(jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), problems))
        inner = jax.tree.leaves(problems)[0].shape[1]
        return _and_batched(jax.tree.map(lambda leaf: leaf.reshape(count, inner, *leaf.shape[1:]), found))

    return one(problem)


def _all_batched(count: int, batched: PyTree, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, own: leaf if own else jnp.broadcast_to(leaf, (count, *leaf.shape)), tree, batched)


def _and_batched(tree: PyTree) -> tuple[PyTree, PyTree]:
    return tree, jax.tree.map(lambda _: True, tree)


def _in_float64(solve: Callable, problem: PyTree, like: PyTree) -> tuple[PyTree, jax.Array]:
    """Solves in float64; returns the solution in the dtypes of ``like``, and whether it is solved."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, problem)
        solution, solved = solve(wide)
    return jax.tree.map(lambda leaf, old: jax.lax.convert_element_type(leaf, old.dtype), solution, like), solved


def _refined_together(solve: Callable, problems: PyTree) -> tuple[PyTree, jax.Array]:
    """Solves n problems, PyTree[n, ...], and those whose answers do not pass again, some at a time."""
    solutions, solved = jax.vmap(solve)(problems)
    count = len(solved)

    def again(carry):
        solutions, solved, left = carry
        lanes = jnp.nonzero(left, size=min(count, _LANES), fill_value=count)[0]
        # Where fewer are left, the first of them is solved several times, rather than one that needs no second try.
        some = jnp.where(lanes < count, lanes, lanes[0])
        problem, first = jax.tree.map(lambda leaf: leaf[some], (problems, solutions))
        precise, passed = _in_float64(jax.vmap(solve), problem, first)

        def put(leaf, new):
            return leaf.at[lanes].set(new, mode="drop")

        return jax.tree.map(put, solutions, precise), put(solved, passed), put(left, jnp.zeros_like(passed))

    return jax.lax.while_loop(lambda carry: carry[2].any(), again, (solutions, solved, ~solved))[:2]


def first_smallest(values: jax.Array) -> jax.Array:
    """Returns the index of the smallest value, the first among equals, int32[]; it compiles in any precision."""

    def smaller(one, other):
        first = (one[0] < other[0]) | ((one[0] == other[0]) & (one[1] < other[1]))
        return jnp.where(first, one[0], other[0]), jnp.where(first, one[1], other[1])

    none = jnp.asarray(jnp.inf, values.dtype), jnp.int32(len(values))
    return jax.lax.reduce((values, jnp.arange(len(values), dtype=jnp.int32)), none, smaller, (0,))[1]
