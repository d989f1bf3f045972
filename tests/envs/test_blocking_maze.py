"""Blocking maze: the opening moves at its time, unseen, and the goal leads back to the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworlds import blocking_maze
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, UnknownNameError
from tests import oracles

RIGHT_WAY = [RIGHT] * 5 + [UP] * 5
LEFT_WAY = [LEFT] * 3 + [UP] * 3 + [RIGHT] * 8 + [UP] * 2


def walk(env, actions):
    """Returns the cells reached, the rewards and the terminations."""
    _, state = env.reset(jax.random.key(0))

    def step(state, action):
        after = env.step(jax.random.key(0), state, action)
        return after.state, (after.obs, after.reward, after.terminated)

    return jax.tree.map(np.asarray, jax.lax.scan(step, state, jnp.array(actions, jnp.int32))[1])


@pytest.mark.parametrize(("opening", "steps"), [("right", 10), ("left", 16), ("both", 10)])
def test_shortest_way(opening, steps):
    model = tabulate(blocking_maze.make(opening))
    assert oracles.start_value(model, oracles.value_iteration(model, 0.95)) == pytest.approx(0.95 ** (steps - 1), abs=1e-9)


@pytest.mark.parametrize(("opening", "way"), [("right", RIGHT_WAY), ("left", LEFT_WAY)])
def test_the_goal_ends_the_episode_without_a_switch(opening, way):
    cells, reward, terminated = walk(blocking_maze.make(opening), [*way, DOWN, DOWN])
    assert reward.tolist() == [0.0] * (len(way) - 1) + [1.0, 0.0, 0.0]
    assert terminated.tolist() == [False] * (len(way) - 1) + [True] * 3
    assert cells[-1] == 8


def test_the_opening_moves_after_the_switch():
    """Two walks to the goal take 20 steps; after them the right way ends below the wall, and the left way is open."""
    env = blocking_maze.make(switch_at=20)
    cells, reward, terminated = walk(env, RIGHT_WAY + RIGHT_WAY + RIGHT_WAY)
    start = 5 * 9 + 3
    assert np.flatnonzero(reward).tolist() == [9, 19]
    assert cells[[9, 19]].tolist() == [start, start]
    assert cells[-1] == 4 * 9 + 8  # stopped below what was the opening
    assert not terminated.any()
    _, reward, _ = walk(env, RIGHT_WAY + RIGHT_WAY + LEFT_WAY)
    assert np.flatnonzero(reward).tolist() == [9, 19, 35]


def test_the_last_step_before_the_switch_still_goes_through():
    """From below the opening, the move with the clock at switch_at - 1 passes and the next one would not."""
    way = [RIGHT] * 5 + [UP, UP]
    assert walk(blocking_maze.make(switch_at=7), way)[0][-1] == 3 * 9 + 8
    assert walk(blocking_maze.make(switch_at=6), way)[0][-1] == 4 * 9 + 8


def test_the_time_is_hidden():
    model = tabulate(blocking_maze.make(switch_at=3))
    assert model.num_states > len(set(model.observation.tolist()))


@pytest.mark.parametrize("parameters", [dict(switch_at=0), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="blocking_maze"):
        blocking_maze.make(**parameters)


def test_unknown_opening_names_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'right'"):
        blocking_maze.make("rigth")
