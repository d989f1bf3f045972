"""The seed axis: one seed's program applied to many seeds, which are vmapped, grouped and spread over devices.

These are the compiled programs of ``jaxrl.training.runner``. Seeds never talk, so no device waits for another.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrl.core import contracts
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.batch_axis import BATCH_AXIS, DeviceGroup, batch_axes
from jaxrl.errors import require
from jaxrl.training import quarantine
from jaxrl.training.inputs import Inputs

PyTree = Any
SEED_AXIS = "seed"
SEEDS = 2**32  # how many seed numbers there are
WHERE = "run"  # who speaks to the user where an algorithm or an evaluator breaks its contract

# On a CPU, seeds are vmapped in groups whose states together fit into a core's cache; the groups follow one another.
# Measured with PPO on CartPole (0.11 MB a seed, 2 cores, 256 seeds): groups of four 267, all at once 215 thousand steps/s.
CPU_GROUP_BYTES = 512 * 1024

# An initialisation runs once: compiling it takes longer than running it, and half as long with few optimisations. Where jax is
# told to compile quickly, as by the tests, its own level is lower still and this one would raise it.
INIT_OPTIONS = {} if jax.config.read("jax_disable_most_optimizations") else {"xla_backend_optimization_level": 1}

# The small kernels of a training loop gain nothing from being scheduled side by side within one CPU device. Measured with PPO
# on CartPole, one seed: 9 % more steps/s. Other platforms ignore it.
CHUNK_OPTIONS = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


class SeedState(NamedTuple):
    """The carry from one update of a seed to the next: the algorithm's state, and whether the seed is in quarantine."""

    state: PyTree
    health: quarantine.Health


class Layout(NamedTuple):
    """How seeds lie on devices: every device takes ``groups`` groups of ``width`` seeds, vmapped within a group.

    A device may be a ``DeviceGroup``: then ``batch_axes`` names, for each array of a seed, the axis that the group divides.
    """

    mesh: Mesh
    groups: int
    width: int
    batch_axes: tuple[int | None, ...] = ()

    @classmethod
    def of(cls, make: Callable, task: Any, config: Any, devices: Sequence, count: int, vmap_width: int | None) -> "Layout":
        """Lays ``count`` seeds out.

        Args:
            make, task: see ``jaxrl.training.runner.run``.
            config: of one seed.
            devices: at most ``count``; devices, or a ``DeviceGroup`` of equally many each.
            count: how many seeds.
            vmap_width: seeds that a device vmaps, None for all on an accelerator and as many as fit into the cache on a CPU.
        """
        per_device = -(-count // len(devices))
        if vmap_width is None:
            vmap_width = per_device
            if devices[0].platform == "cpu":
                vmap_width = max(1, CPU_GROUP_BYTES // max(1, bytes_of(abstract_carry(make, task, config))))
        groups = -(-per_device // vmap_width)
        width = -(-per_device // groups)
        if not isinstance(devices[0], DeviceGroup):
            return cls(Mesh(np.asarray(devices), (SEED_AXIS,)), groups, width)
        mesh = Mesh(np.asarray([group.devices for group in devices]), (SEED_AXIS, BATCH_AXIS))
        return cls(mesh, groups, width, batch_axes(lambda config: abstract_carry(make, task, config), config))

    @property
    def size(self) -> int:
        """How many seeds there are, with those that fill up the last group."""
        return self.mesh.shape[SEED_AXIS] * self.groups * self.width

    @property
    def split(self) -> NamedSharding:
        """The sharding of what has a leading seed axis."""
        return NamedSharding(self.mesh, PartitionSpec(SEED_AXIS))

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of what all seeds share."""
        return NamedSharding(self.mesh, PartitionSpec())

    def lay(self, carries: PyTree) -> PyTree:
        """Divides the carries of all seeds, [S, ...], as they lie between two chunks. Does nothing where no seed is shared."""
        if not self.batch_axes:
            return carries
        leaves, tree = jax.tree.flatten(carries)
        laid = [
            jax.lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, PartitionSpec(SEED_AXIS, *_along(axis))))
            for leaf, axis in zip(leaves, self.batch_axes, strict=True)
        ]
        return tree.unflatten(laid)


def _along(axis: int | None) -> tuple[str | None, ...]:
    return () if axis is None else (None,) * axis + (BATCH_AXIS,)


def bytes_of(tree: PyTree) -> int:
    """Returns how many bytes the arrays of a tree take; shapes are enough."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def over_seeds(layout: Layout, function: Callable, shared: PyTree, *by_seed: PyTree) -> PyTree:
    """Applies ``function(shared, *one_seed)`` to every seed."""

    def on_device(shared, *by_seed):
        one = functools.partial(function, shared)
        if layout.groups * layout.width == 1:  # a batch axis of one would still cost a third of the speed on a CPU
            out = one(*jax.tree.map(lambda leaf: leaf[0], by_seed))
            return jax.tree.map(lambda leaf: leaf[None], out)
        if layout.groups == 1:
            return jax.vmap(one)(*by_seed)
        if layout.width == 1:
            return jax.lax.map(lambda seed: one(*seed), by_seed)
        grouped = jax.tree.map(lambda leaf: leaf.reshape(layout.groups, layout.width, *leaf.shape[1:]), by_seed)
        out = jax.lax.map(lambda group: jax.vmap(one)(*group), grouped)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), out)

    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        # Outside a compiled program, shard_map compiles every operation by itself: 40 times as slow as no devices to divide.
        size = layout.groups * layout.width
        parts = [jax.tree.map(lambda leaf, at=at: leaf[at : at + size], by_seed) for at in range(0, layout.size, size)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(on_device(shared, *part) for part in parts))
    replicated, split = PartitionSpec(), PartitionSpec(SEED_AXIS)
    specs = (replicated, *(split for _ in by_seed))
    # Only the seed axis is divided by hand; how devices that share a seed divide it, the partitioner decides.
    spread = jax.shard_map(on_device, mesh=layout.mesh, in_specs=specs, out_specs=split, axis_names={SEED_AXIS}, check_vma=False)
    return spread(shared, *by_seed)


def entries(tree: PyTree, rows: Any) -> PyTree:
    """Returns the entries of some seeds, or of one, of arrays with a leading axis of seeds.

    Those on devices are read in one program: a program for each array would take longer to compile than all of them to run.
    Those on the host stay there: of several batches of seeds, a device may not hold all.

    Args:
        tree: PyTree[S, ...].
        rows: int32[R] for PyTree[R, ...], or a row for PyTree[...].
    """
    leaves, form = jax.tree.flatten(tree)
    on_host = [isinstance(leaf, np.ndarray) for leaf in leaves]
    read = iter(_entries([leaf for leaf, host in zip(leaves, on_host, strict=True) if not host], rows))
    return form.unflatten([leaf[rows] if host else next(read) for leaf, host in zip(leaves, on_host, strict=True)])


@jax.jit
def _entries(leaves: list, rows: Any) -> list:
    return [leaf[rows] for leaf in leaves]


def spread(config: Any, count: int) -> Any:
    """Gives every traced field of a configuration a leading seed axis. One form for plain and swept runs: one program."""

    def spread_leaf(path, leaf):
        leaf = np.asarray(leaf)
        if leaf.dtype == np.float64:
            leaf = leaf.astype(np.float32)
        if leaf.dtype == np.int64:
            leaf = leaf.astype(np.int32)
        name = jax.tree_util.keystr(path)
        require(
            leaf.ndim == 0 or leaf.shape[0] == count,
            f"config{name}",
            f"a field must be a scalar or have one entry per seed ({count})",
            leaf.shape,
            "Sweep a field by giving it as many entries as there are seeds.",
        )
        return np.broadcast_to(leaf, (count,)) if leaf.ndim == 0 else leaf

    return jax.tree_util.tree_map_with_path(spread_leaf, config)


@functools.partial(jax.jit, static_argnames=("make",))
def _begin_one(make: Callable[..., Algorithm], task: Any, config: Any, key: jax.Array) -> SeedState:
    made = contracts.algorithm(WHERE, make, task, config)
    return SeedState(contracts.first_state(WHERE, made, config, jax.random.fold_in(key, 0)), quarantine.healthy())


def abstract_carry(make: Callable[..., Algorithm], task: Any, config: Any) -> SeedState:
    """Returns the shapes of one seed's carry; ``config`` is that of one seed."""
    return _begin_one.eval_shape(make, task, config, jax.random.key(0))


@functools.partial(jax.jit, static_argnames=("make", "layout"), compiler_options=INIT_OPTIONS)
def begin(make: Callable[..., Algorithm], layout: Layout, task: Inputs, configs: Any, keys: jax.Array) -> SeedState:
    """Returns the first carry of every seed; configs: [S, ...], keys: [S], S the size of the layout."""

    def one(shared, own, config, key):
        return _begin_one(make, task.form.of_seed(shared, own), config, key)

    return layout.lay(over_seeds(layout, one, task.shared, task.own, configs, keys))


@functools.partial(
    jax.jit, static_argnames=("make", "layout", "length"), donate_argnames=("carries",), compiler_options=CHUNK_OPTIONS
)
def chunk(
    make: Callable[..., Algorithm],
    layout: Layout,
    length: int,
    task: Inputs,
    configs: Any,
    keys: jax.Array,
    carries: SeedState,
    first: jax.Array,
) -> tuple[SeedState, dict[str, jax.Array], quarantine.Health]:
    """Makes ``length`` updates of every seed, from number ``first``, int32[], on.

    Returns:
        The carries, in the place of those that were given; metrics [S, length, ...]; and the health of every seed once more,
        since the next chunk is computed in the place of the carries.
    """

    def one(shared, own, config, key, carry):
        shared, first = shared
        made = contracts.algorithm(WHERE, make, task.form.of_seed(shared, own), config)
        update = functools.partial(contracts.next_state, WHERE, made, config)

        def step(carry, index):
            state, health = carry
            state, health, metrics = quarantine.guard(update, state, health, index, jax.random.fold_in(key, index + 1))
            return SeedState(state, health), metrics

        return jax.lax.scan(step, carry, first + jnp.arange(length, dtype=jnp.int32))

    carries, metrics = over_seeds(layout, one, (task.shared, first), task.own, configs, keys, carries)
    carries = layout.lay(carries)
    return carries, metrics, carries.health


@functools.partial(jax.jit, static_argnames=("make", "layout"))
def evaluate(
    make: Callable[..., Algorithm],
    layout: Layout,
    task: Inputs,
    evaluators: Inputs,
    key: jax.Array,
    configs: Any,
    carries: SeedState,
) -> dict[str, jax.Array]:
    """Calls the evaluators with the same keys for every seed. Returns name -> number, array or Average, [S, ...]."""

    def one(shared, own, config, carry):
        shared_task, shared_evaluators, key = shared
        own_task, own_evaluators = own
        made = contracts.algorithm(WHERE, make, task.form.of_seed(shared_task, own_task), config)
        return contracts.evaluation(WHERE, evaluators.form.of_seed(shared_evaluators, own_evaluators), key, made, carry.state)

    return over_seeds(layout, one, (task.shared, evaluators.shared, key), (task.own, evaluators.own), configs, carries)


@functools.partial(jax.jit, static_argnames=("apply", "layout"), donate_argnames=("carries",))
def between(
    apply: Callable[[PyTree, PyTree], PyTree], layout: Layout, answers: dict[str, jax.Array], carries: SeedState
) -> SeedState:
    """Changes the state of every seed by ``apply(state, answers)``; one in quarantine stays as it is. answers: [S, ...]."""

    def one(_, answers, carry):
        new = contracts.changed_state(WHERE, apply, carry.state, answers)
        return SeedState(quarantine.kept(carry.health, new, carry.state), carry.health)

    return layout.lay(over_seeds(layout, one, (), answers, carries))


class Arguments(NamedTuple):
    """The arguments of ``begin``, ``chunk`` and ``evaluate``, by shape, dtype and sharding: enough to trace and compile."""

    begin: tuple
    chunk: tuple
    evaluate: tuple


def abstract_arguments(
    make: Callable[..., Algorithm], layout: Layout, length: int, task: Inputs, config: Any, evaluators: Inputs
) -> Arguments:
    """Returns the arguments of the programs of a run.

    Args:
        make, layout, length, task, evaluators: see the programs.
        config: of one seed.
    """

    def shared(tree: Any, sharding: NamedSharding = layout.replicated, *axes: int) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype, sharding=sharding, weak_type=leaf.weak_type),
            jax.eval_shape(lambda tree: tree, tree),
        )

    def split(tree: Any) -> Any:
        return shared(tree, layout.split, layout.size)

    def inputs(given: Inputs) -> Inputs:
        return given.mapped(shared, lambda own: split(jax.eval_shape(lambda own: jax.tree.map(lambda leaf: leaf[0], own), own)))

    key = jax.random.key(0)
    configs, carries = split(config), split(abstract_carry(make, task.seed(), config))
    first = jax.ShapeDtypeStruct((), jnp.int32)
    return Arguments(
        (make, layout, inputs(task), configs, split(key)),
        (make, layout, length, inputs(task), configs, split(key), carries, first),
        (make, layout, inputs(task), inputs(evaluators), shared(key), configs, carries),
    )
