"""Running an algorithm: one seed as one pure program, or thousands of seeds in compiled chunks driven from the host.

``train`` is what you jit and vmap yourself. ``run`` vmaps the seeds, spreads them over all devices, compiles one chunk of
updates once, and between chunks copies the metrics to the host, where sinks (progress bar, results folder) receive them.

Seed ``s`` is ``fold_in(root, s)``; its state is drawn from ``fold_in(seed_key, 0)`` and update ``i`` receives
``fold_in(seed_key, i + 1)``. Nothing depends on how updates are cut into chunks.
"""

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrl.algorithm import Algorithm
from jaxrl.errors import require
from jaxrl.results import Chunk, Plan, RunSummary, Sink

PyTree = Any
SEED_AXIS = "seed"
MISSING_UNTIL_AN_EPISODE_ENDS = ("episode_return", "episode_length")

# On a CPU, seeds are vmapped in groups whose states together fit into a core's cache; the groups follow one another.
# Measured with PPO on CartPole (0.11 MB a seed, 2 cores, 256 seeds): groups of four 267, all at once 215 thousand steps/s.
CPU_GROUP_BYTES = 512 * 1024

# An initialisation runs once: compiling it takes longer than running it, and half as long with few optimisations.
INIT_OPTIONS = {"xla_backend_optimization_level": 1}

# The small kernels of a training loop gain nothing from being scheduled side by side within one CPU device. Measured with PPO
# on CartPole, one seed: 9 % more steps/s. Other platforms ignore it.
CHUNK_OPTIONS = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


class Run(NamedTuple):
    """What ``run`` returns. U counts the updates that were finished, which is fewer than asked for after an interrupt.

    seeds: int[S], the seed numbers.
    metrics: name -> float32[S, U], NaN where a value is missing.
    evaluations: name -> float32[S, C], measured after each of C chunks.
    evaluated_at: int[C], how many updates had been made at each evaluation.
    state: the final states, PyTree[S, ...]; None after an interrupt.
    steps_per_update: environment steps that one seed takes in one update, or None.
    summary: wall and compile seconds, whether Ctrl-C ended the run early, and the seeds with values that are not finite.
    """

    seeds: np.ndarray
    metrics: dict[str, np.ndarray]
    evaluations: dict[str, np.ndarray]
    evaluated_at: np.ndarray
    state: PyTree
    steps_per_update: int | None
    summary: RunSummary


def train(make: Callable[..., Algorithm], task: Any, config: Any, key: jax.Array, num_updates: int) -> tuple[PyTree, dict]:
    """Trains one seed as one pure program: jit it, vmap it over keys, tasks or configurations.

    Args:
        make: ``(task, config) -> Algorithm``.
        task: an Environment or a data set.
        config: the algorithm's Config.
        key: the seed's key.
        num_updates: U.

    Returns:
        The final state and the metrics, each [U].
    """
    algorithm = make(task, config)
    state = algorithm.init(jax.random.fold_in(key, 0))
    return scan_updates(algorithm, state, key, jnp.arange(num_updates))


def scan_updates(algorithm: Algorithm, state: PyTree, key: jax.Array, indices: jax.Array) -> tuple[PyTree, dict]:
    """Makes the updates with these numbers, int32[n], from ``state`` on. Pure; ``key`` is the seed's."""
    return jax.lax.scan(lambda state, i: algorithm.update(state, jax.random.fold_in(key, i + 1)), state, indices)


class _Layout(NamedTuple):
    """How seeds lie on devices: every device takes ``groups`` groups of ``width`` seeds, vmapped within a group."""

    mesh: Mesh
    groups: int
    width: int

    @property
    def size(self) -> int:
        return self.mesh.size * self.groups * self.width


def _over_seeds(layout: _Layout, function: Callable, shared: PyTree, *by_seed: PyTree) -> PyTree:
    """Applies ``function(shared, *one_seed)`` to every seed. Seeds never talk, so no device waits for another."""

    def on_device(shared, *by_seed):
        one = functools.partial(function, shared)
        if layout.groups * layout.width == 1:  # a batch axis of one would still cost a third of the speed on a CPU
            out = one(*jax.tree.map(lambda leaf: leaf[0], by_seed))
            return jax.tree.map(lambda leaf: leaf[None], out)
        if layout.groups == 1:
            return jax.vmap(one)(*by_seed)
        if layout.width == 1:
            return jax.lax.map(lambda seed: one(*seed), by_seed)
        grouped = jax.tree.map(lambda leaf: leaf.reshape(layout.groups, layout.width, *leaf.shape[1:]), by_seed)
        out = jax.lax.map(lambda group: jax.vmap(one)(*group), grouped)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), out)

    replicated, split = PartitionSpec(), PartitionSpec(SEED_AXIS)
    specs = (replicated, *(split for _ in by_seed))
    return jax.shard_map(on_device, mesh=layout.mesh, in_specs=specs, out_specs=split, check_vma=False)(shared, *by_seed)


@functools.partial(jax.jit, static_argnames=("make",))
def _init_one(make, task, config, key):
    return make(task, config).init(jax.random.fold_in(key, 0))


@functools.partial(jax.jit, static_argnames=("make", "layout"), compiler_options=INIT_OPTIONS)
def _init(make, layout, task, configs, keys):
    return _over_seeds(layout, functools.partial(_init_one, make), task, configs, keys)


@functools.partial(
    jax.jit, static_argnames=("make", "layout", "length"), donate_argnames=("states",), compiler_options=CHUNK_OPTIONS
)
def _chunk(make, layout, length, task, configs, keys, states, first):
    def one(shared, config, key, state):
        task, first = shared
        return scan_updates(make(task, config), state, key, first + jnp.arange(length))

    return _over_seeds(layout, one, (task, first), configs, keys, states)


@functools.partial(jax.jit, static_argnames=("make", "layout"))
def _evaluate(make, layout, task, evaluators, key, configs, states):
    def one(shared, config, state):
        task, evaluators, key = shared
        algorithm = make(task, config)
        out = {}
        for index, evaluator in enumerate(evaluators):
            out |= evaluator(jax.random.fold_in(key, index), algorithm, state)
        return out

    return _over_seeds(layout, one, (task, evaluators, key), configs, states)


def run(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    *,
    seeds: int | Iterable[int] = 1,
    num_updates: int,
    chunk_length: int | None = None,
    root: int = 0,
    evaluators: Sequence[Callable] = (),
    evaluation_seed: int = 0,
    sinks: Sequence[Sink] = (),
    devices: Sequence[Any] | None = None,
    group: int | None = None,
) -> Run:
    """Trains many seeds at once and hands what they measure to the sinks, chunk by chunk.

    Args:
        make: ``(task, config) -> Algorithm``, a function at module level (it is part of the compilation key).
        task: an Environment or a data set, shared by all seeds.
        config: the algorithm's Config. Every traced field is a scalar, or has a leading axis S: then it is swept, and seed
            number ``i`` in the list takes entry ``i``.
        seeds: how many (numbers 0 .. n-1), or the numbers themselves.
        num_updates: U, updates per seed.
        chunk_length: updates in one compiled call, a divisor of U; by default about a twentieth of U. Metrics are copied,
            evaluations made and sinks called once per chunk.
        root: number of the root key from which all seeds are derived.
        evaluators: pytrees that can be called as ``(key, algorithm, state) -> dict of scalars`` after each chunk; see
            ``jaxrl.evaluation``. They are given the same keys for all seeds and at all times.
        evaluation_seed: number of the key of the evaluations.
        sinks: see ``jaxrl.results.Sink``.
        devices: which devices to use, by default all.
        group: how many seeds a device vmaps at once, the groups following one another. By default all on an accelerator, and
            as many as fit into a core's cache on a CPU. 1 makes every seed independent of how many others run beside it, to
            the last bit.

    Returns:
        A Run. After Ctrl-C it holds the chunks that were finished.

    Raises:
        ConfigError: a value above is out of range, or the configuration does not fit the task.
    """
    started = time.perf_counter()
    numbers = _seed_numbers(seeds)
    require(num_updates >= 1, "run", "num_updates must be at least 1", num_updates, "Ask for more updates.")
    chunk_length = _chunk_length(num_updates, chunk_length)
    require(group is None or group >= 1, "run", "group must be at least 1", group, "Leave it out for the default.")
    if hasattr(config, "validate"):
        config.validate(task)
    configs = _spread(config, len(numbers))
    steps_per_update = getattr(config, "steps_per_update", None)

    devices = list(jax.devices() if devices is None else devices)[: len(numbers)]
    layout = _layout(make, task, configs, devices, len(numbers), group)
    # Filler seeds make the count divisible. They repeat the last seed, so they cannot bring anything new (a failure, say).
    filled = np.concatenate([np.arange(len(numbers)), np.full(layout.size - len(numbers), len(numbers) - 1)])
    split = NamedSharding(layout.mesh, PartitionSpec(SEED_AXIS))
    replicated = NamedSharding(layout.mesh, PartitionSpec())
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(root)))(jnp.asarray(numbers[filled], jnp.uint32))
    keys = jax.device_put(keys, split)
    configs = jax.device_put(jax.tree.map(lambda leaf: leaf[filled], configs), split)
    task, evaluators = jax.device_put((task, tuple(evaluators)), replicated)
    evaluation_key = jax.device_put(jax.random.key(evaluation_seed), replicated)

    metrics: list[dict[str, np.ndarray]] = []
    evaluations: list[dict[str, np.ndarray]] = []
    clock = time.perf_counter()
    first_calls: dict[Callable, float] = {}

    def call(function, *args):
        begun = time.perf_counter()
        out = function(make, layout, *args)
        # A first call returns once it has traced, compiled and started; later ones return at once.
        first_calls.setdefault(function, time.perf_counter() - begun)
        return out

    def deliver(first, chunk_metrics, evaluation):
        nonlocal clock
        on_host = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(numbers)], (chunk_metrics, evaluation))
        metrics.append(on_host[0])
        evaluations.append(on_host[1])
        now = time.perf_counter()
        for sink in sinks:
            sink.chunk(Chunk(first, on_host[0], on_host[1], now - clock))
        clock = now

    for sink in sinks:
        sink.begin(Plan(numbers, num_updates, chunk_length, steps_per_update, len(devices)))
    states, pending, interrupted = None, None, False
    try:
        states = call(_init, task, configs, keys)
        for first in range(0, num_updates, chunk_length):
            states, chunk_metrics = call(_chunk, chunk_length, task, configs, keys, states, np.int32(first))
            evaluation = call(_evaluate, task, evaluators, evaluation_key, configs, states) if evaluators else {}
            # The devices work on this chunk while the host takes in the one before.
            pending, previous = (first, chunk_metrics, evaluation), pending
            if previous is not None:
                deliver(*previous)
        if pending is not None:
            deliver(*pending)
        jax.block_until_ready(states)
    except KeyboardInterrupt:
        interrupted = True
        if pending is not None and len(metrics) * chunk_length == pending[0]:  # no chunk may be missing before it
            deliver(*pending)
    finally:
        seconds, compile_seconds = time.perf_counter() - started, sum(first_calls.values())
        summary = RunSummary(seconds, compile_seconds, interrupted, _failures(numbers, metrics))
        for sink in sinks:
            sink.end(summary)

    return Run(
        numbers,
        _concatenate(metrics, np.concatenate),
        _concatenate(evaluations, np.stack),
        np.arange(1, len(metrics) + 1) * chunk_length,
        None if interrupted else jax.tree.map(lambda leaf: leaf[: len(numbers)], states),
        steps_per_update,
        summary,
    )


def _concatenate(parts: list[dict[str, np.ndarray]], join: Callable) -> dict[str, np.ndarray]:
    return {name: join([part[name] for part in parts], axis=1) for name in parts[0]} if parts else {}


def _failures(numbers: np.ndarray, metrics: list[dict[str, np.ndarray]]) -> dict[int, int]:
    """Returns seed -> first update with a metric that is not finite. Episode statistics are missing while no episode ends."""
    failures: dict[int, int] = {}
    for name, values in _concatenate(metrics, np.concatenate).items():
        bad = np.isinf(values) if name in MISSING_UNTIL_AN_EPISODE_ENDS else ~np.isfinite(values)
        for row in np.flatnonzero(bad.any(1)):
            seed, update = int(numbers[row]), int(bad[row].argmax())
            failures[seed] = min(update, failures.get(seed, update))
    return failures


def _seed_numbers(seeds: int | Iterable[int]) -> np.ndarray:
    numbers = np.arange(seeds) if isinstance(seeds, (int, np.integer)) else np.asarray(list(seeds))
    require(numbers.size > 0, "run", "there must be at least one seed", seeds, "Ask for one or more.")
    require(
        np.issubdtype(numbers.dtype, np.integer) and numbers.min() >= 0 and numbers.max() < 2**32,
        "run",
        "seeds must be integers in [0, 2**32)",
        seeds,
        "Give a count, or a list of numbers.",
    )
    values, counts = np.unique(numbers, return_counts=True)
    repeated = values[counts > 1].tolist()
    require(not repeated, "run", "seeds must differ", repeated, "Remove the repetitions.")
    return numbers


def _chunk_length(num_updates: int, chunk_length: int | None) -> int:
    divisors = [d for d in range(1, num_updates + 1) if num_updates % d == 0]
    if chunk_length is None:
        return min(divisors, key=lambda d: abs(math.log(d * 20 / num_updates)))
    nearest = min(divisors, key=lambda d: abs(d - chunk_length))
    require(
        chunk_length in divisors,
        "run",
        f"chunk_length must divide num_updates ({num_updates})",
        chunk_length,
        f"Try {nearest}.",
    )
    return chunk_length


def _spread(config: Any, count: int) -> Any:
    """Gives every traced field of a configuration a leading seed axis. One form for plain and swept runs: one program."""

    def spread(path, leaf):
        leaf = np.asarray(leaf)
        if leaf.dtype == np.float64:
            leaf = leaf.astype(np.float32)
        if leaf.dtype == np.int64:
            leaf = leaf.astype(np.int32)
        name = jax.tree_util.keystr(path)
        require(
            leaf.ndim == 0 or leaf.shape[0] == count,
            f"config{name}",
            f"a field must be a scalar or have one entry per seed ({count})",
            leaf.shape,
            "Sweep a field by giving it as many entries as there are seeds.",
        )
        return np.broadcast_to(leaf, (count,)) if leaf.ndim == 0 else leaf

    return jax.tree_util.tree_map_with_path(spread, config)


def _layout(make, task, configs, devices: list, count: int, group: int | None) -> _Layout:
    per_device = -(-count // len(devices))
    if group is None:
        group = per_device
        if devices[0].platform == "cpu":
            first = jax.tree.map(lambda leaf: leaf[0], configs)
            state = _init_one.eval_shape(make, task, first, jax.random.key(0))
            size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
            group = max(1, CPU_GROUP_BYTES // max(1, size))
    groups = -(-per_device // group)
    return _Layout(Mesh(np.asarray(devices), (SEED_AXIS,)), groups, -(-per_device // groups))
