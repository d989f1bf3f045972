"""Multipliers: the step of the source, its floor at 0, where there is no estimate, and several budgets at once."""

import jax.numpy as jnp
import numpy as np

from jaxrl.blocks import lagrangian


def test_a_multiplier_rises_with_the_excess_and_never_falls_below_zero():
    multiplier = lagrangian.init()
    assert (float(multiplier), multiplier.dtype) == (0.0, jnp.float32)
    path = []
    for cost in (3.0, 3.0, 0.5, 0.0, 0.0):
        multiplier = lagrangian.updated(multiplier, jnp.float32(cost), budget=1.0, rate=0.5)
        path.append(float(multiplier))
    np.testing.assert_allclose(path, [1.0, 2.0, 1.75, 1.25, 0.75])
    np.testing.assert_allclose(lagrangian.updated(jnp.float32(0.2), jnp.float32(0.0), 1.0, 0.5), 0.0)


def test_without_an_estimate_it_stays():
    kept = lagrangian.updated(jnp.array([0.5, 0.5]), jnp.array([jnp.nan, 2.0]), 1.0, 0.1, jnp.array([False, True]))
    np.testing.assert_allclose(kept, [0.5, 0.6])


def test_prices_are_taken_off_rewards():
    reward, costs = jnp.array([1.0, 2.0]), jnp.array([[1.0, 0.0], [3.0, 10.0]])
    np.testing.assert_allclose(lagrangian.penalised(reward, costs, jnp.array([0.5, 0.1])), [0.5, -0.5])
    np.testing.assert_allclose(lagrangian.penalised(reward, costs[:, 0], jnp.float32(0.5)), [0.5, 0.5])


def test_dual_ascent_finds_the_price_at_which_two_policies_tie():
    """Rewards -5.851985 at no cost, -3.940399 at cost 2.9701: the price of the occupancy programme is 0.643610."""
    rewards, costs, budget = jnp.array([-5.851985, -3.940399]), jnp.array([0.0, 2.9701]), 1.0
    multiplier, taken = lagrangian.init(), []
    for _ in range(4000):
        best = int(jnp.argmax(lagrangian.penalised(rewards, costs, multiplier)))
        multiplier = lagrangian.updated(multiplier, costs[best], budget, 0.01)
        taken.append(best)
    assert abs(float(multiplier) - 1.911586 / 2.9701) < 0.03
    share = np.mean(taken[2000:])
    np.testing.assert_allclose(share, budget / 2.9701, atol=0.01)
    np.testing.assert_allclose((1 - share) * rewards[0] + share * rewards[1], -5.208375, atol=0.02)
