"""Settings of the process: in time they count, too late they are refused, and they work where the system says less."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxrl.training import platform

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("early", ["", "platform.setup()\n"], ids=["a first setup", "a second setup"])
def test_deterministic_kernels_are_refused_once_the_backend_runs(early):
    late = "import jax.numpy as jnp\njnp.zeros(3)\nplatform.setup(deterministic=True)"
    code = f"from jaxrl.training import platform\n{early}{late}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "deterministic must be asked for before jax's backend starts" in done.stderr


def test_cores_where_the_system_knows_no_affinity(monkeypatch):
    assert platform.cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert platform.cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert platform.cores() == 1
