"""Pictures of environments for their pages: a state where states can be drawn, otherwise what is known of the rules."""

import inspect
import io
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from envs.rendering import can_render, render
from jaxrl.cli.catalogue import Entry
from jaxrl.core.environment import Environment
from jaxrl.report.figures import STYLE
from tools import environment_drawings as drawings
from tools import game_drawings as games
from tools.environment_drawings import at, some_steps

WIDTH = 480  # pixels, at most
NUM_COLOURS = 256
STEPS = 3  # at random, before a state is drawn


# Name of the file of the environment -> what is drawn of it.
DRAWINGS: dict[str, Callable[[Axes, Environment], None]] = {
    "acrobot": drawings.acrobot,
    "bar_game": games.responses,
    "bayesian_game": games.types,
    "beauty_contest": games.responses,
    "bernoulli_bandit": drawings.arms,
    "binomial_market": drawings.regimes,
    "cartpole": drawings.cart,
    "commons": games.stock,
    "connect_four": games.stones,
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
    "mountain_car": drawings.hill,
    "named": games.payoffs,
    "option_hedging": drawings.lattice,
    "pendulum": drawings.pendulum,
    "preference_games": games.payoffs,
    "public_goods": games.responses,
    "random_games": games.payoffs,
    "random_mdp": drawings.transitions,
    "restless_bandit": drawings.arms_at_work,
    "single_asset": drawings.prices,
    "switch_riddle": games.tree,
    "tic_tac_toe": games.stones,
    "token_mdp": drawings.scores,
    "traffic_junction": games.junction,
    "travellers_dilemma": games.responses,
}


def pictures(entries: list[Entry]) -> dict[str, bytes]:
    """Returns a PNG of every environment that can be drawn, by name."""
    drawn = {}
    for entry in entries:
        if can_render(entry.environment):
            drawn[entry.name] = _png(_state_picture(entry.environment))
        elif (draw := _drawing(entry)) is not None:
            drawn[entry.name] = _png(_figure_picture(draw, entry.environment))
    return drawn


def caption(entry: Entry) -> str:
    """Returns what the picture shows, "" where that is a state, or where there is none."""
    draw = None if can_render(entry.environment) else _drawing(entry)
    return inspect.getdoc(draw) or "" if draw else ""


def _drawing(entry: Entry) -> Callable[[Axes, Environment], None] | None:
    return DRAWINGS.get(entry.module.__name__.rpartition(".")[2])


def _state_picture(env: Environment) -> np.ndarray:
    return render(env, at(*some_steps(env, STEPS)))


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
