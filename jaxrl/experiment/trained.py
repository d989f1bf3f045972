"""After training: states of any seed, policies to roll out, film and export, from a run's folder or from a Run in memory.

saved = jaxrl.load("runs/cartpole_ppo")                    # a folder, or an experiment's name for its newest run
saved.results.final("greedy_return")                      # tables by factor; saved.directory.metrics() is a pyarrow table
trained = saved.arm()                                      # the only arm, or one by its factors
best = trained.best("greedy_return")
trained.returns(best, episodes=100)
trained.film(best, "best.gif")
trained.export(best, "policy.bin")
seed, updates = trained.best_checkpoint("greedy_return")   # of a run with --keep-checkpoints 20 --checkpoint-seconds 0
trained.at(updates).returns(seed)
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import environment, rollout
from jaxrl.core.algorithm import Algorithm, require_policy
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.rollout import Policy, View
from jaxrl.errors import CheckpointError, ConfigError, EnvError, missing_package, require, unknown_name
from jaxrl.experiment.arms import Arm, predecessor, programs, ready_arms
from jaxrl.experiment.experiment import Experiment
from jaxrl.experiment.experiment import load as load_experiment
from jaxrl.experiment.results import Results
from jaxrl.experiment.runs import find, told
from jaxrl.experiment.session import checkpoints_of, say
from jaxrl.results import factors as factor
from jaxrl.results import storage
from jaxrl.results.finding import expanded
from jaxrl.results.provenance import from_json, to_json
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure, RunSummary
from jaxrl.results.storage import replacing
from jaxrl.training import seed_axis
from jaxrl.training.inputs import Inputs
from jaxrl.training.runner import Run
from jaxrl.training.seed_axis import SEEDS


class Trained:
    """One arm after training."""

    def __init__(
        self,
        make: Callable[..., Algorithm],
        task: Any,
        config: Any,
        seeds: Sequence[int] | np.ndarray,
        state_of: Callable[[int], PyTree],
        finals: Callable[[str], np.ndarray],
        history: "History | None" = None,
        task_axes: Any = None,
    ):
        """
        Args:
            make, task, config, task_axes: see ``jaxrl.training.runner.run``; task and configuration are those of all seeds.
            seeds: int[S], their numbers.
            state_of: ``(place in seeds) -> state`` of that seed.
            finals: ``(metric) -> float[S]``, the last value of every seed.
            history: what is kept of the way to the end; None if nothing is.
        """
        self._history = history
        self.make, self.task, self.config = make, task, config
        self.seeds = np.asarray(seeds)
        self._task_axes, self._tasks = task_axes, Inputs.of("task", task, task_axes, len(self.seeds))
        self._state_of, self._finals = state_of, finals

    def __repr__(self) -> str:
        return f"Trained({to_json(self.make)}, {len(self.seeds)} seeds, {self.config})"

    @classmethod
    def of(cls, make: Callable[..., Algorithm], task: Any, config: Any, run: Run, task_axes: Any = None) -> "Trained":
        """Returns the same for a Run in memory, with the arguments that it was made by."""
        require(run.state is not None, "Trained.of", "the run must have ended", None, "Go on with it to its end.", ConfigError)

        def finals(metric: str) -> np.ndarray:
            tables = {**run.metrics, **run.evaluations}
            if metric not in tables:
                raise unknown_name("Trained.best", "metric", metric, tables)
            return np.asarray(tables[metric])[:, -1]

        def state_of(place: int) -> PyTree:
            return jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), run.state)

        return cls(make, task, config, run.seeds, state_of, finals, task_axes=task_axes)

    def best(self, metric: str, lower_is_better: bool = False) -> int:
        """Returns the number of the seed with the best last value of a metric. It is chosen by luck too: judge it afresh.

        Raises:
            UnknownNameError: there is no such metric. ConfigError: no seed has a finite value.
        """
        values = np.asarray(self._finals(metric), np.float64)
        fix = "Name another metric."
        require(bool(np.isfinite(values).any()), "Trained.best", f"a seed must have a finite {metric}", values, fix)
        ordered = np.where(np.isfinite(values), -values if lower_is_better else values, -np.inf)
        return int(self.seeds[ordered.argmax()])

    def checkpoints(self, seed: int = 0) -> np.ndarray:
        """Returns after how many updates a state of a seed is kept, int64[K], rising; the last is the end.

        A run keeps its end alone unless it was given ``--keep-checkpoints``.
        """
        place = self._place(seed)
        return self._kept_history().updates(place)

    def at(self, updates: int) -> "Trained":
        """Returns the same arm as it was after so many updates: its states, policies, films are those of then.

        Args:
            updates: one of ``checkpoints(seed)``, for each seed that is asked for.
        """
        history = self._kept_history()

        def state_of(place: int) -> PyTree:
            return history.state(place, updates)

        return Trained(self.make, self.task, self.config, self.seeds, state_of, self._finals, history, self._task_axes)

    def best_checkpoint(self, metric: str, lower_is_better: bool = False) -> tuple[int, int]:
        """Returns the seed and the number of updates of the kept state with the best value of a metric.

        It is chosen by luck too, of more draws than ``best``: judge it afresh, by ``at(updates).returns(seed)`` say.

        Raises:
            UnknownNameError: there is no such metric. ConfigError: it has a finite value at no kept state.
        """
        history = self._kept_history()
        measured, values = history.values(metric)
        found = []
        for place, seed in enumerate(self.seeds.tolist()):
            kept = np.isin(measured, history.updates(place)) & np.isfinite(values[place])
            found += [(float(value), seed, int(at)) for value, at in zip(values[place][kept], measured[kept], strict=True)]
        must, fix = (
            f"{metric} must have a finite value at a kept state",
            "Run with --keep-checkpoints and --checkpoint-seconds 0.",
        )
        require(bool(found), "Trained.best_checkpoint", must, "none", fix)
        _, seed, updates = (min if lower_is_better else max)(found, key=lambda entry: entry[0])
        return seed, updates

    def _kept_history(self) -> "History":
        must, fix = "states must be kept on the way", "Open the run's folder by jaxrl.load."
        require(self._history is not None, "Trained", must, "a run in memory", fix)
        assert self._history is not None
        return self._history

    def state(self, seed: int = 0) -> PyTree:
        """Returns the final state of a seed; of one in quarantine, that before the update that failed."""
        return self._state_of(self._place(seed))

    def algorithm(self, seed: int = 0, uncompiled: bool = False) -> Algorithm:
        """Returns the algorithm with the configuration of a seed.

        Args:
            seed: its number.
            uncompiled: whether to leave an environment uncompiled, so that a diagnosis finds the lines of its code.
        """
        configs = seed_axis.spread(self.config, len(self.seeds))
        place = self._place(seed)
        task = self._tasks.seed(place)
        if uncompiled and isinstance(task, Environment):
            task = environment.uncompiled(task)
        return self.make(task, jax.tree.map(lambda leaf: jnp.asarray(leaf[place]), configs))

    def policy(self, seed: int = 0, greedy: bool = True) -> Policy:
        """Returns the policy of a seed: ``(key, view) -> decision``.

        Raises:
            AlgorithmError: the algorithm learns no policy.
        """
        return require_policy("Trained.policy", self.algorithm(seed), "Look at its state.")(self.state(seed), greedy)

    def returns(self, seed: int = 0, episodes: int = 100, greedy: bool = True, key: int = 0) -> np.ndarray:
        """Plays episodes and returns their undiscounted returns, float32[episodes] (``[episodes, N]`` with N agents).

        Args:
            seed: whose policy plays. episodes: how many, side by side. greedy: see ``policy``. key: number of the random key.
        """
        env, policy, memory = self._environment("returns", seed), self.policy(seed, greedy), self.algorithm(seed).memory

        @jax.jit
        def play() -> jax.Array:
            start_key, play_key = jax.random.split(jax.random.key(key))
            first = rollout.start(start_key, env, episodes, memory)
            _, batch = rollout.unroll(play_key, env, policy, first, env.max_steps)
            # Of each environment's first episode: later ones began afresh.
            ended = jnp.argmax(batch.done, axis=0)
            return jax.vmap(lambda returns, step: returns[step], in_axes=(1, 0))(batch.return_, ended)

        return np.asarray(play())

    def film(self, seed: int = 0, path: str | Path = "episode.gif", greedy: bool = True, key: int = 0) -> Path:
        """Plays one whole episode, to its end or its time limit, writes it as an animated GIF and returns its path.

        The comment of the file says how many steps it has, how it ended and what it paid.

        Raises:
            EnvError: there are no pictures of the environment. ResultsError: the file cannot be written.
        """
        from envs.rendering import can_render
        from jaxrl.report.films import frames, play, write_gif

        env, path = self._environment("film", seed), expanded(path)
        fix = "Roll it out by returns()."
        require(can_render(env), "Trained.film", "the environment must have pictures", type(env.params), fix, EnvError)
        played = play(jax.random.key(key), env, self.policy(seed, greedy), self.algorithm(seed).memory, env.max_steps)
        with replacing(path) as file:
            write_gif(file, frames(env, played), played.summary)
        return path

    def export(self, seed: int = 0, path: str | Path = "policy.bin", greedy: bool = True) -> Path:
        """Writes the policy as a program that needs jax alone: ``jax.export.deserialize(bytes).call(key_data, obs, memory)``.

        It takes the data of a random key, uint32[2], and the observation and memory of one environment; where actions are masked,
        the mask, bool[A], stands between them. It returns the action and the memory.

        Raises:
            ResultsError: the file cannot be written. ConfigError: the extra ``export`` is not installed.
        """
        env, policy, memory = self._environment("export", seed), self.policy(seed, greedy), self.algorithm(seed).memory
        obs, state = jax.eval_shape(env.reset, jax.random.key(0))
        masked = env.action_mask_fn is not None

        def act(key_data: jax.Array, obs: PyTree, *rest: PyTree) -> tuple[PyTree, PyTree]:
            mask, memory = rest if masked else (None, rest[0])
            view = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], View(obs, mask, memory))
            decision = policy(jax.random.wrap_key_data(key_data), view)
            return jax.tree.map(lambda leaf: leaf[0], (decision.action, decision.memory))

        shapes = [jax.ShapeDtypeStruct((2,), jnp.uint32), obs, *([jax.eval_shape(env.action_mask, state)] * masked), memory]
        program = jax.export.export(jax.jit(act))(*shapes)
        try:
            data = program.serialize()
        except ImportError as error:
            raise missing_package("Trained.export", "flatbuffers", "export", error) from error
        path = expanded(path)
        with replacing(path) as file:
            file.write(data)
        return path

    def _environment(self, where: str, seed: int) -> Environment:
        must, fix = "the task must be an environment", "Data sets are not played."
        require(isinstance(self.task, Environment), f"Trained.{where}", must, type(self.task), fix, EnvError)
        return self._tasks.seed(self._place(seed))

    def _place(self, seed: int) -> int:
        found = np.flatnonzero(self.seeds == seed)
        must, fix = f"seed must be one of {self.seeds[:8].tolist()} ...", "Name one that was trained."
        require(len(found) == 1, "Trained", must, seed, fix, ConfigError)
        return int(found[0])


class History(NamedTuple):
    """The states that are kept of an arm, and what was measured on the way.

    updates: ``(place of the seed) -> int64[K]``, after how many updates a state is kept.
    state: ``(place, updates) -> state``.
    values: ``(metric) -> (int64[U], float[S, U])``, after how many updates it was measured, and its values.
    """

    updates: Callable[[int], np.ndarray]
    state: Callable[[int, int], PyTree]
    values: Callable[[str], tuple[np.ndarray, np.ndarray]]


# The form of the settings of a run; see ``jaxrl.results.storage.misfit``.
SETTINGS = {
    "experiment": {"source": str, "digest": str, "name?": str},
    "config": dict,
    "only": [str],
    "root": storage.count,
    "sweep?": dict,
}


class Saved:
    """A run on disk: its settings, its tables by factor, and its trained arms. Reading it changes nothing."""

    def __init__(self, directory: RunDirectory):
        """directory: of the run."""
        self.directory = directory
        stored = storage.read_json(directory.path / "config.json", SETTINGS)
        self._stored = stored
        self.root: int = stored["root"]
        self.results = Results(directory, self.root)

    def __repr__(self) -> str:
        return f"Saved({str(self.directory.path)!r}, {self.directory.settings} settings, root {self.root})"

    @functools.cached_property
    def experiment(self) -> Experiment:
        """The experiment, imported from where it was."""
        return load_experiment(self._stored["experiment"]["source"])

    @functools.cached_property
    def config(self) -> Any:
        """Its configuration."""
        return from_json(self._stored["config"], self.experiment.config(), f"{self.directory.path / 'config.json'}: config")

    @property
    def only(self) -> tuple[str, ...]:
        """Which arms were asked for; see ``jaxrl.experiment.arms.only``."""
        return tuple(self._stored["only"])

    def arms(self) -> list[Arm]:
        """Returns the arms that were trained.

        Raises:
            ConfigError: the run is a sweep, whose members are read by ``results`` alone.
        """
        must, fix = "states can be read of the run of an experiment", "Read its members by .results, and run the chosen one."
        require("sweep" not in self._stored, f"run {self.directory.path}", must, "a sweep", fix)
        return self.experiment.chosen_arms(self.config, self.only)

    def arm(self, **factors: Any) -> Trained:
        """Returns the one arm with these factors, after training.

        Raises:
            ConfigError: several arms have them. UnknownNameError: none has. CheckpointError: its checkpoints are gone.
        """
        arms = self.arms()
        found = [arm for arm in arms if factor.matches(arm.factors, factors)]
        if not found:
            raise unknown_name(f"run {self.directory.path}", "arm", factor.label(factors), [arm.label for arm in arms])
        must, fix = f"the factors {factors} must name one arm", "Name more factors."
        require(len(found) == 1, f"run {self.directory.path}", must, [arm.label for arm in found], fix)
        group, part = self._program_of(arms, found[0].label)
        arm = group[part]

        def finals(metric: str) -> np.ndarray:
            return self.results.final(metric, **arm.factors)

        def values(metric: str) -> tuple[np.ndarray, np.ndarray]:
            curves = self.results.curves(metric, **arm.factors)
            return curves.updates + 1, curves.values

        checkpoints, number = checkpoints_of(self.directory, group), part * SEEDS
        history = History(
            lambda seed: np.array([saved.next_update for saved in checkpoints.kept(number + seed)], np.int64),
            lambda seed, updates: self._restored(group, part, seed, updates),
            values,
        )
        state_of = functools.partial(self._restored, group, part)
        return Trained(arm.make, arm.task, arm.config, range(arm.seeds), state_of, finals, history, arm.task_axes)

    def state(self, name: str, seed: int) -> PyTree:
        """Returns the newest state of a seed of the arm of this name: of one in quarantine, that before its failed update.

        Of a replay buffer, rows that later updates wrote over, though these updates were thrown away, are the exception.

        Raises:
            CheckpointError: no checkpoint of the seed is there. UnknownNameError: no arm has this name.
        """
        return self._restored(*self._program_of(self.arms(), name), seed)

    def _program_of(self, arms: Sequence[Arm], name: str) -> tuple[list[Arm], int]:
        """Returns the arms of the program in which an arm was trained, as they were completed, and its place among them."""
        done: dict[int, Run] = {}
        waited_for = {predecessor(arms, place) for place in range(len(arms))}
        while len(done) < len(arms):
            ready = ready_arms(arms, done)
            places = list(ready)
            for program in programs(list(ready.values())):
                together = [ready[places[index]] for index in program]
                names = [arm.label for arm in together]
                if name in names:
                    return together, names.index(name)
                for part, index in enumerate(program):
                    place = places[index]
                    done[place] = self._run(together, part) if place in waited_for else EMPTY
        raise unknown_name(f"run {self.directory.path}", "arm", name, [arm.label for arm in arms])

    def _run(self, together: Sequence[Arm], part: int) -> Run:
        """Returns the Run of a finished arm, from its tables and checkpoints."""
        arm = together[part]
        facts = self.directory.summary().get("runs", {}).get(arm.label, {})
        failed = {int(seed): failure_of(failure) for seed, failure in facts.get("failed_seeds", {}).items()}
        states = [self._restored(together, part, seed) for seed in range(arm.seeds)]
        tables = {
            name: {metric: self.directory.table(name).curves(metric, arm.label) for metric in self.directory.columns(name)}
            for name in ("metrics", "evaluations")
        }
        return EMPTY._replace(
            seeds=np.arange(arm.seeds),
            metrics={name: curves.values for name, curves in tables["metrics"].items()},
            evaluations={name: curves.values for name, curves in tables["evaluations"].items()},
            evaluated_at=next((curves.updates + 1 for curves in tables["evaluations"].values()), np.arange(0)),
            state=jax.tree.map(lambda *leaves: jnp.stack(leaves), *states),
            summary=EMPTY.summary._replace(failed_seeds=failed),
        )

    def _restored(self, together: Sequence[Arm], part: int, seed: int, updates: int | None = None) -> PyTree:
        """Reads the state of a seed from the checkpoints of a program: the newest, or that after so many updates."""
        arm, number, where = together[part], part * SEEDS + seed, f"run {self.directory.path}"
        checkpoints = checkpoints_of(self.directory, together)
        if updates is None:
            saved = [entry for entry in checkpoints.look() if number in entry.seeds]
        else:
            saved = [entry for entry in checkpoints.kept(number) if entry.next_update == updates]
        after = "" if updates is None else f" after {updates} updates"
        must, fix = f"there must be a checkpoint of seed {seed} of {arm.label}{after}", "Run it again to have one."
        require(bool(saved), where, must, str(checkpoints.path), fix, CheckpointError)
        newest = max(saved, key=lambda entry: entry.next_update)
        config = jax.tree.map(lambda leaf: leaf[seed], seed_axis.spread(arm.config, arm.seeds))
        carry = checkpoints.restore(newest, seed_axis.abstract_carry(arm.make, arm.task_of(seed), config))
        row = int(np.flatnonzero(newest.seeds == number)[0])
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[row]), carry.state)


def failure_of(stored: Any) -> Failure:
    """Returns why a seed is in quarantine, from what the summary of a run says of it."""
    return Failure(stored["update"], stored.get("place", "")) if isinstance(stored, dict) else Failure(stored, "")


EMPTY = Run(np.arange(0), {}, {}, np.arange(0), None, None, RunSummary(0.0, 0.0))


def load(run: str | Path | Mapping, runs: str | Path = "runs") -> Saved:
    """Opens a run to read it.

    Args:
        run: the folder of a run; or an experiment, named as for ``jaxrl run``, for its newest run. Runs with quick settings,
            which only show that everything runs, are left aside if there is another one; that is said then.
        runs: folder of all results.

    Raises:
        UnknownNameError: there is no such run. ResultsError: it cannot be read, or it is no run of an experiment.
    """
    found = find(runs, str(run), full=True)
    which = told(str(run), found)
    if which and found.path != find(runs, str(run)).path:
        say(f"{which}; newer runs have quick settings")
    return Saved(found)
