"""The accounts: the identity at every bar under random play, against books kept in float64 without the library."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.trading import accounting
from envs.trading.accounting import Account, Costs, Limits

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
