"""Optimisers: the rate by hand, and one step against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl.blocks import optimisers
from jaxrl.core.averages import average, pooled


def test_an_annealed_rate_ends_at_zero_and_an_infinite_time_keeps_it():
    rate = jax.jit(lambda steps, count: optimisers.annealed(0.5, steps)(count))
    np.testing.assert_allclose([rate(4.0, count) for count in range(6)], [0.5, 0.375, 0.25, 0.125, 0, 0])
    np.testing.assert_allclose(rate(jnp.inf, 10**6), 0.5)


def test_a_step_is_that_of_optax_on_the_cut_gradient():
    """Whose norm, over all parameters together, is 5 before and 1 after."""
    params = {"first": jnp.array([3.0]), "second": jnp.array([4.0, 0.0])}

    def loss(params, batch):
        value = batch * 0.5 * optax.tree.norm(params, squared=True)
        return value, {"loss": value}

    optimiser = optimisers.adam(0.1, 1.0, eps=0.1)
    step = optimisers.gradient_step(loss, optimiser)
    (found, _), metrics = step((params, optimiser.init(params)), jnp.float32(1.0))
    np.testing.assert_allclose(metrics["loss"], 12.5)
    for name, leaf in params.items():
        gradient = leaf / 5
        np.testing.assert_allclose(found[name], leaf - 0.1 * gradient / (jnp.abs(gradient) + 0.1), rtol=1e-5)


def test_a_penalty_is_added_to_the_loss_and_measured():
    def loss(params, batch):
        return batch * params, {"loss": batch * params}

    total = optimisers.penalised(loss, jnp.square, 0.25)
    (value, metrics), gradient = jax.value_and_grad(total, has_aux=True)(jnp.float32(2.0), jnp.float32(3.0))
    assert (value, gradient) == (3 * 2 + 0.25 * 4, 3 + 0.25 * 4)
    assert metrics == {"loss": 6.0, "penalty": 4.0}


@pytest.mark.parametrize("gradient", [[0.0, 0.0], [1e25, -1.0]])
def test_without_a_bound_nothing_is_cut(gradient):
    """Neither zeros nor a gradient whose norm overflows are NaN, not even in a branch that is not taken."""
    optimiser, params = optimisers.adam(0.1, np.inf, eps=0.1), {"a": jnp.zeros(2)}
    with jax.debug_nans(True):
        found, state = jax.jit(optimiser.update)({"a": jnp.asarray(gradient)}, optimiser.init(params), params)
    assert np.isfinite(found["a"]).all()
    bounded = optimisers.adam(0.1, 1.0, eps=0.1).init(params)
    assert jax.tree.structure(state) == jax.tree.structure(bounded)


def divergences(batches, target):
    """Steps that add a batch to x, where the divergence is x before the step: what is left, and the metrics."""
    optimiser = optimisers.adam(optimisers.annealed(0.5, 4.0), jnp.inf, eps=0.1)

    def step(carry, batch):
        x, opt_state = carry
        updates, opt_state = optimiser.update(-batch, opt_state, x)
        return (optax.apply_updates(x, updates), opt_state), {"approximate_kl": average(x[None]), "loss": batch}

    x = jnp.float32(0.0)
    start = (x, optimiser.init(x)), jnp.bool_(True)
    ((x, opt_state), _), metrics = jax.lax.scan(optimisers.steps_within(step, target), start, jnp.asarray(batches, jnp.float32))
    return x, opt_state, metrics


def test_no_step_is_made_beyond_the_target():
    """Each step is about 0.45 times what is left of the rate; the third batch finds 0.8, the second 0.45."""
    plain = [divergences([1.0] * length, jnp.inf) for length in range(5)]
    np.testing.assert_array_equal(plain[4][2]["gradient_steps"], 1.0)
    assert 0.45 < plain[2][0] < 0.85
    for target, made in ((1e-6, 1), (float(plain[1][0]), 2), (0.5, 2), (1e6, 4)):
        x, opt_state, metrics = divergences([1.0, 1.0, 1.0, 1.0], target)
        np.testing.assert_array_equal(x, plain[made][0])
        np.testing.assert_array_equal(metrics["gradient_steps"], [1.0] * made + [0.0] * (4 - made))
        # The moments stay, and the schedule of the rate goes on.
        moments, schedule = jax.tree.leaves(opt_state)[:-1], jax.tree.leaves(opt_state)[-1]
        jax.tree.map(np.testing.assert_array_equal, moments, jax.tree.leaves(plain[made][1])[:-1])
        assert schedule == 4


def test_metrics_end_with_the_batch_that_is_too_far():
    _, _, metrics = divergences([1.0, 2.0, 3.0, 4.0], 1e-6)
    found = pooled(metrics)
    np.testing.assert_allclose(found["loss"].mean, 1.5)
    np.testing.assert_allclose(found["loss"].count, 2)
    assert 0.4 < found["approximate_kl"].total < 0.5


def test_a_divergence_that_is_nan_stops_too():
    _, _, metrics = divergences([jnp.nan, 1.0, 1.0], jnp.inf)
    np.testing.assert_array_equal(metrics["gradient_steps"], [1.0, 0.0, 0.0])


@pytest.mark.parametrize("size", [3, 300])
def test_adam_is_the_same_for_few_parameters_and_for_many(size):
    """Above ``MOST_FLAT`` parameters arrays stay apart, below they are one vector: the steps are those of optax either way."""
    params = {"w": jnp.linspace(-1.0, 1.0, size * size, dtype=jnp.float32).reshape(size, size), "b": jnp.ones(size, jnp.float32)}
    ours, theirs = optimisers.adam(0.1, 1.0, 1e-5), optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1, eps=1e-5))
    assert (size * size + size > optimisers.MOST_FLAT) == (size == 300)
    ends = []
    for optimiser in (ours, theirs):

        @jax.jit
        def steps(params, optimiser=optimiser):
            state = optimiser.init(params)
            for _ in range(3):
                updates, state = optimiser.update(jax.tree.map(jnp.sin, params), state, params)
                params = optax.apply_updates(params, updates)
            return params

        ends.append(steps(params))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6), *ends)
