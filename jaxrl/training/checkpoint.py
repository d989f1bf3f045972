"""Checkpoints: the whole carry of a batch of seeds on disk, so that a run that was killed goes on as if it had not been.

    <folder>/<batch of seeds>/<next update>/
        carry.npz          the arrays, numbered in the order of ``structure``; numpy.load reads it
        checkpoint.json    the seeds, what they compute and its digest, the structure of the carry, size and hash of every file
    <folder>/answers/before-<next update>/<batch of seeds>.npz     what was answered between two chunks; see ``runner.Between``

NumPy's format, not orbax: processes that share a run save their own seeds, each when it likes, and orbax makes processes wait
for each other and lets only the first write arrays of the host. It is also 4 (20 MB) to 37 times (60 kB) as fast to write.

A checkpoint appears whole or not at all. Before one is used it is held against its hashes: one that was cut short or changed
is refused, and the one before it is used. One that belongs to another run is an error.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import CheckpointError, ResultsError, require
from jaxrl.results import storage
from jaxrl.results.provenance import differences, digest, is_recorded, source_file, to_json

PyTree = Any
MANIFEST = "checkpoint.json"
ARRAYS = "carry.npz"
IDENTITY = "identity"  # the entry that says whose a file is
ANSWER = "answer."  # begins the names of what was answered between two chunks
DIFFERENCES_NAMED = 3  # between the run that a checkpoint is of and the one that is to go on with it
FORM = {
    "seeds": [storage.count],
    "next_update": storage.count,
    "room": storage.count,
    "run": str,
    f"{IDENTITY}?": dict,
    "sources?": storage.Every(str),
    "structure": [str],
    "keys": storage.Every(str),
    "computed_by": dict,
    "files": storage.Every(list),
}
LARGEST_SHARE = 0.02  # of the time of a run that saving may take


class CheckpointWarning(UserWarning):
    """A checkpoint was refused and an older one is used, or what computed it differs from what goes on with it."""


class Saved(NamedTuple):
    """A checkpoint that has been found sound.

    seeds: int64[B], the seed numbers of the batch.
    next_update: number of the update that comes next.
    room: for how many seeds the program that computed it was made.
    path: its folder.
    """

    seeds: np.ndarray
    next_update: int
    room: int
    path: Path


class Checkpoints:
    """The checkpoints of one run.

    Saving is skipped while less than ``seconds_between`` have passed since the last time, or where it would take more than a
    fiftieth of the time.
    """

    def __init__(self, path: str | os.PathLike, seconds_between: float = 60.0, keep: int | None = None):
        """
        Args:
            path: folder of these checkpoints alone; made when the first one is saved.
            seconds_between: the least time between two checkpoints, in seconds; 0 saves after every chunk.
            keep: how many of the newest are kept of each batch of seeds, at least 1, also after its end. By default two, in case
                one is damaged, and of a finished batch the last.

        Raises:
            ConfigError: a value is out of range.
        """
        fix = "Set it to 0 or more."
        require(seconds_between >= 0, "Checkpoints", "seconds_between must not be negative", seconds_between, fix)
        require(keep is None or keep >= 1, "Checkpoints", "keep must be at least 1", keep, "Keep one or more.")
        self.path = Path(path)
        self._seconds_between = seconds_between
        self._keep, self._keep_finished = (2, 1) if keep is None else (keep, keep)
        self._identity, self._what, self._sources = "", {}, {}
        self._last_time = time.monotonic()
        self._cost = 0.0

    def begin(self, sources: Mapping[str, str] | None = None, **identity: Any) -> list[Saved]:
        """Says which run this is, and returns the newest sound checkpoint of every batch of seeds.

        Args:
            sources: of the functions that it calls; see ``jaxrl.results.provenance.sources``. One whose versions are not recorded
                must be what it was, of another a change is said.
            identity: what the results depend on; see ``jaxrl.results.provenance.to_json`` for what it may hold.

        Raises:
            CheckpointError: a checkpoint belongs to another run, or was computed by another source, or a batch has checkpoints
                and none is sound.
        """
        self._what, self._sources = to_json(identity, "identity"), dict(sources or {})
        own = {name: found for name, found in self._sources.items() if not is_recorded(name)}
        self._identity = digest({**self._what, "sources": own} if own else self._what)
        self._last_time = time.monotonic()
        for left in self.path.glob("*/*.partial*"):  # by a kill; of several processes none saves yet
            shutil.rmtree(left, ignore_errors=True)
        return [self._newest(batch) for batch in self._batches()]

    def look(self) -> list[Saved]:
        """Returns the newest sound checkpoint of every batch of seeds, by any process: to read it, not to go on from it.

        Raises:
            CheckpointError: a batch has checkpoints and none is sound.
        """
        return [self._newest(batch, any_run=True) for batch in self._batches()]

    def earlier(self, saved: Saved, updates: int) -> Saved | None:
        """Returns the newest sound checkpoint of a batch that has made at most so many updates, None if none is kept."""
        for path in reversed(_checkpoints(saved.path.parent)):
            if int(path.name) <= updates:
                with contextlib.suppress(CheckpointError):
                    return _saved(path, _sound_manifest(path))
        return None

    def kept(self, seed: int) -> list[Saved]:
        """Returns all sound checkpoints that hold a seed, by any process: to read them, oldest first."""
        found = []
        for path in (path for batch in self._batches() for path in _checkpoints(batch)):
            with contextlib.suppress(CheckpointError):
                found.append(_saved(path, _sound_manifest(path)))
        return sorted((saved for saved in found if seed in saved.seeds), key=lambda saved: saved.next_update)

    def is_due(self) -> bool:
        """Returns whether it is time to save."""
        waited = time.monotonic() - self._last_time
        return waited >= max(self._seconds_between, self._cost / LARGEST_SHARE if self._seconds_between else 0.0)

    def save(self, seeds: Sequence[int] | np.ndarray, next_update: int, carry: PyTree, room: int, finished: bool = False) -> None:
        """Writes a checkpoint and removes those that are no longer kept.

        Args:
            seeds: int[B], the seed numbers.
            next_update: number of the update that comes next.
            carry: PyTree[B or more, ...]; entries after the first B are left out.
            room: for how many seeds the program is made.
            finished: whether no update comes next.

        Raises:
            ResultsError: it cannot be written (a full disk, say); older ones are still there.
        """
        begun = time.monotonic()
        batch = self.path / _batch_name(seeds)
        target = batch / f"{next_update:010}"
        partial = batch / f"{target.name}.partial"
        with storage.writing(target):
            _remove(partial)
            partial.mkdir(parents=True)
            _write_arrays(partial / ARRAYS, _on_host(carry, len(seeds)))
            manifest = {
                "seeds": [int(seed) for seed in seeds],
                "next_update": int(next_update),
                "room": int(room),
                "run": self._identity,
                IDENTITY: self._what,
                "sources": self._sources,
                "structure": _structure(carry),
                "keys": {_name(i): str(jax.random.key_impl(x)) for i, x in enumerate(jax.tree.leaves(carry)) if _is_key(x)},
                "computed_by": _computed_by(),
                "files": _fingerprints(partial),
            }
            (partial / MANIFEST).write_text(json.dumps(manifest))
            _replace(target, partial)
            for old in self._superseded(batch, next_update, finished):
                _remove(old)
        self._last_time = time.monotonic()
        self._cost = self._last_time - begun

    def _superseded(self, batch: Path, next_update: int, finished: bool) -> list[Path]:
        """Returns the checkpoints that are no longer kept. If updates are made again, those ahead stay until they are reached."""
        made = [path for path in _checkpoints(batch) if int(path.name) <= next_update]
        return made[: -(self._keep_finished if finished else self._keep)]

    def restore(self, saved: Saved, like: PyTree) -> PyTree:
        """Reads the carry of a checkpoint.

        Args:
            saved: one that ``begin`` returned.
            like: the shapes of one seed's carry.

        Returns:
            PyTree[B, ...] of NumPy arrays (random keys stay jax arrays).

        Raises:
            CheckpointError: the carry has another structure.
        """
        manifest = storage.read_json(saved.path / MANIFEST, dict)
        structure = manifest["structure"]
        require(
            structure == _structure(like, axes=0),
            f"checkpoint {saved.path}",
            "the carry must have the structure that this version of the program has",
            _difference(structure, _structure(like, axes=0)),
            "Go on with the version that wrote it, or start a new run.",
            CheckpointError,
        )
        leaves, definition = jax.tree.flatten(like)
        restored = []
        with np.load(saved.path / ARRAYS, allow_pickle=False) as arrays:
            for index, leaf in enumerate(leaves):
                data = arrays[_name(index)]
                if _is_key(leaf):
                    restored.append(jax.random.wrap_key_data(jnp.asarray(data), impl=manifest["keys"][_name(index)]))
                else:  # NumPy's format knows the small floats of accelerators as raw bytes only
                    restored.append(data.view(leaf.dtype) if data.dtype.kind == "V" else data)
        return definition.unflatten(restored)

    def record(self, update: int, seeds: np.ndarray, answers: Mapping[str, np.ndarray]) -> None:
        """Keeps what was answered between two chunks, so that a run that goes on from before it asks for nothing twice.

        Args:
            update: number of the update that comes next.
            seeds: int[B].
            answers: name -> array [B, ...].

        Raises:
            ResultsError: they cannot be written.
        """
        named = {f"{ANSWER}{name}": values for name, values in answers.items()}
        with storage.replacing(self._answers(update) / f"{_batch_name(seeds)}.npz") as file:
            whose = {"run": np.asarray(self._identity), IDENTITY: np.asarray(json.dumps(self._what))}
            np.savez(file, seeds=seeds, **whose, **named)  # pyright: ignore[reportArgumentType]

    def recorded(self, update: int, seeds: np.ndarray) -> dict[str, np.ndarray] | None:
        """Returns what was answered for these seeds before this update, name -> array [B, ...]; None unless for all of them.

        Raises:
            CheckpointError: it was answered to another run.
        """
        found: dict[int, dict[str, np.ndarray]] = {}
        for path in sorted(self._answers(update).glob("*.npz")):
            with np.load(path, allow_pickle=False) as arrays:
                held = {name: arrays[name] for name in arrays.files}
            whose = {"run": str(held["run"])} | ({IDENTITY: json.loads(str(held[IDENTITY]))} if IDENTITY in held else {})
            self._require_own(f"answers {path}", whose)
            answers = {name.removeprefix(ANSWER): values for name, values in held.items() if name.startswith(ANSWER)}
            for place, seed in enumerate(held["seeds"]):
                found[int(seed)] = {name: values[place] for name, values in answers.items()}
        if not all(int(seed) in found for seed in seeds):
            return None
        rows = [found[int(seed)] for seed in seeds]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _answers(self, update: int) -> Path:
        return self.path / "answers" / f"before-{update:010}"

    def _batches(self) -> Iterator[Path]:
        if self.path.is_dir():
            yield from sorted(batch for batch in self.path.iterdir() if batch.is_dir() and _checkpoints(batch))

    def _newest(self, batch: Path, any_run: bool = False) -> Saved:
        refused: list[CheckpointError] = []
        for path in reversed(_checkpoints(batch)):
            try:
                manifest = _sound_manifest(path)
            except CheckpointError as error:
                refused.append(error)
                continue
            if not any_run:
                self._require_own(f"checkpoint {path}", manifest)
            for error in refused:
                warnings.warn(f"{error} The one before it is used: {path}.", CheckpointWarning, stacklevel=4)
            _warn_of_differences(path, manifest["computed_by"])
            if not any_run:
                self._warn_of_sources(path, manifest.get("sources", {}))
            return _saved(path, manifest)
        raise refused[0]

    def _require_own(self, where: str, manifest: Mapping[str, Any]) -> None:
        """Raises CheckpointError unless a checkpoint, or answers, are of this run; says in what they differ."""
        before = manifest.get("sources", {})
        if manifest["run"] == self._identity:
            return
        pairs = differences(manifest.get(IDENTITY, self._what), self._what)  # an early checkpoint has none
        found = [f"{place}: {then} in the checkpoint, {now} now" for place, then, now in pairs]
        found = found if IDENTITY in manifest else [manifest["run"]]
        more = f" and {len(found) - DIFFERENCES_NAMED} more" if len(found) > DIFFERENCES_NAMED else ""
        must = "it must belong to this run: same algorithm, environment, configuration and root"
        text = f"{'; '.join(found[:DIFFERENCES_NAMED])}{more}"
        if found:
            fix = "Start a new run, or go on with the settings that it was started with."
            raise CheckpointError(f"{where}: {must}, got {text}. {fix}")
        names = {**before, **self._sources}
        changed = [name for name in names if not is_recorded(name) and before.get(name) != self._sources.get(name)]
        files = [str(source_file(name) or name) for name in changed]
        must, fix = "the source that computed it must not have changed", "Restore the file, or start a new run."
        require(False, where, must, files, fix, CheckpointError)

    def _warn_of_sources(self, path: Path, before: Mapping[str, str]) -> None:
        changed = [name for name, known in before.items() if is_recorded(name) and self._sources.get(name, known) != known]
        if changed:
            text = f"checkpoint {path} was computed by another {', '.join(changed)} than goes on with it: results may differ."
            warnings.warn(text, CheckpointWarning, stacklevel=5)


def _saved(path: Path, manifest: Mapping[str, Any]) -> Saved:
    return Saved(np.asarray(manifest["seeds"], np.int64), manifest["next_update"], manifest["room"], path)


def _checkpoints(batch: Path) -> list[Path]:
    """Returns the folders of a batch's checkpoints, oldest first."""
    return sorted(path for path in batch.iterdir() if path.name.isdecimal())


def _batch_name(seeds: Sequence[int] | np.ndarray) -> str:
    numbers = np.asarray(seeds, np.int64)
    return f"seeds-{numbers.min()}-{numbers.max()}-{zlib.crc32(numbers.tobytes()):08x}"


def _remove(path: Path) -> None:
    """Removes a folder: its manifest first, so that what is left of it after a kill is refused."""
    if path.exists():
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)


def _replace(target: Path, partial: Path) -> None:
    """Puts a folder in the place of another. A kill in the middle leaves none of that name, and no half one."""
    if target.exists():
        aside = target.with_name(f"{target.name}.partial.old")
        _remove(aside)
        target.rename(aside)
        partial.rename(target)
        _remove(aside)
    else:
        partial.rename(target)


# The arrays


def _name(index: int) -> str:
    return f"{index:05}"


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _on_host(carry: PyTree, count: int) -> list[np.ndarray]:
    leaves = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(carry)]
    return [np.asarray(leaf)[:count] for leaf in jax.device_get(leaves)]


def _write_arrays(path: Path, leaves: Sequence[np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, **{_name(index): leaf for index, leaf in enumerate(leaves)})  # pyright: ignore[reportArgumentType]
        file.flush()
        os.fsync(file.fileno())


def _structure(carry: PyTree, axes: int = 1) -> list[str]:
    """Describes a carry: path, dtype and shape of each array, without its first ``axes`` axes."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(carry)
    return [f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape[axes:])}" for path, leaf in leaves]


def _difference(theirs: list[str], ours: list[str]) -> str:
    only = [line for line in theirs if line not in set(ours)] or [line for line in ours if line not in set(theirs)]
    return only[0] if only else "another order"


# Soundness


def _computed_by() -> dict[str, Any]:
    device = jax.devices()[0]
    return {"jax": jax.__version__, "platform": device.platform, "device": device.device_kind}


def _warn_of_differences(path: Path, before: dict[str, Any]) -> None:
    now = _computed_by()
    if before != now:
        text = (
            f"checkpoint {path} was computed by {before}, and {now} goes on with it: the results may differ in their last bits."
        )
        warnings.warn(text, CheckpointWarning, stacklevel=5)


def _fingerprints(folder: Path) -> dict[str, list]:
    """Returns size and SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): [path.stat().st_size, _sha256(path)] for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sound_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest of a checkpoint and holds its files against it.

    Raises:
        CheckpointError: a file is missing, cut short or changed.
    """
    fix = "Restore it from a copy, or remove it."
    try:
        manifest = storage.read_json(path / MANIFEST, dict)
    except ResultsError as error:
        raise CheckpointError(f"checkpoint {path}: its {MANIFEST} must be whole, got {str(error)!r}. {fix}") from error
    wrong = storage.misfit(manifest, FORM)
    require(wrong is None, f"checkpoint {path}", f"{MANIFEST} must have all its entries", wrong, fix, CheckpointError)
    found = _fingerprints(path)
    changed = sorted(name for name in manifest["files"] | found if manifest["files"].get(name) != found.get(name))
    require(not changed, f"checkpoint {path}", "its files must be as they were written", changed[:3], fix, CheckpointError)
    return manifest
