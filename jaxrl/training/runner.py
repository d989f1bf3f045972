"""Running an algorithm: one seed as one pure program, or thousands of seeds in compiled chunks driven from the host.

``train`` is what you jit and vmap yourself. ``run`` vmaps the seeds, spreads them over all devices, compiles one chunk of
updates once, and between chunks copies the metrics to the host, where sinks (progress bar, results folder) receive them and
checkpoints are kept.

Seed ``s`` is ``fold_in(root, s)``; its state is drawn from ``fold_in(seed_key, 0)`` and update ``i`` receives
``fold_in(seed_key, i + 1)``. Nothing depends on how updates are cut into chunks, or on where a run was stopped and resumed.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import contracts
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment
from jaxrl.errors import AnswersWanted, CheckpointError, is_traced, require, require_count
from jaxrl.results import provenance
from jaxrl.results import sinks as observers
from jaxrl.results.provenance import to_json
from jaxrl.results.sinks import Plan, RunSummary, Sink
from jaxrl.training import memory, seed_axis, seed_batches
from jaxrl.training.checkpoint import Checkpoints, Saved
from jaxrl.training.distributed import Processes
from jaxrl.training.graceful_stop import GracefulStop
from jaxrl.training.inputs import Inputs
from jaxrl.training.measurements import Measurements
from jaxrl.training.seed_axis import SEEDS, SeedState
from jaxrl.training.seed_batches import Batch
from jaxrl.training.trainer import Between, Schedule, Trainer, default_chunk_length

PyTree = Any


class Run(NamedTuple):
    """The result of ``run``. U counts the updates that this call finished: fewer than asked for after an interrupt, and only
    those after the checkpoint where it went on from one.

    seeds: int[S], the seed numbers; of a sweep int[M * S], ``member * SEEDS + seed``.
    metrics: name -> float32[S, U], NaN where a value is missing. A metric that is an array has a name for each entry, as
        ``agent_return/0``; see ``jaxrl.core.averages``.
    evaluations: name -> float32[S, C], measured after each of C chunks; names likewise.
    evaluated_at: int[C], how many updates had been made at each evaluation.
    state: the final states, PyTree[S, ...], of a seed in quarantine its last good one; None after an interrupt.
    steps_per_update: environment steps that one seed takes in one update, or None.
    summary: wall and compile seconds, whether Ctrl-C or a missing answer ended the run early, and the seeds in quarantine.
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
        task: an Environment, a data set or a game.
        config: the algorithm's Config.
        key: the seed's key.
        num_updates: U.

    Returns:
        The final state and the metrics as the algorithm measures them, each [U, ...]; ``jaxrl.core.averages.columns`` divides
        their averages.

    Raises:
        ConfigError, SpaceError: the configuration cannot run on the task; not looked at if either is traced.
    """
    require_count("train", "num_updates", num_updates)
    if not is_traced(task, config):
        contracts.require_own_config("train", make, config)
        contracts.validate("train", config, task)
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
    task_axes: Any = None,
    initial: Any = None,
    between: Between | None = None,
    evaluators: Sequence[Callable] = (),
    evaluator_axes: Any = None,
    evaluation_seed: int = 0,
    sinks: Sequence[Sink] = (),
    checkpoints: Checkpoints | None = None,
    devices: Sequence[Any] | None = None,
    vmap_width: int | None = None,
    batch_seeds: int | None = None,
    processes: Processes | None = None,
    stop: GracefulStop | None = None,
) -> Run:
    """Trains many seeds at once and hands what they measure to the sinks, chunk by chunk.

    Args:
        make: ``(task, config) -> Algorithm``, a function at module level (it is part of the compilation key). A lambda or a
            closure is compiled again whenever it is made again, and cannot have checkpoints: others share its name.
        task: an Environment, a data set or a game; all seeds share it, but for ``task_axes``.
        config: the algorithm's Config. Every traced field is a scalar, or has a leading axis S: then it is swept, and seed
            number ``i`` in the list takes entry ``i``.
        seeds: how many (numbers 0 .. n-1), or the numbers themselves. int[M, S] are the seeds of M members of a sweep, which
            may share them: to ``run``, seed s of member m is number ``m * SEEDS + s`` of a list of M * S, and its randomness
            is that of seed s. See ``jaxrl.sweeps.sweep``.
        num_updates: U, updates per seed.
        chunk_length: updates in one compiled call, by default about a twentieth of U. If it does not divide U, the last chunk is
            shorter, which costs one more compilation. Metrics are copied, evaluations made and sinks called once per chunk.
        root: number of the root key from which all seeds are derived.
        task_axes: which arrays of the task have a leading axis [S], of which each seed takes its entry: a data set, an opponent
            or parameters of its own. None for what is shared and 0 for what is not, a prefix of the task as ``in_axes`` of
            ``jax.vmap``; where few entries serve many seeds, ``jaxrl.training.inputs.EntryOf`` says which
            takes which. The first seed's task is the one that is validated.
        initial: where the seeds start instead of at ``init``: states, PyTree[S, ...], such as those of another Run, or a
            function ``(key) -> state`` that jax can trace.
        between: changes the states between two chunks, from the host; see ``Between``. A run that goes on from a checkpoint must
            have the same ``chunk_length``. One that has no answer yet ends the run early, with ``summary.wanted``.
        evaluators: pytrees that can be called as ``(key, algorithm, state) -> metrics`` after each chunk; see
            ``jaxrl.evaluation``. They are given the same keys for all seeds and at all times. One that has a method
            ``validate(task)`` is asked first.
        evaluator_axes: as ``task_axes``, of the tuple of evaluators.
        evaluation_seed: number of the key of the evaluations.
        sinks: see ``jaxrl.results.sinks.Sink``. They are left alone where there is nothing to do.
        checkpoints: where the carry of all seeds is kept from time to time, at the end and after Ctrl-C. A run that finds some
            of its own there goes on from the newest, also one that is asked for more updates than before. Where a sink is a
            ``jaxrl.results.sinks.Record`` and lost rows, it goes on from before these.
        devices: which devices to use, by default all of this process.
        vmap_width: how many seeds a device vmaps at once, the groups following one another. By default all on an accelerator, and
            as many as fit into a core's cache on a CPU. 1 makes every seed independent of how many others run beside it, to
            the last bit, on the same number of devices.
        batch_seeds: how many seeds lie in memory at once; the rest follow in further batches, each from its first update to its
            last. By default as many as fit; see ``jaxrl.training.memory``.
        processes: those that share the seeds, each calling ``run`` with the same arguments; ``checkpoints`` must lie where all
            of them see it. Sinks receive what this process computed; the state that is returned is that of all seeds.
        stop: that of a whole command, by default one of this call: after Ctrl-C in its last chunk the next call stops at once.

    Returns:
        A Run. After Ctrl-C it holds the chunks that were finished. Its state is on the host where there were several batches
        or the last checkpoint had nothing left to do.

    Raises:
        ConfigError: a value above is out of range, or the configuration does not fit the task.
        AlgorithmError, EnvError, EvaluatorError: ``make``, the task or an evaluator breaks its protocol, as far as that
            shows by tracing; see ``jaxrl.check_algorithm`` and ``jaxrl.check_environment`` for the rest.
        CheckpointError: a checkpoint belongs to another run, was computed by another source of a function outside of jaxrl, or
            has made more updates than are asked for; or all checkpoints of a batch of seeds are damaged.
        ProcessLostError: another process died; what it had not computed is missing.
    """
    started = time.perf_counter()
    numbers = _seed_numbers(seeds)
    processes = processes or Processes()
    _require_options(root, num_updates, chunk_length=chunk_length, vmap_width=vmap_width, batch_seeds=batch_seeds)
    given, judges = _inputs(task, task_axes, evaluators, evaluator_axes, len(numbers))
    steps = _validate(make, given.seed(), config, checkpoints, processes)
    memory.make_room_for_programs()

    plan = Schedule(num_updates, chunk_length or default_chunk_length(num_updates), root)
    identity = _identity(make, task, config, plan, task_axes, initial, between)
    configs, devices = seed_axis.spread(config, len(numbers)), list(jax.local_devices() if devices is None else devices)
    trainer = Trainer(
        make, given, configs, numbers, plan, judges, evaluation_seed, initial, between, devices, vmap_width, checkpoints
    )
    told = functools.partial(plan.told, steps, trainer.devices, trainer.evaluates)
    saved = [] if checkpoints is None else _saved(checkpoints, identity, processes, sinks, told(numbers))
    fitting = batch_seeds or max((one.room for one in saved), default=0) or trainer.seeds_that_fit(processes)
    batches = seed_batches.cut(numbers, saved, fitting, processes)
    measurements = Measurements(numbers, sinks, trainer.watched_names)
    own, first = seed_batches.share(numbers, batches)
    if (first < num_updates).any():
        trainer.trace(next(batch for batch in batches if batch.first_update < num_updates))
        measurements.begin(told(own, first))
    carries, interrupted, wanted = [], False, ()
    try:
        with contextlib.nullcontext(stop) if stop is not None else GracefulStop() as stop:
            carries, wanted = _trained(trainer, batches, measurements, stop)
            others = [] if (interrupted := bool(wanted)) else _of_other_processes(processes, checkpoints, identity, numbers, own)
            carries += [trainer.restore(batch, measurements) for batch in others]
            batches += others
    except KeyboardInterrupt:
        interrupted = True
    finally:
        summary = measurements.end(time.perf_counter() - started, trainer.compile_seconds, interrupted, wanted)

    if not interrupted:
        measurements.complete(told(numbers), summary)
    state = None if interrupted else seed_batches.in_order([carry.state for carry in carries], batches)
    return Run(numbers, *measurements.tables(), state, steps.per_update, summary, steps.before)


def _trained(trainer: Trainer, batches, measurements, stop: GracefulStop) -> tuple[list[SeedState], tuple[str, ...]]:
    """Trains batches as far as they come; returns their carries, and the answers that some wait for."""
    carries, wanted = [], []
    for batch in batches:
        try:
            carries.append(trainer.train(batch, measurements, stop))
        except AnswersWanted as error:
            wanted.append(str(error))
    return carries, tuple(wanted)


def _require_options(root: int, num_updates: int, **counts: int | None) -> None:
    whole = isinstance(root, (int, np.integer)) and not isinstance(root, bool) and 0 <= root < SEEDS
    require(whole, "run", "root must be an integer in [0, 2**32)", root, "Others give the same random numbers as these.")
    require_count("run", "num_updates", num_updates)
    for name, value in counts.items():
        if value is not None:
            require_count("run", name, value)


def _saved(checkpoints: Checkpoints, identity, processes: Processes, sinks: Sequence[Sink], asked: Plan) -> list[Saved]:
    """Returns the checkpoints to go on from: of each batch the newest up to which all rows are on record.

    A record that lost rows is completed by making those updates again, which gives the same numbers.

    Raises:
        CheckpointError: a checkpoint belongs to another run, or has made more updates than are asked for.
    """
    saved = checkpoints.begin(**identity)
    for entry in saved:
        must, fix = f"it must have made at most {asked.num_updates} updates", "Ask for as many, or start a new run."
        fits = entry.next_update <= asked.num_updates
        require(fits, f"checkpoint {entry.path}", must, entry.next_update, fix, CheckpointError)
    if processes.count > 1:
        job = to_json({**identity, "seeds": asked.seeds, "updates": asked.num_updates})
        processes.require_same("algorithm, task, configuration, seeds and updates", job)
    recorded = observers.held(sinks, asked) if saved else np.zeros(0, int)
    processes.wait()  # no process may write before all have seen the checkpoints and the records
    return seed_batches.on_record(saved, asked.seeds, recorded, checkpoints.earlier)


def _of_other_processes(processes: Processes, checkpoints: Checkpoints | None, identity, numbers, own) -> list[Batch]:
    """Returns the batches of seeds that other processes have trained, once all have come to their end. own: our seeds."""
    if checkpoints is None or processes.count == 1:
        return []
    processes.wait()
    finished = seed_batches.cut(numbers, checkpoints.begin(**identity), 1)
    return [batch for batch in finished if numbers[batch.rows[0]] not in own]


def _identity(make, task, config, plan: Schedule, task_axes, initial, between: Between | None) -> dict[str, Any]:
    """Returns everything that the results depend on, by which checkpoints know their run."""
    identity = {"make": make, "task": task, "config": config, "root": plan.root}
    identity |= {} if task_axes is None else {"task_axes": task_axes}
    identity |= {} if initial is None else {"initial": initial}
    if between is not None:  # "told": what its checkpoints hold, which was once the states after they were told
        identity |= {"between": type(between), "told": "after the checkpoint", "chunk_length": plan.chunk_length}
    asked = () if between is None else (type(between), between.ask, between.apply)
    return identity | {"sources": provenance.sources((make, task, config, asked, initial if callable(initial) else ()))}


def _inputs(task: Any, task_axes: Any, evaluators: Any, evaluator_axes: Any, count: int) -> tuple[Inputs, Inputs]:
    """Returns the task and the evaluators of ``count`` seeds. Raises EnvError or EvaluatorError if they are none."""
    contracts.require_task("run", task)
    given = Inputs.of("task", task, task_axes, count)
    return given, Inputs.of("evaluator", contracts.evaluators_of("run", evaluators, given.seed()), evaluator_axes, count)


def _validate(make, task, config, checkpoints, processes) -> contracts.DeclaredSteps:
    """Refuses what cannot be run, as far as it shows before an update is traced; returns the steps that are declared."""
    contracts.require_make("run", make)
    contracts.require_config("run", config)
    contracts.require_own_config("run", make, config)
    contracts.validate("run", config, task)
    if isinstance(task, Environment):
        contracts.require_environment("run", task)
    if checkpoints is not None:
        contracts.require_names("run", make, task)
    must, fix = "several processes must share checkpoints", "Give a folder that all of them see."
    require(processes.count == 1 or checkpoints is not None, "run", must, checkpoints, fix)
    return contracts.declared_steps("run", config)


def _seed_numbers(seeds: int | Iterable[int] | Iterable[Iterable[int]]) -> np.ndarray:
    must, fix = "seeds must be a count, or a list of integers in [0, 2**32)", "Give seeds=8 or seeds=[0, 1]."
    require(isinstance(seeds, (int, np.integer, Iterable)) and not isinstance(seeds, str), "run", must, seeds, fix)
    if isinstance(seeds, (int, np.integer)):  # before so many numbers are made
        require(1 <= seeds <= SEEDS, "run", must if seeds >= 1 else "there must be at least one seed", seeds, fix)
    try:
        numbers = np.arange(seeds) if isinstance(seeds, (int, np.integer)) else np.asarray(list(seeds))
    except ValueError:  # members with different numbers of seeds
        numbers = np.array([seeds], object)
    require(numbers.size > 0, "run", "there must be at least one seed", seeds, "Ask for one or more.")
    known = np.issubdtype(numbers.dtype, np.integer) and numbers.min() >= 0 and numbers.max() < SEEDS
    require(bool(known), "run", must, seeds, fix)
    numbers = numbers.astype(np.int64)
    if numbers.ndim == 2:
        numbers = (numbers + SEEDS * np.arange(len(numbers))[:, None]).ravel()
    values, counts = np.unique(numbers, return_counts=True)
    repeated = np.unique(values[counts > 1] % SEEDS).tolist()
    require(not repeated, "run", "seeds must differ", f"{repeated} more than once", "Remove the repetitions.")
    return numbers
