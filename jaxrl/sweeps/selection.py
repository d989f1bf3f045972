"""The best member of a sweep, and its worth.

The best of many noisy scores is too good to be true: the maximum picks luck as well as merit. ``select`` therefore chooses on
one set of seeds and measures what it chose on another.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import column_names
from jaxrl.errors import require, unknown_name
from jaxrl.statistics import Interval, bootstrap_interval, final_values
from jaxrl.sweeps.members import Member
from jaxrl.sweeps.sweep import Sweep, seed_numbers, sweep


class Objective(NamedTuple):
    """The score of a member.

    metric: name of an evaluation, or of a metric where no evaluation has it; ``name/0`` is an entry of an array.
    maximize: whether more is better.
    fraction: over which share of the last updates each seed is averaged, in (0, 1]; see ``jaxrl.statistics.final_values``.
    """

    metric: str
    maximize: bool = True
    fraction: float = 0.1

    def of(self, done: Sweep) -> np.ndarray:
        """Returns the score of every member and seed, float64[M, S], NaN where it is missing.

        Raises:
            UnknownNameError: nothing of this name was measured.
        """
        evaluated = self.metric in done.evaluations
        tables = done.evaluations if evaluated else done.metrics
        if self.metric not in tables:
            raise unknown_name("Objective", "metric", self.metric, {*done.metrics, *done.evaluations})
        at = done.evaluated_at if evaluated else np.arange(done.metrics[self.metric].shape[2]) + 1
        pairs = zip(tables[self.metric], done.num_updates, strict=True)
        return np.stack([self.final(values[:, at <= updates]) for values, updates in pairs])

    def final(self, values: np.ndarray) -> np.ndarray:
        """Returns the score of each seed, float64[S], from its values so far, float[S, U]."""
        require(0 < self.fraction <= 1, "Objective", "fraction must lie in (0, 1]", self.fraction, "Try 0.1.")
        scores = final_values(values, self.fraction)
        return np.where(np.isfinite(scores), scores, np.nan)

    def require_measured(self, make: Callable[..., Algorithm], task: Any, config: Any, evaluators: Sequence[Callable]) -> None:
        """Raises UnknownNameError, before anything is computed, where nothing of this name will be measured."""
        one = jax.tree.map(lambda leaf: leaf[0] if np.ndim(leaf) else leaf, config)

        def measure(key):
            algorithm = make(task, one)
            state, metrics = algorithm.update(algorithm.init(key), key)
            return [metrics, *(evaluator(key, algorithm, state) for evaluator in evaluators)]

        known = set().union(*map(column_names, jax.eval_shape(measure, jax.random.key(0))))
        if self.metric not in known:
            raise unknown_name("Objective", "metric", self.metric, known)

    def ranking(self, values: np.ndarray) -> np.ndarray:
        """Orders members from best to worst, by the mean over their seeds.

        Args:
            values: float64[M, S]. A member with seeds that have no score (they diverged, say) stands behind all that have
                fewer of these: what the others reached would flatter it.

        Returns:
            int[M], members.
        """
        missing = np.isnan(values).sum(1)
        mean = np.nansum(values, 1) / np.maximum(values.shape[1] - missing, 1)
        return np.lexsort((-mean if self.maximize else mean, missing))


class Selection(NamedTuple):
    """A member that was chosen, and what it is worth.

    member: its place in the list. values: its fields.
    selected: mean score on the seeds that it was chosen on, too good on average, and its 95 % interval.
    held_out: mean score on other seeds, without bias, and its 95 % interval.
    scores: float64[S], on the held-out seeds ``seeds``, int[S].
    """

    member: int
    values: dict[str, Any]
    selected: Interval
    held_out: Interval
    scores: np.ndarray
    seeds: np.ndarray


def held_out_seeds(seeds: int | Iterable[int], count: int) -> np.ndarray:
    """Returns ``count`` seed numbers that are not among ``seeds``: those that follow the largest."""
    require(count >= 1, "held_out_seeds", "count must be at least 1", count, "Ask for one or more.")
    return np.max(seed_numbers(seeds)) + 1 + np.arange(count)


def select(
    make: Callable[..., Algorithm],
    task: Any,
    config: Any,
    members: Sequence[Member],
    scores: np.ndarray,
    objective: Objective,
    *,
    seeds: int | Iterable[int],
    held_out: Iterable[int],
    num_updates: int,
    score: Callable[[Sweep], np.ndarray] | None = None,
    **options: Any,
) -> Selection | None:
    """Chooses the best member and measures it on other seeds.

    Args:
        make, task, config, num_updates, options: as for ``sweep``, which they are given to; ``sinks`` see member 0.
        members: M of them. scores: float64[M, S], what ``objective`` says of them on ``seeds``.
        seeds: of the scores. held_out: other numbers.
        score: reads the scores on the held-out seeds, float64[1, S]; by default ``objective.of``.

    Returns:
        The selection, None after an interrupt.

    Raises:
        ConfigError: a seed is in both sets, or as for ``sweep``.
    """
    held_out = seed_numbers(held_out)
    both = np.intersect1d(held_out, seed_numbers(seeds)).tolist()
    require(not both, "select", "no seed may be held out that was chosen on", both, "Use held_out_seeds.")
    best = int(objective.ranking(scores)[0])
    again = sweep(make, task, config, [members[best]], seeds=held_out, num_updates=num_updates, **options)
    if again.interrupted:
        return None
    (fresh,) = (score or objective.of)(again)
    return Selection(best, dict(members[best]), interval(scores[best]), interval(fresh), fresh, held_out)


def interval(scores: np.ndarray) -> Interval:
    """Returns the mean of the scores that are there and its 95 % bootstrap interval, NaN where there are too few."""
    found = scores[np.isfinite(scores)]
    if len(found) < 2:
        return Interval(float(found[0]) if len(found) else np.nan, np.nan, np.nan)
    return bootstrap_interval(found, np.mean)
