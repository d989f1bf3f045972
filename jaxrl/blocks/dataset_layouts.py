"""Data sets from arrays in the layouts of others: D4RL's (one long array), Minari's (an array for each episode), or one's own.

Nothing is read from files here, and no library of theirs is needed: ``h5py.File(path)`` and ``minari.load_dataset(name)`` give
the arrays. Every reader checks the whole and raises a DataError that names the first unsound step.

    from_d4rl(dict(observations=..., actions=..., rewards=..., terminals=..., timeouts=...), env.observation_space, ...)
    from_minari([vars(episode) for episode in dataset], env.observation_space, env.action_space)

Source: Fu et al. (2020), "D4RL: Datasets for Deep Data-Driven Reinforcement Learning"; Younis et al. (2024), Minari.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.blocks.datasets import Dataset
from jaxrl.core import masks, spaces
from jaxrl.core.environment import PyTree
from jaxrl.core.spaces import Space
from jaxrl.errors import DataError, require, require_real

MINARI = ("observations", "actions", "rewards", "terminations", "truncations")
D4RL = ("observations", "actions", "rewards", "terminals")


def from_steps(where: str, columns: Mapping[str, PyTree], lengths: Any, observation_space: Space, action_space: Space) -> Dataset:
    """Returns the data set of steps that stand one below the other, episode after episode.

    Args:
        where: who asks.
        columns: the fields of ``Dataset`` but ``valid``, each PyTree[M, ...]; mask, next_mask and log_prob may be missing.
        lengths: int[N], the steps of each episode, each at least 1, of which M is the sum.
        observation_space, action_space: of a step.

    Raises:
        DataError: the columns do not fit together, or a value is unsound; see ``Dataset.validate``.
    """
    lengths = np.asarray(lengths, np.int64)
    must, fix = "there must be an episode, and a step in each", "Leave empty episodes out."
    require(lengths.ndim == 1 and lengths.size > 0 and lengths.min() >= 1, where, must, lengths.tolist()[:5], fix, DataError)
    valid = np.arange(lengths.max()) < lengths[:, None]
    flag, number = jax.ShapeDtypeStruct((), jnp.bool_), jax.ShapeDtypeStruct((), jnp.float32)
    mask = masks.structure(action_space)
    forms: dict[str, Any] = {
        "obs": spaces.example(observation_space),
        "action": spaces.example(action_space),
        "reward": number,
        "next_obs": spaces.example(observation_space),
        "terminated": flag,
        "truncated": flag,
        "mask": mask,
        "next_mask": mask,
        "log_prob": number,
    }
    fields = {}
    for name, form in forms.items():
        column = columns.get(name)
        fields[name] = None if column is None else _padded(where, name, column, form, valid)
    data = Dataset(**fields, valid=jnp.asarray(valid), observation_space=observation_space, action_space=action_space)
    data.validate(where)
    return data


def _padded(where: str, name: str, column: PyTree, form: Any, valid: np.ndarray) -> PyTree:
    """Returns a column PyTree[M, ...] as PyTree[N, T, ...], with zeros behind the episodes, True in masks."""
    if "mask" in name:  # a part in which everything is legal has None in its place
        form = jax.tree.map(lambda leaf, part: None if leaf is None else part, column, form, is_leaf=lambda node: node is None)
    must, fix = f"{name} must have the structure of its space", "Give one array for each part."
    same = jax.tree.structure(column) == jax.tree.structure(form)
    require(same, where, must, str(jax.tree.structure(column)), fix, DataError)

    def one(leaf: Any, part: Any) -> jax.Array:
        values = _cast(where, name, leaf, part.dtype)
        shape = (int(valid.sum()), *part.shape)
        must, fix = f"{name} must have shape {list(shape)}", "Give every step one value, in the shape of the space."
        require(values.shape == shape, where, must, list(values.shape), fix, DataError)
        filled = np.full((*valid.shape, *part.shape), "mask" in name, values.dtype)
        filled[valid] = values
        return jnp.asarray(filled)

    return jax.tree.map(one, column, form)


def _cast(where: str, name: str, values: Any, dtype: Any) -> np.ndarray:
    """Returns an array in a dtype; raises DataError if it holds something else: fractions for integers, numbers for flags."""
    array, kind = require_real(where, name, values, error=DataError), np.dtype(dtype)
    if kind.kind in "iu":
        whole = array.dtype.kind in "iu"
        require(whole, where, f"{name} must hold integers", array.dtype.name, f"Write .astype(np.{kind.name}).", DataError)
        limits = np.iinfo(kind)
        fits = array.size == 0 or (array.min() >= limits.min and array.max() <= limits.max)
        must = f"{name} must fit into {kind.name}"
        require(bool(fits), where, must, (array.min(initial=0), array.max(initial=0)), "Number them from 0.", DataError)
    elif kind.kind == "b" and array.dtype != bool:
        flags = bool(np.isin(array, (0, 1)).all())
        require(flags, where, f"{name} must hold True and False", array.dtype.name, "Write .astype(bool).", DataError)
    with np.errstate(over="ignore"):  # an infinity is found where values are validated
        return array.astype(kind)


def from_minari(episodes: Iterable[Mapping[str, Any]], observation_space: Space, action_space: Space) -> Dataset:
    """Returns the data set of episodes in the layout of Minari.

    Args:
        episodes: each a mapping with ``observations`` PyTree[L + 1, ...], the last one that of the end; ``actions`` PyTree[L,
            ...]; ``rewards`` float[L]; ``terminations`` and ``truncations`` bool[L]; and optionally ``masks`` bool[L + 1, A], the
            legal actions in each observation, and ``log_probs`` float[L]. ``vars(episode)`` is one.
        observation_space, action_space: of the environment. float64 numbers become float32 where the space says so.

    Returns:
        The data. A step with both flags has terminated; an episode whose last step has none was cut there.

    Raises:
        DataError: an episode lacks an array, its arrays differ in length, or a value is unsound.
    """
    where, columns, lengths = "from_minari", [], []
    one_by_one = isinstance(episodes, Iterable) and not isinstance(episodes, (Mapping, str))
    fix = "Write [vars(episode) for episode in dataset]."
    require(one_by_one, where, "episodes must come one by one, in a list say", type(episodes).__name__, fix, DataError)
    for number, episode in enumerate(episodes):
        columns.append(_episode(f"{where}, episode {number}", episode))
        lengths.append(len(columns[-1]["reward"]))
    require(len(lengths) > 0, where, "there must be an episode", 0, "Give at least one.", DataError)
    for name in ("mask", "log_prob"):
        have = [number for number, column in enumerate(columns) if column[name] is not None]
        must, found = f"all episodes must have {name}s, or none", f"{len(have)} of {len(columns)}"
        require(len(have) in (0, len(columns)), where, must, found, "Leave it out of all.", DataError)
    return from_steps(where, _joined(where, columns), lengths, observation_space, action_space)


def _joined(where: str, columns: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the columns of all episodes, one below the other."""
    try:
        return {
            name: jax.tree.map(lambda *leaves: np.concatenate(leaves), *(column[name] for column in columns))
            for name in columns[0]
        }
    except ValueError as error:
        must, fix = "all episodes must have arrays of one structure and shape", "Correct the episode that differs."
        raise DataError(f"{where}: {must}, got {str(error).partition(chr(10))[0]!r}. {fix}") from error


def _episode(where: str, episode: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an episode in Minari's layout as columns [L, ...]."""
    _require_names(where, episode, MINARI)
    columns = {name: _arrays(where, name, episode[name]) for name in MINARI}
    optional = {name: _arrays(where, name, episode.get(name)) for name in ("masks", "log_probs")}
    steps = len(columns["rewards"]) if np.ndim(columns["rewards"]) else 0
    require(steps >= 1, where, "there must be a step", steps, "Leave empty episodes out.", DataError)
    for name, value in (columns | optional).items():
        length = steps + (name in ("observations", "masks"))
        found = [np.shape(leaf)[:1] for leaf in jax.tree.leaves(value)]
        must, fix = f"{name} must have {length} entries, as there are {steps} rewards", "One more observation than actions."
        require(all(entry == (length,) for entry in found), where, must, found, fix, DataError)
    terminated = _cast(where, "terminations", columns["terminations"], np.bool_)
    truncated = _cast(where, "truncations", columns["truncations"], np.bool_) & ~terminated
    truncated[-1] |= ~terminated[-1]
    before, after = (jax.tree.map(lambda leaf, cut=cut: leaf[cut], columns["observations"]) for cut in (np.s_[:-1], np.s_[1:]))
    mask, next_mask = (jax.tree.map(lambda leaf, cut=cut: leaf[cut], optional["masks"]) for cut in (np.s_[:-1], np.s_[1:]))
    return {
        "obs": before,
        "action": columns["actions"],
        "reward": columns["rewards"],
        "next_obs": after,
        "terminated": terminated,
        "truncated": truncated,
        "mask": mask,
        "next_mask": next_mask,
        "log_prob": optional["log_probs"],
    }


def _arrays(where: str, name: str, values: Any) -> PyTree:
    """Returns the arrays of nested values. A list holds the entries of an array: parts of a space stand in tuples and dicts."""

    def one(leaf: Any) -> np.ndarray:
        return require_real(where, name, leaf, error=DataError)

    return jax.tree.map(one, values, is_leaf=lambda node: isinstance(node, list))


def _require_names(where: str, given: Any, names: Iterable[str]) -> None:
    must, fix = "the arrays must come in a mapping, name -> array", "Write vars(episode), or a dict."
    require(isinstance(given, Mapping), where, must, type(given).__name__, fix, DataError)
    missing = [name for name in names if given.get(name) is None]
    require(not missing, where, f"the arrays {list(names)} must be there", f"no {missing}", "Add them.", DataError)


def from_d4rl(arrays: Mapping[str, Any], observation_space: Space, action_space: Space) -> Dataset:
    """Returns the data set of arrays in the layout of D4RL.

    Without ``next_observations`` the successor of a step is the next row. The last step of an episode that was cut by
    ``timeouts`` or by the end of the arrays has none there: it is left out, and the episode is cut one step before. After a
    terminal no successor is looked at: the observation itself stands for it.

    Args:
        arrays: ``observations`` [M, ...], ``actions`` [M, ...], ``rewards`` [M], ``terminals`` [M], and optionally ``timeouts``
            [M], ``next_observations`` [M, ...] and ``log_probs`` [M].
        observation_space, action_space: of the environment. float64 numbers become float32 where the space says so.

    Raises:
        DataError: an array is missing or of another length, a value is unsound, or no step is left.
    """
    where = "from_d4rl"
    _require_names(where, arrays, D4RL)
    obs, actions, rewards = (np.asarray(arrays[name]) for name in D4RL[:3])
    terminated = _cast(where, "terminals", arrays["terminals"], np.bool_)
    timeouts = arrays.get("timeouts")
    cut = np.zeros_like(terminated) if timeouts is None else _cast(where, "timeouts", timeouts, np.bool_)
    after, log_probs = (_optional(arrays, name) for name in ("next_observations", "log_probs"))
    count = len(terminated) if terminated.ndim else 0
    given = {"observations": obs, "actions": actions, "rewards": rewards, "timeouts": cut}
    for name, array in (given | {"next_observations": after, "log_probs": log_probs}).items():
        found = (count,) if array is None else array.shape
        must = f"{name} must have {count} rows, as terminals has"
        require(found[:1] == (count,), where, must, found, "Cut them alike.", DataError)
    require(count > 0, where, "there must be a step", 0, "Give at least one.", DataError)
    last = terminated | cut
    last[-1] = True
    episode = np.cumsum(last) - last  # the number of each step's episode
    truncated = last & ~terminated
    if after is None:
        keep = ~truncated
        after = np.where(terminated.reshape(-1, *(1,) * (obs.ndim - 1)), obs, np.roll(obs, -1, axis=0))
        truncated = np.roll(truncated, -1) & ~last  # the step before the one that is left out
    else:
        keep = np.ones(count, bool)
    columns = {
        "obs": obs,
        "action": actions,
        "reward": rewards,
        "next_obs": after,
        "terminated": terminated,
        "truncated": truncated,
        "log_prob": log_probs,
    }
    columns = {name: None if column is None else column[keep] for name, column in columns.items()}
    lengths = np.unique(episode[keep], return_counts=True)[1]
    require(lengths.size > 0, where, "a step must have a successor", "cuts alone", "Give next_observations.", DataError)
    return from_steps(where, columns, lengths, observation_space, action_space)


def _optional(arrays: Mapping[str, Any], name: str) -> np.ndarray | None:
    return None if arrays.get(name) is None else np.asarray(arrays[name])
