"""The runner's promises: chunks and resuming change nothing, seeds are independent, one compilation, flat memory."""

import functools
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from jaxrl.algorithms.deep import dqn, ppo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import averages
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.results.sinks import Failure
from jaxrl.training import runner, seed_axis
from jaxrl.training.inputs import Inputs
from jaxrl.training.runner import run, train
from jaxrl.training.trainer import default_chunk_length
from tests.marks import each

GRID = envs.make("cliff_walking")
CARTPOLE = envs.make("cartpole")
Q = q_learning.Config(num_steps=20)
PPO = ppo.Config(num_envs=2, num_steps=16, num_epochs=2, num_minibatches=2, hidden=(8,))
CASES = {"q_learning": (q_learning.make, GRID, Q), "ppo": (ppo.make, CARTPOLE, PPO)}


@functools.cache
def finished(name, seeds=4, num_updates=12, chunk_length=12, vmap_width=None):
    return run(*CASES[name], seeds=seeds, num_updates=num_updates, chunk_length=chunk_length, vmap_width=vmap_width)


@pytest.mark.parametrize("name", ["q_learning", each("ppo")])
def test_chunk_length_changes_nothing(name):
    whole = finished(name)
    for chunk_length in (1, 4, 5):  # the last chunk may be shorter
        cut = finished(name, chunk_length=chunk_length)
        chex.assert_trees_all_equal(cut.metrics, whole.metrics)
        chex.assert_trees_all_equal(jax.device_get(_data(cut.state)), jax.device_get(_data(whole.state)))


def _data(state):
    return jax.tree.map(np.asarray, state)


@pytest.mark.parametrize(
    ("num_updates", "length"), [(1, 1), (12, 1), (40, 2), (997, 50), (1000, 50), (48, 2), (1_000_003, 50_000)]
)
def test_there_are_about_twenty_chunks(num_updates, length):
    assert default_chunk_length(num_updates) == length


@pytest.mark.parametrize("name", ["q_learning", each("ppo")])
def test_resuming_from_a_saved_state_changes_nothing(name):
    make, task, config = CASES[name]
    key = jax.random.fold_in(jax.random.key(0), 5)

    @functools.partial(jax.jit, static_argnames="length")
    def go_on(state, first, length):
        return runner.scan_updates(make(task, config), state, key, first + jnp.arange(length))

    start = jax.jit(lambda: make(task, config).init(jax.random.fold_in(key, 0)))()
    whole, metrics = go_on(start, 0, 8)
    half, _ = go_on(start, 0, 4)
    saved = jax.tree.map(np.asarray, half)  # through the host, as a checkpoint would
    resumed, later = go_on(saved, 4, 4)
    chex.assert_trees_all_equal(resumed, whole)
    chex.assert_trees_all_equal(later, jax.tree.map(lambda leaf: leaf[4:], metrics))


@pytest.mark.parametrize("name", ["q_learning", each("ppo")])
def test_a_seed_is_the_same_whoever_runs_beside_it(name):
    alone = run(*CASES[name], seeds=[2], num_updates=12, chunk_length=12)
    beside = finished(name).metrics["td_error" if name == "q_learning" else "value_loss"][2]
    mine = alone.metrics["td_error" if name == "q_learning" else "value_loss"][0]
    if name == "q_learning":
        np.testing.assert_array_equal(mine, beside)
    else:  # batched matrix products sum in another order
        np.testing.assert_allclose(mine, beside, rtol=1e-3, atol=1e-5)


@pytest.mark.optimised
def test_groups_of_one_are_independent_of_the_others_to_the_last_bit():
    few = run(*CASES["ppo"], seeds=2, num_updates=6, chunk_length=6, vmap_width=1)
    many = run(*CASES["ppo"], seeds=6, num_updates=6, chunk_length=6, vmap_width=1)
    chex.assert_trees_all_equal(few.metrics, jax.tree.map(lambda leaf: leaf[:2], many.metrics))


@pytest.mark.parametrize("name", ["q_learning", each("ppo")])
def test_train_is_the_same_program_for_one_seed(name):
    make, task, config = CASES[name]
    keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(0), s))(jnp.arange(4))
    _, metrics = jax.jit(jax.vmap(lambda key: train(make, task, config, key, 12)))(keys)
    chex.assert_trees_all_close(averages.columns(metrics, axes=2), finished(name).metrics, rtol=1e-3, atol=1e-5)


def test_different_seeds_differ_and_equal_seeds_agree():
    first, again = finished("q_learning"), run(*CASES["q_learning"], seeds=[3, 1], num_updates=12, chunk_length=12)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[[3, 1]], first.metrics), again.metrics)
    assert len(np.unique(first.metrics["td_error"][:, -1])) == 4


def test_another_root_gives_other_results():
    other = run(*CASES["q_learning"], seeds=4, num_updates=12, chunk_length=12, root=1)
    assert (other.metrics["td_error"] != finished("q_learning").metrics["td_error"]).any()


@pytest.mark.parametrize("name", ["q_learning", each("ppo")])
def test_a_swept_member_equals_a_plain_run(name):
    make, task, config = CASES[name]
    rates = (
        np.array([0.5, 0.1, 0.5, 0.25], np.float32)
        if name == "q_learning"
        else np.array([2.5e-4, 1e-3, 2.5e-4, 1e-2], np.float32)
    )
    swept = run(make, task, config.replace(learning_rate=rates), seeds=4, num_updates=12, chunk_length=12)
    plain = finished(name)
    chex.assert_trees_all_equal(*(jax.tree.map(lambda leaf: leaf[[0, 2]], r.metrics) for r in (swept, plain)))
    assert any((swept.metrics[k][1] != plain.metrics[k][1]).any() for k in ("td_error", "value_loss") if k in plain.metrics)


traces = 0


def counting_make(task, config):
    global traces
    traces += 1
    return q_learning.make(task, config)


def test_one_compilation_per_run_and_none_for_other_values():
    evaluators = (ExactValue.of(GRID, 0.99),)

    def go(**changes):
        before = traces
        run(
            counting_make,
            envs.make("cliff_walking"),
            Q.replace(**changes),
            seeds=4,
            num_updates=6,
            chunk_length=2,
            evaluators=evaluators,
        )
        return traces - before

    assert go() == 4  # once each to lay out, initialise, update and evaluate
    assert go() == 0
    assert go(learning_rate=0.3, gamma=0.5, epsilon=0.7) == 0
    assert go(learning_rate=np.linspace(0.1, 0.4, 4)) == 0
    run(counting_make, envs.make("cliff_walking", slip=0.1), Q, seeds=[5, 6, 7, 9], num_updates=6, chunk_length=2)
    assert traces == 4


@struct.dataclass
class NoConfig:
    rate: float = 1.0
    size: int = static(default=3)


def nothing(task, config):
    def update(state, key):
        return state + config.rate, {"value": state.sum()}

    return Algorithm(lambda key: jnp.zeros(config.size), update)


class Memory:
    """A sink that notes how many bytes are alive on the devices after each chunk."""

    def __init__(self):
        self.bytes, self.events = [], []

    def begin(self, plan):
        self.events.append(("begin", plan.num_updates))

    def chunk(self, chunk):
        self.events.append(("chunk", chunk.first_update))
        self.bytes.append(sum(array.nbytes for array in jax.live_arrays()))

    def end(self, summary):
        self.events.append(("end", summary.interrupted))


def test_device_memory_does_not_grow_with_updates():
    sink = Memory()
    run(*CASES["q_learning"], seeds=4, num_updates=60, chunk_length=2, sinks=(sink,))
    assert len(sink.bytes) == 30
    assert sink.bytes[3] == sink.bytes[-2]


def test_one_copy_to_the_host_for_each_chunk(monkeypatch):
    copies = []
    device_get = jax.device_get
    monkeypatch.setattr(runner.jax, "device_get", lambda tree: copies.append(tree) or device_get(tree))
    evaluators = (Episodes(GRID, num_episodes=2),)
    run(*CASES["q_learning"], seeds=4, num_updates=12, chunk_length=2, evaluators=evaluators, sinks=(Memory(),))
    assert len(copies) == 6


def test_sinks_are_called_in_order():
    sink = Memory()
    run(nothing, None, NoConfig(), seeds=3, num_updates=6, chunk_length=2, sinks=(sink,))
    assert sink.events == [("begin", 6), ("chunk", 0), ("chunk", 2), ("chunk", 4), ("end", False)]


class CtrlC(Memory):
    """A sink that presses Ctrl-C once, in the middle."""

    def chunk(self, chunk):
        super().chunk(chunk)
        if chunk.first_update == 4:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def _listening():
    """A process started in the background ignores Ctrl-C; Python's own handler is what users have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_listening")
def test_an_interrupt_keeps_what_was_computed():
    sink = CtrlC()
    done = run(nothing, None, NoConfig(), seeds=3, num_updates=100, chunk_length=2, sinks=(sink,))
    assert done.summary.interrupted
    assert sink.events[-1] == ("end", True)
    updates = done.metrics["value"].shape[1]
    assert 6 <= updates < 100
    np.testing.assert_array_equal(done.metrics["value"][0], 3.0 * np.arange(updates))
    assert [event for event in sink.events if event[0] == "chunk"] == [("chunk", first) for first in range(0, updates, 2)]


def test_uneven_seeds_are_filled_up_and_cut_again():
    three = run(nothing, None, NoConfig(rate=np.arange(3.0)), seeds=[7, 5, 9], num_updates=4, chunk_length=2)
    np.testing.assert_array_equal(three.seeds, [7, 5, 9])
    np.testing.assert_array_equal(three.metrics["value"][:, -1], [0.0, 9.0, 18.0])
    assert three.state.shape == (3, 3)


def test_evaluations_use_the_same_keys_for_all_seeds():
    evaluator = Episodes(GRID, num_episodes=16)
    first = run(*CASES["q_learning"], seeds=2, num_updates=4, chunk_length=2, evaluators=(evaluator,))
    assert first.evaluations["greedy_return"].shape == (2, 2)
    np.testing.assert_array_equal(first.evaluated_at, [2, 4])
    # A learner that does not learn is worth the same each time, for every seed.
    still = Q.replace(learning_rate=0.0, learning_rate_min=0.0)
    same = run(q_learning.make, GRID, still, seeds=2, num_updates=4, chunk_length=2, evaluators=(evaluator,))
    for values in same.evaluations.values():
        assert len(np.unique(values)) == 1


def test_failed_seeds_are_named():
    rates = np.array([1.0, np.nan, 1.0])
    done = run(nothing, None, NoConfig(rate=rates), seeds=[4, 5, 6], num_updates=4, chunk_length=2)
    assert dict(done.summary.failed_seeds) == {5: Failure(0, "state")}
    np.testing.assert_array_equal(done.state, [[4.0] * 3, [0.0] * 3, [4.0] * 3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "at least one seed"),
        ({"seeds": [1, 2, 1]}, r"seeds must differ, got '\[1\] more than once'"),
        ({"seeds": [-1]}, "integers in"),
        ({"seeds": [0.5]}, "integers in"),
        ({"seeds": 2.5}, "seeds must be a count, or a list of integers"),
        ({"seeds": None}, "seeds must be a count, or a list of integers"),
        ({"seeds": "12"}, "seeds must be a count, or a list of integers"),
        ({"seeds": [[1, 2], [3]]}, "seeds must be a count, or a list of integers"),
        ({"num_updates": 2.5}, "num_updates must be an integer of at least 1, got 2.5"),
        ({"num_updates": "3"}, "num_updates must be an integer"),
        ({"num_updates": None}, "num_updates must be an integer"),
        ({"num_updates": 0}, "num_updates must be an integer of at least 1"),
        ({"chunk_length": 0}, "chunk_length must be an integer of at least 1"),
        ({"vmap_width": 0}, "vmap_width must be an integer of at least 1"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ConfigError, match=message):
        run(nothing, None, NoConfig(), **({"seeds": 2, "num_updates": 12} | changes))


def test_train_refuses_an_unsound_number_of_updates():
    for num_updates in (0, -1, 2.0, "3", None):
        with pytest.raises(ConfigError, match="train: num_updates must be an integer of at least 1, got"):
            train(nothing, None, NoConfig(), jax.random.key(0), num_updates)


def test_a_sweep_of_the_wrong_length():
    with pytest.raises(ConfigError, match=r"config\.rate: .*one entry per seed \(2\), got \(3,\)"):
        run(nothing, None, NoConfig(rate=np.ones(3)), seeds=2, num_updates=2)


def test_the_compiled_program_has_no_collectives():
    """Seeds never talk, so no device may wait for another."""
    layout = seed_axis.Layout(jax.sharding.Mesh(np.asarray(jax.devices()[:2]), (seed_axis.SEED_AXIS,)), 1, 2)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(4))
    configs = seed_axis.spread(Q, 4)
    carries = seed_axis.begin(q_learning.make, layout, Inputs.of("task", GRID), configs, keys)
    lowered = seed_axis.chunk.lower(q_learning.make, layout, 2, Inputs.of("task", GRID), configs, keys, carries, np.int32(0))
    text = lowered.compile().as_text()
    for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute"):
        assert word not in text


def test_training_as_one_function_asks_the_configuration_first():
    with pytest.raises(SpaceError, match="dqn: the action_space must be Discrete"):
        train(dqn.make, envs.make("pendulum"), dqn.Config(), jax.random.key(0), 1)
