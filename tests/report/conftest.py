"""A run with two arms, claims and figures, and its page."""

import pytest

from jaxrl.report import curve_figures, seed_figures
from jaxrl.report.page import write_report
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure
from tests.report.reading import record


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = RunDirectory.create(tmp_path_factory.mktemp("runs"), "exp", {"ppo": {"gamma": 0.99}, "note": "<b>bold</b> & more"})
    record(run, "ppo", 0.03, failed={3: Failure(57, "metric loss"), 41: Failure(1120, "state.params")})
    record(run, "<script>alert(1)</script>", 0.01)
    run.close()
    run.write_claims(
        [
            {
                "text": "Return > 475 <i>always</i>",
                "source": "A & B (2017)",
                "verdict": "fails",
                "value": 430.5,
                "low": 420.25,
                "high": 440.75,
            },
            {"text": "Beats the other", "verdict": "holds", "value": 3, "criterion": "above 0"},
            {"text": "Not tried", "verdict": "open", "detail": "quick run"},
        ]
    )
    curve_figures.learning_curves(run, optimum=500.0)
    curve_figures.gap_curve(run)
    seed_figures.distribution(run)
    return run


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text(encoding="utf-8")
