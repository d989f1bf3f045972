"""Memory before a run: what programs need, and how many seeds fit."""

import jax
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import machine
from jaxrl.errors import ConfigError
from jaxrl.evaluation import Episodes
from jaxrl.training import memory, seed_axis
from jaxrl.training.runner import run

GRID = envs.make("cliff_walking")
Q = q_learning.Config(num_steps=20)


def of(count, evaluators=()):
    return memory.need(q_learning.make, GRID, Q, count, 4, evaluators, jax.devices())


def test_the_need_counts_the_carry_and_grows_with_the_seeds():
    few, many = of(8), of(4096)
    carry = seed_axis.bytes_of(seed_axis.abstract_carry(q_learning.make, GRID, Q))
    assert few.carry == many.carry == carry
    assert few.devices == len(jax.devices())
    assert many.bytes > 4096 * carry
    assert few.bytes < many.bytes
    assert many.seeds >= 4096  # filled up to equal groups
    assert many.per_seed == many.bytes / many.seeds


def test_evaluators_count_too():
    assert of(64, (Episodes(GRID, num_episodes=4096),)).bytes > of(64).bytes


def seeds_that_fit(count):
    return memory.seeds_that_fit(q_learning.make, GRID, Q, count, 4, (), jax.devices())


def test_all_seeds_fit_where_there_is_room(monkeypatch):
    monkeypatch.setattr(memory, "need", lambda *_: pytest.fail("nothing had to be compiled"))
    monkeypatch.setattr(memory, "free", lambda devices: 1e12)
    assert seeds_that_fit(100_000) == 100_000


def test_seeds_are_cut_to_what_fits(monkeypatch):
    available = of(1024).bytes
    monkeypatch.setattr(memory, "free", lambda devices: available)
    fit = seeds_that_fit(8192)
    assert 512 <= fit < 8192
    assert of(fit).bytes <= available


def test_a_seed_that_does_not_fit_is_an_error(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda devices: 100.0)
    with pytest.raises(ConfigError, match=r"a seed must fit into the free memory \(0 MB\).*Make networks"):
        seeds_that_fit(4)


def test_a_run_splits_itself_where_memory_is_short(monkeypatch):
    whole = run(q_learning.make, GRID, Q, seeds=64, num_updates=4, chunk_length=4)
    monkeypatch.setattr(memory, "seeds_that_fit", lambda *args: 24)
    split = run(q_learning.make, GRID, Q, seeds=64, num_updates=4, chunk_length=4)
    for mine, theirs in zip(jax.tree.leaves(split.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_free_memory_is_found():
    assert 1e6 < memory.free(jax.devices()) < 1e14
    assert machine.peak_of_process() > 1e7


class Device:
    platform = "gpu"

    def __init__(self, **stats):
        self.memory_stats = lambda: stats or None


def test_accelerators_say_what_they_have():
    assert memory.free([Device(bytes_limit=1000, bytes_in_use=200), Device(bytes_limit=900)]) == machine.USABLE * 2 * 800
    assert memory.free([Device()]) == float("inf")


def test_programs_are_forgotten_where_memory_maps_run_short(tmp_path, monkeypatch):
    traced = []

    @jax.jit
    def program(x):
        traced.append(x.shape)
        return x + 1

    def run_again():
        return program(np.float32(0.0))

    run_again()
    assert not memory.make_room_for_programs()
    run_again()
    assert len(traced) == 1
    monkeypatch.setattr(memory, "MOST_MAPS", tmp_path / "most")
    (tmp_path / "most").write_text("10\n")
    run(q_learning.make, GRID, Q, num_updates=1)
    run_again()
    assert len(traced) == 2
    (tmp_path / "most").unlink()  # as where there is no Linux
    assert not memory.make_room_for_programs()
