"""Contextual dueling bandit: logistic outcomes that regression explains, and regret against the best arm of each step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from envs.bandits import contextual_dueling_bandit, dueling_bandit
from jaxrl.errors import ConfigError


def duels(env, count):
    """Lets random pairs duel, each in a context of its own. Returns features, both arms, and the steps."""
    keys = jax.random.split(jax.random.key(0), (2, count))
    _, state = jax.vmap(env.reset)(keys[0])
    arms = env.observation_space.items[0][1].shape[0]
    pairs = jax.random.randint(jax.random.key(1), (count,), 0, arms**2, jnp.int32)
    steps = jax.jit(jax.vmap(env.step))(keys[1], state, pairs)
    pairs = np.asarray(pairs)
    return np.asarray(state.features, np.float64), pairs // arms, pairs % arms, steps


def test_maximum_likelihood_finds_the_weight():
    """Within four standard errors, from the curvature of the likelihood."""
    env = contextual_dueling_bandit.make(num_arms=4, num_features=3, sharpness=3.0, seed=2)
    features, first, second, steps = duels(env, 20_000)
    assert set(np.unique(steps.state.outcome)) == {dueling_bandit.LOST, dueling_bandit.WON}
    rows = np.arange(len(first))
    difference = features[rows, first] - features[rows, second]
    sign = np.where(np.asarray(steps.state.outcome) == dueling_bandit.WON, 1.0, -1.0)

    def loss(weight):
        return np.logaddexp(0.0, -sign * (difference @ weight)).sum()

    weight = optimize.minimize(loss, np.zeros(3)).x
    chance = 1 / (1 + np.exp(-difference @ weight))
    curvature = (difference * (chance * (1 - chance))[:, None]).T @ difference
    error = np.sqrt(np.diag(np.linalg.inv(curvature)))
    assert (np.abs(weight - np.asarray(env.params.weight)) < 4 * error).all()
    assert error.max() < 0.15


def test_reward_is_minus_the_regret_against_the_best_arm():
    env = contextual_dueling_bandit.make(num_arms=4, num_features=3, seed=5)
    features, first, second, steps = duels(env, 500)
    utility = features @ np.asarray(env.params.weight, np.float64)
    rows = np.arange(500)
    behind = [1 / (1 + np.exp(-(utility.max(1) - utility[rows, arm]))) - 0.5 for arm in (first, second)]
    np.testing.assert_allclose(steps.reward, -np.mean(behind, axis=0), atol=1e-5)
    assert (np.asarray(steps.reward) <= 1e-6).all()


def test_features_are_new_and_nothing_is_known_before_the_first_duel():
    env = contextual_dueling_bandit.make()
    obs, state = env.reset(jax.random.key(0))
    assert int(obs["outcome"]) == dueling_bandit.UNKNOWN
    after = env.step(jax.random.key(1), state, jnp.int32(3))
    assert np.abs(np.asarray(after.obs["features"]) - np.asarray(obs["features"])).min() > 0
    np.testing.assert_allclose(np.linalg.norm(after.obs["features"], axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("parameters", [dict(num_arms=0), dict(num_features=0), dict(sharpness=-1.0), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError, match="contextual_dueling_bandit"):
        contextual_dueling_bandit.make(**parameters)
