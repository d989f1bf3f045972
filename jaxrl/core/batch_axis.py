"""The batch axis: where a program says how its arrays lie on devices that share one run.

Where no run is shared, saying so does nothing at all. Where one is (``jaxrl.training.data_parallel``), the partitioner divides
what follows from these arrays too, and adds up over devices what is added up over the axis: losses, gradients, moments.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import PartitionSpec

from jaxrl.core.config import Batched, largest_divisor
from jaxrl.errors import require

PyTree = Any
BATCH_AXIS = "batch"


def shard_batch(tree: PyTree, axis: int = 0) -> PyTree:
    """Returns the arrays as they are, each with this axis divided over the devices that share the run, if there are any."""
    return _laid_out(tree, PartitionSpec(*[None] * axis, BATCH_AXIS))


def replicate(tree: PyTree) -> PyTree:
    """Returns the arrays as they are, each whole on every device that shares the run, if there are any."""
    return _laid_out(tree, PartitionSpec())


def _laid_out(tree: PyTree, spec: PartitionSpec) -> PyTree:
    if BATCH_AXIS not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, spec), tree)


class DeviceGroup:
    """Devices that share each run. To ``jaxrl.training.runner.run`` they are one device."""

    def __init__(self, devices: Sequence[Any]):
        """devices: at least one, all of one kind."""
        require(len(devices) > 0, "DeviceGroup", "there must be at least one device", devices, "Name one.")
        self.devices = tuple(devices)

    @property
    def platform(self) -> str:
        """cpu, gpu or tpu."""
        return self.devices[0].platform

    def memory_stats(self) -> dict[str, int]:
        """Returns what all of them have, if each has as little as the one that has least; empty if one does not say."""
        stats = [device.memory_stats() or {} for device in self.devices]
        if not all("bytes_limit" in entry for entry in stats):
            return {}
        least = min(stats, key=lambda entry: entry["bytes_limit"] - entry.get("bytes_in_use", 0))
        return {name: len(stats) * least.get(name, 0) for name in ("bytes_limit", "bytes_in_use")}


def require_divisible(config: Any, num_devices: int) -> None:
    """Raises ConfigError where the environments of a configuration cannot be divided over this many devices."""
    where = "data_parallel"
    must = "the configuration must have an environment axis (num_envs)"
    fix = "Spread its seeds over the devices instead, with jaxrl.training.runner.run."
    require(isinstance(config, Batched), where, must, config, fix)
    count, fewer = config.num_envs, largest_divisor(config.num_envs, num_devices)
    fix = f"Try num_envs={-(-count // num_devices) * num_devices}, or {fewer} of the devices."
    require(count % num_devices == 0, where, f"num_envs must be divisible by the number of devices ({num_devices})", count, fix)


def batch_axes(shapes: Callable, config: Any) -> tuple[int | None, ...]:
    """Finds the environment axis of every array in a tree: the one that is shorter where there are fewer environments.

    Args:
        shapes: ``config -> PyTree``, the shapes.
        config: with ``num_envs`` of two or more.

    Returns:
        For each leaf the number of the axis, None where it has none.
    """
    trees = shapes(config), shapes(config.replace(num_envs=1))
    pairs = zip(*map(jax.tree.leaves, trees), strict=True)
    return tuple(next((i for i, n in enumerate(many.shape) if n != one.shape[i]), None) for many, one in pairs)
