"""One stop serves a whole command: whenever it was asked for, nothing further begins, and nothing that was computed is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.experiment import Arm
from jaxrl.experiment.session import Interrupted, Session, checkpoints_of
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training.graceful_stop import GracefulStop

ROOT = Path(__file__).parents[2]


class Interrupts:
    """A sink that presses Ctrl-C when it is told of the last chunk."""

    def begin(self, plan):
        self.updates = plan.num_updates

    def chunk(self, chunk):
        if chunk.first_update + chunk.num_updates == self.updates:
            os.kill(os.getpid(), signal.SIGINT)

    def end(self, summary):
        pass


@pytest.fixture(autouse=True)
def _usual_handler():
    """Under a test runner in the background Ctrl-C may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def arms(updates=4):
    """Two programs."""
    for steps in (10, 20):
        config = q_learning.Config(num_steps=steps)
        yield Arm({"steps": steps}, q_learning.make, envs.make("corridor"), config, seeds=2, num_updates=updates, chunk_length=2)


def test_a_stop_in_the_last_chunk_of_a_program_is_not_forgotten(tmp_path):
    directory = RunDirectory.create(tmp_path, "example", {})
    with GracefulStop() as stop:
        with pytest.raises(Interrupted):
            Session(directory, sinks=lambda arm: (Interrupts(),) if arm == "steps 10" else (), stop=stop).train(arms())
        assert stop.asked
    directory.close()
    assert directory.arms("metrics") == ("steps 10",)
    assert directory.curves("td_error", "steps 10").values.shape == (2, 4), "the first program came to its end"
    results = Session(directory).train(arms())
    assert results.arms() == ("steps 10", "steps 20")


class InterruptsFirst(Interrupts):
    """Presses Ctrl-C when it is told of the first chunk."""

    def chunk(self, chunk):
        if chunk.first_update == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_session_of_a_script_stops_at_the_end_of_a_chunk_too(tmp_path):
    directory = RunDirectory.create(tmp_path, "example", {})
    with pytest.raises(Interrupted):
        Session(directory, sinks=lambda arm: (InterruptsFirst(),)).train(arms(20))
    directory.close()
    assert directory.arms("metrics") == ("steps 10",)
    seeds, made = directory.curves("td_error", "steps 10").values.shape
    assert seeds == 2
    assert made % 2 == 0, "whole chunks are kept"
    assert 2 <= made < 20
    (saved,) = checkpoints_of(directory, list(arms(20))[:1]).look()
    assert saved.next_update >= made, "and the state after them"
    assert Session(directory).train(arms(20)).values("td_error", steps=10).shape == (2, 20)


HEARD = """
import ctypes, sys, threading
from jaxrl.training.graceful_stop import GracefulStop
C, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
C.pthread_mutex_init(mutex, None)
C.pthread_mutex_lock(mutex)
threading.Thread(target=lambda: sys.stdin.readline() and C.pthread_mutex_unlock(mutex), daemon=True).start()
with GracefulStop(lambda text: print(text, flush=True)) as stop:
    print("ready", flush=True)
    try:
        C.pthread_mutex_lock(mutex)  # as compiled code, nothing interrupts it: it returns when the test has read what was said
        print("computed", flush=True)
        stop.obey()
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


def test_a_second_request_promises_no_more_than_the_last_checkpoint():
    with GracefulStop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.kept == "all results so far are kept"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert "or begins again where it has none yet" in stop.kept


@pytest.mark.parametrize("twice", [False, True])
def test_the_request_is_heard_at_once(twice):
    """A thread says so while the main thread is held up, as by a long compiled chunk; it is right about a second request."""
    restore = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", restore + HEARD]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        heard = process.stdout.readline()
        assert heard.startswith("stopping at the next safe moment")
        assert "once more stops as soon as compiled code returns" in heard
        if twice:
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "stopping as soon as compiled code returns\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == ("stopped\n" if twice else "computed\n")
        assert twice or process.stdout.readline() == "stopped\n"
