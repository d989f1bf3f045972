"""Quarantine: a seed with a value that turns non-finite is frozen at its last good update, and named.

Seeds run side by side in one program, so a seed that diverges can be neither stopped nor dropped. Its later updates are
computed and thrown away; the other seeds notice nothing.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import averages
from jaxrl.core.rollout import Episode
from jaxrl.results.sinks import OF_ENVIRONMENT

PyTree = Any

GOOD = -1
"""Stands for the number of the first bad update while there is none."""

ENVIRONMENTS_METRICS = ("reward", "episodes", "episode_return", "episode_length", "agent_return")
"""Metrics that are the environment's own numbers: a learner has no part in them but by its actions."""


class Health(NamedTuple):
    """The condition of one seed.

    update: int32[], number of the first update that brought a value which is not finite, ``GOOD`` while none did.
    place: int32[], where that value was, as an index into ``watched_names``.
    """

    update: jax.Array
    place: jax.Array

    @property
    def good(self) -> jax.Array:
        return self.update == GOOD


def healthy() -> Health:
    """Returns the health of a seed that has made no update yet."""
    return Health(jnp.int32(GOOD), jnp.int32(0))


def watched_names(state: PyTree, metrics: dict[str, Any]) -> list[str]:
    """Returns the names of all that is watched, in the order in which it is looked at. Only the structures matter.

    The order is that of causes: one bad number spoils most others within the same update, and the first name is the one that is
    told. The environment's numbers come first, since the learner computes with them; then the learner's state; then its metrics.
    """
    environments, learners = [], []
    for name, leaf, of_environment in _leaves(state):
        if _is_watched(leaf):
            (environments if of_environment else learners).append(name)
    measured = [name for name in ENVIRONMENTS_METRICS if name in metrics]
    environments += [f"metric {name}" for name in measured]
    learners += [f"metric {name}" for name in sorted(metrics) if name not in measured]
    return [f"{OF_ENVIRONMENT}{name}" for name in environments] + learners


def guard(update: Callable, state: PyTree, health: Health, index: jax.Array, key: jax.Array) -> tuple[PyTree, Health, dict]:
    """Makes one update of one seed, unless the seed is in quarantine or gets there by this update.

    Args:
        update: of an Algorithm.
        state: before the update.
        health: of the seed.
        index: int32[], the number of the update.
        key: the update's key.

    Returns:
        The state: the new one, or the old one where the seed is in quarantine; of a replay buffer the position is the old one
        then, while its items may have been written over (copying them in every update would cost more than the update). The
        health. The metrics, float32, as the update measured them: those after the first bad update mean nothing.
    """
    new, metrics = update(state, key)
    found = {f"metric {name}": ~averages.is_sound(metrics[name]) for name in sorted(metrics)} | _turned(state, new)
    names, places = list(found), [name.removeprefix(OF_ENVIRONMENT) for name in watched_names(state, metrics)]
    # Put into the order of causes where nothing else depends on it: elsewhere it would change how the update is compiled.
    bad = jnp.stack([*found.values()] or [False])
    first = jnp.argmax(bad[np.array([names.index(name) for name in places] or [0])])
    fails = health.good & bad.any()
    metrics = jax.tree.map(jnp.float32, metrics)
    keep = health.good & ~fails
    state = _chosen(keep, new, state)
    health = Health(jnp.where(fails, index, health.update), jnp.where(fails, first.astype(jnp.int32), health.place))
    return state, health, metrics


def kept(health: Health, new: PyTree, old: PyTree) -> PyTree:
    """Returns the new state of a seed, or the old one where it is in quarantine; of a replay buffer as ``guard`` does."""
    return _chosen(health.good, new, old)


def _chosen(keep: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(functools.partial(_choose, keep), new, old, is_leaf=_is_buffer)


def _turned(old: PyTree, new: PyTree) -> dict[str, jax.Array]:
    """Returns for every watched leaf, by its name, whether an element that was finite no longer is: an infinity may be there
    from the start."""
    pairs = zip(_leaves(old), _leaves(new), strict=True)
    return {
        name: jnp.any(jnp.isfinite(before) & ~jnp.isfinite(after))
        for (name, before, _), (_, after, _) in pairs
        if _is_watched(before)
    }


def _leaves(state: PyTree) -> Iterator[tuple[str, Any, bool]]:
    """Yields the leaves of a state with their names, and whether an environment gave them: all of an episode but the memory."""
    nodes, _ = jax.tree_util.tree_flatten_with_path(state, is_leaf=_is_whole)
    for path, node in nodes:
        parts, _ = jax.tree_util.tree_flatten_with_path(node, is_leaf=_is_buffer)
        for inner, leaf in parts:
            of_environment = isinstance(node, Episode) and jax.tree_util.keystr(inner[:1]) != ".memory"
            yield f"state{jax.tree_util.keystr((*path, *inner))}", leaf, of_environment


def _is_whole(node: Any) -> bool:
    return _is_buffer(node) or isinstance(node, Episode)


def _choose(keep: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    if _is_buffer(new):  # what goes in is watched where it comes from: in the episodes and the metrics
        return new.replace(position=jnp.where(keep, new.position, old.position), size=jnp.where(keep, new.size, old.size))
    return jnp.where(keep, new, old)


def _is_buffer(node: Any) -> bool:
    return isinstance(node, ReplayBuffer)


def _is_watched(leaf: Any) -> bool:
    return not _is_buffer(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)
