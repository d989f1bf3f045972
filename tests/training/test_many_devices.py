"""Eight devices: what they must not change, and one run that they share. One process, with eight devices, makes all checks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import slow

ROOT = Path(__file__).parents[2]


def wrong(pace):
    """Makes the checks in a process with eight devices and returns what went wrong: name -> traceback."""
    done = subprocess.run([sys.executable, "-m", "tests.many_devices", pace], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.optimised
@pytest.mark.parametrize("pace", ["fast", slow("slow")])
def test_on_eight_devices(pace):
    found = wrong(pace)
    assert not found, "\n".join(f"{name}: {error}" for name, error in found.items())
