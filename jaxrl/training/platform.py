"""Settings of the process that must be made before jax starts its backend. The command line makes them; a script may."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import jax

from jaxrl.errors import require


def default_cache() -> Path:
    """Returns where compiled programs are kept: ``$JAXRL_CACHE``, else ``$XDG_CACHE_HOME/jaxrl``, else ``~/.cache/jaxrl``.

    Without a home folder, they are kept among the temporary files of this user.
    """
    explicit = os.environ.get("JAXRL_CACHE")
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        base = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return Path(explicit) if explicit else Path(base) / "jaxrl"


# Flags of XLA on a GPU; other platforms always give the same bits.
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def setup(cpu_devices: int | None = None, cache: str | os.PathLike | None = None, deterministic: bool = False) -> None:
    """Shows every processor core to jax as a device of its own, and keeps compiled programs on disk.

    Seeds are spread over devices. Vmapping seeds on one CPU device leaves the other cores idle, so a device per core is worth
    a factor of about the number of cores; on a GPU or TPU the setting changes nothing.

    Args:
        cpu_devices: how many CPU devices; by default one per core that this process may use. Ignored once jax's backend has
            started (an array was made before), or where ``jax_num_cpu_devices`` has been set already.
        cache: folder of the persistent compilation cache, by default ``default_cache()``. A cache configured before (by
            ``JAX_COMPILATION_CACHE_DIR``) is kept.
        deterministic: only use kernels of a GPU that give the same bits every time (scatter-adds without atomics, no timing
            of alternatives), by adding to ``XLA_FLAGS``, which every run stores among its versions.

    Raises:
        ConfigError: ``deterministic`` is asked for and jax's backend has started: the flags would come too late.
    """
    settings: Any = jax.config
    flags = os.environ.get("XLA_FLAGS", "")
    if deterministic and DETERMINISTIC not in flags:
        must = "deterministic must be asked for before jax's backend starts"
        require(not _has_started(), "platform", must, deterministic, "Call setup first, before any array is made.")
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".strip()
    if settings.jax_num_cpu_devices < 0 and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # raised where the backend runs already: its devices stand
            settings.update("jax_num_cpu_devices", cpu_devices or cores())
    if not settings.jax_compilation_cache_dir:
        settings.update("jax_compilation_cache_dir", str(cache or default_cache()))
        settings.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def cores() -> int:
    """Returns how many processor cores this process may use, as far as the system says so."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _has_started() -> bool:
    """Returns whether jax's backend runs: from then on flags of XLA are not read."""
    from jax._src import xla_bridge  # jax has no public way to ask without starting it

    return xla_bridge.backends_are_initialized()
