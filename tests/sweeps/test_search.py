"""Search with Optuna: batches in one call, storages, and going on after a kill with the same result as without one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.errors import ConfigError, ResultsError, UnknownNameError
from jaxrl.sweeps.members import Choice, Integers, LogUniform, Uniform
from jaxrl.sweeps.search import STUDY, search
from jaxrl.sweeps.selection import Objective
from jaxrl.training.runner import run

optuna = pytest.importorskip("optuna", reason="needs the extra 'search'")
optuna.logging.set_verbosity(optuna.logging.WARNING)
ROOT = Path(__file__).parents[2]


@struct.dataclass
class Config:
    x: float = 0.5
    rate: float = 1.0
    shape: tuple[int, ...] = static(default=(1,))
    size: int = static(default=1)


traces = 0


def hill(task, config):
    """An algorithm that shows a noisy hill, highest at x = 0.3; a rate above 2 makes it diverge."""
    global traces
    traces += 1

    def update(state, key):
        bad = jnp.where(config.rate > 2.0, jnp.nan, 0.0)
        height = -jnp.square(config.x - 0.3) + 0.01 * jax.random.normal(key)
        return state, {"height": height + bad, "size": jnp.float32(config.size * len(config.shape))}

    return Algorithm(lambda key: jnp.float32(0.0), update)


SPACE = {"x": Uniform(0.0, 1.0), "rate": LogUniform(1e-3, 1.0)}
OPTIONS = {
    "objective": Objective("height"),
    "seeds": 3,
    "num_trials": 12,
    "batch_size": 4,
    "num_updates": 4,
    "chunk_length": 2,
}


def go(storage, space=SPACE, config=None, **changes):
    return search(hill, None, config or Config(), space, storage=storage, **(OPTIONS | changes))


def test_a_batch_is_one_call_and_all_batches_share_a_program(tmp_path):
    before = traces
    found = go(tmp_path / "study.db")
    assert traces - before == 1 + 3  # what is measured; then lay out, initialise, update
    assert (len(found.members), found.new, found.interrupted) == (12, 12, False)
    assert found.scores.shape == (12, 3)
    for member, scores in zip(found.members[:2], found.scores[:2], strict=True):
        alone = run(hill, None, Config(**member), seeds=3, num_updates=4, chunk_length=2)
        np.testing.assert_allclose(scores, alone.metrics["height"][:, -1], rtol=1e-6)
    assert [trial.value for trial in found.study.trials] == pytest.approx(found.scores.mean(1))


def test_the_sampler_learns(tmp_path):
    found = go(tmp_path / "study.db", num_trials=40)
    distance = np.abs(np.array([member["x"] for member in found.members]) - 0.3)
    assert distance[20:].mean() < 0.6 * distance[:10].mean()


def test_finished_trials_are_not_repeated(tmp_path):
    first = go(tmp_path / "study.db", num_trials=6)
    again = go(tmp_path / "study.db", num_trials=6)
    assert (first.new, again.new) == (6, 0)
    assert again.members == first.members
    np.testing.assert_array_equal(again.scores, first.scores)
    more = go(tmp_path / "study.db")
    assert more.new == 6
    assert more.members == go(tmp_path / "other.db").members


class Killed(Exception):
    pass


class KillAt:
    """A sink that fails in the second chunk of the batch that comes ``after`` others."""

    def __init__(self, after):
        self.after = after

    def begin(self, plan):
        self.after -= 1

    def chunk(self, chunk):
        if self.after < 0 and chunk.first_update:
            raise Killed

    def end(self, summary):
        pass


def test_a_killed_search_finds_what_it_would_have_found(tmp_path):
    with pytest.raises(Killed):
        go(tmp_path / "study.db", watch=(KillAt(1),))
    states = [trial.state.name for trial in optuna.load_study(study_name=STUDY, storage=_url(tmp_path)).trials]
    assert states == ["COMPLETE"] * 4 + ["RUNNING"] * 4
    found, whole = go(tmp_path / "study.db"), go(tmp_path / "whole.db")
    assert found.new == 8
    assert found.members == whole.members
    np.testing.assert_array_equal(found.scores, whole.scores)
    states = [trial.state.name for trial in found.study.trials]
    assert states == ["COMPLETE"] * 4 + ["FAIL"] * 4 + ["COMPLETE"] * 8


@pytest.mark.slow
def test_a_search_whose_process_was_killed_goes_on(tmp_path):
    """The real thing: SIGKILL in the middle of a batch."""
    program = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from jaxrl.training import platform
        platform.setup(cpu_devices=2)
        from tests.sweeps import test_search as it

        class Kill(it.KillAt):
            def chunk(self, chunk):
                if self.after < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        it.go(Path({str(tmp_path)!r}) / "study.db", watch=(Kill(2),))
        """
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = go(tmp_path / "study.db")
    assert found.new == 4
    assert found.members == go(tmp_path / "whole.db").members


def test_a_search_that_somebody_else_runs_is_left_alone(tmp_path):
    with pytest.raises(Killed):
        go(tmp_path / "study.db", watch=(KillAt(0),))
    study = optuna.load_study(study_name=STUDY, storage=_url(tmp_path))
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        began = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19] if Path("/proc").is_dir() else ""
        study._storage.set_trial_user_attr(study.trials[0]._trial_id, "process", [socket.gethostname(), other.pid, began])
        with pytest.raises(ResultsError, match="one process at a time may search in a storage"):
            go(tmp_path / "study.db")
    finally:
        other.kill()
        other.wait()
    assert go(tmp_path / "study.db").new == 12


def test_a_study_of_another_search_is_refused(tmp_path):
    go(tmp_path / "study.db", num_trials=4)
    with pytest.raises(ConfigError, match="the study must belong to this search"):
        go(tmp_path / "study.db", seeds=5)
    with pytest.raises(ConfigError, match="the study must belong to this search"):
        go(tmp_path / "study.db", config=Config(rate=0.5))


def test_trials_that_diverge_count_as_worst(tmp_path):
    found = go(tmp_path / "study.db", space={"x": Uniform(0.0, 1.0), "rate": Choice((1.0, 3.0))})
    diverged = np.array([member["rate"] > 2 for member in found.members])
    assert 0 < diverged.sum() < 12
    np.testing.assert_array_equal(np.isnan(found.scores).any(1), diverged)
    assert [trial.state.name == "PRUNED" for trial in found.study.trials] == diverged.tolist()
    assert not diverged[Objective("height").ranking(found.scores)[0]]


def test_static_fields_can_be_searched(tmp_path):
    space = {"size": Integers(1, 3), "shape": Choice(((1,), (1, 1)))}
    found = go(tmp_path / "study.db", space=space, objective=Objective("size"), num_trials=8)
    products = [member["size"] * len(member["shape"]) for member in found.members]
    np.testing.assert_array_equal(found.scores, np.repeat(np.array(products, np.float64)[:, None], 3, 1))
    assert go(tmp_path / "study.db", space=space, objective=Objective("size"), num_trials=8).members == found.members


def test_other_samplers(tmp_path):
    sampler = lambda seed: optuna.samplers.RandomSampler(seed=seed)  # noqa: E731
    first, second = (go(tmp_path / name, sampler=sampler, seed=seed) for name, seed in (("a.db", 0), ("b.db", 1)))
    assert first.members != second.members


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_trials": 0}, ConfigError, "num_trials must be at least 1"),
        ({"batch_size": 0}, ConfigError, "batch_size must be at least 1"),
        ({"space": {}}, ConfigError, "space must have a field"),
        ({"space": {"y": Uniform(0.0, 1.0)}}, UnknownNameError, "no field is named 'y'"),
        ({"objective": Objective("hight")}, UnknownNameError, "Did you mean 'height'"),
        ({"storage": "mysqll://nowhere"}, ResultsError, "must be usable"),
        ({"storage": "sqlite:////nowhere/at/all/study.db"}, ResultsError, "must be usable"),
    ],
)
def test_bad_arguments(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        go(changes.pop("storage", tmp_path / "study.db"), **changes)


# PostgreSQL


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """Starts a server of its own, which listens on a socket in a temporary folder, and returns the URL of its database."""
    pytest.importorskip("psycopg", reason="needs the driver psycopg")
    binaries = {name: _server_binary(name) for name in ("initdb", "pg_ctl")}
    if not all(binaries.values()):
        pytest.skip("no PostgreSQL server is installed: initdb and pg_ctl are not found")
    folder = Path(subprocess.run(["mktemp", "-d", "/tmp/pg.XXXXXX"], capture_output=True, text=True, check=True).stdout.strip())
    user = None
    if os.getuid() == 0:  # the server refuses to be run by root
        import pwd

        known = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in known), None)
        if user is None:
            pytest.skip("PostgreSQL refuses to be run by root, and there is neither a user 'postgres' nor 'nobody'")
        shutil.chown(folder, user)

    def call(name, *arguments):
        subprocess.run([binaries[name], *arguments], check=True, capture_output=True, timeout=120, user=user, cwd=folder)

    data, log = str(folder / "data"), str(folder / "log")
    try:
        call("initdb", "-D", data, "-U", "tester", "-A", "trust", "-N")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        call("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")
        yield f"postgresql+psycopg://tester@/postgres?host={folder}"
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a PostgreSQL server is installed but does not start here: {error.stderr.decode()[-200:]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _server_binary(name):
    found = [shutil.which(name), *sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), reverse=True)]
    return next((path for path in found if path), None)


def test_postgresql(postgres, tmp_path):
    with pytest.raises(Killed):
        go(postgres, watch=(KillAt(1),))
    found, whole = go(postgres), go(tmp_path / "whole.db")
    assert found.new == 8
    assert found.members == whole.members
    np.testing.assert_array_equal(found.scores, whole.scores)


def _url(folder):
    return f"sqlite:///{folder / 'study.db'}"
