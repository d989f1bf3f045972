"""Pictures: every environment has them, they show what the state says, and only that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import charts, tiles
from envs.control.rendering import CART_SCALE
from envs.gridworlds import doorkey
from envs.gridworlds.rendering import cells
from envs.rendering import can_render, render
from envs.tiles import TILE
from jaxrl.core.rollout import uniform_policy
from jaxrl.errors import EnvError
from jaxrl.report import films
from tests.core.test_rollout import counter
from tests.marks import every

STILL = ("bandit_testbed", "bernoulli_bandit", "gaussian_bandit")  # their state never changes


def changed(one, other):
    """Returns which tiles differ between two pictures, as (row, column)."""
    difference = (one != other).any(-1)
    tiled = difference.reshape(difference.shape[0] // TILE, TILE, difference.shape[1] // TILE, TILE).any((1, 3))
    return sorted(map(tuple, np.argwhere(tiled).tolist()))


@pytest.mark.parametrize("name", every(envs.REGISTRY))
def test_every_state_of_a_random_walk_has_a_picture(name):
    """Of every environment of the catalogue, and of one size: they are the frames of a film."""
    env = envs.make(name)
    played = films.play(jax.random.key(0), env, uniform_policy(env), max_steps=12)
    pictures = films.frames(env, played)
    assert len(pictures) == played.num_steps + 1
    assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
    assert len({picture.shape for picture in pictures}) == 1
    height, width, channels = pictures[0].shape
    assert channels == 3
    assert 24 <= min(height, width) <= max(height, width) <= 1024
    assert len(np.unique(pictures[0].reshape(-1, 3), axis=0)) > 1, "an empty picture"
    moved = len({picture.tobytes() for picture in pictures}) > 1
    assert moved != (name in STILL)


def test_every_environment_of_the_catalogue_has_pictures():
    """They are found by the type of the parameters: one environment of each type is enough."""
    missing = [name for name in envs.REGISTRY if not can_render(envs.make(name))]
    assert not missing


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
    env = counter(5.0, 5)
    assert not can_render(env)
    with pytest.raises(EnvError, match=r"ArrayImpl.*RENDERERS"):
        render(env, ())


# ---- the pictures of control tasks and games say what their states say


def centre(picture, colour):
    """Returns the middle of the pixels of this colour, (x, y)."""
    rows, columns = np.nonzero((picture == np.array(colour, np.uint8)).all(-1))
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def test_the_cart_is_drawn_to_scale():
    env = envs.make("cartpole")
    left, right = (render(env, jnp.array([position, 0.0, 0.0, 0.0])) for position in (-1.0, 1.0))
    np.testing.assert_allclose(centre(right, tiles.BLUE) - centre(left, tiles.BLUE), [2 * CART_SCALE, 0.0], atol=1.0)
    upright, leaning = (render(env, jnp.array([0.0, 0.0, angle, 0.0])) for angle in (0.0, 0.15))
    assert centre(leaning, tiles.ORANGE)[0] - centre(upright, tiles.ORANGE)[0] == pytest.approx(
        0.5 * CART_SCALE * np.sin(0.15), abs=1.5
    )
    assert (render(env, jnp.array([0.0, 0.0, 0.3, 0.0])) == np.array(tiles.VERMILION, np.uint8)).all(-1).any(), "it has fallen"


def test_a_pendulum_stands_at_angle_zero_and_an_acrobot_hangs():
    pendulum, acrobot = envs.make("pendulum"), envs.make("acrobot")
    up, right = (centre(render(pendulum, jnp.array([angle, 0.0])), tiles.VERMILION) for angle in (0.0, np.pi / 2))
    assert up[1] < 112 - 60
    assert right[0] > 112 + 60  # clockwise
    hanging = centre(render(acrobot, jnp.zeros(4)), tiles.VERMILION)
    bent = centre(render(acrobot, jnp.array([0.0, np.pi, 0.0, 0.0])), tiles.VERMILION)
    assert hanging[1] > 112 + 60
    np.testing.assert_allclose(bent, [112, 112], atol=2)  # folded back to the joint


def test_the_last_joint_action_is_in_a_frame():
    env = envs.make("iterated_prisoners_dilemma")
    pictures = [render(env, jnp.array(joint)) for joint in ((-1, -1), (0, 1), (1, 0))]
    assert len({picture.tobytes() for picture in pictures}) == 3
    dark = [(picture == np.array(tiles.DARK, np.uint8)).all(-1) for picture in pictures]
    assert not dark[0].any()
    assert centre(pictures[1], tiles.DARK)[1] < centre(pictures[2], tiles.DARK)[1]  # the first player's action is the row


def test_stones_have_the_colours_of_their_players():
    env = envs.make("tic_tac_toe")
    _, state = env.reset(jax.random.key(0))
    state = env.step(jax.random.key(0), state, jnp.array([2, 0])).state  # the first player, top right
    picture = render(env, state)
    x, y = centre(picture, tiles.BLUE)
    assert x > picture.shape[1] / 2
    assert y < picture.shape[0] / 2


def test_prices_to_come_are_not_drawn():
    env = envs.make("single_asset")
    _, state = env.reset(jax.random.key(0))
    for t in range(5):
        state = env.step(jax.random.key(t), state, jnp.int32(4)).state
    table = env.params.table.at[:, int(state.bar) + 1 :].mul(7.0)
    other = env.replace(params=env.params.replace(table=table))
    np.testing.assert_array_equal(render(env, state), render(other, state))


# ---- charts


def test_bars_are_as_long_as_their_values():
    picture = charts.bars([1.0, -0.5, 9.0], -1.0, 1.0)
    blue, red = ((picture == np.array(colour, np.uint8)).all(-1).sum() for colour in (tiles.BLUE, tiles.VERMILION))
    assert blue / red == pytest.approx(4.0, rel=0.05)  # 1 and what is cut off at 1, against a half


def test_lines_and_boxes_cover_their_area():
    picture = np.zeros((60, 80, 3), np.uint8)
    charts.box(picture, (10.5, 10.0), (30.0, 20.5), (255, 255, 255))
    assert picture[..., 0].sum() / 255 == pytest.approx(19.5 * 10.5, rel=0.01)
    picture[:] = 0
    charts.line(picture, (20, 40), (60, 40), 4, (255, 255, 255))
    assert picture[..., 0].sum() / 255 == pytest.approx(40 * 4 + np.pi * 2**2, rel=0.02)
    charts.line(picture, (-50, -50), (-40, -40), 4, (255, 255, 255))  # outside: nothing
    assert picture[..., 0].sum() / 255 == pytest.approx(40 * 4 + np.pi * 2**2, rel=0.02)


def test_tables_show_signs_and_sizes():
    picture = charts.table(np.array([[1.0, -1.0], [0.0, 0.5]]))
    side = charts.cell_side((2, 2))
    found = picture[side // 2 :: side, side // 2 :: side].reshape(4, 3).tolist()
    assert found[:3] == [list(tiles.BLUE), list(tiles.VERMILION), [255, 255, 255]]
    assert found[3] == list(tiles.blend(tiles.WHITE, tiles.BLUE, 0.5))
