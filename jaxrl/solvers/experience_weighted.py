"""Experience-weighted attraction: learning from own payoffs, from forgone ones, and all rules in between.

A player holds an attraction A_j of each of its actions, and an amount of experience N. After a play in which action j would have
earned u_j, and action c was chosen,

    A_j <- [phi N A_j + (delta + (1 - delta) 1[j = c]) u_j] / N'    with  N' = rho N + 1
    N   <- N'

and it chooses j with probability softmax(sensitivity A)_j. With delta = 0 it is reinforcement of chosen actions; with delta = 1
and rho = phi, answers to the mean of what the others have played, older plays counting phi times less by each: fictitious play
with phi = 1 and best replies to the last play with phi = 0.

Source: Camerer and Ho (1999), "Experience-weighted attraction learning in normal form games".
"""

from typing import Any, NamedTuple

import jax

from jaxrl.errors import require_within


class Experience(NamedTuple):
    """attraction: float[..., A], of each action. amount: float[...], N, how many plays it is worth."""

    attraction: jax.Array
    amount: jax.Array


def weigh(before: Experience, payoffs: Any, chosen: Any, *, phi: Any, delta: Any, rho: Any) -> Experience:
    """Adds a play to what a player, or each of several, has experienced. Pure, and vmappable.

    Args:
        before: the experience so far.
        payoffs: float[..., A], what each action would have earned.
        chosen: int[...], the action that was chosen.
        phi: in [0, 1], the share of attractions that is kept.
        delta: in [0, 1], the weight of forgone payoffs.
        rho: in [0, 1], the share of experience that is kept.

    Raises:
        ConfigError: phi, delta or rho is out of range. Traced values are not checked.
    """
    for name, value in (("phi", phi), ("delta", delta), ("rho", rho)):
        require_within("weigh", name, value, 0, 1, "0.9, say.")
    own = jax.nn.one_hot(chosen, before.attraction.shape[-1], dtype=before.attraction.dtype)
    amount = rho * before.amount + 1
    kept = phi * before.amount[..., None] * before.attraction
    return Experience((kept + (delta + (1 - delta) * own) * payoffs) / amount[..., None], amount)
