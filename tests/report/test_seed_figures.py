"""Ends of seeds, from synthetic measurements."""

import numpy as np

from jaxrl.report.seed_figures import distribution
from jaxrl.report.style import COLOURS, caption
from jaxrl.results.run_directory import RunDirectory
from tests.report.reading import pixels, record, shows


def test_an_exact_number_is_a_tick_and_no_bar(run):
    whole = RunDirectory.create(run.path.parent.parent, "ends", {})
    record(whole, "seeds", 0.02, seeds=8)
    record(whole, "exact", 0.02, seeds=1, steps=None)
    path = distribution(whole, "greedy_optimality_gap", colours={"seeds": 2, "exact": 4})
    text = caption(path)
    assert "Dots: the seeds, 8 seeds." in text
    assert "Tick and number: the value of an arm that has only one." in text
    assert shows(path, COLOURS[2], tolerance=120)
    wanted = [int(COLOURS[4][i : i + 2], 16) for i in (1, 3, 5)]
    drawn = np.abs(pixels(path) - wanted).max(-1) <= 12
    assert drawn.sum() > 50
    assert np.ptp(np.nonzero(drawn)[1]) < 12  # a bar would be wider
    path = distribution(whole, "greedy_optimality_gap", arms=["exact"])
    assert "Dots" not in caption(path)
