"""Price sources: their moments, regimes and blocks; features and splits; real prices and files, with row and reason."""

import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.trading import features, market_data, prices, splits
from jaxrl.errors import ConfigError, DataError, UnknownNameError

KEY = jax.random.key(0)


def returns_of(table):
    return np.diff(np.log(np.asarray(table, np.float64)), axis=-1)


def test_brownian_motion_has_the_moments_that_it_is_given():
    source = prices.gbm(drift=0.3, volatility=0.4, start=50.0)
    table = prices.paths(source, KEY, 2000, 253)
    assert table.shape == (2000, 253)
    np.testing.assert_allclose(table[:, 0], 50.0)
    r = returns_of(table)
    assert r.std() * np.sqrt(252) == pytest.approx(0.4, rel=0.01)
    assert np.log(np.asarray(table[:, -1], np.float64).mean() / 50) == pytest.approx(0.3, abs=0.04)  # 4.5 standard errors


def test_regimes_switch_as_often_and_move_as_much_as_stated():
    source = prices.regime_switching()
    draw = jax.vmap(lambda key: source.path_with_regimes(key, 1001))
    table, regimes = draw(jax.random.split(KEY, 1000))
    regimes = np.asarray(regimes)
    monthly = 1 - (1 - np.mean(np.diff(regimes) != 0)) ** 21
    assert monthly == pytest.approx(0.05, rel=0.03)
    assert regimes.mean() == pytest.approx(0.5, abs=0.03)
    r = returns_of(table)
    for regime, drift, volatility in ((0, 0.12, 0.15), (1, -0.15, 0.30)):
        own = r[regimes == regime]
        assert own.std() * np.sqrt(252) == pytest.approx(volatility, rel=0.01)
        error = volatility * np.sqrt(252 / own.size)
        assert own.mean() * 252 == pytest.approx(drift - volatility**2 / 2, abs=4 * error)


def test_bootstrap_repeats_real_returns_in_blocks():
    data = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.02, 301)))
    source = prices.block_bootstrap(data, block_length=10.0)
    indices = np.asarray(jax.vmap(lambda key: source.indices(key, 400))(jax.random.split(KEY, 500)))
    continued = np.mean((indices[:, :-1] + 1) % 300 == indices[:, 1:])
    assert continued == pytest.approx(0.9 + 0.1 / 300, abs=0.003)
    counts = np.bincount(indices.ravel(), minlength=300)
    assert counts.min() > 0.7 * counts.mean()
    r = returns_of(source.path(KEY, 50))
    nearest = np.abs(r[:, None] - np.diff(np.log(data))[None]).min(1)
    assert nearest.max() < 1e-5


def test_historical_paths_are_windows():
    data = np.arange(1.0, 101.0)
    table = np.asarray(prices.paths(prices.historical(data), KEY, 400, 10))
    assert (np.diff(table, axis=1) == 1).all()
    assert table[:, 0].min() == 1
    assert table[:, -1].max() == 100


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: prices.gbm(volatility=-0.1), "volatility must not be negative"),
        (lambda: prices.gbm(start=0.0), "start must be positive"),
        (lambda: prices.regime_switching(drift=(0.1,)), "an entry per regime"),
        (lambda: prices.regime_switching(monthly_switch=1.0), "monthly_switch"),
        (lambda: prices.block_bootstrap(np.ones(10), 0.5), "block_length"),
        (lambda: prices.historical(np.array([1.0, -2.0])), "prices must be positive numbers, got {1: np.float64"),
    ],
)
def test_wrong_sources(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_features_by_hand():
    path = jnp.asarray([100.0, 110.0, 99.0, 99.0], jnp.float32)
    r = np.log([1.1, 0.9, 1.0])
    np.testing.assert_allclose(features.log_returns(path), [0, *r], atol=1e-6)
    np.testing.assert_allclose(features.lags(path, 2)[:, 1], [0, 100, 110, 99])
    np.testing.assert_allclose(features.momentum(path, 2), [0, r[0], r[0] + r[1], r[1] + r[2]], atol=1e-6)
    np.testing.assert_allclose(features.volatility(path, 2)[2], np.sqrt((r[0] ** 2 + r[1] ** 2) / 2), rtol=1e-5)
    assert features.standard(path).shape == (4, features.STANDARD_SIZE)


def test_features_do_not_depend_on_the_level():
    path = prices.gbm().path(KEY, 200)
    np.testing.assert_allclose(features.standard(path), features.standard(7 * path), atol=2e-3)


def test_time_split_and_walk_forward():
    split = splits.time_split(100)
    assert (split.train, split.validation, split.test) == (slice(0, 60), slice(60, 80), slice(80, 100))
    folds = splits.walk_forward(100, train=40, test=20)
    assert [(f.train.start, f.train.stop, f.test.start, f.test.stop) for f in folds] == [
        (0, 40, 40, 60),
        (20, 60, 60, 80),
        (40, 80, 80, 100),
    ]
    assert [f.train.start for f in splits.walk_forward(100, 40, 20, anchored=True)] == [0, 0, 0]


@pytest.mark.parametrize(
    "split",
    [
        lambda: splits.time_split(10, train=0.8, validation=0.2),
        lambda: splits.time_split(3, train=0.1),
        lambda: splits.walk_forward(100, train=100, test=20),
        lambda: splits.walk_forward(100, train=90, test=20),
        lambda: splits.walk_forward(100, train=50, test=0),
    ],
)
def test_a_split_without_data_is_an_error_of_its_own(split):
    with pytest.raises(DataError):
        split()


# ---- from outside


def test_real_prices_of_the_installed_package():
    apple = market_data.load("AAPL")
    assert len(apple.prices) == 3270
    assert (str(apple.dates[0]), str(apple.dates[-1])) == ("2000-03-01", "2013-03-01")
    assert len(apple.between("2005-01-01", "2005-12-31").prices) == 252
    dates, table = market_data.common([apple, market_data.load("GOOG")])
    assert table.shape == (2, len(dates))
    assert str(dates[0]) == "2004-08-19"


def test_unknown_ticker():
    with pytest.raises(UnknownNameError, match="Did you mean 'AAPL'"):
        market_data.load("APPL")


def test_csv_and_parquet_say_the_same(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    days = [datetime.date(2020, 1, d) for d in (2, 3, 6)]
    (tmp_path / "a.csv").write_text("day,close,volume\n2020-01-02,1.5,x\n2020-01-03,1.25,y\n2020-01-06,2,z\n")
    parquet.write_table(pa.table({"day": days, "close": [1.5, 1.25, 2.0]}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        history = market_data.read(tmp_path / name, date="day")
        np.testing.assert_array_equal(history.prices, [1.5, 1.25, 2.0])
        assert history.dates.tolist() == days
        assert history.name == "a"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("2020-01-02,1\n2020-01-03,\n", r"row 2: the price must be a number, got None"),
        ("2020-01-02,1\n2020-01-03,nan\n", r"row 2: the price must be a number, got 'nan'"),
        ("2020-01-02,1\n2020-01-03,abc\n", r"row 2: the price must be a number, got 'abc'"),
        ("2020-01-02,0\n2020-01-03,1\n", r"row 1: the price must be positive and finite, got '0'"),
        ("2020-01-02,1\n2020-01-03,-4\n", r"row 2: the price must be positive"),
        ("2020-01-02,1\n2020-01-03,inf\n", r"row 2: the price must be positive and finite"),
        ("2020-01-02,1\n2020-01-02,2\n", r"row 2: dates must not repeat, got '2020-01-02'"),
        ("2020-01-03,1\n2020-01-02,2\n", r"row 2: dates must rise, and the row before has 2020-01-03"),
        ("2020-01-02,1\nsoon,2\n", r"row 2: the date must be a date, got 'soon'"),
        ("2020-01-02,1\n", r"at least 2 rows, got 1"),
    ],
)
def test_unsound_rows_are_named_with_the_reason(tmp_path, rows, message):
    (tmp_path / "p.csv").write_text("date,close\n" + rows)
    with pytest.raises(DataError, match=message):
        market_data.read(tmp_path / "p.csv")


def test_missing_column_and_unreadable_file(tmp_path):
    (tmp_path / "p.csv").write_text("date,last\n2020-01-02,1\n2020-01-03,1\n")
    with pytest.raises(DataError, match=r"there must be a column 'close', got \['date', 'last'\]"):
        market_data.read(tmp_path / "p.csv")
    with pytest.raises(DataError, match="must be readable"):
        market_data.read(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match=r"must be \.csv"):
        market_data.read(tmp_path / "p.txt")
    (tmp_path / "p.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="must be readable"):
        market_data.read(tmp_path / "p.parquet")
