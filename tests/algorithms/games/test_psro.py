"""PSRO: meta-games, mixtures, answers and what populations end with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.extensive_games import kuhn
from envs.matrix_games import matrix_game, named
from jaxrl.algorithms.games import psro
from jaxrl.algorithms.games.cfr import random_strategy
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers import equilibria, extensive, sampled_play
from jaxrl.training.runner import run
from tests.marks import slow

RPS = extensive.from_table(named.ROCK_PAPER_SCISSORS)


@pytest.fixture(scope="module")
def poker():
    return extensive.from_environment(kuhn.make())


def test_a_table_is_the_game_of_its_environment():
    table = np.random.default_rng(0).normal(size=(2, 2, 3))
    ours, theirs = extensive.from_table(table), extensive.from_environment(matrix_game.make(table))
    strategy = np.array([[[0.3, 0.7, 0.0]], [[0.2, 0.5, 0.3]]])
    for measure in (extensive.expected_payoffs, extensive.regrets):
        np.testing.assert_allclose(measure(ours, strategy), measure(theirs, strategy), rtol=1e-5)
    np.testing.assert_array_equal(ours.legal, theirs.legal)
    with pytest.raises(ConfigError, match="from_table"):
        extensive.from_table([[1.0, np.nan]])


def test_the_meta_game_holds_what_policies_earn(poker):
    keys = jax.random.split(jax.random.key(0), 3)
    policies = jnp.swapaxes(jax.vmap(lambda key: sampled_play.pure(key, random_strategy(key, poker)))(keys), 0, 1)
    table = psro.meta_game(poker, policies)
    for i, j in np.ndindex(3, 3):
        expected = extensive.expected_payoffs(poker, jnp.stack([policies[0, i], policies[1, j]]))
        np.testing.assert_allclose(table[:, i, j], expected, atol=1e-6)


def test_a_mixture_earns_what_its_policies_earn_on_average(poker):
    """Kuhn's theorem: also against a policy that is no member."""
    keys = jax.random.split(jax.random.key(1), 4)
    policies = jnp.swapaxes(jax.vmap(lambda key: sampled_play.pure(key, random_strategy(key, poker)))(keys), 0, 1)
    meta = jnp.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.3, 0.0, 0.0]])
    strategies = extensive.mixed(poker, policies, meta)
    np.testing.assert_allclose(strategies.sum(-1), 1.0, rtol=1e-5)
    other = random_strategy(jax.random.key(2), poker)
    for player in (0, 1):
        alone = [extensive.expected_payoffs(poker, other.at[player].set(one)) for one in policies[player]]
        found = extensive.expected_payoffs(poker, other.at[player].set(strategies[player]))
        np.testing.assert_allclose(found, meta[player] @ jnp.stack(alone), atol=1e-6)


@pytest.mark.parametrize("player", [0, 1])
def test_a_learned_answer_is_nearly_as_good_as_the_exact_one(poker, player):
    strategies = random_strategy(jax.random.key(3), poker)
    config = psro.Config(episodes=5_000)
    learned = jax.jit(lambda key: psro.learned_answer(key, poker, strategies, player, config))(jax.random.key(0))
    exact = psro.exact_answer(poker, strategies, player)
    worth = [float(extensive.expected_payoffs(poker, strategies.at[player].set(one))[player]) for one in (learned, exact)]
    uniform = extensive.uniform_strategy(poker)[player]
    worse = float(extensive.expected_payoffs(poker, strategies.at[player].set(uniform))[player])
    assert worth[1] - 0.1 < worth[0] <= worth[1] + 1e-6
    assert worth[0] > worse + 0.2


def test_actions_on_the_way(poker):
    """Of every end: the actions of its sequence and of those before it."""
    for end in (0, 7, 29):
        sequence = int(poker.sequence[end, 0])
        took = np.asarray(sampled_play.on_the_way(poker, jnp.int32(sequence), 0))
        expected = np.zeros_like(took)
        while sequence:
            place, action = divmod(sequence - 1, poker.legal.shape[2])
            expected[place, action] = 1
            sequence = int(poker.parent[0, place])
        np.testing.assert_array_equal(took, expected)


@pytest.mark.parametrize("meta_solver", ["linear_program", slow("regret_matching"), slow("projected_replicator")])
def test_rock_paper_scissors_from_one_policy_ends_with_all_three(meta_solver):
    done = run(psro.make, RPS, psro.Config(meta_solver=meta_solver, capacity=4), seeds=3, num_updates=5)
    np.testing.assert_array_equal(done.metrics["population/0"][:, -1], 3.0)
    assert (done.metrics["meta_exploitability"][:, -1] < 1e-3).all()
    np.testing.assert_allclose(np.asarray(done.state.meta)[:, :, :3], 1 / 3, atol=1e-3)


def test_self_play_cycles_and_fictitious_play_does_not():
    config = psro.Config(meta_solver="latest", capacity=4)
    latest = run(psro.make, RPS, config, seeds=3, num_updates=30).metrics["meta_exploitability"]
    assert (latest == 1.0).all()
    uniform = run(psro.make, RPS, config.replace(meta_solver="uniform"), seeds=3, num_updates=30).metrics["meta_exploitability"]
    assert (uniform[:, -1] < 0.2).all()


def test_double_oracle_of_a_random_game_is_its_minimax():
    rows = np.random.default_rng(0).normal(size=(12, 12))
    game, config = extensive.from_table(np.stack([rows, -rows])), psro.Config(capacity=12)
    done = run(psro.make, game, config, seeds=4, num_updates=12)
    np.testing.assert_allclose(done.metrics["meta_value/0"][:, -1], equilibria.minimax(np.stack([rows, -rows])).value, atol=1e-5)
    assert (done.metrics["meta_exploitability"][:, -1] < 1e-5).all()
    assert (done.metrics["meta_gap"] < 1e-5).all()
    assert (np.diff(done.metrics["population/0"]) >= 0).all()


def test_a_full_population_stays_as_it_is():
    done = run(psro.make, RPS, psro.Config(capacity=2), seeds=2, num_updates=4)
    np.testing.assert_array_equal(done.metrics["population/0"][:, -1], 2.0)
    np.testing.assert_allclose(done.metrics["meta_exploitability"][:, -2], done.metrics["meta_exploitability"][:, -1])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"meta_solver": "linear"}, UnknownNameError, "no meta-solver is named 'linear'"),
        ({"oracle": "exakt"}, UnknownNameError, "Did you mean 'exact'"),
        ({"capacity": 0}, ConfigError, "capacity must be an integer of at least 1"),
        ({"epsilon": 0.0}, ConfigError, "epsilon must be positive"),
        ({"exploration": 1.5}, ConfigError, "exploration must lie in"),
    ],
)
def test_what_cannot_run_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        psro.Config(**changes).validate(RPS)


def test_games_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="Set meta_solver='regret_matching'"):
        psro.Config().validate(extensive.from_table(named.PRISONERS_DILEMMA))
    with pytest.raises(ConfigError, match="must be an ExtensiveGame"):
        psro.Config().validate(named.PRISONERS_DILEMMA)
