"""Settings of the test process: two CPU devices, so that the sharded path is the one that is tested, and the compile cache.

Most tests take longer to compile than to run, so programs are compiled with little optimisation, also in processes that tests
start. ``make test-all`` compiles them as users do.
"""

import os

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # read when jax is imported

import pytest

from jaxrl import memory, platform

platform.setup(cpu_devices=2)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Frees the programs of earlier test files where they become too many.

    Every compiled program keeps several memory maps, of which Linux grants a process 65530 by default. Thousands of programs
    exhaust them, and the next compilation aborts the process.
    """
    yield
    memory.make_room_for_programs()
