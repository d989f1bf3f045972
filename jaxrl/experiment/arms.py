"""Arms: the trainings that an experiment compares, as data. Those of one structure are settings of one compiled call.

    for each program, that is arms with the same make, structure, seeds and updates
        stack the traced numbers in which they differ: of configurations, tasks and evaluators
        run all arms x seeds

Arms that share a program differ in numbers alone: traced fields of the configuration, parameters of the task, arrays of an
evaluator. What is the same for all of them lies in memory once.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.errors import require
from jaxrl.results.sinks import Sink
from jaxrl.sweeps.split import Split, of_part
from jaxrl.training import seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import Run, run
from jaxrl.training.seed_axis import SEEDS

PyTree = Any
Factor = str | int | float | bool


@dataclass(frozen=True)
class Arm:
    """One training.

    factors: name -> value, what tells this arm from the others; at least one, the same names in every arm of an experiment.
    make, task, config, num_updates, evaluators, chunk_length: see ``jaxrl.training.runner.run``.
    seeds: how many.
    """

    factors: Mapping[str, Factor]
    make: Callable[..., Algorithm]
    task: Any
    config: Any
    seeds: int
    num_updates: int
    evaluators: tuple = ()
    chunk_length: int | None = None

    @property
    def label(self) -> str:
        """The values of the factors, as texts and figures name the arm."""
        return label(self.factors)


def label(factors: Mapping[str, Factor]) -> str:
    """Returns a name for these values: texts as they are, others with the name of their factor."""
    return ", ".join(value if isinstance(value, str) else f"{name} {value:g}" for name, value in factors.items())


def checked(arms: Iterable[Arm]) -> list[Arm]:
    """Returns arms in a list.

    Raises:
        ConfigError: there is none; one has other factors than the first, or a value that is no text or number; two are equal.
    """
    arms = list(arms)
    require(len(arms) > 0, "arms", "there must be an arm", 0, "Yield one or more.")
    names = list(arms[0].factors)
    for arm in arms:
        must, fix = f"every arm must have the factors {names}", "Give each the same names, in the same order."
        require(len(names) > 0 and list(arm.factors) == names, "arms", must, list(arm.factors), fix)
        wrong = {name: value for name, value in arm.factors.items() if not isinstance(value, str | int | float | bool)}
        require(not wrong, "arms", "values of factors must be texts, numbers or flags", wrong, "Name the value.")
    seen: set[str] = set()
    for arm in arms:
        require(arm.label not in seen, "arms", "arms must differ in their factors", dict(arm.factors), "Add a factor.")
        seen.add(arm.label)
    return arms


def programs(arms: Sequence[Arm]) -> list[list[int]]:
    """Returns the places of the arms that share a program, for each program, in the order of the first arm of each."""
    found: dict[Hashable, list[int]] = {}
    for place, arm in enumerate(arms):
        found.setdefault(_structure(arm), []).append(place)
    return list(found.values())


def _structure(arm: Arm) -> Hashable:
    one = seed_axis.spread(arm.config, arm.seeds)
    traced = (one, arm.task, arm.evaluators)
    leaves, tree = jax.tree.flatten(traced)
    shapes = tuple((np.shape(leaf), str(jax.numpy.result_type(leaf))) for leaf in leaves)
    return arm.make, tree, shapes, arm.seeds, arm.num_updates, arm.chunk_length


def train(
    arms: Iterable[Arm],
    *,
    sinks: Callable[[Arm], Sequence[Sink]] = lambda arm: (),
    watch: Callable[[list[Arm]], Sequence[Sink]] = lambda arms: (),
    checkpoints: Callable[[list[Arm]], Checkpoints] | None = None,
    **options: Any,
) -> list[Run]:
    """Trains all arms, those of one structure in one call.

    Args:
        arms: what is trained.
        sinks: those of an arm; they see it as if it ran alone, with its share of the time.
        watch: those of a program, given its arms; they see all of them at once.
        checkpoints: those of a program.
        options: further arguments of ``jaxrl.training.runner.run``: root, devices, group and so on.

    Returns:
        A Run for each arm, in their order; after Ctrl-C fewer: the programs that were begun.

    Raises:
        ConfigError: as ``checked`` and ``run``.
    """
    arms = checked(arms)
    done: dict[int, Run] = {}
    for places in programs(arms):
        together = [arms[place] for place in places]
        whole = _train_together(together, [sinks(arm) for arm in together], watch(together), checkpoints, options)
        done |= {place: _of_arm(part, whole, together) for part, place in enumerate(places)}
        if whole.summary.interrupted:
            break
    return [done[place] for place in sorted(done)]


def _train_together(arms: list[Arm], sinks: list[Sequence[Sink]], watch: Sequence[Sink], checkpoints, options) -> Run:
    first, count = arms[0], len(arms)
    configs = [seed_axis.spread(arm.config, arm.seeds) for arm in arms]
    task, task_axes = _stacked([arm.task for arm in arms], first.seeds)
    evaluators, evaluator_axes = _stacked([arm.evaluators for arm in arms], first.seeds)
    return run(
        first.make,
        task,
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *configs),
        seeds=np.tile(np.arange(first.seeds), (count, 1)),
        num_updates=first.num_updates,
        chunk_length=first.chunk_length,
        task_axes=task_axes,
        evaluators=evaluators,
        evaluator_axes=evaluator_axes,
        sinks=(*watch, Split(sinks)),
        checkpoints=None if checkpoints is None else checkpoints(arms),
        **options,
    )


def _stacked(trees: list[PyTree], seeds: int) -> tuple[PyTree, PyTree]:
    """Returns one tree for all arms and its axes: what they share once, and of the rest an entry for every seed of every arm."""

    def join(*leaves):
        first = np.asarray(jax.device_get(leaves[0]))
        alike = all(np.array_equal(first, np.asarray(jax.device_get(leaf)), equal_nan=first.dtype.kind == "f") for leaf in leaves)
        return (leaves[0], None) if alike else (np.repeat(np.stack([np.asarray(leaf) for leaf in leaves]), seeds, axis=0), 0)

    leaves, tree = zip(*(jax.tree.flatten(each) for each in trees), strict=True)
    pairs = [join(*same) for same in zip(*leaves, strict=True)]
    return tree[0].unflatten([leaf for leaf, _ in pairs]), tree[0].unflatten([axis for _, axis in pairs])


def _of_arm(part: int, whole: Run, arms: list[Arm]) -> Run:
    """Returns the Run of one arm of a program."""
    rows = np.flatnonzero(whole.seeds // SEEDS == part)
    seconds, compile_seconds = (value / len(arms) for value in whole.summary[:2])
    failed = of_part(part, whole.summary.failed_seeds)
    return whole._replace(
        seeds=whole.seeds[rows] % SEEDS,
        metrics={name: values[rows] for name, values in whole.metrics.items()},
        evaluations={name: values[rows] for name, values in whole.evaluations.items()},
        state=None if whole.state is None else jax.tree.map(lambda leaf: leaf[rows], whole.state),
        summary=whole.summary._replace(seconds=seconds, compile_seconds=compile_seconds, failed_seeds=failed),
    )
