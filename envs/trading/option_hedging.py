"""Hedging a call option that was sold, with proportional costs of trading the stock, on a binomial tree.

In each of T steps the price moves by the factor u = exp(volatility sqrt(dt)) or 1 / u; money earns no interest. Before each move
the agent chooses how many shares to hold against one option: trading costs a fraction of the traded value, and what is held gains
with the price. At maturity it pays max(S_T - K, 0) and sells its shares, at the same cost. The rewards of an episode add up to
the profit of the hedge without the premium, so minus their certainty equivalent is the premium that a seller must ask.

Without costs and drift, a hedger who holds the delta of the tree pays the option's price on every path; that is the limit in
which the optimum is known. With costs, delta would be traded too often: the best is to trade back into a band around it.

Source: Cox, Ross and Rubinstein (1979) for the tree and its delta; for the problem with costs and exponential utility Hodges and
Neuberger (1989), "Optimal replication of contingent claims under transactions costs".
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, require_finite

HOLDINGS = tuple(tenths / 10 for tenths in range(11))


@struct.dataclass
class Params:
    """All float32. holdings: [H], shares that can be held. start: [], first price. strike: [], K. log_move: [], log u.
    rise: [], probability of an upward move. cost: [], fraction of the traded value. shift: [], added to every reward.
    steps: [T], as long as there are decisions.
    """

    holdings: jax.Array
    start: jax.Array
    strike: jax.Array
    log_move: jax.Array
    rise: jax.Array
    cost: jax.Array
    shift: jax.Array
    steps: jax.Array


class State(NamedTuple):
    """All int32[]. t: steps taken. ups: how many of them went up. choice: index of the holding."""

    t: jax.Array
    ups: jax.Array
    choice: jax.Array


def price(state: State, params: Params) -> jax.Array:
    """Returns the price of the stock in this state, float32[...]."""
    return params.start * jnp.exp(params.log_move * (2 * state.ups - state.t))


def outcomes(state, action, params):
    """Two outcomes, after the trade: the price goes up, or down."""
    maturity = params.steps.shape[0]
    over = state.t >= maturity
    held, target, now = params.holdings[state.choice], params.holdings[action], price(state, params)
    up = jnp.array([1, 0], jnp.int32)
    after = State(jnp.full(2, state.t + 1, jnp.int32), state.ups + up, jnp.full(2, action, jnp.int32))
    later = price(after, params)
    gain = target * (later - now) - params.cost * jnp.abs(target - held) * now + params.shift
    settled = jnp.maximum(later - params.strike, 0.0) + params.cost * jnp.abs(target) * later
    reward = jnp.where(over, 0.0, gain - jnp.where(after.t >= maturity, settled, 0.0))
    after = jax.tree.map(lambda stays, moves: jnp.where(over, stays, moves), state, after)
    return Outcomes(jnp.stack([params.rise, 1.0 - params.rise]), after, reward, after.t >= maturity)


def initial(params):
    """The first price, and no shares."""
    flat = jnp.argmin(jnp.abs(params.holdings)).astype(jnp.int32)
    return Initial(jnp.ones(1), State(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32), flat[None]))


def observe(state, params):
    """The number of the state, int32[]: nodes of the tree by time and then by price, and in each the holding."""
    node = state.t * (state.t + 1) // 2 + state.ups
    return (node * params.holdings.shape[0] + state.choice).astype(jnp.int32)


def replication(params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the option is worth without costs, and the shares that replicate it, by backward induction on the host.

    Returns:
        value: float64[T + 1, T + 1], at step t after i upward moves in [t, i]; NaN where i > t.
        delta: float64[T, T], likewise.

    Source: Cox, Ross and Rubinstein (1979), sections 3 and 4, with interest 0.
    """
    num_steps = params.steps.shape[0]
    start, strike, log_move = (float(leaf) for leaf in (params.start, params.strike, params.log_move))
    step, ups = np.indices((num_steps + 1, num_steps + 1))
    prices = np.where(ups <= step, start * np.exp(log_move * (2 * ups - step)), np.nan)
    value, delta = np.full_like(prices, np.nan), np.full((num_steps, num_steps), np.nan)
    value[-1] = np.maximum(prices[-1] - strike, 0.0)
    risk_neutral = -np.expm1(-log_move) / (np.exp(log_move) - np.exp(-log_move))
    for t in reversed(range(num_steps)):
        low, high = value[t + 1, : t + 1], value[t + 1, 1 : t + 2]
        value[t, : t + 1] = risk_neutral * high + (1 - risk_neutral) * low
        delta[t, : t + 1] = (high - low) / np.diff(prices[t + 1, : t + 2])
    return value, delta


def make(
    holdings: Sequence[float] = HOLDINGS,
    start: float = 1.0,
    strike: float = 1.0,
    volatility: float = 0.2,
    maturity: float = 1.0,
    drift: float = 0.0,
    cost: float = 0.005,
    num_steps: int = 10,
    shift: float = 0.0,
) -> Environment:
    """Builds the hedging problem. Action: index of a holding. Observation: number of the state.

    Args:
        holdings: shares that can be held for one option; they must contain 0, with which the episode begins.
        start: the first price, quote currency.
        strike: K, quote currency.
        volatility: of the log price, per square root of a year.
        maturity: of the option, years.
        drift: growth rate of the expected price, per year; 0 leaves nothing to earn by holding shares.
        cost: fraction of the traded value, in [0, 1).
        num_steps: T, decisions until maturity.
        shift: added to every reward, quote currency: it changes no decision.

    Raises:
        ConfigError: a number is out of range, or the drift cannot be reached by the moves.
    """
    where = "option_hedging"
    must, fix = "holdings must contain 0", "An episode begins without shares."
    require(0.0 in tuple(holdings), where, must, tuple(holdings), fix)
    numbers = (*holdings, start, strike, volatility, maturity, drift, shift)
    require_finite(where, "holdings, start, strike, volatility, maturity, drift and shift", numbers)
    for name, value in (("start", start), ("strike", strike), ("volatility", volatility), ("maturity", maturity)):
        require(value > 0, where, f"{name} must be positive", value, f"Set {name} to a number above 0.")
    require(0 <= cost < 1, where, "cost must lie in [0, 1)", cost, "0.005 is 50 basis points.")
    require(num_steps >= 1, where, "num_steps must be at least 1", num_steps, "10 is the default.")
    log_move = volatility * np.sqrt(maturity / num_steps)
    rise = (np.exp(drift * maturity / num_steps) - np.exp(-log_move)) / (np.exp(log_move) - np.exp(-log_move))
    require(0 < rise < 1, where, "the drift of a step must lie within one move", drift, "Raise volatility, or lower the drift.")
    params = Params(
        holdings=jnp.asarray(holdings, jnp.float32),
        start=jnp.float32(start),
        strike=jnp.float32(strike),
        log_move=jnp.float32(log_move),
        rise=jnp.float32(rise),
        cost=jnp.float32(cost),
        shift=jnp.float32(shift),
        steps=jnp.zeros(num_steps, jnp.float32),
    )
    states = Discrete((num_steps + 1) * (num_steps + 2) // 2 * len(holdings))
    return finite(params, outcomes, initial, states, Discrete(len(holdings)), num_steps, observe=observe)
