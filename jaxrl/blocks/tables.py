"""Tables of action values, float32[X, A]: their configuration, and how they move towards their targets."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import exploration
from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.core import counters, rollout, spaces
from jaxrl.core.config import require_discrete
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision, Episode, Policy, View
from jaxrl.core.scan import scan
from jaxrl.errors import require_at_most, require_between, require_counts, require_numbers, require_positive, unknown_name

EXPLORATIONS = ("epsilon_greedy", "boltzmann", "ucb")


@struct.dataclass
class TableConfig:
    """Hyper-parameters of a tabular learner. Floats are traced: sweeping them recompiles nothing."""

    learning_rate: float = 0.5  # alpha_0, in (0, 1]
    learning_rate_half_life: float = 200.0  # visits after which alpha has halved; infinite keeps it constant
    learning_rate_min: float = 0.01  # alpha never falls below, in [0, learning_rate]
    gamma: float = 0.99  # discount, in [0, 1]
    epsilon: float = 0.2  # of epsilon_greedy, probability of a uniform action, in [0, 1]
    temperature: float = 0.2  # of boltzmann, in units of the values, positive
    uncertainty: float = 2.0  # of ucb, weight of what is not known, in units of the values, at least 0
    exploration: str = static(default="epsilon_greedy")  # or boltzmann, ucb; see jaxrl.blocks.exploration
    num_envs: int = static(default=1)  # environments side by side, sharing one table
    num_steps: int = static(default=100)  # steps of each environment in one update; the table learns at every step

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    @property
    def step_size(self) -> Callable[[jax.Array], jax.Array]:
        """alpha_n as a function of the visits n."""
        return harmonic_schedule(self.learning_rate, self.learning_rate_half_life, self.learning_rate_min)

    def validate_tables(self, where: str, env: Environment) -> None:
        """Raises ConfigError or SpaceError where a value is out of range, or ``env`` is not discrete. where: who asks."""
        require_discrete(where, env, "Use PPO or MAPPO, or number observations and actions.")
        require_counts(where, self, "num_envs", "num_steps")
        require_numbers(where, self, "learning_rate_half_life")
        require_between(where, self, 0, 1, "learning_rate", "learning_rate_min", "gamma", "epsilon")
        require_between(where, self, 0, float("inf"), "uncertainty")
        require_positive(where, self, "learning_rate_half_life", "temperature")
        if self.exploration not in EXPLORATIONS:
            raise unknown_name(where, "exploration", self.exploration, EXPLORATIONS)
        require_at_most(where, self, "learning_rate_min", "learning_rate")


def shape(env: Environment) -> tuple[int, int]:
    """Returns (X, A), how many observations and actions there are."""
    return spaces.flat_size(env.observation_space), spaces.flat_size(env.action_space)


def choose(key: jax.Array, config: TableConfig, values: jax.Array, visits: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Draws the action of a learner that explores, ties broken at random: a new table would else take the first one everywhere.

    Args:
        key: one key.
        config: names the exploration.
        values: float32[..., A]. visits: int32[..., A], of the same pairs; read by ``ucb`` alone.
        mask: bool[..., A] or None.

    Returns:
        int32[...].
    """
    if config.exploration == "boltzmann":
        return exploration.boltzmann(key, values, config.temperature, mask)
    if config.exploration == "ucb":
        return exploration.ucb(values, visits, visits.sum(-1) + 1, config.uncertainty, mask, key)
    return exploration.epsilon_greedy(key, values, config.epsilon, mask, random_ties=True)


def chances(config: TableConfig, values: jax.Array, visits: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Returns the probability with which ``choose`` takes each action, float32[..., A]; arguments as there."""
    if config.exploration == "boltzmann":
        return exploration.boltzmann_probabilities(values, config.temperature, mask)
    if config.exploration == "ucb":
        return exploration.ucb_probabilities(values, visits, visits.sum(-1) + 1, config.uncertainty, mask, random_ties=True)
    return exploration.epsilon_greedy_probabilities(values, config.epsilon, mask, random_ties=True)


def behaviour(config: TableConfig, values_of: Callable, visits_of: Callable) -> tuple[Callable, Callable]:
    """Returns how a tabular learner acts: the functions ``policy`` and ``probabilities`` of its ``Algorithm``.

    Args:
        config: names the exploration.
        values_of, visits_of: ``(state, obs) -> [E, ..., A]``, of a batch of observations.
    """

    def policy(state: Any, greedy: bool) -> Policy:
        def act(key: jax.Array, view: View) -> Decision:
            values = values_of(state, view.obs)
            if greedy:
                return Decision(exploration.greedy(values, view.mask))
            return Decision(choose(key, config, values, visits_of(state, view.obs), view.mask))

        return act

    def probabilities(state: Any, view: View) -> jax.Array:
        return chances(config, values_of(state, view.obs), visits_of(state, view.obs), view.mask)

    return policy, probabilities


def of_pairs(config: TableConfig) -> tuple[Callable, Callable]:
    """Returns ``behaviour`` of a state with the tables ``q`` and ``visits``, each [X, A]."""
    return behaviour(config, lambda state, obs: state.q[obs], lambda state, obs: state.visits[obs])


def begin(key: jax.Array, env: Environment, config: TableConfig) -> tuple[jax.Array, jax.Array, Episode, jax.Array]:
    """Begins to follow a policy that has chosen its next action.

    Returns:
        q: float32[X, A] and visits: int32[X, A], zeros. episodes: E of them. action: int32[E], the first of each.
    """
    episode_key, action_key = jax.random.split(key)
    q, visits = jnp.zeros(shape(env), jnp.float32), counters.zeros(*shape(env))
    episodes = rollout.start(episode_key, env, config.num_envs)
    view = rollout.view(env, episodes)
    return q, visits, episodes, choose(action_key, config, q[view.obs], visits[view.obs], view.mask)


def next_action(
    key: jax.Array, env: Environment, config: TableConfig, q: jax.Array, visits: jax.Array, episodes: Episode, planned: jax.Array
) -> jax.Array:
    """Returns the action that is taken next, int32[E]: the one that was planned, or the first of an episode that has just begun.

    Args:
        key: of the first actions.
        env, config: as for ``begin``.
        q, visits: the tables.
        episodes: E environments after the last step.
        planned: int32[E], chosen where that step led.
    """
    view = rollout.view(env, episodes)
    return jnp.where(episodes.t == 0, choose(key, config, q[view.obs], visits[view.obs], view.mask), planned)


def updates(step: Callable, num_steps: int) -> Callable:
    """Returns the update of a learner that learns at every step: ``num_steps`` of them, with their metrics.

    step: ``(state, key) -> (state, (Transition[E, ...], float32[E, ...]))``, the second the absolute errors.
    """

    def update(state: Any, key: jax.Array):
        state, (batch, error) = scan(step, state, jax.random.split(key, num_steps))
        return state, rollout.episode_metrics(batch) | {"td_error": error.mean(), "reward": batch.reward.mean()}

    return update


def learn(
    q: jax.Array,
    visits: jax.Array,
    taken: tuple[jax.Array, ...],
    error: jax.Array,
    step_size: Callable,
    where: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Moves a table towards its targets and counts the visits.

    Pairs that are learned from several times at once (environments that take the same action in the same state at the same time)
    make one step towards their mean target.

    Args:
        q: float32[X, A], or with further axes in front. visits: int32, of the same shape.
        taken: int32[...] for each axis of q: what was observed and done.
        error: float32[...], from the table to the targets.
        step_size: ``(visits) -> float32``.
        where: bool[...], which of them are learned from; None for all.
    """
    if where is None:
        together = jnp.zeros_like(q).at[taken].add(1.0)[taken]
        return q.at[taken].add(step_size(visits[taken]) * error / together), counters.advanced_at(visits, taken)
    counted = where.astype(jnp.float32)
    together = jnp.maximum(jnp.zeros_like(q).at[taken].add(counted)[taken], 1.0)
    change = jnp.where(where, step_size(visits[taken]) * error / together, 0.0)
    return q.at[taken].add(change), counters.advanced_at(visits, taken, where)


def shared(changes: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns what E environments together change in one table, float32[X, A]: no more than their mean where all have a say.

    Args:
        changes: float32[E, X, A].
        weights: float32[E, X, A], at least 0: how much each environment has to say. Where one alone has, the change is its own;
            where all have as much, it is the mean.
    """
    most = weights.max(0)
    return changes.sum(0) / jnp.where(most > 0, weights.sum(0) / jnp.where(most > 0, most, 1.0), 1.0)
