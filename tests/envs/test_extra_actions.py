"""Extra actions: which of them work follows from the walls, and they do not change what is optimal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds import extra_actions, four_rooms
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp import host

HALL = ("#####", "#...#", "##.##", "#...#", "#..G#", "#####")
# In HALL the cells are 0 1 2 above, 3 the hallway, 4 5 6 and 7 8 9 below it; 9 is the goal.


def test_extra_actions_work_where_their_kind_of_cell_is():
    """Action 4 + k moves as k // 2 modulo 4: even k in hallways, odd k in corners."""
    env = extra_actions.make(HALL, extra_actions=16)
    neighbour = np.asarray(env.params.neighbour)
    stays = np.arange(len(neighbour))
    for extra in range(16):
        move, hallway = extra // 2 % 4, extra % 2 == 0
        working = np.flatnonzero(neighbour[:, 4 + extra] != stays)
        np.testing.assert_array_equal(neighbour[working, 4 + extra], neighbour[working, move])
        if hallway:  # cell 3 alone has two opposite walls
            assert working.tolist() == ([3] if move in (DOWN, UP) else [])
        else:  # of the cells with two adjacent walls, those that the move can leave; 0 and 2 have three walls
            assert working.tolist() == {LEFT: [6], DOWN: [4, 6], RIGHT: [4, 7], UP: [7]}[move]


def test_no_move_is_lost_or_won():
    """With any number of extra actions the optimal value is that of the four moves alone."""
    values = []
    for count in (0, 3, 30):
        model = tabulate(extra_actions.make(extra_actions=count))
        values.append(host.solve(model, 0.9).start_value(model))
    np.testing.assert_allclose(values, values[0], rtol=1e-12)
    model = tabulate(four_rooms.make(start=None))
    assert values[0] == pytest.approx(host.solve(model, 0.9).start_value(model), rel=1e-9)


@pytest.mark.parametrize("rows", [extra_actions.MAP, extra_actions.MOVED_MAP])
def test_applicability_follows_from_the_surroundings(rows):
    """Cells of one pattern have the same actions that work, on both maps, and the exact flags are those of sampled steps."""
    env = extra_actions.make(rows, extra_actions=6)
    cells = jnp.arange(104)
    pattern = np.asarray(jax.vmap(extra_actions.surroundings, (0, None))(cells, env.params)).argmax(1)
    works = extra_actions.applicable(env)
    assert works.shape == (104, 10)
    for each in np.unique(pattern):
        assert (works[pattern == each] == works[pattern == each][0]).all()
    step = jax.vmap(jax.vmap(env.step, (None, None, 0)), (None, 0, None))
    after = step(jax.random.key(0), cells, jnp.arange(10, dtype=jnp.int32)).obs
    np.testing.assert_array_equal(np.asarray(after) != np.arange(104)[:, None], works)


def test_both_maps_hold_the_same_patterns():
    found = []
    for rows in (extra_actions.MAP, extra_actions.MOVED_MAP):
        env = extra_actions.make(rows)
        shown = jax.vmap(extra_actions.surroundings, (0, None))(jnp.arange(104), env.params)
        found.append(set(np.asarray(shown).argmax(1).tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"extra_actions": -1}, "extra_actions must be an integer of at least 0, got -1"),
        ({"extra_actions": 1.5}, "extra_actions must be an integer"),
        ({"map": ("S.", ".")}, "all rows of the map must have the same length"),
        ({"map": ("GG",)}, "there must be a cell to start from"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ConfigError, match=message):
        envs.make("extra_actions", **parameters)
