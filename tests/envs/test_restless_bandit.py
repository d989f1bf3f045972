"""Restless bandit: Whittle indices against brute force, index policies against exact solutions, both ways of acting."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import restless_bandit
from envs.bandits.whittle import whittle_index
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, SolverError
from tests import oracles

# Found by drawing arms of three states at random; there is none of two states among twenty thousand.
NOT_INDEXABLE = (
    (
        ((0.8, 0.1, 0.1), (0.0, 1.0, 0.0), (0.0, 1.0, 0.0)),  # left alone
        ((0.5, 0.5, 0.0), (0.0, 0.0, 1.0), (0.9, 0.0, 0.1)),  # acted on
    ),
    ((0.4, 0.1, 0.7), (0.2, 0.8, 0.9)),
    0.99,
)


def advantage_of_leaving(transition, reward, gamma, subsidy):
    """Returns Q(s, leave) - Q(s, act) of one arm by value iteration, for each of L subsidies, float64[L, n]."""
    leaving = reward[0] + np.asarray(subsidy, np.float64)[:, None]
    value = np.zeros_like(leaving)
    for _ in range(100_000):
        leave, act = leaving + gamma * value @ transition[0].T, reward[1] + gamma * value @ transition[1].T
        previous, value = value, np.maximum(leave, act)
        if np.abs(value - previous).max() < 1e-13:
            break
    return leave - act


def random_arm(seed, n):
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(n), size=(2, n)), random.random((2, n))


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_index_is_the_subsidy_of_indifference(seed, n):
    """At its index both actions are equally good in a state; below it acting is better, above it leaving is."""
    transition, reward = random_arm(seed, n)
    index, indexable, _ = whittle_index(transition, reward, 0.9)
    assert indexable
    np.testing.assert_allclose(np.diag(advantage_of_leaving(transition, reward, 0.9, index)), 0.0, atol=1e-10)
    subsidies = np.linspace(-2, 2, 41)
    leaves = advantage_of_leaving(transition, reward, 0.9, subsidies) > 0
    np.testing.assert_array_equal(leaves, subsidies[:, None] > index)


def test_index_where_acting_moves_nothing():
    """Then it is what acting pays more at once."""
    transition, reward = random_arm(0, 3)
    transition[1] = transition[0]
    np.testing.assert_allclose(whittle_index(transition, reward, 0.95).index, reward[1] - reward[0], atol=1e-9)


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9])
@pytest.mark.parametrize("paid_for_both", [0.0, 1e3])
def test_the_index_is_in_the_unit_of_the_reward(unit, paid_for_both):
    transition, reward = random_arm(1, 3)
    expected = whittle_index(transition, reward, 0.9).index
    found = whittle_index(transition, unit * (reward + paid_for_both), 0.9)
    assert found.indexable
    np.testing.assert_allclose(found.index / unit, expected, rtol=1e-9)
    assert found.residual.max() <= 1e-12 * unit


def test_an_arm_without_an_index_is_found_out():
    """In this arm leaving is optimal in some state at one subsidy and not at a larger one."""
    transition, reward, gamma = NOT_INDEXABLE
    transition, reward = np.array(transition), np.array(reward)
    index, indexable, _ = whittle_index(transition, reward, gamma)
    assert not indexable
    assert np.isnan(index).all()
    leaves = advantage_of_leaving(transition, reward, gamma, np.linspace(-3, 3, 601)) > 1e-9
    assert (leaves[:-1] & ~leaves[1:]).any()


def index_policy(arms, model, budget, gamma):
    """Returns the policy [X, C] that acts on the arms with the largest indices, as numbered in the environment."""
    indices = restless_bandit.whittle_indices(arms, gamma)
    assert all(arm.indexable for arm in indices)
    table = np.array([arm.index for arm in indices])
    sets = list(itertools.combinations(range(len(table)), budget))
    states = np.asarray(model.state)
    policy = np.zeros((model.num_states, len(sets)))
    for row, state in enumerate(states):
        now = table[np.arange(len(table)), state]
        policy[row, np.argmax([now[list(chosen)].sum() for chosen in sets])] = 1
    return policy


@pytest.mark.parametrize("seed", range(4))
def test_index_policy_is_optimal_for_arms_that_rest(seed):
    """Arms that neither move nor pay when left alone: the index is Gittins' and the policy is exactly optimal."""
    random = np.random.default_rng(seed)
    good, reward = random.random((3, 2, 2)), random.random((3, 2, 2))
    good[:, 0], reward[:, 0] = [0.0, 1.0], 0.0
    arms = restless_bandit.Arms(*(jnp.asarray(x, jnp.float32) for x in (good, reward, [0.3, 0.5, 0.9])))
    model = tabulate(restless_bandit.of(arms))
    optimal = oracles.value_iteration(model, 0.9)
    values = oracles.policy_values(model, index_policy(arms, model, 1, 0.9), 0.9)
    np.testing.assert_allclose(values, optimal, atol=1e-9)


def test_index_policy_is_nearly_optimal():
    """On ten random bandits of four arms with a budget of two it loses less than 2 % on average; acting at random loses more."""
    ratios, random_ratios = [], []
    for seed in range(10):
        arms = restless_bandit.draw(jax.random.key(seed), 4)
        model = tabulate(restless_bandit.of(arms, budget=2))
        assert model.num_states == 16
        optimal = oracles.start_value(model, oracles.value_iteration(model, 0.9))
        values = oracles.policy_values(model, index_policy(arms, model, 2, 0.9), 0.9)
        ratios.append(oracles.start_value(model, values) / optimal)
        random_ratios.append(oracles.start_value(model, oracles.policy_values(model, oracles.uniform(model), 0.9)) / optimal)
    assert max(ratios) <= 1 + 1e-9
    assert np.mean(ratios) > 0.98
    assert np.mean(random_ratios) < np.mean(ratios) - 0.02


def test_value_of_arms_left_alone_is_the_sum_of_theirs():
    """With acting the same as leaving, the joint value is the sum of the values of single arms, by a linear solve each."""
    arms = restless_bandit.draw(jax.random.key(5), 3)
    arms = arms.replace(good=arms.good.at[:, 1].set(arms.good[:, 0]))
    model = tabulate(restless_bandit.of(arms))
    good, total = np.asarray(arms.good, np.float64)[:, 0], 0.0
    for arm in range(3):
        transition = np.stack([1 - good[arm], good[arm]], -1)
        total += np.array([0.5, 0.5]) @ np.linalg.solve(np.eye(2) - 0.9 * transition, [0.0, 1.0])
    assert oracles.start_value(model, oracles.value_iteration(model, 0.9)) == pytest.approx(total, rel=1e-6)


def test_acting_by_priority_moves_the_arms_as_the_table_says():
    """Each arm's chance of state 1 next against its table, by frequencies: all within 4.5 standard errors."""
    arms = restless_bandit.draw(jax.random.key(2), 6)
    env = restless_bandit.by_priority(arms, budget=2)
    state, priority = jnp.array([0, 1, 0, 1, 0, 1], jnp.int32), jnp.array([0.1, 5.0, -1.0, 0.0, 2.0, 1.0])
    acted = np.array([0, 1, 0, 0, 1, 0])
    count = 20_000
    step = jax.jit(jax.vmap(env.step, in_axes=(0, None, None)))(jax.random.split(jax.random.key(3), count), state, priority)
    chance = np.asarray(arms.good, np.float64)[np.arange(6), acted, np.asarray(state)]
    error = np.sqrt(chance * (1 - chance) / count)
    assert (np.abs(np.asarray(step.state).mean(0) - chance) < 4.5 * error).all()
    np.testing.assert_allclose(step.reward, 3.0)  # three good arms
    np.testing.assert_array_equal(step.obs, step.state)


def test_drawn_arms_are_helped_by_acting_and_by_a_good_state():
    good = np.asarray(restless_bandit.draw(jax.random.key(0), 500).good)
    assert (good[:, 1] >= good[:, 0]).all()
    assert (good[:, :, 1] >= good[:, :, 0]).all()
    assert 0.4 < np.mean(good[:, 0, 1] > good[:, 1, 0]) < 0.6
    indices = restless_bandit.whittle_indices(restless_bandit.draw(jax.random.key(0), 50), 0.95)
    assert all(arm.indexable and (arm.index >= 0).all() for arm in indices)


def test_sets_are_all_of_the_budget():
    env = restless_bandit.make(num_arms=5, budget=2)
    assert env.action_space.n == 10
    np.testing.assert_array_equal(np.asarray(env.params.sets).sum(1), 2)
    assert len(np.unique(np.asarray(env.params.sets), axis=0)) == 10


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(num_arms=0), "num_arms"),
        (dict(num_arms=11), "at most 10"),
        (dict(budget=5), "budget"),
        (dict(max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        restless_bandit.make(**parameters)


@pytest.mark.parametrize(
    ("transition", "reward", "gamma", "message"),
    [
        (np.ones((2, 2, 2)), np.ones((2, 2)), 0.9, "must sum to 1"),
        (np.ones((2, 3, 2)) / 2, np.ones((2, 2)), 0.9, r"\[2, n, n\]"),
        (np.ones((2, 2, 2)) / 2, np.ones((2, 2)), 1.0, "gamma"),
        (np.ones((2, 7, 7)) / 7, np.ones((2, 7)), 0.9, "at most 6 states"),
    ],
)
def test_wrong_arms(transition, reward, gamma, message):
    with pytest.raises(ConfigError, match=message):
        whittle_index(transition, reward, gamma)


def test_an_index_that_rounding_hides_is_refused():
    """States that stay: the index of each is what acting pays there, which a reward of 3e11 leaves no digits for."""
    transition = np.broadcast_to(np.eye(4), (2, 4, 4))
    with pytest.raises(SolverError, match="equally good at the index"):
        whittle_index(transition, np.array([[0.0] * 4, [1.0, 2.0, 1e11, 3e11]]), 0.9)
