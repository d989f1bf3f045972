"""Linear dynamical bandits: the Kalman filter against conditioning by hand, its stated errors, and constant play."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import linear_dynamical_bandit
from envs.bandits.linear_dynamical_bandit import expected_reward, first_belief, next_belief, prediction_variance
from jaxrl.errors import ConfigError


def wide(params):
    return {name: np.asarray(getattr(params, name), np.float64) for name in params.__dataclass_fields__}


def play(env, key, arms):
    """Plays these arms, int32[T]. Returns the first observation, the steps, and the belief before each step."""
    reset_key, run_key = jax.random.split(key)
    first, state = env.reset(reset_key)

    def go(carry, inputs):
        state, belief = carry
        key, arm = inputs
        step = env.step(key, state, arm)
        return (step.state, next_belief(env.params, belief, arm, step.reward, step.obs)), (step, belief)

    start = state, first_belief(env.params, first)
    _, (steps, beliefs) = jax.lax.scan(go, start, (jax.random.split(run_key, len(arms)), arms))
    return first, steps, beliefs


def conditioned(params, arms, observations, rewards):
    """The mean and covariance of the state after T steps given all numbers seen, from their joint normal law, in float64."""
    p = wide(params)
    size = len(p["dynamics"])
    steps, process = len(arms), p["process_noise"] @ p["process_noise"].T
    mean, covariance = [np.zeros(size)], [p["start"] @ p["start"].T]
    powers = [np.linalg.matrix_power(p["dynamics"], t) for t in range(steps + 1)]
    for arm in arms:
        mean.append(p["dynamics"] @ mean[-1] + p["push"][arm])
        covariance.append(p["dynamics"] @ covariance[-1] @ p["dynamics"].T + process)
    joint = np.block(
        [
            [covariance[min(s, t)] @ powers[t - s].T if s <= t else powers[s - t] @ covariance[t] for t in range(steps + 1)]
            for s in range(steps + 1)
        ]
    )
    rows, values, noise = [], [], []
    for t in range(steps + 1):
        for direction, value, deviation in zip(p["readout"], observations[t], p["observation_noise"], strict=True):
            rows.append((t, direction))
            values.append(value)
            noise.append(deviation**2)
        if t < steps:
            rows.append((t, p["weight"][arms[t]]))
            values.append(rewards[t] - p["pay"][arms[t]])
            noise.append(float(p["reward_noise"]) ** 2)
    seen = np.zeros((len(rows), size * (steps + 1)))
    for row, (t, direction) in enumerate(rows):
        seen[row, t * size : (t + 1) * size] = direction
    gain = joint @ seen.T @ np.linalg.pinv(seen @ joint @ seen.T + np.diag(noise))
    flat = np.concatenate(mean)
    last = slice(-size, None)
    return (flat + gain @ (np.array(values) - seen @ flat))[last], (joint - gain @ seen @ joint)[last, last]


@pytest.mark.parametrize("kind", ["make", "make_driven"])
def test_filter_is_conditioning_on_all_that_was_seen(kind):
    env = getattr(linear_dynamical_bandit, kind)(num_arms=4, seed=3)
    arms = jnp.array([0, 3, 1, 2, 2, 0], jnp.int32)
    first, steps, beliefs = play(env, jax.random.key(0), arms)
    seen = [np.asarray(first)] + list(np.asarray(steps.obs))
    for after in (0, 1, 5):
        mean, covariance = conditioned(env.params, np.asarray(arms)[:after], seen[: after + 1], np.asarray(steps.reward))
        np.testing.assert_allclose(beliefs.mean[after], mean, atol=1e-4)
        np.testing.assert_allclose(beliefs.covariance[after], covariance, atol=1e-4)


def test_predictions_are_as_good_as_stated_and_a_long_regression_is_no_better():
    """Squared errors of an arm's next reward over many runs, against their stated mean, and against least squares on a window."""
    env = linear_dynamical_bandit.make(num_arms=3, seed=1)
    runs, length, window = 2000, 60, 8
    arms = jnp.zeros(length, jnp.int32)
    keys = jax.random.split(jax.random.key(1), runs)
    first, steps, beliefs = jax.jit(jax.vmap(lambda key: play(env, key, arms)))(keys)
    last = jax.tree.map(lambda leaf: leaf[:, -1], beliefs)
    predicted = jax.vmap(lambda belief: expected_reward(env.params, belief)[0])(last)
    stated = np.asarray(jax.vmap(lambda belief: prediction_variance(env.params, belief)[0])(last))
    np.testing.assert_allclose(stated, stated[0], rtol=1e-3)  # settled, whatever was seen
    errors = (np.asarray(steps.reward)[:, -1] - np.asarray(predicted)) ** 2
    assert errors.mean() == pytest.approx(stated[0], abs=4 * errors.std() / np.sqrt(runs))
    # The law is stationary, so every place in every run teaches the regression.
    rewards = np.asarray(steps.reward, np.float64)
    seen = np.concatenate([np.asarray(first)[:, None], np.asarray(steps.obs)[:, :-1]], axis=1)
    inputs, targets = [], []
    for t in range(20, length):
        inputs.append(np.concatenate([seen[:, t - window : t + 1].reshape(runs, -1), rewards[:, t - window : t]], 1))
        targets.append(rewards[:, t])
    inputs, targets = np.concatenate(inputs), np.concatenate(targets)
    weights = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    regression = np.mean((targets - inputs @ weights) ** 2)
    assert stated[0] * 0.98 < regression < stated[0] * 1.1
    raw = np.linalg.lstsq(seen[:, 20:].reshape(-1, 2), rewards[:, 20:].ravel(), rcond=None)[0]
    assert np.mean((rewards[:, 20:].ravel() - seen[:, 20:].reshape(-1, 2) @ raw) ** 2) > 1.1 * stated[0]  # memory matters


def test_first_state_is_as_all_later_ones():
    env = linear_dynamical_bandit.make(seed=2)
    keys = jax.random.split(jax.random.key(0), 20_000)

    def states(key):
        _, steps, _ = play(env, key, jnp.zeros(10, jnp.int32))
        return env.reset(jax.random.split(key)[0])[1], steps.state[-1]

    start, later = jax.jit(jax.vmap(states))(keys)
    np.testing.assert_allclose(np.cov(np.asarray(start).T), np.cov(np.asarray(later).T), atol=0.12)


def test_constant_play_pays_what_is_said():
    env = linear_dynamical_bandit.make_driven(num_arms=6, radius=0.8, seed=4, reward_noise=0.0)
    expected = linear_dynamical_bandit.constant_play(env.params)
    assert len(expected) == 6
    for arm in (0, 4):
        _, steps, _ = jax.jit(lambda key, arm=arm: play(env, key, jnp.full(20_000, arm, jnp.int32)))(jax.random.key(0))
        assert np.asarray(steps.reward)[200:].mean() == pytest.approx(expected[arm], abs=0.02)


def test_what_pays_at_once_need_not_pay_in_the_long_run():
    env = linear_dynamical_bandit.make_driven()
    lasting = linear_dynamical_bandit.constant_play(env.params)
    assert int(np.argmax(env.params.pay)) != int(lasting.argmax())
    assert lasting[int(np.argmax(env.params.pay))] < lasting.max()


def test_dynamics_have_the_stated_radius():
    for radius in (0.0, 0.5, 0.95):
        dynamics = np.asarray(linear_dynamical_bandit.make(radius=radius, seed=7).params.dynamics, np.float64)
        assert np.abs(np.linalg.eigvals(dynamics)).max() == pytest.approx(radius, abs=1e-5)


def test_without_noise_the_state_is_known_once_it_is_seen():
    env = linear_dynamical_bandit.make(state_size=2, observation_size=2, observation_noise=0.0, process_noise=0.1, seed=5)
    _, steps, beliefs = play(env, jax.random.key(0), jnp.zeros(20, jnp.int32))
    np.testing.assert_allclose(beliefs.mean[1:], steps.state[:-1], atol=1e-3)
    assert np.isfinite(np.asarray(beliefs.covariance)).all()


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (linear_dynamical_bandit.make, dict(num_arms=0)),
        (linear_dynamical_bandit.make, dict(radius=1.0)),
        (linear_dynamical_bandit.make, dict(observation_noise=-1.0)),
        (linear_dynamical_bandit.make_driven, dict(input_size=0)),
        (linear_dynamical_bandit.make_driven, dict(reward_noise=-1.0)),
    ],
)
def test_wrong_parameters(make, parameters):
    with pytest.raises(ConfigError, match="bandit"):
        make(**parameters)


def test_growing_states_have_no_constant_play():
    params = linear_dynamical_bandit.make().params
    with pytest.raises(ConfigError, match="spectral radius"):
        linear_dynamical_bandit.constant_play(params.replace(dynamics=2 * params.dynamics))
