"""Dyna-Q: Q-learning that also learns from steps which a model of the environment imagines.

    repeat
        choose a in s, epsilon-greedy in Q; take it, observe r and s'
        Q(s, a) <- Q(s, a) + alpha [r + gamma max_a' Q(s', a') - Q(s, a)]
        Model(s, a) <- r, s'
        n times
            choose a pair (s, a) that was tried before;  r, s' <- Model(s, a)
            Q(s, a) <- Q(s, a) + alpha [r + gamma max_a' Q(s', a') - Q(s, a)]

The model keeps the last outcome of every pair, as if nothing were random.

Dyna-Q+ adds kappa sqrt(tau) to an imagined reward, with tau the steps since the pair was tried last, and also imagines pairs that
were not tried yet, in states where another was: that they pay nothing and lead back. So it finds out where the world has changed.

Prioritised sweeping imagines the pair first whose value would change most, then what leads to it.

Source: Sutton (1990), "Integrated Architectures for Learning, Planning, and Reacting Based on Approximating Dynamic Programming";
Sutton and Barto (2018), section 8.2, 8.3 (Dyna-Q+) and 8.4; Moore and Atkeson (1993), "Prioritized Sweeping".
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.errors import is_traced, require, require_between, require_whole


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Defaults: Sutton and Barto (2018), figure 8.2."""

    learning_rate: float = 0.1  # alpha, in (0, 1]
    learning_rate_half_life: float = jnp.inf  # visits after which alpha has halved; infinite keeps it constant
    learning_rate_min: float = 0.0  # alpha never falls below, in [0, learning_rate]
    gamma: float = 0.95  # discount, in [0, 1]
    epsilon: float = 0.1  # probability of a uniform action, in [0, 1]
    kappa: float = 0.0  # weight of the bonus of Dyna-Q+, at least 0; 0 with prioritised sweeping
    threshold: float = 1e-4  # of prioritised sweeping: a smaller change is not worth imagining, at least 0
    planning_steps: int = static(default=5)  # n, imagined steps for each step of the environment (count); 0 for Q-learning
    explores_untried: bool = static(default=False)  # Dyna-Q+: imagines what was not tried in known states
    prioritised: bool = static(default=False)  # prioritised sweeping in place of uniformly drawn pairs

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("dyna_q", env)
        self.validate_tables("dyna_q", env)
        require_whole("dyna_q", self, "planning_steps")
        require_between("dyna_q", self, 0, float("inf"), "kappa", "threshold")
        must, fix = "prioritised sweeping must imagine a step: it learns from those alone", "Set planning_steps=5."
        require(not self.prioritised or self.planning_steps >= 1, "dyna_q", must, self.planning_steps, fix)
        must, fix = "prioritised sweeping must come without a bonus for what was not tried", "Set explores_untried=False."
        require(not (self.prioritised and self.explores_untried), "dyna_q", must, self.explores_untried, fix)
        must, fix = "prioritised sweeping must come without a bonus for what was tried long ago", "Set kappa=0.0."
        none = is_traced(self.kappa) or bool(np.all(np.equal(self.kappa, 0)))
        require(not self.prioritised or none, "dyna_q", must, self.kappa, fix)

    def plus(self, kappa: float = 1e-3) -> "Config":
        """Returns these values for Dyna-Q+. kappa: weight of the bonus."""
        return replace(self, kappa=kappa, explores_untried=True)


@struct.dataclass
class Model:
    """The last outcome of every pair.

    next_obs: int32[X, A]. reward: float32[X, A]. terminated: bool[X, A]. known: bool[X, A], it has been tried.
    last: int32[X, A], the time at which it was tried last. legal: bool[X, A], as far as it was seen.
    """

    next_obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    known: jax.Array
    last: jax.Array
    legal: jax.Array


@struct.dataclass
class State:
    """q: float32[X, A], action values. visits: int32[X, A], real ones. episodes: E environments under way.

    model: of the environment. priority: float32[X, A], by how much a pair would change. time: int32[], steps of each environment.
    """

    q: jax.Array
    visits: jax.Array
    episodes: Episode
    model: Model
    priority: jax.Array
    time: jax.Array


def make(env: Environment, config: Config) -> Algorithm:
    """Builds Dyna-Q on an environment with discrete observations and actions."""
    shape = tables.shape(env)
    step_size = config.step_size
    policy, probabilities = tables.of_pairs(config)
    every_pair = jnp.indices(shape, jnp.int32)

    def init(key):
        model = empty_model(shape)
        q, visits = jnp.zeros(shape, jnp.float32), counters.zeros(*shape)
        return State(q, visits, rollout.start(key, env, config.num_envs), model, q, counters.zeros())

    def errors(q, model, pairs):
        """Returns r + gamma max_a' Q(s', a') - Q(s, a) of pairs, as the model knows them."""
        after, legal = q[model.next_obs[pairs]], model.legal[model.next_obs[pairs]]
        best = jnp.where(model.terminated[pairs], 0.0, jnp.max(after, axis=-1, where=legal, initial=-jnp.inf))
        return model.reward[pairs] + config.gamma * best - q[pairs]

    def imagine(state, key):
        """Learns from an imagined step of a pair that is drawn uniformly."""
        drawn = draw(key, candidates(state.model, config.explores_untried))
        tau = (state.time - state.model.last[drawn]).astype(jnp.float32)
        error = errors(state.q, state.model, drawn) + config.kappa * jnp.sqrt(tau)
        return replace(state, q=state.q.at[drawn].add(step_size(state.visits[drawn]) * error)), None

    def sweep(state, key):
        """Learns from an imagined step of the pair with the highest priority, then looks at what leads to it."""
        first = jnp.unravel_index(jnp.argmax(state.priority), shape)
        due = state.priority[first] > config.threshold
        error = jnp.where(due, errors(state.q, state.model, first), 0.0)
        q = state.q.at[first].add(step_size(state.visits[first]) * error)
        leads = state.model.known & ~state.model.terminated & (state.model.next_obs == first[0])
        change = jnp.abs(errors(q, state.model, tuple(every_pair)))
        priority = state.priority.at[first].set(jnp.where(due, 0.0, state.priority[first]))
        return replace(state, q=q, priority=jnp.where(leads & due, jnp.maximum(priority, change), priority)), None

    def step(state, key):
        policy_key, env_key, plan_key = jax.random.split(key, 3)
        # Choose a in s, epsilon-greedy in Q; take it, observe r and s'.
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        # Model(s, a) <- r, s'.
        taken, time = (seen.obs, seen.action), counters.advanced(state.time)
        model = observed(state.model, seen, time)
        # Q(s, a) <- Q(s, a) + alpha [r + gamma max_a' Q(s', a') - Q(s, a)].
        error = errors(state.q, model, taken)
        q, visits, priority = state.q, state.visits, state.priority
        if config.prioritised:
            priority, visits = priority.at[taken].max(jnp.abs(error)), counters.advanced_at(visits, taken)
        else:
            q, visits = tables.learn(q, visits, taken, error, step_size)
        # n imagined steps.
        state = State(q, visits, episodes, model, priority, time)
        if config.planning_steps:
            plan = sweep if config.prioritised else imagine
            state, _ = scan(plan, state, jax.random.split(plan_key, config.planning_steps))
        return state, (seen, jnp.abs(error))

    return Algorithm(init, tables.updates(step, config.num_steps), policy, probabilities=probabilities)


def empty_model(shape: tuple[int, int]) -> Model:
    """Returns a model that knows nothing of (X, A) pairs: each pays nothing and leads back to where it was tried."""
    here = jnp.broadcast_to(jnp.arange(shape[0], dtype=jnp.int32)[:, None], shape)
    no, zero = jnp.zeros(shape, bool), jnp.zeros(shape, jnp.float32)
    return Model(here, zero, no, no, counters.zeros(*shape), ~no)


def observed(model: Model, seen: Transition, time: jax.Array) -> Model:
    """Returns the model after a step of each environment, Transition[E], at a time, int32[]."""
    legal = model.legal
    if seen.mask is not None:
        legal = legal.at[seen.obs].set(seen.mask).at[seen.next_obs].set(seen.next_mask)
    # Of several environments that try one pair at once, the last one is remembered, in all arrays.
    same = (seen.obs[:, None] == seen.obs) & (seen.action[:, None] == seen.action)
    later = jnp.triu(same, 1).any(1)
    taken = jnp.where(later, model.known.shape[0], seen.obs), seen.action  # beyond the table nothing is written

    def written(table, values):
        return table.at[taken].set(values, mode="drop")

    return Model(
        written(model.next_obs, seen.next_obs),
        written(model.reward, seen.reward),
        written(model.terminated, seen.terminated),
        written(model.known, True),
        written(model.last, time),
        legal,
    )


def candidates(model: Model, untried: bool) -> jax.Array:
    """Returns the pairs that may be imagined, bool[X, A]: those that were tried, or also the others of states where one was."""
    return model.known.any(-1, keepdims=True) & model.legal if untried else model.known


def draw(key: jax.Array, allowed: jax.Array) -> tuple[jax.Array, ...]:
    """Draws one of the allowed pairs uniformly. allowed: bool[X, A], at least one; returns two int32[]."""
    ranks = jnp.cumsum(allowed.reshape(-1), dtype=jnp.int32)
    rank = jax.random.randint(key, (), 1, ranks[-1] + 1, jnp.int32)
    return jnp.unravel_index(jnp.searchsorted(ranks, rank), allowed.shape)
