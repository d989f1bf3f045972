"""What a run takes beside an algorithm and a task: tasks of the seeds' own, states to start from, changes between chunks."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.environment import Environment
from jaxrl.errors import AlgorithmError, AnswersWanted, CheckpointError, ConfigError
from jaxrl.evaluation import ExactValue
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.inputs import EntryOf
from jaxrl.training.runner import run

Q = q_learning.Config(num_steps=20)
SLIPS = (0.0, 0.2, 0.4)
UPDATES, CHUNK = 6, 2
train = functools.partial(run, q_learning.make, config=Q, num_updates=UPDATES, chunk_length=CHUNK)


@functools.cache
def lakes() -> list[Environment]:
    return [envs.make("frozen_lake", slip=slip) for slip in SLIPS]


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


# ---- tasks


def test_seeds_with_tasks_of_their_own_are_what_they_are_alone():
    exact = [ExactValue.of(env, 0.99) for env in lakes()]
    together = train(stacked(lakes()), seeds=3, vmap_width=1, task_axes=0, evaluators=(stacked(exact),), evaluator_axes=0)
    for seed, (env, evaluator) in enumerate(zip(lakes(), exact, strict=True)):
        alone = train(env, seeds=[seed], vmap_width=1, evaluators=(evaluator,))
        chex.assert_trees_all_equal(alone.state.q[0], together.state.q[seed])
        for name, values in alone.metrics.items():
            np.testing.assert_array_equal(values[0], together.metrics[name][seed])
        np.testing.assert_array_equal(
            alone.evaluations["greedy_exact_value"][0], together.evaluations["greedy_exact_value"][seed]
        )


def test_what_no_seed_has_of_its_own_is_shared():
    axes = jax.tree.map(lambda _: None, lakes()[0])
    some = train(lakes()[0], seeds=2, task_axes=axes)
    chex.assert_trees_all_equal(some.metrics, train(lakes()[0], seeds=2).metrics)


def test_tasks_go_with_their_seeds_through_batches():
    task = stacked(lakes())
    whole, cut = (train(task, seeds=3, task_axes=0, vmap_width=1, batch_seeds=batch_seeds) for batch_seeds in (3, 2))
    chex.assert_trees_all_equal(cut.metrics, whole.metrics)


def test_seeds_that_take_one_of_a_few_tasks_are_what_they_are_with_tasks_of_their_own():
    """Three seeds, two tasks: the entries lie in memory once, also when seeds come in batches."""
    index = np.array([1, 0, 1])
    entries = stacked([lakes()[0], lakes()[2]])
    own = stacked([lakes()[2 * number] for number in index])
    expected = train(own, seeds=3, vmap_width=1, task_axes=0)
    for options in ({}, {"batch_seeds": 2}):
        found = train(entries, seeds=3, vmap_width=1, task_axes=EntryOf(index), **options)
        chex.assert_trees_all_equal(found.metrics, expected.metrics)
        np.testing.assert_array_equal(found.state.q, expected.state.q)


@pytest.mark.parametrize("index", [[0, 1], [0, 1, 3], [0, -1, 1], [0.0, 1.0, 1.0]])
def test_entries_that_are_not_there(index):
    with pytest.raises(ConfigError, match="EntryOf must give the number of one of 3 entries for each of 3 seeds"):
        train(stacked(lakes()), seeds=3, task_axes=EntryOf(np.array(index)))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (0, r"run: task.*must have an entry for each of them \(2\), got \(3"),
        (1, "axes must be None or 0, got 1"),
        ({"params": 0}, "axes must be a prefix of the task"),
    ],
)
def test_axes_that_do_not_fit(axes, message):
    with pytest.raises(ConfigError, match=message):
        train(stacked(lakes()), seeds=2, task_axes=axes)


# ---- states to start from


def test_training_goes_on_from_states_on_another_task():
    first, second = lakes()[:2]
    before = train(first, seeds=2)
    after = run(q_learning.make, second, Q, seeds=2, num_updates=1, initial=before.state)
    fresh = run(q_learning.make, second, Q, seeds=2, num_updates=1)
    assert (np.asarray(after.state.visits) >= np.asarray(before.state.visits)).all()
    assert np.asarray(after.state.visits).sum() > 2 * np.asarray(fresh.state.visits).sum()


def first_state(key):
    return q_learning.make(lakes()[0], Q).init(key)


def test_a_function_of_the_key_can_start_the_seeds():
    started = train(lakes()[0], seeds=2, initial=first_state)
    chex.assert_trees_all_equal(started.metrics, train(lakes()[0], seeds=2).metrics)


def test_states_of_something_else_are_refused():
    before = train(lakes()[0], seeds=2)
    with pytest.raises(ConfigError, match=r"initial must have the structure of the algorithm's states, got .*\.q"):
        train(envs.make("cliff_walking"), seeds=2, initial=before.state)
    with pytest.raises(ConfigError, match="initial must have a state for each of 3 seeds"):
        train(lakes()[0], seeds=3, initial=before.state)


# ---- changes between chunks


class Oracle:
    """Draws a value for a state of every seed from the computer's own noise: no call answers like another."""

    def __init__(self):
        self.asked = []

    def ask(self, update, seeds, states):
        assert states.q.shape[0] == len(seeds)
        self.asked.append(update)
        return {"value": np.random.default_rng().normal(size=len(seeds)).astype(np.float32)}

    def apply(self, state, answers):
        return state.replace(q=state.q.at[0, 0].set(answers["value"]))


class Silent(Oracle):
    """Has nothing to say."""

    def ask(self, update, seeds, states):
        return {}

    def apply(self, state, answers):
        return state


class Killed(Exception):
    pass


class KillAfter:
    """A sink that ends the process, as far as a test can, when the chunk with this first update comes."""

    def __init__(self, update):
        self._update = update

    def begin(self, plan):
        pass

    def chunk(self, chunk):
        if chunk.first_update == self._update:
            raise Killed

    def end(self, summary):
        pass


def test_answers_change_the_states():
    oracle = Oracle()
    told = train(lakes()[0], seeds=2, between=oracle)
    assert oracle.asked == [2, 4]
    plain = train(lakes()[0], seeds=2)
    assert not np.array_equal(told.state.q, plain.state.q)
    chex.assert_trees_all_equal(train(lakes()[0], seeds=2, between=Silent()).metrics, plain.metrics)


def test_a_run_that_goes_on_asks_for_nothing_twice_and_ends_the_same(tmp_path):
    """Killed after the second answer, of which no checkpoint knows; what was answered is on record."""
    oracle, checkpoints = Oracle(), Checkpoints(tmp_path, seconds_between=1e9)
    with pytest.raises(Killed):
        train(lakes()[0], seeds=2, between=oracle, checkpoints=checkpoints, sinks=(KillAfter(2),))
    values = [checkpoints.recorded(update, np.arange(2)) for update in (2, 4)]
    resumed = train(lakes()[0], seeds=2, between=oracle, checkpoints=Checkpoints(tmp_path, seconds_between=1e9))
    assert oracle.asked == [2, 4]

    class Repeating(Silent):
        def ask(self, update, seeds, states):
            return values[update // CHUNK - 1]

        apply = Oracle.apply

    again = train(lakes()[0], seeds=2, between=Repeating())
    chex.assert_trees_all_equal(again.metrics, resumed.metrics)
    chex.assert_trees_all_equal(again.state.q, resumed.state.q)


class Patient(Oracle):
    """Has no answer before it was told one: a number for each seed."""

    def __init__(self):
        super().__init__()
        self.told = {}

    def ask(self, update, seeds, states):
        self.asked.append(update)
        if update not in self.told:
            raise AnswersWanted(f"{len(seeds)} answers before update {update}")
        return {"value": np.asarray(self.told[update], np.float32)[seeds]}


VALUES = {2: [0.5, -1.0, 2.0], 4: [3.0, 0.25, -0.5]}


@pytest.mark.parametrize("batch_seeds", [None, 2])
def test_a_run_waits_for_answers_and_ends_as_if_they_had_been_there(tmp_path, batch_seeds):
    """Stopped before each answer, whatever was computed kept; a second visit without an answer changes nothing."""
    options = {"seeds": 3, "batch_seeds": batch_seeds, "vmap_width": 1}
    at_once = Patient()
    at_once.told = dict(VALUES)
    expected = train(lakes()[0], between=at_once, **options)
    patient, parts = Patient(), []
    for told in ((), (), (2,), (2, 4)):
        patient.told = {update: VALUES[update] for update in told}
        saved = Checkpoints(tmp_path, seconds_between=1e9)
        parts.append(train(lakes()[0], between=patient, checkpoints=saved, **options))
    first, again, second, last = parts
    assert first.summary.interrupted
    assert first.state is None
    per_batch = [2, 1] if batch_seeds else [3]
    assert first.summary.wanted == tuple(f"{count} answers before update 2" for count in per_batch)
    assert second.summary.wanted == tuple(f"{count} answers before update 4" for count in per_batch)
    assert (again.metrics, last.summary.wanted, last.summary.interrupted) == ({}, (), False)
    for name, values in expected.metrics.items():
        pieces = [run.metrics[name] for run in (first, second, last)]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), values)
    chex.assert_trees_all_equal(last.state.q, expected.state.q)


def test_a_longer_run_asks_at_the_end_of_the_shorter_one(tmp_path):
    """Its end is a checkpoint like any other: the states before they are told."""
    patient = Patient()
    patient.told = dict(VALUES)
    whole = train(lakes()[0], seeds=2, between=patient)
    for updates in (2, 6):
        saved = Checkpoints(tmp_path, seconds_between=1e9)
        longer = train(lakes()[0], seeds=2, between=patient, num_updates=updates, checkpoints=saved)
    chex.assert_trees_all_equal(longer.state.q, whole.state.q)


class Wrong(Oracle):
    def __init__(self, answers=None, state=None):
        self._answers, self._state = answers, state

    def ask(self, update, seeds, states):
        return {"value": np.zeros(len(seeds), np.float32)} if self._answers is None else self._answers

    def apply(self, state, answers):
        return self._state


@pytest.mark.parametrize(
    ("between", "error", "message"),
    [
        (Wrong([1, 2]), ConfigError, "between.ask must return a dict.*got 'list'"),
        (Wrong({"value": np.zeros(3)}), ConfigError, r"an entry for each seed, got \{'value': \(3,\)\}"),
        (Wrong(state=0), AlgorithmError, "apply must return the state in the structure that it was given"),
    ],
)
def test_answers_that_do_not_fit(between, error, message):
    with pytest.raises(error, match=message):
        train(lakes()[0], seeds=2, between=between)


def test_answers_to_another_run_are_refused(tmp_path):
    for gamma, refused in ((0.9, False), (0.5, True)):
        with pytest.raises(CheckpointError if refused else Killed, match="must belong to this run" if refused else None):
            train(
                lakes()[0],
                seeds=2,
                config=Q.replace(gamma=gamma),
                between=Oracle(),
                checkpoints=Checkpoints(tmp_path, seconds_between=1e9),
                sinks=(KillAfter(2),),
            )
