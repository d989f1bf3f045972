"""CFR as an algorithm: the numbers of the solver, seeds and games of their own, resumed runs, sweeps."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.extensive_games import kuhn, leduc
from jaxrl.algorithms.games import cfr
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.experiment import arms
from jaxrl.experiment.arms import Arm
from jaxrl.solvers import cfr as solver
from jaxrl.solvers import extensive
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.runner import run
from tests.recording import Stopped, StopsAt

MAKERS = {"kuhn": kuhn.make, "leduc": leduc.make}


@pytest.fixture(scope="module")
def games():
    return {name: extensive.from_environment(make()) for name, make in MAKERS.items()}


@pytest.mark.parametrize("plus", [False, True], ids=["cfr", "cfr_plus"])
@pytest.mark.parametrize("name", MAKERS)
def test_numbers_are_those_of_the_solver(games, name, plus):
    game = games[name]
    done = run(cfr.make, game, cfr.Config(plus=plus, iterations_per_update=10), seeds=1, num_updates=5)
    course = jax.jit(partial(solver.cfr, num_iterations=50, rule=solver.PLUS if plus else solver.PLAIN, num_records=5))(game)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    close(done.metrics["average_exploitability"][0], course.exploitability)
    close(done.metrics["average_nash_conv"][0], 2 * course.exploitability)
    close(done.metrics["average_value/0"][0], course.value[:, 0])
    state = jax.tree.map(lambda leaf: leaf[0], done.state)
    close(state.strategy, course.strategy, atol=1e-4)
    close(solver.average_strategy(game, state), course.average, atol=1e-4)
    close(done.metrics["current_nash_conv"][0, -1], extensive.nash_conv(game, course.strategy), atol=1e-4)


def test_cfr_plus_solves_kuhn(games):
    done = run(cfr.make, games["kuhn"], cfr.Config(plus=True, iterations_per_update=100), seeds=1, num_updates=5)
    assert done.metrics["average_exploitability"][0, -1] < 1e-3
    np.testing.assert_allclose(done.metrics["average_value/0"][0, -1], -1 / 18, atol=1e-3)
    np.testing.assert_allclose(done.metrics["average_value/1"][0, -1], 1 / 18, atol=1e-3)


def test_random_starts_are_strategies_that_differ_and_end_in_equilibrium(games):
    game = games["kuhn"]
    drawn = jax.vmap(partial(cfr.random_strategy, game=game))(jax.random.split(jax.random.key(0), 1000))
    np.testing.assert_allclose(drawn.sum(-1), 1.0, rtol=1e-5)
    assert (np.asarray(drawn > 0) == game.legal).all()
    # Uniform on the simplex: each of two actions has a mean of 1/2 and a variance of 1/12.
    first = np.asarray(drawn[:, 0, 0, 0])
    assert game.legal[0, 0].sum() == 2
    np.testing.assert_allclose([first.mean(), first.var()], [1 / 2, 1 / 12], atol=0.03)

    done = run(cfr.make, game, cfr.Config(plus=True, start="random"), seeds=64, num_updates=40)
    gaps = done.metrics["average_exploitability"]
    assert gaps.shape == (64, 40)
    assert len(np.unique(gaps[:, 0])) == 64
    assert gaps[:, -1].max() < 5e-3
    same = run(cfr.make, game, cfr.Config(plus=True), seeds=2, num_updates=1)
    assert same.metrics["average_nash_conv"][0] == same.metrics["average_nash_conv"][1]


def test_every_seed_has_a_game_of_its_own(games):
    """64 games on the tree of Kuhn poker with random stakes, in one program; each as it is alone."""
    game = games["kuhn"]
    paid = np.random.default_rng(0).normal(size=(64, len(game.chance)))
    many, axes = game.replace(payoff=np.stack([paid, -paid], -1)), jax.tree.map(lambda _: None, game).replace(payoff=0)
    config = cfr.Config(plus=True, iterations_per_update=20)
    done = run(cfr.make, many, config, seeds=64, num_updates=20, task_axes=axes)
    gaps = done.metrics["average_exploitability"]
    assert gaps.shape == (64, 20)
    assert gaps[:, -1].max() < 0.02
    assert gaps[:, -1].mean() < gaps[:, 0].mean() / 20
    alone = jax.jit(partial(solver.cfr, num_iterations=400, rule=solver.PLUS, num_records=20))(
        game.replace(payoff=many.payoff[7])
    )
    np.testing.assert_allclose(gaps[7], alone.exploitability, rtol=1e-2, atol=1e-5)


def test_seeds_sample_the_game_for_themselves(games):
    """A thousand runs of external sampling in one program."""
    config = cfr.Config(sampling="external", iterations_per_update=100)
    done = run(cfr.make, games["kuhn"], config, seeds=1000, num_updates=5)
    gaps = done.metrics["average_exploitability"]
    assert len(np.unique(gaps[:, -1])) > 900
    assert gaps[:, -1].mean() < gaps[:, 0].mean() / 1.5
    np.testing.assert_allclose(done.metrics["average_value/0"][:, -1].mean(), -1 / 18, atol=0.01)


def test_a_run_that_was_killed_goes_on_to_the_same_bits(games, tmp_path):
    train = partial(run, cfr.make, games["kuhn"], cfr.Config(plus=True, start="random"), seeds=3, num_updates=6, chunk_length=2)
    with pytest.raises(Stopped):
        train(checkpoints=Checkpoints(tmp_path, seconds_between=0.0), sinks=(StopsAt(4),))
    resumed, whole = train(checkpoints=Checkpoints(tmp_path, seconds_between=0.0)), train()
    made = resumed.metrics["average_nash_conv"].shape[1]
    assert 0 < made < 6
    chex.assert_trees_all_equal(jax.device_get(resumed.state), jax.device_get(whole.state))
    chex.assert_trees_all_equal(resumed.metrics, {name: values[:, -made:] for name, values in whole.metrics.items()})


def test_arms_of_cfr(games):
    """The power of the averages is a number of one program; CFR+ is another program."""
    kuhn_poker, random = games["kuhn"], cfr.Config(start="random")

    def arm(plus, power):
        config = random.replace(averaging=power, plus=plus)
        return Arm({"plus": plus, "averaging": power}, cfr.make, kuhn_poker, config, seeds=2, num_updates=2)

    every = [arm(plus, power) for plus in (False, True) for power in (0.0, 1.0, 2.0)]
    assert arms.programs(every) == [[0, 1, 2], [3, 4, 5]]
    done = arms.train(every)
    assert len({float(one.metrics["average_nash_conv"][0, -1]) for one in done}) == 6
    plain = run(cfr.make, kuhn_poker, random.replace(plus=True), seeds=2, num_updates=2)
    np.testing.assert_allclose(done[4].metrics["average_nash_conv"], plain.metrics["average_nash_conv"], rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"iterations_per_update": 0}, ConfigError, "iterations_per_update must be an integer of at least 1"),
        ({"averaging": -1.0}, ConfigError, "averaging must be at least 0"),
        ({"sampling": "extern"}, UnknownNameError, "no sampling is named 'extern'. Did you mean 'external'"),
        ({"positive_power": float("nan")}, ConfigError, "positive_power must be a number"),
        ({"exploration": 1.5}, ConfigError, "exploration must be in"),
        ({"start": "randm"}, UnknownNameError, "no start is named 'randm'. Did you mean 'random'"),
    ],
)
def test_wrong_configurations(games, changes, error, message):
    with pytest.raises(error, match=message):
        run(cfr.make, games["kuhn"], cfr.Config(**changes), num_updates=1)


def test_wrong_tasks(games):
    with pytest.raises(ConfigError, match=r"the task must be an ExtensiveGame, got .*Environment.*from_environment\(env\)"):
        run(cfr.make, kuhn.make(), cfr.Config(), num_updates=1)
    broken = games["kuhn"].replace(payoff=games["kuhn"].payoff * np.nan)
    with pytest.raises(ConfigError, match="payoff of the game must be finite"):
        run(cfr.make, broken, cfr.Config(), num_updates=1)


def test_64_bits_change_nothing(games):
    with jax.enable_x64(True):
        wide = run(cfr.make, games["kuhn"], cfr.Config(start="random"), seeds=2, num_updates=2)
    assert {leaf.dtype for leaf in jax.tree.leaves(wide.state)} == {jnp.dtype(jnp.float32)}
