"""The named games: their payoffs as published, their symmetries, and the environments made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import bar_game, named
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError

SYMMETRIC = ("chicken", "penalty", "prisoners_dilemma", "pure_coordination", "shapley", "stag_hunt")
ZERO_SUM = ("blotto", "matching_pennies", "rock_paper_scissors", "weighted_rock_paper_scissors")
COMMON = ("climb", "penalty", "pure_coordination")


@pytest.mark.parametrize("name", named.TABLES)
def test_the_registered_environment_pays_the_table(name):
    env, table = envs.make(name, rounds=None), named.TABLES[name]
    assert (env.num_agents, env.action_space.n) == (2, table.shape[1])
    model = tabulate(env)
    np.testing.assert_array_equal(model.reward[0, :, 0], table.reshape(2, -1).T)


def test_payoffs_as_published():
    """Every table once more, as pairs of payoffs row by row."""
    pairs = {
        "prisoners_dilemma": "-1,-1 -3,0 / 0,-3 -2,-2",
        "stag_hunt": "4,4 1,3 / 3,1 2,2",
        "chicken": "6,6 2,7 / 7,2 0,0",
        "battle_of_the_sexes": "3,2 0,0 / 0,0 2,3",
        "matching_pennies": "1,-1 -1,1 / -1,1 1,-1",
        "pure_coordination": "2,2 0,0 / 0,0 1,1",
        "rock_paper_scissors": "0,0 -1,1 1,-1 / 1,-1 0,0 -1,1 / -1,1 1,-1 0,0",
        "weighted_rock_paper_scissors": "0,0 -1,1 2,-2 / 1,-1 0,0 -3,3 / -2,2 3,-3 0,0",
        "climb": "11,11 -30,-30 0,0 / -30,-30 7,7 6,6 / 0,0 0,0 5,5",
        "penalty": "10,10 0,0 -100,-100 / 0,0 2,2 0,0 / -100,-100 0,0 10,10",
        "shapley": "0,0 1,0 0,1 / 0,1 0,0 1,0 / 1,0 0,1 0,0",
    }
    for name, text in pairs.items():
        rows = [[[float(number) for number in pair.split(",")] for pair in row.split()] for row in text.split("/")]
        np.testing.assert_array_equal(named.TABLES[name], np.moveaxis(np.array(rows), -1, 0), err_msg=name)
    assert set(named.TABLES) - set(pairs) == {"blotto", "rock_paper_scissors_lizard_spock"}


def test_payoffs_against_open_spiel():
    """The games that both have with the same numbers."""
    pyspiel = pytest.importorskip("pyspiel")
    theirs = {"battle_of_the_sexes": "bos", "matching_pennies": "mp", "rock_paper_scissors": "rps"}
    for name, short in theirs.items():
        game = pyspiel.load_matrix_game(f"matrix_{short}")
        np.testing.assert_array_equal(named.TABLES[name], [game.row_utilities(), game.col_utilities()], err_msg=name)


def test_lizard_and_spock():
    names = ("rock", "spock", "paper", "lizard", "scissors")
    beats = {
        "rock": {"lizard", "scissors"},
        "paper": {"rock", "spock"},
        "scissors": {"paper", "lizard"},
        "lizard": {"spock", "paper"},
        "spock": {"scissors", "rock"},
    }
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            expected = (other in beats[one]) - (one in beats[other])
            assert named.ROCK_PAPER_SCISSORS_LIZARD_SPOCK[0, i, j] == expected


def test_blotto():
    allocations = named.blotto_allocations(10, 3)
    assert allocations.shape == (66, 3)
    assert (allocations.sum(1) == 10).all()
    assert allocations.min() == 0
    assert len(np.unique(allocations, axis=0)) == 66
    table = named.blotto_table(10, 3)
    index = {tuple(allocation): number for number, allocation in enumerate(allocations.tolist())}
    assert table[0, index[4, 4, 2], index[6, 2, 2]] == 0  # one field each, one tie
    assert table[0, index[4, 4, 2], index[8, 1, 1]] == 1
    assert table[0, index[10, 0, 0], index[0, 5, 5]] == -1
    np.testing.assert_array_equal(table[0], -table[0].T)
    np.testing.assert_array_equal(table[0], -table[1])
    assert envs.make("blotto", coins=4, fields=2).action_space.n == 5
    with pytest.raises(ConfigError, match="coins must be at least 1"):
        named.blotto_table(0, 3)
    with pytest.raises(ConfigError, match="fields must be at least 1"):
        envs.make("blotto", fields=0)


def play_bar(action, **parameters):
    env = envs.make("bar_game", **parameters)
    _, state = env.reset(jax.random.key(0))
    return env.step(jax.random.key(0), state, jnp.array(action, jnp.int32))


def test_bar_game_by_hand():
    """Nights with 2 and 1 guests at capacity 2."""
    action, full, quiet = [0, 0, 2], np.exp(-1.0), np.exp(-0.5)
    step = play_bar(action, agents=3)
    np.testing.assert_allclose(step.reward, 2 * full + quiet, rtol=1e-6)
    assert bool(step.terminated)
    np.testing.assert_allclose(play_bar(action, agents=3, reward="own").reward, [full, full, quiet], rtol=1e-6)
    worth_without = np.array([2 * quiet, 2 * quiet, 2 * full])
    expected = 2 * full + quiet - worth_without
    np.testing.assert_allclose(play_bar(action, agents=3, reward="difference").reward, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "best", "guests"), [((10, 3, 2.0), 1.880122, (3, 3, 4)), ((30, 4, 3.0), 3.330064, (3, 3, 3, 21))], ids=str
)
def test_bar_game_optimum(sizes, best, guests):
    value, found = bar_game.optimum(*sizes)
    assert value == pytest.approx(best, abs=1e-6)
    assert tuple(found) == guests
    action = np.repeat(np.arange(len(guests)), guests)
    agents, nights, capacity = sizes
    step = play_bar(action, agents=agents, nights=nights, capacity=capacity)
    np.testing.assert_allclose(step.reward, best, rtol=1e-5)
    balanced = bar_game.worth(np.array([7, 7, 8, 8]), 3.0)
    assert balanced == pytest.approx(2.469343, abs=1e-6)


@pytest.mark.parametrize(("agents", "nights", "capacity", "expected"), [(10, 3, 2.0, 1.711303), (30, 4, 3.0, 2.550426)])
def test_bar_game_with_random_guests(agents, nights, capacity, expected):
    """Against the exact mean over uniformly random choices: 40,000 plays, standard error below 0.003."""
    env = envs.make("bar_game", agents=agents, nights=nights, capacity=capacity)

    def reward(key):
        action = jax.random.randint(key, (agents,), 0, nights, jnp.int32)
        return env.step(key, jnp.bool_(False), action).reward[0]

    rewards = jax.jit(jax.vmap(reward))(jax.random.split(jax.random.key(0), 40_000))
    assert float(rewards.mean()) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(agents=0), "agents must be at least 1"),
        (dict(nights=0), "nights must be at least 1"),
        (dict(capacity=0.0), "capacity must be positive"),
        (dict(reward="mine"), "reward must be one of"),
    ],
)
def test_wrong_bars(parameters, message):
    with pytest.raises(ConfigError, match=message):
        envs.make("bar_game", **parameters)


def test_symmetries():
    for name in SYMMETRIC:
        np.testing.assert_array_equal(named.TABLES[name][1], named.TABLES[name][0].T, err_msg=name)
    for name in ZERO_SUM:
        np.testing.assert_array_equal(named.TABLES[name].sum(0), 0, err_msg=name)
    for name in COMMON:
        np.testing.assert_array_equal(named.TABLES[name][0], named.TABLES[name][1], err_msg=name)
