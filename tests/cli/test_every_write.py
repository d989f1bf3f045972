"""A run that is interrupted at any of its writes and resumed has the tables, the account and the verdicts of an unbroken one."""

import errno
import os
import shutil
import warnings
from pathlib import Path

import pytest

from jaxrl.algorithms.tabular import q_learning
from jaxrl.cli.main import main
from jaxrl.experiment import session
from jaxrl.results import provenance
from jaxrl.training.trainer import Trainer
from tests import marks
from tests.outcomes import TINY, only, outcome

OPTIONS = [TINY, "--checkpoint-seconds", "0", "--batch-seeds", "2"]
OPERATIONS = [(os, "fsync"), *((Path, name) for name in ("rename", "replace", "write_text", "mkdir", "unlink"))]
OPERATIONS += [(shutil, "rmtree")]
MOST = 1000  # writes of a run


class Fault(BaseException):
    """Ends a process at once, as a kill would: nothing catches it."""


def full_disk():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS = {"kill": Fault, "Ctrl-C": KeyboardInterrupt, "full disk": full_disk}


class Interrupter:
    """Lets the first writes through and raises at the next one; of a kill also at all later ones, which would not happen."""

    def __init__(self, monkeypatch, fault, after):
        self.left, self.fault, self.struck = after, fault, False
        for owner, name in OPERATIONS:
            monkeypatch.setattr(owner, name, self.wrapped(getattr(owner, name), name))

    def wrapped(self, operation, name):
        def interrupted(*args, **kwargs):
            if self.fault is full_disk and name in ("unlink", "rmtree"):  # a full disk can be tidied
                return operation(*args, **kwargs)
            self.left -= 1
            if self.left == -1 or (self.left < 0 and self.fault is Fault):
                self.struck = True
                raise self.fault()
            return operation(*args, **kwargs)

        return interrupted


@pytest.fixture(scope="module", autouse=True)
def bold_and_quick():
    """Allows the learner that goes into quarantine, and leaves out what takes time: git, the film, the pace of the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(q_learning.Config, "validate", lambda config, env: None)
        patch.setattr(provenance, "git_state", lambda file: None)
        patch.setattr(session, "can_render", lambda env: False)
        patch.setattr(os, "fsync", lambda file: None)
        watched, names = Trainer.watched_names, []  # the same in all of these runs; finding them traces an update
        patch.setattr(Trainer, "watched_names", lambda trainer: names or names.extend(watched(trainer)) or names)
        yield


@pytest.fixture(scope="module")
def unbroken(bold_and_quick, tmp_path_factory):
    runs = tmp_path_factory.mktemp("unbroken")
    code = main(["run", *OPTIONS, "--runs", str(runs)])
    return code, outcome(only(runs))


def interrupt(runs, fault, after):
    """Runs until a write fails and returns the exit status; None after a kill."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interrupter = Interrupter(patch, fault, after)
        try:
            code = main(["run", *OPTIONS, "--runs", str(runs)])
        except Fault:
            code = None
    return code, interrupter.struck


@pytest.mark.parametrize(
    ("fault", "start", "step"),
    [
        ("kill", 1, 13),
        ("Ctrl-C", 2, 29),
        ("full disk", 3, 29),
        marks.slow("kill", 0, 1),
        marks.slow("Ctrl-C", 0, 3),
        marks.slow("full disk", 1, 3),
    ],
)
def test_an_interruption_at_any_write_changes_nothing(fault, start, step, unbroken, tmp_path, capsys):
    expected, whole = unbroken
    for after in range(start, MOST, step):
        runs = tmp_path / str(after)
        code, struck = interrupt(runs, FAULTS[fault], after)
        if not struck:
            break
        if fault == "full disk":
            assert code == 2, (after, code)
        folder = only(runs)
        again = ["run", *OPTIONS] if folder is None else ["resume", str(folder), *OPTIONS[1:]]
        assert main([*again, "--runs", str(runs)]) == expected, after
        assert outcome(only(runs)) == whole, after
        assert not [path for path in only(runs).rglob("*") if "partial" in path.name], after
        shutil.rmtree(runs)
    assert not struck, "the run came to its end in the end"
    assert after > 30
