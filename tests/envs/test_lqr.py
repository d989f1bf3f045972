"""LQR: the Riccati solution against its published numbers, and the environment against the Riccati solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.control import lqr
from jaxrl.errors import ConfigError

GAMMA = 0.99


def test_riccati_of_the_double_integrator():
    solution = lqr.riccati(lqr.make().params, GAMMA)
    np.testing.assert_allclose(solution.cost_to_go, [[12.999074, 3.624506], [3.624506, 4.847881]], atol=2e-6)
    np.testing.assert_allclose(solution.gain, [[2.424599, 3.485430]], atol=2e-6)
    assert solution.cost == pytest.approx(5.948985, abs=2e-6)


def test_optimal_policy_costs_what_riccati_says():
    env = lqr.make(max_steps=300)
    solution = lqr.riccati(env.params, GAMMA)
    gain = jnp.asarray(solution.gain, jnp.float32)

    @jax.jit
    def discounted_cost(state):
        def body(state, discount):
            step = env.step(jax.random.key(0), state, -gain @ state)
            return step.state, -discount * step.reward

        return jax.lax.scan(body, state, GAMMA ** jnp.arange(300.0))[1].sum()

    for state in ([1.0, 0.0], [-0.5, 0.8]):
        expected = np.asarray(state) @ solution.cost_to_go @ np.asarray(state)
        assert discounted_cost(jnp.array(state, jnp.float32)) == pytest.approx(expected, rel=1e-4)


def test_reset_has_the_variance_that_the_expected_cost_assumes():
    env = lqr.make(start=2.0)
    states, _ = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(np.cov(states.T), np.eye(2) * 4 / 3, atol=0.1)


def test_problem_of_ones_own():
    """One state, one input, a = b = q = r = 1, no discount: P is the golden ratio."""
    env = lqr.make(dynamics=[[1.0]], control=[[1.0]], action_cost=[[1.0]])
    assert lqr.riccati(env.params, 1.0).cost_to_go.item() == pytest.approx((1 + np.sqrt(5)) / 2)
    assert env.action_space.shape == (1,)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(dynamics=np.eye(2)), "together"),
        (dict(dynamics=np.eye(2), control=np.ones((3, 1))), r"\[n, n\]"),
        (dict(state_cost=np.eye(3)), r"state_cost must be \[2, 2\]"),
        (dict(state_cost=[[1.0, 1.0], [0.0, 1.0]]), "symmetric"),
        (dict(state_cost=-np.eye(2)), "smallest eigenvalue of state_cost must be at least 0"),
        (dict(action_cost=[[0.0]]), "smallest eigenvalue of action_cost must be positive"),
        (dict(start=-1.0), "start must not be negative"),
        (dict(max_steps=0), "max_steps"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ConfigError, match=message):
        lqr.make(**parameters)


def test_riccati_wants_a_discount():
    with pytest.raises(ConfigError, match="gamma"):
        lqr.riccati(lqr.make().params, 1.5)
