"""Tables of action values, float32[X, A]: their configuration, and how they move towards their targets."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.core import counters, spaces
from jaxrl.core.config import require_discrete
from jaxrl.core.environment import Environment, static
from jaxrl.errors import require_at_most, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class TableConfig:
    """Hyper-parameters of a tabular learner. Floats are traced: sweeping them recompiles nothing."""

    learning_rate: float = 0.5  # alpha_0, in (0, 1]
    learning_rate_half_life: float = 200.0  # visits after which alpha has halved; infinite keeps it constant
    learning_rate_min: float = 0.01  # alpha never falls below, in [0, learning_rate]
    gamma: float = 0.99  # discount, in [0, 1]
    epsilon: float = 0.2  # probability of a uniform action, in [0, 1]
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
        require_positive(where, self, "learning_rate_half_life")
        require_at_most(where, self, "learning_rate_min", "learning_rate")


def shape(env: Environment) -> tuple[int, int]:
    """Returns (X, A), how many observations and actions there are."""
    return spaces.flat_size(env.observation_space), spaces.flat_size(env.action_space)


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
