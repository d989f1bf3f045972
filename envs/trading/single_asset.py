"""Trading one asset: at every bar choose which share of wealth to hold in it, pay the fees, and live with the next price.

The episode walks along a row of a price table. At bar t the agent sees causal features of the prices up to t and the share that
is invested now; it trades at the price of bar t; the reward is the log growth of wealth from bar t to t + 1, fees included, so
that the rewards of an episode add up to log(final wealth / capital). For small fees this is the log return of the position
minus the fee rate times the change of weight.

The tables lie in ``params``: one copy serves all environments and seeds, and a state holds two numbers that point into them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.trading import accounting, features, prices
from envs.trading.accounting import Account, Costs, Limits
from jaxrl.env import Environment, Step
from jaxrl.errors import require
from jaxrl.spaces import Box, Discrete

WEIGHTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
BARS = 250  # of an episode: about a year
DEFAULT_PATHS = 256  # of the market that is traded where no prices are given


@struct.dataclass
class Params:
    """Tables and numbers, all traced.

    table: float32[P, T, 1 + F], for each bar of each path its price (quote currency per unit) and its features; beside one
    another, so that a step looks up one place. first, last: int32[], the bars on which an episode may begin. weights:
    float32[A], what the actions stand for, empty where they are weights themselves. capital: float32[], cash at the start.
    ruin: float32[], wealth at which the account is closed. reward_scale: float32[], reward of a log growth of 1.
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


def _arrive(path: jax.Array, bar: jax.Array, account: Account, params: Params) -> tuple[jax.Array, State]:
    """Returns what is seen, and the state, on arriving at a bar."""
    paths, bars, width = params.table.shape
    entry = params.table.reshape(paths * bars, width).at[path * bars + bar].get(mode="clip")
    state = State(path, bar, entry[0], account)
    # The weight takes the place of the price, which is not shown. Joining two arrays instead would cost a third of the speed.
    return entry.at[0].set(accounting.weight(account, state.price)), state


def reset(key, params):
    """Opens an account at a random bar of a random path."""
    draw = jax.random.uniform(key, (2,), jnp.float32)
    choices = jnp.stack([jnp.int32(params.table.shape[0]), params.last - params.first + 1])
    path, bar = jnp.minimum((draw * choices).astype(jnp.int32), choices - 1)
    return _arrive(path, params.first + bar, accounting.open_account(params.capital), params)


def _move(state: State, target: jax.Array, params: Params) -> Step:
    before = accounting.wealth(state.account, state.price)
    account, fee = accounting.rebalance(state.account, state.price, target, params.costs, params.limits)
    obs, after = _arrive(state.path, state.bar + 1, account, params)
    wealth = accounting.wealth(account, after.price)
    reward = params.reward_scale * jnp.log(jnp.maximum(wealth, params.ruin) / before)
    info = {"wealth": wealth, "fee": fee, "price": after.price, "position": account.position, "cash": account.cash}
    return Step(obs, after, reward, wealth <= params.ruin, info)


def step_discrete(key, state, action, params):
    """Trades to the weight of the action and moves on one bar."""
    return _move(state, params.weights[action], params)


def step_continuous(key, state, action, params):
    """Trades to the weight and moves on one bar."""
    return _move(state, action[0], params)


def bars_seen(state: State) -> jax.Array:
    """Returns the last bar whose price may be known in this state, int32[]: for ``jaxrl.causality.check_causality``."""
    return state.bar


def make(
    table: Any = None,
    weights: Sequence[float] | None = WEIGHTS,
    observe: Callable[[jax.Array], jax.Array] = features.standard,
    proportional_fee: float = 0.0005,
    fixed_fee: float = 0.0,
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
        table: float[T], or float[P, T] with a path in each row, positive prices in quote currency; by default 256 paths drawn
            from ``prices.regime_switching()``.
        weights: the target weights that the agent can choose from; None makes the action a weight of shape (1,).
        observe: ``(prices float32[T]) -> float32[T, F]``, causal features of one path.
        proportional_fee: fraction of the traded value, in [0, 1) (0.0005 = 5 basis points).
        fixed_fee: quote currency per trade.
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
    if table is None:
        table = prices.paths(prices.regime_switching(), jax.random.key(0), DEFAULT_PATHS, warm_up + max_steps + 1)
    table = np.atleast_2d(np.asarray(table, np.float32))
    require(table.ndim == 2, where, "prices must be float[T] or float[P, T]", table.shape, "Give one row per path.")
    positive = bool(np.all(np.isfinite(table) & (table > 0)))
    require(
        positive, where, "prices must be positive numbers", float(np.min(table)), "Load them with market_data, which says where."
    )
    require(
        0 <= proportional_fee < 1, where, "proportional_fee must lie in [0, 1)", proportional_fee, "0.0005 is 5 basis points."
    )
    require(fixed_fee >= 0, where, "fixed_fee must not be negative", fixed_fee, "Use 0 for none.")
    require(short >= 0, where, "short must not be negative", short, "Use 0 for long only.")
    require(leverage > 0, where, "leverage must be positive", leverage, "1 borrows nothing.")
    fits = max(short, leverage) * proportional_fee < 1
    require(fits, where, "leverage times proportional_fee must stay below 1", leverage * proportional_fee, "Lower one of them.")
    require(capital > fixed_fee, where, "capital must exceed the fixed fee", capital, "Raise it.")
    require(0 < ruin < 1, where, "ruin must lie strictly between 0 and 1", ruin, "It is a fraction of the capital.")
    require(reward_scale > 0, where, "reward_scale must be positive", reward_scale, "1 leaves log growth as it is.")
    require(max_steps >= 1, where, "max_steps must be at least 1", max_steps, "250 is about a year.")
    room = table.shape[1] - 1 - max_steps
    begin: int = warm_up if first is None else first
    end: int = room if last is None else last
    fix = f"Give more bars than warm_up + max_steps = {warm_up + max_steps}, or lower them."
    require(0 <= begin <= end <= room, where, f"0 <= first <= last <= {room} must hold", (begin, end), fix)
    if weights is not None:
        within = len(weights) >= 1 and -min(short, leverage) <= min(weights) and max(weights) <= leverage
        require(within, where, "weights must lie within the limits", tuple(weights), "Raise short or leverage, or drop some.")
    observed = jax.vmap(observe)(jnp.asarray(table))
    params = Params(
        table=jnp.concatenate([jnp.asarray(table)[..., None], observed.astype(jnp.float32)], axis=-1),
        first=jnp.int32(begin),
        last=jnp.int32(end),
        weights=jnp.asarray(() if weights is None else weights, jnp.float32),
        capital=jnp.float32(capital),
        ruin=jnp.float32(ruin * capital),
        reward_scale=jnp.float32(reward_scale),
        costs=Costs(jnp.float32(proportional_fee), jnp.float32(fixed_fee)),
        limits=Limits(jnp.float32(short), jnp.float32(leverage)),
    )
    space = Box(-float("inf"), float("inf"), (1 + observed.shape[-1],))
    if weights is None:
        actions = Box(-float(min(short, leverage)), float(leverage), (1,))
        return Environment(params, reset, step_continuous, space, actions, max_steps)
    return Environment(params, reset, step_discrete, space, Discrete(len(weights)), max_steps)
