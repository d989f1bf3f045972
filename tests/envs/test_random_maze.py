"""Random mazes: connected and without loops, distances against another search, and mazes as maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from envs.gridworlds import gridworld, random_maze
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, UnknownNameError
from tests import oracles


def mazes(carve, size, count):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: random_maze.CARVE[carve](key, size)))(keys))


def graph(walls):
    """Returns the free cells of a maze and the lengths of the shortest ways between them, by scipy."""
    free = np.argwhere(~walls)
    number = {tuple(place): index for index, place in enumerate(free.tolist())}
    edges = [
        (i, number[r + dr, c + dc]) for (r, c), i in number.items() for dr, dc in ((0, 1), (1, 0)) if (r + dr, c + dc) in number
    ]
    one, other = np.array(edges).T
    matrix = coo_array((np.ones(len(edges)), (one, other)), shape=(len(free), len(free)))
    return free, len(edges), shortest_path(matrix.tocsr(), directed=False, unweighted=True)


@pytest.mark.parametrize("carve", ["depth_first", "prim"])
@pytest.mark.parametrize("size", [5, 7, 11, 15])
def test_a_maze_is_a_tree_over_all_rooms(carve, size):
    for walls in mazes(carve, size, 8):
        assert all(side.all() for side in (walls[0], walls[-1], walls[:, 0], walls[:, -1]))
        assert not walls[1::2, 1::2].any()
        assert walls[::2, ::2].all()
        free, edges, ways = graph(walls)
        assert len(free) == 2 * ((size - 1) // 2) ** 2 - 1
        assert edges == len(free) - 1  # with connection: no loops
        assert np.isfinite(ways).all()


@pytest.mark.parametrize("carve", ["depth_first", "prim"])
def test_distances_are_scipys(carve):
    walls = mazes(carve, 11, 16)
    found = np.asarray(jax.jit(jax.vmap(lambda each: random_maze.distances(each, (9, 9))))(walls))
    for maze, distance in zip(walls, found, strict=True):
        free, _, ways = graph(maze)
        goal = int(np.flatnonzero((free == 9).all(1))[0])
        np.testing.assert_array_equal(distance[tuple(free.T)], ways[goal])
        np.testing.assert_array_equal(distance[maze], -1)


def test_prim_makes_more_dead_ends():
    """Its corridors are short; over 200 mazes of size 15, the means lie far apart."""

    def dead_ends(walls):
        open_ = ~walls
        sides = sum(np.roll(open_, shift, axis).astype(int) for axis in (1, 2) for shift in (-1, 1))
        return ((sides == 1) & open_).sum((1, 2))

    depth_first, prim = (dead_ends(mazes(carve, 15, 200)).astype(float) for carve in ("depth_first", "prim"))
    error = np.sqrt(depth_first.var() / 200 + prim.var() / 200)
    assert prim.mean() - depth_first.mean() > 10 * error


@pytest.mark.parametrize("carve", ["depth_first", "prim"])
def test_small_mazes_are_all_possible(carve):
    """Two by two rooms: four spanning trees. From a random first room each is equally likely, by symmetry."""
    patterns, counts = np.unique(mazes(carve, 5, 2000).reshape(2000, -1), axis=0, return_counts=True)
    assert len(patterns) == 4
    assert np.abs(counts - 500).max() < 5 * np.sqrt(375)  # five standard deviations


def test_walking_to_the_goal_along_the_distances():
    env = random_maze.make(9)
    obs, state = env.reset(jax.random.key(3))
    distance = np.asarray(random_maze.distances(state.walls, (7, 7)))
    assert obs.shape == (9, 9, 3)
    length, step = int(distance[1, 1]), jax.jit(env.step)
    for left in range(length, 0, -1):
        here = np.asarray(state.position)
        ahead = [int(distance[tuple(here + move)]) for move in random_maze.MOVES]
        after = step(jax.random.key(0), state, jnp.int32(ahead.index(left - 1)))
        state = after.state
        assert bool(after.terminated) == (left == 1)
        assert float(after.reward) == float(left == 1)
        assert np.argwhere(np.asarray(after.obs)[..., 1]).tolist() == [state.position.tolist()]


def test_walls_stop():
    env = random_maze.make(7)
    _, state = env.reset(jax.random.key(0))
    for action in (0, 3):  # left and up of the first room is the border
        assert env.step(jax.random.key(0), state, jnp.int32(action)).state.position.tolist() == [1, 1]


def test_every_episode_has_another_maze():
    _, state = jax.jit(jax.vmap(random_maze.make(11).reset))(jax.random.split(jax.random.key(0), 20))
    assert len(np.unique(np.asarray(state.walls).reshape(20, -1), axis=0)) == 20


def test_a_maze_as_a_map_has_the_same_shortest_way():
    rows = random_maze.text(5, 9, "prim")
    model = tabulate(gridworld.make(rows, step=-1.0, goal=-1.0))
    walls = jnp.array([[letter == "#" for letter in row] for row in rows])
    shortest = int(random_maze.distances(walls, (7, 7))[1, 1])
    assert oracles.start_value(model, oracles.value_iteration(model, 1.0)) == -shortest


@pytest.mark.parametrize("parameters", [dict(size=8), dict(size=3), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="random_maze"):
        random_maze.make(**parameters)


def test_unknown_carving_names_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'prim'"):
        random_maze.make(carve="prime")
