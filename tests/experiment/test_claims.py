"""The one rule that decides claims, and the quantities that they are made of."""

import numpy as np
import pytest
from scipy import stats

from jaxrl.errors import ConfigError
from jaxrl.experiment import Claim, area, at, derived, every, exact, final, largest, lowest, share, smallest
from jaxrl.experiment.claims import decide
from jaxrl.experiment.results import Results
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval


@pytest.fixture
def results(tmp_path):
    found = Results(RunDirectory.create(tmp_path, "example", {}))
    random = np.random.default_rng(0)
    common, noise = random.normal(size=(2, 50))
    found.record({"method": "less"}, {"value": common[:, None]})
    found.record({"method": "more"}, {"value": (common + 1.0 + 0.1 * noise)[:, None]})
    found.record({"method": "same"}, {"value": (common + noise - noise.mean())[:, None]})
    found.record({"method": "lost"}, {"value": np.where(np.arange(50) < 12, np.nan, common)[:, None]})
    found.record({"method": "curve"}, {"value": np.arange(6.0).reshape(2, 3)})
    found.record({"method": "one"}, {"value": 0.5})
    found.record({"method": "few"}, {"value": common[:20, None]})
    found.record({"method": "coins"}, {"value": (np.arange(8) < 8).astype(float)[:, None]})
    return found


def verdict(statement, results):
    (entry,) = decide((Claim("It is so", "nobody", statement),), results)
    return entry


def value(method):
    return final("value", method=method)


TENTHS = derived("a tenth", lambda results: np.full(3, 0.1))


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        (value("more") > value("less"), "holds"),
        (value("less") > value("more"), "fails"),
        (value("same") > value("less"), "open"),
        (value("same") < value("less"), "open"),
        (value("more") - value("less") >= 0.9, "holds"),
        (value("more") - value("less") <= 0.9, "fails"),
        ((value("more") - value("less")).within(0.9, 1.1), "holds"),
        ((value("more") - value("less")).within(0.0, 0.9), "fails"),
        (abs(value("one") - 0.75) <= 0.25, "holds"),
        (value("one").equals(0.5, 1e-6), "holds"),
        (value("one").equals(0.6, 1e-6), "fails"),
        (value("one") > 0.5, "fails"),
        (value("one") >= 0.5, "holds"),
        (largest("value", method="curve") <= 5, "holds"),
        (largest("value", method="curve") < 5, "fails"),
        (smallest("value", method="curve") >= 0, "holds"),
        (largest(value("curve")) <= 5, "holds"),
        (smallest(value("curve")) <= 1, "fails"),
        (smallest(lowest("value", 1, method="curve")).equals(1.0, 0.0), "holds"),
        (largest(lowest("value", -1, method="curve")).equals(5.0, 0.0), "holds"),
        (smallest(lowest("value", 3, method="curve")) >= 0, "open"),
        (largest(value("lost")) <= 5, "open"),
        (largest(value("one")) <= 0.5, "holds"),
        (TENTHS <= 0.1, "holds"),  # numpy's mean of three times 0.1 is above 0.1
        (TENTHS > 0.1, "fails"),
        (TENTHS.equals(0.1, 0.0), "holds"),
        (exact("half of one", lambda: 0.5).equals(0.5, 0.0), "holds"),
        (share(value("coins") >= 1) >= 0.5, "holds"),
        (share(value("coins") >= 1) >= 0.75, "open"),
        (share(value("coins") < 1) >= 0.5, "fails"),
        (every([value("more") > value("less"), value("less") > value("more")]), "fails"),
        (every([value("more") > value("less"), value("same") > value("less")]), "open"),
        (every([value("more") > value("less"), value("one") >= 0.5]), "holds"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.text[:60],
)
def test_the_rule(statement, word, results):
    assert verdict(statement, results)["verdict"] == word


def test_the_interval_is_that_of_the_paired_difference(results):
    entry = verdict(value("more") > value("less"), results)
    difference = results.final("value", method="more") - results.final("value", method="less")
    expected = bootstrap_interval(difference, np.mean)
    np.testing.assert_allclose([entry["value"], entry["low"], entry["high"]], expected)
    assert entry["margin"] == entry["low"]


def test_a_share_has_the_interval_of_wilson(results):
    entry = verdict(share(value("coins") >= 1) >= 0.75, results)
    found = stats.binomtest(8, 8).proportion_ci(method="wilson")
    np.testing.assert_allclose([entry["low"], entry["high"]], [found.low, found.high])
    assert "interval reaches the bar" in entry["detail"] or "seeds would decide" in entry["detail"]


def test_an_open_claim_says_how_many_seeds_would_decide_it(results):
    entry = verdict(value("same") > value("less") - 0.1, results)
    assert entry["verdict"] == "open"
    half = max(entry["high"] - entry["value"], entry["value"] - entry["low"])
    assert f"about {int(np.ceil(50 * (half / 0.1) ** 2)):,} seeds" in entry["detail"]


def test_seeds_in_quarantine_leave_a_claim_open_with_the_reason(results):
    entry = verdict(value("lost") > 0, results)
    assert entry["verdict"] == "open"
    assert "12 of 50 without" in entry["detail"]
    assert entry["value"] is None


def test_nothing_is_decided_by_other_settings_but_all_is_measured(results):
    (entry,) = decide((Claim("It is so", "nobody", value("one") >= 0.5),), results, "other settings")
    assert (entry["verdict"], entry["value"]) == ("open", 0.5)
    assert entry["detail"] == "not decided: other settings"


def test_a_claim_about_arms_that_are_not_there_is_open(results):
    for statement, word in (
        (value("mroe") > 0, "an arm with the factors"),
        (final("value", mode=1) > 0, "no factor is named 'mode'"),
        (final("valeu") > 0, "Did you mean 'value'"),
        (final("value") > 0, "must name one arm"),
    ):
        entry = verdict(statement, results)
        assert entry["verdict"] == "open"
        assert word in entry["detail"]


def test_quantities(results):
    np.testing.assert_array_equal(area("value", method="curve").read(results), [1.0, 4.0])
    np.testing.assert_array_equal(at("value", 0, method="curve").read(results), [0.0, 3.0])
    np.testing.assert_array_equal((final("value", method="curve") * 2 + 1).read(results), [5.0, 11.0])
    np.testing.assert_array_equal((final("value", method="curve") / area("value", method="curve")).read(results), [2.0, 1.25])
    assert final("value", method="one").read(results).ndim == 0
    assert len((value("more") - value("few")).read(results)) == 20, "seed by seed, of the seeds that both have"
    doubled = derived("twice", lambda found: 2 * found.final("value", method="curve"))
    np.testing.assert_array_equal(doubled.read(results), [4.0, 10.0])
    with pytest.raises(ConfigError, match="there must be a statement"):
        every([])


@pytest.mark.slow
def test_the_mean_of_noise_is_seldom_found_positive(tmp_path):
    """The rule says holds of a true null in about one of forty samples, not more."""
    random, held = np.random.default_rng(1), 0
    for number in range(200):
        found = Results(RunDirectory.create(tmp_path, f"noise{number}", {}))
        found.record({"method": "noise"}, {"value": random.normal(size=(30, 1))})
        held += verdict(final("value") > 0, found)["verdict"] == "holds"
    assert 0 < held <= 14  # 5 expected; 14 or more has a probability of 0.001 even at one in thirty


def test_texts_of_quantities_read_as_they_are_computed(results):
    gain = final("x", m="a") - final("x", m="b")
    assert ((gain * 0.5) >= 1).text == "(x (a) - x (b)) * 0.5 >= 1"
    assert (final("x") - gain).text == "x - (x (a) - x (b))"
    assert final("x").equals(0.0, 0.0).text == "x = 0"
    entry = verdict(at("value", 7, method="curve") > 0, results)
    assert "must have been measured that often, got 3 measurements" in entry["detail"]
