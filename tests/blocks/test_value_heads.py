"""Value heads against rlax, closed forms, and the properties that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from jaxrl.algorithms.deep import dqn
from jaxrl.blocks import value_heads
from jaxrl.blocks.value_heads import Categorical, Mean, Quantile
from jaxrl.errors import ConfigError, UnknownNameError

CATEGORICAL, QUANTILE = Categorical(-2.0, 3.0, 11), Quantile(0.7, 5)
GAMMA = 0.9


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def transition():
    reward, terminated = 2.0 * normal(0, 8), jnp.arange(8) % 3 == 0
    return reward, terminated, jnp.where(terminated, 0.0, GAMMA)


def test_the_projection_is_that_of_rlax():
    moved, probability = 3.0 * normal(1, 8, 7), jax.nn.softmax(normal(2, 8, 7))
    found = value_heads.project(CATEGORICAL.atoms, moved, probability)
    # rlax wants its support in order; masses follow their atoms.
    order = jnp.argsort(moved)
    theirs = jax.vmap(rlax.categorical_l2_project, (0, 0, None))(
        jnp.take_along_axis(moved, order, 1), jnp.take_along_axis(probability, order, 1), CATEGORICAL.atoms
    )
    np.testing.assert_allclose(found, theirs, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-6)
    inside = jnp.clip(moved, -2.0, 3.0)
    np.testing.assert_allclose((found * CATEGORICAL.atoms).sum(-1), (inside * probability).sum(-1), atol=1e-5)


@pytest.mark.filterwarnings("ignore:Rlax categorical_cross_entropy:PendingDeprecationWarning")
def test_the_loss_of_c51_is_that_of_rlax():
    outputs, following = normal(3, 8, 3, 11), normal(4, 8, 3, 11)
    selector, action = normal(5, 8, 3, 11), jnp.arange(8) % 3
    reward, terminated, discount = transition()
    best = CATEGORICAL.mean(selector).argmax(-1)
    target = CATEGORICAL.target(reward, value_heads.chosen(following, best), terminated, GAMMA)
    found = CATEGORICAL.loss(value_heads.chosen(outputs, action), target)
    atoms = CATEGORICAL.atoms
    theirs = jax.vmap(rlax.categorical_double_q_learning, (None, 0, 0, 0, 0, None, 0, 0))
    expected = theirs(atoms, outputs, action, reward, discount, atoms, following, CATEGORICAL.mean(selector))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_loss_of_quantiles_is_that_of_rlax():
    outputs, following = normal(3, 8, 3, 5), normal(4, 8, 3, 5)
    selector, action = normal(5, 8, 3, 5), jnp.arange(8) % 3
    reward, terminated, discount = transition()
    best = QUANTILE.mean(selector).argmax(-1)
    target = QUANTILE.target(reward, value_heads.chosen(following, best), terminated, GAMMA)
    found = QUANTILE.loss(value_heads.chosen(outputs, action), target)
    levels = (jnp.arange(5) + 0.5) / 5

    def theirs(*each):
        # Theirs has quantiles in front of actions.
        mine, chosen, *rest, selecting, valuing = each
        return rlax.quantile_q_learning(mine.T, levels, chosen, *rest, selecting.T, valuing.T, 0.7)

    def total(outputs):
        losses = jax.vmap(theirs)(outputs, action, reward, discount, selector, following) / 0.7  # ours is divided by kappa
        return losses.sum(), losses

    slope, expected = jax.grad(total, has_aux=True)(outputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    mine = jax.grad(lambda outputs: (QUANTILE.loss(value_heads.chosen(outputs, action), target)).sum())(outputs)
    np.testing.assert_allclose(mine, slope, rtol=1e-5, atol=1e-6)


def test_laws_and_quantiles_keep_double_precision():
    with jax.enable_x64(True):
        atoms, moved, mass = jnp.linspace(0.0, 1.0, 5), jnp.array([0.1, 0.6]), jnp.array([0.25, 0.75])
        law = value_heads.project(atoms, moved, mass)
        assert law.dtype == jnp.float64
        np.testing.assert_allclose(law @ atoms, moved @ mass, rtol=1e-14)
        loss = value_heads.quantile_loss(jnp.array([0.0, 1.0]), jnp.array([0.5]), 1.0)
        assert loss.dtype == jnp.float64
        assert float(loss) == pytest.approx((0.25 + 0.25) * 0.125, rel=1e-14)


def test_quantile_regression_finds_the_quantiles():
    """Of a uniform law on 0 .. 1, as kappa tends to 0: the midpoints."""
    head, samples = Quantile(1e-3, 4), jnp.linspace(0.0, 1.0, 2001)
    gradient = jax.jit(jax.grad(lambda outputs: Quantile.loss(head, outputs, samples)))
    found = jnp.zeros(4)
    for step in range(400):
        found = found - 0.5 * 0.99**step * gradient(found)
    np.testing.assert_allclose(found, [0.125, 0.375, 0.625, 0.875], atol=5e-3)


@pytest.mark.parametrize("head", [Mean(), CATEGORICAL, QUANTILE])
def test_the_target_has_the_mean_of_the_backup(head):
    """Inside the atoms; where the episode terminated, outputs of any size do not matter."""
    following = 0.3 * normal(6, 6, *([head.num_atoms] if head.num_atoms else []))
    reward, terminated = 0.2 * normal(7, 6), jnp.array([True, False] * 3)
    target = head.target(reward, following, terminated, GAMMA)
    expected = reward + GAMMA * jnp.where(terminated, 0.0, head.mean(following))
    np.testing.assert_allclose(head.mean_of_target(target), expected, atol=1e-5)
    # An output that equals its target has error 0 and no gradient.
    outputs = jnp.log(target) if isinstance(head, Categorical) else target
    outputs = jnp.where(jnp.isfinite(outputs), outputs, -50.0)
    np.testing.assert_allclose(head.error(outputs, target), 0.0, atol=1e-5)
    assert (head.error(outputs + normal(8, *outputs.shape), target) > 1e-4).all()
    if not isinstance(head, Quantile):
        gradient = jax.grad(lambda outputs: head.loss(outputs, target).sum())(outputs)
        np.testing.assert_allclose(gradient, 0.0, atol=1e-5)


def test_no_gradient_flows_through_targets():
    for head in (Mean(), CATEGORICAL, QUANTILE):
        outputs = normal(9, 4, *([head.num_atoms] if head.num_atoms else []))
        gradient = jax.grad(lambda x, head=head: head.target(jnp.ones(4), x, jnp.zeros(4, bool), GAMMA).sum())(outputs)
        assert not gradient.any()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"head": "categorcal"}, UnknownNameError, "no head is named 'categorcal'. Did you mean 'categorical'"),
        ({"head": "categorical", "num_atoms": 1}, ConfigError, "num_atoms must be"),
        ({"head": "categorical", "value_min": 3.0, "value_max": 3.0}, ConfigError, r"value_min must lie below value_max \(3.0\)"),
        ({"head": "quantile"}, ConfigError, "huber_delta must be finite for quantiles.*Try huber_delta=1.0"),
    ],
)
def test_heads_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        value_heads.require_head("dqn", dqn.Config(**changes))
