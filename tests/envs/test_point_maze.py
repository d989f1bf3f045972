"""Point maze: walls against a slow simulation in small steps, and never a way through them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from envs.control import point_maze
from jaxrl.errors import ConfigError, UnknownNameError

OPEN = ("S....", ".....", ".....", ".....", "....G")


def random_maze(random, rows, columns, walls):
    """Returns a map with this share of walls."""
    letters = np.where(random.random((rows, columns)) < walls, "#", ".")
    letters[0, 0], letters[-1, -1] = "S", "G"
    return tuple("".join(row) for row in letters)


def free_places(env, random, count):
    """Draws positions in free cells, float32[count, 2]."""
    cells = np.argwhere(np.asarray(env.params.free)[1:-1, 1:-1])
    return (cells[random.integers(len(cells), size=count)] + random.random((count, 2))).astype(np.float32)


def crawl(free, position, move, pieces=4000):
    """Moves in small pieces, in float64, one axis after the other; the first piece into a wall ends the move along its axis."""
    position, going = position.astype(np.float64), np.ones(position.shape, bool)
    for _ in range(pieces):
        for axis in range(2):
            target = position.copy()
            target[:, axis] += move[:, axis] / pieces
            row, column = np.floor(target).astype(int).T + 1
            going[:, axis] &= free[row, column]
            position = np.where(going[:, axis, None], target, position)
    return position


def test_slides_as_a_slow_simulation_does():
    random = np.random.default_rng(0)
    env = point_maze.make(random_maze(random, 12, 12, 0.4))
    position = free_places(env, random, 2000)
    move = random.uniform(-0.5, 0.5, size=(2000, 2)).astype(np.float32)
    slid, stopped = jax.jit(jax.vmap(point_maze.slide, in_axes=(0, 0, None)))(position, move, env.params)
    expected = crawl(np.asarray(env.params.free), position, move)
    apart = np.abs(np.asarray(slid) - expected).max(-1)
    # The simulation is coarse: a line that passes a corner by less than a piece may be taken for one that meets it.
    assert np.mean(apart < 1e-3) > 0.998
    assert 0.15 < np.mean(np.any(stopped, axis=-1)) < 0.5
    lost = np.abs(np.asarray(slid) - (position + move)) > 1e-6
    np.testing.assert_array_equal(lost & ~np.asarray(stopped), False)


def test_never_through_a_wall():
    """The part of the maze that can be walked to from the start is never left, however the point is pushed."""
    random = np.random.default_rng(1)
    env = point_maze.make(random_maze(random, 20, 20, 0.4), force=1e4, damping=0.0, goal_radius=1e-6)
    free = np.asarray(env.params.free)
    part, number = ndimage.label(free)
    assert number > 5
    start = jnp.asarray(free_places(env, random, 512))
    state = point_maze.State(start, jnp.zeros((512, 2)), jnp.tile(env.params.goal, (512, 1)))
    pushes = jnp.asarray(np.sign(random.standard_normal((2000, 512, 2))) * random.random((2000, 512, 2)) ** 0.2, jnp.float32)

    @jax.jit
    def positions(state, pushes):
        def go(state, push):
            state = jax.vmap(env.step, in_axes=(None, 0, 0))(jax.random.key(0), state, push).state
            return state, state.position

        return jax.lax.scan(go, state, pushes)[1]

    path = np.floor(np.asarray(positions(state, pushes))).astype(int) + 1
    row, column = np.floor(np.asarray(start)).astype(int).T + 1
    visited = part[path[..., 0], path[..., 1]]
    np.testing.assert_array_equal(visited, np.broadcast_to(part[row, column], visited.shape))
    assert len(np.unique(path.reshape(-1, 2), axis=0)) > 0.9 * free.sum()


@pytest.mark.parametrize(("push", "edge"), [((1.0, 0.0), 5.0), ((-1.0, 0.0), 0.0)])
def test_stops_exactly_at_the_wall_and_loses_its_speed(push, edge):
    env = point_maze.make(OPEN)
    state = point_maze.State(jnp.array([2.5, 2.5]), jnp.array([0.0, 0.3]), jnp.array([0.5, 4.5]))
    step = jax.jit(env.step)
    for _ in range(30):
        state = step(jax.random.key(0), state, jnp.array(push)).state
    last_inside = np.nextafter(np.float32(edge), np.float32(2.5)) if edge else np.float32(0.0)
    assert float(state.position[0]) == last_inside
    assert float(state.velocity[0]) == 0.0
    assert float(state.velocity[1]) != 0.0  # along the wall it goes on
    away = step(jax.random.key(0), state, -jnp.array(push)).state
    assert abs(float(away.position[0]) - edge) > 0.05


def test_squeezes_through_no_corner():
    """Two walls that touch at a corner are closed."""
    env = point_maze.make(("S#", "#G"))
    state = point_maze.State(jnp.array([0.5, 0.5]), jnp.zeros(2), jnp.array([1.5, 1.5]))
    step = jax.jit(env.step)
    for _ in range(50):
        done = step(jax.random.key(0), state, jnp.ones(2))
        state = done.state
        assert not done.terminated
    np.testing.assert_array_equal(np.floor(state.position), 0)


def test_motion_in_the_open():
    """Without walls it is v' = v + dt (force u - damping v), x' = x + dt v'; the speed is limited."""
    env = point_maze.make(OPEN, force=2.0, damping=0.5, max_speed=0.3, time_step=0.2)
    state = point_maze.State(jnp.array([2.5, 2.5]), jnp.array([0.1, -0.1]), jnp.array([0.5, 4.5]))
    step = env.step(jax.random.key(0), state, jnp.array([0.2, 3.0]))
    velocity = np.array([0.1, -0.1]) * 0.9 + 0.2 * 2.0 * np.array([0.2, 1.0])
    velocity *= 0.3 / np.linalg.norm(velocity)
    np.testing.assert_allclose(step.state.velocity, velocity, rtol=1e-5)
    np.testing.assert_allclose(step.state.position, 2.5 + 0.2 * velocity, rtol=1e-6)


def test_reaching_the_goal_pays_and_ends():
    env = point_maze.make(OPEN, goal_radius=0.5, distance_cost=0.1)
    goal = jnp.array([4.5, 4.5])
    near = env.step(jax.random.key(0), point_maze.State(jnp.array([4.5, 4.1]), jnp.zeros(2), goal), jnp.zeros(2))
    far = env.step(jax.random.key(0), point_maze.State(jnp.array([4.5, 1.5]), jnp.zeros(2), goal), jnp.zeros(2))
    assert bool(near.terminated)
    assert float(near.reward) == pytest.approx(1 - 0.1 * 0.4, abs=1e-6)
    assert not bool(far.terminated)
    assert float(far.reward) == pytest.approx(-0.3, abs=1e-6)


def test_starts_and_goals_are_those_of_the_map():
    env = point_maze.make(("SS#G", "...G", "...S"))
    obs, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 500))
    starts = {tuple(cell) for cell in np.floor(np.asarray(state.position)).astype(int).tolist()}
    assert starts == {(0, 0), (0, 1), (2, 3)}
    assert {tuple(goal) for goal in np.asarray(state.goal).tolist()} == {(0.5, 3.5), (1.5, 3.5)}
    assert not np.asarray(state.velocity).any()
    np.testing.assert_array_equal(obs, np.concatenate([state.position, state.velocity, state.goal], -1))


@pytest.mark.parametrize("name", point_maze.MAPS)
def test_the_goal_of_each_map_can_be_reached(name):
    free = np.asarray(point_maze.make(name).params.free)
    part, _ = ndimage.label(free)
    ends = [(r + 1, c + 1) for r, row in enumerate(point_maze.MAPS[name]) for c, letter in enumerate(row) if letter in "SG"]
    assert len({part[end] for end in ends}) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(map=("...", "..G")), "S and a G"),
        (dict(map=("SG", "...")), "same length"),
        (dict(map=("SxG",)), "only contain"),
        (dict(max_speed=6.0), r"max_speed \* time_step"),
        (dict(damping=20.0), r"damping \* time_step"),
        (dict(force=0.0), "force must be positive"),
        (dict(distance_cost=-1.0), "distance_cost must not be negative"),
        (dict(max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        point_maze.make(**parameters)


def test_unknown_map():
    with pytest.raises(UnknownNameError, match="medium"):
        point_maze.make("mediun")


def test_a_push_that_slips_is_turned_by_a_quarter():
    """In the open a push to the right goes up or down in a share of the steps, either way alike, and never back."""
    slip, count = 0.4, 20_000
    env = point_maze.make(OPEN, force=5.0, damping=10.0, slip=slip)
    state = point_maze.State(jnp.full(2, 2.5), jnp.zeros(2), env.params.goal[0])
    step = jax.vmap(env.step, (0, None, None))
    moved = np.asarray(step(jax.random.split(jax.random.key(0), count), state, jnp.array([0.0, 1.0])).state.velocity)
    ways = {(0.0, 0.5): 1 - slip, (0.5, 0.0): slip / 2, (-0.5, 0.0): slip / 2}
    for way, chance in ways.items():
        share = np.mean(np.abs(moved - way).max(-1) < 1e-6)
        assert share == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / count))


def test_moves_without_inertia_forget_the_velocity():
    env = point_maze.make(OPEN, force=50.0, damping=10.0)
    state = point_maze.State(jnp.full(2, 2.5), jnp.array([3.0, -4.0]), env.params.goal[0])
    for move in point_maze.MOVES:
        after = env.step(jax.random.key(0), state, jnp.asarray(move)).state
        np.testing.assert_allclose(after.position, 2.5 + 0.5 * np.array(move), atol=1e-6)


@pytest.mark.parametrize("slip", [-0.1, 1.1, np.nan])
def test_slip_is_a_probability(slip):
    with pytest.raises(ConfigError, match=r"slip must lie in \[0, 1\]"):
        point_maze.make(slip=slip)
