"""Risk-averse Q-learning: losses by hand, exact fixed points, the closed form of the normal portfolio, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.trading import gaussian_portfolio
from jaxrl.algorithms.tabular import entropic_td
from jaxrl.blocks import losses
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.testing.conformance import check_environment
from jaxrl.training.runner import run
from tests import probes

KEY = jax.random.key(0)
NAMES = tuple(entropic_td.LOSSES)


def slope(loss, value, target, aversion):
    return float(jax.grad(loss)(jnp.float32(value), jnp.float32(target), aversion))


def test_itakura_saito_by_hand():
    a, d = 2.0, 0.3
    assert float(losses.itakura_saito_loss(0.1, 0.1 + d, a)) == pytest.approx((np.exp(-a * d) + a * d - 1) / a**2, rel=1e-4)
    assert slope(losses.itakura_saito_loss, 0.1, 0.1 + d, a) == pytest.approx((np.exp(-a * d) - 1) / a, rel=1e-4)
    assert float(losses.itakura_saito_loss(0.7, 0.7, a)) == 0.0
    assert slope(losses.itakura_saito_loss, 0.7, 0.7, a) == 0.0


def test_itakura_saito_does_not_change_with_a_shift_and_never_overflows():
    assert slope(losses.itakura_saito_loss, 100.5, 100.0, 2.0) == pytest.approx(slope(losses.itakura_saito_loss, 0.5, 0.0, 2.0))
    for target in (-1e4, 1e4):
        assert np.isfinite(slope(losses.itakura_saito_loss, 0.0, target, 10.0))
        assert np.isfinite(float(losses.itakura_saito_loss(0.0, target, 10.0)))


@pytest.mark.parametrize("loss", [losses.itakura_saito_loss, losses.exponential_squared_loss])
def test_the_minimiser_is_the_certainty_equivalent(loss):
    """Two outcomes: where the mean slope vanishes, value = -log E[exp(-a x)] / a, exactly."""
    outcomes, chances, a = np.array([-0.4, 0.9]), np.array([0.3, 0.7]), 1.7
    equivalent = -np.log(chances @ np.exp(-a * outcomes)) / a
    slopes = lambda value: chances @ [slope(loss, value, x, a) for x in outcomes]  # noqa: E731
    assert slopes(equivalent) == pytest.approx(0.0, abs=1e-6)
    assert slopes(equivalent - 0.05) < 0 < slopes(equivalent + 0.05)


def test_softplus_is_right_for_normal_targets_and_wrong_for_skewed_ones():
    a, mean, deviation = 1.5, 0.2, 0.6
    points, weights = np.polynomial.hermite_e.hermegauss(61)
    normal = mean + deviation * points
    weights = weights / weights.sum()
    equivalent = mean - a * deviation**2 / 2
    gradient = jax.vmap(jax.grad(losses.softplus_loss), in_axes=(None, 0, None))
    assert weights @ np.asarray(gradient(jnp.float32(equivalent), jnp.asarray(normal, jnp.float32), a)) == pytest.approx(
        0, abs=1e-5
    )
    outcomes, chances = np.array([-2.0, 0.5]), np.array([0.1, 0.9])
    skewed = -np.log(chances @ np.exp(-a * outcomes)) / a
    assert abs(chances @ [slope(losses.softplus_loss, skewed, x, a) for x in outcomes]) > 0.05


def test_mean_variance_is_the_expansion_of_itakura_saito():
    for error in (-0.02, 0.03):
        exact = slope(losses.itakura_saito_loss, 0.0, error, 1.0)
        assert slope(losses.mean_variance_loss, 0.0, error, 1.0) == pytest.approx(exact, abs=abs(error) ** 3)


@pytest.mark.parametrize("loss", NAMES)
def test_small_risk_aversion_leaves_the_squared_error(loss):
    assert slope(entropic_td.LOSSES[loss], 0.2, 0.5, 1e-3) == pytest.approx(-0.3, rel=2e-3)


# ---- learning


def learned(env, loss="itakura_saito", num_updates=30, **changes):
    config = entropic_td.Config(loss=loss, num_envs=4, num_steps=50, **changes)
    return np.asarray(run(entropic_td.make, env, config, seeds=4, num_updates=num_updates).state.q)


@pytest.mark.parametrize("loss", NAMES)
def test_certain_rewards_are_worth_themselves(loss):
    q = learned(probes.constant_reward(), loss, risk_aversion=0.5)
    np.testing.assert_allclose(q[:, 0], 1.0, atol=0.02)


def test_rewards_of_two_steps_are_not_discounted():
    q = learned(probes.delayed_reward())
    np.testing.assert_allclose(q[:, :2], 1.0, atol=0.02)


def test_observations_and_masks_count():
    q = learned(probes.observation_dependent_reward())
    np.testing.assert_allclose(q[:, 0], -1.0, atol=0.02)
    np.testing.assert_allclose(q[:, 1], 1.0, atol=0.02)
    q = learned(probes.masked_action())
    assert (q[:, 0, 2] == 0).all()


def test_a_time_limit_is_not_an_end():
    """Reward 1 for ever, without discount: values must keep growing beyond the 3 steps of the limit, and not beyond an end."""
    q = learned(probes.limit_or_end(), learning_rate_hold=1e9)
    assert (q[:, 0] > 5).all()
    np.testing.assert_allclose(q[:, 1], 1.0, atol=0.02)


@pytest.mark.slow
def test_values_of_the_normal_portfolio():
    """The closed form, at two risk aversions: mean error over seeds within 5 %, fixed beforehand."""
    for aversion in (0.5, 10.0):
        best = gaussian_portfolio.best_amount(0.05, 0.2, aversion)
        env = gaussian_portfolio.make(tuple(best * m for m in (0, 0.5, 1, 1.5, 2)), num_steps=3)
        config = entropic_td.Config(risk_aversion=aversion, learning_rate_hold=20.0, epsilon=0.8, num_envs=64, num_steps=60)
        done = run(entropic_td.make, env, config, seeds=8, num_updates=100)
        q = np.asarray(done.state.q)[:, :3]
        exact = [gaussian_portfolio.certainty_equivalent(0.05, 0.2, aversion, left) for left in (3, 2, 1)]
        np.testing.assert_allclose(q.max(-1).mean(0), exact, rtol=0.05)
        assert (np.abs(q.argmax(-1) - 2) <= 1).all()


def test_exact_loss_is_not_needed_for_a_policy_but_shifts_break_the_squared_one():
    """Rewards moved by 20: the estimate of the squared exponential error is far off or not a number, that of ours is near."""
    env = gaussian_portfolio.make((1.25,), num_steps=1, shift=20.0)
    ours, theirs = (learned(env, loss, num_updates=20, learning_rate_hold=100.0)[:, 0, 0] for loss in NAMES[:2])
    np.testing.assert_allclose(ours, 20 + 0.03125, atol=0.02)
    assert (~(np.abs(theirs - 20) < 5)).all()


def test_portfolio_environment():
    check_environment(envs.make("gaussian_portfolio"), KEY, rebuilt=envs.make("gaussian_portfolio", shift=3.0))
    with pytest.raises(ConfigError, match="num_steps"):
        gaussian_portfolio.make(num_steps=0)


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        ("cartpole", {}, SpaceError, "observation_space must be Discrete"),
        ("prisoners_dilemma", {}, ConfigError, "no agent axis"),
        ("corridor", {"loss": "itakura"}, UnknownNameError, "Did you mean 'itakura_saito'"),
        ("corridor", {"risk_aversion": 0.0}, ConfigError, "risk_aversion must be positive"),
        ("corridor", {"epsilon": 2.0}, ConfigError, "epsilon must lie in"),
        ("corridor", {"learning_rate_hold": -1.0}, ConfigError, "learning_rate_hold must be at least 0"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(entropic_td.make, envs.make(env), entropic_td.Config(**changes), seeds=2, num_updates=2)
