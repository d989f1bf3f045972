"""Liquidity game: trades by hand, inventories within their bounds, and exact volumes against many games."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import liquidity_game
from jaxrl.errors import ConfigError
from jaxrl.solvers.random_matching import pure_equilibria
from jaxrl.testing.conformance import check_environment


def by_hand(parcel, inventory, bound, other_parcel, other_inventory, other_bound):
    if parcel * other_parcel >= 0:
        return 0
    buyer, seller = (parcel, inventory, bound), (other_parcel, other_inventory, other_bound)
    if parcel < 0:
        buyer, seller = seller, buyer
    return min(buyer[0], -seller[0], buyer[2] - buyer[1], seller[2] + seller[1])


def test_two_trade_what_both_want_and_have_room_for():
    table = liquidity_game.units(2, 1)
    for x, a, y, b in np.ndindex(table.shape):
        assert table[x, a, y, b] == by_hand(a - 2, x - 2, 2, b - 2, y - 1, 1)


def test_rounds_keep_inventories_within_bounds_and_pay_what_is_traded():
    env = liquidity_game.make(bounds=(6, 2, 1, 2), rounds=50, flow=1.0)
    bound = np.array([6, 2, 1, 2])

    def play(key):
        reset_key, key = jax.random.split(key)
        _, state = env.reset(reset_key)

        def one(state, key):
            action_key, step_key = jax.random.split(key)
            action = jax.random.randint(action_key, (4,), 0, 5, jnp.int32)
            step = env.step(step_key, state, action)
            return step.state, (state.inventory, action, step)

        return jax.lax.scan(one, state, jax.random.split(key, 60))[1]

    before, action, step = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 20))
    after, reward = np.asarray(step.state.inventory), np.asarray(step.reward)
    assert (np.abs(after) <= bound).all()
    assert (np.abs(np.asarray(before)) <= bound).all()
    sides = np.sign(np.asarray(action) - 2)
    np.testing.assert_array_equal((sides * reward).sum(-1), 0)  # as much is bought as is sold
    moved = after - np.asarray(before) - sides * reward
    np.testing.assert_array_equal(np.abs(moved[:, :50]), 1)  # by a client
    assert (reward[:, 50:] == 0).all()
    assert (moved[:, 50:] == 0).all()
    assert np.asarray(step.terminated)[:, 49:].all()
    assert not np.asarray(step.terminated)[:, :49].any()


def test_exact_volumes_are_those_of_many_games():
    env, bounds = liquidity_game.make(bounds=(3, 1, 1, 2)), (3, 1, 1, 2)
    draw = np.random.default_rng(0)
    policies = [draw.integers(0, 5, 2 * bound + 1) for bound in bounds]
    padded = np.zeros((4, 21), int)
    for table, bound, policy in zip(padded, bounds, policies, strict=True):
        table[10 - bound : 11 + bound] = policy

    def play(key):
        reset_key, key = jax.random.split(key)
        obs, state = env.reset(reset_key)
        return env.step(key, state, jnp.asarray(padded)[jnp.arange(4), obs]).reward

    games = np.asarray(jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(1), 40_000)))
    for i, table in enumerate(liquidity_game.expected_units(bounds, policies)):
        chosen = table[np.arange(2 * bounds[i] + 1), policies[i]]
        exact = liquidity_game.law(bounds[i]) @ chosen
        assert games[:, i].mean() == pytest.approx(exact, abs=5 * float(games[:, i].std()) / 200)


def test_thresholds_are_best_responses():
    """No policy of two small dealers beats the best threshold, to any threshold of the other; those at the ends always trade."""
    table = liquidity_game.of_thresholds(1, 1)
    policies = [np.array(choice) for choice in itertools.product(range(5), repeat=3)]
    for threshold in range(4):
        other = np.where(np.arange(3) < threshold, 4, 0)
        values = [liquidity_game.law(1) @ liquidity_game.units(1, 1)[np.arange(3), p][:, np.arange(3), other] for p in policies]
        best = max(float(value @ liquidity_game.law(1)) for value in values)
        assert table[:, threshold].max() == pytest.approx(best)
    np.testing.assert_allclose(table, table.T)
    assert table[0, 3] == pytest.approx(9 / 16 + 1 / 16)  # one unit if both have room, another one if both have room for two


def test_equilibria_of_large_and_small_dealers():
    tables = [[liquidity_game.of_thresholds(own, other) for other in (6, 2)] for own in (6, 2)]
    found = {players: pure_equilibria(tables, players).mean for players in ((2, 0), (0, 2), (6, 0), (3, 3), (0, 6))}
    assert found[2, 0].max() == pytest.approx(1.993174, abs=1e-6)
    assert found[0, 2].max() == pytest.approx(87 / 64)
    assert found[6, 0].max() == pytest.approx(1.197469, abs=1e-6)
    assert found[3, 3].max() == pytest.approx(1.112222, abs=1e-6)
    assert found[0, 6].max() == pytest.approx(329 / 320)


def test_extremes_keep_the_protocol():
    env = liquidity_game.make(bounds=(10, 1), rounds=3, flow=0.0)
    check_environment(env, jax.random.key(0), rebuilt=liquidity_game.make(bounds=(10, 2), rounds=3))


@pytest.mark.parametrize(
    "parameters",
    [dict(bounds=(2,)), dict(bounds=(2, 2, 2)), dict(bounds=(0, 2)), dict(bounds=(2, 11)), dict(rounds=0), dict(flow=2)],
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        liquidity_game.make(**parameters)
