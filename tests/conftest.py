"""Settings of the test process: two CPU devices, so that the sharded path is the one that is tested, and the compile cache.

Most tests take longer to compile than to run. So programs are compiled with little optimisation, also in processes that tests
start, which takes a quarter of the time. ``make test-all`` compiles them as users do.
"""

import importlib.metadata
import os

import jax
import pytest

from jaxrl import platform

quickly = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"  # processes that tests start read it
jax.config.update("jax_disable_most_optimizations", quickly)
if quickly and tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2]) < (0, 11):
    # The emitters that followed compile more slowly; jaxlib 0.12 has no others any more, and does not know the flag.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()
platform.setup(cpu_devices=2)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Frees the programs of a test file once it is done.

    Every compiled program keeps several memory maps, of which Linux grants a process 65530 by default. Thousands of programs
    exhaust them, and the next compilation aborts the process.
    """
    yield
    jax.clear_caches()
