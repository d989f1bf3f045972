"""Independent Q-learning: every agent learns a table of its own, as if the others were part of the environment.

    Q_i(s_i, a_i) <- Q_i(s_i, a_i) + alpha_n [r_i + gamma max_a Q_i(s_i', a) - Q_i(s_i, a_i)]

with epsilon-greedy behaviour, and step sizes alpha_n as in ``jaxrl.algorithms.tabular.q_learning``. With a common reward, bad
news (a negative error) may be another's exploration. A hysteretic learner takes smaller steps towards bad news than towards good
ones. A lenient one ignores it at random, the more often the less it knows of a pair: with probability exp(-1 / T), where each
visit of the pair lowers its temperature T.

Source: Tan (1993), Multi-agent reinforcement learning: independent vs. cooperative agents; Claus and Boutilier (1998); Matignon,
Laurent and Le Fort-Piat (2007), Hysteretic Q-learning, equation 4; Panait, Sullivan and Luke (2006), Lenient learners in
cooperative multiagent systems; Wei and Luke (2016), Lenient learning in independent-learner stochastic cooperative games, section
4, here without the diffusion of temperatures between states: that of a repeated game.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks import tables
from jaxrl.blocks.agents import transition_axes
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Episode
from jaxrl.errors import require_between


@struct.dataclass
class Config(q_learning.Config):
    """Hyper-parameters of every agent. Floats are traced: sweeping them recompiles nothing."""

    beta: float = 1.0  # a negative error moves the table by this share of the step, in [0, 1]; below 1 is hysteretic
    leniency: float = 0.0  # T of a pair never visited, at least 0; 0 heeds all news. Wei and Luke (2016) take 50
    leniency_decay: float = 0.995  # each visit multiplies the pair's T by this, in [0, 1]

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents("iql", env, "Use jaxrl.algorithms.tabular.q_learning.")
        self.validate_tables("iql", env)
        require_between("iql", self, 0, 1, "beta", "leniency_decay")
        require_between("iql", self, 0, float("inf"), "leniency")


@struct.dataclass
class State:
    """q: float32[N, X, A], action values. visits: int32[N, X, A]. episodes: E environments under way."""

    q: jax.Array
    visits: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds independent Q-learning on an environment with N agents, discrete observations and discrete actions."""
    agents = jnp.arange(env.num_agents)
    shape = (agents.size, *tables.shape(env))
    step_size = config.step_size
    # Action values are [E, N, A].
    policy, probabilities = tables.behaviour(
        config, lambda state, obs: state.q[agents, obs], lambda state, obs: state.visits[agents, obs]
    )

    def init(key):
        q = jnp.full(shape, config.initial_value, jnp.float32)
        return State(q, counters.zeros(*shape), rollout.start(key, env, config.num_envs))

    def learn(q, visits, seen, draw):
        """Moves the table of one agent after what this agent saw and did: line 4 of Q-learning."""
        error = q_learning.td_errors(q, seen, config.gamma)
        ignored = draw < ignoring(config, visits[seen.obs, seen.action])
        change = jnp.where(error < 0, jnp.where(ignored, 0.0, config.beta), 1.0) * error
        return *tables.learn(q, visits, (seen.obs, seen.action), change, step_size), error

    # An agent's table is the first axis of q, its column of the batch the second axis of what was seen.
    learn_beside_each_other = jax.vmap(learn, in_axes=(0, 0, transition_axes(1), 1), out_axes=(0, 0, 1))

    def step(state, key):
        policy_key, env_key, leniency_key = jax.random.split(key, 3)
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        draws = jax.random.uniform(leniency_key, (config.num_envs, agents.size), jnp.float32)
        q, visits, error = learn_beside_each_other(state.q, state.visits, seen, draws)
        return State(q, visits, episodes), (seen, jnp.abs(error))

    return Algorithm(init, tables.updates(step, config.num_steps), policy, probabilities=probabilities)


def ignoring(config: Config, visits: jax.Array) -> jax.Array:
    """Returns the probability that bad news of a pair is ignored after int32[...] visits, exp(-1 / T), float32[...]."""
    temperature = config.leniency * config.leniency_decay ** visits.astype(jnp.float32)
    return jnp.exp(-1.0 / temperature)
