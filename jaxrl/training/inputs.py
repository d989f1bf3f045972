"""The inputs of the seeds of a run: a task, or evaluators, with arrays that all share and arrays of which each has its own.

Where a few entries serve many seeds, ``EntryOf`` says which serves which: the entries lie in memory once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

from jaxrl.core.environment import static
from jaxrl.errors import require

PyTree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class EntryOf:
    """In place of an axis: an array has a leading axis of entries, of which each seed takes one.

    index: int[S], the number of the entry of each seed.
    """

    index: np.ndarray


SHARED, OWN, ENTRY = "shared", "own", "entry"


class Form(NamedTuple):
    """The structure of one seed's tree, and the kind of each of its arrays.

    SHARED: all seeds have the same. OWN: each has its own. ENTRY: each has one of the entries of what all share, by its number.
    """

    tree: Any
    kinds: tuple[str, ...]

    def of_seed(self, shared: tuple, own: tuple) -> PyTree:
        """Puts one seed's tree together."""
        rest, mine = iter(shared), iter(own)
        leaves = []
        for kind in self.kinds:
            if kind == ENTRY:
                entries, index = next(rest), next(mine)
                leaves.append(entries[index])
            else:
                leaves.append(next(mine if kind == OWN else rest))
        return self.tree.unflatten(leaves)


@struct.dataclass
class Inputs:
    """A tree for S seeds.

    shared: arrays that all seeds share, or of whose entries each takes one. own: arrays [S, ...] with an entry for each seed: its
    own, or the number, int32[S], of the shared one that it takes. Both in the order of the tree.
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
            axes: None where seeds share an array, 0 where its leading axis is that of the seeds, and an ``EntryOf`` where each
                takes one of its entries; a prefix of the tree, as ``in_axes`` of ``jax.vmap``.
            count: S.

        Raises:
            ConfigError: ``axes`` is no such prefix, an array has no entry for each seed, or a seed takes one that is not there.
        """
        if isinstance(tree, Inputs):
            return tree
        structure = jax.tree.structure(tree)
        shared, own, kinds = [], [], []
        for (path, leaf), axis in zip(jax.tree_util.tree_leaves_with_path(tree), _axis_of_each(name, axes, tree), strict=True):
            where = f"run: {name}{jax.tree_util.keystr(path)}"
            if isinstance(axis, EntryOf):
                _require_entries(where, leaf, axis, count)
                own.append(np.asarray(axis.index, np.int32))
            elif axis is not None:
                must = f"an array of which each seed has its own must have an entry for each of them ({count})"
                fix = f"Stack {count} of them along a new first axis, or set its entry in {name}_axes to None."
                require(np.ndim(leaf) >= 1 and np.shape(leaf)[0] == count, where, must, np.shape(leaf), fix)
                own.append(leaf)
            if axis is None or isinstance(axis, EntryOf):
                shared.append(leaf)
            kinds.append(SHARED if axis is None else ENTRY if isinstance(axis, EntryOf) else OWN)
        return cls(tuple(shared), tuple(own), Form(structure, tuple(kinds)))

    @property
    def leaves(self) -> list[Any]:
        """The arrays of the tree that was given, in its order: those that seeds have their own of with their leading axis."""
        rest, mine = iter(self.shared), iter(self.own)
        found = []
        for kind in self.form.kinds:
            found.append(next(mine if kind == OWN else rest))
            if kind == ENTRY:
                next(mine)
        return found

    def at(self, rows: np.ndarray) -> "Inputs":
        """Returns those of the seeds in these places."""
        return dataclasses.replace(self, own=tuple(leaf[rows] for leaf in self.own))

    def seed(self, row: int = 0) -> PyTree:
        """Returns the tree of one seed."""
        return self.form.of_seed(self.shared, tuple(leaf[row] for leaf in self.own))

    def mapped(self, shared: Callable, own: Callable) -> "Inputs":
        """Returns the inputs with one function applied to the shared arrays, all at once, and another to the others."""
        return dataclasses.replace(self, shared=shared(self.shared), own=own(self.own))


def _require_entries(where: str, leaf: Any, axis: EntryOf, count: int) -> None:
    entries = np.shape(leaf)[0] if np.ndim(leaf) else 0
    must, fix = (
        f"EntryOf must give the number of one of {entries} entries for each of {count} seeds",
        "Give one number for each seed.",
    )
    index = np.asarray(axis.index)
    fits = index.shape == (count,) and index.dtype.kind in "iu" and bool(np.all((index >= 0) & (index < entries)))
    require(fits, where, must, index, fix)


def _axis_of_each(name: str, axes: Any, tree: PyTree) -> list[Any]:
    """Returns for each leaf of the tree its axis: None, 0 or an EntryOf."""
    where, fix = f"run: {name}_axes", "Use None for what all seeds share, 0 for what each has its own of."
    given = jax.tree.leaves(axes, is_leaf=_is_none)
    known = all(axis is None or isinstance(axis, EntryOf) or (type(axis) is int and axis == 0) for axis in given)
    require(known, where, "axes must be None or 0", axes, fix)
    if axes is None:
        return [None] * len(jax.tree.leaves(tree))
    prefix = jax.tree.structure(axes, is_leaf=_is_none)
    try:
        parts = prefix.flatten_up_to(tree)  # nothing is built: the tree may check whatever stands in its fields
    except ValueError:
        parts = None
    require(parts is not None, where, f"axes must be a prefix of the {name}", axes, fix)
    assert parts is not None
    return [axis for axis, part in zip(given, parts, strict=True) for _ in jax.tree.leaves(part)]


def _is_none(leaf: Any) -> bool:
    return leaf is None
