"""Beer game: weeks by hand in plain Python, and no beer is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import beer_game
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment


def played(env, orders):
    """Returns the states before, and the steps of, a game with these orders int[W, 4]."""

    def one(state, inputs):
        key, order = inputs
        step = env.step(key, state, order)
        return step.state, (state, step)

    _, state = env.reset(jax.random.key(0))
    return jax.jit(lambda keys, orders: jax.lax.scan(one, state, (keys, orders))[1])(
        jax.random.split(jax.random.key(1), len(orders)), jnp.asarray(orders, jnp.int32)
    )


def test_weeks_are_those_of_four_people_at_a_table():
    """Each stage keeps crates in stock, slips of what it owes, and a queue of lorries, in plain Python."""
    orders = np.random.default_rng(0).integers(0, 16, (30, 4))
    _, steps = played(beer_game.make(weeks=30), orders)
    crates, slips = [12] * 4, [0] * 4
    lorries, letters = [[4, 4] for _ in range(4)], [4] * 4
    for week in range(30):
        asked = [int(steps.state.incoming[week, 0]), *letters[:3]]
        assert 0 <= asked[0] <= 8
        gone = []
        for stage in range(4):
            crates[stage] += lorries[stage].pop(0)
            slips[stage] += asked[stage]
            sent = min(crates[stage], slips[stage])
            crates[stage] -= sent
            slips[stage] -= sent
            gone.append(sent)
        for stage in range(3):
            lorries[stage].append(gone[stage + 1])
        lorries[3].append(letters[3])
        letters = orders[week].tolist()
        np.testing.assert_array_equal(steps.state.stock[week], np.subtract(crates, slips))
        np.testing.assert_array_equal(steps.state.coming[week], lorries)
        np.testing.assert_allclose(steps.reward[week], -0.5 * np.array(crates) - np.array(slips))


def test_what_is_outstanding_is_owed_or_on_the_way():
    """It is what the supplier owes, what is on the way and the letter; the factory's supplier owes nothing."""
    orders = np.random.default_rng(1).integers(0, 16, (36, 4))
    _, steps = played(beer_game.make(), orders)
    after = steps.state
    owed = np.maximum(-np.asarray(after.stock), 0)[:, 1:]
    owed = np.concatenate([owed, np.zeros((36, 1), int)], 1)
    np.testing.assert_array_equal(after.outstanding, owed + np.asarray(after.coming).sum(-1) + after.placed)


def test_the_end():
    _, steps = played(beer_game.make(weeks=3), np.full((5, 4), 4))
    np.testing.assert_array_equal(steps.terminated, [False, False, True, True, True])
    assert (np.asarray(steps.reward)[3:] == 0).all()
    assert (np.asarray(steps.reward)[:3] < 0).all()


def test_extremes_keep_the_protocol():
    env = beer_game.make(demand=1, highest=1, weeks=2, holding=0.0)
    check_environment(env, jax.random.key(0), rebuilt=beer_game.make(demand=3, highest=1, weeks=2))


@pytest.mark.parametrize("parameters", [dict(demand=0), dict(highest=0), dict(weeks=0), dict(holding=-1.0), dict(backlog=np.nan)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        beer_game.make(**parameters)
