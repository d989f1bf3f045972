"""T-maze: what memory is worth."""

import itertools

import jax
import numpy as np
import pytest

from envs.gridworlds import t_maze
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


@pytest.fixture(scope="module")
def env():
    return t_maze.make(length=3)


@pytest.fixture(scope="module")
def model(env):
    return tabulate(env)


def observations(env, cue, actions):
    """Plays actions from the start with a given cue. Returns what is observed, rewards and terminations."""
    state = t_maze.State(np.int32(-1), np.int32(cue))
    seen, rewards, ends = [int(env.observe_fn(state, env.params))], [], []
    for action in actions:
        step = env.step(jax.random.key(0), state, np.int32(action))
        state = step.state
        seen.append(int(step.obs))
        rewards.append(float(step.reward))
        ends.append(bool(step.terminated))
    return seen, rewards, ends


def test_optimal_value_with_memory(env, model):
    values = oracles.horizon_values(model, env.max_steps)
    assert oracles.start_value(model, values) == 1.0


def test_optimal_value_without_memory(env, model):
    """Every deterministic policy that sees only the observation; a random one is a mixture and can do no better."""
    returns = []
    for actions in itertools.product(range(4), repeat=4):
        policy = np.eye(4)[np.asarray(actions)[model.observation]]
        returns.append(oracles.start_value(model, oracles.horizon_values(model, env.max_steps, policy)))
    assert max(returns) == 0.5


def test_cue_is_seen_only_at_the_first_step(env):
    for cue in (t_maze.CUE_DOWN, t_maze.CUE_UP):
        corridor, junction = t_maze.CORRIDOR, t_maze.JUNCTION
        assert observations(env, cue, [LEFT, UP, DOWN])[0] == [cue, corridor, corridor, corridor]
        assert observations(env, cue, [RIGHT, LEFT, LEFT])[0] == [cue, corridor, corridor, corridor]
        assert observations(env, cue, [RIGHT] * 3)[0] == [cue, corridor, corridor, junction]


@pytest.mark.parametrize(("cue", "turn"), [(t_maze.CUE_UP, UP), (t_maze.CUE_DOWN, DOWN)])
def test_turning_ends_the_episode(env, cue, turn):
    _, rewards, ends = observations(env, cue, [RIGHT, RIGHT, RIGHT, turn])
    assert (rewards, ends) == ([0, 0, 0, 1], [False, False, False, True])
    _, rewards, ends = observations(env, cue, [RIGHT, RIGHT, RIGHT, UP + DOWN - turn])
    assert (rewards, ends) == ([0, 0, 0, 0], [False, False, False, True])
    _, rewards, ends = observations(env, cue, [RIGHT, RIGHT, RIGHT, RIGHT, LEFT, RIGHT, turn])
    assert (sum(rewards), ends[-1]) == (1, True)


@pytest.mark.parametrize("parameters", [dict(length=0), dict(length=5, max_steps=5)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        t_maze.make(**parameters)
