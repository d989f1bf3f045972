"""The interface of every bonus; see ``jaxrl.blocks.bonuses``."""

from typing import Any, Protocol

import jax

from jaxrl.core.config import require_divisor
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.rollout import Transition
from jaxrl.errors import EnvError, require, require_counts


class Bonus(Protocol):
    """A bonus with a learned state."""

    def validate(self, env: Environment, steps: int | None = None) -> None:
        """Raises ConfigError, EnvError or SpaceError where the bonus cannot be paid on ``env``. steps: in a block, if known."""
        ...

    def init(self, key: jax.Array, num_envs: int) -> PyTree:
        """Draws the first state. num_envs: E, environments side by side."""
        ...

    def __call__(self, state: PyTree, obs: PyTree, action: PyTree, next_obs: PyTree) -> jax.Array:
        """Returns the bonus of each step, float32[...], at least 0; the step has any leading axes."""
        ...

    def update(self, key: jax.Array, state: PyTree, block: Transition) -> tuple[PyTree, dict[str, Any]]:
        """Learns from a block Transition[T, E, ...]. Returns the state, and metrics of the learning."""
        ...


def require_spaces(where: str, bonus: Any, env: Environment) -> None:
    """Raises EnvError unless a bonus was built for the spaces of an environment; those that it has not it does not read."""
    for name in ("observation_space", "action_space"):
        own, found = vars(bonus).get(name), vars(env)[name]
        must = f"the bonus must be built for the {name} of the environment ({found})"
        require(own is None or own == found, where, must, own, f"Build it by {type(bonus).__name__}.of(env).", EnvError)


def require_minibatches(where: str, bonus: Any, steps: int | None) -> None:
    """Raises ConfigError unless ``num_epochs`` and ``num_minibatches`` are counts, the latter a divisor of the steps."""
    require_counts(where, bonus, "num_epochs", "num_minibatches")
    if steps is not None:
        require_divisor(where, "the steps of an update", steps, "num_minibatches", bonus.num_minibatches)
