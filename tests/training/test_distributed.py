"""Several processes on one machine share the seeds of a run; one of them dies, and the rest of the story."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from jaxrl.errors import ConfigError, ProcessLostError
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training import distributed
from jaxrl.training.distributed import Processes, meeting_place
from tests import marks

ROOT = Path(__file__).parents[2]
COMMAND = ["frozen_lake_q_learning", "--seeds", "10", "--checkpoint-seconds", "0"]


def start(runs, steps, cpu_devices, *options, command="run"):
    """Starts the command line with a number of CPU devices."""
    setup = f"import sys, jax\njax.config.update('jax_num_cpu_devices', {cpu_devices})\n"
    code = f"{setup}from jaxrl.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    arguments = [command, *COMMAND, "--env-steps", str(steps), "--runs", str(runs), *options]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def start_together(runs, steps, count, *options):
    port = free_port()
    shared = ["--coordinator", f"localhost:{port}", "--num-processes", str(count)]
    return [start(runs, steps, 1, *shared, "--process-id", str(index), *options) for index in range(count)]


def finish(processes, timeout=240):
    texts = [process.communicate(timeout=timeout)[0] for process in processes]
    return [process.returncode for process in processes], texts


def only(runs):
    (run,) = (runs / "frozen_lake_q_learning").iterdir()
    return RunDirectory.open(run)


def assert_same_tables(mine, theirs):
    for name in ("metrics", "evaluations"):
        tables = [getattr(run, name)().sort_by([("seed", "ascending"), ("update", "ascending")]) for run in (mine, theirs)]
        assert tables[0].equals(tables[1]), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process with two devices computes."""
    runs = tmp_path_factory.mktemp("alone")
    codes, texts = finish([start(runs, 20_000, 2)])
    assert codes[0] in (0, 1), texts
    return only(runs)


@pytest.mark.each
def test_two_processes_write_the_table_of_one(tmp_path, alone):
    codes, texts = finish(start_together(tmp_path, 20_000, 2))
    assert all(code in (0, 1) for code in codes), texts
    run = only(tmp_path)
    assert_same_tables(run, alone)
    facts = run.summary()["runs"]["Q-learning"]
    assert facts["seeds"] == 10
    assert facts["env_steps"] == alone.summary()["runs"]["Q-learning"]["env_steps"]
    assert run.finished
    assert len(run.claims()) == 4
    assert list(run.path.glob("replays/*.gif"))
    assert not list(run.path.rglob("part-*"))
    assert not list((tmp_path / ".processes").iterdir())


@pytest.mark.slow
def test_four_processes_write_the_table_of_one(tmp_path, alone):
    codes, texts = finish(start_together(tmp_path, 20_000, 4))
    assert all(code in (0, 1) for code in codes), texts
    states = [run.curves("greedy_exact_value", "Q-learning").values for run in (only(tmp_path), alone)]
    np.testing.assert_array_equal(*states)


def accounts(run):
    session = ("first_update", "devices", "seconds", "compile_seconds", "env_steps_per_second")
    runs = run.summary()["runs"]
    return {arm: {name: value for name, value in facts.items() if name not in session} for arm, facts in runs.items()}


@pytest.mark.each
@pytest.mark.parametrize(("victim", "fewer"), [(0, 2), marks.slow(1, 1)])
def test_a_dead_process_is_reported_and_others_go_on(victim, fewer, tmp_path):
    """One of two is killed, also the first; the other says so, ends its own seeds, saves them; others finish the run."""
    steps, other = 400_000, 1 - victim
    processes = start_together(tmp_path, steps, 2)
    seeds = ("0-4", "5-9")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob(f"*/*/checkpoints/*/seeds-{seeds[victim]}-*/*/*.json")):
        time.sleep(0.02)
    processes[victim].kill()
    codes, texts = finish(processes)
    assert codes[victim] == -signal.SIGKILL, texts
    assert codes[other] == 2, texts
    assert f"process {victim}: no sign of life" in texts[other]
    assert "resume the run, on as many processes as you like" in texts[other]
    ended = tmp_path.glob(f"*/*/checkpoints/*/seeds-{seeds[other]}-*/{steps // 100:010}/checkpoint.json")
    assert len(list(ended)) == 1, "the other one made all its updates"

    again = start_together(tmp_path, steps, 2, "--resume") if fewer == 2 else [start(tmp_path, steps, 1, "--resume")]
    codes, texts = finish(again)
    assert all(code in (0, 1) for code in codes), texts
    whole = tmp_path / "whole"
    finish([start(whole, steps, 2)])
    assert_same_tables(only(tmp_path), only(whole))
    assert accounts(only(tmp_path)) == accounts(only(whole))
    assert "Stopped early" not in (only(tmp_path).path / "report.html").read_text()


@pytest.mark.each
def test_other_options_in_one_process_are_refused_before_anything_is_trained(tmp_path):
    port = free_port()
    shared = ["--coordinator", f"localhost:{port}", "--num-processes", "2", "--process-id"]
    processes = [start(tmp_path, 20_000, 1, *shared, "0"), start(tmp_path, 20_000, 1, *shared, "1", "--gamma", "0.5")]
    codes, texts = finish(processes)
    assert codes == [2, 2], texts
    assert all("process 1: jobs[0].config.algorithm.gamma is 0.99 in process 0, 0.5 there" in text for text in texts), texts
    assert not list(tmp_path.iterdir())


# The signs that processes leave each other


def test_waiting_and_agreeing(tmp_path):
    seen = []

    def go(index):
        processes = Processes(tmp_path, index, 3)
        with processes.alive():
            processes.wait()
            seen.append(processes.agree(f"said by {index}"))
            processes.wait()

    threads = [threading.Thread(target=go, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert seen == ["said by 0"] * 3


def test_a_process_that_leaves_or_falls_silent_ends_the_waiting(tmp_path):
    first, second = (Processes(tmp_path / "left", index, 2, patience=0.5) for index in range(2))
    with pytest.raises(KeyError), second.alive():
        raise KeyError("broken")
    with pytest.raises(ProcessLostError, match=r"process 1: KeyError: 'broken'.*resume the run"), first.alive():
        first.wait()
    assert not (tmp_path / "left").exists()  # the first process goes last and clears up

    (tmp_path / "silent").mkdir()
    (tmp_path / "silent" / "alive-1").touch()
    os.utime(tmp_path / "silent" / "alive-1", (0, 0))
    first = Processes(tmp_path / "silent", 0, 2, patience=0.5)
    with pytest.raises(ProcessLostError, match=r"process 1: no sign of life for \d+ seconds"), first.alive():
        first.wait()


def test_one_process_waits_for_nobody():
    processes = Processes()
    with processes.alive():
        processes.wait()
        assert processes.agree("text") == "text"
    assert processes.first
    assert distributed.start().count == 1


def go_together(count, function):
    """Calls ``function(index, gather)`` in threads that stand for processes, and returns what each returned or raised."""
    barrier, said, found = threading.Barrier(count), {}, {}

    def go(index):
        def gather(text):
            said[index] = text
            barrier.wait()
            texts = [said[other] for other in range(count)]
            barrier.wait()
            return texts

        try:
            found[index] = function(index, gather)
        except ConfigError as error:
            found[index] = error

    threads = [threading.Thread(target=go, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return [found[index] for index in range(count)]


def test_processes_meet_in_one_folder(tmp_path):
    job = {"jobs": [{"config": {"gamma": 0.9}}]}
    places = go_together(3, lambda index, gather: meeting_place(tmp_path, job, index, gather))
    assert len(set(places)) == 1
    assert places[0].parent == tmp_path


def test_another_job_is_refused_in_every_process_before_anything_is_computed(tmp_path):
    def meet(index, gather):
        return meeting_place(tmp_path, {"jobs": [{"config": {"gamma": 0.9 + index / 100}}]}, index, gather)

    for error in go_together(2, meet):
        assert isinstance(error, ConfigError)
        assert "process 1: jobs[0].config.gamma is 0.9 in process 0, 0.91 there" in str(error)
    assert not list(tmp_path.iterdir())


def test_another_folder_is_refused_in_every_process(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "PATIENCE", 0.2)
    for error in go_together(2, lambda index, gather: meeting_place(tmp_path / str(index), {}, index, gather)):
        assert isinstance(error, ConfigError)
        assert f"process 1: {tmp_path / '1'}" in str(error)


def test_a_program_that_differs_is_refused_in_every_process(tmp_path):
    def go(index, _):
        processes = Processes(tmp_path, index, 2)
        with processes.alive():
            processes.require_same("task", {"slip": index})

    for error in go_together(2, go):
        assert isinstance(error, ConfigError)
        assert "every process must have the same task" in str(error)


def test_bad_arguments(tmp_path):
    with pytest.raises(ConfigError, match="must be given together"):
        distributed.start("localhost:1", 2)
    with pytest.raises(ConfigError, match=r"index must lie in \[0, 2\), got 2"):
        Processes(tmp_path, 2, 2)
    with pytest.raises(ConfigError, match="must share a folder"):
        Processes(None, 0, 2)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4"}, True),
        ({"SLURM_NTASKS": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"JOB_COMPLETION_INDEX": "0", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
    ],
)
def test_clusters_are_recognised(variables, found, monkeypatch):
    for name in (*distributed.COUNTS, "JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed._in_a_cluster() is found
