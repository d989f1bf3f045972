"""The HTML report of a run, from synthetic measurements."""

import base64
import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxrl.errors import ResultsError
from jaxrl.report.page import write_report
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Failure
from jaxrl.statistics import summarise
from tests.report.reading import LENGTH, Page, record


def test_the_report_is_well_formed_and_complete(page):
    text = Page(page).text
    for part in (
        "exp",
        "Claims that hold: 1 of 3, open: 1",
        "Fails Return > 475 <i>always</i>",
        "Measured 430.5, 95 % interval [420.2, 440.8]",
        "Source: A & B (2017)",
        "Holds Beats the other",
        "Open Not tried",
        "2 of 64 (ppo)",
        "ppo 3 57 metric loss",
        "ppo 41 1,120 state.params",
        "1 min 30 s",
        "12 s",
        "ppo.gamma 0.99",
        "<b>bold</b> & more",
        "packages.jax",
        "<script>alert(1)</script>",
        "greedy_optimality_gap (evaluation)",
        "interquartile mean",
    ):
        assert part in text, part
    assert "Stopped early" not in text


def test_the_report_needs_nothing_from_outside(page):
    found = Page(page)
    assert not {"link", "iframe", "object", "embed"} & found.tags
    assert "http" not in page
    assert "url(" not in page
    assert "@import" not in page
    sources = [value for _, name, value in found.attributes if name in ("src", "href", "srcset")]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_everything_that_the_script_looks_for_is_on_the_page(page):
    found = Page(page)
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    numbers, script = found.scripts
    wanted = set(re.findall(r'find\("([\w-]+)"\)', script))
    assert {"chart-data", "curves", "seeds", "metric", "legend"} <= wanted <= set(ids)
    made = set(re.findall(r"id: `([\w-]+)\$", script))  # a readout for each arm
    assert made == set(re.findall(r"find\(`([\w-]+)\$", script)) == {"value-"}
    for name in ("fetch", "XMLHttpRequest", "import(", "innerHTML", "eval(", "WebSocket"):
        assert name not in script
    assert "</" not in numbers
    assert json.loads(numbers)["arms"] == ["ppo", "<script>alert(1)</script>"]


def test_long_tables_are_folded(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    rows = [{"arm": str(index), "metric": "loss", **summarise(np.arange(3.0))} for index in range(40)]
    run.write_summary({"results": rows})
    assert "<summary>40 rows</summary>" in write_report(run).read_text()
    run.write_summary({"results": rows[:9]})
    assert "9 rows" not in write_report(run).read_text()


def test_replays_are_part_of_the_page(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    (run.path / "replays").mkdir()
    frames = [Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 120, 250)]
    frames[0].save(run.path / "replays" / "greedy_policy.gif", save_all=True, append_images=frames[1:], duration=100)
    (run.path / "replays" / "huge.gif").write_bytes((run.path / "replays" / "greedy_policy.gif").read_bytes() + bytes(5 << 20))
    found = Page(write_report(run).read_text())
    (source,) = [value for tag, name, value in found.attributes if (tag, name) == ("img", "src")]
    assert (
        base64.b64decode(source.removeprefix("data:image/gif;base64,")) == (run.path / "replays/greedy_policy.gif").read_bytes()
    )
    assert "greedy policy" in found.text
    assert "see replays/huge.gif" in found.text
    (run.path / "replays" / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(ResultsError, match=r"broken\.gif must be a readable picture"):
        write_report(run)


def test_only_some_of_many_failed_seeds_are_listed(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "", 0.02, failed={seed: Failure(seed, "metric loss") for seed in range(60)}, upto=LENGTH)
    text = Page(write_report(run).read_text()).text
    assert "60 of 64" in text
    assert "49 49 metric loss and 10 more" in text
    assert "50 50 metric" not in text


def test_the_report_fits_phones_and_dark_screens(page):
    assert ("meta", "content", "width=device-width, initial-scale=1") in Page(page).attributes
    assert "prefers-color-scheme: dark" in page
    assert "overflow-x: auto" in page


def test_the_results_table_uses_the_summary(run):
    rows = run.summarise(["episode_return"])
    try:
        run.write_summary({"results": [{**rows[0], "metric": "only this", "missing": 4, "low": None, "high": None}]})
        text = Page(write_report(run.path).read_text()).text
    finally:
        run.write_summary({"results": run.summarise()})
    assert "only this" in text
    assert "60 of 64" not in text
    assert "64 of 68" in text
    assert "[n/a, n/a]" in text
    assert "(evaluation)" not in text


def test_a_run_that_was_killed_has_a_report(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "a", 0.02, upto=60, seeds=4, end=False)
    text = Page(write_report(run).read_text()).text
    assert "Stopped early, or still under way (a)" in text
    assert "No training has ended" in text
    assert "This run checks no claim" in text
    assert "No figure has been drawn" in text
    assert "episode_return" in text


def test_an_interrupted_run_says_so_and_names_no_empty_arm(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    record(run, "", 0.02, upto=60, seeds=4)
    text = Page(write_report(run).read_text()).text
    assert "Stopped early" in text
    assert "60 of 200" in text
    assert "Arm" not in text
    assert "every value of every seed stayed finite" in text


def test_a_run_without_training_has_a_report(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    run.write_claims([{"text": "exact", "verdict": "holds", "value": 1.5}])
    text = Page(write_report(run).read_text()).text
    assert "Claims that hold: 1 of 1" in text
    assert "undecided" not in text
    assert "Measured 1.5" in text
    assert "Stopped early" not in text


def test_a_damaged_figure_is_named(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {})
    run.figures.mkdir()
    (run.figures / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(ResultsError, match=r"broken\.png"):
        write_report(run)


def test_a_long_value_is_cut(tmp_path):
    run = RunDirectory.create(tmp_path, "exp", {"numbers": list(range(500))})
    text = Page(write_report(run).read_text()).text
    assert "[0, 1, 2" in text
    assert " ..." in text
    assert "498, 499" not in text
