"""Price sources: their moments, regimes and blocks; features and splits; real prices and files, with row and reason."""

import datetime
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from envs.trading import dates, features, market_data, prices, single_asset, splits
from jaxrl.errors import ConfigError, DataError, DataWarning, UnknownNameError

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


def test_a_path_may_be_one_bar_long():
    for source in (prices.gbm(), prices.regime_switching(), prices.block_bootstrap(np.full(5, 100.0))):
        np.testing.assert_array_equal(prices.paths(source, KEY, 3, 1), np.full((3, 1), 100.0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: prices.gbm(volatility=-0.1), "volatility must not be negative"),
        (lambda: prices.gbm(start=0.0), "start must be a positive number"),
        (lambda: prices.gbm(drift=np.nan), "must be finite"),
        (lambda: prices.historical(np.ones(5)).path(KEY, 6), "a window must have at most 5 bars"),
        (lambda: prices.historical(np.array([1.0, 1e-60])), r"prices must be positive numbers, got \{1: 1e-60\}"),
        (lambda: prices.regime_switching(drift=(0.1,)), "an entry per regime"),
        (lambda: prices.regime_switching(monthly_switch=1.0), "monthly_switch"),
        (lambda: prices.block_bootstrap(np.ones(10), 0.5), "block_length"),
        (lambda: prices.paths(prices.gbm(), KEY, 2, 0), "num_bars must be an integer of at least 1, got 0"),
        (lambda: prices.paths(prices.regime_switching(), KEY, 2, -3), "num_bars must be an integer of at least 1, got -3"),
        (lambda: prices.paths(prices.historical(np.ones(5)), KEY, 2, 0), "num_bars must be an integer of at least 1, got 0"),
        (lambda: prices.paths(prices.block_bootstrap(np.ones(5)), KEY, 2, 2.5), "num_bars must be an integer of at least 1"),
        (lambda: prices.paths(prices.gbm(), KEY, 0, 5), "num_paths must be an integer of at least 1, got 0"),
        (lambda: prices.historical(["a", "b"]), "historical: prices must be an array of real numbers"),
        (lambda: prices.block_bootstrap([[1.0, 2.0], [3.0]]), "block_bootstrap: prices must be an array of real numbers"),
        (lambda: prices.regime_switching(0.1, 0.2), "an entry per regime"),
        (lambda: prices.gbm(drift="up"), "drift must be an array of real numbers"),
        (lambda: single_asset.make(["a"] * 400), "single_asset: prices must be an array of real numbers"),
        (
            lambda: single_asset.make([1.0, 2.0] * 200, delay=1, opens=["a"] * 400),
            "opens must be an array of real numbers",
        ),
        (lambda: prices.historical(np.array([1.0, -2.0])), "prices must be positive numbers, got {1: -2.0}"),
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
        ("2020-01-02,1\nsoon,2\n", r"row 2: the date must be a date, got 'soon'\. Write it as 2020-01-31"),
        ("2020-01-02,1\n2020-01-03,1_0\n", r"row 2: the price must be a number, got '1_0'"),
        ('2020-01-02,1\n2020-01-03,"1,5"\n', r"row 2: the price must be a number, got '1,5'"),
        (
            "2020-01-02 09:30,1\n2020-01-02 09:31,1\n",
            r"row 2: there must be one bar a day, got 'intraday: two bars on 2020-01-02'",
        ),
        ("2020-01-02,1\n2020-01-03,1,2\n", r"row 2: there must be 2 cells, got \['2020-01-03', '1', '2'\]"),
        ("2020-01-02,1\n2020-01-03\n", r"row 2: there must be 2 cells"),
        ("Ticker,AAPL\n2020-01-02,1\n", r"one row must name the columns, got a second one: \['Ticker', 'AAPL'\]"),
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


# ---- dates

DAY = np.datetime64("2020-01-02")


@pytest.mark.parametrize(
    "written",
    [
        "2020-01-02",
        " 2020-01-02 ",
        "2020-01-02 00:00:00+08:00",
        "2020-01-02T00:00:00+0800",
        "2020-01-02 23:59:59.999999-05:00",
        "2020-01-02T16:00:00.123456789Z",
        "2020-01-02 09:30",
        "20200102",
        20200102,
        20200102.0,
        np.int64(20200102),
        datetime.date(2020, 1, 2),
        datetime.datetime(2020, 1, 2, 0, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=8))),
        np.datetime64("2020-01-02T21:00", "ns"),
        pd.Timestamp("2020-01-02", tz="Asia/Shanghai"),
        pd.Timestamp("2020-01-02 16:00", tz="America/New_York"),
        1577923200,
        "1577923200",
        1577923200.0,
        1577923200_000,
        1577923200_000_000,
        1577923200_000_000_000,
    ],
    ids=str,
)
def test_a_date_is_the_calendar_day_as_written(written):
    assert dates.parse([written], "here").days == [DAY]


@pytest.mark.parametrize(
    "written",
    [
        "2020",
        "2020-01",
        "2020-13-01",
        "2020-02-30",
        "20200230",
        "02/01/2020",
        "2020-01-02 25:00",
        "2020-01-02 America/New_York",
        "2020-01-0\N{ARABIC-INDIC DIGIT TWO}",
        "NaT",
        "",
        None,
        True,
        43832,  # a day of a spreadsheet
        20200102.5,
        float("nan"),
        10**20,
        "0020-01-02",
        "9999-12-31",
        datetime.date(20, 1, 2),
        pd.NaT,
        np.datetime64("NaT", "D"),
        np.datetime64("20200102"),  # the year 20,200,102
        np.datetime64("2020-01"),
        np.datetime64("20200-01-02"),
        datetime.time(9, 30),
    ],
    ids=str,
)
def test_what_is_no_plausible_date_is_refused_with_its_row(written):
    with pytest.raises(DataError, match=r"here, row 2: (the date|the year|a number) must .* Write it as 2020-01-31"):
        dates.parse(["2020-01-02", written], "here")


def test_epochs_of_a_column_share_their_unit_and_may_begin_before_1970():
    days = np.arange("1962-01-02", "2020-01-02", 1000, dtype="datetime64[D]")
    for unit in ("s", "ms", "us", "ns"):
        numbers = days.astype(f"datetime64[{unit}]").astype(np.int64)
        np.testing.assert_array_equal(dates.parse(numbers, "here").days, days)
    with pytest.raises(DataError, match="row 2: a number must be YYYYMMDD"):
        dates.parse([20200102, 43833], "here")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_column_that_mixes_epochs_with_days_as_digits_is_refused(unit):
    """Read as seconds, 20200102 was a date of August 1970. That month's own epochs, at midnight, are read."""
    epoch = int(np.datetime64("2020-01-01").astype(f"datetime64[{unit}]").astype(np.int64))
    with pytest.raises(DataError, match=r"row 2: the date must be an epoch, as in other rows of the column, got 20200102.0"):
        dates.parse([epoch, 20200102], "here")
    days = np.arange("1970-07-15", "1975-09-01", dtype="datetime64[D]")
    np.testing.assert_array_equal(dates.parse(days.astype(f"datetime64[{unit}]").astype(np.int64), "here").days, days)


def test_days_of_instants_are_counted_in_the_zone_that_is_given():
    """Midnight in Shanghai is the day before in London."""
    midnight = int(pd.Timestamp("2020-01-02", tz="Asia/Shanghai").timestamp())
    with pytest.warns(DataWarning, match=r"row 1: epochs should be at midnight UTC, .* got 16:00 UTC"):
        assert dates.parse([midnight], "here").days == [np.datetime64("2020-01-01")]
    for written in (midnight, "2020-01-01T16:00:00Z", "2020-01-02"):
        assert dates.parse([written], "here", "Asia/Shanghai").days == [DAY]
    with pytest.raises(DataError, match="zone must be the name of a time zone, got 'Mars'"):
        dates.parse([midnight], "here", "Mars")


def test_prices_of_shanghai_and_new_york_meet_on_the_day_they_were_made():
    """Read in UTC, tomorrow's price of Shanghai would stand beside that of New York today."""
    days = [f"2020-01-{day:02d}" for day in (2, 3, 6, 7)]
    shanghai = market_data.check("shanghai", [f"{day} 00:00:00+08:00" for day in days], [10, 11, 12, 13])
    york = market_data.check("york", [f"{day}T16:00:00-05:00" for day in days], [100, 110, 120, 130])
    shared, table = market_data.common([shanghai, york])
    np.testing.assert_array_equal(shared, np.array(days, "datetime64[D]"))
    np.testing.assert_array_equal(table[1], 10 * table[0])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_timestamps_keep_their_day(tmp_path, unit):
    import pyarrow as pa
    from pyarrow import parquet

    days = [np.datetime64(day, "D") for day in ("2020-01-02", "2020-01-03")]
    midnights = pa.array([int((day - np.timedelta64(8, "h")).astype(f"datetime64[{unit}]").astype(int)) for day in days])
    shanghai = midnights.cast(pa.timestamp(unit, "Asia/Shanghai"))
    parquet.write_table(pa.table({"date": shanghai, "close": [1.0, 1.1]}), tmp_path / "a.parquet")
    np.testing.assert_array_equal(market_data.read(tmp_path / "a.parquet").dates, days)
    parquet.write_table(pa.table({"date": midnights, "close": [1.0, 1.1]}), tmp_path / "b.parquet")
    np.testing.assert_array_equal(market_data.read(tmp_path / "b.parquet", zone="Asia/Shanghai").dates, days)


def test_a_period_is_cut_out_with_dates_of_the_same_forms():
    history = market_data.check("a", ["2020-01-02", "2020-01-03", "2020-01-06"], [10, 11, 12])
    assert history.between("20200103", "2020-01-06").prices.tolist() == [11, 12]
    with pytest.raises(DataError, match="the date must be a date"):
        history.between("3 January", "2020-01-06")


def test_minutes_are_no_days_in_memory_either():
    with pytest.raises(DataError, match=r"row 2: .*intraday"):
        market_data.check("a", pd.date_range("2020-01-02 09:30", periods=3, freq="min"), [10, 11, 12])


# ---- files as they come


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(tmp_path, delimiter):
    rows = [["\ufeffDate", "Open", " Close "], ["2020-01-02", "9", "1.5"], ["2020-01-03", "9", "1.75"]]
    (tmp_path / "a.csv").write_text("\n".join(map(delimiter.join, rows)) + "\n\n", encoding="utf-8")
    assert market_data.read(tmp_path / "a.csv").prices.tolist() == [1.5, 1.75]


def test_compressed_files(tmp_path):
    import gzip

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"DATE,close\n2020-01-02,1\n2020-01-03,1.1\n"))
    assert market_data.read(tmp_path / "a.csv.gz").name == "a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,close,close\n2020-01-02,1,2\n", r"one column must be called 'close', got \['date', 'close', 'close'\]"),
        ("date,Close,CLOSE\n2020-01-02,1,2\n", "one column must be called 'close'"),
        (
            "Price,Close,High\nTicker,A,A\nDate,,\n2020-01-02,1,2\n",
            r"one row must name the columns, got a second one: \['Ticker'",
        ),
        ("", "first row must name the columns"),
        ("date,close\n\xff\n", "must be readable"),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        market_data.read(tmp_path / "a.csv")


# ---- what is doubted


def business_days(count):
    return np.busday_offset("2020-01-02", np.arange(count))


def smooth(count=300):
    return 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.02, count)))


@pytest.mark.parametrize(
    ("row", "factor", "message"),
    [
        (100, 0.5, r"row 101: the price falls by a factor of 2 on 2020-05-21, like an unadjusted split"),
        (100, 1.5, "row 101: the price rises by a factor of 1.* like an unadjusted split"),
        (7, 50.0, "row 8: the price rises by a factor of .*, a jump"),
    ],
)
def test_a_jump_is_said_aloud(row, factor, message):
    values = np.where(np.arange(300) < row, 1.0, factor) * 100.0
    with pytest.warns(DataWarning, match=message):
        market_data.check("a", business_days(300), values)


def test_missing_months_are_said_aloud():
    days = np.delete(business_days(700), np.arange(100, 540))
    with pytest.warns(DataWarning, match=r"row 101: 617 days without a price before 2022-01-27"):
        market_data.check("a", days, smooth(260))


def test_weeks_are_said_not_to_be_days():
    with pytest.warns(DataWarning, match="7 days apart, not daily"):
        market_data.check("a", business_days(300)[::5], smooth(60))


def test_sound_data_raise_no_doubt():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        market_data.check("a", business_days(300), smooth())
        for ticker in market_data.TICKERS:
            market_data.load(ticker)
