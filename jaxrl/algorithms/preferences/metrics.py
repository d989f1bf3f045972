"""How good a learned reward is: on held-out comparisons, as a distance between rewards, and by the policy it leads to.

Distances are pseudometrics that call two rewards equal where they order all policies alike.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.preferences.losses import bradley_terry_loss
from jaxrl.algorithms.preferences.reward_models import RewardModel, spaces_of
from jaxrl.algorithms.preferences.segments import Preferences, differences
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import Average, average
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import nan_unless, require, require_discount
from jaxrl.evaluation import ExactValue
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import action_values, greedy_policy
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation
from jaxrl.solvers.mdp.policy_iteration import policy_iteration

# On comparisons


def accuracy(difference: jax.Array, label: jax.Array, weight: jax.Array) -> Average:
    """Returns the share of comparisons, by weight, whose preferred segment has the higher score; equal scores count half.

    Args:
        difference: float32[P], score of the first minus score of the second.
        label: float32[P]; comparisons of label 1/2 prefer neither and do not count.
        weight: float32[P].

    Returns:
        An average, of nothing where no comparison counts.
    """
    right = 0.5 * (1.0 + jnp.sign(difference) * jnp.sign(label - 0.5))
    return average(right, label != 0.5, weight)


def expected_calibration_error(probability: jax.Array, label: jax.Array, weight: jax.Array, num_bins: int = 10) -> Average:
    """Returns how far predicted probabilities are from observed frequencies, averaged over equally wide bins by weight.

    Args:
        probability: float32[P], predicted, that the first is preferred.
        label: float32[P] in [0, 1].
        weight: float32[P], at least 0.
        num_bins: static.

    Returns:
        An average in [0, 1].

    Source: Guo et al. (2017), equation 3.
    """
    bins = jnp.minimum((probability * num_bins).astype(jnp.int32), num_bins - 1)
    gap = jnp.zeros(num_bins, probability.dtype).at[bins].add(weight * (probability - label))
    return Average(jnp.abs(gap).sum(), weight.sum())


@struct.dataclass
class HeldOut:
    """Evaluates a fitted reward on comparisons it has not seen: ``held_out_accuracy``, ``_loss`` and ``_calibration_error``."""

    preferences: Preferences
    model: RewardModel = static()

    def validate(self, task: Any = None) -> None:
        """Raises DataError where a comparison is wrong, whatever the task; see ``Preferences.validate``."""
        self.preferences.validate("HeldOut", *spaces_of(self.model))

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, Average]:
        self.validate()
        data = self.preferences
        difference = differences(self.model, state.reward_params, data.segments, data.first, data.second)
        loss = bradley_terry_loss(difference, data.label)
        error = expected_calibration_error(jax.nn.sigmoid(difference), data.label, data.weight)
        return {
            "held_out_accuracy": accuracy(difference, data.label, data.weight),
            "held_out_loss": average(loss, weight=data.weight),
            "held_out_calibration_error": error,
        }


# Distances between rewards


def epic_distance(
    first: jax.Array,
    second: jax.Array,
    gamma: jax.Array | float,
    state: jax.Array | None = None,
    action: jax.Array | None = None,
) -> jax.Array:
    """Returns the equivalent-policy invariant comparison distance of two rewards: 0 if they differ by scale and shaping only.

    Args:
        first, second: float[X, A, X], the reward of every state, action and successor, possible or not.
        gamma: discount in [0, 1].
        state: float[X], the distribution that states and successors are compared under; uniform by default.
        action: float[A], likewise for actions.

    Returns:
        float[] in [0, 1]. A reward without differences (constant or pure shaping) is at distance 0 of another such reward and
        sqrt(1/2) of any other: it is correlated with none.

    Source: Gleave et al. (2021), definitions 4.1 and 4.6. With standardised rewards x and y, 1 - E[x y] = E[(x - y)^2] / 2, which
    keeps the small distances that the left side rounds away.
    """
    states, actions = first.shape[:2]
    state = jnp.full(states, 1 / states) if state is None else state
    action = jnp.full(actions, 1 / actions) if action is None else action
    weight = state[:, None, None] * action[:, None] * state

    def canonical(reward):
        mean = jnp.einsum("xay,a,y->x", reward, action, state, precision="highest")
        return reward + gamma * mean - mean[:, None, None] - gamma * jnp.dot(state, mean, precision="highest")

    def standardised(reward):
        # A constant has no meaning here, and would cost precision. A difference of numbers close to each other is exact.
        offset = reward.reshape(-1)[0]
        reward = reward - offset
        centred = canonical(reward - jnp.sum(weight * reward))
        centred = centred - jnp.sum(weight * centred)
        largest = jnp.max(jnp.abs(centred))
        # Scaled by the largest entry first, so that no square leaves the range of numbers.
        unit = centred / jnp.where(largest > 0, largest, 1.0)
        size = jnp.sqrt(jnp.sum(weight * jnp.square(unit)))
        # The remainder of a canonicalised reward without differences is the rounding of its parts.
        resolution = jnp.finfo(reward.dtype).eps
        flat = largest <= 64 * resolution * jnp.max(jnp.abs(reward)) + resolution * jnp.abs(offset)
        return jnp.where(flat, 0.0, unit / jnp.where(flat, 1.0, size)), flat

    (one, one_flat), (other, other_flat) = standardised(first), standardised(second)
    squared = jnp.sum(weight * jnp.square(one - other))
    apart = squared > 0
    distance = jnp.where(apart, 0.5 * jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
    return jnp.where(one_flat != other_flat, jnp.sqrt(jnp.asarray(0.5, distance.dtype)), distance)


def advantages(model: TabularModel, reward: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns the advantages of the uniform policy under a reward, float[X, A]: blind to potential shaping.

    Args:
        model: the environment's tables.
        reward: float[X, A, K], of every outcome.
        gamma: discount in [0, 1).
    """
    return _advantages("advantages", model, reward, gamma)[0]


def _advantages(where: str, model: TabularModel, reward: jax.Array, gamma: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """Returns the advantages, and the largest of the numbers that they are differences of."""
    require_discount(where, gamma, below_one=True)
    return _of_uniform_policy(model, reward, gamma)


@jax.jit  # traced, a reward that diverged is no error but has no advantages
def _of_uniform_policy(model: TabularModel, reward: jax.Array, gamma: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    changed = replace(model, reward=reward)
    uniform = model.action_mask / model.action_mask.sum(-1, keepdims=True)
    value = policy_evaluation(changed, uniform, gamma).value
    found = jnp.where(model.action_mask, action_values(changed, value, gamma) - value[:, None], 0.0)
    return found, jnp.abs(reward).max() + jnp.abs(value).max()


def starc_distance(model: TabularModel, first: jax.Array, second: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns the standardised reward comparison of two rewards: 0 exactly if they order all policies of the model alike.

    The rewards are canonicalised by the value of the uniform policy, scaled to length 1, and subtracted.

    Args:
        model: the environment's tables.
        first, second: float[X, A, K], of every outcome.
        gamma: discount in [0, 1).

    Returns:
        float[] in [0, 2]: 2 for opposite rewards, 1 where one of the two calls all policies equal.

    Source: Skalse et al. (2024), "STARC", definitions 3 (value-adjusted levelling) and 5, with the Euclidean norm.
    """

    def standardised(reward):
        canonical, largest = _advantages("starc_distance", model, reward, gamma)
        size = jnp.sqrt(jnp.sum(jnp.square(canonical)))
        # The rounding of differences of numbers that cancel, whatever their precision and unit, with a margin of 5.
        flat = size <= 2 * jnp.finfo(canonical.dtype).eps * jnp.sqrt(canonical.size) * largest
        return jnp.where(flat, 0.0, canonical / jnp.where(flat, 1.0, size))

    return jnp.sqrt(jnp.sum(jnp.square(standardised(first) - standardised(second))))


# By the policy


def reward_table(model: TabularModel, reward: RewardModel, params: PyTree) -> jax.Array:
    """Returns what a reward function pays for every outcome of a model, float32[X, A, K]; 0 where the episode is over already."""
    observation = jax.tree.map(jnp.asarray, model.observation)
    obs = jax.tree.map(lambda leaf: leaf[:, None, None], observation)
    next_obs = jax.tree.map(lambda leaf: leaf[model.next_state], observation)
    shape = model.next_state.shape
    obs = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *leaf.shape[3:])), obs)
    action = jnp.broadcast_to(jnp.arange(shape[1], dtype=jnp.int32)[:, None], shape)
    over = model.terminated.all((1, 2)) & (model.next_state == jnp.arange(shape[0])[:, None, None]).all((1, 2))
    return jnp.where(over[:, None, None], 0.0, reward(params, obs, action, next_obs))


def policy_return(model: TabularModel, reward: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns what the optimal policy of a reward is worth under the model's own reward, at the start, float[].

    NaN if the reward is, or its optimal policy was not found.

    Args:
        model: the environment's tables.
        reward: float[X, A, K], the reward that is optimised.
        gamma: discount in [0, 1).
    """
    require_discount("policy_return", gamma, below_one=True)
    policy, found = _optimal_policy(model, reward, gamma)
    return nan_unless(found, policy_evaluation(model, policy, gamma).start_value(model))


@jax.jit  # traced, a reward that diverged is no error, and its policy is not found
def _optimal_policy(model: TabularModel, reward: jax.Array, gamma: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """Returns the optimal policy of a reward, float[X, A], and whether it was found, bool[]."""
    changed = replace(model, reward=reward)
    solution = policy_iteration(changed, gamma)
    return greedy_policy(changed, solution.action_value), solution.converged


@struct.dataclass
class PolicyRegret:
    """Evaluates a learned reward by its optimal policy, on the exact model of a finite environment.

    Metrics: ``normalised_return`` of that policy under the true reward (0 is the uniform policy, 1 the optimum) and ``regret``
    (how far its value at the start is below the optimum), both missing where the policy was not found; ``starc_distance`` and,
    where the true reward of every triple is given, ``epic_distance``. Build it with ``PolicyRegret.of``.
    """

    exact: ExactValue
    uniform: jax.Array  # float32[], the value of the uniform policy at the start
    true_reward: jax.Array | None = None
    reward: RewardModel = static(default=None)

    @property
    def model(self) -> TabularModel:
        return self.exact.model

    @property
    def gamma(self) -> jax.Array:
        return self.exact.gamma

    @property
    def optimum(self) -> jax.Array:
        return self.exact.optimum

    @classmethod
    def of(
        cls, env: Environment, reward: RewardModel, gamma: float, true_reward: Any = None, max_states: int = 100_000
    ) -> "PolicyRegret":
        """Tabulates and solves the environment, in float64.

        Args:
            env: a finite environment without agents.
            reward: the model whose parameters are evaluated.
            gamma: discount in [0, 1).
            true_reward: float[X, A, X], the true reward of every state, action and successor, for the EPIC distance.
            max_states: see ``tabulate``.

        Raises:
            ConfigError: gamma lies outside [0, 1), or all policies are worth the same.
            EnvError: the environment has agents, is not finite, or is too large.
        """
        require_discount("PolicyRegret", gamma, below_one=True)
        model = tabulate(env, max_states)
        exact = ExactValue.of_model("PolicyRegret", env, model, gamma)
        legal = model.action_mask / model.action_mask.sum(-1, keepdims=True)
        uniform = host.evaluate(model, legal, gamma)
        worse = float(exact.optimum) - float(uniform.start_value(model))
        must, fix = "the uniform policy must be worth less than the optimum", "Use an environment where actions matter."
        apart = worse > 1e-6 * abs(float(exact.optimum)) + float(uniform.error_bound)
        require(apart, "PolicyRegret", must, f"a difference of {worse:g}", fix)
        true_reward = None if true_reward is None else jnp.asarray(true_reward, jnp.float32)
        return cls(exact, jnp.float32(uniform.start_value(model)), true_reward, reward)

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        self.exact.validate(task)

    def normalised(self, gap: jax.Array) -> jax.Array:
        """Returns the normalised return of a policy that lies this far below the optimum: 0 is the uniform policy, 1 the best."""
        return 1.0 - gap / (self.optimum - self.uniform)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array | Average]:
        learned = reward_table(self.model, self.reward, state.reward_params)
        policy, found = _optimal_policy(self.model, learned, self.gamma)
        regret, _ = self.exact.gap(policy)
        metrics = {
            "normalised_return": average(self.normalised(regret), found),
            "regret": average(regret, found),
            "starc_distance": starc_distance(self.model, self.model.reward, learned, self.gamma),
        }
        if self.true_reward is not None:
            triples = dense_reward(self.model, self.reward, state.reward_params)
            metrics["epic_distance"] = epic_distance(self.true_reward, triples, self.gamma)
        return metrics


@struct.dataclass
class NormalisedReturn:
    """Evaluates the algorithm's own policies under the true reward: ``greedy_normalised_return`` of the greedy policy, and
    ``sampled_normalised_return`` of the one that is sampled, where the algorithm can say with which probabilities it acts.

    Both are scaled as ``normalised_return``, which is of the best policy for the learned reward.
    """

    regret: PolicyRegret

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        self.regret.validate(task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        found: Any = self.regret.exact(key, algorithm, state)
        gaps = {mode: found[f"{mode}_optimality_gap"] for mode in ("greedy", "sampled") if f"{mode}_optimality_gap" in found}
        return {f"{mode}_normalised_return": self.regret.normalised(gap) for mode, gap in gaps.items()}


@struct.dataclass
class BehaviourCloning:
    """Evaluates a baseline that fits no reward: ``cloned_return``, scaled as ``normalised_return`` is.

    Its policy takes each action as often as it was taken, after the same observation, in the segments that were preferred, and is
    uniform where none of them came by. The algorithm's state must hold a data set of its own, as that of ``reward_fitting`` does
    where the task draws one.
    """

    regret: PolicyRegret

    def validate(self, task: Any) -> None:
        """Raises EnvError where the task is an environment of other spaces."""
        self.regret.validate(task)

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        data, model = state.preferences, self.regret.model
        preferred = jnp.where(data.label > 0.5, data.first, data.second)
        obs, action = data.segments.obs[preferred], data.segments.action[preferred]
        counted = data.segments.mask[preferred] * data.weight[:, None]
        done = jnp.zeros((model.num_states, model.num_actions)).at[obs, action].add(counted)
        seen = done.sum(-1, keepdims=True)
        policy = jnp.where(seen > 0, done / jnp.maximum(seen, 1.0), 1.0 / model.num_actions)[model.observation]
        gap, _ = self.regret.exact.gap(policy)
        return {"cloned_return": self.regret.normalised(gap)}


def dense_reward(model: TabularModel, reward: RewardModel, params: PyTree) -> jax.Array:
    """Returns what a reward function pays for every state, action and successor, possible or not, float32[X, A, X]."""
    shape = (model.num_states, model.num_actions, model.num_states)
    everywhere = jnp.broadcast_to(jnp.arange(model.num_states), shape)
    anything = replace(model, next_state=everywhere, terminated=jnp.zeros(shape, bool))
    return reward_table(anything, reward, params)
