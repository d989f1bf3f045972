"""Performing an experiment: its arms are trained, its measurements recorded, its figures drawn, all into the run's directory."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from envs.rendering import can_render
from jaxrl.core import contracts
from jaxrl.core.environment import Environment
from jaxrl.errors import JaxrlError
from jaxrl.experiment.arms import Arm, checked, train
from jaxrl.experiment.experiment import Experiment, Row
from jaxrl.experiment.results import Results
from jaxrl.report.films import play, write_replay
from jaxrl.results.gaps import require_no_gaps
from jaxrl.results.progress import Progress
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Sink
from jaxrl.training import seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.distributed import Processes
from jaxrl.training.graceful_stop import GracefulStop
from jaxrl.training.runner import Run
from jaxrl.training.seed_axis import SEEDS
from jaxrl.training.trainer import default_chunk_length

MOST_FILMS = 8  # of a run


class Interrupted(Exception):
    """Ctrl-C was pressed, or answers are missing; whatever had been computed is in the run's directory.

    wanted: which answers are missing, in words.
    """

    def __init__(self, wanted: Sequence[str] = ()):
        super().__init__(*wanted)
        self.wanted = tuple(wanted)


class Session:
    """Trains the arms of one experiment into one directory.

    Arms that are trained again in the directory of a run that was stopped repeat nothing that had been computed: an arm that was
    finished is read, one that was broken off goes on from its last checkpoint.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        root: int = 0,
        seconds_between_checkpoints: float = 60.0,
        keep_checkpoints: int | None = None,
        batch_seeds: int | None = None,
        sinks: Callable[[str], Sequence[Sink]] = lambda arm: (),
        processes: Processes | None = None,
        stop: GracefulStop | None = None,
        most_films: int = MOST_FILMS,
    ):
        """
        Args:
            directory: of the run.
            root: number of the root key of all seeds.
            seconds_between_checkpoints, keep_checkpoints: see ``jaxrl.training.checkpoint.Checkpoints``.
            batch_seeds: how many seeds lie in memory at once, by default as many as fit.
            sinks: further sinks for the arm of this name.
            processes: those that share the seeds; each goes through the experiment, and the first writes what is written once.
            stop: that of the whole command, asked after each program and each measurement; by default each program has its own.
            most_films: how many arms are filmed (count), the first of which there is something to see.
        """
        self.directory = directory
        self.results = Results(directory, root)
        self._root = root
        self._saving = seconds_between_checkpoints, keep_checkpoints
        self._batch_seeds = batch_seeds
        self._sinks = sinks
        self._processes = processes or Processes()
        self._stop = stop
        self._most_films = most_films

    def train(self, arms: Iterable[Arm]) -> Results:
        """Trains arms, those of one structure in one compiled call, with progress bars, tables and checkpoints.

        Returns:
            The results so far, with the Runs of these arms; of one that went on from a checkpoint the tables hold all updates,
            the Run only the later ones.

        Raises:
            Interrupted: Ctrl-C was pressed, or answers are missing.
            ResultsError: rows are missing in the tables although all was trained.
        """
        arms = self._in_their_chunks(checked(arms))
        self._note(arms)
        runs = train(
            arms,
            sinks=lambda arm: (Recorder(self.directory, arm.label, arm.factors), *self._sinks(arm.label)),
            watch=self._watch,
            checkpoints=lambda together: checkpoints_of(self.directory, together, *self._saving),
            root=self._root,
            batch_seeds=self._batch_seeds,
            processes=self._processes,
            stop=self._stop,
            between=lambda arm: None if arm.between is None else arm.between(self.directory.path, self._folder_of(arm)),
        )
        if wanted := [text for run in runs for text in run.summary.wanted]:
            raise Interrupted(wanted)
        if len(runs) < len(arms) or any(run.summary.interrupted for run in runs):
            raise Interrupted
        self._processes.wait()  # whatever follows may read the records of all
        if self._processes.first:
            self.directory.close()
            require_no_gaps(self.directory)
        self._processes.wait()
        for arm, run in zip(arms, runs, strict=True):
            self.results.add(arm.factors, run)
        if self._processes.first:
            filmed = [(arm, run) for arm, run in zip(arms, runs, strict=True) if _is_filmed(arm)]
            for arm, run in filmed[: self._most_films]:
                self._film(arm, run)
        return self.results

    def measure(self, experiment: Experiment, config: Any, lenient: bool = False) -> None:
        """Records the measurements of an experiment and draws its figures.

        Args:
            experiment: its parts.
            config: its configuration.
            lenient: whether a part that lacks an arm is left out with a word, since some arms were not asked for.
        """
        where = f"experiment {experiment.name}"
        if experiment.measure is not None:
            # Each process may need the measurements, the first writes them.
            with contracts.mistakes(where, "measure(config, results)"), _left_out("measure", lenient):
                rows = self._obeying(experiment.measure(config, self.results))
                self.results.record_all(rows, write=self._processes.first)
        self._processes.wait()
        if self._processes.first and experiment.figures is not None:
            with contracts.mistakes(where, "figures(results)"), _left_out("figures", lenient):
                experiment.figures(self.results)

    def _obeying(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            yield row
            if self._stop is not None:
                self._stop.obey()

    def _in_their_chunks(self, arms: Sequence[Arm]) -> list[Arm]:
        """Returns arms with the chunks in which they began: evaluations stay where they were if a run is asked for more."""
        known = {entry["arm"]: entry.get("chunk_length") for entry in self.directory.trainings()}
        return [replace(arm, chunk_length=known.get(arm.label) or arm.chunk_length) for arm in arms]

    def _watch(self, together: Sequence[Arm]) -> Sequence[Sink]:
        if self._processes.first:
            self.directory.tidy()
        if any(arm.prepare is not None for arm in together):
            self._note(together)  # as they were completed
        return (
            Progress(f"{self.directory.experiment} {program_name(together)}", together[0].show, seed_name=seed_names(together)),
        )

    def _folder_of(self, arm: Arm) -> str:
        """Returns the name of an arm as folders and files have it."""
        return self.directory.checkpoints(arm.label).name

    def _note(self, arms: Sequence[Arm]) -> None:
        """Stores what is trained."""
        if self._processes.first:
            self.directory.write_trainings([{**training(arm), "root": self._root} for arm in arms])

    def _film(self, arm: Arm, run: Run) -> None:
        """Writes an episode of the first seed's greedy policy as an animation; the report shows it."""
        name = self._folder_of(arm)
        if (self.directory.path / "replays" / f"{name}.gif").exists():
            return
        first = seed_axis.entries((seed_axis.spread(arm.config, len(run.seeds)), run.state), 0)
        config, state = jax.tree.map(jnp.asarray, first)  # on the host a traced observation could not index them
        task = arm.task_of(0)
        algorithm = arm.make(task, config)
        if algorithm.policy is not None:
            played = play(jax.random.key(0), task, algorithm.policy(state, True), algorithm.memory)
            write_replay(self.directory, name, task, played)


def _is_filmed(arm: Arm) -> bool:
    """Returns whether there is something to see of an arm: pictures, in an environment of more than one step."""
    return isinstance(arm.task, Environment) and arm.task.max_steps > 1 and can_render(arm.task)


@contextlib.contextmanager
def _left_out(part: str, may: bool) -> Iterator[None]:
    """Turns an error of ours in a part of an experiment into a word, if the part may be left out."""
    try:
        yield
    except JaxrlError as error:
        if not may:
            raise
        say(f"{part} left out: {error}")


def training(arm: Arm) -> dict[str, Any]:
    """Returns what an arm trains, as a run stores it."""
    what = {"factors": dict(arm.factors), "make": arm.make, "config": arm.config, "task": arm.task}
    what |= {} if arm.task_axes is None else {"task_axes": jax.tree.leaves(arm.task_axes, is_leaf=lambda axis: axis is None)}
    chunk_length = arm.chunk_length or default_chunk_length(arm.updates)
    how = {"seeds": arm.seeds, "updates": arm.updates, "chunk_length": chunk_length, "evaluates": bool(arm.evaluators)}
    return {"arm": arm.label, **what, **how}


def program_name(arms: Sequence[Arm]) -> str:
    """Returns how texts name the program of these arms."""
    return f"{arms[0].label} and {len(arms) - 1} more" if len(arms) > 1 else arms[0].label


def seed_names(arms: Sequence[Arm]) -> Callable[[int], str]:
    """Returns how texts name a seed of the program of these arms by its number there."""
    return lambda number: f"{number % SEEDS} of {arms[number // SEEDS].label}" if len(arms) > 1 else str(number)


def checkpoints_of(
    directory: RunDirectory, arms: Sequence[Arm], seconds_between: float = 60.0, keep: int | None = None
) -> Checkpoints:
    """Returns the checkpoints of the program of these arms."""
    return Checkpoints(directory.checkpoints(program_name(arms)), seconds_between, keep)


def say(text: str) -> None:
    """Says something to the user, beside the results."""
    from rich.console import Console

    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text)
