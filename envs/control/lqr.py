"""Linear-quadratic regulator: x' = A x + B u + noise at cost x'Q x + u'R u, the control problem whose optimum is known exactly.

``riccati`` gives the optimal policy u = -K x and its expected cost, ``finite_horizon`` the same for a number of steps, and
``policy_cost`` the expected cost of any linear policy, so every algorithm's gap can be measured.

Source: Bertsekas, Dynamic Programming and Optimal Control, vol. 1 and, for the discounted infinite horizon, vol. 2,
the sections on linear systems and quadratic cost.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.env import Environment, Step
from jaxrl.errors import ConfigError, require
from jaxrl.spaces import Box

DOUBLE_INTEGRATOR = (((1.0, 0.1), (0.0, 1.0)), ((0.0,), (0.1,)))  # A and B: position and speed, pushed, time step 0.1


@struct.dataclass
class Params:
    """The matrices of n states and m inputs, all float32 and traced. Without noise nothing is drawn in a step."""

    dynamics: jax.Array  # [n, n], A
    control: jax.Array  # [n, m], B
    state_cost: jax.Array  # [n, n], Q
    action_cost: jax.Array  # [m, m], R
    start: jax.Array  # [], the first state is uniform in [-start, start]^n
    noise: jax.Array | None = None  # [n, n], N: every step adds N times a standard normal vector


class Solution(NamedTuple):
    """The optimal control of one problem.

    cost_to_go: float64[n, n], P: the discounted cost from x is x'P x.
    gain: float64[m, n], K: the optimal action is -K x.
    cost: the expected discounted cost from the initial distribution; minus the optimal expected return.

    Over a finite horizon of T steps both matrices are those of every step, [T, n, n] and [T, m, n].
    """

    cost_to_go: np.ndarray
    gain: np.ndarray
    cost: float


class _Matrices(NamedTuple):
    """The parameters in float64. start and noise: [n, n], the covariances of the first state and of the noise."""

    a: np.ndarray
    b: np.ndarray
    q: np.ndarray
    r: np.ndarray
    start: np.ndarray
    noise: np.ndarray


def reset(key, params):
    """Draws the first state uniformly from [-start, start]^n."""
    size = params.dynamics.shape[0]
    state = jax.random.uniform(key, (size,), jnp.float32, -1.0, 1.0) * params.start
    return state, state


def step(key, state, action, params):
    """Pays for the state and the action, then moves. There is no terminal state."""
    cost = state @ params.state_cost @ state + action @ params.action_cost @ action
    state = params.dynamics @ state + params.control @ action
    if params.noise is not None:
        state = state + params.noise @ jax.random.normal(key, state.shape, jnp.float32)
    return Step(state, state, -cost, jnp.bool_(False))


def _matrices(where: str, params: Params, gamma: float) -> _Matrices:
    require(0 < gamma <= 1, where, "gamma must lie in (0, 1]", gamma, "0.99 is the usual discount.")
    a, b, q, r, start = (
        np.asarray(leaf, np.float64)
        for leaf in (params.dynamics, params.control, params.state_cost, params.action_cost, params.start)
    )
    noise = np.zeros_like(a) if params.noise is None else np.asarray(params.noise, np.float64)
    return _Matrices(a, b, q, r, start**2 / 3 * np.eye(len(a)), noise @ noise.T)


def _forever(where: str, m: _Matrices, cost_to_go: np.ndarray, gamma: float) -> float:
    """Returns the expected cost of going on for ever: of the first state, and of the noise of every step."""
    noisy = bool(m.noise.any())
    require(gamma < 1 or not noisy, where, "gamma must be below 1 where there is noise", gamma, "The cost would be infinite.")
    later = gamma / (1 - gamma) * np.trace(cost_to_go @ m.noise) if noisy else 0.0
    return float(np.trace(cost_to_go @ m.start) + later)


def _best(m: _Matrices, cost_to_go: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """One step of the Riccati equation: returns the best gain before ``cost_to_go``, and the cost-to-go one step earlier."""
    gain = np.linalg.solve(m.r + gamma * m.b.T @ cost_to_go @ m.b, gamma * m.b.T @ cost_to_go @ m.a)
    earlier = m.q + gamma * m.a.T @ cost_to_go @ (m.a - m.b @ gain)
    return gain, (earlier + earlier.T) / 2


def riccati(params: Params, gamma: float) -> Solution:
    """Solves the discounted problem without a time limit exactly, on the host in float64.

    Args:
        params: the environment's.
        gamma: discount in (0, 1], below 1 where there is noise.

    Raises:
        ConfigError: gamma is out of range, or no linear policy keeps the discounted cost finite.
    """
    from scipy.linalg import solve_discrete_are

    where = "lqr.riccati"
    m = _matrices(where, params, gamma)
    try:
        # Discounting by gamma is the same as shrinking both matrices of the dynamics by its square root.
        p = solve_discrete_are(np.sqrt(gamma) * m.a, np.sqrt(gamma) * m.b, m.q, m.r)
    except np.linalg.LinAlgError as error:
        message = f"{where}: the Riccati equation must have a stabilising solution, got dynamics {m.a.tolist()} and control"
        raise ConfigError(f"{message} {m.b.tolist()}. Give the unstable states an input and a cost, or lower gamma.") from error
    return Solution(p, _best(m, p, gamma)[0], _forever(where, m, p, gamma))


def finite_horizon(params: Params, gamma: float, num_steps: int) -> Solution:
    """Solves the discounted problem of ``num_steps`` steps exactly, by the Riccati recursion in float64.

    Args:
        params: the environment's.
        gamma: discount in (0, 1].
        num_steps: T; what comes after the last step costs nothing, as in an episode of T steps.

    Raises:
        ConfigError: one of them is out of range.
    """
    where = "lqr.finite_horizon"
    m = _matrices(where, params, gamma)
    require(num_steps >= 1, where, "num_steps must be at least 1", num_steps, "Count the steps of an episode.")
    cost_to_go, of_noise = np.zeros_like(m.q), 0.0
    steps = []
    for _ in range(num_steps):
        of_noise = gamma * (np.trace(cost_to_go @ m.noise) + of_noise)
        gain, cost_to_go = _best(m, cost_to_go, gamma)
        steps.append((cost_to_go, gain))
    costs, gains = (np.stack(each[::-1]) for each in zip(*steps, strict=True))
    return Solution(costs, gains, float(np.trace(cost_to_go @ m.start) + of_noise))


def policy_cost(params: Params, gain: Any, gamma: float) -> float:
    """Returns the expected discounted cost of the policy u = -K x without a time limit, in float64.

    Args:
        params: the environment's.
        gain: float[m, n], K.
        gamma: discount in (0, 1], below 1 where there is noise.

    Returns:
        Infinity where the policy lets some state grow as fast as the discount shrinks its cost.

    Raises:
        ConfigError: gamma is out of range, or the gain has another shape.
    """
    from scipy.linalg import solve_discrete_lyapunov

    where = "lqr.policy_cost"
    m = _matrices(where, params, gamma)
    gain = np.asarray(gain, np.float64)
    require(gain.shape == m.b.T.shape, where, f"the gain must be {list(m.b.T.shape)}", gain.shape, "It is K in u = -K x.")
    closed = np.sqrt(gamma) * (m.a - m.b @ gain)
    if np.abs(np.linalg.eigvals(closed)).max() >= 1:
        return float("inf")
    return _forever(where, m, solve_discrete_lyapunov(closed.T, m.q + gain.T @ m.r @ gain), gamma)


def make(
    dynamics: Any = None,
    control: Any = None,
    state_cost: Any = None,
    action_cost: Any = None,
    start: float = 1.0,
    noise: Any = None,
    max_steps: int = 100,
) -> Environment:
    """Builds a linear-quadratic regulator, by default the double integrator. Action: u. Observation: x.

    Args:
        dynamics: float[n, n], A. control: float[n, m], B. Give both or neither.
        state_cost: float[n, n], Q, symmetric and positive semidefinite; by default the identity.
        action_cost: float[m, m], R, symmetric and positive definite; by default 0.1 times the identity.
        start: the first state is uniform in [-start, start]^n.
        noise: float[n, n], N: every step adds N times a standard normal vector; a number stands for that multiple of the
            identity. None draws nothing.
        max_steps: the time limit.

    Raises:
        ConfigError: shapes do not fit, a number is not finite, a cost matrix is not symmetric or not positive, start is negative.
    """
    require(max_steps >= 1, "lqr", "max_steps must be at least 1", max_steps, "100 is the default.")
    require(start >= 0, "lqr", "start must not be negative", start, "It is half the width of the initial states' box.")
    both = (dynamics is None) == (control is None)
    require(both, "lqr", "dynamics and control must be given together", (dynamics, control), "Give both or neither.")
    a, b = (np.asarray(matrix, np.float64) for matrix in (DOUBLE_INTEGRATOR if dynamics is None else (dynamics, control)))
    fits = a.ndim == b.ndim == 2 and a.shape[0] == a.shape[1] == b.shape[0]
    require(fits, "lqr", "dynamics must be [n, n] and control [n, m]", (a.shape, b.shape), "Check their shapes.")
    n, m = b.shape
    q = np.eye(n) if state_cost is None else np.asarray(state_cost, np.float64)
    r = 0.1 * np.eye(m) if action_cost is None else np.asarray(action_cost, np.float64)
    factor = None if noise is None else np.asarray(noise, np.float64)
    if factor is not None:
        factor = factor * np.eye(n) if factor.ndim == 0 else factor
        require(factor.shape == (n, n), "lqr", f"noise must be a number or [{n}, {n}]", factor.shape, "Match the states.")
    for matrix in (a, b, q, r, np.zeros(()) if factor is None else factor):
        require(bool(np.isfinite(matrix).all()), "lqr", "all matrices must be finite", matrix.tolist(), "Replace the others.")
    for name, matrix, size, above in (("state_cost", q, n, -1e-9), ("action_cost", r, m, 1e-9)):
        require(matrix.shape == (size, size), "lqr", f"{name} must be [{size}, {size}]", matrix.shape, "Match its size.")
        require(np.allclose(matrix, matrix.T), "lqr", f"{name} must be symmetric", matrix.tolist(), "Use (M + M') / 2.")
        smallest = float(np.linalg.eigvalsh(matrix).min())
        must = f"the smallest eigenvalue of {name} must be {'at least 0' if above < 0 else 'positive'}"
        require(smallest > above, "lqr", must, smallest, "Raise its diagonal.")
    params = Params(
        dynamics=jnp.asarray(a, jnp.float32),
        control=jnp.asarray(b, jnp.float32),
        state_cost=jnp.asarray(q, jnp.float32),
        action_cost=jnp.asarray(r, jnp.float32),
        start=jnp.float32(start),
        noise=None if factor is None else jnp.asarray(factor, jnp.float32),
    )
    unbounded = float("inf")
    return Environment(params, reset, step, Box(-unbounded, unbounded, (n,)), Box(-unbounded, unbounded, (m,)), max_steps)
