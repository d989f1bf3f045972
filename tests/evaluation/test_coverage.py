"""Steps until states are seen: closed forms of the random walk, options that go straight, and hitting times by linear solves."""

from functools import cache

import jax
import numpy as np
import pytest

import envs
from envs.gridworlds import four_rooms
from jaxrl.blocks.options import Options
from jaxrl.core.finite import tabulate
from jaxrl.evaluation.coverage import cover_steps
from jaxrl.solvers.mdp import host

KEYS = jax.random.split(jax.random.key(0), 2048)
LENGTH = 5


@cache
def row():
    """A corridor without an end, in which two of four actions stay."""
    return tabulate(envs.make("gridworld", map=("." * LENGTH,), step=0.0))


def to_the_right():
    begins = np.arange(LENGTH) < LENGTH - 1
    policy = np.broadcast_to(np.eye(4)[2], (LENGTH, 4))
    return Options(begins[None], policy[None].astype(np.float32), np.where(begins, 0.0, 1.0).astype(np.float32)[None])


def test_the_random_walk_sees_a_corridor_in_the_steps_of_the_closed_form():
    """2 n (n - 1) from an end to the other one: every second step goes nowhere."""
    steps = np.asarray(cover_steps(KEYS, row(), to_the_right(), 0.0, 0, 1.0, 10_000))
    assert abs(steps.mean() - 2 * LENGTH * (LENGTH - 1)) < 4 * steps.std() / np.sqrt(len(steps))
    fewer = np.asarray(cover_steps(KEYS, row(), to_the_right(), 0.0, 0, 0.8, 10_000))
    assert abs(fewer.mean() - 2 * (LENGTH - 1) * (LENGTH - 2)) < 4 * fewer.std() / np.sqrt(len(steps))


def test_an_option_is_followed_to_its_end():
    """Once begun it goes straight; until then, at rate 1/2, the agent stands in the first cell."""
    assert (np.asarray(cover_steps(KEYS, row(), to_the_right(), 1.0, 0, 1.0, 100)) == LENGTH - 1).all()
    steps = np.asarray(cover_steps(KEYS, row(), to_the_right(), 0.5, 0, 1.0, 100))
    # In cell x: h(x) = 1/2 (n - 1 - x) + 1/2 (1 + h(x) / 2 + (h(x - 1) + h(x + 1)) / 4), staying at the first cell.
    system, right = np.eye(LENGTH), np.zeros(LENGTH)
    for x in range(LENGTH - 1):
        right[x] = 0.5 * (LENGTH - 1 - x) + 0.5
        for y, chance in ((x, 0.5), (max(x - 1, 0), 0.25), (x + 1, 0.25)):
            system[x, y] -= 0.5 * chance
    expected = np.linalg.solve(system, right)[0]
    assert abs(steps.mean() - expected) < 4 * steps.std() / np.sqrt(len(steps))


def test_too_few_steps_are_infinite_and_the_first_state_is_seen():
    assert np.isinf(cover_steps(KEYS[:3], row(), to_the_right(), 1.0, 0, 1.0, LENGTH - 2)).all()
    assert (np.asarray(cover_steps(KEYS[:3], row(), to_the_right(), 1.0, 0, 0.2, 10)) == 0).all()


def test_after_an_episode_the_agent_begins_again():
    """Option or not, the first cells of a corridor that ends at its last one are only seen by going left."""
    model = tabulate(envs.make("gridworld", map=("..S.G",), step=0.0))
    start = int(np.flatnonzero(model.observation == 2)[0])
    options = to_the_right().at(model.observation)
    assert (np.asarray(cover_steps(KEYS[:3], model, options, 1.0, start, 0.6, 100)) == 2).all()
    assert np.isinf(cover_steps(KEYS[:3], model, options, 1.0, start, 0.8, 100)).all()
    steps = np.asarray(cover_steps(KEYS[:64], model, options, 0.0, start, 1.0, 10_000))
    assert np.isfinite(steps).all()
    assert steps.min() >= 4, "right, back at the start, left"


def test_the_random_walk_from_corner_to_corner_of_the_four_rooms():
    model = tabulate(four_rooms.make())
    uniform = np.full((model.num_states, 4), 0.25)
    steps = model.initial @ host.evaluate(model.replace(reward=np.ones_like(model.reward)), uniform, 1.0).value
    moves = np.zeros((model.num_states, model.num_states))
    for x, a, k in np.ndindex(model.next_state.shape):
        moves[x, model.next_state[x, a, k]] += 0.25 * model.probability[x, a, k] * (not model.terminated[x, a, k])
    independent = model.initial @ np.linalg.solve(np.eye(model.num_states) - moves, np.ones(model.num_states))
    assert steps == pytest.approx(independent, rel=1e-12)
    assert steps == pytest.approx(1148.34, abs=0.005)
