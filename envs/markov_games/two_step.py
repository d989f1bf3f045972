"""The two-step game: two agents who are paid alike, and a team value that no sum of their own values can hold.

In the first step the first agent alone decides which game they play in the second: with its action 0 game A, which pays 7 for
whatever they do, with action 1 game B, which pays

    0  1
    1  8

The best is to go to B and to take both the second action. Fitted to uniform data, the sum of two values gives 6.5 to the best
joint action of B, and so prefers A.

Source: Rashid et al. (2018), QMIX: Monotonic value function factorisation for deep multi-agent reinforcement learning, section 5.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require_payoffs

SAFE = ((7.0, 7.0), (7.0, 7.0))
RISKY = ((0.0, 1.0), (1.0, 8.0))
FIRST, A, B, OVER = range(4)  # the states


@struct.dataclass
class Params:
    payoff: jax.Array  # float32[4, 2, 2], what both are paid for each joint action of each state


def outcomes(state, action, params):
    """One outcome. The state is int32[]."""
    reached = jnp.where(state == FIRST, jnp.where(action[0] == 0, A, B), OVER).astype(jnp.int32)
    reward = jnp.full(2, params.payoff[state, action[0], action[1]], jnp.float32)
    return Outcomes(jnp.ones(1, jnp.float32), reached[None], reward[None], (state != FIRST)[None])


def initial(params):
    """The first step."""
    return Initial(jnp.ones(1, jnp.float32), jnp.array([FIRST], jnp.int32))


def observe(state, params):
    """int32[2], the number of the state, the same for both."""
    return jnp.full(2, state, jnp.int32)


def make(safe=SAFE, risky=RISKY) -> Environment:
    """Builds the game. Actions: 0 or 1. Observation: the number of the state: the first step, game A, game B, or the end.

    Args:
        safe, risky: float[2, 2], what both agents are paid in games A and B, rows of the first agent.

    Raises:
        ConfigError: a table has another shape, or an entry is not a finite number.
    """
    games = [require_payoffs("two_step", [table, table]) for table in (safe, risky)]
    payoff = jnp.zeros((4, 2, 2), jnp.float32)
    for state, game in zip((A, B), games, strict=True):
        payoff = payoff.at[state].set(jnp.asarray(game[0], jnp.float32))
    return finite(Params(payoff), outcomes, initial, Discrete(4), Discrete(2), max_steps=2, observe=observe, num_agents=2)
