"""The part of ``run`` for a batch of seeds: begins it or reads it from a checkpoint, and makes its updates chunk by chunk."""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import contracts
from jaxrl.core.algorithm import Algorithm
from jaxrl.errors import AnswersWanted, require
from jaxrl.results.sinks import Plan
from jaxrl.training import memory, quarantine, seed_axis
from jaxrl.training.checkpoint import Checkpoints
from jaxrl.training.distributed import Processes
from jaxrl.training.graceful_stop import GracefulStop
from jaxrl.training.inputs import Inputs
from jaxrl.training.measurements import DeviceChunk, Measurements
from jaxrl.training.seed_axis import SEEDS, Layout, SeedState
from jaxrl.training.seed_batches import Batch

PyTree = Any


class Between(Protocol):
    """A change of the states between two chunks, from the host: an advisor, an oracle, a person who labels.

    A chunk other than the first begins with it. The answer of ``ask`` is kept beside the checkpoints before it is applied, and a
    checkpoint holds the states before they were told. So a run that goes on after a kill asks for nothing twice and ends as if it
    had not been killed, whatever the answers depend on. The states after the last update are told nothing, until the run is
    extended: then it ends as if it had been longer from the start.
    """

    def ask(self, update: int, seeds: np.ndarray, states: PyTree) -> dict[str, np.ndarray]:
        """Looks at the states of B seeds after a chunk and answers.

        Args:
            update: number of the update that comes next.
            seeds: int64[B], their numbers.
            states: PyTree[B, ...] on the devices.

        Returns:
            name -> array [B, ...]. The same names, shapes and dtypes each time.

        Raises:
            AnswersWanted: there is no answer yet. The run keeps all it has, ends as after Ctrl-C, and asks again if resumed.
        """
        ...

    def apply(self, state: PyTree, answers: dict[str, jax.Array]) -> PyTree:
        """Returns the state of one seed after it was told its answers, name -> array [...]; compiled and vmapped."""
        ...


class Schedule(NamedTuple):
    """How the updates of a run are cut into chunks, and from which root its seeds are derived."""

    num_updates: int
    chunk_length: int
    root: int

    def chunks(self, first_update: int) -> Iterator[tuple[int, int]]:
        """Yields first update and length of the chunks that are left. All end at multiples of the length, or at the end."""
        while first_update < self.num_updates:
            end = min(self.num_updates, (first_update // self.chunk_length + 1) * self.chunk_length)
            yield first_update, end - first_update
            first_update = end

    def told(
        self,
        steps: contracts.DeclaredSteps,
        devices: Sequence,
        evaluates: bool,
        seeds: np.ndarray,
        first_updates: np.ndarray | None = None,
    ) -> Plan:
        """Returns what the sinks are told of it; see ``Plan``."""
        known = self.num_updates, self.chunk_length, steps.per_update, len(devices)
        return Plan(seeds, *known, first_updates, steps.before, evaluates)


class Trainer:
    """Trains batches of seeds with the compiled programs of ``jaxrl.training.seed_axis``."""

    def __init__(
        self,
        make: Callable[..., Algorithm],
        task: Inputs,
        configs: Any,
        numbers: np.ndarray,
        schedule: Schedule,
        evaluators: Inputs,
        evaluation_seed: int,
        initial: Any,
        between: Between | None,
        devices: Sequence,
        vmap_width: int | None,
        checkpoints: Checkpoints | None,
    ):
        """Arguments as for ``run``, for all seeds; those of one batch are taken out of them."""
        self._make, self._task, self._configs, self._numbers = make, task, configs, numbers
        self._schedule, self._evaluators, self._evaluation_seed = schedule, evaluators, evaluation_seed
        self._initial, self._between, self._vmap_width, self._checkpoints = initial, between, vmap_width, checkpoints
        self.devices = devices
        self.evaluates = bool(evaluators.seed())
        self._first_calls: dict[Any, float] = {}
        if callable(initial):  # compiled once, for all batches
            self._start = jax.jit(jax.vmap(lambda key: initial(jax.random.fold_in(key, 0))))
        if initial is not None and not callable(initial):
            self._require_states(initial, len(numbers))

    @property
    def compile_seconds(self) -> float:
        """Seconds of tracing and compiling so far."""
        return sum(self._first_calls.values())

    def seeds_that_fit(self, processes: Processes) -> int:
        """Returns how many seeds can lie in memory at once, of the share of one process."""
        most = -(-len(self._numbers) // processes.count)
        config, length = self._config_of(0), self._schedule.chunk_length
        return memory.seeds_that_fit(
            self._make, self._task, config, most, length, self._evaluators, self.devices, self._vmap_width
        )

    def layout(self, batch: Batch) -> Layout:
        """Returns how the seeds of a batch lie on the devices."""
        row = batch.rows[0]
        return Layout.of(
            self._make, self._task.seed(row), self._config_of(row), self.devices[: batch.room], batch.room, self._vmap_width
        )

    def trace(self, batch: Batch) -> None:
        """Traces the programs of a batch, which jax remembers for when they are called: the first word on what is unsound."""
        layout, config = self.layout(batch), self._config_of(batch.rows[0])
        _, length = next(self._schedule.chunks(batch.first_update))
        arguments = seed_axis.abstract_arguments(self._make, layout, length, self._task, config, self._evaluators)
        seed_axis.chunk.eval_shape(*arguments.chunk)
        if self.evaluates:
            seed_axis.evaluate.eval_shape(*arguments.evaluate)

    def train(self, batch: Batch, measurements: Measurements, stop: GracefulStop) -> SeedState:
        """Makes the updates of a batch that are left and returns its carry, [B, ...].

        Raises:
            KeyboardInterrupt: ``stop`` was asked to stop; what was computed has been recorded and a checkpoint saved.
            AnswersWanted: ``between`` waits for answers; likewise.
        """
        if batch.first_update == self._schedule.num_updates:
            return self.restore(batch, measurements)
        seeds, layout, checkpoints = self._numbers[batch.rows], self.layout(batch), self._checkpoints
        # Filler seeds make the count divisible. They repeat the last seed, so they cannot bring anything new (a failure, say).
        filled = np.concatenate([batch.rows, np.full(layout.size - len(seeds), batch.rows[-1])])
        fold_in = functools.partial(jax.random.fold_in, jax.random.key(self._schedule.root))
        keys = jax.device_put(jax.vmap(fold_in)(jnp.asarray(self._numbers[filled] % SEEDS, jnp.uint32)), layout.split)
        configs = jax.device_put(jax.tree.map(lambda leaf: leaf[filled], self._configs), layout.split)
        task, evaluators = (self._on_devices(given.at(filled), layout) for given in (self._task, self._evaluators))
        evaluation_key = jax.device_put(jax.random.key(self._evaluation_seed), layout.replicated)
        carry = self._begin(batch, layout, filled, task, configs, keys, measurements)

        pending = None
        for first, length in self._schedule.chunks(batch.first_update):
            if self._between is not None and first > 0:
                carry = self._change_or_keep(first, batch, layout, carry, measurements, pending)
            carry, metrics, health = self._call(seed_axis.chunk, layout, length, task, configs, keys, carry, np.int32(first))
            evaluation = {}
            if self.evaluates:
                evaluation = self._call(seed_axis.evaluate, layout, task, evaluators, evaluation_key, configs, carry)
            # The devices work on this chunk while the host takes in the one before.
            measurements.deliver(pending)
            pending = DeviceChunk(batch.rows, first, metrics, evaluation, health)
            last = first + length == self._schedule.num_updates  # which is saved below
            if stop.asked or (checkpoints is not None and not last and checkpoints.is_due()):
                measurements.deliver(pending)
                pending = None
                if checkpoints is not None:
                    checkpoints.save(seeds, first + length, carry, batch.room)
                stop.obey()
        measurements.deliver(pending)
        jax.block_until_ready(carry)
        if checkpoints is not None:
            checkpoints.save(seeds, self._schedule.num_updates, carry, batch.room, finished=True)
        return jax.tree.map(lambda leaf: leaf[: len(seeds)], carry)

    def restore(self, batch: Batch, measurements: Measurements) -> SeedState:
        """Reads the carry of a batch that a checkpoint holds, [B, ...], and notes which of its seeds are in quarantine."""
        assert self._checkpoints is not None
        assert batch.saved is not None
        carry = self._checkpoints.restore(batch.saved, self._like(batch.rows[0]))
        carry = jax.tree.map(lambda leaf: leaf[batch.picked], carry)
        measurements.note(batch.rows, carry.health)
        return carry

    def _begin(self, batch: Batch, layout: Layout, filled: np.ndarray, task, configs, keys, measurements) -> SeedState:
        """Returns the carry that the batch starts from: a checkpoint's, that of ``initial``, or that of ``init``."""
        if batch.saved is not None:
            restored = self.restore(batch, measurements)
            last = np.minimum(np.arange(layout.size), len(batch.rows) - 1)
            return jax.device_put(jax.tree.map(lambda leaf: leaf[last], restored), layout.split)
        if self._initial is None:
            return self._call(seed_axis.begin, layout, task, configs, keys)
        if callable(self._initial):
            states = self._start(keys)
            self._require_states(states, layout.size)
        else:
            states = jax.tree.map(lambda leaf: leaf[filled], self._initial)
        healthy = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (layout.size,)), quarantine.healthy())
        return jax.device_put(SeedState(states, healthy), layout.split)

    def _change_or_keep(
        self, update: int, batch: Batch, layout: Layout, carry: SeedState, measurements: Measurements, pending: DeviceChunk | None
    ) -> SeedState:
        """As ``_change``; if answers are missing, everything computed is delivered and saved first."""
        seeds = self._numbers[batch.rows]
        try:
            return self._change(update, seeds, layout, carry)
        except AnswersWanted:
            measurements.deliver(pending)
            if self._checkpoints is not None:
                self._checkpoints.save(seeds, update, carry, batch.room)
            raise

    def _change(self, update: int, seeds: np.ndarray, layout: Layout, carry: SeedState) -> SeedState:
        """Lets ``between`` change the states, with the answers that are on record or with new ones."""
        assert self._between is not None
        checkpoints = self._checkpoints
        answers = checkpoints.recorded(update, seeds) if checkpoints else None
        if answers is None:
            states = jax.tree.map(lambda leaf: leaf[: len(seeds)], carry.state)
            answers = _answers(self._between.ask(update, seeds, states), len(seeds))
            if checkpoints:
                checkpoints.record(update, seeds, answers)
        last = np.minimum(np.arange(layout.size), len(seeds) - 1)
        spread = jax.device_put({name: values[last] for name, values in answers.items()}, layout.split)
        return seed_axis.between(self._between.apply, layout, spread, carry)

    def _require_states(self, states: PyTree, count: int) -> None:
        counts = sorted({jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(states)})
        must, fix = f"initial must have a state for each of {count} seeds", "Stack them along a new first axis."
        require(counts == [(count,)], "run", must, counts, fix)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)
        found = contracts.mismatch(self._like(0).state, like)
        fix = "Give the states of a run of this algorithm with this configuration, one for each seed."
        require(not found, "run", "initial must have the structure of the algorithm's states", found, fix)

    def _on_devices(self, given: Inputs, layout: Layout) -> Inputs:
        return given.mapped(
            lambda shared: jax.device_put(shared, layout.replicated), lambda own: jax.device_put(own, layout.split)
        )

    def _config_of(self, row: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[row], self._configs)

    def _call(self, function: Callable, layout: Layout, *args: Any) -> Any:
        begun = time.perf_counter()
        out = function(self._make, layout, *args)
        # A first call returns once it has traced, compiled and started; later ones return at once.
        length = args[0] if isinstance(args[0], int) else None
        self._first_calls.setdefault((function, layout, length), time.perf_counter() - begun)
        return out

    def watched_names(self) -> list[str]:
        """Names what the quarantine watches; see there."""
        state, config = self._like(0).state, self._config_of(0)
        update = self._make(self._task.seed(), config).update
        _, metrics = jax.eval_shape(update, state, jax.random.key(0))
        return quarantine.watched_names(state, metrics)

    def _like(self, row: int) -> SeedState:
        return seed_axis.abstract_carry(self._make, self._task.seed(row), self._config_of(row))


def _answers(answers: Any, count: int) -> dict[str, np.ndarray]:
    must, fix = (
        "between.ask must return a dict, name -> array with an entry for each seed",
        "Return {} if there is nothing to say.",
    )
    named = isinstance(answers, dict) and all(isinstance(name, str) for name in answers)
    require(named, "run", must, type(answers).__name__, fix)
    arrays = {name: np.asarray(values) for name, values in answers.items()}
    wrong = {name: values.shape for name, values in arrays.items() if values.ndim < 1 or len(values) != count}
    require(not wrong, "run", must, wrong, f"Give each a first axis of {count}.")
    return arrays


def default_chunk_length(num_updates: int) -> int:
    """Returns about a twentieth of the updates: a divisor if one is near, which saves compiling a shorter last chunk."""
    twentieth = num_updates / 20
    divisors = [d for d in range(1, num_updates + 1) if num_updates % d == 0]
    nearest = min(divisors, key=lambda d: abs(math.log(d / twentieth)))
    return nearest if 2 / 3 <= nearest / twentieth <= 3 / 2 else max(1, round(twentieth))
