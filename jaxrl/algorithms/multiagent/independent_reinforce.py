"""Independent REINFORCE: every agent follows the gradient of its own return, as if the others were part of the environment.

    repeat
        all agents follow their pi_i for an episode
        for each agent i: theta_i and w_i move as those of REINFORCE, by what i saw, did and was paid

with pi_i(a | s_i) in proportion to exp theta_i(s_i, a). Where agents are paid alike, theta moves along the gradient of what they
earn together: the sum of their log-probabilities is that of the joint action. See ``jaxrl.algorithms.tabular.reinforce``.

An agent without a choice, because its row of the action mask leaves one action, moves nothing but its baseline.

Source: Williams (1992), section 3; Peshkin, Kim, Meuleau and Kaelbling (2000), "Learning to cooperate via policy search",
section 4.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.algorithms.tabular import reinforce
from jaxrl.blocks import tables
from jaxrl.blocks.agents import transition_axes
from jaxrl.blocks.policies import softmax_over
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import average
from jaxrl.core.config import require_agents
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Episode
from jaxrl.core.scan import scan


@struct.dataclass
class Config(reinforce.Config):
    """Hyper-parameters of every agent, those of REINFORCE. Floats are traced: sweeping them recompiles nothing."""

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents("independent_reinforce", env, "Use jaxrl.algorithms.tabular.reinforce.")
        self.validate_learner("independent_reinforce", env)


@struct.dataclass
class State:
    """theta: float32[N, X, A], preferences. baseline: float32[N, X], w. episodes: E of them. sums: of all agents, [E, N, ...]."""

    theta: jax.Array
    baseline: jax.Array
    episodes: Episode
    sums: reinforce.Sums


def make(env: Environment, config: Config) -> Algorithm:
    """Builds independent REINFORCE on an environment with N agents, discrete observations and discrete actions."""
    agents = jnp.arange(env.num_agents)
    shape = tables.shape(env)
    # An agent's table is the first axis of theta and of w, its column the second axis of the sums and of what was seen.
    learn_beside_each_other = jax.vmap(reinforce.learn, in_axes=(None, 0, 0, 1, transition_axes(1)), out_axes=(0, 0, 1, 1))

    policy, probabilities = softmax_over(lambda state, obs: state.theta[agents, obs])

    def init(key):
        theta, baseline = jnp.zeros((agents.size, *shape), jnp.float32), jnp.zeros((agents.size, shape[0]), jnp.float32)
        sums = reinforce.nothing(shape, config.num_envs, agents.size)
        return State(theta, baseline, rollout.start(key, env, config.num_envs), sums)

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        # All agents follow their pi_i.
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        # For each agent i: theta_i and w_i move at the end of an episode.
        theta, baseline, sums, square = learn_beside_each_other(config, state.theta, state.baseline, state.sums, seen)
        return State(theta, baseline, episodes, sums), (seen, square)

    def update(state, key):
        state, (batch, square) = scan(step, state, jax.random.split(key, config.num_steps))
        measured = {"reward": batch.reward.mean(), "gradient_square": average(square.sum(-1), batch.done)}
        return state, rollout.episode_metrics(batch) | measured

    return Algorithm(init, update, policy, probabilities=probabilities)
