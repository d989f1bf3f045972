"""Figures by factor: what stands on the axes, single values as ticks, and one colour for a strategy in all figures of a run."""

import numpy as np
import pytest

from jaxrl.errors import UnknownNameError
from jaxrl.experiment import draw
from jaxrl.experiment.results import Results
from jaxrl.report import game_figures, relation_figures, seed_figures
from jaxrl.report.style import COLOURS, caption
from jaxrl.results.run_directory import RunDirectory
from tests.report.reading import shows

METHODS = ("learner", "equal", "front", "best")


@pytest.fixture
def results(tmp_path):
    """Two problems, a learner with four seeds and three exact methods, five measurements each."""
    found = Results(RunDirectory.create(tmp_path, "example", {}))
    for problem in ("easy", "hard"):
        for place, method in enumerate(METHODS):
            rows = 4 if method == "learner" else 1
            cost = 1.0 + place + np.arange(5.0) + 0.1 * np.arange(rows)[:, None]
            values = {"cost": cost, "time": np.broadcast_to(10.0 * np.arange(1, 6), cost.shape)}
            found.record({"problem": problem, "method": method}, values)
    return found


@pytest.fixture
def drawn(monkeypatch):
    """What was handed to the figures, by file name."""
    calls = {}

    def noted(module, name, place):
        whole = getattr(module, name)

        def call(*arguments, **options):
            calls[arguments[place] if place else options["name"]] = arguments, options
            return whole(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    noted(relation_figures, "relation", 1)
    noted(game_figures, "simplex", 1)
    noted(seed_figures, "distribution", 0)
    return calls


def arms(problem, *methods):
    return {method: {"problem": problem, "method": method} for method in methods}


def test_a_method_has_one_colour_in_all_figures(results, drawn):
    draw.ends(results, "cost", {"name": "ends"}, problem="hard")
    draw.lines(results, "lines", "cost", arms("hard", "learner", "best"), "Step", "Cost")
    draw.lines(results, "one", "cost", {"": {"problem": "easy", "method": "best"}}, "Step", "Cost")
    labels = {"learner": 0, "equal": 1, "front": 2, "best": 3}
    assert drawn["ends"][1]["colours"] == {f"hard, {method}": place for method, place in labels.items()}
    assert drawn["lines"][1]["colours"] == {"learner": 0, "best": 3}
    path = results.directory.figures / "lines.png"
    assert shows(path, COLOURS[0])
    assert shows(path, COLOURS[3])
    assert not shows(path, COLOURS[1])


def test_more_methods_than_colours_are_told_apart_in_each_figure(results, drawn):
    for number in range(len(COLOURS)):
        results.record({"problem": "easy", "method": f"more {number}"}, {"cost": np.arange(5.0)})
    draw.lines(results, "lines", "cost", arms("easy", "equal", "more 4"), "Step", "Cost")  # both have the second colour
    assert drawn["lines"][1]["colours"] == {"equal": 0, "more 4": 1}


def test_measurements_stand_where_they_belong(results, drawn):
    of = arms("easy", "learner", "best")
    draw.lines(results, "steps", "cost", of, "Step", "Cost", 2.0)
    draw.lines(results, "recorded", "cost", of, "Step", "Cost", "time")
    draw.lines(results, "given", "cost", of, "Step", "Cost", np.arange(5.0))
    draw.lines(results, "each", "cost", of, "Step", "Cost", {"learner": np.arange(5.0), "best": np.arange(5.0) + 1})
    for name, learner, best in (
        ("steps", [2, 4, 6, 8, 10], [2, 4, 6, 8, 10]),
        ("recorded", [10, 20, 30, 40, 50], [10, 20, 30, 40, 50]),
        ("given", range(5), range(5)),
        ("each", range(5), range(1, 6)),
    ):
        lines = drawn[name][0][2]
        np.testing.assert_array_equal(lines["learner"][0], list(learner))
        np.testing.assert_array_equal(lines["best"][0], list(best))
        np.testing.assert_array_equal(lines["learner"][1], results.values("cost", problem="easy", method="learner"))


def test_a_metric_against_a_factor(tmp_path, drawn):
    results = Results(RunDirectory.create(tmp_path, "example", {}))
    for method in ("plain", "safe"):
        for rate in (0.1, 1.0, 10.0):
            error = np.array([[rate], [np.inf if (method, rate) == ("plain", 10.0) else 2 * rate]])
            results.record({"task": "small", "method": method, "rate": rate}, {"error": error})
    draw.against(results, "errors", "error", "rate", "Rate", "Error", of={"task": "small"}, floor=0.5, y_scale="log")
    lines = drawn["errors"][0][2]
    assert list(lines) == ["plain", "safe"]
    np.testing.assert_array_equal(lines["plain"][0], [0.1, 1.0])  # at 10 a seed has no finite value
    np.testing.assert_array_equal(lines["safe"][0], [0.1, 1.0, 10.0])
    np.testing.assert_allclose(lines["safe"][1], [[0.1, 1.0, 10.0], [0.2, 2.0, 20.0]], rtol=1e-6)
    assert "Values below 0.5, zero included, are drawn there" in caption(results.directory.figures / "errors.png")
    with pytest.raises(UnknownNameError, match=r"no factor is named 'rat'\. Did you mean 'rate'"):
        draw.against(results, "wrong", "error", "rat", "Rate", "Error", of={"task": "small"})
    draw.against(results, "nothing", "error", "rate", "Rate", "Error", of={"task": "large"})
    assert not (results.directory.figures / "nothing.png").exists()


def test_paths_of_mixtures(tmp_path, drawn):
    results = Results(RunDirectory.create(tmp_path, "example", {}))
    shares = np.random.default_rng(0).dirichlet(np.ones(3), (4, 5))
    for number, method in enumerate(("one", "other")):
        results.record({"method": method}, {f"share_{action}": shares[number:, :, action] for action in range(3)})
    of = {"second": {"method": "other"}, "first": {"method": "one"}}
    metrics = [f"share_{action}" for action in range(3)]
    draw.simplex(results, "paths", metrics, of, ("a", "b", "c"), paths=2, equilibrium=(1 / 3,) * 3)
    (_, _, paths, _), options = drawn["paths"]
    np.testing.assert_allclose(paths["first"], shares[:2], rtol=1e-6)
    np.testing.assert_allclose(paths["second"], shares[1:3], rtol=1e-6)
    assert options["colours"] == {"second": 1, "first": 0}


def test_where_no_seed_ends_with_a_value_nothing_is_drawn(results, drawn):
    """As where all seeds went into quarantine: the report is written all the same."""
    values = np.ones((3, 5))
    values[:, -2:] = np.nan
    results.record({"problem": "broken", "method": "learner"}, {"cost": values})
    draw.ends(results, "cost", {"name": "broken"}, problem="broken")
    assert "broken" not in drawn
    draw.ends(results, "cost", {"name": "sound"}, problem="easy")
    assert "sound" in drawn
