"""Coin game: picks worked out by hand, and what greed and restraint earn, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import coin_game
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers import markov_games
from jaxrl.testing.conformance import check_environment

STAY, LEFT, DOWN, RIGHT, UP = range(5)
GAMMA = 0.96


@pytest.fixture(scope="module")
def model():
    return tabulate(coin_game.make())


def outcomes(blue, coin, colour, actions, size=3):
    env = coin_game.make(size)
    state = coin_game.State(jnp.array(blue, jnp.int32), jnp.array(coin, jnp.int32), jnp.int32(colour))
    return jax.tree.map(np.asarray, env.outcomes_fn(state, jnp.array(actions, jnp.int32), env.params))


@pytest.mark.parametrize(
    ("coin", "colour", "actions", "reward"),
    [
        ((0, 1), 0, (RIGHT, STAY), (1, 0)),  # red picks a red coin
        ((0, 1), 1, (RIGHT, STAY), (1, -2)),  # red picks a blue coin
        ((1, 0), 1, (STAY, UP), (0, 1)),  # blue, two rows down, picks a blue coin
        ((1, 0), 0, (STAY, UP), (-2, 1)),
        ((1, 0), 0, (DOWN, UP), (-1, 1)),  # both pick the red coin
        ((1, 0), 1, (DOWN, UP), (1, -1)),
        ((1, 1), 1, (STAY, UP), (0, 0)),  # nobody does
    ],
)
def test_picks(coin, colour, actions, reward):
    found = outcomes((2, 0), coin, colour, actions, size=4)
    possible = found.probability > 0
    np.testing.assert_array_equal(found.reward[possible], np.broadcast_to(reward, (possible.sum(), 2)))
    if not any(reward):
        assert possible.sum() == 1
        return
    own, other = coin_game.picks(jnp.array(reward, jnp.float32))
    picks = sum(pay in (1, -1) for pay in reward)
    assert (float(own), float(other)) == ((1, 1) if picks == 2 else (float(min(reward) == 0), float(min(reward) == -2)))
    # The next coin lies on a free cell, each with the same probability, in either colour.
    together = actions == (DOWN, UP)
    np.testing.assert_allclose(found.probability[possible], 1 / (2 * (15 if together else 14)), rtol=1e-6)
    cells = found.state.coin[possible]
    assert (cells != 0).any(-1).all()
    assert (cells != found.state.blue[possible]).any(-1).all()


def test_positions_are_seen_from_the_red_agent():
    found = outcomes((0, 1), (1, 1), 0, (LEFT, DOWN))  # red goes left, so all else moves right; blue goes down as well
    np.testing.assert_array_equal(found.state.blue[0], (1, 2))
    np.testing.assert_array_equal(found.reward[0], (-2, 1))  # and so blue has picked the red coin
    assert found.probability[0] == 0


def test_agents_see_alike():
    """Exchanging the agents and the colour exchanges the observations."""
    env = coin_game.make()
    state = coin_game.State(jnp.array([0, 1]), jnp.array([1, 2]), jnp.int32(0))
    mirrored = coin_game.State(-state.blue % 3, (state.coin - state.blue) % 3, 1 - state.colour)
    obs = env.observe_fn(state, env.params)
    np.testing.assert_array_equal(obs[::-1], env.observe_fn(mirrored, env.params))
    np.testing.assert_array_equal(np.flatnonzero(obs[0]), [1, 9 + 5])  # blue one to the right; a coin of its own at (1, 2)
    np.testing.assert_array_equal(np.flatnonzero(obs[1]), [2, 18 + 4])  # red one to the left; the other's coin at (1, 1)
    np.testing.assert_array_equal(env.global_obs(state), obs[0])


def toward_the_coin(model, own_only):
    """Returns policies [X, 2, 5]: the shortest way to the coin, rows first; or to coins of one's own colour only."""
    state, size = model.state, 3
    policies = np.zeros((model.num_states, 2, 5))
    for player, offset in enumerate((state.coin, (state.coin - state.blue) % size)):
        by_row = np.array([STAY, DOWN, UP])[offset[:, 0]]
        by_column = np.array([STAY, RIGHT, LEFT])[offset[:, 1]]
        action = np.where(by_row != STAY, by_row, by_column)
        if own_only:
            action = np.where(state.colour == player, action, STAY)
        policies[np.arange(model.num_states), player, action] = 1
    return policies


def test_greed_earns_nothing_and_restraint_does(model):
    with jax.enable_x64(True):
        greedy, restrained = (
            np.asarray(
                model.initial @ markov_games.evaluate(model, toward_the_coin(model, own_only), GAMMA, tolerance=1e-10).value
            )
            for own_only in (False, True)
        )
    np.testing.assert_allclose(greedy, 0, atol=1e-7)
    assert restrained[0] == pytest.approx(restrained[1], abs=1e-7)
    # A coin of one's own is picked within two steps, half of the coins are one's own: more than 1 in 4 steps, discounted.
    assert restrained[0] > 0.25 * GAMMA / (1 - GAMMA)


def test_number_of_states(model):
    assert model.num_states == (8 * 7 + 8) * 2  # apart, or in one cell
    assert (model.initial > 0).sum() == 8 * 7 * 2
    assert not model.terminated.any()


def test_other_sizes_keep_the_protocol():
    check_environment(coin_game.make(4), jax.random.key(0), rebuilt=coin_game.make(4), tabulated=False)


@pytest.mark.parametrize("parameters", [dict(size=1), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        coin_game.make(**parameters)
