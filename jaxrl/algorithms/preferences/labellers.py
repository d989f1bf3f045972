"""Synthetic labellers: who prefers which of two segments, given what each is worth to them.

    P(first preferred) = (1 - eps) sigmoid(k (R_1 - R_2)) + eps sigmoid(k (R_2 - R_1))

One record covers the Bradley-Terry labeller (k = 1), the perfect one (k infinite), flipped labels, ties and skipped pairs.

Source: Bradley and Terry (1952); Lee et al. (2021), "B-Pref", section 3.1 and algorithm 1.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.preferences.segments import Preferences, Segments, collect, sample_pairs, summed
from jaxrl.blocks.policies import mixture
from jaxrl.core.environment import Environment, static
from jaxrl.errors import nan_unless, require, require_between, require_numbers, require_positive


class Judgement(NamedTuple):
    """label: float32[P] in [0, 1], 1 where the first is preferred. weight: float32[P], 0 where the pair was skipped."""

    label: jax.Array
    weight: jax.Array


@struct.dataclass
class Labeller:
    """How a judge turns two scores into a label. Numbers are traced."""

    rationality: float = 1.0  # k, positive; infinite is a judge who never errs
    flip_rate: float = 0.0  # eps in [0, 1], the probability that a label is written down the wrong way round
    equal_within: float = 0.0  # scores that differ by less than this are called equal, label 1/2
    skip_below: float = -jnp.inf  # a pair whose better segment scores less than this is skipped, weight 0
    soft: bool = static(default=False)  # whether the label is the probability itself: as many judges as one likes

    def validate(self) -> None:
        """Raises ConfigError where a number is out of range."""
        require_numbers("labeller", self, "rationality", "skip_below")
        require_positive("labeller", self, "rationality")
        require_between("labeller", self, 0, 1, "flip_rate")
        require_between("labeller", self, 0, float("inf"), "equal_within")
        require_between("labeller", self, -float("inf"), float("inf"), "skip_below", below=True)

    def probability(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """Returns the probability that the first of two segments is labelled as preferred, float32[...]; ties are 1/2."""
        difference = first - second
        certain = jnp.isinf(self.rationality)
        finite = jnp.where(certain, 1.0, self.rationality)
        unequal = jnp.where(certain, jnp.heaviside(difference, 0.5), jax.nn.sigmoid(finite * difference))
        meant = jnp.where(jnp.abs(difference) < self.equal_within, 0.5, unequal)
        return meant + self.flip_rate * (1.0 - 2.0 * meant)

    def __call__(self, key: jax.Array, first: jax.Array, second: jax.Array) -> Judgement:
        """Labels pairs. A pair whose scores cannot be compared (NaN) has the label NaN.

        Args:
            key: one key.
            first, second: float32[P], what the segments of each pair are worth.
        """
        probability = self.probability(first, second)
        drawn = (jax.random.uniform(key, probability.shape, probability.dtype) < probability).astype(probability.dtype)
        tied = (jnp.abs(first - second) < self.equal_within) | (jnp.isinf(self.rationality) & (first == second))
        label = probability if self.soft else jnp.where(tied, 0.5, drawn)
        better = jnp.maximum(first, second)
        weight = nan_unless(~jnp.isnan(better), (better >= self.skip_below).astype(probability.dtype))
        return Judgement(nan_unless(~jnp.isnan(first - second), label), weight)


def ask(
    key: jax.Array, labeller: Labeller, segments: Segments, first: jax.Array, second: jax.Array, score: jax.Array | None = None
) -> Preferences:
    """Has pairs of segments labelled.

    Args:
        key: one key.
        labeller: who judges.
        segments: the pool.
        first, second: int32[P], the pairs.
        score: float32[N], what each segment is worth to the judge; by default the sum of the environment's rewards in it.
    """
    if score is None:
        must, fix = "the segments must hold their rewards, or a score be given", "Pass score."
        require(segments.reward is not None, "ask", must, None, fix)
        score = summed(jnp.asarray(segments.reward), segments.mask)
    judgement = labeller(key, score[first], score[second])
    preferences = Preferences(segments, first, second, judgement.label, judgement.weight)
    preferences.validate("ask")
    return preferences


@struct.dataclass
class LabelledSegments:
    """A task of ``reward_fitting`` that draws a data set for every seed: segments of several policies, labelled in pairs.

    As many segments are collected as pairs are drawn of them, uniformly. Every data set is drawn at its full size and the pairs
    beyond ``num_labels`` have weight 0: one program serves all sizes.
    """

    env: Environment
    policies: jax.Array  # float32[M, X, A], of which every Mth segment is; see ``jaxrl.blocks.policies.mixture``
    labeller: Labeller
    num_labels: jax.Array  # int32[], how many pairs count
    num_pairs: int = static()  # that are drawn
    length: int = static(default=10)  # steps of a segment

    def __call__(self, key: jax.Array) -> Preferences:
        """Draws the data set of a seed."""
        return _draw(key, self)


@partial(jax.jit, inline=True)
def _draw(key: jax.Array, task: LabelledSegments) -> Preferences:
    collect_key, pair_key, label_key = jax.random.split(key, 3)
    segments = collect(collect_key, task.env, mixture(task.policies), task.num_pairs, task.length)
    first, second = sample_pairs(pair_key, segments.count, task.num_pairs)
    data = ask(label_key, task.labeller, segments, first, second)
    return replace(data, weight=data.weight * (jnp.arange(task.num_pairs) < task.num_labels))
