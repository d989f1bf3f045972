"""Several objectives at once: which outcomes are undominated, how good a set of them is, and the exact front of a model.

More is better in every objective. A point dominates another if it is at least as good in all objectives and better in one.

    hypervolume     the volume of what the points dominate above a reference point
    supported       points that are best for some non-negative weights of the objectives, and no other is as good: those that
                    linear scalarisation finds
    mixtures        a policy that draws between two others has expected returns on the line between theirs; the hypervolume of all
                    such mixtures is at least that of the points, and larger if a point between them is missing

So the front of outcomes of deterministic policies and that of expected returns of stochastic ones are different sets; only values
over the same set can be compared. All functions run on the host, in float64.

Source: Zitzler and Thiele (1999), "Multiobjective evolutionary algorithms: a comparative case study and the strength Pareto
approach" (hypervolume); Deb et al. (2002), "A fast and elitist multiobjective genetic algorithm: NSGA-II", section III-B
(crowding distance); White (1982), "Multi-objective infinite-horizon discounted Markov decision processes" (sets of values);
Roijers et al. (2013), "A survey of multi-objective sequential decision-making" (expected utility).
"""

from typing import Any, NamedTuple

import numpy as np

from jaxrl.core.finite import TabularModel, require_model
from jaxrl.errors import EnvError, SolverError, require, require_count, require_finite
from jaxrl.solvers.linear_program import linprog

ROUNDING = 1e-9  # relative to the largest entry: differences below are none


def _points(where: str, points: Any) -> np.ndarray:
    found = np.asarray(require_finite(where, "points", points, "Give one row of objectives for each point."), np.float64)
    must = "points must be a table, one row for each point and a column for each objective"
    require(found.ndim == 2 and found.shape[1] >= 1, where, must, found.shape, "Reshape them to [P, I].")
    return found


def non_dominated(points: Any) -> np.ndarray:
    """Returns which points no other one dominates, bool[P]; of equal points the first.

    Args:
        points: float[P, I].

    Raises:
        ConfigError: points are no table of finite numbers.
    """
    found = _points("non_dominated", points)
    at_least = (found[:, None] >= found[None]).all(-1)  # [P, Q]: p is at least as good as q
    better = at_least & ~at_least.T
    earlier = at_least & at_least.T & (np.arange(len(found))[:, None] < np.arange(len(found)))
    return np.asarray(~(better | earlier).any(0))


def hypervolume(points: Any, reference: Any) -> float:
    """Returns the volume of what is dominated by a point and dominates the reference; 0 without a point above it.

    Exact: slices along the first objective, each a volume of the others. That takes up to P^(I - 1) slices.

    Args:
        points: float[P, I].
        reference: float[I].

    Raises:
        ConfigError: a number is not finite, or the reference has another number of objectives.
    """
    where = "hypervolume"
    found, origin = _points(where, points), np.asarray(require_finite(where, "reference", reference, "Name a point."), np.float64)
    must = f"the reference must have {found.shape[1]} objectives"
    require(origin.shape == found.shape[1:], where, must, origin.shape, "Give one number for each.")
    above = found - origin
    return _volume(above[(above > 0).all(-1)])


def _volume(above: np.ndarray) -> float:
    if not len(above):
        return 0.0
    if above.shape[1] == 1:
        return float(above.max())
    above = above[non_dominated(above)]
    above = above[np.argsort(-above[:, 0])]
    depth = above[:, 0] - np.append(above[1:, 0], 0.0)  # of the slice that the first p + 1 points reach
    return float(sum(d * _volume(above[: p + 1, 1:]) for p, d in enumerate(depth) if d > 0))


def supported(points: Any) -> np.ndarray:
    """Returns which points are the only best ones for some non-negative weights of the objectives, bool[P].

    A point on the line between two others is best for some weights too, but they are as good then: it does not count.

    Args:
        points: float[P, I].

    Raises:
        ConfigError: points are no table of finite numbers.
        SolverError: a linear programme has no answer.
    """
    found = _points("supported", points)
    scale = np.ptp(found, axis=0)
    found = (found - found.min(0)) / np.where(scale > 0, scale, 1.0)  # the weights of one objective are only in other units
    total, none = np.append(np.ones(found.shape[1]), 0.0)[None], np.zeros(found.shape[1])
    answers = []
    for point in found:
        # maximise e subject to w (point - other) >= e for every other one, weights that sum to 1
        others = found[(found != point).any(-1)]
        rows, free = np.concatenate([others - point, np.ones((len(others), 1))], 1), [(0, None)] * len(none) + [(None, 1)]
        answer = linprog(np.append(none, -1.0), rows, np.zeros(len(others)), total, np.ones(1), free)
        require(answer.status == 0, "supported", "the programme must have an answer", answer.message, "Scale them.", SolverError)
        answers.append(answer.x[-1] > ROUNDING)
    return np.array(answers, bool)


def mixture_hypervolume(points: Any, reference: Any) -> float:
    """Returns the hypervolume of all mixtures of points with two objectives: the area below their upper concave envelope.

    Args:
        points: float[P, 2]; those that are not above the reference in both objectives do not count.
        reference: float[2].

    Raises:
        ConfigError: a number is not finite, or there are not two objectives.
    """
    where = "mixture_hypervolume"
    found, origin = _points(where, points), np.asarray(require_finite(where, "reference", reference, "Name a point."), np.float64)
    two = found.shape[1] == 2 and origin.shape == (2,)
    require(two, where, "there must be two objectives", (found.shape, origin.shape), "Use hypervolume for more.")
    above = found - origin
    above = above[(above > 0).all(-1)]
    if not len(above):
        return 0.0
    above = above[non_dominated(above)]
    envelope: list[np.ndarray] = []
    for point in above[np.argsort(above[:, 0])]:
        while len(envelope) > 1 and _turns_left(envelope[-2], envelope[-1], point):
            envelope.pop()
        envelope.append(point)
    corner = np.stack([np.array([0.0, envelope[0][1]]), *envelope])
    return float((np.diff(corner[:, 0]) * (corner[1:, 1] + corner[:-1, 1]) / 2).sum())


def _turns_left(one: np.ndarray, two: np.ndarray, three: np.ndarray) -> bool:
    return bool((two[0] - one[0]) * (three[1] - one[1]) >= (two[1] - one[1]) * (three[0] - one[0]))


def crowding_distance(points: Any) -> np.ndarray:
    """Returns how far the neighbours of each point on a front lie apart, float64[P]; infinite at an end of some objective.

    The sum over objectives of the gap between the next smaller and the next larger value, in units of that objective's range.

    Args:
        points: float[P, I], undominated.

    Raises:
        ConfigError: points are no table of finite numbers.
    """
    found = _points("crowding_distance", points)
    distance = np.zeros(len(found))
    for values in found.T:
        order, extent = np.argsort(values, kind="stable"), float(np.ptp(values)) if len(values) else 0.0
        distance[order[[0, -1]] if len(order) else order] = np.inf
        if extent > 0:
            distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / extent
    return distance


class Extensions(NamedTuple):
    """Constrained problems that extend a front from N of its points, one for each point and objective: N I problems.

    place: int[N I], the number of the point. objective: int[N I], which is maximised.
    bounds: float64[N I, I], what the other objectives must be at least; minus infinity for the one that is maximised.
    """

    place: np.ndarray
    objective: np.ndarray
    bounds: np.ndarray


def extensions(points: Any, reference: Any, chosen: int, kept: float) -> Extensions:
    """Returns the problems at the sparsest places of a front: maximise one objective, keep a share of each of the others.

    Sparse points are those on the front with the largest crowding distances, its ends first; on a front of fewer points than are
    chosen, they are taken in turn. A share is counted from the reference point, so that signs of objectives do not matter.

    Args:
        points: float[P, I], at least one.
        reference: float[I], which no point on the front is below.
        chosen: N, at least 1.
        kept: beta in [0, 1], the share that is kept.

    Raises:
        ConfigError: a number is not finite or out of range, or the reference has another number of objectives.

    Source: Liu et al. (2025), "C-MORL: Multi-Objective Reinforcement Learning through Efficient Discovery of Pareto Front",
    algorithm 1 (there without a reference point).
    """
    where = "extensions"
    found, origin = _points(where, points), np.asarray(require_finite(where, "reference", reference, "Name a point."), np.float64)
    alike = len(found) > 0 and origin.shape == found.shape[1:]
    require(alike, where, "there must be a point, and the reference must be like it", (found.shape, origin.shape), "Give both.")
    require_count(where, "chosen", chosen)
    require(0 <= kept <= 1, where, "kept must lie in [0, 1]", kept, "Try 0.9.")
    front, count = np.flatnonzero(non_dominated(found)), found.shape[1]
    sparse = np.argsort(-crowding_distance(found[front]), kind="stable")
    place, objective = np.repeat(front[np.resize(sparse, chosen)], count), np.tile(np.arange(count), chosen)
    bounds = np.where(np.eye(count, dtype=bool)[objective], -np.inf, origin + kept * (found[place] - origin))
    return Extensions(place, objective, bounds)


def expected_utility(points: Any, weights: Any) -> float:
    """Returns what the best point for each preference is worth to it, on average over preferences.

    Args:
        points: float[P, I], at least one.
        weights: float[W, I], preferences, not negative.

    Raises:
        ConfigError: a number is not finite or a weight negative, or the numbers of objectives differ.
    """
    where = "expected_utility"
    found, preferences = _points(where, points), _points(where, weights)
    alike = len(found) > 0 and len(preferences) > 0 and found.shape[1] == preferences.shape[1] and bool((preferences >= 0).all())
    must = "there must be a point, and preferences must not be negative and weigh each objective"
    require(alike, where, must, (found.shape, preferences.shape), "Try the rows of an identity matrix.")
    return float((preferences @ found.T).max(-1).mean())


def sparsity(points: Any) -> float:
    """Returns the mean squared gap between neighbours of a front, summed over objectives; 0 of one point.

    Args:
        points: float[P, I], undominated.

    Raises:
        ConfigError: points are no table of finite numbers.
    """
    found = _points("sparsity", points)
    return float((np.diff(np.sort(found, axis=0), axis=0) ** 2).sum() / max(len(found) - 1, 1))


class Front(NamedTuple):
    """points: float64[P, I], undominated, in the order of the first objective. sweeps: until no set changed."""

    points: np.ndarray
    sweeps: int


def pareto_front(model: TabularModel, objectives: Any, max_sweeps: int = 1_000) -> Front:
    """Returns all undominated sums of objectives that deterministic policies, which may depend on time, reach from the start.

    Sweeps over sets of vectors, V(x) <- undominated of the union over actions of r(x, a) + V(x'), from {0}, until no set changes:
    the sums of episodes that end. A model whose episodes need not end has no such sets, and is refused.

    Args:
        model: of one start, without chance: one outcome with probability 1 for every action.
        objectives: float[X, A, K, I], of every outcome.
        max_sweeps: at least 1.

    Raises:
        ConfigError: objectives have another shape or are not finite.
        EnvError: the model draws its start or an outcome.
        SolverError: sets still change after ``max_sweeps``.
    """
    where = "pareto_front"
    require_model(where, model)
    require_count(where, "max_sweeps", max_sweeps)
    shape = np.shape(model.next_state)
    table = np.asarray(require_finite(where, "objectives", objectives, "Give a vector for each outcome."), np.float64)
    must = f"objectives must have shape {[*shape, 'I']}"
    require(table.ndim == 4 and table.shape[:3] == shape, where, must, table.shape, "Take a table of the same model.")
    chance, start = np.asarray(model.probability), np.asarray(model.initial)
    certain = bool((chance.max(-1) == 1).all()) and bool(start.max() == 1)
    fix = "Take an environment without slip and with one start."
    require(certain, where, "starts and outcomes must be certain", float(min(chance.max(-1).min(), start.max())), fix, EnvError)
    likely = chance.argmax(-1)[..., None]
    after = np.take_along_axis(np.asarray(model.next_state), likely, -1)[..., 0]
    over = np.take_along_axis(np.asarray(model.terminated), likely, -1)[..., 0]
    earned = np.take_along_axis(table, likely[..., None], 2)[:, :, 0]
    legal, nothing = np.asarray(model.action_mask, bool), np.zeros((1, table.shape[-1]))
    rest = (after == np.arange(shape[0])[:, None]).all(-1) & (earned == 0).all((-1, -2))  # absorbing: worth nothing more
    moving, values = np.flatnonzero(~rest), [nothing] * shape[0]
    for sweep in range(1, max_sweeps + 1):
        new = list(values)
        for x in moving:
            reached = [earned[x, a] + (nothing if over[x, a] else values[after[x, a]]) for a in np.flatnonzero(legal[x])]
            new[x] = _front(np.concatenate(reached))
        if all(np.array_equal(one, two) for one, two in zip(values, new, strict=True)):
            return Front(values[int(start.argmax())], sweep)
        values = new
    must, fix = f"every episode must end: sets must not change any more after {max_sweeps} sweeps", "Give episodes a time limit."
    raise SolverError(f"{where}: {must}, got sets that do. {fix}")


def _front(points: np.ndarray) -> np.ndarray:
    """Returns the undominated points in the order of the first objective, without repeats."""
    unit = ROUNDING * (np.abs(points).max() or 1.0)
    points = points[non_dominated(np.round(points / unit) * unit)]
    return points[np.lexsort(points.T[::-1])]
