"""Pictures of environments for their pages: what is known of the rules where a figure shows them, otherwise a state."""

import inspect
import io
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from envs.rendering import render
from jaxrl.cli.catalogue import Entry
from jaxrl.core.environment import Environment
from jaxrl.report.style import STYLE
from tools import environment_drawings as drawings
from tools import game_drawings as games
from tools.environment_drawings import at, some_steps

WIDTH = 480  # pixels, at most
NUM_COLOURS = 256
STEPS = 3  # at random, before a state is drawn
MORE_STEPS = {"connect_four": 16, "mountain_car": 25, "mountain_car_continuous": 25, "traffic_junction": 8}


# Name of the file of the environment -> what is drawn of it.
DRAWINGS: dict[str, Callable[[Axes, Environment], None]] = {
    "bar_game": games.responses,
    "bayesian_game": games.types,
    "beauty_contest": games.responses,
    "bernoulli_bandit": drawings.arms,
    "binomial_market": drawings.regimes,
    "commons": games.stock,
    "contextual_bandit": drawings.gold,
    "cournot": games.responses,
    "dueling_bandit": drawings.preference,
    "execution": drawings.sales,
    "gaussian_bandit": drawings.gaussian,
    "gaussian_portfolio": drawings.arms,
    "gaussian_squeeze": games.responses,
    "iterated": games.payoffs,
    "kuhn": games.tree,
    "lewis": games.tree,
    "linear_bandit": drawings.course_of_arms,
    "linear_dynamical_bandit": drawings.course_of_arms,
    "lqr": drawings.trace,
    "matrix_game": games.payoffs,
    "named": games.payoffs,
    "option_hedging": drawings.lattice,
    "preference_games": games.payoffs,
    "public_goods": games.responses,
    "random_games": games.payoffs,
    "random_mdp": drawings.transitions,
    "restless_bandit": drawings.arms_at_work,
    "single_asset": drawings.prices,
    "switch_riddle": games.tree,
    "token_mdp": drawings.scores,
    "travellers_dilemma": games.responses,
}


def pictures(entries: list[Entry]) -> dict[str, bytes]:
    """Returns a PNG of every environment, by name."""
    drawn = {}
    for entry in entries:
        draw = _drawing(entry)
        shown = _state_picture(entry) if draw is None else _figure_picture(draw, entry.environment)
        drawn[entry.name] = _png(shown)
    return drawn


def caption(entry: Entry) -> str:
    """Returns what the picture shows, "" where that is a state."""
    draw = _drawing(entry)
    return inspect.getdoc(draw) or "" if draw else ""


def _drawing(entry: Entry) -> Callable[[Axes, Environment], None] | None:
    return DRAWINGS.get(entry.module.__name__.rpartition(".")[2])


def _state_picture(entry: Entry) -> np.ndarray:
    states, last = some_steps(entry.environment, MORE_STEPS.get(entry.name, STEPS))
    return render(entry.environment, at(states, last))


def _figure_picture(draw: Callable[[Axes, Environment], None], env: Environment) -> np.ndarray:
    with matplotlib.rc_context({**STYLE, "axes.grid": False, "font.size": 8.5, "axes.labelsize": 8.5}):
        figure = Figure(figsize=(3.6, 2.7), dpi=100, layout="constrained")
        draw(figure.subplots(), env)
        memory = io.BytesIO()
        figure.savefig(memory, format="png")
    return np.asarray(Image.open(memory).convert("RGB"))


def _png(picture: np.ndarray) -> bytes:
    image = Image.fromarray(picture)
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    memory = io.BytesIO()
    image.quantize(NUM_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(memory, "PNG", optimize=True)
    return memory.getvalue()
