"""Mean-field actor-critic: a policy of the agent's own observation, and a critic that sees the mean action of its neighbours.

    repeat
        a_i ~ pi_theta(. | s_i), or the last action with probability inertia
        m_i <- the mean of the neighbours' actions a_j
        V(s_i') = sum_a pi_theta(a | s_i') Q(s_i', a, m_i)
        Q(s_i, a_i, m_i) <- Q(s_i, a_i, m_i) + alpha [r_i + gamma V(s_i') - Q(s_i, a_i, m_i)]
        theta <- theta + beta grad sum_a pi_theta(a | s_i) [Q(s_i, a, m_i) - tau log pi_theta(a | s_i)]

The policy is a softmax of a table theta[s, a]; the gradient is exact over the own action, and tau pays for entropy, so that the
best policy is the Boltzmann policy in Q, as of ``mean_field_q``. tau near 0 is the paper's. The agents share their tables or each
has its own (``shared_parameters``). The metrics are those of ``jaxrl.blocks.mean_field.metrics``.

Source: Yang et al. (2018), Mean field multi-agent reinforcement learning, section 3.3, where the gradient is sampled.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import mean_field, tables
from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.blocks.mean_field import MeanFieldConfig
from jaxrl.core import counters, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Decision, Episode
from jaxrl.core.scan import scan
from jaxrl.errors import require_positive


@struct.dataclass
class Config(MeanFieldConfig):
    """Hyper-parameters of every agent. Floats are traced: sweeping them recompiles nothing."""

    actor_learning_rate: float = 0.1  # beta, positive; in steps of theta for a value of 1

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        self.validate_field("mean_field_ac", env)
        require_positive("mean_field_ac", self, "actor_learning_rate")


@struct.dataclass
class State:
    """theta: float32[G, X, A], of the policies of G tables. q: float32[G, X, M, A], action values. visits: int32, shaped as q.

    episodes: E under way.
    """

    theta: jax.Array
    q: jax.Array
    visits: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds mean-field actor-critic on an environment with N agents, discrete observations and discrete actions."""
    shape, table = mean_field.shape(env, config), mean_field.table_of(env, config)
    levels, actions = shape[2:]
    step_size = harmonic_schedule(config.learning_rate, config.learning_rate_half_life, config.learning_rate_min)

    def init(key):
        theta = jnp.zeros((*shape[:2], actions), jnp.float32)
        q = jnp.full(shape, config.initial_value, jnp.float32)
        return State(theta, q, counters.zeros(*shape), rollout.start(key, env, config.num_envs, mean_field.memory(env)))

    def policy(state, greedy):
        def act(key, view):
            logits = state.theta[table, view.obs]
            if greedy:
                return Decision(logits.argmax(-1).astype(jnp.int32), memory=view.memory)
            policy_key, inertia_key = jax.random.split(key)
            action = jax.random.categorical(policy_key, logits).astype(jnp.int32)
            return Decision(mean_field.repeated(inertia_key, config.inertia, action, view), memory=view.memory)

        return act

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)

        mean = mean_field.mean_action(seen.action, actions, config.neighbourhood)
        row, place = jnp.broadcast_to(table, mean.shape), mean_field.level(mean, levels)
        onward = jax.nn.softmax(state.theta[row, seen.next_obs]) * state.q[row, seen.next_obs, place]
        taken = row, seen.obs, place, seen.action
        value = jnp.where(seen.terminated[:, None], 0.0, onward.sum(-1))
        error = seen.reward + config.gamma * value - state.q[taken]
        q, visits = tables.learn(state.q, state.visits, taken, error, step_size)

        log_pi = jax.nn.log_softmax(state.theta[row, seen.obs])
        worth = q[row, seen.obs, place] - config.temperature * log_pi
        baseline = (jnp.exp(log_pi) * worth).sum(-1, keepdims=True)
        gradient = jnp.exp(log_pi) * (worth - baseline)
        together = jnp.zeros(shape[:2], jnp.float32).at[row, seen.obs].add(1.0)[row, seen.obs]
        theta = state.theta.at[row, seen.obs].add(config.actor_learning_rate * gradient / together[..., None])

        return State(theta, q, visits, episodes), (seen, error, mean)

    def update(state, key):
        state, (batch, error, mean) = scan(step, state, jax.random.split(key, config.num_steps))
        return state, rollout.episode_metrics(batch) | mean_field.metrics(batch, error, mean)

    return Algorithm(init, update, policy, memory=mean_field.memory(env))
