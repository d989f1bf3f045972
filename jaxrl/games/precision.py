"""Solving in float32, and once more in float64 where that was not precise enough, inside compiled code.

float64 takes twice the time and more on most devices, and few problems need it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def refined(solve: Callable, problem: PyTree) -> tuple[PyTree, jax.Array]:
    """Solves a problem, and if its own check finds the answer wanting, solves it again in float64.

    The second time is a loop of at most one turn, not a branch: of problems side by side, a branch would solve all of them
    twice. In a loop they wait only if one of them needs it.

    Args:
        solve: ``(problem) -> (solution, solved)``: computes in the precision of the problem's floats, and says in ``solved``,
            bool[], whether the solution passes its check. It must use no operation that compiles in jax's own precision only
            (``argmin`` and ``argmax``; ``first_smallest`` serves).
        problem: PyTree of arrays. Where its floats are float64, one try is all there is.

    Returns:
        The solution in the precision of the problem, and whether it is solved.
    """
    solution, solved = solve(problem)
    if not any(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(problem)):
        return solution, solved

    def again(carry):
        # The barrier keeps XLA from moving what does not depend on the first try out of the loop, and so from always doing it.
        narrow, _ = jax.lax.optimization_barrier((problem, carry[1]))
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, narrow)
            precise, solved = solve(wide)
        like = jax.tree.map(lambda leaf: leaf.dtype, carry[0])
        return jax.tree.map(jax.lax.convert_element_type, precise, like), solved, jnp.bool_(True)

    start = solution, solved, jnp.bool_(False)
    return jax.lax.while_loop(lambda carry: ~(carry[1] | carry[2]), again, start)[:2]


def first_smallest(values: jax.Array) -> jax.Array:
    """Returns the index of the smallest value, the first among equals, int32[]; it compiles in any precision."""

    def smaller(one, other):
        first = (one[0] < other[0]) | ((one[0] == other[0]) & (one[1] < other[1]))
        return jnp.where(first, one[0], other[0]), jnp.where(first, one[1], other[1])

    none = jnp.asarray(jnp.inf, values.dtype), jnp.int32(len(values))
    return jax.lax.reduce((values, jnp.arange(len(values), dtype=jnp.int32)), none, smaller, (0,))[1]
