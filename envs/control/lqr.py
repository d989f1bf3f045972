"""Linear-quadratic regulator: x' = A x + B u + noise at cost x'Q x + u'R u, the control problem whose optimum is known exactly.

``riccati`` gives the optimal policy u = -K x and its expected cost, ``finite_horizon`` the same for a number of steps, and
``policy_cost`` the expected cost of any linear policy, so every algorithm's gap can be measured.

Source: Bertsekas, Dynamic Programming and Optimal Control, vol. 1 and, for the discounted infinite horizon, vol. 2,
the sections on linear systems and quadratic cost.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, SolverError, require, require_real

_SIZES = "Bring the matrices to similar sizes."
_ROUNDING = 1e-6  # what float32 may have done to a matrix, relative to its largest entry
DOUBLE_INTEGRATOR = (((1.0, 0.1), (0.0, 1.0)), ((0.0,), (0.1,)))  # A and B: position and speed, pushed, time step 0.1
OPTIMAL_COST = 5.948985  # of the default problem, the double integrator, at discount 0.99: the cost of ``riccati``, to six digits


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
    residual: by how much P misses the Riccati equation, relative to its largest entry; 0 over a finite horizon.

    Over a finite horizon of T steps both matrices are those of every step, [T, n, n] and [T, m, n].
    """

    cost_to_go: np.ndarray
    gain: np.ndarray
    cost: float
    residual: float = 0.0


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


def _costly(dynamics: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Returns an orthonormal basis [n, k] of the directions of the state that ever cost anything.

    All directions, where those that cost nothing fade by themselves: only then does the control that holds the state cost the
    least. If a direction grows and costs nothing, a minimiser of cost lets it grow.

    Args:
        dynamics: [n, n], discounted.
        cost: [n, n], positive semidefinite.
    """
    n = len(cost)
    values, vectors = np.linalg.eigh(cost)
    if values[-1] <= 0:
        return np.zeros((n, 0))
    seen = np.sqrt(np.maximum(values / values[-1], 0))[:, None] * vectors.T  # its square is the cost, up to a factor
    size = max(float(np.linalg.norm(dynamics, 2)), 1.0)
    growing = [value for value in np.linalg.eigvals(dynamics) if abs(value) > 1 - 1e-9]
    # Popov, Belevitch and Hautus: a mode shows if no eigenvector of it costs nothing.
    tests = (np.vstack([dynamics - value * np.eye(n), seen]) for value in growing)
    if all(np.linalg.svd(test, compute_uv=False)[-1] > 1e-10 * size for test in tests):
        return np.eye(n)
    steps = [seen]
    for _ in range(n - 1):
        steps.append(steps[-1] @ dynamics / size)
    _, weight, directions = np.linalg.svd(np.vstack(steps))
    return directions[: int((weight > 1e-10 * weight[0]).sum())].T


def _cost_of(closed: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Returns the sum over all steps of the costs that a stable linear system runs up, P = cost + closed' P closed."""
    from scipy.linalg import LinAlgWarning, solve_discrete_lyapunov

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # callers check the residual of the equation
        return solve_discrete_lyapunov(closed.T, cost)


def _refined(m: _Matrices, cost_to_go: np.ndarray, gamma: float) -> tuple[np.ndarray, float]:
    """Improves a solution of the Riccati equation by policy iteration while that helps. Returns it and by how much it misses.

    Source: Hewer (1971), "An iterative technique for the computation of the steady state gains for the discrete optimal
    regulator".
    """

    def missing(p: np.ndarray) -> float:
        size = np.abs(p).max(initial=0.0)
        return float(np.abs(_best(m, p, gamma)[1] - p).max() / size) if size > 0 else 0.0

    residual = missing(cost_to_go)
    for _ in range(10):
        gain, _ = _best(m, cost_to_go, gamma)
        better = _cost_of(np.sqrt(gamma) * (m.a - m.b @ gain), m.q + gain.T @ m.r @ gain)
        found = missing(better)
        if not found < residual:
            break
        cost_to_go, residual = better, found
    return cost_to_go, residual


def riccati(params: Params, gamma: float) -> Solution:
    """Solves the discounted problem without a time limit exactly, on the host in float64.

    Args:
        params: the environment's.
        gamma: discount in (0, 1], below 1 where there is noise.

    Raises:
        ConfigError: gamma is out of range, or no linear policy keeps the discounted cost finite.
        SolverError: rounding hides the solution.
    """
    from scipy.linalg import LinAlgWarning, solve_discrete_are

    where = "lqr.riccati"
    m = _matrices(where, params, gamma)
    # Discounting by gamma is the same as shrinking both matrices of the dynamics by its square root.
    basis = _costly(np.sqrt(gamma) * m.a, m.q)
    unit = np.abs(m.r).max()
    costly = _Matrices(basis.T @ m.a @ basis, basis.T @ m.b, basis.T @ m.q @ basis / unit, m.r / unit, m.start, m.noise)
    p, residual = np.zeros_like(costly.q), 0.0
    if p.size:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LinAlgWarning)  # the residual tells whether that mattered
                p = solve_discrete_are(np.sqrt(gamma) * costly.a, np.sqrt(gamma) * costly.b, costly.q, costly.r)
                p, residual = _refined(costly, p, gamma)
        except np.linalg.LinAlgError as error:
            message = f"{where}: the Riccati equation must have a stabilising solution, got dynamics {m.a.tolist()} and control"
            fix = "Give the unstable states an input and a cost, or lower gamma."
            raise ConfigError(f"{message} {m.b.tolist()}. {fix}") from error
    must = "the solution must fulfil the Riccati equation to 1e-8"
    require(residual <= 1e-8, where, must, f"a residual of {residual:.1e}", _SIZES, SolverError)
    p = unit * basis @ p @ basis.T
    return Solution(p, _best(m, p, gamma)[0], _forever(where, m, p, gamma), residual)


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
        Infinity where the policy lets some state that costs grow as fast as the discount shrinks its cost.

    Raises:
        ConfigError: gamma is out of range, or the gain has another shape.
        SolverError: rounding hides the cost.
    """
    where = "lqr.policy_cost"
    m = _matrices(where, params, gamma)
    gain = np.asarray(gain, np.float64)
    require(gain.shape == m.b.T.shape, where, f"the gain must be {list(m.b.T.shape)}", gain.shape, "It is K in u = -K x.")
    closed, cost = np.sqrt(gamma) * (m.a - m.b @ gain), m.q + gain.T @ m.r @ gain
    basis = _costly(closed, cost)
    closed, cost = basis.T @ closed @ basis, basis.T @ cost @ basis
    if not cost.size:
        return 0.0
    if np.abs(np.linalg.eigvals(closed)).max() >= 1:
        return float("inf")
    p = _cost_of(closed, cost)
    residual = float(np.abs(closed.T @ p @ closed + cost - p).max() / np.abs(p).max())
    must = "the cost must fulfil the Lyapunov equation to 1e-8"
    require(residual <= 1e-8, where, must, f"a residual of {residual:.1e}", _SIZES, SolverError)
    return _forever(where, m, basis @ p @ basis.T, gamma)


def _matrix(name: str, values: Any) -> np.ndarray:
    return require_real("lqr", name, values).astype(np.float64)


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
    matrices = DOUBLE_INTEGRATOR if dynamics is None else (dynamics, control)
    a, b = (_matrix(name, matrix) for name, matrix in zip(("dynamics", "control"), matrices, strict=True))
    fits = a.ndim == b.ndim == 2 and a.shape[0] == a.shape[1] == b.shape[0]
    require(fits, "lqr", "dynamics must be [n, n] and control [n, m]", (a.shape, b.shape), "Check their shapes.")
    n, m = b.shape
    q = np.eye(n) if state_cost is None else _matrix("state_cost", state_cost)
    r = 0.1 * np.eye(m) if action_cost is None else _matrix("action_cost", action_cost)
    factor = None if noise is None else _matrix("noise", noise)
    if factor is not None:
        factor = factor * np.eye(n) if factor.ndim == 0 else factor
        require(factor.shape == (n, n), "lqr", f"noise must be a number or [{n}, {n}]", factor.shape, "Match the states.")
    for matrix in (a, b, q, r, np.zeros(()) if factor is None else factor):
        require(bool(np.isfinite(matrix).all()), "lqr", "all matrices must be finite", matrix.tolist(), "Replace the others.")
    for name, matrix, size, semidefinite in (("state_cost", q, n, True), ("action_cost", r, m, False)):
        require(matrix.shape == (size, size), "lqr", f"{name} must be [{size}, {size}]", matrix.shape, "Match its size.")
        largest = float(np.abs(matrix).max())
        symmetric = np.abs(matrix - matrix.T).max() <= _ROUNDING * largest
        require(bool(symmetric), "lqr", f"{name} must be symmetric", matrix.tolist(), "Use (M + M') / 2.")
        smallest = float(np.linalg.eigvalsh(matrix).min())
        must = f"the smallest eigenvalue of {name} must be {'at least 0' if semidefinite else 'positive'}"
        sound = smallest >= -_ROUNDING * largest if semidefinite else smallest > 1e-12 * largest and np.float32(smallest) > 0
        require(bool(sound), "lqr", must, smallest, "Raise its diagonal.")
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
