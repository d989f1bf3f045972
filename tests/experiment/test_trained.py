"""After training: a run is opened, its states are those of the run, policies are played, filmed and exported."""

from pathlib import Path

import jax
import numpy as np
import pytest

import envs
import jaxrl
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.tabular import q_learning
from jaxrl.cli.main import main
from jaxrl.core.rollout import View
from jaxrl.errors import AlgorithmError, CheckpointError, ConfigError, UnknownNameError
from jaxrl.experiment import load
from jaxrl.experiment.arms import train
from jaxrl.experiment.trained import Trained
from jaxrl.training.runner import run

SMALL = str(Path(__file__).parents[1] / "small_experiment.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert main(["run", SMALL, "--quick", "--runs", str(folder)]) == 0
    return folder


def test_states_on_disk_are_those_of_the_run(runs):
    """Of arms of one program, and of one that began with the states of another."""
    experiment = load(SMALL)
    saved = jaxrl.load("small_experiment", runs)
    arms = list(experiment.arms(experiment.quick))
    for arm, done in zip(arms, train(arms), strict=True):
        trained = saved.arm(**arm.factors)
        for seed in range(2):
            np.testing.assert_array_equal(trained.state(seed).q, done.state.q[seed])
    assert [arm.label for arm in saved.arms()] == [arm.label for arm in arms]
    assert saved.config == experiment.quick
    assert saved.results.final("greedy_exact_value", method="continued").shape == (2,)


def test_reading_changes_nothing(runs):
    (folder,) = (runs / "small_experiment").iterdir()

    def contents():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}

    before = contents()
    saved = jaxrl.load(folder)
    assert repr(saved) == f"Saved({str(folder)!r}, quick settings, root 0)"
    saved.arm(method="plain", rate=0.1).state(1)
    saved.results.final("greedy_exact_value", method="plain", rate=0.1)
    assert main(["replay", str(folder), "--seed", "0"]) == 2
    assert contents() == before


def test_which_arm(runs):
    saved = jaxrl.load("small_experiment", runs)
    with pytest.raises(ConfigError, match="must name one arm"):
        saved.arm(method="plain")
    with pytest.raises(UnknownNameError, match="no arm is named 'rate 3'"):
        saved.arm(rate=3)
    with pytest.raises(ConfigError, match=r"seed must be one of \[0, 1\]"):
        saved.arm(method="continued").state(2)


def test_a_run_whose_checkpoints_were_removed(runs, tmp_path):
    import shutil

    (folder,) = (runs / "small_experiment").iterdir()
    copy = tmp_path / "small_experiment" / folder.name
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match="there must be a checkpoint of seed 0"):
        jaxrl.load(copy).arm(method="plain", rate=0.1).state(0)


def test_policies_are_played_filmed_and_exported(runs, tmp_path):
    trained = jaxrl.load("small_experiment", runs).arm(method="plain", rate=0.5)
    best = trained.best("greedy_exact_value")
    assert best in (0, 1)
    returns = trained.returns(best, episodes=16)
    assert returns.shape == (16,)
    assert (returns == trained.returns(best, episodes=16)).all()
    film = trained.film(best, tmp_path / "best.gif")
    assert film.read_bytes().startswith(b"GIF8")
    program = jax.export.deserialize(bytearray(trained.export(best, tmp_path / "policy.bin").read_bytes()))
    env, policy = envs.make("corridor"), trained.policy(best)
    for number in range(4):
        key = jax.random.key(number)
        obs, _ = env.reset(key)
        action, _ = program.call(jax.random.key_data(key), obs, ())
        assert action == policy(key, View(obs[None], None, ())).action[0]


def test_a_run_in_memory_offers_the_same():
    """The returns are those of the evaluator that plays the same policy."""
    env, config = envs.make("cartpole"), ppo.Config(num_steps=16, num_minibatches=1, num_epochs=1, hidden=(8,))
    done = run(ppo.make, env, config, seeds=3, num_updates=2)
    trained = Trained.of(ppo.make, env, config, done)
    assert repr(trained).startswith("Trained(jaxrl.algorithms.deep.ppo.make, 3 seeds, Config(learning_rate=")
    worst = trained.best("value_loss", lower_is_better=True)
    assert worst == int(done.metrics["value_loss"][:, -1].argmin())
    returns = trained.returns(1, episodes=8)
    assert ((returns >= 1) & (returns <= env.max_steps)).all()
    with pytest.raises(UnknownNameError, match="Did you mean 'value_loss'"):
        trained.best("value_los")


def test_an_algorithm_without_a_policy_is_refused(runs):
    trained = jaxrl.load("small_experiment", runs).arm(method="plain", rate=0.5)
    trained.algorithm = lambda seed=0: jaxrl.Algorithm(lambda key: 0, lambda state, key: (state, {}))
    with pytest.raises(AlgorithmError, match="must have a policy"):
        trained.policy()


def test_the_best_of_the_states_that_are_kept(tmp_path):
    options = ["frozen_lake_q_learning", "--seeds", "3", "--env-steps", "4000", "--checkpoint-seconds", "0"]
    assert main(["run", *options, "--keep-checkpoints", "6", "--runs", str(tmp_path)]) in (0, 1)
    trained = jaxrl.load("frozen_lake_q_learning", tmp_path).arm()
    assert trained.checkpoints(1).tolist() == [30, 32, 34, 36, 38, 40]
    np.testing.assert_array_equal(trained.at(40).state(1).q, trained.state(1).q)
    assert not np.array_equal(trained.at(32).state(1).q, trained.state(1).q)
    seed, updates = trained.best_checkpoint("greedy_exact_value")
    curves = jaxrl.load("frozen_lake_q_learning", tmp_path).directory.curves("greedy_exact_value", "Q-learning")
    kept = curves.values[:, curves.updates >= 29]
    assert curves.values[seed, np.flatnonzero(curves.updates == updates - 1)[0]] == kept.max()
    assert trained.at(updates).returns(seed, episodes=4).shape == (4,)
    with pytest.raises(CheckpointError, match="of seed 0 of Q-learning after 3 updates"):
        trained.at(3).state(0)
    with pytest.raises(UnknownNameError):
        trained.best_checkpoint("nothing")


def test_a_run_in_memory_keeps_its_end_alone():
    env = envs.make("corridor")
    config = q_learning.Config(num_steps=20)
    done = run(q_learning.make, env, config, num_updates=2)
    trained = Trained.of(q_learning.make, env, config, done)
    with pytest.raises(ConfigError, match="states must be kept on the way, got 'a run in memory'"):
        trained.checkpoints()
