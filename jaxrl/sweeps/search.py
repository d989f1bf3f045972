"""Search with Optuna: a batch of trials is asked for, trained in one compiled call, and told.

The study lives in a storage (an SQLite file, or any URL that Optuna knows), so that a search that was killed goes on: trials that
were finished are not repeated, and those that were running are run again. As the sampler of each trial is seeded by how many
trials came before, it finds what it would have found without the kill.

Source: Akiba et al. (2019), "Optuna: A Next-generation Hyperparameter Optimization Framework"; needs the extra ``search``.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.errors import ConfigError, ResultsError, require, unknown_name
from jaxrl.results import storage as files
from jaxrl.results.provenance import digest, to_json
from jaxrl.results.sinks import Sink
from jaxrl.sweeps.members import Values, checked, fields
from jaxrl.sweeps.selection import Objective
from jaxrl.sweeps.sweep import Sweep, seed_numbers, sweep
from jaxrl.training.checkpoint import Checkpoints

STUDY = "search"  # the name of the study in its storage
SEARCH, SCORES, MEMBER, PROCESS, AGAIN = "search", "scores", "member", "process", "again"  # attributes that it is given


class Search(NamedTuple):
    """The result of a search; M trials that are finished, in order.

    members: M dicts, field -> value. scores: float64[M, S], NaN where a seed has none.
    numbers: int[M], the numbers of the trials in the study.
    new: how many of them were trained by this call.
    study: the ``optuna.Study``, for its own plots.
    interrupted: whether Ctrl-C ended it early.
    """

    members: tuple[dict[str, Any], ...]
    scores: np.ndarray
    numbers: np.ndarray
    new: int
    study: Any
    interrupted: bool


def search(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    space: Mapping[str, Values],
    *,
    objective: Objective,
    seeds: int | Iterable[int],
    num_trials: int,
    batch_size: int,
    num_updates: int,
    storage: Any,
    sampler: Callable[[int], Any] | None = None,
    seed: int = 0,
    sinks: Callable[[int], Sequence[Sink]] = lambda position: (),
    watch: Sequence[Sink] = (),
    checkpoints: Callable[[int, int], Checkpoints] | None = None,
    score: Callable[[Sweep, int], np.ndarray] | None = None,
    **options: Any,
) -> Search:
    """Looks for good values of some fields.

    Args:
        make, task, config, seeds, num_updates, watch, options: see ``jaxrl.sweeps.sweep.sweep``.
        space: field -> its values; see ``jaxrl.sweeps.members``.
        objective: what makes a trial good. One with seeds that have no score (they diverged, say) counts as pruned, which
            samplers take for worse than all others.
        num_trials: finished trials in the study at the end, those of earlier calls included.
        batch_size: trials in a compiled call.
        storage: an SQLite file, made if missing; a URL: ``sqlite:///...``, ``postgresql+psycopg://...``; or a storage of
            Optuna. One process at a time may search in it.
        sampler: makes the ``optuna`` sampler of a trial from its seed, by default a TPESampler.
        seed: of the search.
        sinks: those of the trial in this position, counted from 0.
        checkpoints: those of a batch (named by its first position) and a program of it.
        score: reads the scores of a batch, float64[M, S], from its sweep and its first position; by default
            ``objective.of``. See ``jaxrl.sweeps.halving.halve`` for when it is needed.

    Raises:
        ConfigError: Optuna is missing, an argument is out of range, or the study belongs to another search.
        ResultsError: the storage cannot be used, or another process searches in it.
        UnknownNameError: no field has a name.
    """
    _require(space, config, num_trials=num_trials, batch_size=batch_size)
    optuna = _optuna()
    sampler = sampler or _tpe
    objective.require_measured(make, task, config, options.get("evaluators", ()))
    identity = {"make": make, "task": task, "config": config, "space": space, "objective": objective, "seed": seed}
    identity |= {"seeds": seed_numbers(seeds), "num_updates": num_updates, "root": options.get("root", 0)}
    with contextlib.ExitStack() as at_end:
        with _storage_errors(storage):
            study = _open(at_end, optuna, storage, objective.maximize, digest(to_json(identity)))
            _repeat_what_was_running(study)
        new, interrupted = 0, False
        while (position := len(_finished(study))) < num_trials:
            # After a kill a batch may be finished in part: the rest of it comes first.
            count = min(batch_size - position % batch_size, num_trials - position)
            with _storage_errors(storage):
                trials = [_ask(study, space, sampler(_seed_of(seed, position + index))) for index in range(count)]
            members = checked(config, [member for _, member in trials], "search")
            done = sweep(
                make,
                task,
                config,
                members,
                seeds=seeds,
                num_updates=num_updates,
                sinks=_Shifted(sinks, position),
                watch=watch,
                checkpoints=None if checkpoints is None else _Batch(checkpoints, position),
                **options,
            )
            if interrupted := done.interrupted:
                break
            scores = score(done, position) if score else objective.of(done)
            with _storage_errors(storage):
                _tell(study, [trial for trial, _ in trials], members, scores)
            new += count
        members, table, numbers = _told(study, config, seeds)
        return Search(members, table, numbers, new, study, interrupted)


def _require(space: Mapping[str, Values], config: Any, **counts: int) -> None:
    for name, value in counts.items():
        require(value >= 1, "search", f"{name} must be at least 1", value, f"Set {name} to 1 or more.")
    require(len(space) > 0, "search", "space must have a field", space, "Name fields and their values.")
    for name in space:
        if name not in fields(config):
            raise unknown_name("search", "field", name, fields(config))


def _told(study: Any, config: Any, seeds: int | Iterable[int]) -> tuple[tuple[dict[str, Any], ...], np.ndarray, np.ndarray]:
    """Returns the members of the finished trials of a study, their scores float64[M, S] and their numbers int64[M]."""
    finished = _finished(study)
    members = checked(config, [trial.user_attrs[MEMBER] for trial in finished], "search") if finished else ()
    table = np.array([[np.nan if value is None else value for value in trial.user_attrs[SCORES]] for trial in finished])
    table = table.reshape(len(finished), len(seed_numbers(seeds)))
    return members, table, np.array([trial.number for trial in finished], np.int64)


class _Shifted(NamedTuple):
    """The sinks of a batch's trials."""

    sinks: Callable[[int], Sequence[Sink]]
    position: int

    def __call__(self, member: int) -> Sequence[Sink]:
        return self.sinks(self.position + member)


class _Batch(NamedTuple):
    """The checkpoints of a batch's programs."""

    checkpoints: Callable[[int, int], Checkpoints]
    position: int

    def __call__(self, program: int) -> Checkpoints:
        return self.checkpoints(self.position, program)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("search: Optuna must be installed, got none. Install it: pip install 'jaxrl[search]'.") from error
    return optuna


def _seed_of(seed: int, position: int) -> int:
    return int(np.random.SeedSequence([seed, position]).generate_state(1)[0])


def _tpe(seed: int) -> Any:
    return _optuna().samplers.TPESampler(seed=seed)


def _open(at_end: contextlib.ExitStack, optuna: Any, storage: Any, maximize: bool, identity: str) -> Any:
    """Opens the study or makes it, and holds it against what it is to go on with; ``at_end`` closes its connections."""
    if isinstance(storage, Path):
        with files.writing(storage):
            storage.parent.mkdir(parents=True, exist_ok=True)
    where: Any = f"sqlite:///{storage.absolute()}" if isinstance(storage, Path) else storage
    if isinstance(where, str):
        where = optuna.storages.RDBStorage(where)
        at_end.callback(where.engine.dispose)
    direction = "maximize" if maximize else "minimize"
    study = optuna.create_study(storage=where, study_name=STUDY, direction=direction, load_if_exists=True)
    found = study.user_attrs.get(SEARCH)
    if found is None:
        study.set_user_attr(SEARCH, identity)
    must = "the study must belong to this search: same algorithm, task, configuration, space, objective, seeds and updates"
    require(found in (None, identity), f"search in {storage}", must, found, "Use another storage.")
    return study


@contextlib.contextmanager
def _storage_errors(storage: Any) -> Iterator[None]:
    """Turns what the storage's database complains of into one error."""
    from sqlalchemy.exc import SQLAlchemyError

    optuna = _optuna()
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, OSError) as error:
        if isinstance(error, ResultsError):
            raise
        reason = str(error).strip().partition("\n")[0]
        fix = "Check the URL, that its server runs and that its driver is installed."
        raise ResultsError(f"search: the storage {storage} must be usable, got {reason!r}. {fix}") from error


def _finished(study: Any) -> list[Any]:
    """Returns the trials that need not be run again, in the order of their numbers."""
    return [trial for trial in study.get_trials(deepcopy=False) if SCORES in trial.user_attrs and trial.state.is_finished()]


def _ask(study: Any, space: Mapping[str, Values], sampler: Any) -> tuple[Any, dict[str, Any]]:
    study.sampler = sampler
    trial = study.ask()
    trial.set_user_attr(PROCESS, _process(os.getpid()))
    return trial, {name: values.suggest(trial, name) for name, values in space.items()}


def _tell(study: Any, trials: Sequence[Any], members: Sequence[Mapping[str, Any]], scores: np.ndarray) -> None:
    """Finishes the M trials of a batch, in order; scores: float64[M, S]."""
    from optuna.trial import TrialState

    for trial, member, of_seeds in zip(trials, members, scores, strict=True):
        trial.set_user_attr(MEMBER, to_json(member))
        trial.set_user_attr(SCORES, to_json(of_seeds))
        if np.isfinite(of_seeds).all():
            study.tell(trial, float(np.mean(of_seeds)))
        else:
            study.tell(trial, state=TrialState.PRUNED)


def _repeat_what_was_running(study: Any) -> None:
    """Fails the trials that a dead process left running, and has them run again first.

    Raises:
        ResultsError: the process is alive.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get(AGAIN) for trial in trials}
    for trial in (trial for trial in trials if trial.state == TrialState.RUNNING):
        owner = trial.user_attrs.get(PROCESS)
        require(
            owner is None or not _is_another(owner),
            "search",
            "one process at a time may search in a storage",
            owner,
            "Wait for it, or end it.",
            ResultsError,
        )
        if trial.params and trial.number not in repeated:  # a kill may have come between these two steps
            study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
        study.tell(trial.number, state=TrialState.FAIL)


def _process(number: int) -> list[Any]:
    """Returns what identifies a process of this machine: machine, number, and when it began where the system says so."""
    began = ""
    with contextlib.suppress(OSError, IndexError):
        began = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return [socket.gethostname(), number, began]


def _is_another(owner: Sequence[Any]) -> bool:
    """Returns whether this is another process than ours and alive. Of other machines nothing is known: taken for dead."""
    machine, number, _ = owner
    if machine != socket.gethostname() or number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _process(number) == list(owner)
