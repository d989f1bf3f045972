"""DoorKey: what Minigrid shows in the same places, the rules move by move, and shortest ways by another search."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworlds import doorkey
from envs.gridworlds.doorkey import DROP, PICK_UP, TOGGLE
from envs.gridworlds.egocentric import CLOSED, FORWARD, LOCKED, OPEN, TURN_LEFT, TURN_RIGHT
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError

OBJECTS = {0: "?", 1: ".", 2: "#", 4: "D", 5: "K", 8: "G", 10: "A"}
CARRIED = (-1, -1)


def place(position, heading, key, door, wall, doorway):
    values = (position, heading, key, door, wall, doorway, 0)
    return doorkey.State(*(jnp.asarray(value, jnp.int32) for value in values))


def drawn(image):
    return ["".join(OBJECTS[int(cell)] for cell in row) for row in np.asarray(image)[..., 0]]


# Recorded from Minigrid 3.2.0: size, state, board and view; its images have the column first.
RECORDED = [
    (
        6,
        place((3, 1), 3, (3, 2), LOCKED, 3, 1),
        ["######", "#..D.#", "#..#.#", "#AK#.#", "#..#G#", "######"],
        ["???????", "???????", "???????", "??####?", "??#..D?", "??#..#?", "??#.K#?"],
    ),
    (
        6,
        place((1, 2), 0, CARRIED, OPEN, 3, 1),
        ["######", "#.AD.#", "#..#.#", "#..#.#", "#..#G#", "######"],
        ["???????", "???????", "???????", "??#####", "??#...G", "??#D###", "??#K..."],
    ),
    (
        8,
        place((1, 6), 1, CARRIED, OPEN, 3, 1),
        ["########", "#..D..A#", "#..#...#", "#..#...#", "#..#...#", "#..#...#", "#..#..G#", "########"],
        ["??#####", "??#G..#", "??#...#", "??#...#", "??#...#", "??#...#", "??#K..D"],
    ),
    (
        8,
        place((3, 4), 0, CARRIED, CLOSED, 5, 3),
        ["########", "#....#.#", "#....#.#", "#...AD.#", "#....#.#", "#....#.#", "#....#G#", "########"],
        ["???????"] * 5 + ["###D###", "#..K..."],
    ),
    (
        8,
        place((3, 3), 1, (4, 3), OPEN, 2, 3),
        ["########", "#.#....#", "#.#....#", "#.DA...#", "#.#K...#", "#.#....#", "#.#...G#", "########"],
        ["???????", "???????", "#######", "G...#.#", "....#.#", "...K#.#", "....D.#"],
    ),
]


@pytest.mark.parametrize(("size", "state", "board", "view"), RECORDED)
def test_views_are_minigrids(size, state, board, view):
    params = doorkey.make(size).params
    everything, ahead = doorkey.observe_all(state, params), doorkey.observe_ahead(state, params)
    assert drawn(everything) == board
    assert drawn(ahead) == view
    # Codes beside the object: walls grey 5, goal green 1, key and door yellow 4, the door's state, the agent's heading.
    codes = {int(cell[0]): (int(cell[1]), int(cell[2])) for cell in np.asarray(everything).reshape(-1, 3)}
    expected = {1: (0, 0), 2: (5, 0), 4: (4, int(state.door)), 8: (1, 0), 10: (0, int(state.heading))}
    assert codes == expected | ({5: (4, 0)} if int(state.key[0]) >= 0 else {})


def test_a_game_move_by_move():
    """Key above the agent, door to its right: turn left to see the key, take it, go up ... and the rules on the way."""
    env = doorkey.make(5)
    step = jax.jit(env.step)
    state = place((2, 1), 0, (1, 1), LOCKED, 2, 2)
    script = [  # action -> position, heading, key, door
        (FORWARD, (2, 1), 0, (1, 1), LOCKED),  # a locked door stops
        (TOGGLE, (2, 1), 0, (1, 1), LOCKED),  # without the key it stays locked
        (PICK_UP, (2, 1), 0, (1, 1), LOCKED),  # a door cannot be taken
        (TURN_LEFT, (2, 1), 3, (1, 1), LOCKED),
        (FORWARD, (2, 1), 3, (1, 1), LOCKED),  # a key stops
        (PICK_UP, (2, 1), 3, CARRIED, LOCKED),
        (DROP, (2, 1), 3, (1, 1), LOCKED),
        (PICK_UP, (2, 1), 3, CARRIED, LOCKED),
        (TURN_RIGHT, (2, 1), 0, CARRIED, LOCKED),
        (DROP, (2, 1), 0, CARRIED, LOCKED),  # not onto the door
        (TOGGLE, (2, 1), 0, CARRIED, OPEN),
        (TOGGLE, (2, 1), 0, CARRIED, CLOSED),
        (FORWARD, (2, 1), 0, CARRIED, CLOSED),
        (TOGGLE, (2, 1), 0, CARRIED, OPEN),
        (FORWARD, (2, 2), 0, CARRIED, OPEN),
        (FORWARD, (2, 3), 0, CARRIED, OPEN),
        (DROP, (2, 3), 0, CARRIED, OPEN),  # not onto a wall
        (TURN_RIGHT, (2, 3), 1, CARRIED, OPEN),
        (DROP, (2, 3), 1, CARRIED, OPEN),  # not onto the goal
        (FORWARD, (3, 3), 1, CARRIED, OPEN),
    ]
    for t, (action, position, heading, key, door) in enumerate(script, 1):
        after = step(jax.random.key(0), state, jnp.int32(action))
        state = after.state
        found = (tuple(state.position.tolist()), int(state.heading), tuple(state.key.tolist()), int(state.door))
        assert found == (position, heading, key, door), t
        assert bool(after.terminated) == (t == len(script))
        expected = 1 - 0.9 * t / 250 if t == len(script) else 0.0
        assert float(after.reward) == pytest.approx(expected, abs=1e-6)
    again = step(jax.random.key(0), state, jnp.int32(FORWARD))
    assert bool(again.terminated)
    assert float(again.reward) == 0.0


def shortest(size, wall, doorway, heading, agent, key):
    """Breadth-first search over (position, heading, key carried, door open), written without the environment.

    Dropping the key, or closing the door, never shortens the way, so neither is searched.
    """
    goal, headings = (size - 2, size - 2), [(0, 1), (1, 0), (0, -1), (-1, 0)]
    queue, seen = deque([(agent, heading, False, False, 0)]), set()
    while queue:
        here, heading, carries, opened, steps = queue.popleft()
        if here == goal:
            return steps
        if (here, heading, carries, opened) in seen:
            continue
        seen.add((here, heading, carries, opened))
        front = here[0] + headings[heading][0], here[1] + headings[heading][1]
        queue.append((here, (heading + 1) % 4, carries, opened, steps + 1))
        queue.append((here, (heading - 1) % 4, carries, opened, steps + 1))
        if front == key and not carries:
            queue.append((here, heading, True, opened, steps + 1))
        elif front == (doorway, wall) and not opened:
            if carries:
                queue.append((here, heading, carries, True, steps + 1))
        elif 0 < front[0] < size - 1 and 0 < front[1] < size - 1 and (front[1] != wall or front[0] == doorway):
            queue.append((front, heading, carries, opened, steps + 1))
    return -1


@pytest.mark.parametrize(("size", "starts", "states"), [(5, 48, 540), (6, 816, 7254)])
def test_shortest_ways(size, starts, states):
    model = tabulate(doorkey.make(size, timed=False))
    assert model.num_states == states
    lengths, first = doorkey.optimal_lengths(model), np.flatnonzero(model.initial)
    assert len(first) == starts
    state = model.state
    for index in first:
        agent, key = tuple(state.position[index].tolist()), tuple(state.key[index].tolist())
        layout = (int(each[index]) for each in (state.wall, state.doorway, state.heading))
        assert lengths[index] == shortest(size, *layout, agent, key)


def test_layouts_are_as_frequent_as_said():
    """Columns of the wall alike, whatever the number of layouts behind each."""
    model = tabulate(doorkey.make(6, timed=False))
    walls = np.bincount(model.state.wall, model.initial)
    np.testing.assert_allclose(walls[2:4], 0.5)
    _, state = jax.jit(jax.vmap(doorkey.make(8).reset))(jax.random.split(jax.random.key(0), 4000))
    count = np.bincount(np.asarray(state.wall), minlength=7)[2:6]
    assert np.all(np.abs(count - 1000) < 5 * np.sqrt(750))  # five standard deviations
    assert set(np.asarray(state.doorway).tolist()) == {1, 2, 3, 4, 5}
    assert not np.any((np.asarray(state.position) == np.asarray(state.key)).all(-1))
    assert np.all(np.asarray(state.key)[:, 1] < np.asarray(state.wall))


def test_time_makes_it_infinite_and_takes_from_the_reward():
    assert not doorkey.make(5).is_finite
    assert doorkey.make(5, timed=False).is_finite
    assert doorkey.make(8).max_steps == 640


@pytest.mark.parametrize("parameters", [dict(size=4), dict(view="behind"), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="doorkey"):
        doorkey.make(**parameters)
