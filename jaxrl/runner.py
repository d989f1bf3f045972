"""Running an algorithm: one seed as one pure program, or thousands of seeds in compiled chunks driven from the host.

``train`` is what you jit and vmap yourself. ``run`` vmaps the seeds, spreads them over all devices, compiles one chunk of
updates once, and between chunks copies the metrics to the host, where sinks (progress bar, results folder) receive them and
checkpoints are kept.

Seed ``s`` is ``fold_in(root, s)``; its state is drawn from ``fold_in(seed_key, 0)`` and update ``i`` receives
``fold_in(seed_key, i + 1)``. Nothing depends on how updates are cut into chunks, or on where a run was stopped and resumed.
"""

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl import contracts, memory, quarantine, seed_axis, seed_batches
from jaxrl.algorithm import Algorithm
from jaxrl.checkpoint import Checkpoints
from jaxrl.distributed import Processes
from jaxrl.env import Environment
from jaxrl.errors import require, require_count
from jaxrl.graceful_stop import GracefulStop
from jaxrl.measurements import Measured, Measurements
from jaxrl.seed_axis import Carry, Layout
from jaxrl.seed_batches import Batch
from jaxrl.sink import Plan, RunSummary, Sink

PyTree = Any
SEEDS = 2**32  # how many seed numbers there are


class Run(NamedTuple):
    """What ``run`` returns. U counts the updates that this call finished: fewer than asked for after an interrupt, and only
    those after the checkpoint where it went on from one.

    seeds: int[S], the seed numbers; of a sweep int[M * S], ``member * SEEDS + seed``.
    metrics: name -> float32[S, U], NaN where a value is missing.
    evaluations: name -> float32[S, C], measured after each of C chunks.
    evaluated_at: int[C], how many updates had been made at each evaluation.
    state: the final states, PyTree[S, ...], of a seed in quarantine its last good one; None after an interrupt.
    steps_per_update: environment steps that one seed takes in one update, or None.
    summary: wall and compile seconds, whether Ctrl-C ended the run early, and the seeds in quarantine.
    steps_before_first_update: environment steps that one seed took before its first update.
    """

    seeds: np.ndarray
    metrics: dict[str, np.ndarray]
    evaluations: dict[str, np.ndarray]
    evaluated_at: np.ndarray
    state: PyTree
    steps_per_update: int | None
    summary: RunSummary
    steps_before_first_update: int = 0


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

    Raises:
        ConfigError: ``num_updates`` is no integer of at least 1, or the configuration is out of range.
    """
    require_count("train", "num_updates", num_updates)
    algorithm = make(task, config)
    state = algorithm.init(jax.random.fold_in(key, 0))
    return scan_updates(algorithm, state, key, jnp.arange(num_updates, dtype=jnp.int32))


def scan_updates(algorithm: Algorithm, state: PyTree, key: jax.Array, indices: jax.Array) -> tuple[PyTree, dict]:
    """Makes the updates with these numbers, int32[n], from ``state`` on. Pure; ``key`` is the seed's."""
    return jax.lax.scan(lambda state, i: algorithm.update(state, jax.random.fold_in(key, i + 1)), state, indices)


def run(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    *,
    seeds: int | Iterable[int] | Iterable[Iterable[int]] = 1,
    num_updates: int,
    chunk_length: int | None = None,
    root: int = 0,
    evaluators: Sequence[Callable] = (),
    evaluation_seed: int = 0,
    sinks: Sequence[Sink] = (),
    checkpoints: Checkpoints | None = None,
    devices: Sequence[Any] | None = None,
    group: int | None = None,
    at_once: int | None = None,
    processes: Processes | None = None,
) -> Run:
    """Trains many seeds at once and hands what they measure to the sinks, chunk by chunk.

    Args:
        make: ``(task, config) -> Algorithm``, a function at module level (it is part of the compilation key). A lambda or a
            closure is compiled again whenever it is made again, and cannot have checkpoints: others share its name.
        task: an Environment or a data set, shared by all seeds.
        config: the algorithm's Config. Every traced field is a scalar, or has a leading axis S: then it is swept, and seed
            number ``i`` in the list takes entry ``i``.
        seeds: how many (numbers 0 .. n-1), or the numbers themselves. int[M, S] are the seeds of M members of a sweep, which
            may share them: to ``run``, seed s of member m is number ``m * SEEDS + s`` of a list of M * S, and its randomness
            is that of seed s. See ``jaxrl.sweep``.
        num_updates: U, updates per seed.
        chunk_length: updates in one compiled call, a divisor of U; by default about a twentieth of U. Metrics are copied,
            evaluations made and sinks called once per chunk.
        root: number of the root key from which all seeds are derived.
        evaluators: pytrees that can be called as ``(key, algorithm, state) -> dict of scalars and Averages`` after each chunk;
            see ``jaxrl.evaluation``. They are given the same keys for all seeds and at all times. One that has a method
            ``validate(task)`` is asked first.
        evaluation_seed: number of the key of the evaluations.
        sinks: see ``jaxrl.sink.Sink``. They are left alone where there is nothing to do.
        checkpoints: where the carry of all seeds is kept from time to time, at the end and after Ctrl-C. A run that finds some
            of its own there goes on from the newest.
        devices: which devices to use, by default all of this process.
        group: how many seeds a device vmaps at once, the groups following one another. By default all on an accelerator, and
            as many as fit into a core's cache on a CPU. 1 makes every seed independent of how many others run beside it, to
            the last bit, on the same number of devices.
        at_once: how many seeds lie in memory at once; the rest follow in further batches, each from its first update to its
            last. By default as many as fit; see ``jaxrl.memory``.
        processes: those that share the seeds, each calling ``run`` with the same arguments; ``checkpoints`` must lie where all
            of them see it. Sinks receive what this process computed; the state that is returned is that of all seeds.

    Returns:
        A Run. After Ctrl-C it holds the chunks that were finished. Its state is on the host where there were several batches
        or the last checkpoint had nothing left to do.

    Raises:
        ConfigError: a value above is out of range, or the configuration does not fit the task.
        AlgorithmError, EnvironmentError, EvaluatorError: ``make``, the task or an evaluator breaks its protocol, as far as that
            shows by tracing; see ``jaxrl.check_algorithm`` and ``jaxrl.check_environment`` for the rest.
        CheckpointError: a checkpoint belongs to another run, or all checkpoints of a batch of seeds are damaged.
        ProcessLostError: another process died; what it had not computed is missing.
    """
    started = time.perf_counter()
    numbers = _seed_numbers(seeds)
    require_count("run", "num_updates", num_updates)
    for name, value in (("chunk_length", chunk_length), ("group", group), ("at_once", at_once)):
        if value is not None:
            require_count("run", name, value)
    chunk_length = _chunk_length(num_updates, chunk_length)
    evaluators, steps = _validate(make, task, config, evaluators, checkpoints)
    configs = seed_axis.spread(config, len(numbers))
    devices = list(jax.local_devices() if devices is None else devices)
    memory.make_room_for_programs()

    processes = processes or Processes()
    alone = processes.count == 1
    must = "several processes must share checkpoints"
    require(alone or checkpoints is not None, "run", must, checkpoints, "Give a folder that all of them see.")
    identity = {"make": make, "task": task, "config": config, "root": root, "num_updates": num_updates}
    saved = checkpoints.begin(**identity) if checkpoints else []
    processes.wait()  # nobody may save before all have seen what there is
    if at_once is None and saved:
        at_once = max(checkpoint.room for checkpoint in saved)
    if at_once is None:
        one = jax.tree.map(lambda leaf: leaf[0], configs)
        most = -(-len(numbers) // processes.count)
        at_once = memory.seeds_that_fit(make, task, one, most, chunk_length, evaluators, devices, group)
    batches = seed_batches.cut(numbers, saved, at_once, processes)
    for left in (num_updates - batch.first_update for batch in batches):
        must = f"chunk_length must divide the {left} updates that are left"
        require(left % chunk_length == 0, "run", must, chunk_length, "Resume with the length that the run was started with.")

    trainer = _Trainer(make, task, configs, numbers, num_updates, chunk_length, root, evaluators, evaluation_seed)
    measurements = Measurements(numbers, sinks, trainer.places)
    own = numbers[np.sort(np.concatenate([np.arange(0), *(batch.rows for batch in batches)]))]
    done = sum(batch.first_update * len(batch.rows) for batch in batches)
    if done < num_updates * len(own):
        trainer.trace(next(batch for batch in batches if batch.first_update < num_updates), devices, group)
        measurements.begin(Plan(own, num_updates, chunk_length, steps.per_update, len(devices), done, steps.before))
    carries: list[Carry] = []
    interrupted = False
    try:
        with GracefulStop() as stop:
            for batch in batches:
                layout = trainer.layout(batch, devices, group)
                carries.append(trainer.train(batch, layout, measurements, checkpoints, stop))
            if checkpoints is not None and not alone:
                processes.wait()
                finished = seed_batches.cut(numbers, checkpoints.begin(**identity), 1)
                others = [batch for batch in finished if numbers[batch.rows[0]] not in own]
                batches += others
                carries += [trainer.restore(batch, measurements, checkpoints) for batch in others]
    except KeyboardInterrupt:
        interrupted = True
    finally:
        summary = measurements.end(time.perf_counter() - started, trainer.compile_seconds, interrupted)

    state = None if interrupted else seed_batches.in_order([carry.state for carry in carries], batches)
    return Run(numbers, *measurements.tables(), state, steps.per_update, summary, steps.before)


def _validate(make, task, config, evaluators, checkpoints) -> tuple[tuple, contracts.DeclaredSteps]:
    """Refuses what cannot be run, as far as it shows before an update is traced; returns evaluators, and the steps."""
    contracts.require_make("run", make)
    contracts.require_task("run", task)
    contracts.require_config("run", config)
    evaluators = contracts.evaluators_of("run", evaluators, task)
    contracts.validate("run", config, task)
    if isinstance(task, Environment):
        contracts.require_environment("run", task)
    if checkpoints is not None:
        contracts.require_names("run", make, task)
    return evaluators, contracts.declared_steps("run", config)


class _Trainer:
    """Trains batches of seeds with the compiled programs of ``jaxrl.seed_axis``."""

    def __init__(self, make, task, configs, numbers, num_updates, chunk_length, root, evaluators, evaluation_seed):
        self._make, self._task, self._configs, self._numbers = make, task, configs, numbers
        self._num_updates, self._chunk_length, self._root = num_updates, chunk_length, root
        self._evaluators, self._evaluation_seed = evaluators, evaluation_seed
        self._first_calls: dict[Any, float] = {}

    @property
    def compile_seconds(self) -> float:
        """Seconds of tracing and compiling so far."""
        return sum(self._first_calls.values())

    def layout(self, batch: Batch, devices: Sequence, group: int | None) -> Layout:
        config = self._config_of(batch.rows[0])
        return Layout.of(self._make, self._task, config, devices[: batch.room], batch.room, group)

    def trace(self, batch: Batch, devices: Sequence, group: int | None) -> None:
        """Traces the programs of a batch, which jax remembers for when they are called: the first word on what is unsound."""
        layout, config = self.layout(batch, devices, group), self._config_of(batch.rows[0])
        length, evaluators = self._chunk_length, self._evaluators
        arguments = seed_axis.abstract_arguments(self._make, layout, length, self._task, config, evaluators)
        seed_axis.chunk.eval_shape(*arguments.chunk)
        if evaluators:
            seed_axis.evaluate.eval_shape(*arguments.evaluate)

    def train(
        self, batch: Batch, layout: Layout, measurements: Measurements, checkpoints: Checkpoints | None, stop: GracefulStop
    ) -> Carry:
        """Makes the updates of a batch that are left and returns its carry, [B, ...].

        Raises:
            KeyboardInterrupt: ``stop`` was asked to stop; what was computed has been recorded and a checkpoint saved.
        """
        seeds = self._numbers[batch.rows]
        if batch.first_update == self._num_updates:
            return self.restore(batch, measurements, checkpoints)
        # Filler seeds make the count divisible. They repeat the last seed, so they cannot bring anything new (a failure, say).
        filled = np.concatenate([batch.rows, np.full(layout.size - len(seeds), batch.rows[-1])])
        fold_in = functools.partial(jax.random.fold_in, jax.random.key(self._root))
        keys = jax.device_put(jax.vmap(fold_in)(jnp.asarray(self._numbers[filled] % SEEDS, jnp.uint32)), layout.split)
        configs = jax.device_put(jax.tree.map(lambda leaf: leaf[filled], self._configs), layout.split)
        shared = (self._task, self._evaluators, jax.random.key(self._evaluation_seed))
        task, evaluators, evaluation_key = jax.device_put(shared, layout.replicated)
        if batch.saved is None:
            carry = self._call(seed_axis.begin, layout, task, configs, keys)
        else:
            restored = self.restore(batch, measurements, checkpoints)
            last = np.minimum(np.arange(layout.size), len(seeds) - 1)
            carry = jax.device_put(jax.tree.map(lambda leaf: leaf[last], restored), layout.split)

        pending = None
        for first in range(batch.first_update, self._num_updates, self._chunk_length):
            length = self._chunk_length
            carry, metrics, health = self._call(seed_axis.chunk, layout, length, task, configs, keys, carry, np.int32(first))
            evaluation = {}
            if evaluators:
                evaluation = self._call(seed_axis.evaluate, layout, task, evaluators, evaluation_key, configs, carry)
            # The devices work on this chunk while the host takes in the one before.
            measurements.deliver(pending)
            pending = Measured(batch.rows, first, metrics, evaluation, health)
            if stop.asked or (checkpoints is not None and checkpoints.is_due()):
                measurements.deliver(pending)
                pending = None
                if checkpoints is not None:
                    checkpoints.save(seeds, first + length, carry, batch.room)
                stop.obey()
        measurements.deliver(pending)
        jax.block_until_ready(carry)
        if checkpoints is not None:
            checkpoints.save(seeds, self._num_updates, carry, batch.room, finished=True)
        return jax.tree.map(lambda leaf: leaf[: len(seeds)], carry)

    def restore(self, batch: Batch, measurements: Measurements, checkpoints: Checkpoints | None) -> Carry:
        """Reads the carry of a batch that a checkpoint holds, [B, ...], and notes which of its seeds are in quarantine."""
        assert checkpoints is not None
        assert batch.saved is not None
        carry = checkpoints.restore(batch.saved, self._like(batch.rows[0]))
        carry = jax.tree.map(lambda leaf: leaf[batch.picked], carry)
        measurements.note(batch.rows, carry.health)
        return carry

    def _config_of(self, row: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[row], self._configs)

    def _call(self, function: Callable, layout: Layout, *args: Any) -> Any:
        begun = time.perf_counter()
        out = function(self._make, layout, *args)
        # A first call returns once it has traced, compiled and started; later ones return at once.
        self._first_calls.setdefault((function, layout), time.perf_counter() - begun)
        return out

    def places(self) -> list[str]:
        """Names what the quarantine watches; see there."""
        state, config = self._like(0).state, self._config_of(0)
        update = self._make(self._task, config).update
        _, metrics = jax.eval_shape(update, state, jax.random.key(0))
        return quarantine.places(state, metrics)

    def _like(self, row: int) -> Carry:
        return seed_axis.abstract_carry(self._make, self._task, self._config_of(row))


def _seed_numbers(seeds: int | Iterable[int] | Iterable[Iterable[int]]) -> np.ndarray:
    must, fix = "seeds must be integers in [0, 2**32)", "Give a count, or a list of numbers."
    try:
        numbers = np.arange(seeds) if isinstance(seeds, (int, np.integer)) else np.asarray(list(seeds))
    except (TypeError, ValueError):  # no list, or a ragged one
        numbers = np.array([seeds], object)
    require(numbers.size > 0, "run", "there must be at least one seed", seeds, "Ask for one or more.")
    known = np.issubdtype(numbers.dtype, np.integer) and numbers.min() >= 0 and numbers.max() < SEEDS
    require(bool(known), "run", must, seeds, fix)
    numbers = numbers.astype(np.int64)
    if numbers.ndim == 2:
        numbers = (numbers + SEEDS * np.arange(len(numbers))[:, None]).ravel()
    values, counts = np.unique(numbers, return_counts=True)
    repeated = ", ".join(f"{seed % SEEDS} ({count} times)" for seed, count in zip(values, counts, strict=True) if count > 1)
    require(not repeated, "run", "each seed must be named once", repeated, "Remove the repetitions.")
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
