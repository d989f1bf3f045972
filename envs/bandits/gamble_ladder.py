"""Gamble ladder: in each of a few rounds, a safe payment or a gamble.

Action 0 pays ``safe``; action 1 pays ``win`` with probability ``chance`` and ``lose`` otherwise. The round alone is observed, so
a policy of the observation cannot tell how much it has won. With the defaults the gamble pays more on average, 7.5 in five rounds
against 5.0. An agent that cares for the worst outcomes should gamble only as long as earlier wins can bear it: the mean of the
worse half of the returns can be 5.375, but no plan that forgets its winnings brings it above 5.0.

Source: written for this library, after the examples of Pires (2025), "Optimizing Return Distributions with Distributional Dynamic
Programming", and Bauerle and Ott (2011), "Markov Decision Processes with Average-Value-at-Risk Criteria".
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_count

SAFE, RISKY = 0, 1


@struct.dataclass
class Params:
    """rounds: int32[]. reward: float32[2, 2], of each action if the gamble is lost and won. chance: float32[], of winning."""

    rounds: jax.Array
    reward: jax.Array
    chance: jax.Array


def outcomes(state, action, params):
    """The gamble is lost or won; after the last round the episode is over."""
    over = state >= params.rounds
    after = jnp.minimum(state + 1, params.rounds).astype(jnp.int32)
    probability = jnp.stack([1 - params.chance, params.chance])
    reward = jnp.where(over, 0.0, params.reward[action])
    return Outcomes(probability, jnp.full(2, after), reward, jnp.full(2, after >= params.rounds))


def initial(params):
    """The first round."""
    return Initial(jnp.ones(1, jnp.float32), jnp.zeros(1, jnp.int32))


def make(rounds: int = 5, safe: float = 1.0, win: float = 3.0, lose: float = 0.0, chance: float = 0.5) -> Environment:
    """Builds the ladder. Actions: safe, risky. Observation: the number of rounds that are over, ``rounds`` at the end.

    Args:
        rounds: of an episode, at least 1.
        safe: payment of the safe action, in units of the reward.
        win, lose: payments of the gamble.
        chance: probability in [0, 1] of winning it.

    Raises:
        ConfigError: rounds is no integer of at least 1, a payment is not finite, or chance is no probability.
    """
    where = "gamble_ladder"
    require_count(where, "rounds", rounds)
    payments = [[safe, safe], [lose, win]]
    require(bool(np.isfinite(payments).all()), where, "payments must be finite", payments, "safe=1.0, win=3.0, lose=0.0, say.")
    require(0 <= chance <= 1, where, "chance must lie in [0, 1]", chance, "0.5 is a fair coin.")
    params = Params(jnp.int32(rounds), jnp.array(payments, jnp.float32), jnp.float32(chance))
    return finite(params, outcomes, initial, Discrete(rounds + 1), Discrete(2), max_steps=rounds)
