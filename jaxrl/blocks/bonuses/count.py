"""A bonus that counts: 1 / sqrt(N(s')), with N(s') the visits of the observation s' that a step leads to, this one included.

With ``pairs`` it is 1 / sqrt(N(s, a)), with N(s, a) the times that the action was taken there, this one included.

The counts are exact, so observations (and with ``pairs`` actions) must be numbers. Visits of the same block are not counted yet
when a step is paid: the n-th visit of a state in one block is paid as the first one.

Source: Strehl and Littman (2008), "An analysis of model-based interval estimation", equation 7 (MBIE-EB, of pairs); of states:
Bellemare et al. (2016), section 4, there with pseudo-counts. The factor beta of both is the weight with which the bonus is paid.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks.bonuses.bonus import require_spaces
from jaxrl.core import counters, spaces
from jaxrl.core.config import require_discrete, require_discrete_observations
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Transition
from jaxrl.core.spaces import Space


@struct.dataclass
class Count:
    """One over the root of the number of visits. Its state is the table of counts, int32[X], with ``pairs`` int32[X, A]."""

    observation_space: Space = static()
    action_space: Space = static()
    pairs: bool = static(default=False)  # counts pairs of observation and action, not the observations that steps lead to

    @classmethod
    def of(cls, env: Environment, **options: Any) -> "Count":
        """Builds the bonus for an environment's spaces; options are the other fields."""
        return cls(env.observation_space, env.action_space, **options)

    def validate(self, env: Environment, steps: int | None = None) -> None:
        """Raises EnvError or SpaceError where the bonus cannot be paid on ``env``."""
        fix = "Use RND, or number observations and actions."
        (require_discrete if self.pairs else require_discrete_observations)("count", env, fix)
        require_spaces("count", self, env)

    def init(self, key: jax.Array, num_envs: int) -> jax.Array:
        """Returns counts of nothing."""
        parts = (self.observation_space, self.action_space) if self.pairs else (self.observation_space,)
        return counters.zeros(*map(spaces.flat_size, parts))

    def __call__(self, state: jax.Array, obs: PyTree, action: PyTree, next_obs: PyTree) -> jax.Array:
        """Returns 1 / sqrt(N), float32[...], in (0, 1]."""
        return jax.lax.rsqrt(state[self._place(obs, action, next_obs)].astype(jnp.float32) + 1.0)

    def update(self, key: jax.Array, state: jax.Array, block: Transition) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Counts the steps of a block. Metric: ``covered``, how many of the entries of the table were visited so far."""
        state = counters.advanced_at(state, self._place(block.obs, block.action, block.next_obs))
        return state, {"covered": (state > 0).sum().astype(jnp.float32)}

    def _place(self, obs: PyTree, action: PyTree, next_obs: PyTree) -> tuple[PyTree, ...]:
        return (obs, action) if self.pairs else (next_obs,)
