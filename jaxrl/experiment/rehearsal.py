"""Going through an experiment in a folder that is thrown away, to learn something about its trainings."""

import abc
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxrl.cli.execute import say
from jaxrl.experiment.arms import Arm, checked
from jaxrl.experiment.claims import Experiment
from jaxrl.experiment.session import Session, Training
from jaxrl.results.run_directory import RunDirectory
from jaxrl.training.runner import Run

Looking = TypeVar("Looking", bound="Rehearsal")


class Rehearsal(Session, abc.ABC):
    """A session that looks at trainings in another way than by making them. Each command says how, in ``look_at``."""

    def __init__(self, directory: RunDirectory):
        super().__init__(directory)
        self.seen: list[str] = []

    def perform(self, training: Training) -> Run:
        """Looks at a training and remembers that it came so far."""
        done = self.look_at(training)
        self.seen.append(training.variant or self.directory.experiment)
        return done

    def train_arms(self, arms: Iterable[Arm], show: Sequence[str] = ("episode_return",)) -> list[Run]:
        """Looks at each arm as a training of its own."""
        return [
            self.perform(
                Training(
                    arm.make, arm.task, arm.config, arm.seeds, arm.num_updates, arm.evaluators, arm.label, show, arm.chunk_length
                )
            )
            for arm in checked(arms)
        ]

    @abc.abstractmethod
    def look_at(self, training: Training) -> Run:
        """Does what the command is for; returns a Run with which the experiment can go on."""


def rehearse(name: str, module: Experiment, config: Any, session: Callable[[RunDirectory], Looking]) -> Looking:
    """Goes through an experiment and returns the session.

    What an experiment does between its trainings may need better results than a rehearsal gives. It then ends there, and says
    so, unless no training had been seen.

    Args:
        name: of the experiment.
        module: its module.
        config: its configuration.
        session: makes the session.
    """
    with tempfile.TemporaryDirectory() as folder:
        rehearsal = session(RunDirectory.create(Path(folder), name, config))
        try:
            module.run(config, rehearsal)
        except Exception as error:
            if not rehearsal.seen:
                raise
            say(f"what follows {rehearsal.seen[-1]!r} is not covered: {error}")
    return rehearsal
