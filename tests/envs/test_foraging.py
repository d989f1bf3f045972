"""Foraging: single situations, random steps by a plain program, how games begin, and the exact optimum of small ones."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.markov_games import foraging
from envs.markov_games.board import MOVES
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.markov_games import for_player
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.testing.conformance import check_environment

STAY, LEFT, DOWN, RIGHT, UP, LOAD = range(6)


def stepped(env, actions, state=None):
    state = env.reset(jax.random.key(0))[1] if state is None else state
    return env.step(jax.random.key(0), state, jnp.array(actions, jnp.int32))


@pytest.mark.parametrize(
    ("agents", "food", "actions", "reward", "over"),
    [
        (((1, 0, 1), (1, 2, 1)), ((1, 1, 2),), (LOAD, LOAD), (0.5, 0.5), True),  # together
        (((1, 0, 1), (1, 2, 1)), ((1, 1, 2),), (LOAD, STAY), (0, 0), False),  # too heavy for one
        (((1, 0, 2), (1, 2, 1)), ((1, 1, 2),), (LOAD, STAY), (1, 0), True),  # not for this one
        (((1, 0, 2), (1, 2, 1)), ((1, 1, 3),), (LOAD, LOAD), (2 / 3, 1 / 3), True),  # in proportion to levels
        (((1, 0, 1), (2, 2, 1)), ((1, 1, 1),), (LOAD, LOAD), (1, 0), True),  # diagonal is not beside
        (((1, 0, 1), (3, 3, 1)), ((1, 1, 1), (2, 0, 3)), (LOAD, STAY), (0.25, 0), False),  # the first of two, worth 1 of 4
        (((1, 0, 1), (2, 1, 2)), ((1, 1, 1), (2, 0, 3)), (LOAD, LOAD), (1 / 3 / 4, 2 / 3 / 4), False),  # both lift the first
    ],
)
def test_loading(agents, food, actions, reward, over):
    step = stepped(foraging.of(4, agents, food), actions)
    np.testing.assert_allclose(step.reward, reward, atol=1e-6)
    assert bool(step.terminated) == over


def test_food_is_an_obstacle_until_collected():
    env = foraging.of(3, ((1, 0, 1), (0, 0, 1)), ((1, 1, 1), (2, 2, 9)))
    np.testing.assert_array_equal(stepped(env, [RIGHT, STAY]).state.agent[0], (1, 0))
    after = stepped(env, [LOAD, STAY])
    np.testing.assert_array_equal(after.state.food_level, [0, 9])
    np.testing.assert_array_equal(stepped(env, [RIGHT, DOWN], after.state).state.agent, [(1, 1), (1, 0)])


def by_the_rules(state, actions, size):
    """Returns agents, food levels and rewards, by loops."""
    agents, food = [tuple(each) for each in state.agent.tolist()], [tuple(each) for each in state.food.tolist()]
    left = state.food_level.tolist()
    pieces = {place for place, level in zip(food, left, strict=True) if level}
    target = []
    for place, action in zip(agents, actions, strict=True):
        there = place if action == LOAD else tuple(int(each) for each in np.clip(np.add(place, MOVES[action]), 0, size - 1))
        target.append(place if there in pieces else there)
    while True:
        held = [i for i, there in enumerate(target) if there != agents[i] and target.count(there) > 1]
        if not held:
            break
        for i in held:
            target[i] = agents[i]
    lifting = {}
    for i, (place, action) in enumerate(zip(agents, actions, strict=True)):
        near = [f for f, spot in enumerate(food) if left[f] and abs(spot[0] - place[0]) + abs(spot[1] - place[1]) == 1]
        if action == LOAD and near:
            lifting.setdefault(near[0], []).append(i)
    reward, total = [0.0] * len(agents), int(state.total)
    for piece, who in lifting.items():
        strength = sum(int(state.level[i]) for i in who)
        if strength >= left[piece]:
            for i in who:
                reward[i] += int(state.level[i]) * left[piece] / strength / total
            left[piece] = 0
    return target, left, reward


def test_random_steps_follow_the_rules():
    env = foraging.make(size=5, num_agents=4, num_food=1, max_level=3)
    step, loaded = jax.jit(env.step), 0
    rng = np.random.default_rng(0)
    for seed in range(12):
        state = jax.tree.map(np.asarray, env.reset(jax.random.key(seed))[1])
        for _ in range(150):
            actions = rng.choice(6, size=4, p=[0.05, 0.15, 0.15, 0.15, 0.15, 0.35])
            expected = by_the_rules(state, actions, 5)
            taken = jax.tree.map(np.asarray, step(jax.random.key(0), state, jnp.asarray(actions, jnp.int32)))
            np.testing.assert_array_equal(taken.state.agent, expected[0])
            np.testing.assert_array_equal(taken.state.food_level, expected[1])
            np.testing.assert_allclose(taken.reward, expected[2], atol=1e-6)
            state, loaded = taken.state, loaded + taken.reward.sum()
            if taken.terminated:
                break
    assert loaded > 3  # pieces, in 12 games


def test_how_games_begin():
    env = foraging.make(size=6, num_agents=3, num_food=2, max_level=2)
    state = jax.tree.map(np.asarray, jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 4_000))[1])
    assert ((state.food > 0) & (state.food < 5)).all()
    assert (np.abs(state.food[:, 0] - state.food[:, 1]).max(-1) > 1).all()
    cells = np.concatenate([state.agent, state.food], axis=1) @ [6, 1]
    assert all(len(set(row)) == 5 for row in cells.tolist())
    assert stats.chisquare(np.unique(state.food[:, 0] @ [6, 1], return_counts=True)[1]).pvalue > 1e-4
    assert (state.food_level <= state.level.sum(1, keepdims=True)).all()
    np.testing.assert_array_equal(np.unique(state.level, return_counts=True)[0], [1, 2])
    together = foraging.make(size=6, num_agents=3, num_food=2, max_level=2, cooperative=True)
    state = together.reset(jax.random.key(1))[1]
    np.testing.assert_array_equal(state.food_level, [int(state.level.sum())] * 2)


def test_optimum_of_a_small_game():
    """Two walk two and one cells to lift together, then load: the third step, worth 1 in all, 1/2 each."""
    env = foraging.of(3, ((0, 0, 1), (0, 2, 1)), ((2, 1, 2),))
    model = tabulate(env)
    with jax.enable_x64(True):
        values = [float(value_iteration(for_player(model, agent), 0.9).start_value(model)) for agent in range(2)]
    np.testing.assert_allclose(values, [0.5 * 0.9**2] * 2, atol=1e-6)


def test_permuting_agents_permutes_what_they_get():
    env = foraging.make(size=5, num_agents=3, num_food=1)
    state = env.reset(jax.random.key(5))[1]
    for joint, order in itertools.product([(1, 2, 5), (5, 5, 5), (3, 3, 4)], [(1, 2, 0), (2, 1, 0)]):
        order, action = jnp.array(order), jnp.array(joint)
        step = stepped(env, action, state)
        permuted = stepped(env, action[order], state._replace(agent=state.agent[order], level=state.level[order]))
        np.testing.assert_array_equal(permuted.state.agent, step.state.agent[order])
        np.testing.assert_array_equal(permuted.reward, step.reward[order])


def test_small_games_keep_the_protocol():
    env = foraging.of(2, ((0, 0, 1), (1, 0, 3)), ((1, 1, 4),))
    check_environment(env, jax.random.key(0), rebuilt=foraging.of(2, ((0, 0, 2), (0, 1, 1)), ((1, 1, 9),)))


@pytest.mark.parametrize(
    "parameters", [dict(num_agents=0), dict(size=3, num_food=2), dict(max_level=0), dict(max_steps=0), dict(size=3, num_agents=9)]
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        foraging.make(**parameters)


@pytest.mark.parametrize(("agents", "food"), [(((0, 0, 0),), ((1, 1, 1),)), (((1, 1, 1),), ((1, 1, 1),)), ((), ((1, 1, 1),))])
def test_wrong_beginnings(agents, food):
    with pytest.raises(ConfigError):
        foraging.of(3, agents, food)
