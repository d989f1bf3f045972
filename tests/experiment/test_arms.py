"""Arms: those of one structure are one program, and each is what it would be alone."""

import itertools
from dataclasses import replace
from functools import partial

import chex
import jax
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.errors import AnswersWanted, ConfigError, UnknownNameError
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import arms
from jaxrl.experiment.arms import Arm
from jaxrl.experiment.trained import Trained
from jaxrl.results.factors import label, short_labels
from jaxrl.training.inputs import Inputs
from jaxrl.training.runner import run

Q = q_learning.Config(num_steps=20)
SHARED = {"seeds": 2, "num_updates": 4, "chunk_length": 2}


def lake(slip):
    return envs.make("frozen_lake", slip=slip)


def grid():
    """Two slips, two discounts, and two numbers of steps: the last alone is no number of the program."""
    for slip, gamma, steps in itertools.product((0.1, 0.3), (0.9, 0.95), (10, 20)):
        env = lake(slip)
        config = Q.replace(gamma=gamma, num_steps=steps)
        factors = {"slip": slip, "gamma": gamma, "steps": steps}
        yield Arm(factors, q_learning.make, env, config, evaluators=(ExactValue.of(env, gamma),), **SHARED)


def test_arms_of_one_structure_share_a_program():
    assert arms.programs(list(grid())) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_an_arm_is_what_it_is_alone():
    every = list(grid())
    for arm, done in zip(every, arms.train(every, vmap_width=1), strict=True):
        alone = run(arm.make, arm.task, arm.config, evaluators=arm.evaluators, vmap_width=1, **SHARED)
        chex.assert_trees_all_equal(done.metrics, alone.metrics)
        np.testing.assert_array_equal(done.state.q, alone.state.q)
        assert list(done.seeds) == [0, 1]
        # An exact value is a sum, whose order may differ with the program around it.
        for name, values in alone.evaluations.items():
            np.testing.assert_allclose(done.evaluations[name], values, rtol=1e-5, atol=1e-6)


class Noted:
    def __init__(self):
        self.begun, self.chunks, self.ended = [], [], []

    def begin(self, plan):
        self.begun.append(plan)

    def chunk(self, chunk):
        self.chunks.append(chunk)

    def end(self, summary):
        self.ended.append(summary)


def test_sinks_see_an_arm_as_if_it_ran_alone():
    sinks = {arm.label: Noted() for arm in grid()}
    done = arms.train(grid(), sinks=lambda arm: (sinks[arm.label],))
    for arm, found in zip(grid(), done, strict=True):
        sink = sinks[arm.label]
        assert [plan.seeds.tolist() for plan in sink.begun] == [[0, 1]]
        assert [(chunk.first_update, chunk.num_updates) for chunk in sink.chunks] == [(0, 2), (2, 2)]
        td = np.concatenate([chunk.metrics["td_error"] for chunk in sink.chunks], axis=1)
        np.testing.assert_array_equal(td, found.metrics["td_error"])
        assert len(sink.ended) == 1


def lakes(*slips):
    """An arm whose seeds have a lake of their own each."""
    task = jax.tree.map(lambda *leaves: np.stack(leaves), *map(lake, slips))
    return Arm({"lakes": f"from {slips[0]}"}, q_learning.make, task, Q, task_axes=0, **SHARED)


def test_seeds_of_an_arm_may_have_tasks_of_their_own():
    first, second, shared = lakes(0.1, 0.3), lakes(0.2, 0.4), replace(lakes(0.1, 0.3), task=lake(0.3), task_axes=None)
    shared = replace(shared, factors={"lakes": "shared"})
    assert arms.programs([first, second, shared]) == [[0, 1], [2]]
    assert float(first.task_of(1).params.slip) == pytest.approx(0.3)
    runs = arms.train([first, second, shared], vmap_width=1)
    for done, slips in zip(runs, ((0.1, 0.3), (0.2, 0.4), (0.3, 0.3)), strict=True):
        for seed, slip in enumerate(slips):
            alone = run(q_learning.make, lake(slip), Q, seeds=[seed], num_updates=4, chunk_length=2, vmap_width=1)
            np.testing.assert_array_equal(done.state.q[seed], alone.state.q[0])
    trained = Trained.of(first.make, first.task, first.config, runs[0], first.task_axes)
    assert trained.returns(seed=1, episodes=2).shape == (2,)
    some = arms.inputs([first, second], seeds=1)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(some["task"])} == {2}, "one seed of each arm"


def test_axes_of_a_task_without_an_entry_for_each_seed():
    with pytest.raises(ConfigError, match=r"must have an entry for each of them \(2\), got \(3"):
        arms.checked([lakes(0.1, 0.2, 0.3)])


def test_arrays_in_which_arms_differ_lie_in_memory_once_for_each_arm():
    """Not once for each seed: the memory of a program grows with arms, not with arms times seeds."""
    together = [replace(plain(name), task=lake(slip), seeds=50) for name, slip in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    given = arms.inputs(together)
    held = Inputs.of("task", given["task"], given["task_axes"], 150)
    of_one = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(together[0].task))
    shared = sum(np.asarray(leaf).nbytes for leaf in held.shared)
    assert of_one < shared <= 3 * of_one
    assert all(leaf.shape == (150,) and leaf.dtype == np.int32 for leaf in held.own)
    assert jax.tree.leaves(held.seed(149))[0].shape == jax.tree.leaves(together[2].task)[0].shape


def test_labels():
    assert label({"method": "softplus", "shift": 20.0, "dueling": True, "central": False, "num_envs": 4}) == (
        "softplus, shift 20, dueling, no central, num envs 4"
    )
    factors = {"a": {"game": "rps", "rate": 0.1}, "b": {"game": "rps", "rate": 0.5}, "c": {"game": "rps"}}
    assert short_labels(factors) == {"a": "a", "b": "b", "c": "c"}, "no name would be left for the last"
    del factors["c"]
    assert short_labels(factors) == {"a": "rate 0.1", "b": "rate 0.5"}


# ---- arms that come after others, that start elsewhere, that are chosen


def plain(method, **options):
    return Arm({"method": method}, q_learning.make, lake(0.1), Q, **{**SHARED, **options})


def test_an_arm_goes_on_with_the_states_of_another():
    def goes_on(arm, run):
        return replace(arm, initial=run.state)

    first, second = arms.train([plain("first"), plain("second", after={"method": "first"}, prepare=goes_on)])
    config = q_learning.Config(num_steps=20)
    start = run(q_learning.make, lake(0.1), config, **SHARED)
    alone = run(q_learning.make, lake(0.1), config, initial=start.state, **SHARED)
    np.testing.assert_array_equal(first.state.q, start.state.q)
    np.testing.assert_array_equal(second.state.q, alone.state.q)


def test_an_arm_may_take_its_task_from_another():
    """A chain of three, given in order, each trained only when the one before is finished."""
    seen = []

    def steeper(arm, run):
        seen.append(float(run.state.q.max()))
        return replace(arm, task=lake(0.3))

    chain = [plain("a"), plain("b", after={"method": "a"}, prepare=steeper), plain("c", after={"method": "b"}, prepare=steeper)]
    runs = arms.train(chain)
    assert len(runs) == 3
    assert seen == [float(runs[0].state.q.max()), float(runs[1].state.q.max())]
    alone = run(q_learning.make, lake(0.3), Q, **SHARED)
    np.testing.assert_array_equal(runs[2].state.q, alone.state.q)


def test_environment_steps_are_whole_updates():
    assert plain("a", num_updates=None, env_steps=250).updates == 250 // Q.steps_per_update
    with pytest.raises(ConfigError, match=r"env_steps must be at least 20, the steps of one update, got 19\. Try --env-steps 20"):
        _ = plain("a", num_updates=None, env_steps=19).updates


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["slip"], "--only must have the form FACTOR=VALUE"),
        (["slp=0.1"], "Did you mean 'slip'"),
        (["slip=0.2"], r"slip must be one of 0\.1, 0\.3, got '0\.2'"),
    ],
)
def test_a_choice_of_arms_that_is_none(chosen, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        arms.only(grid(), chosen)


def test_chosen_arms_bring_those_they_come_after():
    every = [plain("a"), plain("b"), plain("c", after={"method": "a"})]
    assert [arm.label for arm in arms.only(every, ["method=c"])] == ["a", "c"]
    assert [arm.factors["slip"] for arm in arms.only(grid(), ["slip=0.3", "steps=10,20"])] == [0.3] * 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "there must be an arm"),
        ([plain("a"), plain("a")], "arms must differ in their factors"),
        ([plain("a", env_steps=20)], "an arm must have env_steps or num_updates"),
        ([plain("a", seeds=0)], r"seeds must be an integer of at least 1, got 0\. Try --seeds 8"),
        ([plain("a"), Arm({"method": 1}, q_learning.make, lake(0.1), Q, **SHARED)], "must all be texts, or all be numbers"),
        ([Arm({"seed": 1}, q_learning.make, lake(0.1), Q, **SHARED)], "names of factors must be identifiers other than"),
        ([Arm({}, q_learning.make, lake(0.1), Q, **SHARED)], "an arm must have a factor"),
        ([plain("b", after={"method": "a"}), plain("a")], "exactly one earlier arm must have the factors"),
    ],
)
def test_arms_that_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        arms.checked(wrong)


class Waiting:
    """Has no answers, or none to give."""

    def __init__(self, folder, name, missing=True):
        self._missing, self.made = missing, (folder, name)

    def ask(self, update, seeds, states):
        assert seeds.tolist() == [0, 1], "an arm that asks is a program of its own"
        if self._missing:
            raise AnswersWanted(f"no answer of {self.made[1]}")
        return {}

    def apply(self, state, answers):
        return state


def asking(**missing):
    """Arms a, b and c, and d that must come after a."""
    for name in "abcd":
        between = partial(Waiting, missing=missing[name]) if name in missing else None
        after = {"after": {"who": "a"}, "prepare": lambda arm, run: arm} if name == "d" else {}
        yield Arm({"who": name}, q_learning.make, lake(0.1), Q, between=between, **SHARED, **after)


def test_arms_wait_for_answers_while_others_go_on():
    assert arms.programs(list(asking(a=True, b=True))) == [[0], [1], [2, 3]]
    a, b, c = arms.train(asking(a=True, b=True))  # d would need a
    assert (a.summary.wanted, b.summary.wanted) == (("no answer of a",), ("no answer of b",))
    assert a.metrics["episodes"].shape == b.metrics["episodes"].shape == (2, 2)
    assert not c.summary.interrupted
    told, *_, last = arms.train(asking(a=False, b=True))
    assert not told.summary.interrupted
    assert not last.summary.interrupted
    np.testing.assert_array_equal(last.state.q, c.state.q)
    np.testing.assert_array_equal(told.state.q, c.state.q)
