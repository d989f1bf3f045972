"""Statistics over runs: by hand, against SciPy, coverage, and clear errors."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from scipy import stats

from jaxrl import statistics
from jaxrl.errors import ConfigError

FEW = {"resamples": 500}


def normal(seed, size, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1.0, size)


def test_iqm_by_hand():
    assert statistics.iqm(np.array([100.0, 3, 1, 2, 8, 5, -40, 4])) == (2 + 3 + 4 + 5) / 4
    assert statistics.iqm(np.array([100.0, 1, 2, 0])) == 1.5
    assert statistics.iqm(np.array([5.0, 1, 2])) == 8 / 3  # a quarter of three runs is no run
    np.testing.assert_allclose(statistics.iqm(np.array([[0.0, 1, 2, 9], [4, 4, 4, 4]])), [1.5, 4])


def test_optimality_gap_by_hand():
    scores = np.array([0.5, 2.0, -1.0, 1.0])
    assert statistics.optimality_gap(scores) == (0.5 + 0 + 2 + 0) / 4
    assert statistics.optimality_gap(scores, target=2.0) == (1.5 + 0 + 3 + 1) / 4


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_one_task_is_scipy_bootstrap(method):
    scores = normal(0, 30)
    found = statistics.bootstrap_interval(scores, np.mean, method=method, resamples=999, seed=5)
    rng = np.random.default_rng(5)
    expected = stats.bootstrap((scores,), np.mean, n_resamples=999, method=method, rng=rng).confidence_interval
    np.testing.assert_allclose(found, (scores.mean(), expected.low, expected.high))


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_interval_of_the_mean_is_close_to_students(method):
    scores = normal(1, 200)
    found = statistics.bootstrap_interval(scores, np.mean, method=method, resamples=4000)
    low, high = stats.t.interval(0.95, 199, scores.mean(), stats.sem(scores))
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=0.015)
    assert found.low < found.estimate < found.high


def test_ninety_percent_intervals_hold_the_truth_about_ninety_times_in_a_hundred():
    held = 0
    for seed in range(200):
        interval = statistics.bootstrap_interval(normal(seed, 40, mean=3.0), statistics.iqm, confidence=0.9, resamples=300)
        held += interval.low <= 3.0 <= interval.high
    assert 0.80 <= held / 200 <= 0.95


def test_resampling_is_stratified_over_tasks():
    """Two tasks at very different levels: the spread between tasks must not enter the interval."""
    easy, hard = normal(2, 20), normal(3, 20, mean=1000.0)
    interval = statistics.bootstrap_interval({"easy": easy, "hard": hard}, np.mean, **FEW)
    assert interval.high - interval.low < 1.5
    np.testing.assert_allclose(interval.estimate, np.concatenate([easy, hard]).mean())
    pooled = statistics.bootstrap_interval(np.concatenate([easy, hard]), np.mean, **FEW)
    assert pooled.high - pooled.low > 100


def test_tasks_may_have_different_numbers_of_runs():
    scores = {"a": normal(4, 10), "b": normal(5, 25)}
    for method in ("percentile", "BCa"):
        interval = statistics.bootstrap_interval(scores, statistics.iqm, method=method, **FEW)
        assert interval.low <= interval.estimate <= interval.high


def test_the_seed_decides():
    scores = normal(6, 20)
    same = [statistics.bootstrap_interval(scores, seed=1, **FEW) for _ in range(2)]
    other = statistics.bootstrap_interval(scores, seed=2, **FEW)
    assert same[0] == same[1] != other
    assert all(isinstance(value, float) for value in other)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_constant_scores_give_a_point(method):
    assert statistics.bootstrap_interval([2.0] * 5, method=method, **FEW) == (2.0, 2.0, 2.0)
    found = statistics.bootstrap_interval({"a": [2.0] * 3, "b": [4.0] * 3}, np.mean, method=method, **FEW)
    assert found == (3.0, 3.0, 3.0)
    assert statistics.probability_of_improvement([1.0] * 3, [1.0] * 4, **FEW) == (0.5, 0.5, 0.5)
    assert statistics.paired_difference_interval([1.0, 5.0], [0.0, 4.0], method=method, **FEW) == (1.0, 1.0, 1.0)


def test_bca_says_so_where_it_is_undefined():
    """Most runs agree: leaving one out never moves the interquartile mean, but resampling does."""
    scores = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 9.0]
    with pytest.raises(ConfigError, match=r"method 'BCa' needs .* Use method='percentile'"):
        statistics.bootstrap_interval(scores, method="BCa", **FEW)
    assert statistics.bootstrap_interval(scores, **FEW).estimate == 1.0


def test_performance_profile_by_hand():
    scores = {"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 1.0, 5.0, 5.0]}
    profile = statistics.performance_profile(scores, [-1.0, 1.0, 2.5, 9.0], **FEW)
    np.testing.assert_allclose(profile.fraction, [1, 4 / 8, 3 / 8, 0])
    assert (profile.low <= profile.fraction).all()
    assert (profile.fraction <= profile.high).all()
    np.testing.assert_allclose([profile.low[0], profile.high[0], profile.low[-1], profile.high[-1]], [1, 1, 0, 0])
    assert profile.low[1] < profile.high[1]


def test_performance_profile_with_repeated_and_unordered_thresholds():
    scores = normal(10, 30)
    thresholds = np.array([0.5, -0.5, 0.5, scores[0]])
    profile = statistics.performance_profile(scores, thresholds, **FEW)
    np.testing.assert_array_equal(profile.threshold, thresholds)
    np.testing.assert_allclose(profile.fraction, [(scores > threshold).mean() for threshold in thresholds])
    assert profile.low[0] == profile.low[2]


def test_bands_of_a_performance_profile_are_binomial_quantiles():
    """One task: a resample holds a binomial number of runs above a threshold. Two tasks: the sum of two such numbers."""
    scores = {"a": normal(11, 40), "b": normal(12, 60, mean=0.5)}
    thresholds = np.linspace(-1, 2, 13)
    profile = statistics.performance_profile(scores["a"], thresholds, resamples=40_000)
    expected = stats.binom.ppf([[0.025], [0.975]], 40, profile.fraction) / 40
    np.testing.assert_allclose([profile.low, profile.high], expected, atol=0.0251)  # at most one run, where it is a close call
    assert np.mean(np.isclose([profile.low, profile.high], expected)) > 0.8
    both = statistics.performance_profile(scores, thresholds, resamples=40_000)
    rng = np.random.default_rng(0)
    drawn = sum(rng.binomial(len(s), (s[:, None] > thresholds).mean(0), (40_000, 13)) for s in scores.values())
    np.testing.assert_allclose(both.low, np.quantile(drawn / 100, 0.025, axis=0), atol=0.011)
    np.testing.assert_allclose(both.high, np.quantile(drawn / 100, 0.975, axis=0), atol=0.011)


@pytest.mark.parametrize("runs", [2, 3, 4, 7, 50])
def test_many_intervals_at_once_are_those_of_the_bootstrap(runs):
    """The same resamples, drawn one by one and trimmed by SciPy."""
    values = np.stack([normal(13, runs), 100 * normal(14, runs) ** 3, np.full(runs, 4.0)])
    found = statistics.iqm_intervals(values, resamples=300, seed=3)
    np.testing.assert_allclose(found.estimate, stats.trim_mean(values, 0.25, axis=1))
    chosen = np.random.default_rng(3).integers(runs, size=(300, runs))
    drawn = stats.trim_mean(np.sort(values)[:, chosen], 0.25, axis=-1)
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975], axis=1))


def test_many_intervals_in_blocks_agree_with_one_at_a_time(monkeypatch):
    values = np.stack([normal(15, 200), normal(16, 200, mean=5.0)])
    alone = [statistics.bootstrap_interval(row) for row in values]
    whole = statistics.iqm_intervals(values)
    np.testing.assert_allclose(np.stack(whole, axis=1), alone, atol=0.01)
    monkeypatch.setattr(statistics, "_BLOCK", 7000)
    np.testing.assert_allclose(statistics.iqm_intervals(values), whole)


def test_probability_of_improvement_is_mann_whitney():
    random = np.random.default_rng(7)
    x, y = random.integers(0, 6, 15).astype(float), random.integers(0, 5, 12).astype(float)  # with ties
    found = statistics.probability_of_improvement(x, y, **FEW)
    np.testing.assert_allclose(found.estimate, stats.mannwhitneyu(x, y).statistic / (15 * 12))
    assert found.low < found.estimate < found.high
    mirrored = statistics.probability_of_improvement(y, x, **FEW)
    np.testing.assert_allclose(mirrored.estimate, 1 - found.estimate)


def test_interval_of_the_probability_of_improvement_is_that_of_resampled_mann_whitney():
    random = np.random.default_rng(17)
    x, y = np.sort(random.integers(0, 6, 9)).astype(float), np.sort(random.integers(0, 5, 7)).astype(float)
    found = statistics.probability_of_improvement(x, y, resamples=200, seed=3)
    rng = np.random.default_rng(3)
    first, second = x[rng.integers(9, size=(200, 9))], y[rng.integers(7, size=(200, 7))]
    drawn = stats.mannwhitneyu(first, second, axis=1).statistic / 63
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]))


def test_interval_of_the_probability_of_improvement_agrees_with_scipy_bootstrap():
    x, y = normal(18, 60, mean=0.4), normal(19, 45)
    tasks = {"a": x, "b": y}, {"a": y, "b": x[:50]}
    found = statistics.probability_of_improvement(*tasks)

    def mean_of_both(a, b, c, d, axis):
        return (stats.mannwhitneyu(a, c, axis=axis).statistic / 2700 + stats.mannwhitneyu(b, d, axis=axis).statistic / 2250) / 2

    samples, rng = (x, y, y, x[:50]), np.random.default_rng(0)
    expected = stats.bootstrap(samples, mean_of_both, n_resamples=2000, method="percentile", rng=rng).confidence_interval
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.01)


def test_probability_of_improvement_averages_tasks():
    x = {"a": [2.0, 3.0], "b": [0.0, 1.0, 1.0]}
    y = {"b": [0.0, 1.0], "a": [1.0, 1.5]}
    # a: every pair is won. b: of 6 pairs 2 are won and 3 are equal.
    np.testing.assert_allclose(statistics.probability_of_improvement(x, y, **FEW).estimate, (1 + 3.5 / 6) / 2)


def test_pairing_removes_what_the_seeds_share():
    shared = 10 * normal(8, 30)
    x, y = shared + 0.5 + 0.1 * normal(9, 30), shared
    paired = statistics.paired_difference_interval(x, y, **FEW)
    np.testing.assert_allclose(paired.estimate, (x - y).mean())
    assert 0.4 < paired.low < paired.high < 0.6
    alone = statistics.bootstrap_interval(x, np.mean, **FEW)
    assert alone.high - alone.low > 10 * (paired.high - paired.low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.bootstrap_interval([1.0, np.nan, 2.0]), r"scores must be finite, got '\[nan\] at \[1\]'"),
        (lambda: statistics.bootstrap_interval({"maze": [1.0, np.inf]}), "scores of maze must be finite"),
        (lambda: statistics.bootstrap_interval([1.0]), "scores must have at least 2 runs, got 1"),
        (lambda: statistics.bootstrap_interval([]), "scores must be one row of numbers"),
        (lambda: statistics.bootstrap_interval({}), "scores must have at least one task"),
        (lambda: statistics.bootstrap_interval(np.zeros((2, 3))), r"one row of numbers, got 'shape \(2, 3\)'"),
        (lambda: statistics.bootstrap_interval([[1.0], [1.0, 2.0]]), "scores must be numbers"),
        (lambda: statistics.bootstrap_interval([1.0, 2.0], confidence=95), "confidence must lie strictly between 0 and 1"),
        (lambda: statistics.bootstrap_interval([1.0, 2.0], method="basic"), "method must be one of"),
        (lambda: statistics.bootstrap_interval([1.0, 2.0], resamples=0), "resamples must be at least 1, got 0"),
        (lambda: statistics.iqm_intervals([[1.0], [2.0]]), r"shape \[P, R\] with at least 2 runs, got \(2, 1\)"),
        (lambda: statistics.iqm_intervals([[1.0, np.nan]]), "values must be finite"),
        (lambda: statistics.iqm_intervals([[1.0, 2.0]], confidence=0), "confidence must lie strictly between 0 and 1"),
        (lambda: statistics.performance_profile([1.0, 2.0], [0.5], resamples=0), "resamples must be at least 1, got 0"),
        (lambda: statistics.performance_profile([1.0, 2.0], [np.nan]), "thresholds must be finite"),
        (lambda: statistics.probability_of_improvement({"a": [1, 2]}, {"b": [1, 2]}), "x and y must have the same tasks"),
        (lambda: statistics.paired_difference_interval([1, 2, 3], [1, 2]), "equally many runs"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_another_target_as_a_statistic():
    gap = partial(statistics.optimality_gap, target=2.0)
    assert statistics.bootstrap_interval([1.0, 2.0, 3.0, 0.0], gap, **FEW).estimate == 0.75


def test_importing_the_library_does_not_import_this_module():
    code = "import sys, jaxrl; assert 'jaxrl.statistics' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_final_values_are_means_over_the_last_updates():
    values = np.array([[0.0, 0, 1, 3], [0, 0, np.nan, 5], [9, 9, np.nan, np.nan]])
    np.testing.assert_array_equal(statistics.final_values(values, 0.5), [2, 5, np.nan])
    np.testing.assert_array_equal(statistics.final_values(values, 0.01), [3, 5, np.nan])
    np.testing.assert_array_equal(statistics.final_values(values, 1.0), [1, 5 / 3, 9])


def test_summarise_counts_missing_seeds_and_gives_the_interval():
    values = np.append(np.random.default_rng(0).normal(3.0, 1.0, 30), [np.nan, np.inf])
    found = statistics.summarise(values)
    assert (found["seeds"], found["missing"]) == (30, 2)
    expected = statistics.bootstrap_interval(values[:30])
    assert found["iqm"] == pytest.approx(expected.estimate)
    # Two bootstraps of 10,000 resamples each: their ends differ by the noise of their draws.
    np.testing.assert_allclose((found["low"], found["high"]), expected[1:], atol=0.02)
    assert found["low"] < found["iqm"] < found["high"]
    assert found["minimum"] == values[:30].min()
    assert found["maximum"] == values[:30].max()


def test_summarise_of_one_seed_and_of_none():
    one, none = statistics.summarise(np.array([2.0])), statistics.summarise(np.array([np.nan]))
    assert one["iqm"] == one["mean"] == 2.0
    assert np.isnan(one["low"])
    assert none["missing"] == 1
    assert np.isnan(none["mean"])
