"""Games whose payoffs are computed: formulas by hand, tables against single plays, and their textbook equilibria."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.matrix_games import bar_game, beauty_contest, cournot, named, one_shot, public_goods, travellers_dilemma
from jaxrl.errors import ConfigError
from jaxrl.solvers import equilibria


def play(env, action):
    step = env.step(jax.random.key(0), env.reset(jax.random.key(0))[1], jnp.array(action, jnp.int32))
    assert bool(step.terminated)
    after = env.step(jax.random.key(0), step.state, jnp.array(action, jnp.int32))
    np.testing.assert_array_equal(after.reward, 0)
    return np.asarray(step.reward)


def pure_equilibria(table):
    """Returns the joint actions from which nobody gains by deviating, by looking at all of them."""
    found = []
    for joint in np.ndindex(table.shape[1:]):
        best = (
            table[(i, *joint[:i], slice(None), *joint[i + 1 :])].max() <= table[(i, *joint)] + 1e-5 for i in range(table.shape[0])
        )
        if all(best):
            found.append(joint)
    return found


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (travellers_dilemma.make, dict(high=6)),
        (beauty_contest.make, dict(agents=3, highest=4)),
        (public_goods.make, dict(agents=3, endowment=2)),
        (cournot.make, dict(firms=3, highest=3)),
        (bar_game.make, dict(agents=4, nights=2, reward="own")),
    ],
)
def test_the_table_is_what_single_plays_pay(make, parameters):
    env = make(**parameters)
    table = np.asarray(one_shot.table(env))
    joint = jnp.array(list(itertools.product(range(env.action_space.n), repeat=env.num_agents)), jnp.int32)
    _, state = env.reset(jax.random.key(0))
    rewards = jax.jit(jax.vmap(lambda action: env.step(jax.random.key(0), state, action).reward))(joint)
    np.testing.assert_allclose(rewards, table.reshape(env.num_agents, -1).T, rtol=1e-6)
    np.testing.assert_allclose(play(env, joint[-1]), rewards[-1], rtol=1e-6)


def test_travellers_dilemma():
    """Basu (1994): claims of 2 to 100 and a bonus of 2; only the lowest claims are an equilibrium. A bonus of 1 allows more."""
    env = travellers_dilemma.make()
    assert env.action_space.n == 99
    np.testing.assert_array_equal(play(env, [98, 98]), [100, 100])
    np.testing.assert_array_equal(play(env, [98, 97]), [97, 101])
    np.testing.assert_array_equal(play(env, [10, 50]), [14, 10])
    table = np.asarray(one_shot.table(env))
    assert pure_equilibria(table) == [(0, 0)]
    np.testing.assert_array_equal(table[:, 0, 0], [2, 2])
    np.testing.assert_array_equal(table[1], table[0].T)
    assert len(pure_equilibria(np.asarray(one_shot.table(travellers_dilemma.make(high=6, bonus=1.0))))) > 1


def test_numbers_that_were_not_shownwould_have_won_by_the_rules():
    """Each player in turn names each number, the others what they did: by Python's own arithmetic."""
    game, guess, numbers = beauty_contest.make(agents=3, highest=9).params, [4, 7, 1], range(10)
    found = beauty_contest.forgone(jnp.array(guess), game, jnp.arange(10))
    for player in range(3):
        for number in numbers:
            shown = [number if other == player else one for other, one in enumerate(guess)]
            apart = [abs(one - 2 / 3 * sum(shown) / 3) for one in shown]
            closest = [one <= min(apart) + 1e-4 for one in apart]
            assert found[player, number] == pytest.approx(closest[player] / sum(closest), abs=1e-6)


def test_beauty_contest():
    """Two thirds of the mean of 10, 20 and 60 is 20. All naming the same share the prize; with p below 1, 0 is an equilibrium."""
    env = beauty_contest.make(agents=3)
    np.testing.assert_allclose(play(env, [10, 20, 60]), [0, 1, 0])
    np.testing.assert_allclose(play(env, [30, 30, 90]), [0.5, 0.5, 0])
    np.testing.assert_allclose(play(env, [7, 7, 7]), [1 / 3] * 3, rtol=1e-6)
    half = beauty_contest.make(agents=4, factor=1.0)
    np.testing.assert_allclose(play(half, [1, 3, 0, 4]), [0.5, 0.5, 0, 0])  # as far below the mean as above it
    table = np.asarray(one_shot.table(beauty_contest.make(agents=3, highest=6)))
    np.testing.assert_allclose(table.sum(0), 1, rtol=1e-6)
    assert (0, 0, 0) in pure_equilibria(table)
    assert all(max(joint) <= 1 for joint in pure_equilibria(table))


def test_public_goods():
    env = public_goods.make(agents=4, endowment=5, multiplier=1.6)
    np.testing.assert_allclose(play(env, [0, 0, 0, 0]), [5] * 4)
    np.testing.assert_allclose(play(env, [5, 5, 5, 5]), [8] * 4)
    np.testing.assert_allclose(play(env, [0, 5, 5, 5]), [11, 6, 6, 6])
    assert pure_equilibria(np.asarray(one_shot.table(env))) == [(0, 0, 0, 0)]
    assert pure_equilibria(np.asarray(one_shot.table(public_goods.make(agents=2, multiplier=3.0)))) == [(5, 5)]


@pytest.mark.parametrize(("firms", "quantity", "profit"), [(1, 6, 36), (2, 4, 16), (3, 3, 9)])
def test_cournot(firms, quantity, profit):
    """(a - c) / (b (N + 1)) each, and a profit of its square; whole units leave equilibria close to it, and price wars at 0."""
    table = np.asarray(one_shot.table(cournot.make(firms=firms)))
    found = pure_equilibria(table)
    assert (quantity,) * firms in found
    np.testing.assert_allclose(table[(slice(None), *(quantity,) * firms)], profit)
    assert {sum(joint) for joint in found} <= set(range(quantity * firms - 2, quantity * firms + 2)) | {0} | set(
        range(12, 12 * firms + 1)
    )


def test_cournot_by_hand():
    env = cournot.make(unit=0.5, intercept=10.0, slope=2.0, cost=1.0)
    np.testing.assert_allclose(play(env, [2, 4]), [(10 - 6 - 1) * 1, (10 - 6 - 1) * 2])
    np.testing.assert_allclose(play(env, [12, 12]), [-6, -6])  # the price is 0


def test_blotto_has_value_zero():
    table = named.blotto_table(5, 3)
    assert equilibria.minimax(table).value == pytest.approx(0, abs=1e-9)


def test_parameters_can_be_vmapped():
    """The equilibrium price falls as costs rise, in one call."""
    env = cournot.make()
    many = env.replace(params=env.params.replace(cost=jnp.array([0.0, 3.0, 6.0])))
    axes = jax.tree.map(lambda _: None, env).replace(params=jax.tree.map(lambda _: None, env.params).replace(cost=0))
    tables = jax.vmap(one_shot.table, in_axes=(axes,))(many)
    np.testing.assert_allclose(tables[:, 0, 4, 4], [16, 4, -8])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("travellers_dilemma", dict(low=5, high=4), "high must be at least low"),
        ("beauty_contest", dict(agents=0), "agents"),
        ("beauty_contest", dict(highest=0), "highest"),
        ("beauty_contest", dict(factor=-1.0), "factor"),
        ("public_goods", dict(agents=0), "agents"),
        ("public_goods", dict(endowment=0), "endowment"),
        ("public_goods", dict(multiplier=-1.0), "multiplier"),
        ("cournot", dict(firms=0), "firms"),
        ("cournot", dict(slope=0.0), "slope"),
    ],
)
def test_wrong_parameters(name, parameters, message):
    with pytest.raises(ConfigError, match=message):
        envs.make(name, **parameters)


def test_wrong_tables():
    with pytest.raises(ConfigError, match="at most 10,000,000 entries"):
        one_shot.table(beauty_contest.make(agents=5))
    with pytest.raises(ConfigError, match=r"must be one of one_shot\.make"):
        one_shot.table(envs.make("corridor"))
