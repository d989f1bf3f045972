"""How results are compared and what is said of those that differ."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.environment import PyTree


def on_host(tree: PyTree) -> PyTree:
    """Returns NumPy arrays; keys become their numbers."""

    return jax.tree.map(lambda leaf: np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf), tree)


def as_numpy(tree: PyTree) -> PyTree:
    """Returns NumPy arrays, and keys as they are, for further steps."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), tree)


def as_arrays(tree: PyTree) -> PyTree:
    """Returns arrays of jax: what environments are given even where nothing is compiled (``jax.disable_jit``)."""
    return jax.tree.map(jnp.asarray, tree)


def is_key(leaf: Any) -> bool:
    """Returns whether an array holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def chosen(condition: np.ndarray, one: PyTree, other: PyTree) -> PyTree:
    """Returns entries of the leading axis of one tree where a condition holds, bool[n], and of another elsewhere."""

    def choose(one, other):
        return (jnp if is_key(one) else np).where(condition.reshape(-1, *(1,) * (one.ndim - 1)), one, other)

    return jax.tree.map(choose, one, other)


def joined(trees: list[PyTree]) -> PyTree:
    """Joins along the leading axis."""
    return jax.tree.map(lambda *leaves: (jnp if is_key(leaves[0]) else np).concatenate(leaves), *trees)


def take(tree: PyTree, index: Any) -> PyTree:
    """Returns an entry of the leading axis, or several."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _same(one: np.ndarray, other: np.ndarray, rtol: float = 1e-4, atol: float = 1e-5) -> np.ndarray:
    """Returns which entries are equal; real numbers up to the rounding that another order of operations causes.

    ``atol`` is for numbers of the order of 1 and above; where all are smaller, it shrinks with the largest.
    """
    if np.issubdtype(one.dtype, np.floating):
        largest = np.where(np.isfinite(one), np.abs(one), 0).max(initial=0)
        return np.isclose(one, other, rtol=rtol, atol=atol * min(largest, 1), equal_nan=True)
    return one == other


def first_difference(one: PyTree, other: PyTree, rtol: float = 1e-4, atol: float = 1e-5) -> str:
    """Returns the first place where two pytrees differ, with the two values, or "" where they are the same."""
    ours, theirs = (dict(jax.tree_util.tree_leaves_with_path(on_host(tree))) for tree in (one, other))
    for path in [*ours, *(path for path in theirs if path not in ours)]:
        place = jax.tree_util.keystr(path)
        if path not in ours or path not in theirs:
            return f"a value in one of the two at {place}"
        if ours[path].shape != theirs[path].shape:
            return f"shapes {ours[path].shape} and {theirs[path].shape} at {place}"
        same = _same(ours[path], theirs[path], rtol, atol)
        if not same.all():
            first = np.unravel_index(same.argmin(), same.shape)
            return f"{ours[path][first]} and {theirs[path][first]} at {place}"
    return ""


def matches(samples: PyTree, table: PyTree) -> np.ndarray:
    """Returns which of the K entries each of n samples equals, bool[n, K].

    Args:
        samples: PyTree[n, ...].
        table: PyTree[K, ...], or PyTree[n, K, ...] with entries of its own for each sample.
    """

    def match(sample, entries):
        entries = entries if entries.ndim > sample.ndim else entries[None]
        same = _same(sample[:, None], entries)
        return same.reshape(*same.shape[:2], -1).all(-1)

    return np.all(jax.tree.leaves(jax.tree.map(match, samples, table)), axis=0)
