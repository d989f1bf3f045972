"""Recordings that tell from which row a number comes, ways to damage their files, and strict reading."""

import errno
import json
import os

import numpy as np

from jaxrl.results.recorder import Recorder
from jaxrl.results.sinks import Chunk, Plan

SEEDS = np.array([4, 7, 40_000_000_000 % 2**32])


def value(seed, update, metric="episode_return"):
    """A number that tells from which row it comes."""
    return np.float32(1000.0 * (seed % 97) + update + len(metric) / 64)


def make_chunk(seeds, first, length, metrics=("episode_return",), evaluations=("greedy_return",), shift=0.0):
    updates = np.arange(first, first + length)
    return Chunk(
        first,
        np.asarray(seeds),
        {name: value(np.asarray(seeds)[:, None], updates, name) + shift for name in metrics},
        {name: value(np.asarray(seeds), updates[-1], name) + shift for name in evaluations},
        seconds=0.5,
    )


def record(run, arm="", seeds=SEEDS, first=0, last=20, length=5, steps=8, shift=0.0, **names):
    recorder = Recorder(run, arm)
    recorder.begin(Plan(np.asarray(seeds), last, length, steps, devices=1))
    for update in range(first, last, length):
        recorder.chunk(make_chunk(seeds, update, length, shift=shift, **names))
    return recorder


def parts(run, table="metrics"):
    return sorted((run.path / table).glob("part-*.parquet"))


def assert_rows(run, arm="", seeds=SEEDS, updates=range(20), table="metrics", metric="episode_return", shift=0.0):
    curves = run.curves(metric, arm, table)
    np.testing.assert_array_equal(curves.updates, list(updates))
    np.testing.assert_array_equal(curves.values, value(np.sort(seeds)[:, None], curves.updates, metric) + shift)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


class Stopped(Exception):
    """What ``StopsAt`` raises."""


class StopsAt:
    """A sink that fails, as a full disk would, when a chunk comes that begins at this update or later."""

    def __init__(self, update):
        self.update = update

    def begin(self, plan):
        pass

    def chunk(self, chunk):
        if chunk.first_update >= self.update:
            raise Stopped

    def end(self, summary):
        pass
