"""Pictures: every gridworld, board game and particle task has them, they show what the state says, and only that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import tiles
from envs.gridworlds import doorkey
from envs.gridworlds.rendering import cells
from envs.rendering import can_render, render
from envs.tiles import TILE
from jaxrl.errors import EnvError

PICTURED = [
    "blocking_maze",
    "catch",
    "cliff_walking",
    "coin_game",
    "corridor",
    "deep_sea",
    "doorkey",
    "dyna_maze",
    "empty_room",
    "foraging",
    "four_rooms",
    "frozen_lake",
    "gathering",
    "grid_game_1",
    "grid_game_2",
    "gridworld",
    "hazard_grid",
    "ising",
    "noisy_grid",
    "point_maze",
    "pursuit",
    "random_maze",
    "reward_grid",
    "short_corridor",
    "simple_spread",
    "soccer",
    "speaker_listener",
    "spread_grid",
    "t_maze",
    "tag",
    "windy_grid",
]


def changed(one, other):
    """Returns which tiles differ between two pictures, as (row, column)."""
    difference = (one != other).any(-1)
    tiled = difference.reshape(difference.shape[0] // TILE, TILE, difference.shape[1] // TILE, TILE).any((1, 3))
    return sorted(map(tuple, np.argwhere(tiled).tolist()))


@pytest.mark.parametrize("name", PICTURED)
def test_every_state_of_a_random_walk_has_a_picture(name):
    env = envs.make(name)
    _, state = env.reset(jax.random.key(0))
    step, shapes, pictures = jax.jit(env.step), set(), []
    for t in range(12):
        picture = render(env, state)
        assert picture.dtype == np.uint8
        shapes.add(picture.shape)
        pictures.append(picture.tobytes())
        action = env.action_space.sample(jax.random.key(t))
        action = action if env.num_agents is None else jnp.full(env.num_agents, action)
        state = step(jax.random.key(t), state, action).state
    assert len(shapes) == 1
    assert shapes.pop()[2] == 3
    assert len(set(pictures)) > 1  # something moves


def test_the_agent_stands_where_the_state_says():
    env = envs.make("four_rooms", start=(1, 1), goal=(11, 11))
    place = cells(env.params)
    first, second = 30, 57
    pictures = [render(env, jnp.int32(cell)) for cell in (first, second)]
    assert changed(*pictures) == sorted([tuple(place[first].tolist()), tuple(place[second].tolist())])


def test_the_goal_and_walls_look_as_such():
    env = envs.make("gridworld", map=("S#G", "HL."))
    picture = render(env, jnp.int32(0))
    corner = picture[2::TILE, 2::TILE]
    assert tuple(corner[0, 1]) in (tiles.WALL, tiles.SHADE)
    assert tuple(corner[0, 2]) == tiles.blend(tiles.FLOOR, tiles.GREEN, 0.35)
    assert tuple(picture[TILE + TILE // 2, TILE // 2]) == tiles.DARK  # the hole
    assert tuple(corner[1, 2]) == tiles.FLOOR


def test_a_carried_key_leaves_its_cell():
    env = envs.make("doorkey", timed=False)
    position, key = jnp.array([2, 1], jnp.int32), jnp.array([1, 1], jnp.int32)
    zero, two = jnp.int32(0), jnp.int32(2)
    before = doorkey.State(position, jnp.int32(3), key, two, two, two, zero)
    after = env.step(jax.random.key(0), before, jnp.int32(doorkey.PICK_UP)).state
    assert changed(render(env, before), render(env, after)) == [(1, 1), (2, 1)]


def test_the_blocking_maze_changes_its_wall():
    env = envs.make("blocking_maze", switch_at=5)
    _, state = env.reset(jax.random.key(0))
    before, after = (render(env, state._replace(clock=jnp.int32(clock))) for clock in (4, 5))
    assert changed(before, after) == [(3, 0), (3, 8)]


def test_the_ball_changes_hands():
    env = envs.make("soccer")
    _, state = env.reset(jax.random.key(0))
    one, other = (render(env, state._replace(owner=jnp.int32(owner))) for owner in (0, 1))
    place = (np.asarray(state.position) + (0, 1)).tolist()
    assert changed(one, other) == sorted(map(tuple, place))


def test_particles_are_drawn_to_scale():
    env = envs.make("simple_spread", num_agents=1, num_landmarks=1)
    _, state = env.reset(jax.random.key(0))
    state = state._replace(position=jnp.array([[0.5, 0.5]]), velocity=jnp.zeros((1, 2)), landmark=jnp.array([[-1.0, -1.0]]))
    picture = render(env, state).astype(int)
    floor = np.array(tiles.FLOOR)
    painted = np.argwhere(np.abs(picture - floor).sum(-1) > 60)
    agent = painted[(painted[:, 0] < 112) & (painted[:, 1] > 113)]  # above and to the right of the middle
    np.testing.assert_allclose(agent.mean(0), [(1.4 - 0.5) * 80 - 0.5, (1.4 + 0.5) * 80 - 0.5], atol=0.5)
    assert np.ptp(agent[:, 0]) == pytest.approx(2 * 0.15 * 80, abs=2)


def test_shapes_cover_a_part_of_their_tile():
    for shape in tiles.SHAPES:
        cover = tiles.coverage(shape)
        assert cover.shape == (TILE, TILE)
        assert 0 < cover.mean() <= 1, shape
    np.testing.assert_allclose(tiles.coverage("disc").mean(), np.pi * 0.34**2, atol=0.01)
    np.testing.assert_allclose(tiles.coverage("agent 1"), np.rot90(tiles.coverage("agent 0"), -1), atol=1e-9)


def test_without_pictures_the_fix_is_named():
    assert not can_render(envs.make("cartpole"))
    with pytest.raises(EnvError, match=r"cartpole\.Params.*RENDERERS"):
        render(envs.make("cartpole"), ())
