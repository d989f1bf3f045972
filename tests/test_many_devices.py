"""Eight devices: what they must not change, and one run that they share. One process makes all checks of a kind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.many_devices import CHECKS

ROOT = Path(__file__).parent.parent


def wrong(pace):
    """Makes the checks in a process with eight devices and returns what went wrong: name -> traceback."""
    done = subprocess.run([sys.executable, "-m", "tests.many_devices", pace], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def fast():
    return wrong("fast")


@pytest.fixture(scope="module")
def slow():
    return wrong("slow")


@pytest.mark.optimised
@pytest.mark.parametrize("check", CHECKS["fast"])
def test_on_eight_devices(check, fast):
    assert check not in fast, fast[check]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS["slow"])
def test_more_on_eight_devices(check, slow):
    assert check not in slow, slow[check]
