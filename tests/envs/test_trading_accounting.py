"""The accounts: the identity at every bar under random play, against books kept in float64 without the library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.trading import accounting, baselines, binomial_market, market_data
from envs.trading.accounting import Account, Costs, Limits
from jaxrl.errors import ConfigError

FREE = Costs(jnp.float32(0.0), jnp.float32(0.0))
WIDE = Limits(jnp.float32(3.0), jnp.float32(3.0))


def costs(proportional, fixed=0.0):
    return Costs(jnp.float32(proportional), jnp.float32(fixed))


def random_case(seed, bars=40):
    generator = np.random.default_rng(seed)
    prices = 50 * np.exp(np.cumsum(generator.normal(0, 0.03, bars)))
    return prices, generator.uniform(-1.5, 1.5, bars - 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), proportional=st.floats(0, 0.02), fixed=st.floats(0, 0.001))
def test_wealth_is_cash_plus_position_times_price_at_every_bar(seed, proportional, fixed):
    prices, targets = random_case(seed)
    books = accounting.replay(prices, targets, 1.0, costs(proportional, fixed), WIDE)
    cash, position, wealth, fee = (np.asarray(leaf, np.float64) for leaf in books[:4])
    np.testing.assert_allclose(wealth, cash + position * prices, rtol=2e-5, atol=1e-6)
    held = position[1:]  # after the trade at each bar
    np.testing.assert_allclose(np.diff(wealth), held * np.diff(prices) - fee, atol=2e-5)
    np.testing.assert_allclose(np.diff(cash), -np.diff(position) * prices[:-1] - fee, atol=2e-5)
    expected = proportional * np.abs(np.diff(position)) * prices[:-1] + fixed * (np.diff(position) != 0)
    np.testing.assert_allclose(fee, expected, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), proportional=st.floats(0, 0.02))
def test_the_target_holds_after_the_fee(seed, proportional):
    prices, targets = random_case(seed)
    books = accounting.replay(prices, targets, 1.0, costs(proportional, 0.0005), WIDE)
    position, wealth, fee = (np.asarray(leaf, np.float64) for leaf in (books.position, books.wealth, books.fee))
    after = wealth[:-1] - fee
    np.testing.assert_allclose(position[1:] * prices[:-1] / after, targets, atol=1e-4)


def test_buy_and_hold_earns_units_times_the_price_change_less_the_fee():
    prices = np.array([100.0, 90.0, 130.0, 120.0])
    targets = np.array([1.0, np.nan, np.nan])
    books = accounting.replay(prices, targets, 1000.0, costs(0.01), WIDE)
    units = 1000.0 / 1.01 / 100.0  # the fee is paid out of the capital
    np.testing.assert_allclose(books.position, [0, units, units, units], rtol=1e-6)
    np.testing.assert_allclose(books.fee, [0.01 * units * 100, 0, 0], rtol=1e-5, atol=1e-6)
    assert float(books.wealth[-1]) - 1000.0 == pytest.approx(units * (120 - 100) - 0.01 * units * 100, rel=1e-5)


def test_limits_bind_on_what_is_left_after_the_fee():
    limits = Limits(jnp.float32(0.5), jnp.float32(2.0))
    for asked, allowed in ((5.0, 2.0), (-5.0, -0.5), (0.3, 0.3)):
        account, fee = accounting.rebalance(accounting.open_account(100.0), jnp.float32(10.0), asked, costs(0.01, 0.2), limits)
        assert float(accounting.weight(account, jnp.float32(10.0))) == pytest.approx(allowed, rel=1e-5)
        assert float(accounting.wealth(account, jnp.float32(10.0))) == pytest.approx(100 - float(fee), rel=1e-6)


def test_leverage_limits_short_positions_too():
    limits = Limits(jnp.float32(3.0), jnp.float32(1.0))
    assert float(accounting.within_limits(jnp.float32(-2.0), limits)) == -1.0


def test_holding_pays_no_fixed_fee():
    account, first = accounting.rebalance(accounting.open_account(1.0), jnp.float32(7.0), 1.0, costs(0.001, 0.01), WIDE)
    account, second = accounting.rebalance(account, jnp.float32(8.3), 1.0, costs(0.001, 0.01), WIDE)
    assert float(first) > 0.01
    assert float(second) == 0.0


def test_a_sale_and_a_purchase_pay_alike():
    account = Account(jnp.float32(0.0), jnp.float32(10.0))
    sold, fee = accounting.rebalance(account, jnp.float32(10.0), 0.0, costs(0.02), WIDE)
    assert float(sold.position) == 0.0
    assert float(fee) == pytest.approx(2.0)
    assert float(sold.cash) == pytest.approx(98.0)


def test_free_trading_leaves_wealth_alone():
    account, fee = accounting.rebalance(accounting.open_account(5.0), jnp.float32(3.0), -0.7, FREE, WIDE)
    assert float(fee) == 0.0
    assert float(accounting.wealth(account, jnp.float32(3.0))) == pytest.approx(5.0, rel=1e-6)


# ---- leaving a position alone


@pytest.mark.parametrize(
    ("prices", "target", "leverage", "expected"),
    [
        ([100, 110, 120, 90, 80], -1.0, 1.0, [1000, 899, 799, 1099, 1199]),  # a short that has grown beyond the limit
        ([100, 90, 80, 90, 110], 2.0, 2.0, [1000, 798.4, 598.8, 798.4, 1197.6]),  # borrowed, and more so in the meantime
    ],
)
def test_a_position_that_is_left_alone_stays_whatever_the_limits(prices, target, leverage, expected):
    limits = Limits(jnp.float32(leverage), jnp.float32(leverage))
    books = accounting.replay(np.array(prices, float), [target, np.nan, np.nan, np.nan], 1000.0, costs(0.001), limits)
    units = target * 1000 / 100 / (1 + 0.001 * abs(target))
    np.testing.assert_allclose(books.position[1:], units, rtol=1e-6)
    np.testing.assert_allclose(books.fee[1:], 0.0)
    np.testing.assert_array_equal(np.isnan(books.target), [False, True, True, True])
    np.testing.assert_allclose(books.wealth, expected, atol=0.5)


def test_a_short_that_is_left_alone_earns_its_units_times_the_fall():
    books = accounting.replay(
        np.array([100.0, 110, 120, 90, 80]), [-1, np.nan, np.nan, np.nan], 1000.0, costs(0.001), Limits(*map(jnp.float32, (1, 1)))
    )
    units = 1000 / 1.001 / 100
    assert float(books.wealth[-1]) == pytest.approx(1000 + 20 * units - 0.001 * 100 * units, rel=1e-6)
    assert round(float(books.wealth[-1])) == 1199


# ---- fills

OPENS_AND_CLOSES = np.exp(np.cumsum(np.random.default_rng(4).normal(0, 0.03, (60, 2)).ravel())).reshape(60, 2)
FILLS = {"close": {}, "next close": dict(delay=1), "next open": dict(delay=1, opens=OPENS_AND_CLOSES[:, 0])}


@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
def test_only_prices_and_fees_move_wealth_whatever_the_fill(fill):
    """The books kept again in float64: the old position until the fill, the new one from there on."""
    close = OPENS_AND_CLOSES[:, 1]
    targets = np.random.default_rng(5).uniform(-1.5, 1.5, 59)
    targets[10:15] = np.nan
    books = accounting.replay(close, targets, 1.0, costs(0.002, 0.001), WIDE, **fill)
    at = {"close": close[:-1], "next close": close[1:], "next open": OPENS_AND_CLOSES[1:, 0]}
    expected = next(at[name] for name in FILLS if FILLS[name] is fill)
    np.testing.assert_allclose(books.fill, expected, rtol=1e-6)
    cash, position, wealth, fee = (np.asarray(leaf, np.float64) for leaf in books[:4])
    np.testing.assert_allclose(wealth, cash + position * close, atol=2e-5)
    np.testing.assert_allclose(np.diff(cash), -np.diff(position) * expected - fee, atol=2e-5)
    moved = position[:-1] * (expected - close[:-1]) + position[1:] * (close[1:] - expected) - fee
    np.testing.assert_allclose(np.diff(wealth), moved, atol=2e-5)
    assert not np.diff(position)[10:15].any()
    traded = np.isfinite(targets)
    before = wealth[:-1] + position[:-1] * (expected - close[:-1])
    np.testing.assert_allclose((position[1:] * expected / (before - fee))[traded], targets[traded], atol=1e-4)


def test_a_day_later_the_reversal_of_microsoft_has_lost_its_profit():
    """The observed close is rarely the one at which one trades: filled a day later, the same signals lose nearly everything."""
    prices = market_data.load("MSFT").prices
    targets = baselines.reversal(prices)[:-1]
    one = Limits(jnp.float32(1.0), jnp.float32(1.0))
    final = [float(accounting.replay(prices, targets, 1.0, costs(0.0005), one, delay=delay).wealth[-1]) for delay in (0, 1)]
    assert final[0] == pytest.approx(1.27, abs=0.005)
    assert final[1] == pytest.approx(0.105, abs=0.0005)


def test_costs_by_name_add_up_to_a_fraction_of_the_traded_value():
    named = accounting.costs_of("here", proportional_fee=0.0005, half_spread=0.0002, slippage=0.0003, fixed_fee=0.5)
    account, fee = accounting.rebalance(accounting.open_account(1000.0), jnp.float32(10.0), 0.5, named, WIDE)
    assert float(fee) == pytest.approx(0.001 * float(account.position) * 10 + 0.5, rel=1e-5)
    # A buyer who crosses half a spread of 0.02 % pays what the mid price adds up to and that much more.
    free = accounting.costs_of("here", half_spread=0.0002)
    account, _ = accounting.trade(accounting.open_account(1000.0), jnp.float32(10.0), jnp.float32(50.0), free)
    assert float(account.cash) == pytest.approx(1000 - 50 * 10 * 1.0002, rel=1e-6)


# ---- ruin


def test_an_account_in_ruin_sells_what_it_holds_and_trades_no_more():
    prices = np.array([10.0, 10.0, 25.0, 20.0, 10.0, 30.0])
    books = accounting.replay(prices, np.full(5, -1.0), 1.0, costs(0.001), WIDE)
    position, wealth, fee = (np.asarray(leaf, np.float64) for leaf in (books.position, books.wealth, books.fee))
    units = 1 / 1.001 / 10
    np.testing.assert_allclose(position, [0, -units, -units, 0, 0, 0], rtol=1e-5)
    assert wealth[2] == pytest.approx(1 - 15 * units - 0.001 * 10 * units, rel=1e-5)
    assert fee[2] == pytest.approx(0.001 * units * 25, rel=1e-4)
    np.testing.assert_allclose(wealth[3:], wealth[2] - fee[2], rtol=1e-6)
    np.testing.assert_array_equal(fee[3:], 0.0)
    np.testing.assert_array_equal(books.target[2:], 0.0)


@pytest.mark.parametrize("fill", [{}, dict(delay=1), dict(delay=1, opens=np.array([10.0, 10.0, 15.0, 11.0, 9.0]))])
def test_a_closed_account_does_not_live_to_see_the_price_recover(fill):
    prices = np.array([10.0, 10.0, 25.0, 10.0, 9.0])
    books = accounting.replay(prices, [-1.0, np.nan, -1.0, -1.0], 1.0, FREE, WIDE, **fill)
    np.testing.assert_allclose(books.wealth[2:], -0.5, rtol=1e-6)
    np.testing.assert_array_equal(books.position[3:], 0.0)
    assert float(books.fill[2]) == 25.0


def test_an_account_is_closed_at_the_fraction_that_is_given():
    prices = np.array([10.0, 4.0, 8.0, 16.0])
    for ruin, final in ((0.0, 1.6), (0.5, 0.4)):
        assert float(accounting.replay(prices, np.ones(3), 1.0, FREE, WIDE, ruin=ruin).wealth[-1]) == pytest.approx(final)


def test_a_gap_beyond_all_wealth_fills_at_a_sale_of_everything():
    """Three times long at the close, the next open is at half: what is left is a debt, not a new position."""
    close, opens = np.array([10.0, 10.0, 5.0, 8.0]), np.array([10.0, 10.0, 5.0, 8.0])
    books = accounting.replay(close, [3.0, 3.0, 3.0], 1.0, FREE, WIDE, delay=1, opens=opens)
    np.testing.assert_allclose(books.position, [0, 0.3, 0, 0], atol=1e-7)
    np.testing.assert_allclose(books.wealth[2:], -0.5, rtol=1e-6)


def test_a_debt_is_paid_worse_than_the_ruin():
    """The logarithm above the ruin, its tangent below: continuous, increasing and concave."""
    after = np.array([-19.8, -1.0, 0.0, 0.005, 0.01, 0.02, 1.0, 3.0])
    growth = np.asarray(jax.vmap(lambda x: accounting.log_growth(1.0, x, 0.01))(jnp.asarray(after, jnp.float32)), np.float64)
    np.testing.assert_allclose(growth[after >= 0.01], np.log(after[after >= 0.01]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(growth[after < 0.01], np.log(0.01) + (after[after < 0.01] - 0.01) / 0.01, rtol=1e-5)
    slopes = np.diff(growth) / np.diff(after)
    assert (slopes > 0).all()
    assert (np.diff(slopes) <= 1e-3 * slopes[:-1]).all()
    slope = jax.grad(lambda x: accounting.log_growth(1.0, x, 0.01))
    assert float(slope(-19.8)) == pytest.approx(float(slope(0.010001)), rel=1e-3)


def test_a_weight_is_missing_where_wealth_is_and_0_where_there_is_none():
    held = [accounting.weight(Account(jnp.float32(cash), jnp.float32(1.0)), jnp.float32(1.0)) for cash in (np.nan, -2.0, 1.0)]
    np.testing.assert_array_equal(held, [np.nan, 0.0, 0.5])


# ---- what is refused


@pytest.mark.parametrize("wrong", [0.0, np.nan, -1.0, np.inf, 1e-60, 1e60])
def test_a_price_that_is_none_is_refused_at_every_door(wrong):
    prices = np.array([10.0, wrong, 11.0, 12.0])
    sound = np.array([10.0, 10.5, 11.0, 12.0])
    doors = [
        lambda: accounting.replay(prices, np.ones(3), 1.0, FREE, WIDE),
        lambda: accounting.replay(prices.tolist(), np.ones(3), 1.0, FREE, WIDE),
        lambda: accounting.replay(sound, np.ones(3), 1.0, FREE, WIDE, delay=1, opens=prices),
        lambda: baselines.buy_and_hold(prices),
        lambda: baselines.momentum(prices),
        lambda: baselines.reversal(prices),
    ]
    for door in doors:
        with pytest.raises(ConfigError, match=r"prices must be positive numbers, got \{1: "):
            door()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(delay=2), "delay must be 0 or 1"),
        (dict(opens=np.ones(4)), "delay must be 1 if opening prices are given"),
        (dict(delay=1, opens=np.ones(3)), r"opens float\[T\]"),
        (dict(targets=np.ones(4)), r"targets must be float\[T - 1\]"),
        (dict(capital=0.0), "capital must be positive"),
        (dict(capital=np.nan), "capital must be positive"),
        (dict(ruin=1.0), "ruin must lie in"),
        (dict(costs=costs(1.0)), "costs and limits must be in range"),
        (dict(costs=costs(0.4)), "leverage times what a trade costs"),
    ],
)
def test_books_that_cannot_be_kept(changes, message):
    settings = dict(prices=np.ones(4), targets=np.ones(3), capital=1.0, costs=FREE, limits=WIDE) | changes
    with pytest.raises(ConfigError, match=message):
        accounting.replay(**settings)


@pytest.mark.parametrize("name", ["proportional_fee", "half_spread", "slippage", "fixed_fee"])
def test_costs_that_are_none(name):
    for value in (-0.1, np.nan, np.inf):
        with pytest.raises(ConfigError, match=f"{name} must be a number of at least 0"):
            accounting.costs_of("here", **{name: value})
    with pytest.raises(ConfigError, match="must lie below 1"):
        accounting.costs_of("here", 0.5, 0.3, 0.2)


def test_traced_books_are_kept_without_a_look_at_their_numbers():
    prices = jnp.asarray([[10.0, 11.0, 12.0], [5.0, 4.0, 3.0]])
    books = jax.jit(jax.vmap(lambda row: accounting.replay(row, jnp.ones(2), 1.0, FREE, WIDE)))(prices)
    np.testing.assert_allclose(books.wealth, prices / prices[:, :1], rtol=1e-6)


def test_no_move_of_the_binomial_market_ruins_an_account():
    with pytest.raises(ConfigError, match="move times"):
        binomial_market.make(weights=(0.0, 5.0), move=0.2)
