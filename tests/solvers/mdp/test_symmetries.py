"""Symmetries: exact ones, broken ones against loops and matrices, and a bound that holds and can be reached."""

import dataclasses

import jax
import numpy as np
import pytest

import envs
from envs.gridworlds import windy_torus
from envs.random_mdps import random_mdp
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp.symmetries import asymmetry
from tests import oracles

GAMMA = 0.9


def drawn(seed):
    return random_mdp.exact_table(random_mdp.garnet(jax.random.key(seed), 7, 3))


def dense(model):
    """Returns transitions float64[X, A, X + 1], the last state being the end, and expected rewards, by loops."""
    states, actions, outcomes = model.next_state.shape
    matrix, reward = np.zeros((states, actions, states + 1)), np.zeros((states, actions))
    for s, a, k in np.ndindex(states, actions, outcomes):
        p = float(model.probability[s, a, k])
        matrix[s, a, states if model.terminated[s, a, k] else model.next_state[s, a, k]] += p
        reward[s, a] += p * float(model.reward[s, a, k])
    return matrix, reward


@pytest.mark.parametrize("seed", range(4))
def test_gaps_are_those_of_matrices_and_the_bound_holds(seed):
    model, rng = drawn(seed), np.random.default_rng(seed)
    states, actions = rng.permutation(7), rng.permutation(3)
    found = asymmetry(model, states, actions, GAMMA)
    matrix, reward = dense(model)
    back = matrix[np.ix_(states, actions)][..., [*states, 7]]  # what is reached from (g s, g a), taken back by g
    assert found.reward == pytest.approx(np.abs(reward - reward[np.ix_(states, actions)]).max(), abs=1e-12)
    assert found.transition == pytest.approx(np.abs(matrix - back).sum(-1).max() / 2, abs=1e-12)
    value = oracles.value_iteration(model, GAMMA)
    best = reward + GAMMA * matrix[..., :-1] @ value
    assert found.action_value == pytest.approx(np.abs(best - best[np.ix_(states, actions)]).max(), abs=1e-9)
    assert 0 < found.action_value <= found.bound


@pytest.mark.parametrize("seed", range(2))
def test_a_model_beside_its_mirror_image_is_symmetric(seed):
    """The exchange of the two is a symmetry, until one of them is paid more."""
    model = drawn(seed)
    count, mirror = model.num_states, np.array([1, 0, 2])

    def beside(leaf, other):
        return np.concatenate([leaf, other])

    both = dataclasses.replace(
        model,
        next_state=beside(model.next_state, model.next_state[:, mirror] + count),
        probability=beside(model.probability, model.probability[:, mirror]),
        reward=beside(model.reward, model.reward[:, mirror]),
        terminated=beside(model.terminated, model.terminated[:, mirror]),
        initial=beside(model.initial, model.initial) / 2,
        action_mask=beside(model.action_mask, model.action_mask),
        observation=np.arange(2 * count),
        state=np.arange(2 * count),
    )
    exchange = np.r_[count : 2 * count, :count]
    found = asymmetry(both, exchange, mirror, GAMMA)
    assert max(found.reward, found.transition, found.bound) < 1e-12
    assert found.action_value <= found.error
    paid = dataclasses.replace(both, reward=both.reward + (np.arange(2 * count) < count)[:, None, None])
    found = asymmetry(paid, exchange, mirror, GAMMA)
    assert found.reward == pytest.approx(1.0)
    assert found.action_value == pytest.approx(10.0) == found.bound


def test_the_bound_can_be_reached():
    """Two states that keep to themselves and pay 0 and 1: the gap is eps_R / (1 - gamma)."""
    model = drawn(0)
    two = dataclasses.replace(
        model,
        next_state=np.array([[[0]], [[1]]]),
        probability=np.ones((2, 1, 1)),
        reward=np.array([[[0.0]], [[1.0]]]),
        terminated=np.zeros((2, 1, 1), bool),
        initial=np.array([1.0, 0.0]),
        action_mask=np.ones((2, 1), bool),
        observation=np.arange(2),
        state=np.arange(2),
        joint_shape=(1,),
    )
    found = asymmetry(two, [1, 0], [0], GAMMA)
    assert (found.reward, found.transition) == (1.0, 0.0)
    assert found.action_value == pytest.approx(10.0) == found.bound


def test_the_wind_breaks_the_turns_of_a_torus_by_its_probability():
    for wind in (0.0, 0.3):
        model = tabulate(envs.make("windy_torus", size=5, wind=wind))
        for quarters in (1, 2, 3):
            found = asymmetry(model, *windy_torus.turned(model, quarters), GAMMA)
            if wind == 0:
                assert found.reward == found.transition == found.bound == 0
                assert found.action_value <= found.error + 1e-12
            else:
                assert found.transition == pytest.approx(wind, abs=1e-6)
                assert 0.01 < found.action_value <= found.bound


@pytest.mark.parametrize(
    ("states", "actions", "gamma", "message"),
    [
        (range(7), [0, 1, 2], 1.0, "gamma"),
        ([0, 0, 1, 2, 3, 4, 5], [0, 1, 2], 0.9, r"states must be a permutation of 0 \.\. 6"),
        (range(7), [0, 1], 0.9, r"actions must be a permutation of 0 \.\. 2"),
        (range(7), [0.0, 1.0, 2.0], 0.9, "actions must be a permutation"),
    ],
)
def test_wrong_arguments(states, actions, gamma, message):
    with pytest.raises(ConfigError, match=message):
        asymmetry(drawn(0), list(states), actions, gamma)


def test_forbidden_actions_must_stay_forbidden():
    model = drawn(0)
    mask = np.ones((7, 3), bool)
    mask[0, 0] = False
    with pytest.raises(EnvError, match="legal actions to legal ones"):
        asymmetry(dataclasses.replace(model, action_mask=mask), np.arange(7), np.array([1, 2, 0]), GAMMA)
