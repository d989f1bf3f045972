"""Metrics: values by hand, invariances of the distances in float64, and the policies that rewards lead to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds.reward_grid import cell_rewards
from jaxrl.algorithms.preferences import metrics
from jaxrl.algorithms.preferences.reward_models import Tabular
from jaxrl.algorithms.preferences.segments import Preferences, Segments
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.finite import single_precision, tabulate
from jaxrl.errors import ConfigError
from tests import oracles

GAMMA = 0.9


@pytest.fixture(scope="module")
def model():
    return tabulate(envs.make("reward_grid", rows=3, columns=3, slip=0.2))


def shaped(model, reward, potential, gamma):
    """Adds potential shaping to a reward of outcomes."""
    return reward + gamma * np.where(model.terminated, 0.0, potential[model.next_state]) - potential[:, None, None]


def test_accuracy_by_hand():
    difference, label = jnp.array([1.0, -1.0, 2.0, 0.0, 5.0]), jnp.array([1.0, 1.0, 0.0, 1.0, 0.5])
    assert float(metrics.accuracy(difference, label, jnp.ones(5)).mean) == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert float(metrics.accuracy(difference, label, jnp.array([3.0, 1.0, 0.0, 0.0, 9.0])).mean) == pytest.approx(0.75)
    assert float(metrics.accuracy(difference, label, jnp.zeros(5)).count) == 0


def test_calibration_error_by_hand():
    """Two predictions of 0.75 of which one comes true, one of 1 that does: the gaps are 2 * 0.25 and 0, of three."""
    error = metrics.expected_calibration_error(jnp.array([0.75, 0.75, 1.0]), jnp.array([1.0, 0.0, 1.0]), jnp.ones(3)).mean
    assert float(error) == pytest.approx(0.5 / 3, abs=1e-6)


def test_a_calibrated_judge_has_no_calibration_error():
    probability = jax.random.uniform(jax.random.key(0), (100_000,))
    label = (jax.random.uniform(jax.random.key(1), (100_000,)) < probability).astype(jnp.float32)
    assert float(metrics.expected_calibration_error(probability, label, jnp.ones(100_000)).mean) < 0.01


def test_epic_distance_is_blind_to_scale_shaping_and_constants():
    random = np.random.default_rng(0)
    first, potential = random.normal(size=(5, 3, 5)), random.normal(size=5)
    state, action = random.dirichlet(np.ones(5)), random.dirichlet(np.ones(3))
    second = 3.0 * first + GAMMA * potential - potential[:, None, None] + 7.0
    with jax.enable_x64(True):
        for weights in ((), (state, action)):
            # Rounding under the root: sqrt(1e-16).
            np.testing.assert_allclose(metrics.epic_distance(first, second, GAMMA, *weights), 0.0, atol=1e-7)
            np.testing.assert_allclose(metrics.epic_distance(first, -first, GAMMA, *weights), 1.0, atol=1e-12)
        pure = np.broadcast_to(GAMMA * potential - potential[:, None, None], first.shape)
        np.testing.assert_allclose(metrics.epic_distance(first, pure, GAMMA), np.sqrt(0.5), atol=1e-12)


def test_epic_distance_is_the_correlation_of_canonical_rewards():
    """Against a direct transcription of the definition with loops."""
    random = np.random.default_rng(1)
    rewards = random.normal(size=(2, 4, 2, 4))

    def canonical(reward):
        mean = reward.mean((1, 2))
        out = np.empty_like(reward)
        for s in range(4):
            for a in range(2):
                for t in range(4):
                    out[s, a, t] = reward[s, a, t] + GAMMA * mean[t] - mean[s] - GAMMA * mean.mean()
        return out.ravel()

    correlation = np.corrcoef(canonical(rewards[0]), canonical(rewards[1]))[0, 1]
    with jax.enable_x64(True):
        np.testing.assert_allclose(metrics.epic_distance(*rewards, GAMMA), np.sqrt((1 - correlation) / 2), rtol=1e-10)


def test_small_epic_distances_in_single_precision():
    """One minus the correlation has a floor of 4e-4 in float32; half the squared distance of standardised rewards has none."""
    random = np.random.default_rng(3)
    first, potential, noise = random.normal(size=(6, 3, 6)), random.normal(size=6), random.normal(size=(6, 3, 6))
    same = (3.0 * first + GAMMA * potential - potential[:, None, None] + 7.0).astype(np.float32)
    assert float(metrics.epic_distance(jnp.asarray(first, jnp.float32), jnp.asarray(same), GAMMA)) < 2e-6
    for size in (1e-1, 1e-3, 1e-4):
        other = first + size * noise
        found = metrics.epic_distance(jnp.asarray(first, jnp.float32), jnp.asarray(other, jnp.float32), GAMMA)
        with jax.enable_x64(True):
            exact = float(metrics.epic_distance(jnp.asarray(first), jnp.asarray(other), GAMMA))
        np.testing.assert_allclose(found, exact, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_epic_distances_of_rewards_without_differences(scale):
    """Flat against flat is 0 (it was 0.707), flat against any other sqrt(1/2): whatever the unit of the reward."""
    random = np.random.default_rng(4)
    potential = random.normal(size=4)
    shaping = np.broadcast_to(GAMMA * potential - potential[:, None, None], (4, 2, 4))
    nothing, constant = np.zeros((4, 2, 4)), np.full((4, 2, 4), 3.0)
    reward = random.normal(size=(4, 2, 4))
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            flat = [jnp.asarray(scale * x, dtype) for x in (nothing, constant, shaping)]
            other = jnp.asarray(scale * reward, dtype)
            for one in flat:
                for two in flat:
                    assert float(metrics.epic_distance(one, two, GAMMA)) == 0.0
                np.testing.assert_allclose(metrics.epic_distance(one, other, GAMMA), 0.5**0.5, rtol=1e-6)
                np.testing.assert_allclose(metrics.epic_distance(other, one, GAMMA), 0.5**0.5, rtol=1e-6)
            assert np.isfinite(jax.grad(lambda x, other=other: metrics.epic_distance(x, other, GAMMA))(other)).all()


def test_starc_distance_is_blind_to_scale_shaping_and_redistribution(model):
    random = np.random.default_rng(2)
    reward, potential = random.normal(size=model.reward.shape), random.normal(size=model.num_states)
    moved = shaped(model, 2.0 * reward, potential, GAMMA)
    # Payments moved between the outcomes of one action, in expectation the same.
    noise = random.normal(size=reward.shape)
    noise -= (model.probability * noise).sum(-1, keepdims=True)
    with jax.enable_x64(True):
        np.testing.assert_allclose(metrics.starc_distance(model, reward, moved, GAMMA), 0.0, atol=1e-10)
        np.testing.assert_allclose(metrics.starc_distance(model, reward, reward + noise, GAMMA), 0.0, atol=1e-10)
        np.testing.assert_allclose(metrics.starc_distance(model, reward, -reward, GAMMA), 2.0, atol=1e-12)
        pure = shaped(model, np.zeros_like(reward), potential, GAMMA)
        np.testing.assert_allclose(metrics.starc_distance(model, reward, pure, GAMMA), 1.0, atol=1e-10)
        other = shaped(model, reward, potential, 0.5)  # shaping for another discount is none
        assert metrics.starc_distance(model, reward, other, GAMMA) > 0.05


def test_advantages_against_a_linear_solve(model):
    values = oracles.policy_values(model, oracles.uniform(model), GAMMA)
    following = np.where(model.terminated, 0.0, values[model.next_state])
    expected = (model.probability * (model.reward + GAMMA * following)).sum(-1) - values[:, None]
    with jax.enable_x64(True):
        np.testing.assert_allclose(metrics.advantages(model, model.reward, GAMMA), expected, atol=1e-9)


def test_reward_table_reads_what_the_outcomes_show(model):
    env = envs.make("reward_grid", rows=3, columns=3, slip=0.2)
    table = jnp.arange(9 * 4 * 9, dtype=jnp.float32).reshape(9, 4, 9)
    found = metrics.reward_table(model, Tabular.of(env, reads=("obs", "action", "next_obs")), table)
    x, a, k = 4, 2, 1
    assert found.shape == model.next_state.shape
    obs, next_obs = model.observation[x], model.observation[model.next_state[x, a, k]]
    assert float(found[x, a, k]) == float(table[obs, a, next_obs])
    dense = metrics.dense_reward(model, Tabular.of(env, reads=("obs", "action", "next_obs")), table)
    np.testing.assert_allclose(dense[x, a], table[obs, a][model.observation])


def test_what_is_over_pays_nothing():
    env = envs.make("corridor", length=3)
    model = tabulate(env)
    found = metrics.reward_table(model, Tabular.of(env, reads=("obs",)), jnp.ones(3))
    over = int(np.flatnonzero(model.observation == 2)[0])
    np.testing.assert_array_equal(found[over], 0.0)
    assert (np.delete(np.asarray(found), over, axis=0) == 1.0).all()


def test_the_true_reward_has_no_regret():
    env = envs.make("reward_grid", rows=3, columns=3)
    reward = Tabular.of(env, reads=("next_obs",))
    pays = cell_rewards(3, 3, 0)
    dense = np.broadcast_to(pays[tabulate(env).observation], (9, 4, 9))
    regret = metrics.PolicyRegret.of(env, reward, GAMMA, dense)

    class Fitted:
        reward_params = jnp.asarray(2.0 * pays + 5.0, jnp.float32)

    found = regret(jax.random.key(0), None, Fitted())
    assert float(found["normalised_return"].mean) == pytest.approx(1.0, abs=1e-6)
    assert float(found["regret"].mean) == pytest.approx(0.0, abs=1e-6)
    assert float(found["starc_distance"]) < 1e-3
    assert float(found["epic_distance"]) < 1e-3
    Fitted.reward_params = jnp.asarray(-pays, jnp.float32)
    found = regret(jax.random.key(0), None, Fitted())
    assert float(found["normalised_return"].mean) < 0.0
    assert float(found["starc_distance"]) == pytest.approx(2.0, abs=1e-3)
    assert float(found["epic_distance"]) == pytest.approx(1.0, abs=1e-3)


def test_a_policy_and_its_clone_on_the_scale_of_the_uniform_and_the_best_policy():
    """A clone of segments of the best policy is the best policy; where labels say the reverse, it copies the other segments."""
    env = envs.make("reward_grid", rows=1, columns=2, slip=0.0, rewards=(0.0, 1.0))
    regret = metrics.PolicyRegret.of(env, Tabular.of(env, reads=("next_obs",)), 0.5)
    seen = jnp.array([[0, 1], [0, 1]])
    pool = Segments(seen, jnp.array([[2, 2], [0, 0]]), seen, jnp.ones((2, 2), bool))  # right twice, left twice

    class Fitted:
        preferences = Preferences(pool, jnp.array([0]), jnp.array([1]), jnp.ones(1), jnp.ones(1))

    clone = metrics.BehaviourCloning(regret)
    assert float(clone(jax.random.key(0), None, Fitted())["cloned_return"]) == pytest.approx(1.0, abs=1e-6)
    Fitted.preferences = Fitted.preferences.replace(label=jnp.zeros(1))
    # For ever left is worth nothing; the optimum is 2, the uniform policy 1 / 4 a step at the left cell and 3 / 4 at the right.
    uniform = np.linalg.solve(np.eye(2) - 0.5 * np.array([[0.75, 0.25], [0.25, 0.75]]), [0.25, 0.75]).mean()
    lost = float(clone(jax.random.key(0), None, Fitted())["cloned_return"])
    assert lost == pytest.approx(-uniform / (2.0 - uniform), abs=1e-5)
    Fitted.preferences = Fitted.preferences.replace(weight=jnp.zeros(1))
    assert float(clone(jax.random.key(0), None, Fitted())["cloned_return"]) == pytest.approx(0.0, abs=1e-6)

    learner = q_learning.make(env, q_learning.Config(num_steps=10))
    state = jax.jit(learner.init)(jax.random.key(0))
    state = state.replace(q=jnp.zeros_like(state.q).at[:, 0].set(1.0))
    value = metrics.NormalisedReturn(regret)(jax.random.key(0), learner, state)["greedy_normalised_return"]
    assert float(value) == pytest.approx(lost, abs=1e-5)


def test_policy_return_against_an_oracle(model):
    random = np.random.default_rng(3)
    reward = random.normal(size=model.reward.shape)
    other = model.replace(reward=reward)
    policy = oracles.greedy(other, oracles.value_iteration(other, GAMMA), GAMMA, preference=range(4))
    expected = oracles.start_value(model, oracles.policy_values(model, policy, GAMMA))
    with jax.enable_x64(True):
        np.testing.assert_allclose(metrics.policy_return(model, reward, GAMMA), expected, rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-12, 1e-5, 1e8])
def test_rewards_in_other_units_have_the_same_best_policy(model, factor):
    """In float32, twenty random rewards at once."""
    rewards = np.random.default_rng(5).normal(size=(20, *model.reward.shape)).astype(np.float32)
    table = single_precision(model)
    returns = jax.jit(jax.vmap(lambda reward: metrics.policy_return(table, reward, GAMMA)))
    np.testing.assert_allclose(returns(rewards * np.float32(factor)), returns(rewards), rtol=1e-5)
    distances = jax.jit(jax.vmap(lambda reward: metrics.starc_distance(table, reward * factor, table.reward, GAMMA)))
    assert (np.asarray(distances(rewards)) > 0.1).all()
    alone = metrics.starc_distance(table, rewards[0], table.reward, GAMMA)
    np.testing.assert_allclose(distances(rewards)[0], alone, atol=1e-5)


@pytest.mark.parametrize("wide", [False, True])
def test_small_rewards_beside_large_shaping_are_seen_as_far_as_the_precision_goes(model, wide):
    """In float64 a reward of 1e-6 beside a potential of 1 is told from none; in float32 pure shaping is still no reward."""
    random = np.random.default_rng(6)
    reward, potential = random.normal(size=model.reward.shape), random.normal(size=model.num_states)
    with jax.enable_x64(wide):
        little = shaped(model, (1e-6 if wide else 1e-3) * reward, potential, GAMMA)
        assert float(metrics.starc_distance(model, reward, little, GAMMA)) < 1e-2
        pure = shaped(model, np.zeros_like(reward), 1e6 * potential, GAMMA)
        assert float(metrics.starc_distance(model, reward, pure, GAMMA)) == pytest.approx(1.0, abs=1e-5)


def test_a_reward_that_is_not_a_number_has_no_best_policy(model):
    assert np.isnan(metrics.policy_return(model, np.full(model.reward.shape, np.nan), GAMMA))
    env = envs.make("reward_grid", rows=3, columns=3)
    regret = metrics.PolicyRegret.of(env, Tabular.of(env, reads=("next_obs",)), GAMMA)

    class Diverged:
        reward_params = jnp.full(9, jnp.nan)

    found = regret(jax.random.key(0), None, Diverged())
    assert float(found["regret"].count) == float(found["normalised_return"].count) == 0
    assert np.isnan(found["starc_distance"])


@pytest.mark.parametrize("gamma", [1.0, 1.5, float("nan")])
def test_discounts_that_are_none(model, gamma):
    env = envs.make("reward_grid", rows=3, columns=3)
    for call in (
        lambda: metrics.PolicyRegret.of(env, Tabular.of(env), gamma),
        lambda: metrics.policy_return(model, model.reward, gamma),
        lambda: metrics.starc_distance(model, model.reward, model.reward, gamma),
        lambda: metrics.advantages(model, model.reward, gamma),
    ):
        with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\)"):
            call()


def test_an_environment_where_nothing_matters_has_no_regret():
    env = envs.make("reward_grid", rows=3, columns=3, rewards=(1.0,) * 9)
    with pytest.raises(ConfigError, match="the uniform policy must be worth less than the optimum"):
        metrics.PolicyRegret.of(env, Tabular.of(env), GAMMA)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_a_constant_costs_epic_no_digit(offset):
    """Of whole numbers, which float32 still holds exactly beside it."""
    random = np.random.default_rng(0)
    first, second = (random.integers(-2, 3, (4, 2, 4)).astype(np.float32) for _ in range(2))
    expected = float(metrics.epic_distance(jnp.asarray(first), jnp.asarray(second), 0.9))
    found = metrics.epic_distance(jnp.asarray(first + np.float32(offset)), jnp.asarray(second + np.float32(offset)), 0.9)
    assert float(found) == pytest.approx(expected, rel=1e-4)
