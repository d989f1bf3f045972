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


def random_problem(seed, n=3, m=2, noise=None):
    """A random stable or unstable problem with full cost matrices."""
    random = np.random.default_rng(seed)
    q, r = random.standard_normal((n, n)), random.standard_normal((m, m))
    return lqr.make(
        dynamics=random.standard_normal((n, n)) * 0.7,
        control=random.standard_normal((n, m)),
        state_cost=q @ q.T,
        action_cost=r @ r.T + 0.1 * np.eye(m),
        noise=noise,
    )


def closed_loop_cost(params, gain, gamma, num_steps=2000):
    """The expected discounted cost of u = -K x by carrying the covariance of the state along, in float64."""
    a, b, q, r = (np.asarray(x, np.float64) for x in (params.dynamics, params.control, params.state_cost, params.action_cost))
    noise = np.zeros_like(a) if params.noise is None else np.asarray(params.noise, np.float64)
    covariance, closed, total = float(params.start) ** 2 / 3 * np.eye(len(a)), a - b @ gain, 0.0
    for t in range(num_steps):
        total += gamma**t * np.trace((q + gain.T @ r @ gain) @ covariance)
        covariance = closed @ covariance @ closed.T + noise @ noise.T
    return total


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_problems(seed, noise):
    """The optimal cost is that of the optimal gain, and no other gain costs less."""
    params = random_problem(seed, noise=noise).params
    solution = lqr.riccati(params, 0.95)
    assert closed_loop_cost(params, solution.gain, 0.95) == pytest.approx(solution.cost, rel=1e-6)
    assert lqr.policy_cost(params, solution.gain, 0.95) == pytest.approx(solution.cost, rel=1e-9)
    random = np.random.default_rng(seed)
    for size in (0.01, 0.1):
        other = solution.gain + size * random.standard_normal(solution.gain.shape)
        cost = lqr.policy_cost(params, other, 0.95)
        assert cost > solution.cost
        if np.isfinite(cost):
            assert closed_loop_cost(params, other, 0.95) == pytest.approx(cost, rel=1e-4)


def test_a_gain_that_does_not_hold_the_state_costs_infinity():
    params = lqr.make(dynamics=[[1.2]], control=[[1.0]]).params
    assert lqr.policy_cost(params, [[0.0]], 0.99) == np.inf
    assert np.isfinite(lqr.policy_cost(params, [[0.5]], 0.99))
    assert np.isfinite(lqr.policy_cost(params, [[0.0]], 0.5))  # growth 1.44 times discount 0.5


@pytest.mark.parametrize("noise", [None, 0.3])
def test_finite_horizon(noise):
    """Two steps by hand; and many steps cost what infinitely many do."""
    params = random_problem(4, noise=noise).params
    a, b, q, r = (np.asarray(x, np.float64) for x in (params.dynamics, params.control, params.state_cost, params.action_cost))
    gamma, covariance = 0.9, np.zeros((3, 3)) if noise is None else noise**2 * np.eye(3)
    two = lqr.finite_horizon(params, gamma, 2)
    np.testing.assert_allclose(two.gain[1], 0.0, atol=1e-12)  # the last action leads nowhere
    np.testing.assert_allclose(two.cost_to_go[1], q)
    gain = np.linalg.solve(r + gamma * b.T @ q @ b, gamma * b.T @ q @ a)
    np.testing.assert_allclose(two.gain[0], gain)
    closed = a - b @ gain
    expected = np.trace(q + gain.T @ r @ gain + gamma * closed.T @ q @ closed) / 3 + gamma * np.trace(q @ covariance)
    assert two.cost == pytest.approx(expected, rel=1e-6)
    many, forever = lqr.finite_horizon(params, gamma, 500), lqr.riccati(params, gamma)
    assert many.cost == pytest.approx(forever.cost, rel=1e-8)
    np.testing.assert_allclose(many.gain[0], forever.gain, atol=1e-8)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_costs_in_other_units_have_the_same_solution(unit):
    plain, scaled = (
        lqr.riccati(lqr.make(state_cost=factor * np.eye(2), action_cost=[[factor / 8]]).params, GAMMA) for factor in (1.0, unit)
    )
    np.testing.assert_allclose(scaled.gain, plain.gain, rtol=1e-6)
    assert scaled.cost == pytest.approx(unit * plain.cost, rel=1e-6)
    assert scaled.residual < 1e-12


def test_a_weak_input_is_used_to_the_last_digit():
    """With b close to 0 the cost of holding the state is (a^2 - 1 / gamma) r / b^2, here 1e17."""
    params = lqr.make(dynamics=[[1.25]], control=[[2.0**-30]], action_cost=[[0.125]]).params
    solution = lqr.riccati(params, 0.75)
    assert solution.cost_to_go.item() == pytest.approx((1.25**2 - 1 / 0.75) * 0.125 * 2.0**60, rel=1e-12)
    assert solution.residual < 1e-12
    assert lqr.policy_cost(params, solution.gain, 0.75) == pytest.approx(solution.cost, rel=1e-12)


def test_a_state_that_costs_nothing_is_let_go():
    """Holding an unstable state costs inputs; if the state itself is free, the least cost is that of not holding it."""
    free = lqr.make(dynamics=[[1.2]], control=[[1.0]], state_cost=[[0.0]]).params
    solution = lqr.riccati(free, GAMMA)
    assert (solution.cost, solution.gain.item()) == (0.0, 0.0)
    assert lqr.policy_cost(free, [[0.0]], GAMMA) == 0.0
    one = lqr.make(dynamics=[[1.2, 0.0], [0.3, 0.5]], control=[[1.0], [1.0]], state_cost=np.diag([0.0, 1.0])).params
    other = lqr.make(dynamics=[[1.2, 0.0], [0.0, 0.5]], control=[[1.0], [1.0]], state_cost=np.diag([0.0, 1.0])).params
    for params in (one, other):  # the first is seen through the second, or not at all
        solution = lqr.riccati(params, GAMMA)
        assert solution.cost == pytest.approx(lqr.finite_horizon(params, GAMMA, 3000).cost, rel=1e-9)
        assert lqr.policy_cost(params, solution.gain, GAMMA) == pytest.approx(solution.cost, rel=1e-9)


def test_noise_has_the_stated_covariance():
    factor = [[0.5, 0.0], [0.3, 0.1]]
    env = lqr.make(noise=factor)
    keys = jax.random.split(jax.random.key(0), 20_000)
    states = jax.jit(jax.vmap(env.step, in_axes=(0, None, None)))(keys, jnp.zeros(2), jnp.zeros(1)).state
    np.testing.assert_allclose(np.cov(states.T), np.array(factor) @ np.array(factor).T, atol=0.01)


def test_problems_are_solved_by_simulation_too():
    """The mean return of the optimal gain over simulated episodes, noise included, is minus the finite-horizon cost."""
    env = lqr.make(noise=0.2, max_steps=50)
    gains = jnp.asarray(lqr.finite_horizon(env.params, 0.97, 50).gain, jnp.float32)

    def episode(key):
        start_key, step_key = jax.random.split(key)

        def go(carry, inputs):
            state, discount = carry
            step = env.step(inputs[0], state, -inputs[1] @ state)
            return (step.state, 0.97 * discount), discount * step.reward

        return jax.lax.scan(go, (env.reset(start_key)[1], 1.0), (jax.random.split(step_key, 50), gains))[1].sum()

    returns = np.asarray(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(1), 4096)))
    error = float(returns.std()) / 64
    assert returns.mean() == pytest.approx(-lqr.finite_horizon(env.params, 0.97, 50).cost, abs=4 * error)


def test_what_cannot_be_controlled_is_named():
    params = lqr.make(dynamics=[[1.5, 0.0], [0.0, 0.5]], control=[[0.0], [1.0]]).params
    with pytest.raises(ConfigError, match="stabilising solution"):
        lqr.riccati(params, 0.99)


def test_noise_wants_a_discount():
    params = lqr.make(noise=1.0).params
    with pytest.raises(ConfigError, match="gamma must be below 1"):
        lqr.riccati(params, 1.0)
    assert np.isfinite(lqr.finite_horizon(params, 1.0, 10).cost)


def test_a_gain_must_have_its_shape():
    with pytest.raises(ConfigError, match=r"\[1, 2\]"):
        lqr.policy_cost(lqr.make().params, [1.0, 2.0], 0.9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(dynamics=np.eye(2)), "together"),
        (dict(dynamics=np.eye(2), control=np.ones((3, 1))), r"\[n, n\]"),
        (dict(state_cost=np.eye(3)), r"state_cost must be \[2, 2\]"),
        (dict(state_cost=[[1.0, 1.0], [0.0, 1.0]]), "symmetric"),
        (dict(state_cost=-np.eye(2)), "smallest eigenvalue of state_cost must be at least 0"),
        (dict(action_cost=[[0.0]]), "smallest eigenvalue of action_cost must be positive"),
        (dict(state_cost=[[1e-9, 1e-9], [0.0, 1e-9]]), "symmetric"),
        (dict(state_cost=-1e-10 * np.eye(2)), "smallest eigenvalue of state_cost must be at least 0"),
        (dict(action_cost=[[1e-60]]), "smallest eigenvalue of action_cost must be positive"),
        (dict(noise=np.eye(3)), r"noise must be a number or \[2, 2\]"),
        (dict(state_cost=[[np.nan, 0.0], [0.0, 1.0]]), "all matrices must be finite"),
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
