"""The inputs of the seeds of a run: a task, or evaluators, with arrays that all share and arrays of which each has its own."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

from jaxrl.core.environment import static
from jaxrl.errors import require

PyTree = Any


class Form(NamedTuple):
    """The structure of one seed's tree, and for each of its arrays whether seeds have their own."""

    tree: Any
    own: tuple[bool, ...]

    def of_seed(self, shared: tuple, own: tuple) -> PyTree:
        """Puts one seed's tree together."""
        rest, mine = iter(shared), iter(own)
        return self.tree.unflatten([next(mine) if is_own else next(rest) for is_own in self.own])


@struct.dataclass
class Inputs:
    """A tree for S seeds.

    shared: arrays that all seeds share. own: arrays [S, ...] with an entry for each seed. Both in the order of the tree.
    """

    shared: tuple
    own: tuple
    form: Form = static()

    @classmethod
    def of(cls, name: str, tree: PyTree, axes: Any = None, count: int = 1) -> "Inputs":
        """Tells the arrays of a tree apart.

        Args:
            name: of the tree, for messages.
            tree: PyTree; Inputs are returned as they are.
            axes: None where seeds share an array and 0 where its leading axis is that of the seeds; a prefix of the tree, as
                ``in_axes`` of ``jax.vmap``.
            count: S.

        Raises:
            ConfigError: ``axes`` is no such prefix, or an array has no entry for each seed.
        """
        if isinstance(tree, Inputs):
            return tree
        leaves, structure = jax.tree.flatten(tree)
        flags = tuple(_has_seed_axis(name, axes, tree))
        for (path, leaf), own in zip(jax.tree_util.tree_leaves_with_path(tree), flags, strict=True):
            must = f"an array of which each seed has its own must have an entry for each of them ({count})"
            fix = f"Stack {count} of them along a new first axis, or set its entry in {name}_axes to None."
            fits = not own or (np.ndim(leaf) >= 1 and np.shape(leaf)[0] == count)
            require(fits, f"run: {name}{jax.tree_util.keystr(path)}", must, np.shape(leaf), fix)
        shared = tuple(leaf for leaf, own in zip(leaves, flags, strict=True) if not own)
        mine = tuple(leaf for leaf, own in zip(leaves, flags, strict=True) if own)
        return cls(shared, mine, Form(structure, flags))

    def at(self, rows: np.ndarray) -> "Inputs":
        """Returns those of the seeds in these places."""
        return dataclasses.replace(self, own=tuple(leaf[rows] for leaf in self.own))

    def seed(self, row: int = 0) -> PyTree:
        """Returns the tree of one seed."""
        return self.form.of_seed(self.shared, tuple(leaf[row] for leaf in self.own))

    def mapped(self, shared: Callable, own: Callable) -> "Inputs":
        """Returns the inputs with one function applied to the shared arrays, all at once, and another to the others."""
        return dataclasses.replace(self, shared=shared(self.shared), own=own(self.own))


def _has_seed_axis(name: str, axes: Any, tree: PyTree) -> list[bool]:
    """Returns for each leaf of the tree whether it has a seed axis."""
    where, fix = f"run: {name}_axes", "Use None for what all seeds share, 0 for what each has its own of."
    given = jax.tree.leaves(axes, is_leaf=_is_none)
    require(all(axis is None or (type(axis) is int and axis == 0) for axis in given), where, "axes must be None or 0", axes, fix)
    if axes is None:
        return [False] * len(jax.tree.leaves(tree))
    prefix = jax.tree.structure(axes, is_leaf=_is_none)
    try:
        parts = prefix.flatten_up_to(tree)  # nothing is built: the tree may check whatever stands in its fields
    except ValueError:
        parts = None
    require(parts is not None, where, f"axes must be a prefix of the {name}", axes, fix)
    assert parts is not None
    return [axis is not None for axis, part in zip(given, parts, strict=True) for _ in jax.tree.leaves(part)]


def _is_none(leaf: Any) -> bool:
    return leaf is None
