"""Logarithmic Q-learning: the mapping, single steps by hand in float64, and optimal values where it must find them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import log_q_learning
from jaxrl.blocks.tiles import line_tiles
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import ConfigError, EnvError
from jaxrl.training.runner import run
from tests import oracles

GAMMA = 0.8
CONFIG = log_q_learning.Config(gamma=GAMMA, horizon=12.0)


def chain(length=6, sign=1.0, width=1):
    model = tabulate(envs.make("corridor", length=length))
    model = model.replace(reward=sign * model.reward)
    return log_q_learning.sweeps(model, line_tiles(length, width), np.eye(2, dtype=bool)[np.ones(length, int)])


def action_values(task, state, config):
    """The values [X, A] of one seed, in float64."""
    parts = np.einsum("xf,pfa->pxa", np.asarray(task.features, np.float64), np.asarray(state.weights, np.float64))
    if not config.logarithmic:
        return parts[0]
    worth = config.gamma**config.horizon * np.expm1(parts / config.scale)
    return worth[0] - worth[1]


def optimal_values(task, gamma):
    model = jax.tree.map(np.asarray, task.model)
    value = oracles.value_iteration(model, gamma)
    return (model.probability * (model.reward + gamma * ~model.terminated * value[model.next_state])).sum(-1)


def test_the_mapping_and_its_inverse():
    with jax.enable_x64(True):
        value = jnp.array([0.0, 1e-12, 1e-3, 1.0, 50.0])
        mapped = log_q_learning.to_log(value, 0.9, 0.5, 50.0)
        np.testing.assert_allclose(mapped, 0.5 * np.log((np.asarray(value) + 0.9**50) / 0.9**50), atol=1e-12)
        np.testing.assert_allclose(log_q_learning.from_log(mapped, 0.9, 0.5, 50.0), value, rtol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_deterministic_chain_ends_at_the_optimal_values(logarithmic, sign):
    """Negative rewards live in the second part: with nothing positive ahead, staying away is worth 0."""
    task, config = chain(sign=sign), CONFIG.replace(logarithmic=logarithmic, learning_rate=0.5)
    state = run(log_q_learning.make, task, config, seeds=2, num_updates=300).state
    expected = optimal_values(task, GAMMA)
    for seed in range(2):
        found = action_values(task, jax.tree.map(lambda leaf, seed=seed: leaf[seed], state), config)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_chance_is_averaged_before_the_logarithm():
    """One state that pays 0 or 1 and ends: the mean of logarithms would say far less than 1/2."""
    states, table = np.arange(2), np.zeros((2, 1, 2))
    chance, reward = table.copy(), table.copy()
    chance[0, 0], chance[1, 0, 0] = 0.5, 1.0
    reward[0, 0, 1] = 1.0
    model = TabularModel(np.ones((2, 1, 2), np.int32), chance, reward, np.ones_like(table, bool), np.eye(2)[0],
                         np.ones((2, 1), bool), states, states, (1,))  # fmt: skip
    task = log_q_learning.sweeps(model, np.eye(2), np.ones((2, 1), bool))
    np.testing.assert_array_equal(task.pairs, [[0, 0]])  # the end is not swept
    config = CONFIG.replace(averaging_rate=0.01, learning_rate=1.0)
    state = run(log_q_learning.make, task, config, seeds=64, num_updates=1000).state
    found = log_q_learning.from_log(state.weights[:, 0, 0, 0], GAMMA, config.scale, config.horizon)
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)
    plain = run(log_q_learning.make, task, CONFIG.replace(learning_rate=0.01), seeds=64, num_updates=1000).state
    found = log_q_learning.from_log(plain.weights[:, 0, 0, 0], GAMMA, config.scale, config.horizon)
    assert np.mean(found) < 0.4


@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_step_is_that_of_the_equations(logarithmic):
    """One state and action, one reward that ends the episode, wide features."""
    task = chain(length=3, width=2)
    task = task.replace(pairs=task.pairs[3:])  # right, from the middle
    config = CONFIG.replace(logarithmic=logarithmic, averaging_rate=0.7, learning_rate=0.3)
    algorithm = log_q_learning.make(task, config)
    state, metrics = jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)), jax.random.key(1))
    small, phi = GAMMA**12, np.asarray(task.features[1], np.float64)
    target = 0.5 * np.log((0.7 + small) / small) if logarithmic else 1.0
    expected = np.zeros((4, 2))
    expected[:, 1] = 0.3 * target * phi
    np.testing.assert_allclose(state.weights[0], expected, rtol=1e-5)
    assert float(metrics["td_error"]) == pytest.approx(target / (2 if logarithmic else 1), rel=1e-5)


def test_seeds_sweep_in_their_own_order():
    state = run(log_q_learning.make, chain(), CONFIG, seeds=4, num_updates=3).state
    assert len({weights.tobytes() for weights in np.asarray(state.weights)}) > 1


@pytest.mark.parametrize(
    ("changes", "must"),
    [
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"gamma": 1.0}, r"gamma must lie in \[0, 1\)"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"gamma": 0.01, "horizon": 50.0}, r"gamma \*\* horizon must be a number of float32"),
        ({"learning_rate": 1.5}, "learning_rate must lie in"),
    ],
)
def test_settings_that_cannot_run(changes, must):
    with pytest.raises(ConfigError, match=must):
        run(log_q_learning.make, chain(), CONFIG.replace(**changes), seeds=1, num_updates=1)


def test_tasks_that_do_not_fit_together():
    model = tabulate(envs.make("corridor", length=4))
    best = np.ones((4, 2), bool)
    with pytest.raises(ConfigError, match=r"features must have shape \[4, F\]"):
        log_q_learning.sweeps(model, np.eye(3), best)
    with pytest.raises(ConfigError, match="features must be finite"):
        log_q_learning.sweeps(model, np.full((4, 2), np.nan), best)
    with pytest.raises(ConfigError, match=r"best must have shape \[4, 2\]"):
        log_q_learning.sweeps(model, np.eye(4), best[:3])
    with pytest.raises(EnvError, match="one reward"):
        log_q_learning.sweeps(tabulate(envs.make("prisoners_dilemma")), np.eye(1), np.ones((1, 4), bool))
