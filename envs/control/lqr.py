"""Linear-quadratic regulator: x' = A x + B u at cost x'Q x + u'R u, the control problem whose optimum is known exactly.

``riccati`` gives the optimal policy u = -K x and its expected cost, so every algorithm's gap can be measured.

Source: the discounted infinite-horizon problem of Bertsekas, Dynamic Programming and Optimal Control, vol. 2, section on
linear systems and quadratic cost.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.env import Environment, Step
from jaxrl.errors import require
from jaxrl.spaces import Box

DOUBLE_INTEGRATOR = (((1.0, 0.1), (0.0, 1.0)), ((0.0,), (0.1,)))  # A and B: position and speed, pushed, time step 0.1


@struct.dataclass
class Params:
    """The matrices of n states and m inputs, all float32 and traced."""

    dynamics: jax.Array  # [n, n], A
    control: jax.Array  # [n, m], B
    state_cost: jax.Array  # [n, n], Q
    action_cost: jax.Array  # [m, m], R
    start: jax.Array  # [], the first state is uniform in [-start, start]^n


class Solution(NamedTuple):
    """The optimal control of one problem.

    cost_to_go: float64[n, n], P: the discounted cost from x is x'P x.
    gain: float64[m, n], K: the optimal action is -K x.
    cost: float64[], the expected discounted cost from the initial distribution; minus the optimal expected return.
    """

    cost_to_go: np.ndarray
    gain: np.ndarray
    cost: float


def reset(key, params):
    """Draws the first state uniformly from [-start, start]^n."""
    size = params.dynamics.shape[0]
    state = jax.random.uniform(key, (size,), jnp.float32, -1.0, 1.0) * params.start
    return state, state


def step(key, state, action, params):
    """Pays for the state and the action, then moves. There is no noise and no terminal state."""
    cost = state @ params.state_cost @ state + action @ params.action_cost @ action
    state = params.dynamics @ state + params.control @ action
    return Step(state, state, -cost, jnp.bool_(False))


def riccati(params: Params, gamma: float) -> Solution:
    """Solves the discounted problem exactly, on the host in float64.

    Args:
        params: the environment's.
        gamma: discount in (0, 1].

    Raises:
        ConfigError: gamma is out of range.
    """
    from scipy.linalg import solve_discrete_are

    require(0 < gamma <= 1, "lqr.riccati", "gamma must lie in (0, 1]", gamma, "0.99 is the usual discount.")
    a, b, q, r, start = (
        np.asarray(leaf, np.float64)
        for leaf in (params.dynamics, params.control, params.state_cost, params.action_cost, params.start)
    )
    # Discounting by gamma is the same as shrinking both matrices of the dynamics by its square root.
    p = solve_discrete_are(np.sqrt(gamma) * a, np.sqrt(gamma) * b, q, r)
    gain = np.linalg.solve(r + gamma * b.T @ p @ b, gamma * b.T @ p @ a)
    variance = start**2 / 3
    return Solution(p, gain, float(variance * np.trace(p)))


def make(
    dynamics: Any = None,
    control: Any = None,
    state_cost: Any = None,
    action_cost: Any = None,
    start: float = 1.0,
    max_steps: int = 100,
) -> Environment:
    """Builds a linear-quadratic regulator, by default the double integrator. Action: u. Observation: x.

    Args:
        dynamics: float[n, n], A. control: float[n, m], B. Give both or neither.
        state_cost: float[n, n], Q, symmetric and positive semidefinite; by default the identity.
        action_cost: float[m, m], R, symmetric and positive definite; by default 0.1 times the identity.
        start: the first state is uniform in [-start, start]^n.
        max_steps: the time limit.

    Raises:
        ConfigError: shapes do not fit, a cost matrix is not symmetric or not positive, start is negative.
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
    )
    unbounded = float("inf")
    return Environment(params, reset, step, Box(-unbounded, unbounded, (n,)), Box(-unbounded, unbounded, (m,)), max_steps)
