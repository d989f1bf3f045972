"""Batches: the seeds of a run that lie in memory together, and how a run's seeds are cut into them.

The seeds of a checkpoint go on as the batch that they were; the other seeds are shared out evenly.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.training.checkpoint import CheckpointWarning, Saved
from jaxrl.training.distributed import Processes
from jaxrl.training.seed_axis import SEEDS

PyTree = Any


class Batch(NamedTuple):
    """Seeds that lie in memory together.

    rows: int[B], their places in the run's list of seeds.
    room: for how many seeds the compiled program is made, at least B: batches of one run share it.
    first_update: number of the first update that is to be made.
    saved: the checkpoint to go on from. picked: int[B], which of its seeds these are.
    """

    rows: np.ndarray
    room: int
    first_update: int = 0
    saved: Saved | None = None
    picked: np.ndarray | None = None


def cut(numbers: np.ndarray, saved: Sequence[Saved], batch_seeds: int, processes: Processes | None = None) -> list[Batch]:
    """Cuts the share of a process into batches: one for what each checkpoint holds, which goes on as it was, others for the rest.

    Args:
        numbers: of all seeds.
        saved: all checkpoints; the seeds of one that has made no update begin, as the batch that they were.
        batch_seeds: how many seeds lie in memory at once.
        processes: those that share the seeds; None for all that there is to do.
    """
    mine, count = (processes.index, processes.count) if processes else (0, 1)
    newest: dict[int, tuple[int, int]] = {}  # of a seed in several checkpoints the latest counts
    for index in sorted(range(len(saved)), key=lambda index: saved[index].next_update):
        newest |= {int(seed): (index, place) for place, seed in enumerate(saved[index].seeds)}
    found: dict[int, list[tuple[int, int]]] = {}
    for row, seed in enumerate(numbers):
        if int(seed) in newest:
            index, place = newest[int(seed)]
            found.setdefault(index, []).append((place, row))
    batches = []
    for index, pairs in sorted(found.items()):
        picked, rows = np.array(sorted(pairs)).T
        entry = saved[index]
        batches.append(Batch(rows, entry.room, entry.next_update, entry if entry.next_update else None, picked))
    batches = batches[mine::count]
    fresh = np.array([row for row, seed in enumerate(numbers) if int(seed) not in newest], int)
    share = np.array_split(fresh, count)[mine]
    # As even as it goes; but what is left of a run that was cut before is cut likewise.
    room = batch_seeds if saved else -(-len(share) // max(1, -(-len(share) // batch_seeds)))
    return batches + [Batch(share[first : first + room], room) for first in range(0, len(share), max(1, room))]


def on_record(
    saved: Sequence[Saved], numbers: np.ndarray, recorded: np.ndarray, earlier: Callable[[Saved, int], Saved | None]
) -> list[Saved]:
    """Returns for each checkpoint the newest of its batch that is not ahead of the record; one of no update stands for none.

    Args:
        saved: the newest of every batch.
        numbers: int[S], of all seeds.
        recorded: int[S], how many updates of each seed are on record.
        earlier: ``(checkpoint, updates) -> checkpoint``, the newest of the same batch that made at most so many updates.
    """
    known = dict(zip(numbers.tolist(), recorded.tolist(), strict=False))
    found = []
    for entry in saved:
        least = min((known[seed] for seed in entry.seeds.tolist() if seed in known), default=entry.next_update)
        if least >= entry.next_update:
            found.append(entry)
            continue
        found.append(earlier(entry, least) or entry._replace(next_update=0))
        first, last = (int(entry.seeds[end]) % SEEDS for end in (0, -1))  # the rest of a number is that of the arm
        text = f"rows of seeds {first} to {last} are missing from update {least} on"
        text = f"{text}: updates {found[-1].next_update} to {entry.next_update - 1} of checkpoint {entry.path} are made again."
        warnings.warn(text, CheckpointWarning, stacklevel=4)
    return found


def share(numbers: np.ndarray, batches: Sequence[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of all seeds in these batches, in order, and the update with which each goes on, int64[B]."""
    first = np.full(len(numbers), -1, np.int64)
    for batch in batches:
        first[batch.rows] = batch.first_update
    return numbers[first >= 0], first[first >= 0]


def in_order(states: list[PyTree], batches: list[Batch]) -> PyTree:
    """Joins the states of batches, [B, ...] each, in the order of the run's seeds."""
    if len(states) == 1:
        return states[0]
    order = np.argsort(np.concatenate([batch.rows for batch in batches]))
    return jax.tree.map(lambda *leaves: np.concatenate(jax.device_get(leaves))[order], *states)
