"""R-learning: the most reward per step in the long run, without discount.

    repeat
        choose a in s, epsilon-greedy in R; take it, observe r and s'
        delta <- r - rho + max_a' R(s', a') - R(s, a)
        R(s, a) <- R(s, a) + alpha_n delta
        if a was a greedy action of s
            rho <- rho + eta [r - rho + max_a' R(s', a') - max_a R(s, a)]

rho becomes the reward per step of the best policy, and R(s, a) by how much more it is worth to begin with a in s, up to a
constant that is the same everywhere. A task that ends begins anew: the successor of a termination is the first state of the next
episode. A time limit is none of the task: its successor is s'.

Exact values: ``jaxrl.solvers.mdp.average_reward``.

Source: Schwartz (1993), "A Reinforcement Learning Method for Maximizing Undiscounted Rewards"; with the update of rho by Singh
(1994), "Reinforcement Learning Algorithms for Average-Payoff Markovian Decision Processes", algorithm 3; Mahadevan (1996),
section 3.2.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import average
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Episode
from jaxrl.core.scan import scan
from jaxrl.errors import require_between


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    gamma: float = 1.0  # 1 and nothing else: there is no discount
    gain_rate: float = 0.01  # eta, in [0, 1]

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("r_learning", env)
        self.validate_tables("r_learning", env)
        require_between("r_learning", self, 1, 1, "gamma")
        require_between("r_learning", self, 0, 1, "gain_rate")


@struct.dataclass
class State:
    """q: float32[X, A], R. gain: float32[], rho. visits: int32[X, A]. episodes: E environments under way."""

    q: jax.Array
    gain: jax.Array
    visits: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds R-learning on an environment with discrete observations and actions."""
    shape = tables.shape(env)
    policy, probabilities = tables.of_pairs(config)

    def init(key):
        q, visits = jnp.zeros(shape, jnp.float32), counters.zeros(*shape)
        return State(q, jnp.float32(0.0), visits, rollout.start(key, env, config.num_envs))

    def best(q, obs, mask):
        """Returns max_a R(s, a), float32[E]."""
        return jnp.max(q[obs], axis=-1, where=mask, initial=-jnp.inf)

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        # Choose a in s, epsilon-greedy in R; take it, observe r and s'.
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        begun = rollout.view(env, episodes)  # the next episode, where this one has ended
        beyond = jnp.where(seen.terminated, best(state.q, begun.obs, begun.mask), best(state.q, seen.next_obs, seen.next_mask))
        # R(s, a) <- R(s, a) + alpha_n delta.
        taken, here = (seen.obs, seen.action), best(state.q, seen.obs, seen.mask)
        error = seen.reward - state.gain + beyond - state.q[taken]
        q, visits = tables.learn(state.q, state.visits, taken, error, config.step_size)
        # If a was a greedy action of s, rho moves.
        greedy = state.q[taken] >= here
        mean = jnp.where(greedy, error, 0.0).sum() / jnp.maximum(greedy.sum(), 1)
        return State(q, state.gain + config.gain_rate * mean, visits, episodes), (seen, jnp.abs(error))

    def update(state, key):
        state, (batch, error) = scan(step, state, jax.random.split(key, config.num_steps))
        measured = {"td_error": average(error), "reward": batch.reward.mean(), "gain": state.gain}
        return state, rollout.episode_metrics(batch) | measured

    return Algorithm(init, update, policy, probabilities=probabilities)
