"""Double Q-learning: two tables, one of which selects the next action while the other one values it.

    repeat
        choose a in s, epsilon-greedy in Q_1 + Q_2; take it, observe r and s'
        with probability 1/2 exchange Q_1 and Q_2
        a* = argmax_a' Q_1(s', a')
        Q_1(s, a) <- Q_1(s, a) + alpha_n [r + gamma Q_2(s', a*) - Q_1(s, a)]

The largest of several noisy estimates is too large on average; the other table's estimate of the same action is not. alpha_n
falls with the number n of steps of Q_1 at (s, a).

Source: van Hasselt (2010), "Double Q-learning", algorithm 1; Sutton and Barto (2018), section 6.7.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.losses import double_q_target
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Episode


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("double_q_learning", env)
        self.validate_tables("double_q_learning", env)


@struct.dataclass
class State:
    """tables: float32[2, X, A], Q_1 and Q_2. visits: int32[2, X, A], of each. episodes: E environments under way."""

    tables: jax.Array
    visits: jax.Array
    episodes: Episode

    @property
    def q(self) -> jax.Array:
        """The action values that the policy is greedy in, float32[X, A]: the mean of both tables."""
        return self.tables.mean(0)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds double Q-learning on an environment with discrete observations and actions."""
    shape = (2, *tables.shape(env))
    step_size = config.step_size
    policy, probabilities = tables.behaviour(config, lambda state, obs: state.q[obs], lambda state, obs: state.visits.sum(0)[obs])
    targets = jax.vmap(double_q_target, in_axes=(0, 0, 0, 0, None, 0))

    def init(key):
        return State(jnp.zeros(shape, jnp.float32), counters.zeros(*shape), rollout.start(key, env, config.num_envs))

    def step(state, key):
        policy_key, env_key, table_key = jax.random.split(key, 3)
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        # With probability 1/2 exchange Q_1 and Q_2.
        one = jax.random.bernoulli(table_key, jnp.float32(0.5), seen.reward.shape).astype(jnp.int32)
        # Q_1(s, a) <- Q_1(s, a) + alpha_n [r + gamma Q_2(s', a*) - Q_1(s, a)].
        selects, values = state.tables[one, seen.next_obs], state.tables[1 - one, seen.next_obs]
        taken = one, seen.obs, seen.action
        error = targets(seen.reward, values, selects, seen.terminated, config.gamma, seen.next_mask) - state.tables[taken]
        return State(*tables.learn(state.tables, state.visits, taken, error, step_size), episodes), (seen, jnp.abs(error))

    return Algorithm(init, tables.updates(step, config.num_steps), policy, probabilities=probabilities)
