"""Action labels: data sets in which only a share of the episodes has actions.

Episodes without actions hold -1 in place of an integer and NaN in place of a real number, which no action space contains: every
learner refuses them, until ``jaxrl.algorithms.offline.inverse_model`` has filled them in.

Source: Zheng et al. (2023), "Semi-Supervised Offline Reinforcement Learning with Action-Free Trajectories", sections 2 and 4.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import datasets, offline
from jaxrl.blocks.datasets import Dataset
from jaxrl.core.environment import static
from jaxrl.errors import DataError, require, require_within

LOWER = 0.5  # the share of the episodes that count as those of the lowest returns


def split(key: jax.Array, data: Dataset, share: float, lowest: jax.Array | bool = False) -> tuple[Dataset, Dataset]:
    """Draws the episodes that keep their actions; see ``without_actions`` for the others.

    Args:
        key: one key.
        data: N episodes.
        share: of the episodes that keep their actions, in (0, 1); at least one does, and at least one does not.
        lowest: whether these are drawn from the half of the episodes with the lowest undiscounted returns; of all otherwise.
            The share may then be no larger than that half. May be traced.

    Returns:
        The episodes that keep their actions, M of them, and the N - M others, which still have them.

    Raises:
        ConfigError: the share is out of range. DataError: the data have a single episode.
    """
    where, total = "action_labels.split", data.num_episodes
    require(total > 1, where, "there must be an episode with actions and one without", total, "Collect more.", DataError)
    require_within(where, "share", share, 0, 1, "0.1 is common.", above=True, below=True)
    count = min(max(1, round(share * total)), total - 1)
    half = max(1, round(LOWER * total))
    must = f"with lowest, share must be at most {LOWER:g}"
    require(lowest is False or count <= half, where, must, share, "Set share to 0.1.")
    rank = jnp.argsort(jnp.argsort(jnp.where(data.valid, data.reward, 0.0).sum(1)))
    draw = jax.random.uniform(key, (total,), jnp.float32) + jnp.where(jnp.asarray(lowest) & (rank >= half), 1.0, 0.0)
    order = jnp.argsort(draw)
    return datasets.take(data, order[:count]), datasets.take(data, order[count:])


def without_actions(data: Dataset) -> Dataset:
    """Returns data that hold no actions, nor the log-probabilities of them: -1, or NaN."""

    def nothing(leaf: jax.Array) -> jax.Array:
        return jnp.full_like(leaf, jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else -1)

    return replace(data, action=jax.tree.map(nothing, data.action), log_prob=None)


@struct.dataclass
class Labelled:
    """A task: the episodes of another task's data that keep their actions, and nothing else.

    data: the other task, a data set or one that draws it from a key. share, lowest: see ``split``.
    """

    data: Any
    share: float = static(default=0.1)
    lowest: jax.Array | bool = False

    def parts(self, key: jax.Array) -> tuple[Dataset, Dataset]:
        """Draws the data of a seed, as ``split`` returns them."""
        data_key, split_key = jax.random.split(key)
        data = offline.data_of("Labelled", self.data, data_key)
        return split(split_key, data, self.share, self.lowest)

    def __call__(self, key: jax.Array) -> Dataset:
        """Draws the episodes of a seed that keep their actions."""
        return self.parts(key)[0]
