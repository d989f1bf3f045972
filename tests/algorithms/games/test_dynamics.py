"""Learning dynamics as an algorithm: the numbers of the solvers, starts and games of each seed's own, resumed runs, sweeps."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrl
from envs.matrix_games import named
from jaxrl.algorithms.games import dynamics
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.experiment import arms
from jaxrl.experiment.arms import Arm
from jaxrl.solvers import dynamics as solver
from jaxrl.solvers.normal_form import coarse_correlated_regrets, expected_payoffs
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import run
from tests.marks import slow
from tests.recording import Stopped, StopsAt

UNEVEN = np.random.default_rng(0).normal(size=(3, 2, 3, 2))  # three players, who cycle: every dynamic goes its own way
PREDICTIVE = {"plus": True, "predictive": True, "alternating": True}
CASES = {
    "fictitious_play": ({"dynamic": "fictitious_play"}, solver.fictitious_play),
    "regret_matching": ({}, solver.regret_matching),
    "predictive": (PREDICTIVE | {"averaging": 2.0}, partial(solver.regret_matching, **PREDICTIVE, averaging=2.0)),
    "replicator": ({"dynamic": "replicator", "step_size": 0.05}, partial(solver.replicator, step_size=0.05)),
    "smooth": (
        {"dynamic": "smooth_fictitious_play", "temperature": 0.3},
        partial(solver.smooth_fictitious_play, temperature=0.3),
    ),
    "optimistic": (
        {"dynamic": "multiplicative_weights", "step_size": 0.2, "optimistic": True},
        partial(solver.multiplicative_weights, step_size=0.2, optimistic=True),
    ),
    "policy_gradient": ({"dynamic": "policy_gradient", "step_size": 0.2}, partial(solver.policy_gradient, step_size=0.2)),
    "extragradient": ({"dynamic": "extragradient", "step_size": 0.2}, partial(solver.extragradient, step_size=0.2)),
    "mirror_prox": ({"dynamic": "mirror_prox", "step_size": 0.2}, partial(solver.mirror_prox, step_size=0.2)),
    "mutation": (
        {"dynamic": "replicator", "step_size": 0.05, "mutation": 0.1},
        partial(solver.replicator, step_size=0.05, mutation=0.1),
    ),
}


def first_profile(table, config, seed=0):
    """The profile from which a seed of a run starts."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), seed), 0)
    return dynamics.first_profile(key, jnp.asarray(table, jnp.float32), config.start)


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_solver(name):
    changes, play = CASES[name]
    config = dynamics.Config(iterations_per_update=20, **changes)
    done = run(dynamics.make, UNEVEN, config, seeds=2, num_updates=3)
    payoff = jnp.asarray(UNEVEN, jnp.float32)
    course = jax.jit(partial(play, num_steps=60, num_records=3))(payoff, start=first_profile(payoff, config, seed=1))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    found = {metric: values[1] for metric, values in done.metrics.items()}
    close(found["average_nash_conv"], course.history.average_nash_conv)
    close(found["current_nash_conv"], course.history.nash_conv)
    close(found["average_welfare"][-1], (payoff.sum(0) * course.joint).sum())
    close(found["current_welfare"][-1], expected_payoffs(payoff, course.profile).sum())
    close(found["coarse_correlated_regret"][-1], coarse_correlated_regrets(payoff, course.joint).max())
    for ours, theirs in zip(done.state.profile, course.profile, strict=True):
        close(ours[1], theirs)


@pytest.mark.parametrize(
    "name",
    [
        "fictitious_play",
        *map(
            slow,
            ("predictive", "replicator", "smooth", "optimistic", "policy_gradient", "extragradient", "mirror_prox", "mutation"),
        ),
    ],
)
def test_keeps_the_protocol(name):
    """Plain regret matching is among all algorithms."""
    config = dynamics.Config(iterations_per_update=2, **CASES[name][0])
    report = jaxrl.check_algorithm(dynamics.make, named.SHAPLEY, config, jax.random.key(0))
    assert "resuming changes nothing" in report.passed


def test_starts_are_profiles_that_differ():
    payoff = jnp.zeros((2, 3, 2))
    keys = jax.random.split(jax.random.key(0), 3000)
    interior, pure = (jax.vmap(partial(dynamics.first_profile, payoff=payoff, start=kind))(keys) for kind in dynamics.STARTS)
    for player, actions in enumerate((3, 2)):
        np.testing.assert_allclose(interior[player].sum(-1), 1.0, rtol=1e-5)
        assert interior[player].min() > 0
        np.testing.assert_allclose(interior[player].mean(0), 1 / actions, atol=0.03)
        variance = (actions - 1) / actions**2 / (actions + 1)  # uniform on the simplex
        np.testing.assert_allclose(interior[player].var(0), variance, atol=0.01)
        assert set(np.unique(pure[player])) == {0.0, 1.0}
        np.testing.assert_allclose(pure[player].sum(-1), 1.0)
        np.testing.assert_allclose(pure[player].mean(0), 1 / actions, atol=0.04)
    players = np.argmax(pure[0], -1) < 2, np.argmax(pure[1], -1) < 1
    np.testing.assert_allclose(np.corrcoef(*players)[0, 1], 0.0, atol=0.08)  # who draw independently


def test_every_seed_has_a_game_of_its_own():
    """64 random zero-sum games in one program with their exploitability; each is what it is alone."""
    rows = np.random.default_rng(5).normal(size=(64, 5, 7))
    tables = np.stack([rows, -rows], 1)
    config = dynamics.Config(averaging=1.0, **PREDICTIVE)
    train = partial(run, dynamics.make, config=config, num_updates=10)
    done = train(tables, seeds=64, task_axes=0)
    gaps = done.metrics["average_nash_conv"]
    assert gaps.shape == (64, 10)
    assert gaps[:, -1].max() < 2e-3
    assert gaps[:, -1].mean() < gaps[:, 0].mean() / 5
    np.testing.assert_allclose(done.metrics["average_welfare"], 0.0, atol=1e-5)
    alone = train(tables[3], seeds=[3])
    np.testing.assert_allclose(gaps[3, :3], alone.metrics["average_nash_conv"][0, :3], atol=1e-4)


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    config = dynamics.Config(iterations_per_update=5, **PREDICTIVE)
    tables = np.random.default_rng(0).normal(size=(3, 2, 3, 3))
    train = partial(run, dynamics.make, tables, config, seeds=3, num_updates=6, chunk_length=2, task_axes=0)
    with pytest.raises(Stopped):
        train(checkpoints=Checkpoints(tmp_path, seconds_between=0.0), sinks=(StopsAt(4),))
    resumed, whole = train(checkpoints=Checkpoints(tmp_path, seconds_between=0.0)), train()
    made = resumed.metrics["average_nash_conv"].shape[1]
    assert 0 < made < 6
    chex.assert_trees_all_equal(jax.device_get(resumed.state), jax.device_get(whole.state))
    chex.assert_trees_all_equal(resumed.metrics, {name: values[:, -made:] for name, values in whole.metrics.items()})


def test_arms_of_one_dynamic_share_a_program():
    """Games and numbers are settings of a program, the dynamic is its structure."""
    games = {"pennies": named.MATCHING_PENNIES, "chicken": named.CHICKEN}
    every = [
        Arm(
            {"dynamic": kind, "game": game, "averaging": power},
            dynamics.make,
            np.asarray(table, np.float32),
            dynamics.Config(dynamic=kind, averaging=power),
            seeds=4,
            num_updates=2,
        )
        for kind in dynamics.DYNAMICS
        for game, table in games.items()
        for power in (0.0, 1.0)
    ]
    assert arms.programs(every) == np.arange(4 * len(dynamics.DYNAMICS)).reshape(-1, 4).tolist()
    for arm, done in zip(every, arms.train(every), strict=True):
        alone = run(arm.make, arm.task, arm.config, seeds=4, num_updates=2)
        for name, values in alone.metrics.items():
            np.testing.assert_allclose(done.metrics[name], values, rtol=1e-4, atol=1e-4, err_msg=f"{arm.label}, {name}")


def test_a_traced_field_is_swept():
    """Twice the step is twice the time: after as many steps, a population is where one of half the steps has been before."""
    table = np.asarray(named.PRISONERS_DILEMMA, np.float32)
    config = dynamics.Config(dynamic="replicator", step_size=np.array([0.01, 0.02]), iterations_per_update=10)
    states = run(dynamics.make, table, config, seeds=[[5], [5]], num_updates=4).state
    half = run(dynamics.make, table, config.replace(step_size=0.01), seeds=[5], num_updates=8).state
    assert not np.allclose(states.profile[0][0], states.profile[0][1], atol=1e-3)
    np.testing.assert_allclose(states.profile[0][1], half.profile[0][0], atol=1e-5)


def test_best_known_answers():
    """Fictitious play solves a zero-sum game, the replicator finds dominant actions, regret matching is coarse correlated."""
    fictitious = dynamics.Config(dynamic="fictitious_play", start="pure")
    pennies = run(dynamics.make, named.MATCHING_PENNIES, fictitious, seeds=8, num_updates=10)
    assert pennies.metrics["average_nash_conv"][:, -1].max() < 0.1
    grown = dynamics.Config(dynamic="replicator", iterations_per_update=1000)
    dilemma = run(dynamics.make, named.PRISONERS_DILEMMA, grown, seeds=8, num_updates=4)
    both = np.asarray(named.PRISONERS_DILEMMA)[:, 1, 1].sum()
    np.testing.assert_allclose(dilemma.metrics["current_welfare"][:, -1], both, atol=0.01)
    assert dilemma.metrics["current_nash_conv"][:, -1].max() < 0.01
    shapley = run(dynamics.make, named.SHAPLEY, dynamics.Config(start="pure"), seeds=8, num_updates=20)
    assert shapley.metrics["coarse_correlated_regret"][:, -1].max() < 0.02


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dynamic": "replicators"}, UnknownNameError, "no dynamic is named 'replicators'. Did you mean 'replicator'"),
        ({"start": "vertex"}, UnknownNameError, "no start is named 'vertex'"),
        ({"dynamic": "replicator", "start": "pure"}, ConfigError, "start must be interior with replicator"),
        ({"dynamic": "replicator", "step_size": 5.0}, ConfigError, r"must lie in \(0, 1\], got 5.0. Use 0.45, say"),
        (
            {"dynamic": "multiplicative_weights", "start": "pure"},
            ConfigError,
            "start must be interior with multiplicative_weights",
        ),
        ({"dynamic": "fictitious_play", "plus": True}, ConfigError, "plus must be left out with fictitious_play"),
        ({"mutation": 0.1}, ConfigError, "mutation must be left out with regret_matching.*Set mutation=0.0"),
        ({"dynamic": "replicator", "mutation": -0.1}, ConfigError, "mutation"),
        ({"dynamic": "mirror_prox", "start": "pure"}, ConfigError, "start must be interior with mirror_prox"),
        ({"optimistic": True}, ConfigError, "optimistic must be left out with regret_matching"),
        ({"temperature": 0.0}, ConfigError, "temperature must be positive"),
        ({"iterations_per_update": 0}, ConfigError, "iterations_per_update must be an integer of at least 1"),
        ({"averaging": -1.0}, ConfigError, "averaging must be at least 0"),
    ],
)
def test_wrong_configurations(changes, error, message):
    with pytest.raises(error, match=message):
        run(dynamics.make, named.MATCHING_PENNIES, dynamics.Config(**changes), num_updates=1)


@pytest.mark.parametrize("task", [np.eye(2), np.full((2, 2, 2), np.nan), np.zeros((2, 2, 0))])
def test_wrong_tables(task):
    with pytest.raises(ConfigError, match="payoff"):
        run(dynamics.make, task, dynamics.Config(), num_updates=1)
