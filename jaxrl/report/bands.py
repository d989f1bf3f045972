"""The numbers that are drawn of many: points along a curve, and the interquartile mean over seeds with its band."""

from collections.abc import Sequence

import numpy as np

from jaxrl import statistics

POINTS = 100  # drawn along a curve: more cannot be seen, and each needs a bootstrap
RESAMPLES = (300, 1000)  # of each bootstrap: the more seeds, the fewer, so that a figure takes a second
RESAMPLED_SEEDS = 2_000_000  # aimed at, resamples times seeds
BANDS = {"bootstrap": "its 95 % bootstrap interval", "percentile": "5th to 95th percentile of the seeds"}


def points(x: np.ndarray, values: np.ndarray, most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Thins curves out: a point is each seed's mean over neighbours, missing values left out.

    Args:
        x: [U], places on the axis.
        values: float[S, U], NaN where a value is missing.
        most: the most points.

    Returns:
        Their places, float64[P], P the smaller of U and ``most``, and the value of each seed, float64[S, P], NaN where it has
        no finite one.
    """
    parts = np.array_split(np.arange(len(x)), min(most, len(x)))
    starts = [part[0] for part in parts]
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.add.reduceat(np.where(present, values, 0.0), starts, axis=1, dtype=np.float64)
        means = total / np.add.reduceat(present, starts, axis=1, dtype=np.int64)
    return np.array([x[part].mean() for part in parts], np.float64), np.where(np.isfinite(means), means, np.nan)


def log_spaced(x: np.ndarray, most: int = POINTS) -> np.ndarray:
    """Returns which of many points are drawn on a logarithmic axis, int[P]: evenly spread there, both ends among them.

    Args:
        x: float[U], places on the axis, ascending.
        most: the most points; of no more than that, all are drawn.
    """
    if len(x) <= most:
        return np.arange(len(x))
    return np.unique(np.searchsorted(x, np.geomspace(x[0], x[-1], most)).clip(max=len(x) - 1))


def bands(values: np.ndarray, band: str) -> statistics.Intervals:
    """Returns the interquartile mean over seeds of P points and its band.

    Args:
        values: float[S, P], a seed without a finite value is left out.
        band: one of ``BANDS``.

    Returns:
        float64[P] each, NaN without a seed, and without two seeds for a bootstrap band.
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=0)  # those that are missing come last
    counts = np.isfinite(ordered).sum(axis=0)
    out = statistics.Intervals(*np.full((3, values.shape[1]), np.nan))
    groups = [count for count in np.unique(counts) if count]
    for count in groups:
        columns = np.flatnonzero(counts == count)
        seeds = ordered[:count, columns].T
        if band == "percentile":
            found = (statistics.iqm(seeds), *np.percentile(seeds, (5, 95), axis=1))
        elif count == 1:
            found = (seeds[:, 0], np.nan, np.nan)
        else:
            resamples = int(np.clip(RESAMPLED_SEEDS // (count * len(groups)), *RESAMPLES))
            found = statistics.iqm_intervals(seeds, resamples=resamples)
        for row, part in zip(out, found, strict=True):
            row[columns] = part
    return out


def seed_counts(counts: Sequence[int]) -> str:
    """Says how many seeds there are, from the numbers of several arms."""
    few, many = min(counts), max(counts)
    return f"{many if few == many else f'{few} to {many}'} seeds{' each' * (len(counts) > 1)}"


def bin_edges(values: np.ndarray, most: int) -> np.ndarray:
    """Returns the edges of equal bins from the smallest to the largest of finite values, float64[B + 1], B at most ``most``.

    No bin reaches beyond a value: where all are equal, as far as bins can tell, there is one, as wide as they differ.
    """
    edges = np.linspace(values.min(), values.max(), most + 1, dtype=np.float64)
    scale = max(abs(edges[0]), abs(edges[-1]))
    return edges if edges[-1] - edges[0] > 1e-6 * scale else edges[[0, -1]]
