"""EmptyRoom: what Minigrid shows in the same places, what it pays for the same moves, and the shortest ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworlds import empty_room
from envs.gridworlds.egocentric import FORWARD, TURN_RIGHT
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.value_iteration import value_iteration

OBJECTS = {0: "?", 1: ".", 2: "#", 8: "G", 10: "A"}


def drawn(image):
    return ["".join(OBJECTS[int(cell)] for cell in row) for row in np.asarray(image)[..., 0]]


def place(position, heading):
    return empty_room.State(jnp.array(position, jnp.int32), jnp.int32(heading), jnp.int32(0))


# Recorded from Minigrid 3.2.0; its images have the column first.
BOARD = ["######", "#....#", "#..A.#", "#....#", "#...G#", "######"]
LOOKING_DOWN = ["#######"] * 4 + ["##G...#", "##....#", "##....#"]
LOOKING_LEFT = ["#######"] * 3 + ["....###", "....###", "....###", "G...###"]


def test_views_are_minigrids():
    params = empty_room.make(6).params
    assert drawn(empty_room.observe_all(place((2, 3), 1), params)) == BOARD
    assert drawn(empty_room.observe_ahead(place((2, 3), 1), params)) == LOOKING_DOWN
    assert drawn(empty_room.observe_ahead(place((1, 4), 2), params)) == LOOKING_LEFT
    agent = empty_room.observe_all(place((2, 3), 1), params)[2, 3]
    np.testing.assert_array_equal(agent, [10, 0, 1])


def test_the_goal_in_five_moves_pays_what_minigrid_pays():
    env = empty_room.make(5)
    assert env.max_steps == 100
    _, state = env.reset(jax.random.key(0))
    paid, step = [], jax.jit(env.step)
    for action in (FORWARD, FORWARD, TURN_RIGHT, FORWARD, FORWARD):
        after = step(jax.random.key(0), state, jnp.int32(action))
        state, terminated = after.state, bool(after.terminated)
        paid.append(float(after.reward))
    np.testing.assert_allclose(paid, [0, 0, 0, 0, 0.955], rtol=1e-6)
    assert terminated
    onward = step(jax.random.key(0), state, jnp.int32(FORWARD))
    assert bool(onward.terminated)
    assert float(onward.reward) == 0.0
    np.testing.assert_array_equal(onward.state.position, [3, 3])


@pytest.mark.parametrize("size", [4, 5, 8])
def test_the_shortest_way_is_two_sides_and_one_turn(size):
    model = tabulate(empty_room.make(size, timed=False))
    assert model.num_states <= 4 * (size - 2) ** 2
    solved = value_iteration(model, gamma=0.9)
    assert float(model.initial @ solved.value) == pytest.approx(0.9 ** (2 * (size - 3)), abs=1e-6)


def test_anywhere_but_the_goal():
    env = empty_room.make(5, anywhere=True)
    _, state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 4000))
    drawn = np.asarray(jnp.concatenate([state.position, state.heading[:, None]], -1))
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(found) == 32
    assert not (found[:, :2] == 3).all(1).any()
    assert np.abs(counts - 125).max() < 5 * np.sqrt(125)


@pytest.mark.parametrize("wrong", [dict(size=3), dict(view="behind"), dict(max_steps=0)])
def test_what_is_refused(wrong):
    with pytest.raises(ConfigError, match="empty_room"):
        empty_room.make(**wrong)
