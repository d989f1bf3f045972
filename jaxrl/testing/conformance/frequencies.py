"""Whether samples are as frequent as probabilities say: Pearson's chi-square test."""

import numpy as np

from jaxrl.core.environment import PyTree
from jaxrl.testing.conformance.comparison import matches

SIGNIFICANCE = 1e-4  # a test rejects what is correct this often, over keys


def chi_square(samples: PyTree, table: PyTree, probability: np.ndarray) -> tuple[float, int]:
    """Returns Pearson's statistic and its degrees of freedom; the statistic is infinite where a sample is impossible.

    Args:
        samples: PyTree[n, ...].
        table: PyTree[K, ...], what may be drawn; some entries may be equal.
        probability: float[K].
    """
    entry = matches(table, table).argmax(-1)  # the first of its equals stands for all of them
    found = matches(samples, table) & (probability > 0)
    if not found.any(-1).all():
        return np.inf, 1
    observed = np.bincount(entry[found.argmax(-1)], minlength=len(entry))
    expected = np.bincount(entry, probability, minlength=len(entry)) * len(found)
    # Pearson's approximation needs about five expected samples in a class, so the rarest are put together.
    group, current, total = np.zeros(len(entry), np.int32), 0, 0.0
    for index in np.argsort(expected):
        group[index], total = current, total + expected[index]
        if total >= 5:
            current, total = current + 1, 0.0
    group = np.minimum(group, max(current - 1, 0))
    observed, expected = np.bincount(group, observed), np.bincount(group, expected)
    return float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1


def joint_chance(tests: list[tuple[float, int]]) -> float:
    """Returns how likely samples as strange as these are where the probabilities are right; tests: from ``chi_square``."""
    from scipy.special import chdtrc

    statistic, freedom = np.sum(tests, axis=0)
    return float(chdtrc(freedom, statistic)) if freedom else 1.0
