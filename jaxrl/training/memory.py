"""Memory before a run: what the compiled programs need, what the devices have, and how many seeds fit at once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxrl.core import machine
from jaxrl.errors import require
from jaxrl.training import seed_axis
from jaxrl.training.inputs import Inputs
from jaxrl.training.seed_axis import Layout, bytes_of

# Beside the carry a program needs temporary values and room for metrics: about as much as the carry for tabular learners, four
# times as much for PPO on CartPole. Where the carries of all seeds fit this many times, no compilation is needed to know it.
SURELY = 20


# Linux grants a process so many memory maps; a program keeps up to a thousand, and an allocation beyond them ends the process.
MAPS, MOST_MAPS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
CROWDED = 0.7  # of them: the next programs must still find room


class Need(NamedTuple):
    """The memory that a batch of seeds needs.

    seeds: how many seeds the program is made for.
    carry: bytes of one seed's carry: what lies in memory between updates, and in a checkpoint.
    bytes: of all seeds on all devices together, while an update is made: carries, task, temporary values, metrics of a chunk.
    devices: how many share them.
    """

    seeds: int
    carry: int
    bytes: int
    devices: int

    @property
    def per_seed(self) -> float:
        """Bytes that a seed needs while an update is made."""
        return self.bytes / self.seeds


def need(
    make: Callable,
    task: Any,
    config: Any,
    count: int,
    chunk_length: int,
    evaluators: Sequence[Callable] | Inputs,
    devices: Sequence[Any],
    vmap_width: int | None = None,
) -> Need:
    """Compiles the programs of a run, without running them, and returns what they need.

    Args:
        make, task, chunk_length, evaluators, devices, vmap_width: see ``jaxrl.training.runner.run``; task and evaluators may be
            ``Inputs``.
        config: of one seed.
        count: how many seeds lie in memory at once.
    """
    task, evaluators = _inputs(task, evaluators)
    layout = Layout.of(make, task.seed(), config, devices[:count], count, vmap_width)
    arguments = seed_axis.abstract_arguments(make, layout, chunk_length, task, config, evaluators)
    lowered = [seed_axis.begin.lower(*arguments.begin), seed_axis.chunk.lower(*arguments.chunk)]
    if evaluators.seed():
        lowered.append(seed_axis.evaluate.lower(*arguments.evaluate))
    per_device = max(_per_device(program.compile().memory_analysis()) for program in lowered)
    carry = bytes_of(seed_axis.abstract_carry(make, task.seed(), config))
    return Need(layout.size, carry, per_device * layout.mesh.size, layout.mesh.size)


def _inputs(task: Any, evaluators: Sequence[Callable] | Inputs) -> tuple[Inputs, Inputs]:
    held = evaluators if isinstance(evaluators, Inputs) else tuple(evaluators)
    return Inputs.of("task", task), Inputs.of("evaluators", held)


def _per_device(analysis: Any) -> int:
    held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return held + analysis.temp_size_in_bytes


def seeds_that_fit(
    make: Callable,
    task: Any,
    config: Any,
    count: int,
    chunk_length: int,
    evaluators: Sequence[Callable] | Inputs,
    devices: Sequence[Any],
    vmap_width: int | None = None,
) -> int:
    """Returns how many of ``count`` seeds can lie in memory at once; arguments as for ``need``.

    Raises:
        ConfigError: not even one seed fits.
    """
    available = free(devices)
    task, evaluators = _inputs(task, evaluators)
    one = bytes_of(seed_axis.abstract_carry(make, task.seed(), config))
    if one * count * SURELY < available:
        return count
    fit = count
    while (needed := need(make, task, config, fit, chunk_length, evaluators, devices, vmap_width).bytes) > available:
        must = f"a seed must fit into the free memory ({available / 1e6:,.0f} MB)"
        fix = "Make networks, buffers or the number of environments smaller, or use a device with more memory."
        require(fit > 1, "run", must, f"{needed / 1e6:,.0f} MB", fix)
        # Doubling the seeds at most doubles the need, so this many surely fit, unless what they share is large.
        fit = max(1, min(fit - 1, int(fit * available / needed)))
    return fit


def free(devices: Sequence[Any]) -> float:
    """Returns how many bytes a run on these devices may use, on all of them together."""
    if devices[0].platform == "cpu":
        return machine.USABLE * machine.free_memory()
    stats = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in entry for entry in stats):
        return float("inf")  # a device that does not say; XLA will
    return machine.USABLE * len(devices) * min(entry["bytes_limit"] - entry.get("bytes_in_use", 0) for entry in stats)


def bytes_of_metrics(num_metrics: int, num_updates: int, seeds: int) -> int:
    """Returns what the metrics of a run take on the host: each chunk is kept, and at the end joined with the others."""
    return 2 * 4 * num_metrics * num_updates * seeds


def make_room_for_programs() -> bool:
    """Forgets all compiled programs of this process where they have used up most of its memory maps, and returns whether.

    Dozens of large programs in one process come to that: a sweep over the sizes of a network, a long session in a notebook. What
    is needed again is compiled again, or read from the compilation cache.
    """
    try:
        used, most = MAPS.read_bytes().count(b"\n"), int(MOST_MAPS.read_text())
    except (OSError, ValueError):  # not on Linux
        return False
    if used < CROWDED * most:
        return False
    jax.clear_caches()
    return True
