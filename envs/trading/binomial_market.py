"""A market with finitely many states, traded at the same fees as the real one: the exact referee of learning to trade.

The regime (bull or bear) is seen and changes with a small probability at every bar; within it the price moves by a factor 1 + u
or 1 - u. The state is the regime, the weight that was chosen last, and where the price went since, which together say
what share of wealth is invested now. The reward is the log growth of wealth, fees included, exactly as in ``single_asset``, whose
default fill it shares: at the price that has just been seen. No move can ruin the account.

Source: the binomial model of Cox, Ross and Rubinstein (1979), with the regimes of Hamilton (1989).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.trading import accounting, prices
from envs.trading.accounting import Costs, Limits
from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_finite

WEIGHTS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@struct.dataclass
class Params:
    """weights: float32[A], ascending. rise: float32[R], probability of an upward move in each regime. move: float32[], u, simple
    return. switch: float32[], probability of another regime at the next bar. costs, limits: see ``accounting``.
    """

    weights: jax.Array
    rise: jax.Array
    move: jax.Array
    switch: jax.Array
    costs: Costs
    limits: Limits


class State(NamedTuple):
    """All int32[]. regime: 0 .. R - 1. choice: index of the last weight. up: 1 if the price rose since, 0 if it fell."""

    regime: jax.Array
    choice: jax.Array
    up: jax.Array


def held_weight(state: State, params: Params) -> jax.Array:
    """Returns the share of wealth that is invested now: the chosen weight, drifted with the price."""
    chosen = params.weights[state.choice]
    moved = jnp.where(state.up == 1, params.move, -params.move)
    return chosen * (1.0 + moved) / (1.0 + chosen * moved)


def outcomes(state, action, params):
    """Rebalances one unit of wealth at price 1, then: regime stays or changes (R outcomes), price up or down (2)."""
    regimes = params.rise.shape[0]
    held = held_weight(state, params)
    account = accounting.Account(1.0 - held, held)
    account, _ = accounting.rebalance(account, jnp.ones_like(held), params.weights[action], params.costs, params.limits)
    moves = jnp.stack([params.move, -params.move])
    growth = jnp.log(account.cash + account.position * (1.0 + moves))
    up = jnp.stack([params.rise[state.regime], 1.0 - params.rise[state.regime]])
    regime = (state.regime + jnp.arange(regimes, dtype=jnp.int32)) % regimes
    others = jnp.full(regimes - 1, 1.0, up.dtype) * params.switch / max(regimes - 1, 1)
    stay = jnp.append(1.0 - params.switch if regimes > 1 else jnp.ones_like(params.switch), others)
    count = 2 * regimes
    successor = State(
        jnp.repeat(regime, 2),
        jnp.full(count, action, jnp.int32),
        jnp.tile(jnp.array([1, 0], jnp.int32), regimes),
    )
    return Outcomes((stay[:, None] * up[None]).reshape(-1), successor, jnp.tile(growth, regimes), jnp.zeros(count, bool))


def initial(params):
    """Any regime, nothing invested; the last move is then without meaning and counts as down."""
    regimes = params.rise.shape[0]
    flat = jnp.argmin(jnp.abs(params.weights)).astype(jnp.int32)
    zeros = jnp.zeros(regimes, jnp.int32)
    state = State(jnp.arange(regimes, dtype=jnp.int32), zeros + flat, zeros)
    return Initial(jnp.full(regimes, 1.0 / regimes), state)


def observe(state, params):
    """The number of the state, 0 .. 2 R A - 1."""
    actions = params.weights.shape[0]
    return ((state.regime * actions + state.choice) * 2 + state.up).astype(jnp.int32)


def make(
    weights: Sequence[float] = WEIGHTS,
    drift: Sequence[float] = (0.12, -0.15),
    move: float = 0.0136,
    monthly_switch: float = 0.05,
    proportional_fee: float = 0.0005,
    max_steps: int = 250,
) -> Environment:
    """Builds a binomial market. Action: index of a weight. Observation: number of the state.

    Args:
        weights: target weights, which must contain 0: how an episode begins.
        drift: of each regime, per year: the up move has the probability that gives this expected return.
        move: u, simple return of a bar in either direction; 0.0136 is a volatility of 21.6 % a year.
        monthly_switch: probability in [0, 1) that a month of 21 bars contains a change of regime.
        proportional_fee: fraction of the traded value, in [0, 1).
        max_steps: bars of an episode.

    Raises:
        ConfigError: a number is out of range, a move could ruin the account, or the drift cannot be reached.
    """
    where = "binomial_market"
    require(0.0 in tuple(weights), where, "weights must contain 0", tuple(weights), "An episode begins with nothing invested.")
    require_finite(where, "weights", weights)
    leverage = max(map(abs, weights))
    require(0 < move < 1 and leverage * move < 1, where, "move times the largest weight must stay below 1", move, "Lower one.")
    require(0 <= monthly_switch < 1, where, "monthly_switch must lie in [0, 1)", monthly_switch, "0.05 is the default.")
    costs = accounting.costs_of(where, proportional_fee)
    widest = max(leverage, 1.0)  # whatever the weights allow: they are all that can be chosen
    limits = accounting.limits_of(where, widest, widest, costs)
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "250 is about a year.")
    rise = (np.asarray(drift, np.float64) / prices.BARS_PER_YEAR / move + 1) / 2
    reached = bool(rise.ndim == 1 and rise.size and ((rise >= 0) & (rise <= 1)).all())
    require(reached, where, "drift / 252 must lie within one move", tuple(drift), "Raise move, or lower the drift.")
    params = Params(
        weights=jnp.asarray(weights, jnp.float32),
        rise=jnp.asarray(rise, jnp.float32),
        move=jnp.float32(move),
        switch=jnp.float32(1.0 - (1.0 - monthly_switch) ** (1.0 / prices.BARS_PER_MONTH)),
        costs=costs,
        limits=limits,
    )
    states = Discrete(2 * len(rise) * len(weights))
    return finite(params, outcomes, initial, states, Discrete(len(weights)), max_steps, observe=observe)
