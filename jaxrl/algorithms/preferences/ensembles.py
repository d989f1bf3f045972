"""Ensembles of reward models, and pessimism: a policy that exploits one member's error meets the doubt of the others.

    mean                  r = mean_i r_i
    worst case (WCO)      r = min_i r_i
    uncertainty (UWO)     r = mean_i r_i - lambda var_i r_i

Members must be able to disagree. Networks begin apart and stay apart. A linear or tabular model has one optimum: its members meet
there, and their agreement says nothing about their error, unless each sees a bootstrap sample of the comparisons or is anchored
where it began. How often 90 % intervals over members hold the true reward, measured with 100 members on 100 worlds of 20
responses, 200 Bradley-Terry comparisons and the decay of a normal prior, 1 / 200:

                            tabular    linear, 8 features
    neither                   0.00        0.00
    anchored                  0.54        0.29
    bootstrap                 0.81        0.79
    bootstrap and anchored    0.89        0.84

With 20 members in place of 100 the last line is 0.80 and 0.79: the quantiles of few numbers lie too near together.

Source: Coste et al. (2023), "Reward Model Ensembles Help Mitigate Overoptimization", section 4; bootstrap: Efron (1979); anchors:
Pearce et al. (2020).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
from flax import struct

from jaxrl.algorithms.preferences import reward_fitting
from jaxrl.algorithms.preferences.reward_models import RewardModel, has_one_optimum
from jaxrl.algorithms.preferences.segments import Preferences, Segments, scores
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import pooled
from jaxrl.core.environment import PyTree, static
from jaxrl.errors import require, require_between, require_counts, unknown_name


def mean(rewards: jax.Array) -> jax.Array:
    """Returns the members' mean; rewards: float32[M, ...]."""
    return rewards.mean(0)


def worst_case(rewards: jax.Array) -> jax.Array:
    """Returns what the most pessimistic member says; rewards: float32[M, ...]."""
    return rewards.min(0)


def uncertainty_weighted(rewards: jax.Array, penalty: jax.Array | float = 1.0) -> jax.Array:
    """Returns the mean less ``penalty`` (lambda, at least 0) times the variance over members; rewards: float32[M, ...]."""
    return rewards.mean(0) - penalty * rewards.var(0)


def first(rewards: jax.Array) -> jax.Array:
    """Returns what the first member says, a single model; rewards: float32[M, ...]."""
    return rewards[0]


AGGREGATES: dict[str, Callable] = {
    "single": first,
    "mean": mean,
    "worst_case": worst_case,
    "uncertainty_weighted": uncertainty_weighted,
}


@dataclass(frozen=True)
class Aggregated:
    """An ensemble as one reward function ``(params [M, ...], obs, action, next_obs) -> float32[...]``.

    model: of every member. aggregate: a name in ``AGGREGATES``. penalty: lambda, of ``uncertainty_weighted`` alone; None is 1.
    """

    model: RewardModel
    aggregate: str = "mean"
    penalty: float | None = None

    def __post_init__(self):
        if self.aggregate not in AGGREGATES:
            raise unknown_name("Aggregated", "aggregate", self.aggregate, AGGREGATES)
        if self.penalty is not None:
            weighted, fix = (
                self.aggregate == "uncertainty_weighted",
                "Leave penalty out, or set aggregate='uncertainty_weighted'.",
            )
            require(weighted, "Aggregated", f"penalty must be left out with {self.aggregate!r}", self.penalty, fix)
            require_between("Aggregated", self, 0, float("inf"), "penalty", below=True)

    def init(self, key: jax.Array) -> PyTree:
        """Draws one member: the smallest ensemble."""
        return jax.tree.map(lambda leaf: leaf[None], self.model.init(key))

    def __call__(self, params, obs, action, next_obs):
        rewards = jax.vmap(self.model, in_axes=(0, None, None, None))(params, obs, action, next_obs)
        function = AGGREGATES[self.aggregate]
        return function(rewards) if self.penalty is None else function(rewards, self.penalty)


@partial(jax.jit, static_argnums=0)
def scores_of_seeds(reward: Aggregated, params: PyTree, segments: Segments) -> jax.Array:
    """Returns the scores that the ensemble of each seed gives to its own pool, float32[S, N].

    Args:
        reward, params, segments: as for ``jaxrl.algorithms.preferences.segments.scores``, the last two with an axis [S] first.
    """
    return jax.vmap(scores, in_axes=(None, 0, 0))(reward, params, segments)


@struct.dataclass
class Config:
    """Hyper-parameters of an ensemble per seed."""

    fitting: reward_fitting.Config  # of each member
    num_members: int = static(default=5)  # M

    def validate(self, task) -> None:
        """Raises ConfigError where these values cannot run on ``task``, or where the members cannot disagree."""
        require_counts("ensembles", self, "num_members")
        self.fitting.validate(task)
        different = self.num_members == 1 or self.fitting.bootstrap or self.fitting.anchored
        must = "members of a model with one optimum must be bootstrapped or anchored: they would all be the same"
        found = f"{type(self.fitting.model).__name__}, bootstrap=False, anchored=False"
        fix = "Set bootstrap=True and anchored=True, build the model with init_scale=1.0, and set weight_decay=1 / comparisons."
        require(different or not has_one_optimum(self.fitting.model), "ensembles", must, found, fix)


def make(task: Preferences | Callable, config: Config) -> Algorithm:
    """Builds the fit of a whole ensemble per seed; its members share the seed's data set. Task as for ``reward_fitting.make``.

    For a single ensemble on a single data set, ``reward_fitting.make`` with a seed per member does the same.
    """
    return reward_fitting.fitting(task, partial(_begin, config=config), partial(_fit, config=config))


def _begin(key, num_pairs, config):
    keys = jax.random.split(key, config.num_members)
    return jax.vmap(lambda key: reward_fitting.begin(key, config.fitting, num_pairs))(keys)


def _fit(key, members, preferences, config):
    keys = jax.random.split(key, config.num_members)
    members, metrics = jax.vmap(lambda key, member: reward_fitting.fit(key, member, preferences, config.fitting))(keys, members)
    return members, pooled(metrics)
