"""The memory of the machine that this process runs on: how much is free, how much was used, a check before it is asked for."""

import contextlib
import resource
import sys
from pathlib import Path

from jaxrl.errors import require

# How much of the free memory a run may plan with: other programs grow, and allocators lose some to fragments.
USABLE = 0.85


def free_memory() -> float:
    """Returns the bytes that the system and the container, if there is one, leave to this process; infinite if none says."""
    limits = [float("inf")]
    with contextlib.suppress(OSError, IndexError):
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
        limits.append(1024 * float(line.split()[1]))
    for limit, usage in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(float(Path(limit).read_text()) - float(Path(usage).read_text()))
    return min(limits)


def peak_of_process() -> int:
    """Returns the most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def require_room(where: str, what: str, needed: float, fix: str) -> None:
    """Raises ConfigError if the host has less memory than something needs.

    Args:
        where: who asks.
        what: needs it.
        needed: bytes.
        fix: what the user can do.
    """
    available = USABLE * free_memory()
    must = f"{what} must fit into the memory of this machine ({available / 1e9:.1f} GB free)"
    require(needed <= available, where, must, f"{needed / 1e9:.1f} GB", fix)
