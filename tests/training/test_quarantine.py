"""Quarantine: a bad seed stops where it was last good and is named; its neighbours do not notice."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks import replay
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, optional
from jaxrl.core.environment import static
from jaxrl.core.rollout import Episode
from jaxrl.errors import QuarantineWarning
from jaxrl.evaluation import Episodes
from jaxrl.results.sinks import Failure
from jaxrl.training import quarantine
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.quarantine import guard, healthy
from jaxrl.training.runner import run

POISONED, LENGTH = 11, 12
NAN = jnp.nan


@struct.dataclass
class Config:
    """``poison``: the update that spoils a seed, negative for none. The rest is the other algorithm's configuration."""

    poison: int = -1
    inner: q_learning.Config = struct.field(default_factory=lambda: q_learning.Config(num_steps=20))


def poisoned(task, config):
    """Q-learning whose table turns to NaN in one update."""
    inner = q_learning.make(task, config.inner)

    def init(key):
        return inner.init(key), jnp.int32(0)

    def update(state, key):
        learner, count = state
        learner, metrics = inner.update(learner, key)
        q = jnp.where(count == config.poison, jnp.nan, learner.q)
        return (learner.replace(q=q), count + 1), metrics

    policy = lambda state, greedy: inner.policy(state[0], greedy)  # noqa: E731
    return Algorithm(init, update, policy)


def test_one_bad_seed_of_64_stops_alone():
    env = envs.make("cliff_walking")
    poison = np.full(64, -1)
    poison[POISONED] = 5
    evaluators = (Episodes(env, num_episodes=4),)
    options = {"num_updates": LENGTH, "chunk_length": 4, "evaluators": evaluators}
    done = run(poisoned, env, Config(poison), seeds=64, **options)
    others = np.delete(np.arange(64), POISONED)
    without = run(poisoned, env, Config(np.delete(poison, POISONED)), seeds=others, **options)

    ((seed, failure),) = done.summary.failed_seeds.items()
    assert (seed, failure.update) == (POISONED, 5)
    assert "q" in failure.place
    assert not without.summary.failed_seeds
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[others], done.metrics), without.metrics)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[others], done.evaluations), without.evaluations)
    chex.assert_trees_all_equal(*(jax.device_get(tree) for tree in (_rows(done.state, others), without.state)))

    # Its state is the one of before, its later metrics and evaluations are missing.
    last_good = run(poisoned, env, Config(), seeds=[POISONED], num_updates=5)
    chex.assert_trees_all_equal(*(jax.device_get(tree) for tree in (_rows(done.state, [POISONED]), last_good.state)))
    assert np.isfinite(done.metrics["td_error"][POISONED, :6]).all()
    assert np.isnan(done.metrics["td_error"][POISONED, 6:]).all()
    assert np.isfinite(done.evaluations["greedy_return"][POISONED, 0])
    assert np.isnan(done.evaluations["greedy_return"][POISONED, 1:]).all()


def _rows(tree, rows):
    return jax.tree.map(lambda leaf: leaf[np.asarray(rows)], tree)


def test_a_diverging_network_is_named_by_its_first_bad_value():
    rates = np.array([2.5e-4, 1e30, 2.5e-4, 2.5e-4], np.float32)
    config = ppo.Config(num_envs=2, num_steps=16, num_epochs=2, num_minibatches=2, hidden=(8,)).replace(learning_rate=rates)
    done = run(ppo.make, envs.make("cartpole"), config, seeds=4, num_updates=4)
    assert list(done.summary.failed_seeds) == [1]
    assert done.summary.failed_seeds[1].update == 0
    assert done.summary.failed_seeds[1].place.startswith(("metric ", "state"))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(done.state)) if leaf.dtype.kind == "f")


def count_up(state, key):
    return state + 1, {"value": state.sum(), "episode_return": Average(jnp.float32(0), jnp.float32(0))}


@pytest.mark.parametrize(
    ("update", "start", "place"),
    [
        (lambda state, key: (state, {"a": jnp.float32(1), "b": jnp.inf}), jnp.zeros(2), "metric b"),
        (lambda state, key: (state, {"a": Average(jnp.inf, jnp.float32(2))}), jnp.zeros(2), "metric a"),
        (lambda state, key: (state, {"a": Average(jnp.float32(2), jnp.nan)}), jnp.zeros(2), "metric a"),
        (lambda state, key: (state, {"episode_return": jnp.nan}), jnp.zeros(2), "the environment's metric episode_return"),
        (lambda state, key: (state, {"a": jnp.array([0.0, jnp.nan]), "b": jnp.nan}), jnp.zeros(2), "metric a"),
        (lambda state, key: (state, {"a": optional(jnp.array([0.0, jnp.inf]))}), jnp.zeros(2), "metric a"),
        (lambda state, key: ({"w": state["w"] / 0}, {}), {"w": jnp.ones(2)}, "state['w']"),
    ],
)
def test_the_first_bad_place_is_named(update, start, place):
    _, health, _ = guard(update, start, healthy(), jnp.int32(7), jax.random.key(0))
    assert int(health.update) == 7
    metrics = jax.eval_shape(lambda: update(start, None))[1]
    assert quarantine.watched_names(start, metrics)[int(health.place)] == place


def episode(return_=0.0, memory=0.0):
    """An episode under way."""
    return Episode(jnp.zeros(2), jnp.zeros(2), jnp.int32(3), jnp.float32(return_), {"hidden": jnp.full(2, memory)})


@pytest.mark.parametrize(
    ("new", "metrics", "place"),
    [
        ({"a": jnp.nan, "e": episode(jnp.nan)}, {"approximate_kl": jnp.nan}, "the environment's state['e'].return_"),
        (
            {"a": jnp.nan, "e": episode()},
            {"a_loss": jnp.nan, "episode_return": jnp.nan},
            "the environment's metric episode_return",
        ),
        ({"a": jnp.nan, "e": episode()}, {"approximate_kl": jnp.nan}, "state['a']"),
        ({"a": 0.0, "e": episode()}, {"b_loss": jnp.nan, "a_loss": 0.0}, "metric b_loss"),
        (
            {"a": 0.0, "e": episode().replace(memory={"hidden": jnp.full(2, jnp.nan)})},
            {"loss": jnp.nan},
            "state['e'].memory['hidden']",
        ),
    ],
    ids=str,
)
def test_a_cause_is_named_before_its_effects(new, metrics, place):
    """The environment's numbers come before the learner's state, and that before its metrics: not what the alphabet says."""
    new, metrics = (jax.tree.map(jnp.asarray, tree) for tree in (new, metrics))
    start = {"a": jnp.float32(0), "e": episode()}
    _, health, _ = guard(lambda state, key: (new, metrics), start, healthy(), jnp.int32(0), jax.random.key(0))
    failure = Failure(0, quarantine.watched_names(start, metrics)[int(health.place)])
    assert failure.place == place
    assert failure.of_environment == place.startswith("the environment's")
    assert failure.value == place.removeprefix("the environment's ")


@struct.dataclass
class Declares:
    """declared: whether the metric is. bad: the seed in which it is missing in every second update, negative for none."""

    bad: int = -1
    declared: bool = static(default=True)


def sometimes_missing(task, config):
    """Counts. Measures an array whose second entry is missing from time to time."""

    def update(state, key):
        measured = jnp.stack([state, jnp.where((state % 2 == 1) & (config.bad >= 0), jnp.nan, state)])
        return state + 1, {"score": optional(measured) if config.declared else measured, "step": state}

    return Algorithm(lambda key: jnp.float32(0), update)


@struct.dataclass
class Missing:
    """An evaluator whose metric is missing after an odd number of updates."""

    declared: bool = static(default=True)

    def __call__(self, key, algorithm, state):
        found = jnp.where(state % 2 == 1, jnp.nan, state)
        return {"found": optional(found) if self.declared else found, "after": state}


def test_a_metric_that_is_declared_may_be_missing():
    """By an algorithm and by an evaluator of the user's; no name is known to the library."""
    done = run(sometimes_missing, (), Declares(np.array([-1, 0])), seeds=2, num_updates=4, chunk_length=1, evaluators=[Missing()])
    assert not done.summary.failed_seeds
    np.testing.assert_array_equal(done.metrics["score/0"], [[0, 1, 2, 3]] * 2)
    np.testing.assert_array_equal(done.metrics["score/1"], [[0, 1, 2, 3], [0, np.nan, 2, np.nan]])
    np.testing.assert_array_equal(done.evaluations["found"], [[np.nan, 2, np.nan, 4]] * 2)
    np.testing.assert_array_equal(done.state, [4, 4])


def test_a_metric_that_is_not_declared_may_not():
    config = Declares(np.array([-1, 0]), declared=False)
    done = run(sometimes_missing, (), config, seeds=2, num_updates=4, evaluators=[Missing()])
    assert done.summary.failed_seeds == {1: Failure(1, "metric score")}
    np.testing.assert_array_equal(done.metrics["score/0"], [[0, 1, 2, 3], [0, 1, np.nan, np.nan]])
    np.testing.assert_array_equal(done.state, [4, 1])


def test_missing_returns_whole_numbers_and_infinities_from_the_start_are_no_failure():
    start = jnp.array([-jnp.inf, 1.0])
    state, health, metrics = guard(count_up, start, healthy(), jnp.int32(0), jax.random.key(0))
    assert not bool(health.good)  # the sum is infinite
    state, health, metrics = guard(lambda s, k: (s + 1, {"n": jnp.int32(3)}), start, healthy(), jnp.int32(0), jax.random.key(0))
    assert bool(health.good)
    np.testing.assert_array_equal(state, start + 1)
    assert metrics["n"].dtype == jnp.float32


def test_a_replay_buffer_keeps_its_position():
    def update(buffer, key):
        return replay.add(buffer, jnp.ones((2,))), {"loss": jnp.nan}

    before = replay.add(replay.create(jnp.float32(0), 8), jnp.full(3, 5.0))
    after, health, _ = guard(update, before, healthy(), jnp.int32(0), jax.random.key(0))
    assert not bool(health.good)
    assert (int(after.position), int(after.size)) == (3, 3)
    np.testing.assert_array_equal(after.items[:3], 5.0)


def test_a_failure_is_a_place_and_an_update():
    assert Failure(3, "metric loss")._asdict() == {"update": 3, "place": "metric loss"}


def test_a_seed_in_quarantine_is_still_there_after_a_resume(tmp_path):
    env = envs.make("cliff_walking")
    config = Config(np.array([-1, 3, -1]))
    options = {"seeds": 3, "num_updates": 6, "chunk_length": 2}
    first = run(poisoned, env, config, checkpoints=Checkpoints(tmp_path), **options)
    again = run(poisoned, env, config, checkpoints=Checkpoints(tmp_path), **options)
    assert first.summary.failed_seeds == again.summary.failed_seeds
    assert again.summary.failed_seeds[1].update == 3


def make_hopeless(task, config):
    return Algorithm(lambda key: jnp.float32(1), lambda state, key: (state / 0 * 0, {"loss": state}))


def test_a_run_without_sinks_warns_if_no_seed_is_left():
    with pytest.warns(QuarantineWarning, match=r"run: every seed is in quarantine; the first is seed 0 at update 0: state"):
        run(make_hopeless, jnp.float32(0), Config(), seeds=2, num_updates=2)
