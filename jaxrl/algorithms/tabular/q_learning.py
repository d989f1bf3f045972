"""Tabular Q-learning: in each of its steps, the learner

    1. observes its current state s
    2. selects and performs an action a
    3. observes the subsequent state s' and receives an immediate payoff r
    4. adjusts its value of (s, a), using a learning factor alpha_n:
           Q(s, a) <- (1 - alpha_n) Q(s, a) + alpha_n [r + gamma V(s')]    with V(s') = max_a' Q(s', a')

The behaviour in line 2 is epsilon-greedy (or ``exploration``), and alpha_n falls with the number n of visits to (s, a). With a
table that begins above all returns (``initial_value``), the learner tries every pair until it is disappointed: optimistic
Q-learning.

Source: Watkins (1989), "Learning from delayed rewards", chapter 7, as listed by Watkins and Dayan (1992), section 2; Sutton and
Barto (2018), equation 6.8; optimistic: Even-Dar and Mansour (2001), "Convergence of optimistic and incremental Q-learning".
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.losses import q_learning_target
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Episode, Transition


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    initial_value: float = 0.0  # of all pairs (reward units); the largest possible return makes the learner optimistic

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("q_learning", env, "Use jaxrl.algorithms.multiagent.iql.")
        self.validate_tables("q_learning", env)


@struct.dataclass
class State:
    """q: float32[X, A], action values. visits: int32[X, A]. episodes: E environments under way."""

    q: jax.Array
    visits: jax.Array
    episodes: Episode


def td_errors(q: jax.Array, seen: Transition, gamma: jax.Array | float) -> jax.Array:
    """Returns how far one step of each environment is from what the table says, r + gamma V(s') - Q(s, a), float32[E].

    Args:
        q: float32[X, A], the table of one learner.
        seen: Transition[E], what this learner saw and did.
        gamma: discount in [0, 1].
    """
    targets = jax.vmap(q_learning_target, in_axes=(0, 0, 0, None, 0))
    return targets(seen.reward, q[seen.next_obs], seen.terminated, gamma, seen.next_mask) - q[seen.obs, seen.action]


def make(env: Environment, config: Config) -> Algorithm:
    """Builds Q-learning on an environment with discrete observations and actions."""
    shape = tables.shape(env)
    step_size = config.step_size
    policy, probabilities = tables.of_pairs(config)

    def init(key):
        q = jnp.full(shape, config.initial_value, jnp.float32)
        return State(q, counters.zeros(*shape), rollout.start(key, env, config.num_envs))

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        # 1. Observe the state s.
        view = rollout.view(env, state.episodes)
        # 2. and 3. Select and perform an action a; observe s' and receive r.
        decision = policy(state, False)(policy_key, view)
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        # 4. Q(s, a) <- Q(s, a) + alpha_n [r + gamma V(s') - Q(s, a)].
        error = td_errors(state.q, seen, config.gamma)
        q, visits = tables.learn(state.q, state.visits, (seen.obs, seen.action), error, step_size)
        return State(q, visits, episodes), (seen, jnp.abs(error))

    return Algorithm(init, tables.updates(step, config.num_steps), policy, probabilities=probabilities)
