"""Tabular Q-learning: in each of its steps, the learner

    1. observes its current state s
    2. selects and performs an action a
    3. observes the subsequent state s' and receives an immediate payoff r
    4. adjusts its value of (s, a), using a learning factor alpha_n:
           Q(s, a) <- (1 - alpha_n) Q(s, a) + alpha_n [r + gamma V(s')]    with V(s') = max_a' Q(s', a')

The behaviour in line 2 is epsilon-greedy, and alpha_n falls with the number n of visits to (s, a).

Source: Watkins (1989), "Learning from delayed rewards", chapter 7, as listed by Watkins and Dayan (1992), section 2; Sutton and
Barto (2018), equation 6.8.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.blocks.losses import q_learning_target
from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.core import counters, rollout, spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_discrete, require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.errors import require_at_most, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

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

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("q_learning", env, "Use jaxrl.algorithms.multiagent.iql.")
        self.validate_tables("q_learning", env)

    def validate_tables(self, where: str, env: Environment) -> None:
        """Raises ConfigError or SpaceError where a value is out of range, or ``env`` is not discrete. where: who asks."""
        require_discrete(where, env, "Use PPO or MAPPO, or number observations and actions.")
        require_counts(where, self, "num_envs", "num_steps")
        require_numbers(where, self, "learning_rate_half_life")
        require_between(where, self, 0, 1, "learning_rate", "learning_rate_min", "gamma", "epsilon")
        require_positive(where, self, "learning_rate_half_life")
        require_at_most(where, self, "learning_rate_min", "learning_rate")


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


def learn(
    q: jax.Array, visits: jax.Array, seen: Transition, error: jax.Array, step_size: Callable
) -> tuple[jax.Array, jax.Array]:
    """Moves one learner's table towards its targets and counts the visits.

    Environments that take the same action in the same state at the same time share one step towards their mean target.

    Args:
        q: float32[X, A]. visits: int32[X, A].
        seen: Transition[E], what this learner saw and did.
        error: float32[E], from the table to the targets.
        step_size: ``(visits) -> float32``.
    """
    taken = (seen.obs, seen.action)
    together = jnp.zeros_like(q).at[taken].add(1.0)[taken]
    return q.at[taken].add(step_size(visits[taken]) * error / together), counters.advanced_at(visits, taken)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds Q-learning on an environment with discrete observations and actions."""
    table = (spaces.flat_size(env.observation_space), spaces.flat_size(env.action_space))
    step_size = harmonic_schedule(config.learning_rate, config.learning_rate_half_life, config.learning_rate_min)
    policy, probabilities = epsilon_greedy_over(lambda state, obs: state.q[obs], lambda state: config.epsilon)

    def init(key):
        return State(jnp.zeros(table, jnp.float32), counters.zeros(*table), rollout.start(key, env, config.num_envs))

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        # 1. Observe the state s.
        view = rollout.view(env, state.episodes)
        # 2. and 3. Select and perform an action a; observe s' and receive r.
        decision = policy(state, False)(policy_key, view)
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        # 4. Q(s, a) <- Q(s, a) + alpha_n [r + gamma V(s') - Q(s, a)].
        error = td_errors(state.q, seen, config.gamma)
        q, visits = learn(state.q, state.visits, seen, error, step_size)
        return State(q, visits, episodes), (seen, jnp.abs(error))

    def update(state, key):
        state, (batch, error) = scan(step, state, jax.random.split(key, config.num_steps))
        return state, rollout.episode_metrics(batch) | {"td_error": error.mean()}

    return Algorithm(init, update, policy, probabilities=probabilities)
