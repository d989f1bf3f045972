"""Bayesian games: the printed table of a textbook, and an auction whose equilibrium is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.matrix_games import bayesian_game
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers import equilibria


def test_four_games_before_types_are_drawn():
    """Shoham and Leyton-Brown (2008), figure 6.8: rows UU, UD, DU, DD, columns LL, LR, RL, RR, where U and L are action 0."""
    printed = """2,1 1,.7 1,1.2 0,.9 / .8,.2 1,1.1 .4,1 .6,1.9 / 1.5,1.4 .5,1.1 1.7,.4 .7,.1 / .3,.6 .5,1.5 1.1,.2 1.3,1.1"""
    rows = [[[float(number) for number in pair.split(",")] for pair in row.split()] for row in printed.split("/")]
    table = bayesian_game.ex_ante(*bayesian_game.four_games())
    np.testing.assert_allclose(table, np.moveaxis(np.array(rows), -1, 0), atol=1e-12)


def test_random_play_earns_the_mean_of_the_table():
    model = tabulate(bayesian_game.make_four_games())
    payoff, prior = bayesian_game.four_games()
    first = model.initial > 0
    earned = np.einsum("x,xjn->n", model.initial[first], model.reward[first, :, 0]) / 4
    np.testing.assert_allclose(earned, (prior * payoff.mean((3, 4))).sum((1, 2)), atol=1e-6)
    np.testing.assert_allclose(earned, bayesian_game.ex_ante(payoff, prior).mean((1, 2)), atol=1e-6)


def test_types_are_seen_by_their_owner_and_drawn_together():
    env = bayesian_game.make(np.zeros((2, 2, 3, 2, 2)), [[0.5, 0, 0], [0, 0, 0.5]])
    obs, _ = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 200))
    assert set(map(tuple, np.asarray(obs).tolist())) == {(0, 0), (1, 2)}


def test_players_with_fewer_actions_are_masked():
    env = bayesian_game.make(np.arange(12.0).reshape(2, 1, 1, 2, 3), [[1.0]])
    state = env.reset(jax.random.key(0))[1]
    np.testing.assert_array_equal(env.action_mask(state), [[True, True, False], [True, True, True]])
    np.testing.assert_array_equal(env.step(jax.random.key(0), state, jnp.array([1, 2], jnp.int32)).reward, [5, 11])


def test_sealed_bids():
    """First-price auction with values 0 and 2 and bids 0 and 1, ties by lot.

    Bidding nothing for nothing and 1 for 2 is an equilibrium: against it, a bid of 1 wins 3/4 of 1, and 0 wins 1/4 of 2.
    """
    values, bids = np.array([0.0, 2.0]), np.array([0.0, 1.0])
    payoff = np.zeros((2, 2, 2, 2, 2))
    for types in np.ndindex(2, 2):
        for actions in np.ndindex(2, 2):
            for player in range(2):
                own, other = bids[actions[player]], bids[actions[1 - player]]
                payoff[(player, *types, *actions)] = (1 if own > other else 0.5 if own == other else 0) * (
                    values[types[player]] - own
                )
    table = bayesian_game.ex_ante(payoff, np.full((2, 2), 0.25))
    truthful = bayesian_game.strategies(2, 2).tolist().index([0, 1])
    assert table[0, truthful, truthful] == pytest.approx(0.5 * 0.75)
    assert table[0, 0, truthful] == pytest.approx(0.5 * 0.25 * 2)
    found = [(x.argmax(), y.argmax()) for x, y, _ in equilibria.support_enumeration(table) if x.max() == 1 and y.max() == 1]
    assert (truthful, truthful) in found


@pytest.mark.parametrize(
    ("payoff", "prior", "message"),
    [
        (np.zeros((2, 2, 2, 2, 2)), [0.5, 0.5], "must have shape"),
        (np.zeros((2, 2, 3, 2, 2)), np.full((2, 2), 0.25), "must have shape"),
        (np.zeros((2, 1, 1, 2, 2)), [[0.9]], "sum to 1"),
        (np.zeros((2, 1, 2, 2, 2)), [[1.5, -0.5]], "sum to 1"),
        (np.full((2, 1, 1, 2, 2), np.inf), [[1.0]], "finite"),
    ],
)
def test_wrong_tables(payoff, prior, message):
    with pytest.raises(ConfigError, match=message):
        bayesian_game.make(payoff, prior)
