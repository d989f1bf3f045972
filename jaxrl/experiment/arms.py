"""Arms: the trainings that an experiment compares, as data. Those of one structure are settings of one compiled call.

    repeat until no arm is left
        take the arms whose predecessors are finished
        for each program, that is arms with the same make, structure, seeds and updates
            stack the numbers in which they differ: those of configurations by seed, arrays of tasks and evaluators by arm
            run all arms x seeds

Arms that share a program differ in numbers alone: traced fields of the configuration, parameters of the task, arrays of an
evaluator, first states. An array that all of them share lies in memory once, one in which they differ once for each arm, and only
one that each seed has its own of (``task_axes``) once for each seed.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.contracts import declared_steps
from jaxrl.errors import require, unknown_name
from jaxrl.results import factors as factor
from jaxrl.results.factors import Factor
from jaxrl.results.sinks import Sink
from jaxrl.sweeps.split import Split, of_part
from jaxrl.training import seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.graceful_stop import GracefulStop
from jaxrl.training.inputs import OWN, EntryOf, Inputs
from jaxrl.training.runner import Run, run
from jaxrl.training.seed_axis import SEEDS
from jaxrl.training.trainer import Between

PyTree = Any


@dataclass(frozen=True)
class Arm:
    """One training.

    factors: name -> value, what tells this arm from the others; the same names in every arm of an experiment.
    make, task, config, evaluators, chunk_length, initial: see ``jaxrl.training.runner.run``.
    seeds: how many.
    task_axes: which arrays of the task have a leading axis of the seeds; see there.
    env_steps: environment steps of each seed, of which whole updates are made; or
    num_updates: how many updates are made. One of both is given.
    show: the metrics whose means stand beside the progress bar.
    after: factors of an earlier arm that must be finished first: the expert of an imitator, the opponent of a best response.
    prepare: ``(arm, run) -> arm``, completes this arm from the Run of that one: its task, its configuration, its first states. A
        task or a configuration that cannot be told before is None until then; otherwise the one must fit the other already, so
        that what does not is refused before anything is trained.
    may_diverge: its seeds may all become NaN or infinite, and that is a result: the run is no failure.
    between: ``(folder, name) -> Between``, makes the change of the states between two chunks; see
        ``jaxrl.training.trainer.Between``. It is given the folder of the run, to write questions into and read answers from, and
        a name of the arm that can be that of a folder. Such an arm is a program of its own.
    """

    factors: Mapping[str, Factor]
    make: Callable[..., Algorithm]
    task: Any
    config: Any
    seeds: int
    env_steps: int | None = None
    num_updates: int | None = None
    evaluators: tuple = ()
    show: tuple[str, ...] = ("episode_return",)
    chunk_length: int | None = None
    initial: Any = None
    after: Mapping[str, Factor] = field(default_factory=dict)
    prepare: "Callable[[Arm, Run], Arm] | None" = None
    task_axes: Any = None
    may_diverge: bool = False
    between: Callable[[Path, str], Between] | None = None

    @property
    def tasks(self) -> Inputs:
        """The tasks of all seeds.

        Raises:
            ConfigError: ``task_axes`` is no prefix of the task, or an array has no entry for each seed.
        """
        return Inputs.of("task", self.task, self.task_axes, self.seeds)

    def task_of(self, seed: int = 0) -> Any:
        """Returns the task of one seed, whatever is shared."""
        return self.tasks.seed(seed)

    @property
    def label(self) -> str:
        """The values of the factors, as texts and figures name the arm."""
        return factor.label(self.factors)

    @property
    def updates(self) -> int:
        """How many updates are made.

        Raises:
            ConfigError: the environment steps are fewer than an update takes, or the configuration does not say how many that is.
        """
        if self.num_updates is not None:
            return self.num_updates
        where, steps = f"arm {self.label}", declared_steps("arms", self.config)
        must, fix = "an algorithm must declare steps_per_update for env_steps", "Give num_updates in place of env_steps."
        require(steps.per_update is not None, where, must, steps.per_update, fix)
        least = steps.before + (steps.per_update or 1)
        must = f"env_steps must be at least {least}, the steps of one update"
        require(self.env_steps is not None and self.env_steps >= least, where, must, self.env_steps, f"Try --env-steps {least}.")
        return ((self.env_steps or 0) - steps.before) // (steps.per_update or 1)


def checked(arms: Iterable[Arm]) -> list[Arm]:
    """Returns arms in a list.

    Raises:
        ConfigError: there is none; one has other factors than the first, or a value that is no text, number or flag; two are
            equal; one has both or none of env_steps and num_updates; one waits for an arm that does not come before it.
    """
    arms = list(arms)
    require(len(arms) > 0, "arms", "there must be an arm", 0, "Yield one or more.")
    names = list(arms[0].factors)
    labels: set[str] = set()
    for place, arm in enumerate(arms):
        factor.require_factors("arms", arm.factors)
        must, fix = f"every arm must have the factors {names}", "Give each the same names, in the same order."
        require(list(arm.factors) == names, "arms", must, list(arm.factors), fix)
        kinds = {name: {isinstance(other.factors[name], str) for other in arms[: place + 1]} for name in names}
        mixed = [name for name, kind in kinds.items() if len(kind) > 1]
        require(not mixed, "arms", "the values of a factor must all be texts, or all be numbers", mixed, "Name them all.")
        require(arm.label not in labels, "arms", "arms must differ in their factors", dict(arm.factors), "Add a factor.")
        labels.add(arm.label)
        one, given = (arm.env_steps is None) != (arm.num_updates is None), (arm.env_steps, arm.num_updates)
        require(one, f"arm {arm.label}", "an arm must have env_steps or num_updates", given, "Give one of both.")
        seeds = isinstance(arm.seeds, int | np.integer) and arm.seeds >= 1
        require(seeds, f"arm {arm.label}", "seeds must be an integer of at least 1", arm.seeds, "Try --seeds 8.")
        if arm.prepare is None:  # else the task is not complete yet
            _ = arm.tasks  # says what is wrong
        predecessor(arms, place)
    return arms


def predecessor(arms: Sequence[Arm], place: int) -> int | None:
    """Returns the place of the arm that must be finished before this one, None if there is none."""
    arm = arms[place]
    if not arm.after:
        return None
    found = [other for other in range(place) if factor.matches(arms[other].factors, arm.after)]
    must = f"exactly one earlier arm must have the factors {dict(arm.after)}"
    require(len(found) == 1, f"arm {arm.label}", must, [arms[other].label for other in found], "Name more factors in after.")
    return found[0]


def only(arms: Iterable[Arm], selections: Sequence[str]) -> list[Arm]:
    """Returns the arms that have the selected values, and those that they must come after.

    Args:
        arms: of an experiment.
        selections: texts FACTOR=VALUE or FACTOR=VALUE,VALUE; of several factors an arm must satisfy all.

    Raises:
        ConfigError, UnknownNameError: a text has another form, or names no factor or value of these arms; or no arm is left.
    """
    arms = checked(arms)
    wanted: dict[str, list[Factor]] = {}
    for text in selections:
        name, sign, values = text.partition("=")
        known = arms[0].factors
        require(bool(sign and values), "only", "--only must have the form FACTOR=VALUE", text, f"Try {_example(arms)}.")
        if name not in known:
            raise unknown_name("only", "factor", name, known)
        wanted.setdefault(name, []).extend(factor.read(name, v, [arm.factors[name] for arm in arms]) for v in values.split(","))
    chosen = {
        place
        for place, arm in enumerate(arms)
        if all(any(factor.same(arm.factors[name], value) for value in values) for name, values in wanted.items())
    }
    require(bool(chosen), "only", "an arm must have all the selected values", list(selections), "Name fewer factors.")
    for place in reversed(range(len(arms))):
        before = predecessor(arms, place)
        if place in chosen and before is not None:
            chosen.add(before)
    return [arms[place] for place in sorted(chosen)]


def _example(arms: Sequence[Arm]) -> str:
    name, value = next(iter(arms[0].factors.items()))
    return f"--only {name}={value}"


def programs(arms: Sequence[Arm]) -> list[list[int]]:
    """Returns the places of the arms that share a program, for each program, in the order of the first arm of each."""
    found: dict[Hashable, list[int]] = {}
    for place, arm in enumerate(arms):
        found.setdefault(_structure(arm), []).append(place)
    return list(found.values())


def _structure(arm: Arm) -> Hashable:
    one = seed_axis.spread(arm.config, arm.seeds)
    drawn = callable(arm.initial)
    traced = (one, arm.task, arm.evaluators, None if drawn else arm.initial)
    leaves, tree = jax.tree.flatten(traced)
    shapes = tuple((np.shape(leaf), str(jax.numpy.result_type(leaf))) for leaf in leaves)
    kinds = arm.tasks.form.kinds
    alone = None if arm.between is None else arm.label
    return arm.make, tree, shapes, kinds, arm.seeds, arm.updates, arm.chunk_length, arm.initial if drawn else None, alone


def train(
    arms: Iterable[Arm],
    *,
    sinks: Callable[[Arm], Sequence[Sink]] = lambda arm: (),
    watch: Callable[[list[Arm]], Sequence[Sink]] = lambda arms: (),
    checkpoints: Callable[[list[Arm]], Checkpoints] | None = None,
    stop: GracefulStop | None = None,
    between: Callable[[Arm], Between | None] = lambda arm: None if arm.between is None else arm.between(Path(), arm.label),
    **options: Any,
) -> list[Run]:
    """Trains all arms, those of one structure in one call.

    Args:
        arms: what is trained.
        sinks: those of an arm; they see it as if it ran alone, with its share of the time.
        watch: those of a program, given its arms; they see all of them at once.
        checkpoints: those of a program.
        stop: that of a whole command: no further program begins after it was asked for.
        between: what changes the states of an arm between two chunks; by default it is given the present folder.
        options: further arguments of ``jaxrl.training.runner.run``: root, devices, vmap_width and so on.

    Returns:
        A Run for each arm, in their order; after Ctrl-C fewer: the programs that were begun. If answers are missing, all programs
        begin that need none of those that wait.

    Raises:
        ConfigError: as ``checked`` and ``run``.
    """
    arms = checked(arms)
    done: dict[int, Run] = {}
    waiting: dict[int, Run] = {}  # for answers
    while ready := {place: arm for place, arm in ready_arms(arms, done).items() if place not in waiting}:
        places = list(ready)
        for program in programs(list(ready.values())):
            together = [ready[places[index]] for index in program]
            how = {**options, "stop": stop, "between": between(together[0])}
            whole = _train_together(together, [sinks(arm) for arm in together], watch(together), checkpoints, how)
            found = {places[index]: _of_arm(part, whole, together) for part, index in enumerate(program)}
            if whole.summary.wanted:
                waiting |= found
            else:
                done |= found
            if (whole.summary.interrupted and not whole.summary.wanted) or (stop is not None and stop.asked):
                return _in_order(done | waiting)
    return _in_order(done | waiting)


def _in_order(runs: Mapping[int, Run]) -> list[Run]:
    return [runs[place] for place in sorted(runs)]


def ready_arms(arms: Sequence[Arm], done: Mapping[int, Run]) -> dict[int, Arm]:
    """Returns the arms that can be trained now, completed from those that they come after, by their places."""
    found = {}
    for place, arm in enumerate(arms):
        before = predecessor(arms, place)
        if place not in done and (before is None or before in done):
            found[place] = arm if before is None or arm.prepare is None else arm.prepare(arm, done[before])
    return found


def _train_together(arms: list[Arm], sinks: list[Sequence[Sink]], watch: Sequence[Sink], checkpoints, options) -> Run:
    return run(
        **inputs(arms),
        sinks=(*watch, Split(sinks)),
        checkpoints=None if checkpoints is None else checkpoints(arms),
        **options,
    )


def inputs(arms: Sequence[Arm], seeds: int | None = None) -> dict[str, Any]:
    """Returns the arguments of ``jaxrl.training.runner.run`` that train arms of one structure together.

    Args:
        arms: of one structure.
        seeds: of each arm, by default its own number; fewer only try a program.
    """
    first, count = arms[0], len(arms)
    seeds = first.seeds if seeds is None else seeds
    configs = [jax.tree.map(lambda leaf: leaf[:seeds], seed_axis.spread(arm.config, arm.seeds)) for arm in arms]
    task, task_axes = _together([arm.tasks for arm in arms], seeds)
    evaluators, evaluator_axes = _together([Inputs.of("evaluator", arm.evaluators) for arm in arms], seeds)
    initial = first.initial
    if initial is not None and not callable(initial):
        states = [jax.tree.map(lambda leaf: np.asarray(leaf)[:seeds], arm.initial) for arm in arms]
        initial = jax.tree.map(lambda *leaves: np.concatenate(leaves), *states)
    return {
        "make": first.make,
        "task": task,
        "config": jax.tree.map(lambda *leaves: np.concatenate(leaves), *configs),
        "seeds": np.tile(np.arange(seeds), (count, 1)),
        "num_updates": first.updates,
        "chunk_length": first.chunk_length,
        "task_axes": task_axes,
        "initial": initial,
        "evaluators": evaluators,
        "evaluator_axes": evaluator_axes,
    }


def _together(inputs: Sequence[Inputs], seeds: int) -> tuple[PyTree, PyTree]:
    """Returns one tree for all arms and its axes.

    Of an array that seeds have their own of, the entries of all arms follow one another. An array that the arms share is there
    once, and of any other there is one entry for each arm, which all of its seeds take.

    Args:
        inputs: of each arm, in one form.
        seeds: of each arm, the first so many.
    """
    form, count = inputs[0].form, len(inputs)
    by_arm = EntryOf(np.repeat(np.arange(count), seeds))

    def join(kind: str, leaves: tuple) -> tuple[Any, Any]:
        if kind == OWN:
            own = [leaf[:seeds] for leaf in leaves]
            return own[0] if count == 1 else np.concatenate([np.asarray(jax.device_get(leaf)) for leaf in own]), 0
        host = [np.asarray(jax.device_get(leaf)) for leaf in leaves] if count > 1 else []
        if all(np.array_equal(host[0], leaf, equal_nan=host[0].dtype.kind == "f") for leaf in host):
            return leaves[0], None
        return np.stack(host), by_arm

    leaves = [each.leaves for each in inputs]
    pairs = [join(kind, same) for kind, same in zip(form.kinds, zip(*leaves, strict=True), strict=True)]
    axes = [axis for _, axis in pairs]
    none = all(axis is None for axis in axes)
    return form.tree.unflatten([leaf for leaf, _ in pairs]), None if none else form.tree.unflatten(axes)


def _of_arm(part: int, whole: Run, arms: list[Arm]) -> Run:
    """Returns the Run of one arm of a program."""
    if len(arms) == 1:
        return whole
    rows = np.flatnonzero(whole.seeds // SEEDS == part)
    seconds, compile_seconds = (value / len(arms) for value in whole.summary[:2])
    failed = of_part(part, whole.summary.failed_seeds)
    return whole._replace(
        seeds=whole.seeds[rows] % SEEDS,
        metrics={name: values[rows] for name, values in whole.metrics.items()},
        evaluations={name: values[rows] for name, values in whole.evaluations.items()},
        state=None if whole.state is None else seed_axis.entries(whole.state, rows),
        summary=whole.summary._replace(seconds=seconds, compile_seconds=compile_seconds, failed_seeds=failed),
    )
