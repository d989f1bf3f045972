"""Ensembles of dynamics models: the likelihood against scipy, soft bounds, a linear Gaussian system, spread, ends and splits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import envs
from jaxrl.blocks import dynamics_models, replay
from jaxrl.blocks.dynamics_models import HELD_OUT, Ensemble
from jaxrl.blocks.networks.dynamics_model import softly_bounded
from jaxrl.blocks.off_policy import Experience
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import ConfigError, SpaceError
from tests import probes

NOISE = np.array([0.1, 0.3, 0.2], np.float32)  # deviations of both changes and of the reward
SMALL = Ensemble(Box(-np.inf, np.inf, (2,)), Box(-1.0, 1.0, (1,)), hidden=(16,), learning_rate=1e-2, num_members=3, num_elites=2)


def true_mean(obs, action):
    """The change of both coordinates, and the reward: linear."""
    return np.stack([0.5 * obs[..., 1], action[..., 0] - 0.2 * obs[..., 1], obs[..., 0] + 3.0], -1)


def steps(count, seed=0, ends=lambda obs: np.zeros(len(obs), bool), noise=NOISE):
    random = np.random.default_rng(seed)
    obs, action = random.normal(size=(count, 2)), random.uniform(-1, 1, (count, 1))
    drawn = true_mean(obs, action) + noise * random.normal(size=(count, 3))
    found = Experience(obs, action, drawn[:, 2], obs + drawn[:, :2], ends(obs), None, None)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype if leaf.dtype == bool else jnp.float32), found)


def stored(data):
    return replay.ReplayBuffer(data, jnp.int32(0), jnp.int32(len(data.reward)))


def begun(model, data):
    """Returns the ensemble before its first fit."""
    return jax.jit(lambda data: model.observe(model.init(jax.random.key(0)), data))(data)


def fitted(model, data, num_steps=600, seed=0):
    def learn(data):
        state = model.observe(model.init(jax.random.key(seed)), data)
        return model.fit(jax.random.key(seed + 1), state, stored(data), num_steps, 64)

    return jax.jit(learn)(data)


@pytest.fixture(scope="module")
def linear():
    return fitted(SMALL, steps(4000))


def test_the_likelihood_is_that_of_scipy():
    mean, log_variance, target = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    found = dynamics_models.gaussian_nll(mean, log_variance, target)
    np.testing.assert_allclose(found, -norm.logpdf(target, mean, np.exp(log_variance / 2)), rtol=1e-5, atol=1e-6)


def test_the_likelihood_by_hand():
    """Off by 2 at variance 4: 1/2 (2^2 / 4 + log 4 + log 2 pi)."""
    found = dynamics_models.gaussian_nll(jnp.float32(1.0), jnp.log(jnp.float32(4.0)), jnp.float32(3.0))
    np.testing.assert_allclose(found, 0.5 * (1.0 + 1.386294 + 1.837877), rtol=1e-6)


def test_soft_bounds():
    x = jnp.array([-100.0, -4.0, 100.0])
    found = softly_bounded(x, jnp.float32(-10.0), jnp.float32(0.5))
    np.testing.assert_allclose(found, [-10.0, -4.0, 0.5], atol=0.02)
    slope = jax.grad(lambda x: softly_bounded(x, -10.0, 0.5).sum())(jnp.array([-12.0, 3.0]))
    assert (slope > 0.05).all()


def test_a_linear_gaussian_system_is_found_mean_and_variance(linear):
    state, metrics = linear
    test = steps(500, seed=1)
    found = SMALL.predict(state, test.obs, test.action)
    expected = true_mean(np.asarray(test.obs), np.asarray(test.action))
    assert found.mean.shape == (3, 500, 3)
    error = np.sqrt(np.square(np.asarray(found.mean).mean(0) - expected).mean(0))
    assert (error < 0.35 * NOISE).all()
    np.testing.assert_allclose(np.asarray(found.deviation).mean((0, 1)), NOISE, rtol=0.15)
    # The noise is all that is unexplained: a share of each variance, which the mean over outputs of these shares is.
    share = (NOISE**2 / (NOISE**2 + expected.var(0))).mean()
    np.testing.assert_allclose(metrics["model_error"], share, rtol=0.35)


def test_draws_have_the_mean_and_the_deviation_of_the_system(linear):
    state, _ = linear
    obs, action = jnp.full((2, 4000, 2), 0.5), jnp.full((2, 4000, 1), -0.5)
    drawn = SMALL.step(jax.random.key(0), state, obs, action)
    found = np.concatenate([drawn.next_obs - obs, drawn.reward[..., None]], -1)
    np.testing.assert_allclose(found.mean((0, 1)), true_mean(np.array([0.5, 0.5]), np.array([-0.5])), atol=0.1)
    np.testing.assert_allclose(found.std(1).mean(0), NOISE, rtol=0.2)
    assert not drawn.terminated.any()


def test_each_row_is_drawn_by_an_elite_of_its_own():
    model = Ensemble(SMALL.observation_space, SMALL.action_space, hidden=(4,), num_members=3, num_elites=2, probabilistic=False)
    state = begun(model, steps(50)).replace(elites=jnp.array([2, 0], jnp.int32))
    one = steps(5, seed=2)
    rows = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), (one.obs, one.action))
    drawn = model.step(jax.random.key(1), state, *rows)
    mean = model.predict(state, one.obs, one.action).mean
    for row, member in enumerate((2, 0)):
        np.testing.assert_allclose(drawn.next_obs[row] - one.obs, mean[member, :, :2], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(drawn.reward[row], mean[member, :, 2], rtol=1e-4, atol=1e-5)


def test_the_spread_falls_with_data_and_grows_away_from_them():
    def spread(count):
        state, _ = fitted(SMALL, steps(count, seed=3), num_steps=400)
        at = [SMALL.predict(state, scale * steps(200, seed=4).obs, steps(200, seed=4).action).spread for scale in (1.0, 5.0)]
        return [float(np.asarray(one / NOISE).mean()) for one in at]

    (few, few_far), (many, many_far) = spread(20), spread(2000)
    assert many < few / 2
    assert few_far > 1.5 * few
    assert many_far > 1.5 * many


def test_deterministic_members_have_no_variance_and_find_the_mean():
    model = SMALL.replace(probabilistic=False)
    state, _ = fitted(model, steps(1000, noise=0.0 * NOISE))
    test = steps(200, seed=1)
    found = model.predict(state, test.obs, test.action)
    np.testing.assert_array_equal(found.deviation, 0.0)
    error = np.asarray(found.mean).mean(0) - true_mean(np.asarray(test.obs), np.asarray(test.action))
    assert np.sqrt(np.square(error).mean()) < 0.1


def test_terminations_are_learned_where_there_are_any(linear):
    state, _ = fitted(SMALL, steps(2000, ends=lambda obs: obs[:, 0] > 1.0))
    obs, action = jnp.array([[2.0, 0.0], [0.0, 0.0], [-1.0, 0.0]]), jnp.zeros((3, 1))
    np.testing.assert_allclose(SMALL.predict(state, obs, action).end.mean(0), [1.0, 0.0, 0.0], atol=0.05)
    assert float(SMALL.predict(linear[0], obs, action).end.max()) < 1e-3


def test_the_elites_are_the_members_with_the_least_error(linear):
    """One member of three has been fitted before."""
    model, data = SMALL.replace(num_elites=1), steps(4000)
    state = begun(model, data)
    params = jax.tree.map(lambda raw, fit: raw.at[1].set(fit[1]), state.params, linear[0].params)
    fit = jax.jit(lambda state: model.fit(jax.random.key(1), state, stored(data), 1, 64))
    np.testing.assert_array_equal(fit(state.replace(params=params))[0].elites, [1])


@pytest.mark.parametrize("size", [5, 13, 20])
def test_steps_are_either_held_out_or_fitted(size):
    """Every fifth place is held out, also in a buffer that is not full."""
    held = HELD_OUT * np.arange(size // HELD_OUT) + HELD_OUT - 1
    trained = np.asarray(dynamics_models._place_of(jnp.arange(size - size // HELD_OUT)))
    np.testing.assert_array_equal(np.sort(np.concatenate([held, trained])), np.arange(size))


def test_a_bootstrap_sample_is_fixed_and_leaves_a_share_of_1_over_e_out():
    number = jnp.arange(5000, dtype=jnp.int32)
    once, again = (dynamics_models._resampled(jax.random.key(0), number, jnp.int32(5000)) for _ in range(2))
    other = dynamics_models._resampled(jax.random.key(1), number, jnp.int32(5000))
    np.testing.assert_array_equal(once, again)
    assert (once != other).mean() > 0.99
    assert once.min() >= 0
    assert once.max() < 5000
    np.testing.assert_allclose(1 - len(np.unique(once)) / 5000, np.exp(-1), atol=0.02)


def test_observations_stay_within_their_space():
    model = Ensemble.replace(SMALL, observation_space=Box(-1.0, 1.0, (2,)))
    state = begun(model, steps(50))
    obs = jnp.ones((2, 100, 2))
    drawn = model.step(jax.random.key(0), state, obs, jnp.zeros((2, 100, 1)))
    assert float(jnp.abs(drawn.next_obs).max()) == 1.0


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (lambda: envs.make("frozen_lake"), "the observation_space must be a Box of reals"),
        (probes.nested_action, "the observation_space must be a Box of reals"),
        (lambda: envs.make("pendulum").replace(action_space=Box(0, 3, (1,), jnp.int32)), "the action_space must be Discrete"),
        (lambda: envs.make("cartpole").replace(action_mask_fn=probes._mask), "every action must be legal"),
    ],
)
def test_tasks_that_are_not_modelled_are_refused(env, message):
    with pytest.raises(SpaceError, match=message):
        dynamics_models.require_task("here", env())
    dynamics_models.require_task("here", envs.make("pendulum").replace(action_space=Discrete(2)))


def test_more_elites_than_members_are_refused():
    with pytest.raises(ConfigError, match=r"num_elites must not exceed num_members \(3\), got 4. Set num_elites=3"):
        dynamics_models.require_members("here", SMALL.replace(num_elites=4))
