"""Settings of the process that must be made before jax starts its backend. The command line makes them; a script may."""

import contextlib
import os
from pathlib import Path
from typing import Any

import jax


def default_cache() -> Path:
    """Returns where compiled programs are kept: ``$JAXRL_CACHE``, else ``$XDG_CACHE_HOME/jaxrl``, else ``~/.cache/jaxrl``."""
    explicit = os.environ.get("JAXRL_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(explicit) if explicit else Path(base) / "jaxrl"


def setup(cpu_devices: int | None = None, cache: str | os.PathLike | None = None) -> None:
    """Shows every processor core to jax as a device of its own, and keeps compiled programs on disk.

    Seeds are spread over devices. Vmapping seeds on one CPU device leaves the other cores idle, so a device per core is worth
    a factor of about the number of cores; on a GPU or TPU the setting changes nothing.

    Args:
        cpu_devices: how many CPU devices; by default one per core that this process may use. Ignored once jax's backend has
            started (an array was made before), or where ``jax_num_cpu_devices`` has been set already.
        cache: folder of the persistent compilation cache, by default ``default_cache()``. A cache configured before (by
            ``JAX_COMPILATION_CACHE_DIR``) is kept.
    """
    settings: Any = jax.config
    if settings.jax_num_cpu_devices < 0 and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # raised where the backend runs already: its devices stand
            settings.update("jax_num_cpu_devices", cpu_devices or len(os.sched_getaffinity(0)))
    if not settings.jax_compilation_cache_dir:
        settings.update("jax_compilation_cache_dir", str(cache or default_cache()))
        settings.update("jax_persistent_cache_min_compile_time_secs", 0.1)
