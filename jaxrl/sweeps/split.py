"""A sink that hands the parts of a run, arms or members of a sweep, to sinks of their own: each sees its part as if it ran alone.

Seed ``s`` of part ``m`` has the number ``m * SEEDS + s``, as ``run`` numbers seeds that are given as int[M, S].
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxrl.results.sinks import Chunk, Failure, Plan, Record, RunSummary, Sink, held
from jaxrl.training.seed_axis import SEEDS


class Split:
    """Hands each part to its sinks, with its share of the time."""

    def __init__(self, sinks: Sequence[Sequence[Sink]]):
        """sinks: those of part m at place m."""
        self._sinks = sinks

    def begin(self, plan: Plan) -> None:
        """See ``Sink``."""
        for part, sinks in enumerate(self._sinks):
            for sink in sinks:
                sink.begin(_share(part, plan))

    def held(self, plan: Plan) -> np.ndarray:
        """See ``jaxrl.results.sinks.Record``."""
        found = np.full(len(plan.seeds), plan.num_updates)
        for part, sinks in enumerate(self._sinks):
            found[plan.seeds // SEEDS == part] = held(sinks, _share(part, plan))
        return found

    def complete(self, plan: Plan, summary: RunSummary) -> None:
        """See ``jaxrl.results.sinks.Record``."""
        for part, sinks in enumerate(self._sinks):
            share = summary._replace(failed_seeds=of_part(part, summary.failed_seeds))
            for sink in sinks:
                if isinstance(sink, Record):
                    sink.complete(_share(part, plan), share)

    def chunk(self, chunk: Chunk) -> None:
        """See ``Sink``."""
        parts, seeds = np.divmod(chunk.seeds, SEEDS)
        for part in np.unique(parts):
            rows = parts == part
            share = Chunk(
                chunk.first_update,
                seeds[rows],
                {name: values[rows] for name, values in chunk.metrics.items()},
                {name: values[rows] for name, values in chunk.evaluation.items()},
                chunk.seconds * float(rows.mean()),
                of_part(part, chunk.failures),
            )
            for sink in self._sinks[part]:
                sink.chunk(share)

    def end(self, summary: RunSummary) -> None:
        """See ``Sink``."""
        seconds, compile_seconds = (value / len(self._sinks) for value in summary[:2])
        for part, sinks in enumerate(self._sinks):
            failed = of_part(part, summary.failed_seeds)
            for sink in sinks:
                sink.end(RunSummary(seconds, compile_seconds, summary.interrupted, failed))


def _share(part: int, plan: Plan) -> Plan:
    """Returns the plan of one part."""
    rows = plan.seeds // SEEDS == part
    first = None if plan.first_updates is None else plan.first_updates[rows]
    return plan._replace(seeds=plan.seeds[rows] % SEEDS, first_updates=first)


def of_part(part: int, failures: Mapping[int, Failure]) -> dict[int, Failure]:
    """Returns the failures of one part, by the numbers that its seeds have there."""
    return {number % SEEDS: failure for number, failure in failures.items() if number // SEEDS == part}
