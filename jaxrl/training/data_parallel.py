"""One large run on many devices: its environments are divided over them, and gradients are averaged.

``jaxrl.training.runner.run`` spreads seeds, which never talk. Where one seed is the work of several devices, each of them steps
its part of the environments and computes its part of every gradient, from its part of every minibatch. The parameters are whole
on each device. No algorithm knows: XLA's partitioner divides the program along the environment axis, and where the program sums
over the batch it puts a sum over the devices.

The randomness is that of the run on one device, and so are the results, up to the order of sums.

Source: Xu et al. (2021), "GSPMD: General and Scalable Parallelization for ML Computation Graphs".
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.batch_axis import DeviceGroup, require_divisible
from jaxrl.errors import require
from jaxrl.training import runner
from jaxrl.training.runner import Run


def run(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    *,
    num_updates: int,
    devices: Sequence[Any] | None = None,
    devices_per_seed: int | None = None,
    **options: Any,
) -> Run:
    """Trains like ``jaxrl.training.runner.run``, each seed on several devices at once.

    Worth it where one run is large: hundreds of environments, wide networks, large minibatches. Where many seeds are wanted,
    ``jaxrl.training.runner.run`` loses no time to devices that wait for one another.

    Args:
        make, task: see there.
        config: the algorithm's Config; ``num_envs`` must be divisible by ``devices_per_seed``.
        num_updates: U, updates per seed.
        devices: which devices to use, by default all of this process.
        devices_per_seed: how many share a seed, a divisor of their number; by default all of them.
        options: the other arguments of ``runner.run``: seeds, chunk_length, root, evaluators, sinks, checkpoints ... Its
            checkpoints do not depend on how many devices wrote them.

    Raises:
        ConfigError: the environments or the devices cannot be divided evenly, or what ``jaxrl.training.runner.run`` raises.
    """
    devices = list(jax.local_devices() if devices is None else devices)
    size = len(devices) if devices_per_seed is None else devices_per_seed
    must = f"devices_per_seed must divide the number of devices ({len(devices)})"
    require(1 <= size <= len(devices) and len(devices) % size == 0, "data_parallel", must, size, "Name fewer devices.")
    require_divisible(config, size)
    together = [DeviceGroup(devices[first : first + size]) for first in range(0, len(devices), size)]
    return runner.run(make, task, config, num_updates=num_updates, devices=together, **options)
