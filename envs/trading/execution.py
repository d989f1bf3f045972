"""Optimal execution: sell X lots within T steps when selling moves the price, by a liquidity that varies in time.

Selling v lots at step t fills them at S - h_t v, then moves the mid price to S' = S - k_t v + sigma eps. The reward of a step is
the change of cash + inventory * S, which is -h_t v^2 + inventory' (S' - S); over an episode the rewards add up to minus the
implementation shortfall, X S_0 - cash. Rewards are divided by ``cost_scale``, so that they are of order one.

Liquidity is h_t = temporary_t m_t and k_t = permanent_t m_t. The factor m is 1 where liquidity is deterministic; where it is
latent, m follows the mean-reverting square-root process m' = m + speed (1 - m) + spread sqrt(m) eps, stopped at 0, and is never
observed; what the agent sees of it is how far its own sales have moved the price.

The model is linear, and so an approximation for impacts that are small beside the price. Shares have no negative prices: mid
prices and fills stop at 0, and parameters with which the expected impact alone could carry them there are refused.

Source: Almgren and Chriss (2001); with latent square-root liquidity: Macri and Lillo (2024), "Reinforcement Learning for Optimal
Execution when Liquidity is Time-Varying". One factor for both impacts, and the numbers, are ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.trading import schedules
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require, require_finite


@struct.dataclass
class Params:
    """Numbers and tables, float32 and traced; lots are integers.

    temporary, permanent: [T], mean impacts of each step, quote currency per lot^2. volatility: [], of the mid price per step.
    start: [], first mid price. speed, spread: [], of the liquidity factor, per step. factor: [], its first value.
    sales: int32[X + 1], the numbers 0 .. X of lots that an action can sell. cost_scale: [], quote currency that make a reward
    of 1.
    """

    temporary: jax.Array
    permanent: jax.Array
    volatility: jax.Array
    start: jax.Array
    speed: jax.Array
    spread: jax.Array
    factor: jax.Array
    sales: jax.Array
    cost_scale: jax.Array

    @property
    def lots(self) -> int:
        """X, to be sold in all."""
        return self.sales.shape[0] - 1


class State(NamedTuple):
    """t: int32[], steps taken. lots: int32[], still to be sold. price: float32[], mid. cash: float32[], from sales so far.

    factor: float32[], the liquidity factor that rules the next sale; hidden from the agent.
    """

    t: jax.Array
    lots: jax.Array
    price: jax.Array
    cash: jax.Array
    factor: jax.Array


def _observe(state: State, params: Params) -> jax.Array:
    """Time left and inventory as fractions, and by how much the price has fallen, in the unit of a reward per lot."""
    steps = params.temporary.shape[0]
    fallen = (params.start - state.price) * params.lots / params.cost_scale
    fractions = jnp.stack([(steps - state.t) / steps, state.lots / params.lots])
    return jnp.append(jnp.clip(fractions, 0.0, 1.0), fallen).astype(jnp.float32)  # a division may round to above 1


def reset(key, params):
    """Begins with all lots and no cash. Nothing is random: paths part at the first step."""
    state = State(jnp.int32(0), jnp.int32(params.lots), params.start, jnp.float32(0.0), params.factor)
    return _observe(state, params), state


def step(key, state, action, params):
    """Sells this many lots: at most what is left, and at the last step all that is left."""
    price_key, factor_key = jax.random.split(key)
    last = params.temporary.shape[0] - 1
    sold = jnp.where(state.t >= last, state.lots, jnp.minimum(action, state.lots)).astype(jnp.float32)
    temporary, permanent = params.temporary[state.t] * state.factor, params.permanent[state.t] * state.factor
    slip = jnp.minimum(temporary * sold, state.price)  # the fill is at 0 at the lowest, and so is the next mid price
    shock = params.volatility * jax.random.normal(price_key, (), jnp.float32)
    move = jnp.maximum(-permanent * sold + shock, -state.price)
    noise = params.spread * jnp.sqrt(state.factor) * jax.random.normal(factor_key, (), jnp.float32)
    left = state.lots - sold.astype(jnp.int32)
    after = State(
        t=state.t + 1,
        lots=left,
        price=state.price + move,
        cash=state.cash + sold * (state.price - slip),
        factor=jnp.maximum(state.factor + params.speed * (1.0 - state.factor) + noise, 0.0),
    )
    # cash + lots * price, after less before, written so that large prices do not cancel.
    gain = left * move - sold * slip
    info = {"fill": state.price - slip, "sold": sold}
    return Step(_observe(after, params), after, gain / params.cost_scale, after.t > last, info)


def legal(state, params):
    """Allows the sale of 0 .. inventory lots, and at the last step only that of the whole inventory."""
    last = state.t >= params.temporary.shape[0] - 1
    return jnp.where(last, params.sales == state.lots, params.sales <= state.lots)


def steps_used(state: State) -> jax.Array:
    """Returns the last step whose liquidity may be known in this state, int32[]; ``check_causality`` takes it."""
    return state.t - 1


def mean_impacts(params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Returns the expected temporary and permanent impact of each step, float64[T]: all that a schedule made beforehand can know.

    The mean of the liquidity factor reverts to 1: E[m_t] = 1 + (m_0 - 1) (1 - speed)^t, but for the stop at 0.
    """
    temporary, permanent = np.asarray(params.temporary, np.float64), np.asarray(params.permanent, np.float64)
    factor = 1 + (float(params.factor) - 1) * (1 - float(params.speed)) ** np.arange(len(temporary))
    return temporary * factor, permanent * factor


def make(
    lots: int = 20,
    temporary: float | Sequence[float] = 1.0,
    permanent: float | Sequence[float] = 0.1,
    num_steps: int = 10,
    volatility: float = 0.1,
    start: float = 1000.0,
    speed: float = 0.0,
    spread: float = 0.0,
    factor: float = 1.0,
    cost_scale: float | None = None,
) -> Environment:
    """Builds an execution task. Action: how many lots to sell now. Observation: time left, inventory, fall of the price.

    Args:
        lots: X, to be sold.
        temporary: h, quote currency per lot^2: one number, or one for each step.
        permanent: k, likewise.
        num_steps: T.
        volatility: of the mid price, quote currency per step.
        start: the first mid price, quote currency per lot; above what selling all lots at once can take from it.
        speed, spread: of the latent liquidity factor, per step; both 0 for deterministic liquidity.
        factor: the first value of the liquidity factor, whose mean reverts to 1.
        cost_scale: quote currency that make a reward of 1; by default the expected cost of equal sales, so that returns are
            near -1.

    Raises:
        ConfigError: a number is out of range, or the impacts do not have an entry per step.
    """
    where = "execution"
    require(lots >= 1, where, "lots must be at least 1", lots, "20 is the default.")
    require(num_steps >= 1, where, "num_steps must be at least 1", num_steps, "10 is the default.")
    impacts = []
    for name, impact in (("temporary", temporary), ("permanent", permanent)):
        values = np.asarray(impact, np.float64)
        fix = "Give one number, or one for each step."
        require(values.shape in ((), (num_steps,)), where, f"{name} must have {num_steps} entries", values.shape, fix)
        require_finite(where, name, values)
        require(bool((values >= 0).all()), where, f"{name} must not be negative", impact, "Selling lowers the price.")
        impacts.append(np.broadcast_to(values, num_steps))
    for name, value in (("volatility", volatility), ("spread", spread), ("factor", factor)):
        require(0 <= value < np.inf, where, f"{name} must not be negative", value, "Use 0 for none.")
    require(0 <= speed <= 1, where, "speed must lie in [0, 1]", speed, "It is the share of the deviation that goes in a step.")
    # Lots sold before lower the price by the permanent impact of their step, those sold now by the temporary one of theirs.
    largest = lots * float(np.max(impacts)) * max(1.0, factor)
    must = "start must exceed the largest impact, lots * max(temporary, permanent) * max(factor, 1)"
    require(largest < start < np.inf, where, f"{must} = {largest:g}", start, "Raise it: impacts are small beside a price.")
    if cost_scale is None:
        cost_scale = schedules.cost(schedules.twap(lots, num_steps), *impacts)
    must = "cost_scale must be positive"
    require(cost_scale > 0, where, must, cost_scale, "Give one where liquidity costs nothing.")
    params = Params(
        temporary=jnp.asarray(impacts[0], jnp.float32),
        permanent=jnp.asarray(impacts[1], jnp.float32),
        volatility=jnp.float32(volatility),
        start=jnp.float32(start),
        speed=jnp.float32(speed),
        spread=jnp.float32(spread),
        factor=jnp.float32(factor),
        sales=jnp.arange(lots + 1, dtype=jnp.int32),
        cost_scale=jnp.float32(cost_scale),
    )
    space = Box((0.0, 0.0, -float("inf")), (1.0, 1.0, float("inf")), (3,))
    return Environment(params, reset, step, space, Discrete(lots + 1), num_steps, action_mask_fn=legal)
