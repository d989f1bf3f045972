"""The language of maps: what every letter means, and that mistakes are named with their row and column."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworlds import frozen_lake, grid, gridworld, noisy_grid, reward_grid
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


def moves(*rows, **options):
    """Returns cell -> where each action leads, both as (row, column)."""
    cells = grid.parse("test", rows, **options)
    places = [tuple(map(int, place)) for place in cells.position]
    return {place: [places[target] for target in cells.neighbour[index]] for index, place in enumerate(places)}


def test_walls_and_the_border_stop():
    table = moves("..", "#.")
    assert table[0, 0] == [(0, 0), (0, 0), (0, 1), (0, 0)]
    assert table[0, 1] == [(0, 0), (1, 1), (0, 1), (0, 1)]
    assert table[1, 1] == [(1, 1), (1, 1), (1, 1), (0, 1)]


def test_wind_blows_upwards_from_the_cell_that_is_left():
    table = moves("...", "...", "...", ".2.")
    assert table[3, 1] == [(1, 0), (2, 1), (1, 2), (0, 1)]  # left, down against the wind, right, up with it


def test_wind_stops_at_walls():
    table = moves("...", "##.", "13.")
    assert table[2, 0] == [(2, 0), (2, 0), (2, 1), (2, 0)]
    assert table[2, 1][RIGHT] == (0, 2)


def test_gusts_change_wind_where_there_is_some():
    calm, stronger = moves("...", "...", "0.1"), moves("...", "...", "0.1", gust=1)
    assert calm[2, 2][LEFT] == (1, 1)
    assert stronger[2, 2][LEFT] == (0, 1)
    assert {place: row for place, row in calm.items() if place != (2, 2)} == {
        place: row for place, row in stronger.items() if place != (2, 2)
    }


@pytest.mark.parametrize(("arrow", "action"), [("<", LEFT), ("v", DOWN), (">", RIGHT), ("^", UP)])
def test_one_way_cells_are_entered_in_their_direction_only(arrow, action):
    table = moves("...", f".{arrow}.", "...")
    entered = {each: table[1 - int(grid.MOVES[each][0]), 1 - int(grid.MOVES[each][1])][each] == (1, 1) for each in range(4)}
    assert entered == {each: each == action for each in range(4)}
    assert sorted(table[1, 1]) == [(0, 1), (1, 0), (1, 2), (2, 1)]  # left in every direction


def test_kings_move_slides_along_walls():
    table = moves("..", "..", moves=np.array([(1, 1), (-1, -1)]))
    assert table[0, 0] == [(1, 1), (0, 0)]
    assert table[0, 1] == [(1, 1), (0, 0)]


def test_what_letters_pay_and_where_they_lead():
    walk = grid.read("test", ("SaCb", "HLG+"), step=-1.0, goal=5.0, lava=-7.0, cliff=-9.0, rewards={"a": 2.0, "b": 3.0})
    neighbour, reward = np.asarray(walk.neighbour), np.asarray(walk.reward)
    assert neighbour[0].tolist() == [0, 4, 1, 0]
    assert reward[0].tolist() == [-1.0, 0.0, 2.0, -1.0]  # bump, hole, reward, bump
    assert neighbour[1, RIGHT] == 0  # over the cliff, back to the start
    assert reward[1].tolist() == [-1.0, -7.0, -9.0, 2.0]
    assert reward[3].tolist() == [-9.0, -1.0, 3.0, 3.0]
    assert reward[7].tolist() == [5.0, -1.0, -1.0, 3.0]
    assert np.asarray(walk.absorbing).tolist() == [False] * 4 + [True] * 3 + [False]
    assert not reward[4:7].any()
    assert np.asarray(walk.start).tolist() == [0]


def test_starts_are_uniform():
    model = tabulate(gridworld.make(("S.S", "..G")))
    assert sorted(model.initial[model.initial > 0]) == [0.5, 0.5]
    anywhere = tabulate(gridworld.make((".H", ".G")))
    assert model.num_states == 6
    np.testing.assert_allclose(sorted(anywhere.initial)[-2:], 0.5)


def test_hallways_can_be_found():
    cells = grid.parse("test", ("..#..", "..+..", "..#.."))
    assert cells.position[cells.cells("+")].tolist() == [[1, 2]]


def test_slips():
    turned = oracles.environment_law(gridworld.make(("...", "...", "..."), slip=0.3))[0].sum(-1)
    scattered = oracles.environment_law(gridworld.make(("...", "...", "..."), slip=0.3, slips="scatter"))[0].sum(-1)
    np.testing.assert_allclose(turned[4, UP], [0, 0.7, 0, 0.15, 0, 0.15, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(scattered[4, UP], [0, 0.7, 0, 0.1, 0, 0.1, 0, 0.1, 0], atol=1e-6)


def test_slip_is_traced():
    """One compiled program solves the lake for every slip."""
    env = frozen_lake.make(("SFF", "FHG"))
    slips = jnp.array([0.0, 0.3, 2 / 3, 1.0], jnp.float32)

    @jax.jit
    @jax.vmap
    def law(slip):
        outcomes = jax.vmap(env.outcomes_fn, in_axes=(0, 0, None))
        return outcomes(jnp.arange(6), jnp.full(6, RIGHT), env.params.replace(slip=slip)).probability

    np.testing.assert_allclose(law(slips)[:, 0], [[s / 2, 1 - s, s / 2] for s in slips.tolist()], rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("S.G", ".X."), r"'X' in row 1, column 1"),
        (("S.G", ".."), r"same length as row 0, 3, got 2 letters in row 1"),
        (("S.G", ".a."), r"must have a reward, got 'a' in row 1, column 1"),
        (("S.C", "S.G"), r"one start \(row, column\), to fall back to, got \[\[0, 0\], \[1, 0\]\]"),
        (("..C", "..G"), r"one start"),
        (("##",), "free cell"),
        ((), "at least one row"),
        (("GG",), "a cell to start from"),
    ],
)
def test_mistakes_are_named_with_their_place(rows, message):
    with pytest.raises(ConfigError, match=f"gridworld: .*{message}"):
        gridworld.make(rows, rewards={})


@pytest.mark.parametrize(
    "parameters", [dict(slips="slide"), dict(slip=-0.1), dict(max_steps=0), dict(rewards={"v": 1.0}), dict(rewards={"?": 1.0})]
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="gridworld"):
        gridworld.make(**parameters)


def test_the_example_is_solved_by_reaching_its_goal():
    model = tabulate(gridworld.make())
    values = oracles.value_iteration(model, 1.0)
    assert oracles.start_value(model, values) == pytest.approx(1 - 0.01 * 10)  # eleven steps, the puddle avoided


@pytest.mark.parametrize("make", [noisy_grid.make, reward_grid.make])
def test_other_grids_read_maps_alike(make):
    assert np.asarray(make().params.neighbour).shape[1] == 4
