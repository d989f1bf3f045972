"""Mixtures of strategies that are known, fitted to what players were seen to do.

Each player keeps to one of K strategies. The shares of them that make what was seen most likely are found by expectation
maximisation, on the host in float64; the likelihood has one maximum over the shares, as it is concave in them.

Source: Dempster, Laird and Rubin (1977); for strategies of subjects Dal Bo and Frechette (2011), "The evolution of cooperation in
infinitely repeated games: experimental evidence".
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from jaxrl.errors import require, require_count, require_finite

WHERE = "strategy_mixtures"


class Mixture(NamedTuple):
    """weight: float64[K], the shares. gap: float64, in nats a player: how far its likelihood is from the largest at most."""

    weight: np.ndarray
    gap: float


def fit(counts: Any, strategies: Any, steps: int = 2_000) -> Mixture:
    """Returns the shares of strategies that make counts most likely.

    Args:
        counts: int[P, A], how often each player took each action.
        strategies: float[K, A], probabilities of the actions; each player must be possible by one of them.
        steps: of expectation maximisation (count).

    Raises:
        ConfigError: the arrays do not fit together, or counts are negative or impossible.
    """
    require_count(WHERE, "steps", steps)
    logs = log_likelihoods(counts, strategies)
    most = logs.max(1, keepdims=True)
    fix = "Let every strategy tremble a little."
    require(bool(np.isfinite(most).all()), WHERE, "each player must be possible by a strategy", "one that is not", fix)
    likely = np.exp(logs - most)
    weight = np.full(likely.shape[1], 1 / likely.shape[1])
    for _ in range(steps):
        weight = weight * _slope(likely, weight)
    # The likelihood is concave: the largest slope, less 1, bounds what any other shares could add.
    return Mixture(weight, float(_slope(likely, weight).max() - 1))


def _slope(likely: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (likely / (likely @ weight)[:, None]).mean(0)


def log_likelihoods(counts: Any, strategies: Any) -> np.ndarray:
    """Returns how likely each player's choices are by each strategy, in nats, float64[P, K]; arguments as for ``fit``."""
    seen, known = require_finite(WHERE, "counts", counts), require_finite(WHERE, "strategies", strategies).astype(np.float64)
    fits = seen.ndim == known.ndim == 2 and seen.shape[1] == known.shape[1] and min(seen.shape + known.shape) >= 1
    must = "counts must have shape [P, A] and strategies [K, A]"
    require(fits, WHERE, must, (seen.shape, known.shape), "Count all actions of all players.")
    require(bool((seen >= 0).all()), WHERE, "counts must not be negative", seen.min(), "Count what was done.")
    sound = bool((known >= 0).all()) and bool(np.allclose(known.sum(1), 1, atol=1e-4))
    require(sound, WHERE, "strategies must be distributions", known.sum(1), "Normalise them.")
    with np.errstate(divide="ignore"):
        logs = np.log(known)
    done = seen[:, None, :] > 0
    return np.where(done, seen[:, None, :] * np.where(done, logs, 0.0), 0.0).sum(-1)


def surprise(counts: Any, strategies: Any, weight: Any) -> float:
    """Returns the mean negative log-likelihood of a choice by a mixture of strategies, in nats; arguments as for ``fit``."""
    with np.errstate(divide="ignore"):
        logs = log_likelihoods(counts, strategies) + np.log(np.asarray(weight, np.float64))
    found = np.asarray(logsumexp(logs, 1))
    return -float(found.sum() / np.asarray(counts).sum())


def trembling(counts: Any, strategy: Any, most: int = 100) -> np.ndarray:
    """Returns a strategy that is uniform in the share of choices that makes counts most likely, float64[A].

    Args:
        counts: int[P, A].
        strategy: float[A].
        most: shares 1 / most, 2 / most, ... 1 are tried (count).
    """
    require_count(WHERE, "most", most)
    own = np.asarray(strategy, np.float64)
    share = np.arange(1, most + 1)[:, None] / most
    tried = (1 - share) * own + share / own.size
    return tried[log_likelihoods(counts, tried).sum(0).argmax()]
