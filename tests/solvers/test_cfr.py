"""Counterfactual regret minimisation: iteration by iteration against OpenSpiel, and the values of poker."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.extensive_games import kuhn, leduc
from envs.matrix_games import matrix_game, named
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers import cfr, dynamics, extensive
from tests.marks import rest_is_slow

MAKERS = {"kuhn_poker": kuhn.make, "leduc_poker": leduc.make}


@pytest.fixture(scope="module")
def games():
    return {name: extensive.from_environment(make()) for name, make in MAKERS.items()}


def minimise(game, num_iterations, rule=cfr.PLAIN, **options):
    return jax.jit(partial(cfr.cfr, num_iterations=num_iterations, rule=rule, **options))(game)


def solver_of_open_spiel(variant, game):
    import pyspiel
    from open_spiel.python.algorithms import discounted_cfr

    solvers = {
        "plain": pyspiel.CFRSolver,
        "plus": pyspiel.CFRPlusSolver,
        "discounted": discounted_cfr.DCFRSolver,  # alpha = 1.5, beta = 0, gamma = 2
        "linear": discounted_cfr.LCFRSolver,
    }
    return solvers[variant](game)


RULES = {"plain": cfr.PLAIN, "plus": cfr.PLUS, "discounted": cfr.DISCOUNTED, "linear": cfr.LINEAR}


@pytest.mark.parametrize("variant", rest_is_slow(RULES, ("plus", "discounted")))
@pytest.mark.parametrize("name", rest_is_slow(MAKERS, ("kuhn_poker",)))
def test_every_iteration_is_that_of_open_spiel(games, name, variant):
    pyspiel = pytest.importorskip("pyspiel")
    from open_spiel.python.algorithms import exploitability

    reference = pyspiel.load_game(name)
    solver = solver_of_open_spiel(variant, reference)
    compiled = variant in ("plain", "plus")
    with jax.enable_x64(True):
        ours = minimise(games[name], 20, RULES[variant], num_records=20).exploitability
    for iteration in range(20):
        solver.evaluate_and_update_policy()
        theirs = (pyspiel if compiled else exploitability).exploitability(reference, solver.average_policy())
        assert float(ours[iteration]) == pytest.approx(theirs, abs=1e-6), iteration


@pytest.mark.parametrize(
    ("name", "plus", "alternating", "expected"),
    [
        ("kuhn_poker", False, False, {100: 0.0257, 1000: 0.0073}),
        ("kuhn_poker", True, True, {100: 0.00096, 1000: 0.00007}),
        ("leduc_poker", False, False, {100: 0.173, 1000: 0.040}),
        ("leduc_poker", True, True, {100: 0.0134, 1000: 0.00025}),
    ],
)
def test_exploitability_falls_as_measured_elsewhere(games, name, plus, alternating, expected):
    """Within a factor 1.5 of an independent implementation."""
    rule = (cfr.PLUS if plus else cfr.PLAIN)._replace(alternating=alternating)
    course = minimise(games[name], 1000, rule, num_records=10)
    for iterations, value in expected.items():
        assert value / 1.5 < float(course.exploitability[iterations // 100 - 1]) < 1.5 * value


@pytest.mark.parametrize(("name", "value", "within"), [("kuhn_poker", -1 / 18, 1e-4), ("leduc_poker", -0.0856064, 1e-3)])
def test_values_are_recovered(games, name, value, within):
    course = minimise(games[name], 1000, cfr.PLUS)
    np.testing.assert_allclose(course.value[-1], [value, -value], atol=within)
    assert float(course.exploitability[-1]) < within


def test_one_information_set_is_regret_matching():
    """Of a game in normal form; the first step of both is uniform."""
    table = np.array([[[1.0, 3.0, -2.0], [0.0, -1.0, 2.0]], [[-1.0, -3.0, 2.0], [0.0, 1.0, -2.0]]])
    game = extensive.from_environment(matrix_game.make(table))
    ours = minimise(game, 200, cfr.Rule(alternating=False))
    theirs = jax.jit(partial(dynamics.regret_matching, num_steps=200))(jnp.asarray(table, jnp.float32))
    np.testing.assert_allclose(ours.average[0, 0, :2], theirs.average[0], atol=1e-5)
    np.testing.assert_allclose(ours.average[1, 0], theirs.average[1], atol=1e-5)


def test_games_side_by_side():
    """Leduc with different raises has one shape, so many are solved at once, each as it is alone."""
    games = [extensive.from_environment(leduc.make(raises=(2.0, size))) for size in (4.0, 8.0)]
    both = games[0].replace(payoff=np.stack([game.payoff for game in games]))
    axes = jax.tree.map(lambda _: None, games[0]).replace(payoff=0)
    found = jax.jit(jax.vmap(partial(cfr.cfr, num_iterations=50, rule=cfr.PLUS), in_axes=(axes,)))(both)
    for index, game in enumerate(games):
        alone = minimise(game, 50, cfr.PLUS)
        np.testing.assert_allclose(found.exploitability[index], alone.exploitability, rtol=1e-3)


def test_wrong_numbers():
    game = extensive.from_environment(matrix_game.make(named.MATCHING_PENNIES))
    with pytest.raises(ConfigError, match="num_iterations"):
        cfr.cfr(game, 0)
    with pytest.raises(ConfigError, match="num_records must divide"):
        cfr.cfr(game, 10, num_records=3)
    with pytest.raises(ConfigError, match="must have a key"):
        cfr.cfr(game, 10, cfr.Rule(sampling="external"))
    with pytest.raises(UnknownNameError, match="Did you mean 'external'"):
        cfr.cfr(game, 10, cfr.Rule(sampling="externl"))
    with pytest.raises(ConfigError, match="exploration must be in"):
        cfr.cfr(game, 10, cfr.Rule(sampling="outcome", exploration=0.0), key=jax.random.key(0))
    with pytest.raises(ConfigError, match="negative_power must be a number"):
        cfr.cfr(game, 10, cfr.Rule(negative_power=-np.inf))


def test_sampled_iterations_approach_the_equilibrium_of_kuhn(games):
    """Bars of the order that Lanctot et al. (2009) show; outcome sampling has estimates with a larger variance."""
    for sampling, bar in (("chance", 0.05), ("external", 0.06), ("outcome", 0.15)):
        rule = cfr.Rule(sampling=sampling)
        course = minimise(games["kuhn_poker"], 10_000, rule, num_records=2, key=jax.random.key(0))
        assert course.exploitability[-1] < bar, sampling
        np.testing.assert_allclose(course.value[-1, 0], -1 / 18, atol=0.02)


@pytest.mark.slow
def test_external_sampling_solves_kuhn(games):
    course = minimise(games["kuhn_poker"], 100_000, cfr.Rule(sampling="external"), key=jax.random.key(1))
    assert course.exploitability[-1] < 0.03
