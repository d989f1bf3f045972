"""Traffic junction: random steps by a plain program, single situations, and how often careless drivers collide, exactly."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import traffic_junction
from envs.markov_games.traffic_junction import BRAKE, GAS
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers import markov_games
from jaxrl.testing.conformance import check_environment


def state_of(cars, num_cars):
    """cars: {number: (road, place, age)}."""
    table = np.array([cars.get(i, (-1, 0, 0)) for i in range(num_cars)], np.int32)
    return traffic_junction.State(*(jnp.asarray(column) for column in table.T))


def by_the_rules(cars, actions, num_cars, length, arrival, oldest):
    """Returns the rewards, and ``{cars as sorted items: probability}``."""
    moved = {}
    for i, (road, place, age) in cars.items():
        place += actions[i] == GAS
        if place < length:
            moved[i] = (road, place, min(age + 1, oldest))
    square = {i: (length // 2, place) if road == 0 else (place, length // 2) for i, (road, place, _) in moved.items()}
    reward = [0.0] * num_cars
    for i in moved:
        crash = any(square[i] == square[j] for j in moved if j != i)
        reward[i] = -10.0 * crash - 0.01 * moved[i][2]
    law = defaultdict(float)
    for comes in itertools.product((False, True), repeat=2):
        there, chance = dict(moved), 1.0
        for road in range(2):
            chance *= arrival if comes[road] else 1 - arrival
            free = [i for i in range(num_cars) if i not in there]
            if comes[road] and free and all(car[:2] != (road, 0) for car in there.values()):
                there[free[0]] = (road, 0, 0)
        law[tuple(sorted(there.items()))] += chance
    return reward, law


def test_random_steps_follow_the_rules():
    env = traffic_junction.make(num_cars=4, length=5, arrival=0.6, max_steps=9)
    outcomes, rng = jax.jit(env.outcomes_fn), np.random.default_rng(0)
    cars, crashes, full = {}, 0, 0
    for _ in range(300):
        actions = rng.integers(2, size=4) | rng.integers(2, size=4)  # mostly gas
        reward, law = by_the_rules(cars, actions, 4, 5, 0.6, 9)
        found, table = defaultdict(float), outcomes(state_of(cars, 4), jnp.asarray(actions, jnp.int32), env.params)
        for k in range(4):
            row = np.stack([np.asarray(leaf[k]) for leaf in table.state], axis=1).tolist()
            found[tuple((i, tuple(car)) for i, car in enumerate(row) if car[0] != -1)] += float(table.probability[k])
            np.testing.assert_allclose(table.reward[k], reward, atol=1e-6)
        assert dict(found) == pytest.approx(dict(law))
        crashes, full = crashes + (min(reward) < -5), full + (len(cars) == 4)
        cars = dict(list(law)[rng.choice(len(law), p=np.array(list(law.values())) / sum(law.values()))])
    assert crashes > 10
    assert full > 10


@pytest.mark.parametrize(
    ("cars", "actions", "crash"),
    [
        ({0: (0, 2, 2), 1: (1, 2, 2)}, (GAS, GAS), (0, 1)),  # both enter the crossing
        ({0: (0, 2, 2), 1: (1, 2, 2)}, (GAS, BRAKE), ()),
        ({0: (0, 1, 2), 1: (0, 2, 2)}, (GAS, BRAKE), (0, 1)),  # from behind
        ({0: (0, 1, 2), 1: (0, 2, 2)}, (GAS, GAS), ()),
        ({0: (0, 6, 9), 1: (1, 6, 9)}, (GAS, BRAKE), ()),  # one leaves
    ],
)
def test_situations(cars, actions, crash):
    env = traffic_junction.make()
    action = jnp.array([*actions, BRAKE, BRAKE, BRAKE], jnp.int32)
    step = env.step(jax.random.key(0), state_of(cars, 5), action)
    np.testing.assert_array_equal(np.flatnonzero(step.reward < -5), crash)
    mask = np.asarray(env.action_mask(step.state))
    np.testing.assert_array_equal(mask[:, GAS], np.asarray(step.state.road) != -1)
    np.testing.assert_array_equal(np.asarray(step.obs).sum(1), 3.0 * mask[:, GAS])


def test_careless_drivers_collide_as_often_as_computed():
    """What collisions cost drivers who always give gas, from the table and from the plain program."""
    env = traffic_junction.make(num_cars=2, length=3, arrival=0.5, max_steps=4)
    model = tabulate(env)
    gas = np.zeros((model.num_states, 2, 2))
    gas[..., GAS] = 1
    there = model.state.road != -1
    gas[~there] = (1, 0)
    with jax.enable_x64(True):
        crash = np.where(model.reward < -5, -10.0, 0.0)
        value = model.initial @ markov_games.evaluate(model.replace(reward=crash), gas, 0.5, tolerance=1e-9).value
    law, expected = {(): 1.0}, 0.0
    for t in range(60):
        following = defaultdict(float)
        for cars, chance in law.items():
            reward, outcomes = by_the_rules(dict(cars), [GAS, GAS], 2, 3, 0.5, 4)
            expected += 0.5**t * chance * -10.0 * (reward[0] < -5)
            for row, share in outcomes.items():
                following[row] += chance * share
        law = following
    assert expected < -0.3
    np.testing.assert_allclose(value, [expected] * 2, atol=1e-6)


def test_renaming_cars_renames_what_they_get():
    env = traffic_junction.make(num_cars=3)
    state = state_of({0: (0, 2, 2), 1: (1, 2, 5), 2: (0, 1, 1)}, 3)
    order, action = jnp.array([2, 0, 1]), jnp.array([GAS, GAS, BRAKE], jnp.int32)
    step = env.step(jax.random.key(0), state, action)
    renamed = env.step(jax.random.key(0), traffic_junction.State(*(leaf[order] for leaf in state)), action[order])
    np.testing.assert_array_equal(renamed.reward, step.reward[order])
    np.testing.assert_array_equal(renamed.state.place, step.state.place[order])


@pytest.mark.parametrize(
    "parameters", [dict(num_cars=1, length=3, arrival=1.0), dict(num_cars=2, length=3, arrival=0.0, max_steps=4)]
)
def test_extremes_keep_the_protocol(parameters):
    check_environment(
        traffic_junction.make(**parameters), jax.random.key(0), rebuilt=traffic_junction.make(**parameters | {"arrival": 0.5})
    )


@pytest.mark.parametrize("parameters", [dict(num_cars=0), dict(length=4), dict(length=1), dict(arrival=1.5), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        traffic_junction.make(**parameters)
