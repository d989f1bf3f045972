"""Grid games: the rules by a plain program over all states and actions, and what the equilibria earn, exactly."""

import itertools
from collections import defaultdict

import jax
import numpy as np
import pytest

from envs.markov_games import grid_game
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers import markov_games
from jaxrl.testing.conformance import check_environment

LEFT, DOWN, RIGHT, UP = range(4)
STEP = {LEFT: (0, -1), DOWN: (1, 0), RIGHT: (0, 1), UP: (-1, 0)}
GAMMA = 0.99


def by_the_rules(game, players, actions):
    """Returns ``{(players, pay, over): probability}``."""
    goals = {1: ((0, 2), (0, 0)), 2: ((0, 1), (0, 1))}[game]
    law = defaultdict(float)
    for fails in itertools.product((False, True), repeat=2):
        probability, target = 1.0, []
        for (row, column), action, fail in zip(players, actions, fails, strict=True):
            barred = game == 2 and action == UP and row == 2 and column != 1
            probability *= 0.5 if barred else 1.0 - fail
            down, right = STEP[action]
            there = (min(max(row + down, 0), 2), min(max(column + right, 0), 2))
            target.append((row, column) if fail else there)
        if probability == 0:
            continue
        if target[0] == target[1] and target[0] not in goals:
            law[tuple(players), (-1.0, -1.0), False] += probability
        else:
            pay = tuple(100.0 if each == goal else 0.0 for each, goal in zip(target, goals, strict=True))
            law[tuple(target), pay, any(pay)] += probability
    return dict(law)


@pytest.fixture(scope="module", params=[1, 2])
def game(request):
    return request.param, tabulate(grid_game.make(request.param))


def places(model, state):
    return tuple(tuple(place) for place in model.state[state].tolist())


def test_every_step_follows_the_rules(game):
    number, model = game
    goals = grid_game.GOALS[number]
    going_on = 0
    for state in range(model.num_states):
        players = places(model, state)
        if any(place == goal for place, goal in zip(players, goals, strict=True)):
            assert (model.next_state[state, :, 0] == state).all()
            assert not model.reward[state].any()
            continue
        going_on += 1
        for joint, actions in enumerate(itertools.product(range(4), repeat=2)):
            found = defaultdict(float)
            for k in np.flatnonzero(model.probability[state, joint]):
                pay, over = tuple(model.reward[state, joint, k]), bool(model.terminated[state, joint, k])
                found[places(model, model.next_state[state, joint, k]), pay, over] += model.probability[state, joint, k]
            assert found == by_the_rules(number, players, actions)
    assert going_on > 30


def test_mirrored_agents_earn_mirrored_rewards(game):
    """Exchanging the agents, left and right leaves the law of the game as it is."""
    number, model = game
    mirrored = {LEFT: RIGHT, RIGHT: LEFT, DOWN: DOWN, UP: UP}

    def law(players, actions):
        return by_the_rules(number, players, actions)

    def mirror(players):
        return tuple((row, 2 - column) for row, column in players[::-1])

    for state in range(model.num_states):
        for actions in itertools.product(range(4), repeat=2):
            one = law(places(model, state), actions)
            other = law(mirror(places(model, state)), tuple(mirrored[action] for action in actions[::-1]))
            assert other == {(mirror(to), pay[::-1], over): chance for (to, pay, over), chance in one.items()}


def policies(model, ways):
    """Returns policies [X, 2, 4] that choose as ``ways[agent]`` says, a dict from its own cell to an action; elsewhere UP."""
    chosen = np.zeros((model.num_states, 2, 4))
    for state in range(model.num_states):
        for agent, place in enumerate(places(model, state)):
            chosen[state, agent, ways[agent].get(place, UP)] = 1
    return chosen


def test_crossing_ways_are_an_equilibrium_of_game_1():
    model = tabulate(grid_game.make(1))
    ways = {(0, 0): RIGHT, (0, 1): RIGHT}, {(2, 2): LEFT, (2, 1): LEFT}
    chosen = policies(model, ways)
    with jax.enable_x64(True):
        np.testing.assert_allclose(model.initial @ markov_games.evaluate(model, chosen, GAMMA).value, 97.0299, atol=1e-6)
        np.testing.assert_allclose(markov_games.nash_conv(model, chosen, GAMMA), 0, atol=1e-6)


def test_one_goes_aside_and_one_tries_the_barrier_in_game_2():
    model = tabulate(grid_game.make(2))
    ways = {(2, 0): RIGHT}, {(0, 2): LEFT}
    chosen = policies(model, ways)
    with jax.enable_x64(True):
        # The first takes three moves for certain, the second with the first throw only.
        np.testing.assert_allclose(model.initial @ markov_games.evaluate(model, chosen, GAMMA).value, [98.01, 49.005], atol=1e-6)
        np.testing.assert_allclose(markov_games.nash_conv(model, chosen, GAMMA), 0, atol=1e-6)


def test_extreme_parameters_keep_the_protocol():
    env = grid_game.make(2, barrier=1.0, prize=0.0, collision=-1e4)
    check_environment(env, jax.random.key(0), rebuilt=grid_game.make(2))


@pytest.mark.parametrize("parameters", [dict(game=3), dict(barrier=1.5), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        grid_game.make(**parameters)
