"""House style: room for names, sizes, colours, captions, and bits that repeat."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxrl.report.curve_figures import gap_curve, learning_curves
from jaxrl.report.seed_figures import distribution
from jaxrl.report.style import COLOURS, SIZE, caption, legend, new_figure
from tests.report.reading import pixels, shows

WORDS = "independent Q-learning, step size by visits, no central critic"


@pytest.mark.parametrize("length", [1, 12, 20, 33, 60])
def test_a_legend_of_long_names_leaves_the_axes_their_width(length):
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for line in range(5):
        axes.plot(np.arange(3), label=WORDS[: length - 1] + str(line))
    legend(axes)
    figure.draw_without_rendering()
    assert axes.get_position().width > 0.8


@pytest.mark.parametrize("words", [1, 3])
def test_a_note_of_any_length_stays_inside_the_figure(run, words):
    figure, _ = new_figure(run, "Title", f"{WORDS}: worth $1; " * words)
    figure.draw_without_rendering()
    (note,) = (text for text in figure.texts if "worth" in text.get_text())
    assert note.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", ["episode_return", "greedy_optimality_gap", "episode_return_distribution"])
def test_figures_are_drawn_at_the_expected_size(run, name):
    path = run.figures / f"{name}.png"
    assert (pixels(path) == 255).all(-1).mean() < 0.97
    with Image.open(path) as image:
        assert round(image.info["dpi"][0]) == 150


def test_the_figure_of_an_entry_of_an_array_lies_beside_the_others(run):
    path = learning_curves(run, "episode_return", name="agent_return/0")
    assert path == run.figures / "agent_return_0.png"
    path.unlink()


def test_every_arm_has_its_colour(run):
    path = run.figures / "episode_return.png"
    assert shows(path, COLOURS[0])
    assert shows(path, COLOURS[1])
    assert not shows(path, COLOURS[2])
    path = learning_curves(run, arms=["ppo"], x="updates", name="one")
    assert shows(path, COLOURS[0])
    assert not shows(path, COLOURS[1])
    path.unlink()


def test_captions_explain_line_and_band(run):
    text = caption(run.figures / "episode_return.png")
    for part in ("interquartile mean of episode_return", "95 % bootstrap interval", "64 seeds each", "best possible value, 500"):
        assert part in text
    assert "zero included" in caption(run.figures / "greedy_optimality_gap.png")
    assert "64 seeds each" in caption(run.figures / "episode_return_distribution.png")
    path = gap_curve(run, scale="linear", band="percentile", name="linear")
    assert "5th to 95th percentile" in caption(path)
    assert "zero included" not in caption(path)
    path.unlink()


def test_figures_are_the_same_every_time(run):
    for draw in (learning_curves, distribution):
        first, second = (draw(run, arms=["ppo"], name="again").read_bytes() for _ in range(2))
        assert first == second
    (run.figures / "again.png").unlink()
