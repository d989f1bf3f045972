"""Tabular risk-averse Q-learning: the certainty equivalent of an exponential utility, learned by minimising a loss.

    Q(s, a) <- Q(s, a) - alpha_n dL/dQ,    target = r + max_a' Q(s', a')  (r alone where the episode terminates)

With the Itakura-Saito loss the fixed point is Q = -log E[exp(-beta target)] / beta, the Bellman equation of the entropic risk
measure with risk aversion beta; there is no discount, since the measure is not positively homogeneous. The other losses are what
it is compared with. No step goes past the target it was drawn to: where an estimate is far too high, the gradient of an
exponential is so large that a single step would leave the range of numbers. Near the fixed point this never binds.

Source: Udovichenko et al. (2025), "Risk-Averse Reinforcement Learning with Itakura-Saito Loss"; control by the maximum as in
Watkins and Dayan (1992).
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import losses
from jaxrl.blocks.exploration import harmonic_schedule
from jaxrl.blocks.losses import q_learning_target
from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.core import counters, rollout, spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_discrete, require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Episode
from jaxrl.core.scan import scan
from jaxrl.errors import (
    require_at_most,
    require_between,
    require_counts,
    require_numbers,
    require_positive,
    unknown_name,
)

LOSSES = {
    "itakura_saito": losses.itakura_saito_loss,
    "exponential_squared": losses.exponential_squared_loss,
    "softplus": losses.softplus_loss,
    "mean_variance": losses.mean_variance_loss,
}


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    risk_aversion: float = 1.0  # beta, positive, per unit of reward
    learning_rate: float = 1.0  # alpha_0, in (0, 1]
    learning_rate_hold: float = 0.0  # updates of an entry before alpha begins to fall
    learning_rate_half_life: float = 5.0  # further updates after which alpha has halved; infinite keeps it constant
    learning_rate_min: float = 0.0  # alpha never falls below, in [0, learning_rate]
    epsilon: float = 0.5  # probability of a uniform action, in [0, 1]
    loss: str = static(default="itakura_saito")  # or exponential_squared, softplus, mean_variance
    num_envs: int = static(default=16)  # environments side by side, sharing one table (count)
    num_steps: int = static(default=100)  # steps of each environment in one update; the table learns at every step (count)

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, SpaceError or UnknownNameError where these values cannot run on ``env``."""
        require_discrete("entropic_td", env, "Use PPO, or number observations and actions.")
        require_single_agent("entropic_td", env)
        if self.loss not in LOSSES:
            raise unknown_name("entropic_td", "loss", self.loss, LOSSES)
        require_counts("entropic_td", self, "num_envs", "num_steps")
        require_numbers("entropic_td", self, "learning_rate_hold", "learning_rate_half_life")
        require_between("entropic_td", self, 0, 1, "learning_rate", "learning_rate_min", "epsilon")
        require_between("entropic_td", self, 0, float("inf"), "learning_rate_hold")
        require_positive("entropic_td", self, "risk_aversion", "learning_rate_half_life")
        require_at_most("entropic_td", self, "learning_rate_min", "learning_rate")


@struct.dataclass
class State:
    """q: float32[X, A], certainty equivalents. updates: int32[X, A], of each entry. episodes: E environments under way."""

    q: jax.Array
    updates: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds risk-averse Q-learning on an environment with discrete observations and actions."""
    table = (spaces.flat_size(env.observation_space), spaces.flat_size(env.action_space))
    step_size = harmonic_schedule(config.learning_rate, config.learning_rate_half_life, config.learning_rate_min)
    gradient = jax.vmap(jax.value_and_grad(LOSSES[config.loss]), in_axes=(0, 0, None))
    policy, probabilities = epsilon_greedy_over(lambda state, obs: state.q[obs], lambda state: config.epsilon)

    def init(key):
        return State(jnp.zeros(table, jnp.float32), counters.zeros(*table), rollout.start(key, env, config.num_envs))

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)

        taken = (seen.obs, seen.action)
        target = jax.vmap(q_learning_target, in_axes=(0, 0, 0, None, 0))(
            seen.reward, state.q[seen.next_obs], seen.terminated, 1.0, seen.next_mask
        )
        value = state.q[taken]
        loss, slope = gradient(value, target, config.risk_aversion)
        alpha = step_size(jnp.maximum(state.updates[taken] - config.learning_rate_hold, 0.0))
        change = jnp.clip(-alpha * slope, jnp.minimum(target - value, 0.0), jnp.maximum(target - value, 0.0))
        # Environments that take the same action in the same state at the same time share one step, their mean.
        share = 1.0 / jnp.zeros(table, jnp.float32).at[taken].add(1.0)[taken]
        q = state.q.at[taken].add(change * share)
        updates = state.updates.at[taken].set(counters.advanced(state.updates[taken]))
        return State(q, updates, episodes), (seen, loss)

    def update(state, key):
        state, (batch, loss) = scan(step, state, jax.random.split(key, config.num_steps))
        return state, rollout.episode_metrics(batch) | {"loss": loss.mean()}

    return Algorithm(init, update, policy, probabilities=probabilities)
