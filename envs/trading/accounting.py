"""The accounts of a trader in one asset: cash, position, fees and limits. At every bar, wealth = cash + position * price.

A decision is made at the close of a bar, which it has seen. By default it is filled at that very close, which is optimistic:
a closing price cannot be both seen and traded at. ``delay=1`` fills it a bar later, at the next close, or at the next open where
opening prices are given. Whatever the fill, only prices and fees move wealth:

    wealth[t + 1] - wealth[t] = position[t] * (fill[t] - price[t]) + position[t + 1] * (price[t + 1] - fill[t]) - fee[t]

An account whose wealth has fallen to its ruin is closed: it sells what it holds at that price and never trades again.

Prices and wealth are in quote currency, positions in units of the asset, weights are the share of wealth that is invested.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.trading.prices import require_prices
from jaxrl.errors import is_traced, require

# A target this close to the present weight is no trade: rounding must not pay the fixed fee.
NO_TRADE = 1e-6


@struct.dataclass
class Account:
    """cash: float32[], quote currency, negative = borrowed. position: float32[], units, negative = short."""

    cash: jax.Array
    position: jax.Array


@struct.dataclass
class Costs:
    """The costs of a trade; see ``costs_of``.

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

    cash, position, wealth: [T], at the close of each bar; before what is decided there is filled, and after what was decided at
    the bar before. fee: [T - 1], paid for each decision. fill: [T - 1], the price at which it is filled. target: [T - 1], the
    weight that was asked for, cut to the limits: NaN where the position was left alone, 0 once the account is closed.
    """

    cash: jax.Array
    position: jax.Array
    wealth: jax.Array
    fee: jax.Array
    fill: jax.Array
    target: jax.Array


def costs_of(
    where: str, proportional_fee: float = 0.0, half_spread: float = 0.0, slippage: float = 0.0, fixed_fee: float = 0.0
) -> Costs:
    """Builds costs from their parts. All but the fixed fee are fractions of the traded value, which add up.

    Args:
        where: who asks.
        proportional_fee: what the broker takes (0.0005 = 5 basis points).
        half_spread: from the mid price to the price at which one can buy or sell, as a fraction of the mid price.
        slippage: by how much the price moves against the trade before it is filled, as a fraction of the price.
        fixed_fee: quote currency per trade.

    Raises:
        ConfigError: one of them is negative or not finite, or the fractions sum to 1 or more.
    """
    parts = {"proportional_fee": proportional_fee, "half_spread": half_spread, "slippage": slippage, "fixed_fee": fixed_fee}
    for name, value in parts.items():
        require(0 <= value < np.inf, where, f"{name} must be a number of at least 0", value, "Use 0 for none.")
    rate = proportional_fee + half_spread + slippage
    must = "proportional_fee + half_spread + slippage must lie below 1"
    require(rate < 1, where, must, rate, "0.0005 is 5 basis points.")
    return Costs(jnp.float32(rate), jnp.float32(fixed_fee))


def limits_of(where: str, short: float, leverage: float, costs: Costs) -> Limits:
    """Builds limits.

    Raises:
        ConfigError: short is negative, leverage is not positive, or a trade to a limit would cost all wealth.
    """
    require(0 <= short < np.inf, where, "short must be a number of at least 0", short, "Use 0 for long only.")
    require(0 < leverage < np.inf, where, "leverage must be positive", leverage, "1 borrows nothing.")
    limits = Limits(jnp.float32(short), jnp.float32(leverage))
    require_affordable(where, costs, limits)
    return limits


def require_affordable(where: str, costs: Costs, limits: Limits) -> None:
    """Raises ConfigError if a trade to a limit could cost all wealth, or a number is out of range; not of traced values."""
    if is_traced(costs, limits):
        return
    rate, fixed, short, leverage = (
        np.asarray(leaf, np.float64) for leaf in (costs.proportional, costs.fixed, limits.short, limits.leverage)
    )
    sound = bool(np.all((rate >= 0) & (rate < 1) & (fixed >= 0) & (short >= 0) & (leverage > 0)))
    require(sound, where, "costs and limits must be in range", (costs, limits), "See Costs and Limits.")
    most = float(np.max(np.maximum(short, leverage) * rate))
    must = "leverage times what a trade costs, as a fraction, must stay below 1"
    require(most < 1, where, must, most, "Lower one of them.")


def require_fill(where: str, delay: int, opens: Any) -> None:
    """Raises ConfigError unless ``delay`` is 0 or 1, and 1 where there are opening prices."""
    require(delay in (0, 1), where, "delay must be 0 or 1 bars", delay, "0 fills at the close that is seen, 1 a bar later.")
    must = "delay must be 1 if opening prices are given"
    require(opens is None or delay == 1, where, must, delay, "Pass delay=1: what is decided at a close meets the next open.")


def open_account(capital: jax.Array | float) -> Account:
    """Returns an account with this much cash (quote currency) and no position."""
    return Account(jnp.asarray(capital, jnp.float32), jnp.float32(0.0))


def wealth(account: Account, price: jax.Array) -> jax.Array:
    """Returns what the account is worth at this price, float32[], quote currency."""
    return account.cash + account.position * price


def weight(account: Account, price: jax.Array) -> jax.Array:
    """Returns the share of wealth that is invested, float32[]; 0 where nothing is left to share, NaN where wealth is NaN."""
    total = wealth(account, price)
    nothing = total <= 0
    return jnp.where(nothing, 0.0, account.position * price / jnp.where(nothing, 1.0, total))


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


def rebalance(
    account: Account,
    price: jax.Array,
    target: jax.Array,
    costs: Costs,
    limits: Limits,
    ruin: jax.Array | float = 0.0,
) -> tuple[Account, jax.Array]:
    """Trades so that, after fees, the invested share of wealth is ``target``, cut to the limits; 0 for an account in ruin.

    With W the wealth and x the exposure before, c and f the fees, the wealth after solves W' = W - c |w W' - x| - f, which is
    W' = (W + c x - f) / (1 + c w) for a purchase and W' = (W - c x - f) / (1 - c w) for a sale. Hence the limits hold exactly
    on what is left after the fee.

    Args:
        account: before.
        price: float32[], positive.
        target: float32[], a weight.
        costs, limits: as above.
        ruin: float32[], wealth at which everything is sold, quote currency, at least 0.

    Returns:
        The account, and the fee that was paid, float32[].
    """
    total, exposure = wealth(account, price), account.position * price
    target = jnp.where(total > ruin, within_limits(target, limits), 0.0)
    buying = target * (total - costs.fixed) > exposure
    signed = jnp.where(buying, costs.proportional, -costs.proportional)
    after = jnp.maximum((total + signed * exposure - costs.fixed) / (1.0 + signed * target), 0.0)
    # Who wants nothing is left with nothing, not with the rounding of position * price / price.
    units = jnp.where(target == 0, -account.position, (target * after - exposure) / price)
    near = jnp.abs(target * total - exposure) <= NO_TRADE * jnp.abs(total)
    on_target = jnp.where(target == 0, account.position == 0, near)
    return trade(account, price, jnp.where(on_target, 0.0, units), costs)


def log_growth(before: jax.Array, after: jax.Array, ruin: jax.Array) -> jax.Array:
    """Returns by how much the logarithm of wealth grows, continued below the ruin by its tangent there, float32[].

    The logarithm has no value for debts, and a constant in its place would make a debt of twenty times the capital as good as
    the ruin itself. Along the tangent, log(ruin) + wealth / ruin - 1, every loss counts, and the utility of wealth stays
    increasing and concave: no gamble is worth taking only because its loss is not counted. Sums over time telescope.

    Args:
        before: float32[]; one below the ruin counts as the ruin.
        after: float32[], any number.
        ruin: float32[], positive.
    """
    return jnp.log(jnp.maximum(after, ruin) / jnp.maximum(before, ruin)) + jnp.minimum((after - ruin) * (1.0 / ruin), 0.0)


def replay(
    prices: Any,
    targets: Any,
    capital: jax.Array | float,
    costs: Costs,
    limits: Limits,
    delay: int = 0,
    opens: Any = None,
    ruin: jax.Array | float = 0.0,
) -> Ledger:
    """Keeps the books of a strategy that is known as its target weights.

    Args:
        prices: float[T], closing prices, positive.
        targets: float[T - 1], the weight that each bar but the last decides to hold; NaN means to leave the position alone,
            whatever the limits, which bind only when trading.
        capital: cash at the first bar, quote currency, positive.
        costs, limits: as above.
        delay: bars from a decision to its fill: 0, at the close that has been seen, or 1, at the next.
        opens: float[T], opening prices, positive; with ``delay=1`` fills are at the next open instead of the next close.
        ruin: the account is closed once its wealth falls to this fraction of the capital, in [0, 1).

    Raises:
        ConfigError: a price or the capital is not positive, an argument is out of range, or the shapes do not fit. Traced
            values are not checked.
    """
    where = "replay"
    require_fill(where, delay, opens)
    require_affordable(where, costs, limits)
    prices = require_prices(where, prices, 2)
    opens = None if opens is None else require_prices(where, opens, 2)
    targets = jnp.asarray(targets, jnp.float32)
    lengths = (len(prices) - 1, *targets.shape, *(() if opens is None else (len(opens) - 1,)))
    fits = targets.ndim == 1 and len(set(lengths)) == 1
    require(fits, where, "targets must be float[T - 1], and opens float[T]", lengths, "Leave out the last bar's target.")
    if not is_traced(capital, ruin):
        positive = bool(np.all((np.asarray(capital) > 0) & np.isfinite(np.asarray(capital))))
        require(positive, where, "capital must be positive", capital, "1 makes wealth a factor.")
        fraction = bool(np.all((np.asarray(ruin) >= 0) & (np.asarray(ruin) < 1)))
        require(fraction, where, "ruin must lie in [0, 1)", ruin, "It is a fraction of the capital.")
    fills = prices[:-1] if delay == 0 else (prices if opens is None else opens)[1:]
    return _replay(prices, fills, targets, jnp.asarray(capital, jnp.float32), costs, limits, jnp.asarray(ruin, jnp.float32))


@jax.jit
def _replay(prices, fills, targets, capital, costs, limits, ruin):
    ruin = ruin * capital

    def step(account, inputs):
        price, fill, asked = inputs
        closed = wealth(account, price) <= ruin
        fill = jnp.where(closed, price, fill)
        left_alone = jnp.isnan(asked) & (wealth(account, fill) > ruin)
        asked = jnp.where(closed | left_alone, 0.0, asked)
        traded, fee = rebalance(account, fill, asked, costs, limits, ruin)
        after = jax.tree.map(lambda kept, new: jnp.where(left_alone, kept, new), account, traded)
        target = jnp.where(left_alone, jnp.nan, within_limits(asked, limits))
        return after, (account, jnp.where(left_alone, 0.0, fee), fill, target)

    last, (before, fee, fill, target) = jax.lax.scan(step, open_account(capital), (prices[:-1], fills, targets))
    books = jax.tree.map(lambda leaf, end: jnp.append(leaf, end), before, last)
    return Ledger(books.cash, books.position, wealth(books, prices), fee, fill, target)
