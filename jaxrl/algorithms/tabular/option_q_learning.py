"""Q-learning over options: SMDP Q-learning, and intra-option Q-learning, which learns about all options from every step.

    repeat
        choose an option o that may begin in s, epsilon-greedy in Q;  s_0 <- s, R <- 0, k <- 0
        repeat
            draw a ~ pi_o(. | s); take it, observe r and s'
            R <- R + gamma^k r,  k <- k + 1
            intra-option:  for every option w that may begin in s, and would take a as well
                               Q(s, w) <- Q(s, w) + alpha_n [r + gamma U(s', w) - Q(s, w)]
            s <- s'
        until o ends, with probability beta_o(s)
        SMDP:  Q(s_0, o) <- Q(s_0, o) + alpha_n [R + gamma^k max_w Q(s, w) - Q(s_0, o)]

with U(s, w) = (1 - beta_w(s)) Q(s, w) + beta_w(s) max_v Q(s, v), the largest among the options that may begin in s. An option is
followed to its end (call and return). The environment carries the options, as arrays: ``jaxrl.blocks.options.with_options``.

Beyond an episode that terminates everything is worth 0. Where a time limit cuts an option that would have gone on, its target is
R + gamma^k Q(s, o): that is what it is worth to go on.

Source: Sutton, Precup and Singh (1999), "Between MDPs and semi-MDPs", section 3 (SMDP Q-learning, after Bradtke and Duff, 1995)
and equation 20 (intra-option Q-learning); McGovern, Sutton and Fagg (1997), "Roles of Macro-Actions in Accelerating RL".
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import exploration, tables
from jaxrl.blocks.options import OptionParams, Options, require_options
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import average
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.finite import sample_index
from jaxrl.core.rollout import Decision, Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.errors import is_traced, require


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    intra_option: bool = static(default=False)  # learn at every step, about all options that would take its action

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        where = "option_q_learning"
        require_single_agent(where, env)
        self.validate_tables(where, env)
        must, fix = "the environment must carry options", "Use jaxrl.blocks.options.with_options(env, options)."
        require(isinstance(env.params, OptionParams), where, must, type(env.params).__name__, fix)
        options = env.params.options
        require_options(where, options, *tables.shape(env))
        if self.intra_option and not is_traced(options):
            certain = bool(np.isin(np.asarray(options.policy), (0, 1)).all())
            must, fix = "intra-option learning must have options that are certain of their actions", "Set intra_option=False."
            require(certain, where, must, "probabilities between 0 and 1", fix)


@struct.dataclass
class Running:
    """The option that each of E environments follows.

    option: int32[E]. begun: bool[E], whether it is under way: else the next one is chosen first. obs: int32[E], s_0.
    steps: int32[E], k. reward: float32[E], R.
    """

    option: jax.Array
    begun: jax.Array
    obs: jax.Array
    steps: jax.Array
    reward: jax.Array


@struct.dataclass
class State:
    """q: float32[X, O], values of options. visits: int32[X, O], how often each was learned. episodes: E environments under way.

    running: the option that each of them follows.
    """

    q: jax.Array
    visits: jax.Array
    episodes: Episode
    running: Running


def make(env: Environment, config: Config) -> Algorithm:
    """Builds Q-learning over the options of an environment with discrete observations and actions."""
    options: Options = env.params.options
    every = jnp.arange(options.count, dtype=jnp.int32)

    def choose(state, key, obs, greedy=False):
        """Draws options that may begin, int32[E]."""
        values, may_begin = state.q[obs], options.initiation[:, obs].T
        if greedy:
            return exploration.greedy(values, may_begin)
        return tables.choose(key, config, values, state.visits[obs], may_begin)

    def act(key, option, obs):
        """Draws the actions of options, int32[E]."""
        return jax.vmap(sample_index)(jax.random.split(key, obs.shape[0]), options.policy[option, obs])

    def ends(key, option, obs):
        """Draws whether options end where they have come to, bool[E]."""
        return jax.random.uniform(key, obs.shape, jnp.float32) < options.termination[option, obs]

    def policy(state, greedy):
        def follow(key, view):
            choice_key, end_key, action_key = jax.random.split(key, 3)
            option, begun = view.memory
            goes_on = begun & ~ends(end_key, option, view.obs)
            option = jnp.where(goes_on, option, choose(state, choice_key, view.obs, greedy))
            return Decision(act(action_key, option, view.obs), memory=(option, jnp.ones_like(begun)))

        return follow

    def init(key):
        shape = (tables.shape(env)[0], options.count)
        nothing = counters.zeros(config.num_envs)
        running = replace(begin(nothing, nothing), begun=jnp.zeros(config.num_envs, bool))
        q, visits = jnp.zeros(shape, jnp.float32), counters.zeros(*shape)
        return State(q, visits, rollout.start(key, env, config.num_envs), running)

    def best(q, obs):
        """Returns max_w Q(s, w) among the options that may begin, float32[E]."""
        return jnp.max(q[obs], axis=-1, where=options.initiation[:, obs].T, initial=-jnp.inf)

    def learned_smdp(state, seen, running, ended):
        """Q(s_0, o) <- Q(s_0, o) + alpha_n [R + gamma^k max_w Q(s, w) - Q(s_0, o)], for options that have ended or were cut."""
        beyond = jnp.where(ended, best(state.q, seen.next_obs), state.q[seen.next_obs, running.option])
        discount = config.gamma ** running.steps.astype(jnp.float32)
        target = running.reward + jnp.where(seen.terminated, 0.0, discount * beyond)
        taken = running.obs, running.option
        return taken, target - state.q[taken], ended | seen.done

    def learned_within(state, seen):
        """Q(s, w) <- Q(s, w) + alpha_n [r + gamma U(s', w) - Q(s, w)], for all options that would have taken a."""
        ending = options.termination[:, seen.next_obs].T
        worth = (1 - ending) * state.q[seen.next_obs] + ending * best(state.q, seen.next_obs)[:, None]
        target = seen.reward[:, None] + jnp.where(seen.terminated[:, None], 0.0, config.gamma * worth)
        alike = options.policy[:, seen.obs, seen.action].T == 1
        taken = jnp.broadcast_to(seen.obs[:, None], target.shape), jnp.broadcast_to(every, target.shape)
        return taken, target - state.q[taken], alike & options.initiation[:, seen.obs].T

    def step(state, key):
        choice_key, action_key, env_key, end_key = jax.random.split(key, 4)
        # Choose an option o that may begin in s, where none is under way.
        obs, running = state.episodes.obs, state.running
        fresh = begin(choose(state, choice_key, obs), obs)
        running = jax.tree.map(lambda old, new: jnp.where(running.begun, old, new), running, fresh)
        # Draw a ~ pi_o(. | s); take it, observe r and s'.
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, Decision(act(action_key, running.option, obs)))
        running = gathered(running, seen, config.gamma)
        # Until o ends, with probability beta_o(s').
        ended = ends(end_key, running.option, seen.next_obs)
        taken, error, where = learned_within(state, seen) if config.intra_option else learned_smdp(state, seen, running, ended)
        q, visits = tables.learn(state.q, state.visits, taken, error, config.step_size, where)
        over = ended | seen.done
        return State(q, visits, episodes, replace(running, begun=~over)), (seen, error, where, running.steps, over)

    def update(state, key):
        state, (batch, error, where, steps, over) = scan(step, state, jax.random.split(key, config.num_steps))
        measured = {"td_error": average(jnp.abs(error), where), "option_length": average(steps, over)}
        return state, rollout.episode_metrics(batch) | measured | {"reward": batch.reward.mean()}

    return Algorithm(init, update, policy, memory=(jnp.int32(0), jnp.bool_(False)))


def begin(option: jax.Array, obs: jax.Array) -> Running:
    """Returns options that begin, o and s_0, int32[E] each."""
    return Running(option, jnp.ones(obs.shape, bool), obs, counters.zeros(*obs.shape), jnp.zeros(obs.shape, jnp.float32))


def gathered(running: Running, seen: Transition, gamma: jax.Array | float) -> Running:
    """Returns options after one more step of each: R <- R + gamma^k r, k <- k + 1."""
    reward = running.reward + gamma ** running.steps.astype(jnp.float32) * seen.reward
    return replace(running, steps=counters.advanced(running.steps), reward=reward)
