"""Trading one asset: at every bar choose which share of wealth to hold in it, pay the costs, and live with the next price.

The episode walks along a row of a price table. At bar t the agent sees causal features of the prices up to t and the share that
is invested now. By default it trades at that very price, the close that it has just seen, which is optimistic; with ``delay=1``
its order is filled a bar later, at the next close, or at the next open where opening prices are given. The reward is the log
growth of wealth from bar t to t + 1, costs included, so that the rewards of an episode add up to log(final wealth / capital). For
small costs this is the log return of the position minus the cost rate times the change of weight.

An episode ends in ruin when wealth falls to a small fraction of the capital; a bar may carry it below, and even below 0, where
the logarithm is continued by its tangent: see ``accounting.log_growth``. The account is then closed.

The tables lie in ``params``: one copy serves all environments and seeds, and a state holds two numbers that point into them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.trading import accounting, features, prices
from envs.trading.accounting import Account, Costs, Ledger, Limits
from jaxrl.core.environment import Environment, Step
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import EnvError, is_traced, require, require_finite, require_real

WEIGHTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
BARS = 250  # of an episode: about a year
DEFAULT_PATHS = 256  # of the market that is traded where no prices are given


@struct.dataclass
class Params:
    """Tables and numbers, all traced.

    table: float32[P, T, 1 + F], for each bar of each path its closing price (quote currency per unit) and its features; beside
    one another, so that a step looks up one place. With opening prices float32[P, T, 2 + F]: close, open, features. first,
    last: int32[], the bars on which an episode may begin. weights: float32[A], what the actions stand for, empty where they are
    weights themselves. capital: float32[], cash at the start. ruin: float32[], wealth at which the account is closed.
    reward_scale: float32[], reward of a log growth of 1.
    """

    table: jax.Array
    first: jax.Array
    last: jax.Array
    weights: jax.Array
    capital: jax.Array
    ruin: jax.Array
    reward_scale: jax.Array
    costs: Costs
    limits: Limits

    @property
    def prices(self) -> jax.Array:
        """The prices alone, float32[P, T]."""
        return self.table[..., 0]


class State(NamedTuple):
    """path, bar: int32[], the row and column of the price table. price: float32[], at this bar. account: before its trade."""

    path: jax.Array
    bar: jax.Array
    price: jax.Array
    account: Account


def _entry(path: jax.Array, bar: jax.Array, params: Params) -> jax.Array:
    """Returns the row of the table for a bar, float32[1 + F]; beyond its end a path stays at its last bar."""
    paths, bars, width = params.table.shape
    place = path * bars + jnp.minimum(bar, bars - 1)
    return params.table.reshape(paths * bars, width).at[place].get(mode="clip")


def _seen(entry: jax.Array, state: State, num_prices: int) -> jax.Array:
    """Returns the observation: the weight held, and the features."""
    # The weight takes the place of a price, which is not shown. Joining two arrays instead would cost a third of the speed.
    return entry[num_prices - 1 :].at[0].set(accounting.weight(state.account, state.price))


@dataclasses.dataclass(frozen=True)
class _Reset:
    """Opens an account at a random bar of a random path."""

    num_prices: int = 1

    def __call__(self, key, params):
        draw = jax.random.uniform(key, (2,), jnp.float32)
        choices = jnp.stack([jnp.int32(params.table.shape[0]), params.last - params.first + 1])
        path, bar = jnp.minimum((draw * choices).astype(jnp.int32), choices - 1)
        entry = _entry(path, params.first + bar, params)
        state = State(path, params.first + bar, entry[0], accounting.open_account(params.capital))
        return _seen(entry, state, self.num_prices), state


@dataclasses.dataclass(frozen=True)
class _Trade:
    """Trades to a weight and moves on one bar.

    by_index: whether actions are numbers of weights. delay, num_prices: see ``make``; 2 prices are close and open.
    """

    by_index: bool
    delay: int = 0
    num_prices: int = 1

    def __call__(self, key, state, action, params):
        target = params.weights[action] if self.by_index else action[0]
        entry = _entry(state.path, state.bar + 1, params)
        before = accounting.wealth(state.account, state.price)
        closed = before <= params.ruin
        fill = jnp.where(closed, state.price, entry[self.num_prices - 1]) if self.delay else state.price
        account, fee = accounting.rebalance(state.account, fill, target, params.costs, params.limits, params.ruin)
        after = State(state.path, state.bar + 1, entry[0], account)
        wealth = accounting.wealth(account, after.price)
        growth = accounting.log_growth(before, wealth, params.ruin)
        reward = jnp.where(closed, 0.0, params.reward_scale * growth)
        info = {"wealth": wealth, "fee": fee, "price": after.price, "position": account.position, "cash": account.cash}
        return Step(_seen(entry, after, self.num_prices), after, reward, wealth <= params.ruin, info)


@dataclasses.dataclass(frozen=True)
class _Limit:
    """Gives another time limit its starts, as ``make`` does. last: as it was given to ``make``."""

    last: int | None

    def __call__(self, params: Params, max_steps: int) -> Params:
        room = params.table.shape[-2] - 1 - max_steps
        last = room if self.last is None else self.last
        first = 0 if is_traced(params.first) else int(np.max(params.first))
        must = f"first <= last <= bars - 1 - max_steps = {room} must hold"
        require(first <= last <= room, "single_asset", must, (first, last), "Build it with more bars.", EnvError)
        return dataclasses.replace(params, last=jnp.full_like(params.last, last))


def bars_seen(state: State) -> jax.Array:
    """Returns the last bar whose price may be known in this state, int32[]: for ``jaxrl.testing.causality.check_causality``."""
    return state.bar


def make(
    table: Any = None,
    weights: Sequence[float] | None = WEIGHTS,
    observe: Callable[[jax.Array], jax.Array] = features.standard,
    proportional_fee: float = 0.0005,
    half_spread: float = 0.0,
    slippage: float = 0.0,
    fixed_fee: float = 0.0,
    delay: int = 0,
    opens: Any = None,
    short: float = 1.0,
    leverage: float = 1.0,
    capital: float = 1.0,
    ruin: float = 0.01,
    reward_scale: float = 1.0,
    warm_up: int = features.LONG,
    first: int | None = None,
    last: int | None = None,
    max_steps: int = BARS,
) -> Environment:
    """Builds a market with one asset. Action: a weight, by its index or itself. Observation: the weight held, and features.

    Args:
        table: float[T], or float[P, T] with a path in each row, positive closing prices in quote currency; by default 256 paths
            drawn from ``prices.regime_switching()``.
        weights: the target weights that the agent can choose from; None makes the action a weight of shape (1,).
        observe: ``(prices float32[T]) -> float32[T, F]``, causal features of one path; it must be hashable.
        proportional_fee: fraction of the traded value, in [0, 1) (0.0005 = 5 basis points).
        half_spread: distance from the mid price to the price at which one can buy or sell, as a fraction of the mid price.
        slippage: by how much the price moves against a trade before it is filled, as a fraction of the price.
        fixed_fee: quote currency per trade.
        delay: bars from a decision to its fill: 0, at the close that is seen, or 1, at the next.
        opens: opening prices, of the shape of ``table``; with ``delay=1``, fills are at the next open instead of the next close.
        short: the largest short position as a fraction of wealth; 0 for long only.
        leverage: the largest position as a fraction of wealth; 1 for nothing borrowed.
        capital: cash at the start, quote currency; 1 makes wealth the factor by which it has grown.
        ruin: the account is closed once its wealth falls to this fraction of the capital, in (0, 1).
        reward_scale: reward of a log growth of 1; 100 makes rewards percents of a bar, which learn better than hundredths.
        warm_up: bars before the first trade, so that the features have a past.
        first, last: the bars on which an episode may begin; by default from ``warm_up`` to the last that leaves ``max_steps``
            bars to trade. Give the same number twice for a fixed start.
        max_steps: bars of an episode.

    Raises:
        ConfigError: a price is not positive, a number is out of range, or the table is too short for an episode.
    """
    where = "single_asset"
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "250 is about a year.")
    accounting.require_fill(where, delay, opens)
    if table is None:
        require(opens is None, where, "opens must come with a table", "no table", "Pass both.")
        # As long for a shorter episode as for one of the usual length: a time limit changes the starts, not the prices.
        bars = warm_up + max(max_steps, BARS) + 1
        table = prices.paths(prices.regime_switching(), jax.random.key(0), DEFAULT_PATHS, bars)
    table = _table(where, "prices", table)
    costs = accounting.costs_of(where, proportional_fee, half_spread, slippage, fixed_fee)
    limits = accounting.limits_of(where, short, leverage, costs)
    require(fixed_fee < capital < np.inf, where, "capital must exceed the fixed fee", capital, "Set capital above fixed_fee.")
    require(0 < ruin < 1, where, "ruin must lie strictly between 0 and 1", ruin, "It is a fraction of the capital.")
    require(0 < reward_scale < np.inf, where, "reward_scale must be positive", reward_scale, "1 leaves log growth as it is.")
    room = table.shape[1] - 1 - max_steps
    begin: int = warm_up if first is None else first
    end: int = room if last is None else last
    fix = f"Give more bars than warm_up + max_steps = {warm_up + max_steps}, or lower them."
    require(0 <= begin <= end <= room, where, f"0 <= first <= last <= {room} must hold", (begin, end), fix)
    if weights is not None:
        weights = tuple(require_finite(where, "weights", weights).tolist())
        within = len(weights) >= 1 and -min(short, leverage) <= min(weights) and max(weights) <= leverage
        require(within, where, "weights must lie within the limits", tuple(weights), "Raise short or leverage, or drop some.")
    observed = np.asarray(_observed(observe, table))
    columns = [table] if opens is None else [table, _table(where, "opens", opens, table.shape)]
    params = Params(
        table=jnp.asarray(np.concatenate([*(column[..., None] for column in columns), observed], axis=-1)),
        first=jnp.int32(begin),
        last=jnp.int32(end),
        weights=jnp.asarray(() if weights is None else weights, jnp.float32),
        capital=jnp.float32(capital),
        ruin=jnp.float32(ruin * capital),
        reward_scale=jnp.float32(reward_scale),
        costs=costs,
        limits=limits,
    )
    space = Box(-float("inf"), float("inf"), (1 + observed.shape[-1],))
    actions = Discrete(len(weights)) if weights is not None else Box(-float(min(short, leverage)), float(leverage), (1,))
    step = _Trade(weights is not None, delay, len(columns))
    return Environment(params, _Reset(len(columns)), step, space, actions, max_steps, limit_fn=_Limit(last))


# ---- books of a market that has one path, on which episodes begin at one bar


def window(prices: Any, bars: slice, **options: Any) -> Environment:
    """Returns a market whose only episode trades these bars, the first order being given at the close before them.

    Args:
        prices: float[T], one path.
        bars: to be traded; before them there must be ``warm_up`` bars and one more.
        options: of ``make``.

    Raises:
        ConfigError: the bars do not lie in the path with what they need before them; or as ``make``.
    """
    warm_up = options.get("warm_up", features.LONG)
    earliest, fix = bars.start - warm_up - 1, "Choose later bars."
    must = f"there must be {warm_up + 1} bars before a window that ends within the path"
    require(earliest >= 0 and bars.stop <= len(prices), "single_asset.window", must, bars, fix)
    options |= {"first": warm_up, "last": warm_up, "max_steps": bars.stop - bars.start}
    return make(prices[earliest : bars.stop], **options)


def episode_prices(env: Environment) -> jax.Array:
    """Returns the closing prices of the only episode, float32[max_steps + 1].

    Raises:
        EnvError: the market has several paths, or starts.
    """
    return _columns(env)[:, 0]


def replay(env: Environment, targets: Any) -> Ledger:
    """Keeps the books of target weights float[max_steps] in the only episode, by ``accounting.replay``."""
    columns, trade, params = _columns(env), env.step_fn, env.params
    opens = columns[:, 1] if trade.num_prices == 2 else None
    ruin = params.ruin / params.capital
    return accounting.replay(
        columns[:, 0], targets, params.capital, params.costs, params.limits, trade.delay, opens=opens, ruin=ruin
    )


def books(env: Environment, action: Any, info: dict[str, Any]) -> Ledger:
    """Returns the books that the environment kept in the only episode.

    Args:
        env: the market.
        action: of each step, int32[..., max_steps], or weights float32[..., max_steps, 1].
        info: of each step, float32[..., max_steps].
    """
    columns, trade, params = _columns(env), env.step_fn, env.params
    fill = columns[1:, trade.num_prices - 1] if trade.delay else columns[:-1, 0]
    weight = params.weights[action] if trade.by_index else action[..., 0]

    def from_start(name, start):
        first = jnp.broadcast_to(jnp.float32(start), (*info[name].shape[:-1], 1))
        return jnp.concatenate([first, info[name]], axis=-1)

    cash, position = from_start("cash", params.capital), from_start("position", 0.0)
    wealth = from_start("wealth", params.capital)
    target = accounting.within_limits(weight, params.limits)
    return Ledger(cash, position, wealth, info["fee"], jnp.broadcast_to(fill, info["fee"].shape), target)


def _columns(env: Environment) -> jax.Array:
    """Returns the rows of the table that the only episode walks along, float32[max_steps + 1, 1 + F]."""
    table, first, last = env.params.table, int(env.params.first), int(env.params.last)
    found = f"{len(table)} paths, bars {first} to {last}"
    fix = "Give one row of prices, and first and last alike."
    must = "there must be one path, and one bar on which episodes begin"
    require(len(table) == 1 and first == last, "single_asset", must, found, fix, EnvError)
    return table[0, first : first + env.max_steps + 1]


@partial(jax.jit, static_argnums=0)
def _observed(observe: Callable[[jax.Array], jax.Array], table: jax.Array) -> jax.Array:
    return jax.vmap(observe)(table).astype(jnp.float32)


def _table(where: str, name: str, table: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Returns prices as float32[P, T], unless they have another shape or one is not positive."""
    fix = "Load them with market_data, which says where."
    with np.errstate(over="ignore"):  # which makes a price infinite, and so an error
        table = np.atleast_2d(require_real(where, name, table, fix).astype(np.float32))
    expected = table.ndim == 2 and shape in (None, table.shape)
    require(expected, where, f"{name} must be float[T] or float[P, T]", table.shape, "Give one row per path.")
    bad = np.argwhere(~(np.isfinite(table) & (table > 0)))
    found = {tuple(place.tolist()): float(table[tuple(place)]) for place in bad[:3]}
    require(len(bad) == 0, where, f"{name} must be positive numbers", found, fix)
    return table
