"""Losses and targets: values by hand, both sides of every bound, exact expectations, and rlax as an oracle."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl.blocks import losses
from jaxrl.errors import ConfigError

with warnings.catch_warnings():
    # tfp-nightly, which rlax imports, reads a name that jax has deprecated.
    warnings.filterwarnings("ignore", message="jax.core.pytype_aval_mappings", category=DeprecationWarning)
    import rlax

CLIP = 0.2


def test_policy_gradient_loss_by_hand():
    loss, gradient = jax.value_and_grad(losses.policy_gradient_loss)(jnp.log(0.25), 3.0)
    np.testing.assert_allclose([loss, gradient], [3 * np.log(4), -3], rtol=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.3, 1.0, -1.2, 0.0),  # a good action, already likelier by more than the bound: no reason to go on
        (1.1, 1.0, -1.1, -1.1),
        (0.7, 1.0, -0.7, -0.7),  # a good action that became unlikely is always pulled back
        (0.7, -1.0, 0.8, 0.0),  # a bad action, already rarer by more than the bound
        (0.9, -1.0, 0.9, 0.9),
        (1.3, -1.0, 1.3, 1.3),
    ],
)
def test_surrogate_on_both_sides_of_each_bound(ratio, advantage, loss, gradient):
    """The gradient is with respect to the log-ratio, so that it is the ratio times minus the advantage, or 0."""
    found = jax.value_and_grad(losses.clipped_surrogate_loss)(jnp.log(ratio), advantage, CLIP)
    np.testing.assert_allclose(found, (loss, gradient), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("delta", [0.5, 1.0, 100.0])
def test_huber_loss_is_optaxs(delta):
    value, target = np.random.default_rng(2).normal(size=(2, 50)).astype(np.float32) * 3
    found = jax.vmap(jax.value_and_grad(losses.huber_loss), in_axes=(0, 0, None))(value, target, delta)
    expected = jax.vmap(jax.value_and_grad(lambda v, t: optax.huber_loss(v, t, delta=delta)))(value, target)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("delta", [1e9, np.inf])
def test_huber_loss_with_a_large_delta_is_the_squared_loss(delta):
    np.testing.assert_allclose(jax.value_and_grad(losses.huber_loss)(5.0, 2.0, delta), (4.5, 3.0), rtol=1e-6)
    np.testing.assert_allclose(jax.value_and_grad(losses.huber_loss)(2.0, 2.0, delta), (0.0, 0.0))


def test_surrogate_gradient_at_ratio_one_is_the_policy_gradient():
    logits = jnp.array([0.3, -0.7, 1.1])
    actions, advantages = jnp.array([0, 1, 2, 1]), jnp.array([1.0, -2.0, 0.5, 3.0])
    old = jax.nn.log_softmax(logits)[actions]

    def surrogate(logits):
        return losses.clipped_surrogate_loss(jax.nn.log_softmax(logits)[actions] - old, advantages, CLIP).mean()

    def policy_gradient(logits):
        return losses.policy_gradient_loss(jax.nn.log_softmax(logits)[actions], advantages).mean()

    np.testing.assert_allclose(jax.grad(surrogate)(logits), jax.grad(policy_gradient)(logits), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(surrogate(logits), -advantages.mean(), rtol=1e-6)


def test_rlax_agrees_on_the_surrogate():
    random = np.random.default_rng(0)
    log_ratio, advantage = random.normal(size=(2, 50)).astype(np.float32)
    found = losses.clipped_surrogate_loss(log_ratio, advantage, CLIP).mean()
    expected = rlax.clipped_surrogate_pg_loss(np.exp(log_ratio), advantage, CLIP)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_minimiser_of_the_expectile_loss():
    """Of targets 0, 1 and 4 the 0.8-expectile lies above 1, where 0.8 (4 - v) = 0.2 (v - 0) + 0.2 (v - 1): at 17/6."""
    targets = jnp.float32([0.0, 1.0, 4.0])

    def loss(value, expectile):
        return losses.expectile_loss(value, targets, expectile).sum()

    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(17 / 6), 0.8), 0.0, atol=1e-5)
    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(5 / 3), 0.5), 0.0, atol=1e-5)
    np.testing.assert_allclose(losses.expectile_loss(1.0, 3.0, 0.5), losses.squared_value_loss(1.0, 3.0))
    np.testing.assert_allclose(losses.expectile_loss(1.0, 3.0, 0.9), 3.6, rtol=1e-6)
    np.testing.assert_allclose(losses.expectile_loss(3.0, 1.0, 0.9), 0.4, rtol=1e-6)
    assert jax.grad(losses.expectile_loss, argnums=1)(1.0, 3.0, 0.9) == 0
    with pytest.raises(ConfigError, match=r"expectile must lie in \(0, 1\), got 1.0"):
        losses.expectile_loss(1.0, 3.0, 1.0)


def test_squared_value_loss_by_hand():
    loss, gradient = jax.value_and_grad(losses.squared_value_loss)(3.0, 1.0)
    np.testing.assert_allclose([loss, gradient], [2.0, 2.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [
        (1.5, 3.0, 0.5 * (3.0 - 1.2) ** 2, 0.0),  # moved up beyond the bound, towards the target: stop
        (1.1, 3.0, 0.5 * (3.0 - 1.1) ** 2, -1.9),
        (1.5, 0.0, 0.5 * 1.5**2, 1.5),  # moved up beyond the bound, away from the target: pulled back
        (0.5, -1.0, 0.5 * 1.8**2, 0.0),
        (0.5, 3.0, 0.5 * 2.5**2, -2.5),
    ],
)
def test_clipped_value_loss_on_both_sides_of_each_bound(value, target, loss, gradient):
    found = jax.value_and_grad(losses.clipped_value_loss)(value, 1.0, target, CLIP)
    np.testing.assert_allclose(found, (loss, gradient), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("estimator", [losses.kl_k1, losses.kl_k3])
def test_kl_estimators_are_unbiased(estimator):
    """Their exact expectation over the old policy's actions is KL(old || new)."""
    old, new = jax.nn.log_softmax(jnp.array([[0.5, -1.0, 0.2], [-0.3, 0.4, 1.0]]))
    expected = jnp.sum(jnp.exp(old) * (old - new))
    np.testing.assert_allclose(jnp.sum(jnp.exp(old) * estimator(new - old)), expected, rtol=1e-5)


def test_k3_is_never_negative_and_keeps_small_differences():
    log_ratio = jnp.array([-5.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 5.0])
    k3 = losses.kl_k3(log_ratio)
    assert bool((k3 >= 0).all())
    np.testing.assert_allclose(k3[jnp.array([2, 4])], 0.5e-6, rtol=1e-2)


NEXT_VALUES = jnp.array([1.0, 5.0, 3.0])
SELECTOR = jnp.array([0.0, -1.0, 2.0])
GAMMA = 0.9


@pytest.mark.parametrize("jit", [False, True])
def test_targets_by_hand(jit):
    wrap = jax.jit if jit else lambda function: function
    going_on, ended = jnp.bool_(False), jnp.bool_(True)
    probabilities = jnp.array([0.5, 0.25, 0.25])
    targets = {
        2 + 0.9 * 5: (losses.q_learning_target, (NEXT_VALUES,)),
        2 + 0.9 * 3: (losses.double_q_target, (NEXT_VALUES, SELECTOR)),
        2 + 0.9 * 1: (losses.sarsa_target, (NEXT_VALUES, jnp.int32(0))),
        2 + 0.9 * 2.5: (losses.expected_sarsa_target, (NEXT_VALUES, probabilities)),
    }
    for expected, (target, arguments) in targets.items():
        np.testing.assert_allclose(wrap(target)(2.0, *arguments, going_on, GAMMA), expected, rtol=1e-6)
        np.testing.assert_allclose(wrap(target)(2.0, *arguments, ended, GAMMA), 2.0)


def test_masked_targets_ignore_illegal_actions():
    mask = jnp.array([True, False, False])
    values = jnp.array([-4.0, jnp.inf, 7.0])
    selector = jnp.array([-9.0, 1.0, jnp.nan])
    going_on, ended = jnp.bool_(False), jnp.bool_(True)
    np.testing.assert_allclose(losses.q_learning_target(2.0, values, going_on, GAMMA, mask), 2 - 3.6, rtol=1e-6)
    np.testing.assert_allclose(losses.double_q_target(2.0, values, selector, going_on, GAMMA, mask), 2 - 3.6, rtol=1e-6)
    greedy = mask.astype(jnp.float32)
    np.testing.assert_allclose(losses.expected_sarsa_target(2.0, values, greedy, going_on, GAMMA), 2 - 3.6, rtol=1e-6)
    # A terminal state may have no legal action at all.
    np.testing.assert_allclose(losses.q_learning_target(2.0, values, ended, GAMMA, jnp.zeros(3, bool)), 2.0)


def test_no_gradient_flows_through_targets_and_advantages():
    going_on, probabilities = jnp.bool_(False), jnp.array([0.5, 0.25, 0.25])
    for function in (
        lambda x: losses.q_learning_target(2.0, x, going_on, GAMMA),
        lambda x: losses.double_q_target(2.0, x, SELECTOR, going_on, GAMMA),
        lambda x: losses.sarsa_target(2.0, x, jnp.int32(0), going_on, GAMMA),
        lambda x: losses.expected_sarsa_target(2.0, x, probabilities, going_on, GAMMA),
        lambda x: losses.policy_gradient_loss(jnp.float32(-1.0), x).sum(),
        lambda x: losses.clipped_surrogate_loss(jnp.float32(0.1), x, CLIP).sum(),
        lambda x: losses.squared_value_loss(jnp.float32(1.0), x).sum(),
        lambda x: losses.huber_loss(jnp.float32(1.0), x).sum(),
        lambda x: losses.clipped_value_loss(jnp.float32(1.0), x, x, CLIP).sum(),
    ):
        np.testing.assert_array_equal(jax.grad(function)(NEXT_VALUES), 0)


def test_rlax_agrees_on_every_target():
    random = np.random.default_rng(1)
    values, next_values, selector = random.normal(size=(3, 20, 4)).astype(np.float32)
    reward = random.normal(size=20).astype(np.float32)
    action, next_action = random.integers(0, 4, size=(2, 20)).astype(np.int32)
    terminated = random.random(20) < 0.3
    probabilities = random.dirichlet(np.ones(4), size=20).astype(np.float32)
    discount = np.where(terminated, 0.0, GAMMA).astype(np.float32)
    chosen = values[np.arange(20), action]

    def batched(target, *per_item):
        return jax.vmap(lambda r, t, *rest: target(r, *rest, t, GAMMA))(reward, terminated, *per_item) - chosen

    expected = jax.vmap(rlax.q_learning)(values, action, reward, discount, next_values)
    np.testing.assert_allclose(batched(losses.q_learning_target, next_values), expected, atol=1e-6)
    expected = jax.vmap(rlax.double_q_learning)(values, action, reward, discount, next_values, selector)
    np.testing.assert_allclose(batched(losses.double_q_target, next_values, selector), expected, atol=1e-6)
    expected = jax.vmap(rlax.sarsa)(values, action, reward, discount, next_values, next_action)
    np.testing.assert_allclose(batched(losses.sarsa_target, next_values, next_action), expected, atol=1e-6)
    expected = jax.vmap(rlax.expected_sarsa)(values, action, reward, discount, next_values, probabilities)
    np.testing.assert_allclose(batched(losses.expected_sarsa_target, next_values, probabilities), expected, atol=1e-6)


@pytest.mark.parametrize("risk_aversion", [1e-20, 1e-8, 1e-6, 1e-3])
def test_itakura_saito_is_half_the_squared_error_where_risk_aversion_vanishes(risk_aversion):
    value, gradient = jax.value_and_grad(losses.itakura_saito_loss)(jnp.float32(0), jnp.float32(1), jnp.float32(risk_aversion))
    assert float(value) == pytest.approx(0.5, rel=1e-3)
    assert float(gradient) == pytest.approx(-1.0, rel=1e-3)


@pytest.mark.parametrize("log_ratio", [-0.5, -0.0999, -1e-3, 3e-6, 0.0999, 0.1001, 2.0])
def test_k3_keeps_its_digits(log_ratio):
    expected = np.expm1(np.float64(np.float32(log_ratio))) - np.float64(np.float32(log_ratio))
    assert float(losses.kl_k3(jnp.float32(log_ratio))) == pytest.approx(expected, rel=1e-5)
