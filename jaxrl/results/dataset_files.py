"""Data sets on disk: one Parquet file, a row for each step, which any tool for tables reads.

Columns: ``episode`` (int64), ``t`` (int32), ``reward`` (float32), ``terminated``, ``truncated`` (bool), ``log_prob`` (float32, if
known), and for each part of ``obs``, ``action``, ``next_obs``, ``mask`` and ``next_mask`` one: a number, or a list of the entries
of an array. Parts of nested spaces are named by their path, as in ``obs/position``.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxrl.blocks.dataset_layouts import from_steps
from jaxrl.blocks.datasets import Dataset
from jaxrl.core import masks, spaces
from jaxrl.core.environment import PyTree
from jaxrl.core.spaces import Space
from jaxrl.errors import DataError, require
from jaxrl.results import storage

if TYPE_CHECKING:
    import pyarrow as pa

NUMBERS = ("reward", "terminated", "truncated", "log_prob")
VALUES = ("obs", "action", "next_obs", "mask", "next_mask")


def write(path: str | Path, data: Dataset) -> None:
    """Writes a data set into a Parquet file, which appears whole or not at all and replaces an older one.

    Args:
        path: of the file.
        data: on this machine; not traced.

    Raises:
        DataError: the data are unsound; see ``Dataset.validate``.
        ResultsError: the file cannot be written.
    """
    import pyarrow as pa

    data.validate("dataset_files.write")
    valid = np.asarray(data.valid)
    episode, t = np.nonzero(valid)
    columns: dict[str, Any] = {"episode": pa.array(episode.astype(np.int64)), "t": pa.array(t.astype(np.int32))}
    for name in (*NUMBERS, *VALUES):
        for column, leaf in _named(name, getattr(data, name)):
            columns[column] = _to_arrow(np.asarray(leaf)[valid])
    table = pa.table(columns)
    storage.write_table(Path(path), table.schema, [table])


def read(path: str | Path, observation_space: Space, action_space: Space) -> Dataset:
    """Reads a data set that ``write`` has written.

    Args:
        path: of the file.
        observation_space, action_space: of the environment that the data are of.

    Raises:
        ResultsError: there is no such file, or it is damaged.
        DataError: its columns are not those of these spaces, its rows are in another order, or a value is unsound.
    """
    where, table = f"dataset_files.read, {path}", storage.read_table(Path(path))
    observation, action = spaces.example(observation_space), spaces.example(action_space)
    mask = masks.structure(action_space)
    forms = dict.fromkeys(NUMBERS, np.zeros(())) | dict(zip(VALUES, (observation, action, observation, mask, mask), strict=True))
    optional = ("log_prob", "mask", "next_mask")
    columns = {name: _column(where, name, form, table, name in optional) for name, form in forms.items()}
    _require_column(where, "episode", table)
    episode = table["episode"].to_numpy()
    must, fix = "the rows of an episode must follow one another", "Sort the file by episode and t."
    require(bool(np.all(np.diff(episode) >= 0)), where, must, "others between them", fix, DataError)
    lengths = np.unique(episode, return_counts=True)[1]
    _require_column(where, "t", table)
    t = table["t"].to_numpy()
    wrong = np.flatnonzero(t != np.concatenate([np.arange(length) for length in lengths] or [t]))
    must = "the steps of an episode must stand in the order of t, 0 and up without a gap"
    require(not len(wrong), where, must, f"t={t[wrong[0]]} in row {wrong[0]}" if len(wrong) else "", fix, DataError)
    return from_steps(where, columns, lengths, observation_space, action_space)


def _named(name: str, tree: PyTree) -> list[tuple[str, Any]]:
    """Returns the leaves of a tree with the names of their columns."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [("/".join([name, *(str(getattr(key, _KEY[type(key)])) for key in path)]), leaf) for path, leaf in found]


_KEY = {jax.tree_util.DictKey: "key", jax.tree_util.SequenceKey: "idx"}


def _to_arrow(values: np.ndarray) -> "pa.Array":
    """Returns values [M, ...] as a column of numbers, or of lists of one length."""
    import pyarrow as pa

    flat = pa.array(values.reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, math.prod(values.shape[1:]))


def _column(where: str, name: str, form: Any, table: "pa.Table", optional: bool) -> PyTree:
    """Returns the arrays of a field; None, as a whole or for a part, where an optional one has no column."""
    import pyarrow as pa

    leaves = []
    for column, part in _named(name, form):
        if optional and column not in table.column_names:
            leaves.append(None)
            continue
        _require_column(where, column, table)
        chunk = table[column].combine_chunks()
        chunk = chunk.flatten() if pa.types.is_fixed_size_list(chunk.type) else chunk
        values = chunk.to_numpy(zero_copy_only=False)
        must, shape = f"column {column} must hold values of shape {list(part.shape)}", (table.num_rows, *part.shape)
        found = f"{values.size} numbers in {table.num_rows} rows"
        require(values.size == math.prod(shape), where, must, found, _SPACES, DataError)
        leaves.append(values.reshape(shape))
    if all(leaf is None for leaf in leaves):
        return None
    return jax.tree.unflatten(jax.tree.structure(form), leaves)


_SPACES = "Give the spaces of the environment that the data are of."


def _require_column(where: str, name: str, table: "pa.Table") -> None:
    require(name in table.column_names, where, f"there must be a column {name}", table.column_names, _SPACES, DataError)
