"""SARSA and expected SARSA: values of the policy that is followed, exploration included.

    choose a in s by the policy
    repeat
        take a; observe r and s'
        choose a' in s' by the policy
        Q(s, a) <- Q(s, a) + alpha_n [r + gamma Q(s', a') - Q(s, a)]
        s <- s', a <- a'

Expected SARSA has the mean of Q(s', .) under the policy in place of Q(s', a'), which takes the noise of a' out of the target. The
policy is epsilon-greedy in Q, and alpha_n falls with the number n of visits to (s, a).

Source: Rummery and Niranjan (1994); Sutton and Barto (2018), equation 6.7 and section 6.4; expected: van Seijen et al. (2009), "A
Theoretical and Empirical Analysis of Expected Sarsa", equation 4; Sutton and Barto (2018), equation 6.9.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import tables
from jaxrl.blocks.losses import expected_sarsa_target, sarsa_target
from jaxrl.blocks.tables import TableConfig
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision, Episode


@struct.dataclass
class Config(TableConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    expected: bool = static(default=False)  # expected SARSA

    def validate(self, env: Environment) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("sarsa", env)
        self.validate_tables("sarsa", env)


@struct.dataclass
class State:
    """q: float32[X, A], action values. visits: int32[X, A]. episodes: E environments under way. action: int32[E], taken next."""

    q: jax.Array
    visits: jax.Array
    episodes: Episode
    action: jax.Array


def make(env: Environment, config: Config) -> Algorithm:
    """Builds SARSA on an environment with discrete observations and actions."""
    step_size = config.step_size
    policy, probabilities = tables.of_pairs(config)

    def init(key):
        return State(*tables.begin(key, env, config))

    def step(state, key):
        env_key, next_key, first_key = jax.random.split(key, 3)
        # Take a; observe r and s'.
        episodes, seen = rollout.advance_all(env_key, env, state.episodes, Decision(state.action))
        # Choose a' in s' by the policy.
        after, tried = state.q[seen.next_obs], state.visits[seen.next_obs]
        next_action = tables.choose(next_key, config, after, tried, seen.next_mask)
        # Q(s, a) <- Q(s, a) + alpha_n [r + gamma Q(s', a') - Q(s, a)].
        chosen, target = next_action, sarsa_target
        if config.expected:
            target = expected_sarsa_target
            chosen = tables.chances(config, after, tried, seen.next_mask)
        targets = jax.vmap(target, in_axes=(0, 0, 0, 0, None))(seen.reward, after, chosen, seen.terminated, config.gamma)
        taken = seen.obs, seen.action
        error = targets - state.q[taken]
        q, visits = tables.learn(state.q, state.visits, taken, error, step_size)
        # s <- s', a <- a'; where the episode has ended, the first action of the next one.
        action = tables.next_action(first_key, env, config, q, visits, episodes, next_action)
        return State(q, visits, episodes, action), (seen, jnp.abs(error))

    return Algorithm(init, tables.updates(step, config.num_steps), policy, probabilities=probabilities)
