"""Figures of an experiment, by factor: curves, ends and gaps of a metric, or any relation. See ``jaxrl.report.figures``.

Nothing is drawn where no seed has a value: all are in quarantine.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrl.errors import JaxrlError
from jaxrl.experiment.results import Results
from jaxrl.report import figures


def curves(results: Results, metric: str, options: Mapping[str, Any] | None = None, /, **factors: Any) -> None:
    """Draws the learning curves of a metric, one for each arm with these factors; options as for ``figures.learning_curves``."""
    if arms := _arms(results, metric, factors):
        figures.learning_curves(results.directory, metric, arms=arms, **(options or {}))


def ends(results: Results, metric: str, options: Mapping[str, Any] | None = None, /, **factors: Any) -> None:
    """Draws where the seeds of each arm with these factors end; options as for ``figures.distribution``."""
    if arms := _arms(results, metric, factors):
        figures.distribution(results.directory, metric, arms=arms, **{"fraction": 0.01, **(options or {})})


def gaps(results: Results, metric: str, options: Mapping[str, Any] | None = None, /, **factors: Any) -> None:
    """Draws a metric that should fall to zero; options as for ``figures.gap_curve``. Linear: a solved problem's gap is zero."""
    if arms := _arms(results, metric, factors):
        figures.gap_curve(results.directory, metric, arms=arms, **{"scale": "linear", **(options or {})})


def relation(
    results: Results, name: str, lines: Mapping[str, tuple[Any, Any]], x_label: str, y_label: str, **options: Any
) -> None:
    """Draws one quantity against another; see ``figures.relation``."""
    kept = {label: (x, values) for label, (x, values) in lines.items() if np.isfinite(np.asarray(values, float)).any()}
    if kept:
        figures.relation(results.directory, name, kept, x_label, y_label, **options)


def _arms(results: Results, metric: str, factors: Mapping[str, Any]) -> dict[str, str]:
    try:
        return results.labels(metric, **factors)
    except JaxrlError:
        return {}
