"""The Ising model: neighbours and pay, and the sampled model against all 65,536 states of a small board and Onsager's formula."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import ising
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment


def test_pay_is_shared_by_neighbours_and_sums_to_minus_the_energy():
    env = ising.make(size=5, coupling=0.7)
    _, state = env.reset(jax.random.key(0))
    action = np.random.default_rng(0).integers(2, size=25)
    step = env.step(jax.random.key(0), state, jnp.asarray(action, jnp.int32))
    spin, energy, reward = 2 * action.reshape(5, 5) - 1, 0.0, np.zeros((5, 5))
    for row, column in itertools.product(range(5), repeat=2):
        for there in ((row, (column + 1) % 5), ((row + 1) % 5, column)):  # each pair of neighbours once
            bond = 0.7 * spin[row, column] * spin[there]
            energy -= bond
            reward[row, column] += bond / 2
            reward[there] += bond / 2
    np.testing.assert_allclose(step.reward, reward.reshape(-1), atol=1e-6)
    assert float(step.reward.sum()) == pytest.approx(-energy, abs=1e-5)
    np.testing.assert_array_equal(step.state, spin)
    assert float(step.info["order"]) == pytest.approx(abs(spin.mean()))


def test_who_sees_what():
    spin = -np.ones((4, 4), int)
    spin[0, 1] = spin[1, 0] = 1
    env = ising.make(size=4)
    step = env.step(jax.random.key(0), jnp.asarray(spin, jnp.int32), jnp.asarray((spin.reshape(-1) + 1) // 2, jnp.int32))
    seen = np.asarray(step.obs).reshape(4, 4)
    assert (seen[0, 0], seen[1, 1], seen[3, 1], seen[1, 3], seen[2, 2]) == (2, 2, 1, 1, 0)


def test_shifting_the_board_shifts_the_rewards():
    env = ising.make(size=4)
    _, state = env.reset(jax.random.key(0))
    action = jax.random.randint(jax.random.key(1), (4, 4), 0, 2)
    reward = env.step(jax.random.key(0), state, action.reshape(-1)).reward.reshape(4, 4)
    shifted = env.step(jax.random.key(0), state, jnp.roll(action, (1, 2), (0, 1)).reshape(-1)).reward.reshape(4, 4)
    np.testing.assert_array_equal(shifted, jnp.roll(reward, (1, 2), (0, 1)))


@functools.cache
def all_boards():
    spin = 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1).reshape(-1, 4, 4) - 1
    energy = -(spin * (np.roll(spin, 1, 1) + np.roll(spin, 1, 2))).sum((1, 2))
    return energy, np.abs(spin.mean((1, 2)))


@pytest.mark.parametrize("temperature", [1.5, 2.269185, 4.0])
def test_sampled_order_of_a_small_board_is_the_exact_one(temperature):
    energy, order = all_boards()
    weight = np.exp(-(energy - energy.min()) / temperature)
    exact = (weight * order).sum() / weight.sum()
    start = jnp.ones((4, 4), jnp.int32)
    keys = jax.random.split(jax.random.key(0), 512)
    chains = jax.jit(jax.vmap(lambda key: ising.metropolis(key, start, temperature, 300)[1]))(keys)
    means = np.asarray(chains)[:, 100:].mean(1)
    error = means.std() / np.sqrt(len(means))
    assert abs(means.mean() - exact) < 4.5 * error  # once in 150,000 correct samplers
    assert error < 0.01


@pytest.mark.parametrize(("temperature", "low", "high"), [(1.5, 0.98, 0.99), (2.0, 0.90, 0.92), (4.0, 0.0, 0.1)])
def test_order_of_a_large_board(temperature, low, high):
    """Below the critical temperature Onsager's formula holds for large boards; above it the order goes to 0."""
    exact = ising.exact_order(temperature)
    assert low <= exact <= high
    order = jax.jit(lambda key: ising.metropolis(key, jnp.ones((48, 48), jnp.int32), temperature, 600)[1])(jax.random.key(1))
    assert float(order[200:].mean()) == pytest.approx(exact, abs=0.015 if temperature < 3 else 0.1)


def test_critical_temperature():
    np.testing.assert_allclose(ising.CRITICAL_TEMPERATURE, 2.269185, atol=5e-7)
    assert ising.exact_order(2.3) == 0
    assert 0 < ising.exact_order(2.269) < 0.5


@pytest.mark.parametrize("up", [0.0, 1.0])
def test_extremes_keep_the_protocol(up):
    env = ising.make(size=3, up=up, coupling=-1e3)
    check_environment(env, jax.random.key(0), rebuilt=ising.make(size=3))
    assert (env.reset(jax.random.key(1))[1] == 2 * up - 1).all()


@pytest.mark.parametrize("parameters", [dict(size=2), dict(up=1.5), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        ising.make(**parameters)


def test_odd_boards_have_no_two_colours():
    with pytest.raises(ConfigError):
        ising.metropolis(jax.random.key(0), jnp.ones((5, 5), jnp.int32), 1.0, 1)
