"""Bernoulli bandit: exact values, drawn arms, and the regret of UCB1 against its bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import bernoulli_bandit
from jaxrl.blocks import exploration
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from tests import oracles


def test_optimal_value_is_the_best_arm_for_ever():
    model = tabulate(bernoulli_bandit.make((0.2, 0.7, 0.5)))
    assert model.num_states == 1
    assert oracles.start_value(model, oracles.value_iteration(model, 0.9)) == pytest.approx(0.7 / (1 - 0.9), rel=1e-6)


def test_rewards_are_as_frequent_as_the_probabilities():
    """Chi-square with one degree of freedom for each arm, at 0.1 %."""
    chances = np.array([0.0, 0.15, 0.5, 1.0])
    env = bernoulli_bandit.make(tuple(chances))
    keys, arms = jax.random.split(jax.random.key(0), 40_000), jnp.arange(40_000, dtype=jnp.int32) % 4
    paid = np.asarray(jax.jit(jax.vmap(env.step, in_axes=(0, None, 0)))(keys, jnp.int32(0), arms).reward).reshape(-1, 4)
    assert set(np.unique(paid)) == {0.0, 1.0}
    np.testing.assert_array_equal(paid[:, [0, 3]].mean(0), [0.0, 1.0])
    for arm in (1, 2):
        observed, expected = paid[:, arm].sum(), 10_000 * chances[arm]
        assert (observed - expected) ** 2 / (expected * (1 - chances[arm])) < 10.8


def test_arms_can_be_drawn_and_stepped_under_vmap():
    params = jax.vmap(lambda key: bernoulli_bandit.draw(key, 5))(jax.random.split(jax.random.key(1), 4000))
    chances = np.asarray(params.probability)
    np.testing.assert_allclose([chances.mean(), chances.var()], [0.5, 1 / 12], atol=0.01)
    env = bernoulli_bandit.of(params)
    assert env.action_space.n == 5
    step = jax.vmap(lambda params, key: env.replace(params=params).step(key, jnp.int32(0), 2).reward)
    paid = np.asarray(jax.jit(step)(params, jax.random.split(jax.random.key(2), 4000)))
    assert np.corrcoef(paid, chances[:, 2])[0, 1] > 0.5


def test_bound_by_hand():
    """One worse arm with a gap of 1/2: 16 ln 100 + (1 + pi^2 / 3) / 2."""
    bound = bernoulli_bandit.ucb1_regret_bound((0.25, 0.75), 100)
    assert bound == pytest.approx(16 * np.log(100) + (1 + np.pi**2 / 3) / 2)


def test_regret_of_ucb1_is_below_its_bound():
    chances, num_steps = (0.2, 0.4, 0.9), 2000
    env = bernoulli_bandit.make(chances)

    def regret(key):
        def pull(carry, inputs):
            values, counts = carry
            step, key = inputs
            arm = exploration.ucb(values, counts, step, jnp.sqrt(2.0))
            reward = env.step(key, jnp.int32(0), arm).reward
            counts = counts.at[arm].add(1)
            return (values.at[arm].add((reward - values[arm]) / counts[arm]), counts), 0.9 - env.params.probability[arm]

        inputs = jnp.arange(1, num_steps + 1), jax.random.split(key, num_steps)
        return jax.lax.scan(pull, (jnp.zeros(3), jnp.zeros(3, jnp.int32)), inputs)[1].sum()

    regrets = np.asarray(jax.jit(jax.vmap(regret))(jax.random.split(jax.random.key(0), 200)))
    bound = bernoulli_bandit.ucb1_regret_bound(chances, num_steps)
    assert regrets.mean() + 3 * regrets.std() / np.sqrt(200) < bound
    assert regrets.mean() > 5  # it does explore


@pytest.mark.parametrize("parameters", [dict(probabilities=()), dict(probabilities=(1.1,)), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="bernoulli_bandit"):
        bernoulli_bandit.make(**parameters)
