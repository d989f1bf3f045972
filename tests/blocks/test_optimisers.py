"""Optimisers: the rate by hand, and one step against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl.blocks import optimisers


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
