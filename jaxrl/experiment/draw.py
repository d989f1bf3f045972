"""Figures of an experiment, by factor: curves, ends and gaps of a metric, or any relation. See ``jaxrl.report``.

Nothing is drawn where no seed has a value: all are in quarantine. Arms that differ in a factor have one colour for each of its
values in all figures of a run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl.errors import JaxrlError, unknown_name
from jaxrl.experiment.results import Results
from jaxrl.report import curve_figures, game_figures, relation_figures, seed_figures, style
from jaxrl.results.factors import Factor, short_labels


def curves(results: Results, metric: str, options: Mapping[str, Any] | None = None, /, **factors: Any) -> None:
    """Draws the learning curves of a metric, one for each arm with these factors; see ``curve_figures.learning_curves``."""
    if arms := _arms(results, metric, factors):
        curve_figures.learning_curves(results.directory, metric, **arms, **(options or {}))


def ends(results: Results, metric: str, options: Mapping[str, Any] | None = None, /, **factors: Any) -> None:
    """Draws where the seeds of each arm with these factors end; options as for ``seed_figures.distribution``.

    Nothing is drawn if no seed ends with a value: a run of which all seeds are in quarantine has a report all the same.
    """
    given = {"fraction": 0.01, **(options or {})}
    arms = _arms(results, metric, factors)
    if arms and seed_figures.some_end(results.directory, metric, arms["arms"], given.get("table"), given["fraction"]):
        seed_figures.distribution(results.directory, metric, **arms, **given)


def gaps(results: Results, metric: str, options: Mapping[str, Any] | None = None, /, **factors: Any) -> None:
    """Draws a metric that should fall to zero; options as for ``curve_figures.gap_curve``. Linear: solved, the gap is zero."""
    if arms := _arms(results, metric, factors):
        curve_figures.gap_curve(results.directory, metric, **arms, **{"scale": "linear", **(options or {})})


def relation(
    results: Results, name: str, lines: Mapping[str, tuple[Any, Any]], x_label: str, y_label: str, **options: Any
) -> None:
    """Draws one quantity against another; see ``relation_figures.relation``."""
    kept = {label: (x, values) for label, (x, values) in lines.items() if np.isfinite(np.asarray(values, float)).any()}
    if kept:
        relation_figures.relation(results.directory, name, kept, x_label, y_label, **options)


def lines(
    results: Results,
    name: str,
    metric: str,
    arms: Mapping[str, Mapping[str, Factor]],
    x_label: str,
    y_label: str,
    x: "float | str | np.ndarray | Mapping[str, np.ndarray]" = 1.0,
    **options: Any,
) -> None:
    """Draws all measurements of a metric, a line for each arm.

    Args:
        results: of the experiment.
        name: file name without its ending.
        metric: what to draw.
        arms: label -> the factors of the one arm.
        x_label, y_label: the axes, with units.
        x: where the measurements stand: a distance on the axis from one to the next, and from 0 to the first; their places,
            float[P], or label -> places; or the name of a metric that was recorded beside this one, and is the same in all rows.
        options: as for ``relation_figures.relation``.
    """

    def places(label: str, updates: np.ndarray) -> np.ndarray:
        if isinstance(x, str):
            return results.values(x, **arms[label])[0]
        if isinstance(x, Mapping):
            return x[label]
        return x if isinstance(x, np.ndarray) else x * (updates + 1)

    found = {label: results.curves(metric, **factors) for label, factors in arms.items()}
    drawn = {label: (places(label, curve.updates), curve.values) for label, curve in found.items()}
    known = {label: results.factors_of(metric, **factors) for label, factors in arms.items()}
    relation(results, name, drawn, x_label, y_label, colours=_colours(results, known), **options)


def against(
    results: Results, name: str, metric: str, factor: str, x_label: str, y_label: str, *, of: Mapping[str, Factor], **options: Any
) -> None:
    """Draws where the seeds end against a numeric factor, a line for the arms that differ in nothing else.

    A place on a line is left out if one of its seeds has no finite value: the mean of the others would flatter.

    Args:
        results: of the experiment.
        name: file name without its ending.
        metric: what to draw, its last value in each seed.
        factor: on the horizontal axis.
        x_label, y_label: the axes, with units.
        of: factors of the arms that are drawn.
        options: as for ``relation_figures.relation``.

    Raises:
        UnknownNameError: one of the arms does not have the factor.
    """
    recorded, groups = results.recorded(), {}
    for arm in _arms(results, metric, of).get("arms", ()):
        if factor not in recorded[arm]:
            raise unknown_name(f"draw.against, arm {arm}", "factor", factor, recorded[arm])
        others = {key: value for key, value in recorded[arm].items() if key != factor}
        if others not in groups.values():
            groups[arm] = others
    labels = short_labels(groups) if len(groups) > 1 else dict.fromkeys(groups, "")
    drawn = {}
    for arm, others in groups.items():
        places, values = results.along(metric, factor, **others)
        complete = np.isfinite(values).all(0)
        drawn[labels[arm]] = places[complete], values[:, complete]
    colours = _colours(results, {labels[arm]: others for arm, others in groups.items()})
    relation(results, name, drawn, x_label, y_label, colours=colours, **options)


def simplex(
    results: Results,
    name: str,
    metrics: Sequence[str],
    arms: Mapping[str, Mapping[str, Factor]],
    corners: Sequence[str],
    *,
    paths: int = 1,
    **options: Any,
) -> None:
    """Draws how mixtures of three actions move.

    Args:
        results: of the experiment.
        name: file name without its ending.
        metrics: the names of the three shares.
        arms: label -> the factors of the one arm.
        corners: the names of the three actions.
        paths: how many rows of each arm are drawn, the first ones.
        options: as for ``game_figures.simplex``.
    """
    drawn = {
        label: np.stack([results.values(metric, **factors)[:paths] for metric in metrics], -1) for label, factors in arms.items()
    }
    known = {label: results.factors_of(metrics[0], **factors) for label, factors in arms.items()}
    game_figures.simplex(results.directory, name, drawn, corners, colours=_colours(results, known), **options)


def _arms(results: Results, metric: str, factors: Mapping[str, Any]) -> dict[str, dict]:
    """Returns what figures are told of the arms with these factors: names and colours. Empty if none has a value."""
    try:
        labels = results.labels(metric, **factors)
    except JaxrlError:
        return {}
    known = results.recorded()
    return {"arms": labels, "colours": _colours(results, {arm: known[arm] for arm in labels})}


def _colours(results: Results, arms: Mapping[str, Mapping[str, Factor]]) -> dict[str, int]:
    """Returns the place of the colour of each arm: that of its values of the factors in which these arms differ.

    The values are numbered as the run recorded them, whatever a figure shows of them. Where two of these arms would share a
    colour, each has that of its place in the figure.
    """
    names = dict.fromkeys(name for known in arms.values() for name in known)
    differing = [name for name in names if len({known.get(name) for known in arms.values()}) > 1]

    def of(known: Mapping[str, Factor]) -> tuple:
        return tuple(known.get(name) for name in differing)

    numbers: dict[tuple, int] = {}
    for known in results.recorded().values():
        if all(name in known for name in differing):
            numbers.setdefault(of(known), len(numbers))
    places = {arm: numbers.get(of(known), 0) for arm, known in arms.items()}
    apart = len({place % len(style.COLOURS) for place in places.values()}) == len(places)
    return places if apart else {arm: place for place, arm in enumerate(arms)}
