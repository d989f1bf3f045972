"""n-step SARSA: targets of n rewards, from one step (SARSA) to whole episodes (Monte Carlo control).

    G = r_t + gamma r_{t+1} + ... + gamma^(n-1) r_{t+n-1} + gamma^n Q(s_{t+n}, a_{t+n})
    Q(s_t, a_t) <- Q(s_t, a_t) + alpha [G - Q(s_t, a_t)]

The pair of time t is learned from n steps later. Where an episode ends before, all its pairs that still wait are learned from at
once: without the last term if it terminated, with the value of where it was cut if it reached the time limit. Expected SARSA has
the mean of Q(s_{t+n}, .) under the policy there. The policy is epsilon-greedy in Q, and alpha falls with the visits to (s, a).

Source: Sutton and Barto (2018), equations 7.4, 7.5 and 7.7, and the algorithm of section 7.2.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.returns import discounted_returns
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.averages import average
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision, Episode, Transition
from jaxrl.core.scan import scan
from jaxrl.errors import require_counts


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    n: int = static(default=4)  # rewards in a target (count); as many as the time limit for Monte Carlo control
    expected: bool = static(default=False)  # expected SARSA

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("n_step_sarsa", env)
        self.validate_tables("n_step_sarsa", env)
        require_counts("n_step_sarsa", self, "n")


@struct.dataclass
class Window:
    """The newest n steps of each environment, in the order of time, and which of them still wait to be learned from.

    obs, action: int32[n, E]. reward: float32[n, E]. waiting: bool[n, E].
    """

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    waiting: jax.Array


@struct.dataclass
class State:
    """q: float32[X, A], action values. visits: int32[X, A]. episodes: E environments under way. action: int32[E], taken next.

    window: of the steps that wait.
    """

    q: jax.Array
    visits: jax.Array
    episodes: Episode
    action: jax.Array
    window: Window


def make(env: Environment, config: Config) -> Algorithm:
    """Builds n-step SARSA on an environment with discrete observations and actions."""
    step_size = config.step_size
    policy, probabilities = tables.of_pairs(config)

    def init(key):
        empty = jnp.zeros((config.n, config.num_envs), jnp.int32)
        window = Window(empty, empty, empty.astype(jnp.float32), empty.astype(bool))
        return State(*tables.begin(key, env, config), window)

    def step(state, key):
        env_key, next_key, first_key = jax.random.split(key, 3)
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, Decision(state.action))
        window = newest(state.window, seen)
        after, tried = state.q[seen.next_obs], state.visits[seen.next_obs]
        next_action = tables.choose(next_key, config, after, tried, seen.next_mask)
        beyond = jnp.take_along_axis(after, next_action[:, None], axis=1)[:, 0]
        if config.expected:
            beyond = (tables.chances(config, after, tried, seen.next_mask) * after).sum(-1)
        # The oldest step is due if it has seen n rewards, all of them if the episode has ended.
        due = window.waiting & (seen.done | (jnp.arange(config.n) == 0)[:, None])
        target = jax.vmap(returns, in_axes=(1, 0, 0, None), out_axes=1)(window.reward, beyond, seen.terminated, config.gamma)
        taken = window.obs, window.action
        error = target - state.q[taken]
        q, visits = tables.learn(state.q, state.visits, taken, error, step_size, due)
        action = tables.next_action(first_key, env, config, q, visits, episodes, next_action)
        window = window.replace(waiting=window.waiting & ~due)  # pyright: ignore
        return State(q, visits, episodes, action, window), (seen, jnp.abs(error), due)

    def update(state, key):
        state, (batch, error, due) = scan(step, state, jax.random.split(key, config.num_steps))
        return state, rollout.episode_metrics(batch) | {"td_error": average(error, due), "reward": batch.reward.mean()}

    return Algorithm(init, update, policy, probabilities=probabilities)


def newest(window: Window, seen: Transition) -> Window:
    """Returns the window after one more step of each environment, Transition[E]; the oldest leaves it."""
    step = Window(seen.obs, seen.action, seen.reward, jnp.ones_like(seen.terminated))
    return jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new[None]]), window, step)


def returns(reward: jax.Array, beyond: jax.Array, terminated: jax.Array, gamma: jax.Array | float) -> jax.Array:
    """Returns the discounted sum of the rewards from each step to the last and the value beyond it, float32[n].

    Args:
        reward: float32[n], of one environment.
        beyond: float32[], the value after the last step. terminated: bool[], there is none.
        gamma: discount in [0, 1].
    """
    last = jnp.arange(reward.shape[0]) == reward.shape[0] - 1
    return discounted_returns(reward, jnp.where(last, beyond, 0.0), last & terminated, last & ~terminated, gamma)
