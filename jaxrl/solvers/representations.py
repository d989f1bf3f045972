"""How representations move: features of the states of a Markov chain under TD-learning and under self-prediction, as flows.

    td_learning      V = Phi W, with the error e = R + gamma P V - V:
                         dPhi / dt = e W^T                      dW / dt = Phi^T e
    self_prediction  Phi predicts itself one step ahead, by the best linear predictor A = (Phi^T Phi)^-1 Phi^T P Phi:
                         dPhi / dt = (P Phi - Phi A) A^T
    bidirectional    Phi predicts Psi ahead, Psi predicts Phi back, each by its best predictor A or B:
                         dPhi / dt = (P Psi - Phi A) A^T        dPsi / dt = (P^T Phi - Psi B) B^T

All states count the same, and the sums are over states. The flows are integrated by Euler's method; each returns what it must
conserve or never lower, with the largest change of a step in either direction. Pure and without LAPACK: jit them, vmap them over
chains; they compute in the precision jax is set to.

Source: Tang and Munos (2023), "Towards a Better Understanding of Representation Dynamics under TD-learning"; Tang et al. (2023),
"Understanding Self-Predictive Learning for Reinforcement Learning".
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import (
    is_traced,
    require,
    require_count,
    require_discount,
    require_distribution,
    require_finite,
    require_within,
    unknown_name,
)
from jaxrl.solvers.markov_chain import Chain, discounted_sums

TARGETS = ("stopped", "moving")


class Course(NamedTuple):
    """The record of C equally spaced steps, the start before them not included.

    state: PyTree[C, ...]. measures: name -> float[C].
    rise, fall: name -> float[], by how much a measure has risen and fallen at most in one step, at least 0; of all steps.
    """

    state: Any
    measures: dict[str, jax.Array]
    rise: dict[str, jax.Array]
    fall: dict[str, jax.Array]


def follow(slope: Callable, watch: Callable, start: Any, step_size: Any, num_steps: int, num_records: int = 1) -> Course:
    """Follows a flow by Euler's method: state <- state + step_size * slope(state).

    Args:
        slope: ``(state) -> PyTree`` like the state. watch: ``(state) -> {name: float[]}``.
        start: PyTree of floats.
        step_size: time in one step, positive.
        num_steps: Euler's steps; static.
        num_records: C, a divisor of ``num_steps``; static.

    Raises:
        ConfigError: a number is out of range.
    """
    where = "follow"
    require_within(where, "step_size", step_size, 0, jnp.inf, "0.01 is common.", above=True, below=True)
    require_count(where, "num_steps", num_steps)
    require_count(where, "num_records", num_records)
    must, fix = f"num_records must divide num_steps ({num_steps})", "1 records the end alone."
    require(num_steps % num_records == 0, where, must, num_records, fix)

    def step(carry, _):
        state, before, rise, fall = carry
        state = jax.tree.map(lambda leaf, change: leaf + step_size * change, state, slope(state))
        after = watch(state)
        change = jax.tree.map(jnp.subtract, after, before)
        rise = jax.tree.map(jnp.maximum, rise, change)
        fall = jax.tree.map(lambda most, change: jnp.maximum(most, -change), fall, change)
        return (state, after, rise, fall), None

    def block(carry, _):
        carry = jax.lax.scan(step, carry, None, num_steps // num_records)[0]
        return carry, carry[:2]

    first = watch(start)
    nothing = jax.tree.map(jnp.zeros_like, first)
    (_, _, rise, fall), (state, measures) = jax.lax.scan(block, (start, first, nothing, nothing), None, num_records)
    return Course(state, measures, rise, fall)


class Values(NamedTuple):
    """V = features weights. features: float[X, F], Phi. weights: float[F, M], W, a column for each of M rewards."""

    features: jax.Array
    weights: jax.Array


def td_learning(
    transition: Any, reward: Any, start: Values, gamma: Any, step_size: Any, num_steps: int, num_records: int = 1
) -> Course:
    """Follows features and weights that both learn values by TD-learning. The states are ``Values``.

    Args:
        transition: float[X, X], P, rows are distributions.
        reward: float[X, M], R.
        start: the first features and weights.
        gamma: discount in [0, 1).
        step_size, num_steps, num_records: as for ``follow``.

    Returns:
        A Course with the measures ``energy``, tr (V - V*)^T (I - gamma P) (V - V*), which a symmetric P never raises while steps
        are small, since the learning rule is then half its negative gradient; and ``squared_error``, tr (V - V*)^T (V - V*).

    Raises:
        ConfigError: the arguments do not fit together, or a number is out of range. Traced values are not checked.
    """
    where = "td_learning"
    transition = _require_chain(where, transition)
    require_discount(where, gamma, below_one=True)
    states = transition.shape[0]
    shapes = tuple(np.shape(part) for part in (reward, *start))
    fits = shapes == ((states, *shapes[0][1:]), (states, *shapes[1][1:]), (*shapes[1][1:], *shapes[0][1:]))
    must = f"reward, features and weights must have shapes [{states}, M], [{states}, F] and [F, M]"
    require(fits and all(len(shape) == 2 for shape in shapes), where, must, shapes, "Give a column for each reward.")
    numbers = {"reward": reward, "features": start.features, "weights": start.weights}
    reward, *first = (
        jnp.asarray(table if is_traced(table) else require_finite(where, name, table), transition.dtype)
        for name, table in numbers.items()
    )
    with jax.default_matmul_precision("highest"):
        return _td_learning(transition, reward, Values(*first), gamma, step_size, num_steps, num_records)


def _td_learning(transition, reward, start, gamma, step_size, num_steps, num_records) -> Course:
    def error(value):
        return reward + gamma * transition @ value - value

    every = jnp.broadcast_to(jnp.arange(transition.shape[0]), transition.shape)
    truth = discounted_sums(Chain(every, gamma * transition, jnp.asarray(gamma)), reward, dense=True).value

    def slope(state):
        missing = error(state.features @ state.weights)
        return Values(missing @ state.weights.T, state.features.T @ missing)

    def watch(state):
        apart = state.features @ state.weights - truth
        return {"energy": (apart * (apart - gamma * transition @ apart)).sum(), "squared_error": (apart**2).sum()}

    return follow(slope, watch, start, step_size, num_steps, num_records)


def self_prediction(
    transition: Any,
    features: Any,
    step_size: Any,
    num_steps: int,
    num_records: int = 1,
    *,
    target: str = "stopped",
    predictor_rate: Any = None,
) -> Course:
    """Follows features that predict themselves one step ahead.

    Args:
        transition: float[X, X], P, rows are distributions.
        features: float[X, F], Phi at first, of full rank.
        step_size, num_steps, num_records: as for ``follow``.
        target: "stopped": no gradient goes through what is predicted. "moving": it does, in expectation over the next state.
        predictor_rate: None for the best predictor at every moment. A number: a predictor that begins as the identity and follows
            its own gradient at this multiple of the speed of the features; then the states are pairs of features and predictor.

    Returns:
        A Course with the measures ``objective``, tr (Phi^T P Phi)^2, which a symmetric P never lowers from orthonormal features;
        ``covariance``, the Frobenius norm of Phi^T Phi; and ``drift``, the largest entry by which Phi^T Phi has moved.

    Raises:
        ConfigError, UnknownNameError: the arguments do not fit together, or one is out of range. Traced values are not checked.
    """
    where = "self_prediction"
    transition = _require_chain(where, transition)
    features = _require_features(where, "features", features, transition.shape[0])
    if target not in TARGETS:
        raise unknown_name(where, "target", target, TARGETS)
    if predictor_rate is not None:
        require_within(where, "predictor_rate", predictor_rate, 0, jnp.inf, "Leave it out for the best predictor.", below=True)
    with jax.default_matmul_precision("highest"):
        first = features.T @ features
        watch = partial(_of_features, transition, first)
        slope = partial(_prediction_slope, transition, target)
        if predictor_rate is None:

            def alone(features):
                return slope(features, _predictor(features, transition @ features))

            return follow(alone, watch, features, step_size, num_steps, num_records)

        def together(state):
            features, predictor = state
            own = features.T @ (transition @ features - features @ predictor)
            return slope(features, predictor), predictor_rate * own

        start = features, jnp.eye(features.shape[1], dtype=features.dtype)
        return follow(together, lambda state: watch(state[0]), start, step_size, num_steps, num_records)


def _of_features(transition, first, features) -> dict[str, jax.Array]:
    ahead, covariance = features.T @ transition @ features, features.T @ features
    drift = jnp.abs(covariance - first).max()
    return {"objective": (ahead * ahead.T).sum(), "covariance": jnp.sqrt((covariance**2).sum()), "drift": drift}


def _prediction_slope(transition, target, features, predictor) -> jax.Array:
    """Half the negative gradient of sum_x E |A^T phi(x) - phi(x')|^2 with respect to Phi."""
    change = (transition @ features - features @ predictor) @ predictor.T
    if target == "stopped":
        return change
    return change + transition.T @ features @ predictor - transition.sum(0)[:, None] * features


def _predictor(features: jax.Array, ahead: jax.Array) -> jax.Array:
    """Returns the best linear prediction (Phi^T Phi)^-1 Phi^T y of y from Phi, by Gauss and Jordan's elimination."""
    size = features.shape[1]
    table = features.T @ jnp.concatenate([features, ahead], 1)
    # Features that collapse lose their rank: what is as small as rounding predicts nothing.
    small = 100 * jnp.finfo(table.dtype).eps * jnp.trace(table[:, :size])
    table = table.at[jnp.arange(size), jnp.arange(size)].add(small)
    for place in range(size):  # positive definite: no pivoting
        row = table[place] / table[place, place]
        table = (table - table[:, place, None] * row).at[place].set(row)
    return table[:, size:]


def bidirectional(transition: Any, features: Any, back: Any, step_size: Any, num_steps: int, num_records: int = 1) -> Course:
    """Follows two sets of features, of which one predicts the other ahead and the other the one back. The states are pairs.

    Args:
        transition: float[X, X], P, rows are distributions; it need not be symmetric.
        features, back: float[X, F], Phi and Psi at first, of full rank.
        step_size, num_steps, num_records: as for ``follow``.

    Returns:
        A Course with the measure ``objective``, tr A B, for orthonormal features the squared norm of Phi^T P Psi, which never
        falls while steps are small and at most is the sum of the F largest squared singular values of P; and ``drift``, the
        largest entry by which Phi^T Phi or Psi^T Psi has moved.

    Raises:
        ConfigError: the arguments do not fit together, or a number is out of range. Traced values are not checked.
    """
    where = "bidirectional"
    transition = _require_chain(where, transition)
    start = tuple(
        _require_features(where, name, part, transition.shape[0]) for name, part in (("features", features), ("back", back))
    )
    must, fix = "features and back must have the same shape", "Give as many features of either kind."
    require(start[0].shape == start[1].shape, where, must, [part.shape for part in start], fix)

    def predicted(state):
        """Returns what each set of features predicts, and its predictors."""
        one, other = state
        ahead, behind = transition @ other, transition.T @ one
        return (ahead, behind), (_predictor(one, ahead), _predictor(other, behind))

    def slope(state):
        targets, predictors = predicted(state)
        parts = zip(state, targets, predictors, strict=True)
        return tuple((target - own @ predictor) @ predictor.T for own, target, predictor in parts)

    with jax.default_matmul_precision("highest"):
        first = tuple(part.T @ part for part in start)

        def watch(state):
            moved = [jnp.abs(part.T @ part - own).max() for part, own in zip(state, first, strict=True)]
            forward, backward = predicted(state)[1]
            return {"objective": (forward * backward.T).sum(), "drift": jnp.maximum(*moved)}

        return follow(slope, watch, start, step_size, num_steps, num_records)


# ---- subspaces, on the host


def principal_angles(one: Any, other: Any) -> np.ndarray:
    """Returns the angles between the spaces that the columns of two matrices span, float64[..., F], rising, in radians.

    Args:
        one, other: float[..., X, F] and float[..., X, G], of full column rank, with F <= G.

    Raises:
        ConfigError: the shapes do not fit together, or a number is not finite.

    Source: Bjorck and Golub (1973), "Numerical methods for computing angles between linear subspaces", algorithm 2.
    """
    first, second = (
        np.asarray(require_finite("principal_angles", name, part), np.float64) for name, part in (("one", one), ("other", other))
    )
    shapes = first.shape, second.shape
    fits = min(map(len, shapes)) >= 2 and shapes[0][-2] == shapes[1][-2] and 1 <= shapes[0][-1] <= shapes[1][-1] <= shapes[1][-2]
    require(fits, "principal_angles", "the shapes must be [..., X, F] and [..., X, G], F <= G <= X", shapes, "Exchange them.")
    basis, within = np.linalg.qr(first)[0], np.linalg.qr(second)[0]
    cosine = np.linalg.svd(np.swapaxes(basis, -1, -2) @ within, compute_uv=False)
    # The cosine says nothing of small angles; there the sine does, of what lies outside.
    outside = basis - within @ (np.swapaxes(within, -1, -2) @ basis)
    sine = np.linalg.svd(outside, compute_uv=False)[..., ::-1]
    return np.where(cosine**2 > 0.5, np.arcsin(np.minimum(sine, 1)), np.arccos(np.minimum(cosine, 1)))


def leading_eigenvectors(matrix: Any, count: int, absolute: bool = False) -> np.ndarray:
    """Returns the eigenvectors of the largest eigenvalues of symmetric matrices, float64[..., X, count], orthonormal.

    Args:
        matrix: float[..., X, X]; its symmetric part is taken.
        count: how many, from 1 to X.
        absolute: whether eigenvalues are compared by their absolute values.

    Raises:
        ConfigError: the matrix is not square or not finite, or ``count`` is out of range.
    """
    where = "leading_eigenvectors"
    matrix = np.asarray(require_finite(where, "the matrix", matrix), np.float64)
    square = matrix.ndim >= 2 and matrix.shape[-1] == matrix.shape[-2]
    require(square, where, "the matrix must have shape [..., X, X]", matrix.shape, "Give square matrices.")
    require_count(where, "count", count)
    size = matrix.shape[-1]
    require(count <= size, where, f"count must be at most {size}", count, f"Set count to {size} or less.")
    values, vectors = np.linalg.eigh((matrix + np.swapaxes(matrix, -1, -2)) / 2)
    order = np.argsort(-(np.abs(values) if absolute else values), axis=-1)[..., :count]
    return np.take_along_axis(vectors, order[..., None, :], axis=-1)


def _require_chain(where: str, transition: Any) -> jax.Array:
    shape = np.shape(transition)
    must = "transition must have shape [X, X]"
    require(len(shape) == 2 and shape[0] == shape[1] and shape[0] >= 1, where, must, shape, "Give a row for each state.")
    if not is_traced(transition):
        require_distribution(where, "transition", transition)
    return jnp.asarray(transition, jnp.result_type(float))


def _require_features(where: str, name: str, features: Any, states: int) -> jax.Array:
    shape = np.shape(features)
    fits = len(shape) == 2 and shape[0] == states and 1 <= shape[1] <= states
    require(fits, where, f"{name} must have shape [{states}, F], F <= {states}", shape, "Give a row for each state.")
    if not is_traced(features):
        require_finite(where, name, features)
    return jnp.asarray(features, jnp.result_type(float))
