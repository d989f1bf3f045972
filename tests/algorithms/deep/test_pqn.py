"""PQN: the probes with exact values, its returns against those of single sequences, masks, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

import envs
from jaxrl.algorithms.deep import pqn
from jaxrl.core import rollout
from jaxrl.core.rollout import View
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.training.runner import run
from tests import probes

GAMMA = 0.8
CONFIG = pqn.Config(
    learning_rate=3e-3,
    gamma=GAMMA,
    lambda_=0.5,
    epsilon_end=0.5,
    epsilon_steps=500.0,
    num_envs=8,
    num_steps=6,
    num_epochs=2,
    num_minibatches=2,
    hidden=(16,),
)


def trained(env, num_updates=250, **changes):
    config = CONFIG.replace(**changes)
    return config, run(pqn.make, env, config, seeds=4, num_updates=num_updates, chunk_length=num_updates)


def values(env, config, done, obs):
    network = pqn.q_network(env, config)
    return np.asarray(jax.vmap(lambda params: network.apply(params, obs))(done.state.params))


@pytest.mark.parametrize("lambda_", [0.5, pytest.param(0.0, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.slow)])
def test_delayed_reward(lambda_):
    env = probes.delayed_reward()
    config, done = trained(env, lambda_=lambda_)
    expected = np.broadcast_to([[GAMMA, GAMMA], [1.0, 1.0]], (4, 2, 2))
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), expected, atol=0.1)


@pytest.mark.parametrize("lambda_", [0.5, pytest.param(0.0, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_time_limit_is_not_an_end(lambda_):
    """Q -> r / (1 - gamma) through time limits, and r where the episode really ends."""
    env = probes.limit_or_end()
    config, done = trained(env, lambda_=lambda_)
    expected = np.broadcast_to([[1 / (1 - GAMMA)] * 2, [1.0] * 2], (4, 2, 2))
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), expected, rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("layer_norm", [False, True])
def test_rewards_of_observations_and_actions(layer_norm):
    env = probes.observation_dependent_reward()
    config, done = trained(env, layer_norm=layer_norm)
    expected = np.broadcast_to([[-1.0, -1.0], [1.0, 1.0]], (4, 2, 2))
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), expected, atol=0.1)
    env = probes.action_dependent_reward()
    config, done = trained(env, layer_norm=layer_norm)
    np.testing.assert_allclose(values(env, config, done, jnp.array([0, 1])), [np.eye(2)] * 4, atol=0.1)


def test_masked_actions_are_never_taken():
    env = probes.masked_action()
    config, done = trained(env)
    found = values(env, config, done, jnp.array([0]))
    np.testing.assert_allclose(found[:, 0, :2], [[0.5, 0.0]] * 4, atol=0.1)
    view = View(jnp.array([0]), jnp.array([[True, True, False]]), ())
    chosen = jax.vmap(lambda state: pqn.make(env, config).probabilities(state, view))(done.state)
    np.testing.assert_allclose(chosen[:, 0], [[0.75, 0.25, 0.0]] * 4, rtol=1e-6)


def test_returns_are_those_of_rlax():
    """Blocks with terminations and time limits in them: rlax has both as discounts, and cut sequences as separate ones."""
    env, config = envs.make("cartpole", max_steps=7), CONFIG.replace(num_steps=40)
    algorithm, network = pqn.make(env, config), pqn.q_network(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    _, batch = rollout.unroll(jax.random.key(1), env, algorithm.policy(state, False), state.episodes, config.num_steps)
    found = np.asarray(pqn.returns(network, config, env.max_steps, state.params, batch))
    next_value = np.asarray(network.apply(state.params, batch.next_obs).max(-1))
    done = np.asarray(batch.terminated | batch.truncated)
    assert batch.truncated.any()
    for e in range(config.num_envs):
        ends = [*(np.flatnonzero(done[:, e]) + 1), config.num_steps]
        for start, end in zip([0, *ends], ends, strict=False):
            if start == end:
                continue
            discount = GAMMA * ~np.asarray(batch.terminated[start:end, e])
            expected = rlax.lambda_returns(batch.reward[start:end, e], discount, next_value[start:end, e], config.lambda_)
            np.testing.assert_allclose(found[start:end, e], expected, rtol=1e-5, atol=1e-5)


def test_hidden_layers_are_normalised():
    env = envs.make("cartpole")
    network = pqn.q_network(env, CONFIG)
    names = str(jax.tree.map(jnp.shape, jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 4)))))
    assert "LayerNorm_0" in names
    plain = pqn.q_network(env, CONFIG.replace(layer_norm=False))
    assert "LayerNorm" not in str(jax.jit(plain.init)(jax.random.key(0), jnp.zeros((1, 4))))


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        ("prisoners_dilemma", {}, ConfigError, "no agent axis, got 2"),
        ("pendulum", {}, SpaceError, "must be Discrete"),
        ("cartpole", {"lambda_": 1.1}, ConfigError, r"lambda_ must lie in \[0, 1\], got 1.1"),
        ("cartpole", {"num_minibatches": 5}, ConfigError, "num_minibatches"),
        ("cartpole", {"epsilon_end": 0.9, "epsilon_start": 0.5}, ConfigError, "epsilon_end must not exceed epsilon_start"),
    ],
)
def test_refusals(env, changes, error, message):
    env = envs.make(env)
    with pytest.raises(error, match=message):
        CONFIG.replace(**changes).validate(env)
