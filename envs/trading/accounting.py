"""The accounts of a trader in one asset: cash, position, fees and limits. At every bar, wealth = cash + position * price.

Between two trades only the price moves wealth; a trade itself changes wealth by its fee alone:

    wealth[t + 1] - wealth[t] = position[t] * (price[t + 1] - price[t]) - fee[t]

Prices and wealth are in quote currency, positions in units of the asset, weights are the share of wealth that is invested.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

# A target this close to the present weight is no trade: rounding must not pay the fixed fee.
NO_TRADE = 1e-6


@struct.dataclass
class Account:
    """cash: float32[], quote currency, negative = borrowed. position: float32[], units, negative = short."""

    cash: jax.Array
    position: jax.Array


@struct.dataclass
class Costs:
    """What a trade pays.

    proportional: float32[], fraction of the traded value, in [0, 1) (0.0005 = 5 basis points).
    fixed: float32[], quote currency per trade, not negative.
    """

    proportional: jax.Array
    fixed: jax.Array


@struct.dataclass
class Limits:
    """How far a trade may go. They bind when trading; a price move may carry a position beyond them until the next trade.

    short: float32[], the largest short position as a fraction of wealth, 0 = long only.
    leverage: float32[], the largest position of either sign as a fraction of wealth, 1 = nothing borrowed.
    """

    short: jax.Array
    leverage: jax.Array


class Ledger(NamedTuple):
    """A strategy's books over T bars, float32 each.

    cash, position, wealth: [T], before the trade at each bar. fee: [T - 1], paid at each bar but the last. target: [T - 1],
    the weight that was asked for, cut to the limits.
    """

    cash: jax.Array
    position: jax.Array
    wealth: jax.Array
    fee: jax.Array
    target: jax.Array


def open_account(capital: jax.Array | float) -> Account:
    """Returns an account with this much cash (quote currency) and no position."""
    return Account(jnp.asarray(capital, jnp.float32), jnp.float32(0.0))


def wealth(account: Account, price: jax.Array) -> jax.Array:
    """Returns what the account is worth at this price, float32[], quote currency."""
    return account.cash + account.position * price


def weight(account: Account, price: jax.Array) -> jax.Array:
    """Returns the share of wealth that is invested, float32[]; 0 where nothing is left to share."""
    total = wealth(account, price)
    return jnp.where(total > 0, account.position * price / jnp.where(total > 0, total, 1.0), 0.0)


def within_limits(target: jax.Array, limits: Limits) -> jax.Array:
    """Returns the weight nearest to ``target`` that the limits allow, float32[]."""
    return jnp.clip(target, -jnp.minimum(limits.short, limits.leverage), limits.leverage)


def fee_of(units: jax.Array, price: jax.Array, costs: Costs) -> jax.Array:
    """Returns what trading this many units costs beside their price, float32[], quote currency."""
    return costs.proportional * jnp.abs(units) * price + jnp.where(units != 0, costs.fixed, 0.0)


def trade(account: Account, price: jax.Array, units: jax.Array, costs: Costs) -> tuple[Account, jax.Array]:
    """Buys units (sells, where negative) at this price. Returns the account and the fee, quote currency."""
    fee = fee_of(units, price, costs)
    return Account(account.cash - units * price - fee, account.position + units), fee


def rebalance(account: Account, price: jax.Array, target: jax.Array, costs: Costs, limits: Limits) -> tuple[Account, jax.Array]:
    """Trades so that, after fees, the invested share of wealth is ``target``, cut to the limits.

    With W the wealth and x the exposure before, c and f the fees, the wealth after solves W' = W - c |w W' - x| - f, which is
    W' = (W + c x - f) / (1 + c w) for a purchase and W' = (W - c x - f) / (1 - c w) for a sale. Hence the limits hold exactly
    on what is left after the fee.

    Args:
        account: before.
        price: float32[], positive.
        target: float32[], a weight.
        costs, limits: as above.

    Returns:
        The account, and the fee that was paid, float32[].
    """
    target = within_limits(target, limits)
    total, exposure = wealth(account, price), account.position * price
    buying = target * (total - costs.fixed) > exposure
    signed = jnp.where(buying, costs.proportional, -costs.proportional)
    after = jnp.maximum((total + signed * exposure - costs.fixed) / (1.0 + signed * target), 0.0)
    units = (target * after - exposure) / price
    on_target = jnp.abs(target * total - exposure) <= NO_TRADE * jnp.abs(total)
    return trade(account, price, jnp.where(on_target, 0.0, units), costs)


@jax.jit
def replay(prices: jax.Array, targets: jax.Array, capital: jax.Array | float, costs: Costs, limits: Limits) -> Ledger:
    """Keeps the books of a strategy that is known as its target weights.

    Args:
        prices: float32[T].
        targets: float32[T - 1], the weight to hold from each bar to the next; NaN means to leave the position alone.
        capital: cash at the first bar, quote currency.
        costs, limits: as above.
    """

    def step(account, inputs):
        price, asked = inputs
        asked = jnp.where(jnp.isnan(asked), weight(account, price), asked)
        after, fee = rebalance(account, price, asked, costs, limits)
        return after, (account, fee, within_limits(asked, limits))

    prices, targets = jnp.asarray(prices, jnp.float32), jnp.asarray(targets, jnp.float32)
    last, (before, fee, target) = jax.lax.scan(step, open_account(capital), (prices[:-1], targets))
    books = jax.tree.map(lambda leaf, end: jnp.append(leaf, end), before, last)
    return Ledger(books.cash, books.position, wealth(books, prices), fee, target)
