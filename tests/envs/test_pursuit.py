"""Pursuit: its rules by a plain program, and the exact capture times."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import pursuit
from envs.markov_games.board import MOVES
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers import markov_games
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.testing.conformance import check_environment


@pytest.fixture(scope="module")
def model():
    return tabulate(pursuit.make())


def start_value(model, values):
    return float(model.initial @ np.asarray(values))


def test_other_sizes_keep_the_protocol():
    check_environment(pursuit.make(3), jax.random.key(0), rebuilt=pursuit.make(3))


def test_number_of_states(model):
    assert model.num_states == 625
    assert (model.initial > 0).sum() == 600  # all but those in which both of the five near cells are taken


def test_optimal_capture_time(model):
    """Without discount, the value of a state is minus the steps until the capture."""
    with jax.enable_x64(True):
        planned = value_iteration(markov_games.for_player(model, 0), 1.0, tolerance=1e-12)
    assert start_value(model, planned.value) == pytest.approx(-3.121267, abs=1e-6)


def test_capture_time_of_random_predators(model):
    policies = np.full((model.num_states, 2, 5), 0.2)
    with jax.enable_x64(True):
        value = np.asarray(markov_games.evaluate(model, policies, 1.0, tolerance=1e-10).value)
    assert start_value(model, value[:, 0]) == pytest.approx(-33.801972, abs=1e-6)
    np.testing.assert_allclose(value[:, 0], value[:, 1])


def test_steps_follow_the_rules():
    """Against positions on the torus themselves, for every move of all three from random positions."""
    random, size = np.random.default_rng(0), 5
    env = pursuit.make(size)
    outcomes = jax.jit(env.outcomes_fn)
    for _ in range(20):
        hunters, prey = random.integers(size, size=(2, 2)), random.integers(size, size=2)
        gap = np.abs(hunters - prey)
        if (np.minimum(gap, size - gap).sum(-1) <= 1).all():
            continue
        action = random.integers(5, size=2)
        state = jnp.asarray((hunters - prey) % size, jnp.int32)
        found = outcomes(state, jnp.asarray(action, jnp.int32), env.params)
        for move, moved in enumerate(MOVES):
            offset = (hunters + MOVES[action] - prey - moved) % size
            near = np.minimum(offset, size - offset).sum(-1) <= 1
            np.testing.assert_array_equal(found.state[move], offset)
            assert bool(found.terminated[move]) == near.all()
        np.testing.assert_array_equal(found.reward, -1)


def test_observation_is_that_of_the_predator():
    env = pursuit.make(4)
    for state in itertools.product(range(4), repeat=4):
        first, second = np.array(state).reshape(2, 2)
        obs = np.asarray(env.observe_fn(jnp.asarray([first, second], jnp.int32), env.params)).reshape(2, 4, 4)
        assert (obs.sum(-1) == 1).all()
        np.testing.assert_array_equal(obs.argmax(-1)[0], [*(-first % 4), *((second - first) % 4)])
        np.testing.assert_array_equal(obs.argmax(-1)[1], [*(-second % 4), *((first - second) % 4)])


@pytest.mark.parametrize("parameters", [dict(size=2), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        pursuit.make(**parameters)
