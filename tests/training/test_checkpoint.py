"""Checkpoints: a run that is stopped anywhere goes on as if it had not been, and damaged or foreign checkpoints are refused."""

import functools
import itertools
import json
import signal
import sys
import warnings
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import dqn, ppo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.errors import CheckpointError, ConfigError, EnvError, ResultsError
from jaxrl.experiment.modules import import_file
from jaxrl.results import storage
from jaxrl.training import checkpoint
from jaxrl.training.checkpoint import Checkpoints, CheckpointWarning
from jaxrl.training.runner import run
from tests.marks import each

GRID = envs.make("cliff_walking")
CARTPOLE = envs.make("cartpole")
CASES = {
    "q_learning": (q_learning.make, GRID, q_learning.Config(num_steps=20)),
    "ppo": (ppo.make, CARTPOLE, ppo.Config(num_envs=2, num_steps=16, num_epochs=2, num_minibatches=2, hidden=(8,))),
    "dqn": (dqn.make, CARTPOLE, dqn.Config(num_envs=2, buffer_size=64, batch_size=8, learning_starts=16, hidden=(8,))),
}
UPDATES, CHUNK = 12, 2


def train(name, path=None, seeds=4, sinks=(), **changes):
    checkpoints = None if path is None else Checkpoints(path, seconds_between=0.0, keep=3)
    options = {"seeds": seeds, "num_updates": UPDATES, "chunk_length": CHUNK} | changes
    return run(*CASES[name], sinks=sinks, checkpoints=checkpoints, **options)


@functools.cache
def uninterrupted(name, **changes):
    return train(name, **changes)


class StopAfter:
    """A sink that fails, as a full disk would, or acts once, when a chunk comes that begins at this update or later."""

    def __init__(self, update, act=None):
        self.update, self.act = update, act

    def begin(self, plan):
        self.plan = plan

    def chunk(self, chunk):
        if chunk.first_update >= self.update:
            if self.act is None:
                raise RuntimeError("stopped")
            self.update = UPDATES
            self.act()

    def end(self, summary):
        pass


def assert_same_end(resumed, whole):
    chex.assert_trees_all_equal(jax.device_get(resumed.state), jax.device_get(whole.state))
    made = next(iter(resumed.metrics.values())).shape[1] if resumed.metrics else 0
    chex.assert_trees_all_equal(resumed.metrics, {name: v[:, v.shape[1] - made :] for name, v in whole.metrics.items() if made})


@pytest.mark.parametrize("name", [each(name) if name == "dqn" else name for name in CASES])
def test_a_run_that_broke_off_ends_as_if_it_had_not(name, tmp_path):
    for update in (4, 8):
        with pytest.raises(RuntimeError, match="stopped"):
            train(name, tmp_path, sinks=(StopAfter(update),))
    resumed = train(name, tmp_path)
    assert 0 < resumed.metrics[next(iter(resumed.metrics))].shape[1] < UPDATES
    assert_same_end(resumed, uninterrupted(name))


@pytest.mark.usefixtures("_listening")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_the_end_of_a_cluster_job_save_first(number, tmp_path):
    sink = StopAfter(4, lambda: signal.raise_signal(number))
    stopped = run(
        *CASES["q_learning"], seeds=4, num_updates=UPDATES, chunk_length=CHUNK, sinks=(sink,), checkpoints=Checkpoints(tmp_path)
    )
    assert stopped.summary.interrupted
    made = stopped.metrics["td_error"].shape[1]
    assert 6 <= made < UPDATES
    resumed = train("q_learning", tmp_path)
    assert resumed.metrics["td_error"].shape[1] == UPDATES - made
    assert_same_end(resumed, uninterrupted("q_learning"))


@pytest.fixture
def _listening():
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before:
        signal.signal(number, handler)


def test_a_finished_run_is_only_read(tmp_path):
    first = train("ppo", tmp_path)
    sink = StopAfter(0)
    again = train("ppo", tmp_path, sinks=(sink,))
    assert not hasattr(sink, "plan")
    assert again.metrics == {}
    chex.assert_trees_all_equal(jax.device_get(again.state), jax.device_get(first.state))
    assert [len(list(batch.iterdir())) for batch in tmp_path.iterdir()] == [3], "as many as are to be kept"


def test_by_default_a_finished_run_keeps_its_end(tmp_path):
    options = {"seeds": 4, "num_updates": UPDATES, "chunk_length": CHUNK}
    run(*CASES["q_learning"], checkpoints=Checkpoints(tmp_path, seconds_between=0.0), **options)
    assert [[path.name for path in batch.iterdir()] for batch in tmp_path.iterdir()] == [[f"{UPDATES:010}"]]


def test_more_updates_can_be_asked_for_later(tmp_path):
    train("q_learning", tmp_path, num_updates=8)
    more = train("q_learning", tmp_path)
    assert_same_end(more, uninterrupted("q_learning"))
    assert more.metrics["td_error"].shape[1] == UPDATES - 8
    with pytest.raises(CheckpointError, match=r"must have made at most 8 updates, got 12\. Ask for as many"):
        train("q_learning", tmp_path, num_updates=8)


def test_the_newest_are_kept(tmp_path):
    with pytest.raises(RuntimeError):
        train("q_learning", tmp_path, sinks=(StopAfter(10),))
    (batch,) = tmp_path.iterdir()
    kept = sorted(int(path.name) for path in batch.iterdir())
    assert len(kept) == 3
    assert kept[-1] <= 10


@pytest.mark.parametrize("devices", [1, 2])
def test_another_number_of_devices_can_go_on(devices, tmp_path):
    used = jax.devices()
    with pytest.raises(RuntimeError):
        train("q_learning", tmp_path, seeds=5, sinks=(StopAfter(6),), devices=used[: 3 - devices])
    assert_same_end(train("q_learning", tmp_path, seeds=5, devices=used[:devices]), uninterrupted("q_learning", seeds=5))


def test_seeds_in_batches_end_as_those_side_by_side(tmp_path):
    whole = uninterrupted("q_learning", seeds=5)
    batched = train("q_learning", seeds=5, batch_seeds=2)
    assert_same_end(batched, whole)
    for update in (2, 8):
        with pytest.raises(RuntimeError):
            train("q_learning", tmp_path, seeds=5, batch_seeds=2, sinks=(StopAfter(update),))
    resumed = train("q_learning", tmp_path, seeds=5)
    chex.assert_trees_all_equal(jax.device_get(resumed.state), jax.device_get(whole.state))
    here = np.isfinite(resumed.metrics["td_error"])
    assert here.any()
    assert not here.all()  # of the batch that had begun, only what was left
    np.testing.assert_array_equal(resumed.metrics["td_error"][here], whole.metrics["td_error"][here])


def test_more_seeds_can_be_asked_for_later(tmp_path):
    train("q_learning", tmp_path, seeds=2)
    more = train("q_learning", tmp_path, seeds=5)
    chex.assert_trees_all_equal(jax.device_get(more.state), jax.device_get(uninterrupted("q_learning", seeds=5).state))
    assert np.isnan(more.metrics["td_error"][:2]).all()
    np.testing.assert_array_equal(more.metrics["td_error"][2:], uninterrupted("q_learning", seeds=5).metrics["td_error"][2:])


# Damage


def broken_off(tmp_path, update=8):
    with pytest.raises(RuntimeError):
        train("q_learning", tmp_path, sinks=(StopAfter(update),))
    (batch,) = tmp_path.iterdir()
    return sorted(batch.iterdir())


def cut(path):
    file = path / checkpoint.ARRAYS
    file.write_bytes(file.read_bytes()[:-7])


def flip(path):
    file = path / checkpoint.ARRAYS
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "cut short": cut,
    "one bit": flip,
    "manifest cut short": lambda path: (path / checkpoint.MANIFEST).write_text('{"seeds": [0'),
    "manifest gone": lambda path: (path / checkpoint.MANIFEST).unlink(),
    "manifest of something else": lambda path: (path / checkpoint.MANIFEST).write_text("{}"),
    "arrays gone": lambda path: (path / checkpoint.ARRAYS).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_is_used(damage, tmp_path):
    *_, before, newest = broken_off(tmp_path)
    DAMAGES[damage](newest)
    with pytest.warns(CheckpointWarning, match=f"{newest.name}.*The one before it is used.*{before.name}"):
        resumed = train("q_learning", tmp_path)
    assert resumed.metrics["td_error"].shape[1] == UPDATES - int(before.name)
    assert_same_end(resumed, uninterrupted("q_learning"))


def test_nothing_is_overwritten_where_every_checkpoint_is_damaged(tmp_path):
    for path in broken_off(tmp_path):
        cut(path)
    with pytest.raises(CheckpointError, match=r"must be as they were written.*Restore it from a copy, or remove it"):
        train("q_learning", tmp_path)


def test_half_a_checkpoint_is_no_checkpoint(tmp_path):
    *_, newest = broken_off(tmp_path)
    newest.rename(newest.with_name(newest.name + ".partial"))
    assert_same_end(train("q_learning", tmp_path), uninterrupted("q_learning"))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"root": 1}, "root: 0 in the checkpoint, 1 now"),
        ({"config": q_learning.Config(num_steps=20, gamma=0.5)}, r"config\.gamma: 0\.99 in the checkpoint, 0\.5 now"),
        (
            {"root": 3, "config": q_learning.Config(num_steps=10, gamma=0.5)},
            r"gamma.*num_steps.*; root: 0 in the checkpoint, 3 now\.",
        ),
        ({"task": "four_rooms"}, r"task\.\w+.* in the checkpoint, .*; .*; .* and \d+ more"),
    ],
)
def test_a_checkpoint_of_another_run_is_an_error(changes, found, tmp_path):
    broken_off(tmp_path)
    make, task, config = CASES["q_learning"]
    options = {"seeds": 4, "num_updates": UPDATES, "chunk_length": CHUNK} | changes
    config, task = options.pop("config", config), options.pop("task", task)
    with pytest.raises(CheckpointError, match=f"must belong to this run: same algorithm.* got .*{found}"):
        run(make, envs.make(task) if isinstance(task, str) else task, config, checkpoints=Checkpoints(tmp_path), **options)


MINE = """
import dataclasses
import envs
from jaxrl.algorithms.tabular import q_learning
LAKE = envs.make("frozen_lake")

def make(task, config):
    return q_learning.make(task, config)

@dataclasses.dataclass(frozen=True)
class Slippery:
    slip: int
    def __call__(self, key, state, action, params):
        return LAKE.step_fn(key, state, action * (1 - self.slip), params)

def slippery(slip):
    return LAKE.replace(step_fn=Slippery(slip))

def closed(slip):
    return LAKE.replace(step_fn=lambda key, state, action, params: LAKE.step_fn(key, state, action * (1 - slip), params))
"""


def imported(path, text):
    path.write_text(text)
    for name in [name for name in sys.modules if name.startswith(f"jaxrl_file_{path.stem}")]:
        del sys.modules[name]
    return import_file(path)


def train_mine(folder, make, task, update=None):
    sinks = () if update is None else (StopAfter(update),)
    saved = Checkpoints(folder, seconds_between=0.0)
    return run(
        make, task, q_learning.Config(num_steps=20), num_updates=UPDATES, chunk_length=CHUNK, sinks=sinks, checkpoints=saved
    )


@pytest.mark.parametrize("part", ["make", "task", "partial"])
def test_an_edited_file_of_a_users_does_not_go_on(part, tmp_path):
    def parts(module):
        make = {"make": module.make, "task": q_learning.make, "partial": functools.partial(module.make)}[part]
        return make, module.slippery(0) if part == "task" else module.LAKE

    file, folder = tmp_path / "of_mine.py", tmp_path / "checkpoints"
    with pytest.raises(RuntimeError, match="stopped"):
        train_mine(folder, *parts(imported(file, MINE)), update=8)
    with pytest.raises(
        CheckpointError, match=r"must not have changed, got .*of_mine\.py'\]\. Restore the file, or start a new run"
    ):
        train_mine(folder, *parts(imported(file, f"{MINE}\n# Another thought.\n")))
    assert train_mine(folder, *parts(imported(file, MINE))).metrics["td_error"].shape[1] < UPDATES


def test_functions_that_differ_in_what_they_hold_do_not_share_checkpoints(tmp_path):
    mine, folder = imported(tmp_path / "of_mine.py", MINE), tmp_path / "checkpoints"
    with pytest.raises(EnvError, match="step_fn must be a function at module level"):
        train_mine(folder, mine.make, mine.closed(0))
    with pytest.raises(RuntimeError, match="stopped"):
        train_mine(folder, mine.make, mine.slippery(0), update=8)
    with pytest.raises(CheckpointError, match=r"task\.step_fn\.slip: 0 in the checkpoint, 1 now"):
        train_mine(folder, mine.make, mine.slippery(1))


def test_another_version_of_ours_goes_on_with_a_warning(tmp_path):
    *_, newest = broken_off(tmp_path)
    manifest = json.loads((newest / checkpoint.MANIFEST).read_text())
    assert {"jaxrl.algorithms.tabular.q_learning", "jaxrl.core.finite.outcomes"} & set(manifest["sources"])
    manifest["sources"]["jaxrl.algorithms.tabular.q_learning"] = "another"
    (newest / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    with pytest.warns(CheckpointWarning, match=r"computed by another jaxrl\.algorithms\.tabular\.q_learning than goes on"):
        assert_same_end(train("q_learning", tmp_path), uninterrupted("q_learning"))


def test_another_structure_is_an_error(tmp_path):
    saved = Checkpoints(tmp_path)
    saved.begin(what="x")
    saved.save([0, 1], 3, {"q": jnp.zeros((2, 4))}, 2)
    (found,) = saved.begin(what="x")
    with pytest.raises(CheckpointError, match=r"structure.*\['q'\] float32\[4\]"):
        saved.restore(found, {"q": jax.ShapeDtypeStruct((5,), jnp.float32)})


def test_another_jax_or_device_is_said(tmp_path):
    *_, newest = broken_off(tmp_path)
    manifest = json.loads((newest / checkpoint.MANIFEST).read_text())
    manifest["computed_by"]["jax"] = "0.0.1"
    (newest / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    with pytest.warns(CheckpointWarning, match=r"computed by .*0\.0\.1.*last bits"):
        train("q_learning", tmp_path)


def test_a_full_disk_leaves_the_older_ones(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path)
    saved.begin(what="x")
    saved.save([0], 1, {"q": jnp.zeros((1, 4))}, 1)

    def full(*_: Any):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write_arrays", full)
    with pytest.raises(ResultsError, match=r"No space left.*Free some space, then resume"):
        saved.save([0], 2, {"q": jnp.zeros((1, 4))}, 1)
    assert [found.next_update for found in saved.begin(what="x")] == [1]


# What is stored


class Odd(NamedTuple):
    """All that a carry may hold."""

    key: Any
    empty: Any
    flag: Any
    small: Any
    nested: Any


def test_every_array_comes_back_bit_for_bit(tmp_path):
    carry = Odd(
        jax.random.split(jax.random.key(3), 3),
        jnp.zeros((3, 0, 2)),
        jnp.array([True, False, True]),
        jnp.arange(3, dtype=jnp.bfloat16) / 3,
        {"a b/c.d": (jnp.array([jnp.nan, -0.0, 1e-45], jnp.float32)[:, None], jnp.arange(3, dtype=jnp.int8))},
    )
    saved = Checkpoints(tmp_path)
    saved.begin(what="x")
    saved.save([5, 9, 2], 7, carry, 3)
    (found,) = Checkpoints(tmp_path).begin(what="x")
    np.testing.assert_array_equal(found.seeds, [5, 9, 2])
    assert (found.next_update, found.room) == (7, 3)
    back = saved.restore(found, jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), carry))
    assert jax.tree.structure(back) == jax.tree.structure(carry)
    for ours, theirs in zip(jax.tree.leaves(back), jax.tree.leaves(carry), strict=True):
        assert ours.dtype == theirs.dtype
        if jnp.issubdtype(theirs.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    class Clock:
        seconds = itertools.count(0.0)

        @classmethod
        def monotonic(cls):
            return next(cls.seconds)

    monkeypatch.setattr(checkpoint, "time", Clock)
    saved = Checkpoints(tmp_path, seconds_between=5.0)
    saved.begin(what="x")
    due = [saved.is_due() for _ in range(6)]
    assert due == [False] * 4 + [True] * 2
    saved.save([0], 1, {"q": jnp.zeros((1, 4))}, 1)  # by this clock it takes a second
    assert sum(not saved.is_due() for _ in range(60)) == 49


@pytest.mark.parametrize("changes", [{"seconds_between": -1.0}, {"keep": 0}])
def test_bad_settings(changes, tmp_path):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        Checkpoints(tmp_path, **changes)


def test_loading_is_quiet(tmp_path):
    train("ppo", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train("ppo", tmp_path)
    manifests = [storage.read_json(path, dict) for path in tmp_path.rglob(checkpoint.MANIFEST)]
    assert max(manifest["next_update"] for manifest in manifests) == UPDATES
