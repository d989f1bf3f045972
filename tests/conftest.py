"""Settings of the test process: two CPU devices, so that the sharded path is the one that is tested, and the compile cache."""

import jax
import pytest

from jaxrl import platform

platform.setup(cpu_devices=2)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Frees the programs of a test file once it is done.

    Every compiled program keeps several memory maps, of which Linux grants a process 65530 by default. Thousands of programs
    exhaust them, and the next compilation aborts the process.
    """
    yield
    jax.clear_caches()
