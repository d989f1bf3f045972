"""Roth-Erev reinforcement: every agent has an urn for each observation, and adds balls of the colour that was paid for.

    repeat
        for an episode, every agent i draws an action a from its urn of what it sees, s_i, with chance u_i(s_i, a) / u_i(s_i)
        at its end, i adds its return R_i to u_i(s_i, a) for each draw of the episode

with u_i(s) the number of balls in an urn. Rewards of the same size move an urn less and less, since it has more and more balls:
the learning rate falls by itself. An agent without a choice, because its row of the action mask leaves one action, draws nothing.

In the signalling game of Lewis with two states that are equally likely, agents learn a code that earns all there is with
probability 1; with three or more they may end with a partly pooling one.

Source: Roth and Erev (1995), "Learning in extensive-form games", the basic model; Argiento, Pemantle, Skyrms and Volkov (2009),
"Learning to signal", for the theorem.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.policies import softmax_over
from jaxrl.core import masks, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_agents, require_discrete
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Episode
from jaxrl.core.scan import scan
from jaxrl.errors import nan_unless, require_counts, require_numbers, require_positive


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    initial_balls: float = 1.0  # of each colour in each urn at first, positive
    num_envs: int = static(default=1)  # E, environments side by side, which draw from the same urns
    num_steps: int = static(default=100)  # steps of each environment in one update; urns are filled at each end of an episode

    @property
    def steps_per_update(self) -> int:
        return self.num_envs * self.num_steps

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_agents("roth_erev", env, "Use jaxrl.algorithms.tabular.reinforce.")
        require_discrete("roth_erev", env, "Use PPO or MAPPO, or number observations and actions.")
        require_counts("roth_erev", self, "num_envs", "num_steps")
        require_numbers("roth_erev", self)
        require_positive("roth_erev", self, "initial_balls")


@struct.dataclass
class State:
    """urns: float32[N, X, A], balls. drawn: float32[E, N, X, A], draws of each episode so far. episodes: E of them under way."""

    urns: jax.Array
    drawn: jax.Array
    episodes: Episode


def make(env: Environment, config: Config) -> Algorithm:
    """Builds Roth-Erev reinforcement on an environment with N agents, discrete observations and discrete actions.

    Returns must not be negative: a negative one puts its seed into quarantine.
    """
    agents, envs = jnp.arange(env.num_agents), jnp.arange(config.num_envs)[:, None]
    shape = (agents.size, *tables.shape(env))

    # A chance in proportion to the balls is one in proportion to the exponential of their logarithm.
    policy, probabilities = softmax_over(lambda state, obs: jnp.log(state.urns[agents, obs]))

    def init(key):
        urns, drawn = jnp.full(shape, config.initial_balls, jnp.float32), jnp.zeros((config.num_envs, *shape), jnp.float32)
        return State(urns, drawn, rollout.start(key, env, config.num_envs))

    def step(state, key):
        policy_key, env_key = jax.random.split(key)
        # Every agent draws an action from its urn of what it sees.
        decision = policy(state, False)(policy_key, rollout.view(env, state.episodes))
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, decision)
        chosen = masks.active(env.action_space, seen.mask)
        once = jnp.float32(1.0) if chosen is None else chosen.astype(jnp.float32)
        drawn = state.drawn.at[envs, agents, seen.obs, seen.action].add(once)
        # At the end of the episode, every agent adds its return for each draw.
        done = seen.done[:, None]
        paid = jnp.where(done, nan_unless(seen.return_ >= 0, seen.return_), 0.0)
        urns = state.urns + (paid[..., None, None] * drawn).sum(0)
        drawn = jnp.where(done[..., None, None], 0.0, drawn)
        return State(urns, drawn, episodes), seen

    def update(state, key):
        state, batch = scan(step, state, jax.random.split(key, config.num_steps))
        return state, rollout.episode_metrics(batch) | {"reward": batch.reward.mean(), "balls": state.urns.sum((1, 2)).mean()}

    return Algorithm(init, update, policy, probabilities=probabilities)
