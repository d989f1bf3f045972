"""Games in extensive form: sizes and values of poker, OpenSpiel, brute force, and games in normal form as a special case."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.extensive_games import kuhn, leduc, lewis
from envs.matrix_games import bayesian_game, matrix_game, named
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers import equilibria, extensive, normal_form, sequence_form


@pytest.fixture(scope="module")
def games():
    return {"kuhn_poker": extensive.from_environment(kuhn.make()), "leduc_poker": extensive.from_environment(leduc.make())}


def random_strategy(game, seed):
    weight = np.random.default_rng(seed).exponential(size=game.legal.shape) * game.legal
    return jnp.asarray(weight / weight.sum(-1, keepdims=True))


def test_sizes(games):
    """As published for cards that are told apart by rank alone."""
    assert [tuple(game.size) for game in games.values()] == [(6, 6), (144, 144)]
    assert [len(game.chance) for game in games.values()] == [30, 1116]
    assert [game.depth for game in games.values()] == [2, 4]


def test_ends_are_reached_with_probability_one(games):
    for game in games.values():
        with jax.enable_x64(True):
            ones = game.replace(payoff=np.ones_like(game.payoff))
            np.testing.assert_allclose(extensive.expected_payoffs(ones, random_strategy(game, 0)), 1, atol=1e-7)


@pytest.mark.parametrize("name", ["kuhn_poker", "leduc_poker"])
def test_uniform_strategies_against_open_spiel(games, name):
    pyspiel = pytest.importorskip("pyspiel")
    reference, game = pyspiel.load_game(name), games[name]
    uniform = pyspiel.UniformRandomPolicy(reference)
    with jax.enable_x64(True):
        strategy = extensive.uniform_strategy(game)
        assert float(extensive.nash_conv(game, strategy)) == pytest.approx(pyspiel.nash_conv(reference, uniform), abs=1e-6)
        values = pyspiel.expected_returns(reference.new_initial_state(), [uniform, uniform], -1, True)
        np.testing.assert_allclose(extensive.expected_payoffs(game, strategy), values, atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("kuhn_poker", -1 / 18), ("leduc_poker", -0.0856064)])
def test_values_of_poker(games, name, value):
    game = games[name]
    solution = sequence_form.minimax(game)
    assert solution.value == pytest.approx(value, abs=1e-7)
    with jax.enable_x64(True):
        strategy = jnp.asarray(solution.strategy)
        assert float(extensive.exploitability(game, strategy)) == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(extensive.expected_payoffs(game, strategy), [value, -value], atol=1e-7)


def test_equilibria_of_kuhn_poker(games):
    """Kuhn (1950): player 0 bets a jack with p in [0, 1/3], a king with 3 p, and calls with a queen with p + 1/3."""
    game = games["kuhn_poker"]
    own, reply = ({int(seen): index for index, seen in enumerate(game.information[player])} for player in range(2))

    def bets(of_whom, card, history):
        return of_whom[9 * card + kuhn.HISTORIES.index(history)]

    exploitability = jax.jit(lambda strategy: extensive.exploitability(game, strategy))
    family = np.zeros((2, 6, 2), np.float32)
    for player, at, card, history, probability in (
        (1, reply, 0, "c", 1 / 3), (1, reply, 0, "r", 0), (1, reply, 1, "c", 0), (1, reply, 1, "r", 1 / 3),
        (1, reply, 2, "c", 1), (1, reply, 2, "r", 1),
    ):  # fmt: skip
        family[player, bets(at, card, history)] = 1 - probability, probability
    for p in (0, 0.1, 1 / 3):
        for card, history, probability in (
            (0, "", p),
            (0, "cr", 0),
            (1, "", 0),
            (1, "cr", p + 1 / 3),
            (2, "", 3 * p),
            (2, "cr", 1),
        ):
            family[0, bets(own, card, history)] = 1 - probability, probability
        assert float(exploitability(family)) == pytest.approx(0, abs=1e-6)
    family[0, bets(own, 0, "")] = 0.5, 0.5
    assert float(exploitability(family)) > 0.01


def test_best_response_by_brute_force(games):
    """Against random strategies, the best of all 64 pure strategies of each player."""
    game = games["kuhn_poker"]
    strategy = random_strategy(game, 1)
    pure = jnp.eye(2)[np.array(list(itertools.product(range(2), repeat=6)))]
    for player in range(2):
        payoffs = jax.vmap(lambda own, i=player: extensive.expected_payoffs(game, strategy.at[i].set(own))[i])(pure)
        best = extensive.best_response(game, strategy, player)
        assert float(best.value) == pytest.approx(float(payoffs.max()), abs=1e-6)
        answer = strategy.at[player].set(jnp.eye(2)[best.action])
        assert float(extensive.expected_payoffs(game, answer)[player]) == pytest.approx(float(best.value), abs=1e-6)
        regret = float(best.value) - float(extensive.expected_payoffs(game, strategy)[player])
        assert float(extensive.regrets(game, strategy)[player]) == pytest.approx(regret, abs=1e-6)


def test_counterfactual_values_are_derivatives(games):
    """What a player earns changes with an action's probability by its counterfactual value, times the player's own way there."""
    game = games["leduc_poker"]
    with jax.enable_x64(True):
        strategy = random_strategy(game, 2)
        weight = extensive.realizations(game, strategy)
        for player in range(2):
            slope = jax.grad(lambda s, i=player: extensive.expected_payoffs(game, s)[i])(strategy)[player]
            own = weight[player, game.parent[player]]
            value = extensive.counterfactual_values(game, strategy, player)
            np.testing.assert_allclose(slope, own[:, None] * value, atol=1e-12)


def test_played_games_pay_what_is_expected(games):
    """The mean of 40,000 games of Kuhn poker, in which both look up what they observe, within four standard errors."""
    game, env = games["kuhn_poker"], kuhn.make()
    strategy = random_strategy(game, 4)
    table = np.zeros((2, env.observation_space.n, 2))
    table[..., 0] = 1  # whoever is not to move takes action 0
    for player in range(2):
        table[player, game.information[player]] = strategy[player]

    def play(key):
        reset_key, *keys = jax.random.split(key, 1 + env.max_steps)
        obs, state = env.reset(reset_key)
        total = jnp.zeros(2)
        for each in keys:  # steps after the end pay nothing
            action_key, step_key = jax.random.split(each)
            probability = jnp.where(env.action_mask(state), jnp.asarray(table)[jnp.arange(2), obs], 0)
            step = env.step(step_key, state, jax.random.categorical(action_key, jnp.log(probability)).astype(jnp.int32))
            obs, state, total = step.obs, step.state, total + step.reward
        return total

    paid = np.asarray(jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 40_000)))
    expected = extensive.expected_payoffs(game, strategy)
    np.testing.assert_allclose(paid.mean(0), expected, atol=4 * paid[:, 0].std() / 200)


def test_compiled_and_batched_equal_eager(games):
    game = games["kuhn_poker"]
    strategies = jnp.stack([random_strategy(game, seed) for seed in range(3)])
    batched = jax.jit(jax.vmap(lambda strategy: extensive.regrets(game, strategy)))(strategies)
    for strategy, expected in zip(strategies, batched, strict=True):
        np.testing.assert_allclose(extensive.regrets(game, strategy), expected, atol=1e-6)


def test_simultaneous_moves_are_games_in_normal_form():
    """Three players with 2, 3 and 2 actions."""
    payoff = np.random.default_rng(0).normal(size=(3, 2, 3, 2)).astype(np.float32)
    game = extensive.from_environment(matrix_game.make(payoff))
    assert tuple(game.size) == (1, 1, 1)
    strategy = random_strategy(game, 3)
    profile = [strategy[player, 0, :count] for player, count in enumerate(payoff.shape[1:])]
    table = jnp.asarray(payoff)
    np.testing.assert_allclose(
        extensive.expected_payoffs(game, strategy), normal_form.expected_payoffs(table, profile), atol=1e-6
    )
    np.testing.assert_allclose(extensive.regrets(game, strategy), normal_form.regrets(table, profile), atol=1e-6)


def test_bayesian_games_are_games_in_extensive_form():
    """Every pure strategy earns what the table before types are drawn says, and the games have the same best responses."""
    payoff, prior = bayesian_game.four_games()
    game, table = extensive.from_environment(bayesian_game.make(payoff, prior)), bayesian_game.ex_ante(payoff, prior)
    types = [np.argsort(game.information[player]) for player in range(2)]  # the information set of each type
    choices = bayesian_game.strategies(2, 2)
    for row, column in itertools.product(range(4), repeat=2):
        strategy = np.zeros((2, 2, 2), np.float32)
        for player, choice in enumerate((choices[row], choices[column])):
            strategy[player, types[player], choice] = 1
        np.testing.assert_allclose(extensive.expected_payoffs(game, jnp.asarray(strategy)), table[:, row, column], atol=1e-6)
        regret = table.max(axis=1)[0, column] - table[0, row, column]
        assert float(extensive.regrets(game, jnp.asarray(strategy))[0]) == pytest.approx(regret, abs=1e-6)


def test_rock_paper_scissors_by_linear_programme():
    for table in (named.WEIGHTED_ROCK_PAPER_SCISSORS, named.MATCHING_PENNIES):
        solution = sequence_form.minimax(extensive.from_environment(matrix_game.make(table)))
        expected = equilibria.minimax(table)
        assert solution.value == pytest.approx(expected.value, abs=1e-9)
        np.testing.assert_allclose(solution.strategy[0, 0], expected.row, atol=1e-9)


def test_signalling():
    """One-to-one codes earn 1, babbling 1/3, and pooling two of three states 2/3."""
    game = extensive.from_environment(lewis.make(states=3))
    assert tuple(game.size) == (3, 3)
    state, signal = game.information[0] - 1, game.information[1] - 1

    @jax.jit
    def judge(strategy):
        return extensive.expected_payoffs(game, strategy), extensive.nash_conv(game, strategy)

    def earned(send, act):
        strategy = np.zeros((2, 3, 3), np.float32)
        strategy[0, np.arange(3), np.array(send)[state]] = 1
        strategy[1, np.arange(3), np.array(act)[signal]] = 1
        return judge(strategy)

    for send, act, success in (((0, 1, 2), (0, 1, 2), 1), ((2, 0, 1), (1, 2, 0), 1), ((0, 0, 1), (0, 2, 2), 2 / 3)):
        payoffs, gap = earned(send, act)
        np.testing.assert_allclose(payoffs, success, atol=1e-6)
        assert float(gap) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(judge(extensive.uniform_strategy(game))[0], 1 / 3, atol=1e-6)


def forgetful_outcomes(state, action, params):
    """Two decisions of the one player, which does not see which one it is at."""
    reached = (state + 1)[None]
    return Outcomes(jnp.ones(1, jnp.float32), reached, jnp.zeros((1, 1), jnp.float32), reached >= 2)


def forgetful_initial(params):
    return Initial(jnp.ones(1, jnp.float32), jnp.zeros(1, jnp.int32))


def sees_nothing(state, params):
    return jnp.zeros(1, jnp.int32)


def test_what_is_no_game_with_perfect_recall_is_explained():
    forgetful = finite((), forgetful_outcomes, forgetful_initial, Discrete(1), Discrete(2), 2, observe=sees_nothing, num_agents=1)
    with pytest.raises(EnvError, match="perfect recall"):
        extensive.from_environment(forgetful)
    with pytest.raises(EnvError, match="no way may be truncated"):
        extensive.from_environment(lewis.make().replace(max_steps=1))
    with pytest.raises(EnvError, match="at most 10 ends"):
        extensive.from_environment(kuhn.make(), max_ends=10)
    with pytest.raises(EnvError, match="must have agents"):
        extensive.from_environment(forgetful.replace(num_agents=None))


def test_only_zero_sum_games_of_two_have_a_linear_programme():
    with pytest.raises(ConfigError, match="must sum to zero"):
        sequence_form.minimax(extensive.from_environment(matrix_game.make(named.CHICKEN)))
    with pytest.raises(ConfigError, match="two players"):
        sequence_form.minimax(extensive.from_environment(matrix_game.make(np.zeros((3, 2, 2, 2)))))


@pytest.mark.parametrize("unit", [1e-9, 1e7])
def test_the_programme_does_not_depend_on_the_unit_of_the_payoffs(games, unit):
    game = games["kuhn_poker"].replace(payoff=unit * games["kuhn_poker"].payoff)
    solution = sequence_form.minimax(game)
    assert solution.value / unit == pytest.approx(-1 / 18, abs=1e-9)
    with jax.enable_x64(True):
        gap = float(extensive.nash_conv(game, jnp.asarray(solution.strategy)))
    assert max(gap, solution.gap) <= 1e-9 * unit
