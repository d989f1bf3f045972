"""WindyGrid against the book's rule written out by hand, and sampled steps against the table of outcomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, chisquare

from envs.gridworlds import hazard_grid, windy_grid
from jaxrl.errors import ConfigError, UnknownNameError
from tests import oracles

WIND = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0)
GOAL = 37


def book_law(moves, gust):
    """Sutton and Barto (2018), Example 6.5: the move and the wind of the column that is left are added, then cut off."""
    entries = []
    for state, (action, (down, right)) in ((s, a) for s in range(70) for a in enumerate(moves.tolist())):
        if state == GOAL:
            entries.append((state, action, 1.0, GOAL, 0.0, True))
            continue
        row, column = divmod(state, 10)
        for change, chance in ((-1, gust / 2), (0, 1 - gust), (1, gust / 2)):
            wind = WIND[column] + change if WIND[column] else 0
            there = 10 * int(np.clip(row + down - wind, 0, 6)) + int(np.clip(column + right, 0, 9))
            entries.append((state, action, chance, there, -1.0, there == GOAL))
    return oracles.law(70, len(moves), entries)


@pytest.mark.parametrize("moves", windy_grid.MOVES)
@pytest.mark.parametrize("gust", [0.0, 2 / 3, 1.0])
def test_law_is_the_books(moves, gust):
    ours = oracles.environment_law(windy_grid.make(moves, gust))
    for one, other in zip(ours, book_law(windy_grid.MOVES[moves], gust), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("env", [windy_grid.make("king", 0.5), hazard_grid.make(slip=0.3)], ids=["windy", "hazard"])
def test_sampled_steps_are_as_frequent_as_the_table_says(env):
    """Pearson's test of every state and action, added up; a right environment fails once in ten thousand keys."""
    repeats, states, actions = 400, env.observation_space.n, env.action_space.n
    probability = oracles.environment_law(env)[0].sum(-1)

    @jax.jit
    def sample(key):
        pairs = jnp.stack(jnp.meshgrid(jnp.arange(states), jnp.arange(actions), indexing="ij"), -1).reshape(-1, 2)
        keys = jax.random.split(key, (len(pairs), repeats))
        step = jax.vmap(jax.vmap(env.step, in_axes=(0, None, None)))
        return step(keys, pairs[:, 0].astype(jnp.int32), pairs[:, 1].astype(jnp.int32)).state

    found = np.asarray(sample(jax.random.key(0))).reshape(states, actions, repeats)
    statistic, freedom = 0.0, 0
    for state, action in np.ndindex(states, actions):
        possible = probability[state, action] > 1e-9
        count = np.bincount(found[state, action], minlength=states)
        assert not count[~possible].any()
        if possible.sum() > 1:
            expected = probability[state, action, possible] / probability[state, action, possible].sum() * repeats
            statistic += chisquare(count[possible], expected).statistic
            freedom += possible.sum() - 1
    assert freedom > 100
    assert chi2.sf(statistic, freedom) > 1e-4


@pytest.mark.parametrize("parameters", [dict(gust=1.5), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="windy_grid"):
        windy_grid.make(**parameters)


def test_unknown_moves_name_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'king'"):
        windy_grid.make("kings")
