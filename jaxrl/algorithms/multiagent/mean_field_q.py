"""Mean-field Q-learning: the value of an agent's action given the mean action of its neighbours, for any number of agents.

    m_i, the mean action that agent i expects of its neighbours, is that of the last step
    repeat
        pi_i(a | s_i, m_i) is proportional to exp(Q(s_i, a, m_i) / tau);  a_i ~ pi_i, or the last action with probability inertia
        m_i <- the mean of the neighbours' actions a_j
        V(s_i') = sum_a pi_i(a | s_i', m_i) Q(s_i', a, m_i)
        Q(s_i, a_i, m_i) <- Q(s_i, a_i, m_i) + alpha [r_i + gamma V(s_i') - Q(s_i, a_i, m_i)]

The agents share one table or each has its own (``shared_parameters``). At the first step of an episode no neighbour has acted:
the mean action is an estimate then, an average of those of the first steps of former episodes (``mean_step_size``), which in a
game that is played once is all there is to know. A fixpoint is a policy that is the Boltzmann policy in its own mean action
(``jaxrl.solvers.mean_field``). With a low temperature the agents answer the last mean all at once and may overshoot it for ever;
a small ``mean_step_size`` in one-shot games, and ``inertia`` in others, lets them settle. The paper has neither (1 and 0).

The metrics are those of ``jaxrl.blocks.mean_field.metrics``, and mean_action_error: how far the mean action of an agent's
neighbours was from the one that it expected.

Source: Yang et al. (2018), Mean field multi-agent reinforcement learning, section 3.2. There the mean action is that of one-hot
actions, here that of action numbers: see ``jaxrl.blocks.mean_field``.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import exploration, mean_field, tables
from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.blocks.mean_field import MeanFieldConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Decision, Episode
from jaxrl.core.scan import scan
from jaxrl.errors import require_between, require_positive


@struct.dataclass
class Config(MeanFieldConfig):
    """Hyper-parameters of every agent. Floats are traced: sweeping them recompiles nothing."""

    mean_step_size: float = 1.0  # in (0, 1]: how far the estimate of the first mean action of an episode moves at a time

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        self.validate_field("mean_field_q", env)
        require_between("mean_field_q", self, 0, 1, "mean_step_size")
        require_positive("mean_field_q", self, "mean_step_size")


@struct.dataclass
class State:
    """q: float32[G, X, M, A], action values of G tables. visits: int32, shaped as q.

    opening: float32[N], the mean action that each agent expects at the first step of an episode. episodes: E under way.
    """

    q: jax.Array
    visits: jax.Array
    opening: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds mean-field Q-learning on an environment with N agents, discrete observations and discrete actions."""
    shape, table = mean_field.shape(env, config), mean_field.table_of(env, config)
    levels, actions = shape[2:]
    step_size = harmonic_schedule(config.learning_rate, config.learning_rate_half_life, config.learning_rate_min)

    def init(key):
        q = jnp.full(shape, config.initial_value, jnp.float32)
        opening = jnp.full(table.shape, 0.5, jnp.float32)
        return State(q, counters.zeros(*shape), opening, rollout.start(key, env, config.num_envs, mean_field.memory(env)))

    def values(q, obs, mean):
        """Returns Q(s_i, ., m_i), float32[E, N, A]."""
        return q[table, obs, mean_field.level(mean, levels)]

    def policy(state, greedy):
        def act(key, view):
            q = values(state.q, view.obs, mean_field.expected_mean(env, config, state.opening, view))
            if greedy:
                return Decision(exploration.greedy(q), memory=view.memory)
            policy_key, inertia_key = jax.random.split(key)
            action = exploration.boltzmann(policy_key, q, config.temperature)
            return Decision(mean_field.repeated(inertia_key, config.inertia, action, view), memory=view.memory)

        return act

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        view = rollout.view(env, state.episodes)
        decision = policy(state, False)(policy_key, view)
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)

        mean = mean_field.mean_action(seen.action, actions, config.neighbourhood)
        onward = values(state.q, seen.next_obs, mean)
        value = (exploration.boltzmann_probabilities(onward, config.temperature) * onward).sum(-1)
        taken = jnp.broadcast_to(table, mean.shape), seen.obs, mean_field.level(mean, levels), seen.action
        error = seen.reward + config.gamma * jnp.where(seen.terminated[:, None], 0.0, value) - state.q[taken]
        q, visits = tables.learn(state.q, state.visits, taken, error, step_size)

        surprise = mean - mean_field.expected_mean(env, config, state.opening, view)
        opening = mean_field.moved(state.opening, config.mean_step_size, view.t == 0, mean)
        return State(q, visits, opening, episodes), (seen, error, mean, surprise)

    def update(state, key):
        state, (batch, error, mean, surprise) = scan(step, state, jax.random.split(key, config.num_steps))
        metrics = mean_field.metrics(batch, error, mean) | {"mean_action_error": jnp.abs(surprise).mean()}
        return state, rollout.episode_metrics(batch) | metrics

    return Algorithm(init, update, policy, memory=mean_field.memory(env))
