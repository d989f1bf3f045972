"""Logistic regression: which weights make the choices that were seen most likely, with a ridge; on the host in float64.

Source: Hoerl and Kennard (1970) on ridges; le Cessie and van Houwelingen (1992), "Ridge estimators in logistic regression".
"""

from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import SolverError, require, require_finite, require_within

MOST_STEPS = 100  # of Newton's method; ten do where there is an answer
TOLERANCE = 1e-8  # of the last step, in the logits of the observations
FARTHEST = 30.0  # logits of fitted weights that exist are smaller: chances of e^-30 were never seen


class Fit(NamedTuple):
    """Weights; NumPy's float64.

    weight: float[D]. residual: the largest entry of the gradient of the mean loss, 0 up to rounding.
    loss: the mean over observations of -log likelihood, without the ridge.
    """

    weight: np.ndarray
    residual: float
    loss: float


def fit(features: Any, labels: Any, ridge: float = 0.0) -> Fit:
    """Minimises sum_n log(1 + exp(-s_n w' x_n)) + ridge / 2 |w|^2, with s_n = 1 where the label is true and -1 where not.

    Newton's method; a step is halved until it lowers the loss.

    Args:
        features: float[M, D], x: of a choice between two, the difference of their features. There is no intercept.
        labels: bool[M], or 0 and 1.
        ridge: at least 0. Without one there is no answer if the labels can be told apart by the features without error, or if
            the features of all observations are linearly dependent.

    Raises:
        ConfigError: the shapes do not fit, a feature is not finite, a label is neither 0 nor 1, or the ridge is negative.
        SolverError: there is no answer.
    """
    where = "logistic_regression.fit"
    x = require_finite(where, "features", features).astype(np.float64)
    require(x.ndim == 2 and x.size > 0, where, "features must have shape [M, D]", x.shape, "Give a row for each choice.")
    label = require_finite(where, "labels", np.asarray(labels).astype(np.float64))
    fix = "Give 1 where the first was chosen, 0 where the second."
    require(label.shape == (len(x),), where, f"labels must have shape [{len(x)}]", label.shape, fix)
    require(bool(np.isin(label, (0, 1)).all()), where, "labels must be 0 or 1", np.unique(label)[:5].tolist(), fix)
    require_within(where, "ridge", ridge, 0, np.inf, "1.0, say.", below=True)
    sign = 2 * label - 1

    def loss(weight: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (x @ weight)).sum() + ridge / 2 * weight @ weight)

    weight, now = np.zeros(x.shape[1]), len(x) * np.log(2.0)
    for _ in range(MOST_STEPS):
        chance = 1 / (1 + np.exp(-sign * (x @ weight)))  # of what was chosen
        gradient = -x.T @ (sign * (1 - chance)) + ridge * weight
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + ridge * np.eye(x.shape[1])
        step, *_ = np.linalg.lstsq(curvature, gradient, rcond=None)
        # Where weights would grow for ever, steps stay long however small the gradient is.
        if np.abs(x @ step).max() <= TOLERANCE:
            residual = float(np.abs(gradient).max() / len(x))
            return Fit(weight, residual, float(np.logaddexp(0, -sign * (x @ weight)).mean()))
        while (after := loss(weight - step)) > now * (1 + 1e-12) and np.abs(x @ step).max() > TOLERANCE:
            step = step / 2
        weight, now = weight - step, after
        if np.abs(x @ weight).max() > FARTHEST:
            break
    fix = "Set ridge=1.0, say: the features may tell the labels apart without error."
    raise SolverError(f"{where}: there must be weights of least loss, got ridge={ridge:g}. {fix}")
