"""Settings of the test process: two CPU devices, so that the sharded path is the one that is tested, and the compile cache.

Most tests take longer to compile than to run. So programs are compiled with little optimisation, also in processes that tests
start, which takes a quarter of the time (half with jax 0.12). ``make test-all`` compiles them as users do, and so does
``make conformance`` where a test is about bits or memory.
"""

import gc
import os

import jax
import pytest

quickly = os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1"  # processes that tests start read it
flags = ["--xla_cpu_parallel_codegen_split_count=1"]  # parts of a program that are compiled side by side: 7 % of the time
if quickly and jax.__version_info__[:2] == (0, 10):  # later versions no longer have these emitters, and end at an unknown flag
    flags += ["--xla_cpu_use_fusion_emitters=false"]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])
jax.config.update("jax_disable_most_optimizations", quickly)

from jaxrl.training import platform  # noqa: E402  the training reads these settings when it is imported

platform.setup(cpu_devices=2)
# Small programs are kept as well: every file compiles much the same ones, for each forgets its own. 12 % of the time.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)


# Tracing makes many objects and few cycles; looking for these takes 6 % of the time.
gc.disable()


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Frees the programs of a test file, and what is left of them in cycles, once it is done.

    Every compiled program keeps several memory maps, of which Linux grants a process 65530 by default. Thousands of programs
    exhaust them, and the next compilation aborts the process.
    """
    yield
    jax.clear_caches()
    gc.collect()
