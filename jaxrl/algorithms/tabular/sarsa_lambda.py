"""SARSA(lambda) and Watkins's Q(lambda): every error moves all pairs of the episode, the recent ones most.

    choose a in s by the policy; e <- 0 at the start of an episode
    repeat
        take a; observe r and s'; choose a' in s' by the policy
        delta = r + gamma Q(s', a') - Q(s, a)
        e <- gamma lambda e, and e(s, a) <- 1 (replacing) or e(s, a) + 1 (accumulating)
        Q <- Q + alpha delta e
        s <- s', a <- a'

Watkins's Q(lambda) has max_a' Q(s', a') in the error, and forgets e before an action that is not greedy: from there on the return
is not that of the greedy policy. lambda = 0 is SARSA, or Q-learning. The policy is epsilon-greedy in Q, and alpha falls with the
visits to a pair.

Source: Rummery and Niranjan (1994); Watkins (1989), chapter 7; Singh and Sutton (1996), "Reinforcement Learning with Replacing
Eligibility Traces"; Sutton and Barto (2018), sections 12.7 and 12.10.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.losses import q_learning_target, sarsa_target
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision, Episode
from jaxrl.errors import require_between


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    lambda_: float = 0.9  # how far errors reach back, in [0, 1]
    replacing: bool = static(default=True)  # replacing traces; False for accumulating ones
    watkins: bool = static(default=False)  # Q(lambda) in place of SARSA(lambda)

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("sarsa_lambda", env)
        self.validate_tables("sarsa_lambda", env)
        require_between("sarsa_lambda", self, 0, 1, "lambda_")


@struct.dataclass
class State:
    """q: float32[X, A], action values. visits: int32[X, A]. episodes: E environments under way. action: int32[E], taken next.

    traces: float32[E, X, A], e of every environment.
    """

    q: jax.Array
    visits: jax.Array
    episodes: Episode
    action: jax.Array
    traces: jax.Array


def make(env: Environment, config: Config) -> Algorithm:
    """Builds SARSA(lambda) on an environment with discrete observations and actions."""
    each = jnp.arange(config.num_envs)
    step_size = config.step_size
    policy, probabilities = tables.of_pairs(config)

    def init(key):
        traces = jnp.zeros((config.num_envs, *tables.shape(env)), jnp.float32)
        return State(*tables.begin(key, env, config), traces)

    def error_of(q, seen, next_action):
        after = q[seen.next_obs]
        if config.watkins:
            targets = jax.vmap(q_learning_target, in_axes=(0, 0, 0, None, 0))
            return targets(seen.reward, after, seen.terminated, config.gamma, seen.next_mask) - q[seen.obs, seen.action]
        targets = jax.vmap(sarsa_target, in_axes=(0, 0, 0, 0, None))
        return targets(seen.reward, after, next_action, seen.terminated, config.gamma) - q[seen.obs, seen.action]

    def step(state, key):
        env_key, next_key, first_key = jax.random.split(key, 3)
        # Take a; observe r and s'; choose a' in s' by the policy.
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, Decision(state.action))
        after, tried = state.q[seen.next_obs], state.visits[seen.next_obs]
        next_action = tables.choose(next_key, config, after, tried, seen.next_mask)
        delta = error_of(state.q, seen, next_action)
        # e <- gamma lambda e, and e(s, a) <- 1 or e(s, a) + 1.
        traces, place = config.gamma * config.lambda_ * state.traces, (each, seen.obs, seen.action)
        traces = traces.at[place].set(1.0) if config.replacing else traces.at[place].add(1.0)
        # Q <- Q + alpha delta e.
        q = state.q + step_size(state.visits) * tables.shared(delta[:, None, None] * traces, traces)
        visits = counters.advanced_at(state.visits, (seen.obs, seen.action))
        # s <- s', a <- a'; where the episode has ended, the first action of the next one.
        action = tables.next_action(first_key, env, config, q, visits, episodes, next_action)
        forget = seen.done
        if config.watkins:
            best = jnp.max(after, axis=-1, where=seen.next_mask, initial=-jnp.inf)
            forget |= state.q[seen.next_obs, next_action] < best
        traces = jnp.where(forget[:, None, None], 0.0, traces)
        return State(q, visits, episodes, action, traces), (seen, jnp.abs(delta))

    return Algorithm(init, tables.updates(step, config.num_steps), policy, probabilities=probabilities)
