"""Figures that only gridworlds need: what every cell is worth, and where a policy goes from it. See ``jaxrl.report.style``."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap

from envs.gridworlds import grid
from envs.gridworlds.rendering import cells
from jaxrl.core.environment import Environment
from jaxrl.core.finite import TabularModel
from jaxrl.errors import EnvError, require
from jaxrl.report.style import GREY, new_figure, plain_text, save_figure
from jaxrl.results.run_directory import RunDirectory

TIES = 1e-6  # of the largest action value: actions that differ by less are equally good
WALLS, NOWHERE = "#4a505c", "#e4e4e4"


def best_actions(action_value: np.ndarray) -> np.ndarray:
    """Returns the policy float64[X, A] that draws equally among the best actions of each state, ties within rounding.

    Args:
        action_value: float[X, A], such as that of ``jaxrl.solvers.mdp.value_iteration``.
    """
    values = np.asarray(action_value, np.float64)
    scale = max(float(np.abs(values[np.isfinite(values)]).max(initial=0.0)), 1.0)
    best = values >= values.max(-1, keepdims=True) - TIES * scale
    return best / best.sum(-1, keepdims=True)


def value_map(
    run: RunDirectory,
    name: str,
    env: Environment,
    model: TabularModel,
    value: np.ndarray,
    policy: np.ndarray | None = None,
    *,
    moves: np.ndarray = grid.MOVES,
    label: str = "Value (reward units)",
    title: str | None = None,
) -> Path:
    """Draws what the cells of a gridworld are worth, and an arrow for every action that a policy takes there.

    Args:
        run: where the figure goes.
        name: file name without its ending.
        env: a walk over the cells of a map (``envs.gridworlds.grid``).
        model: ``tabulate(env)``.
        value: float[X], of every state.
        policy: float[X, A], probabilities, or None for no arrows; the more likely an action, the stronger its arrow.
        moves: int[A, 2], (row, column) of each action; (0, 0) is drawn as a dot.
        label: what the colours show, with its unit.
        title: by default the experiment.

    Raises:
        EnvError: the environment is no such walk.
    """
    params: Any = env.params
    walks = isinstance(params, grid.Walk)
    require(walks, "value_map", "the environment must be a walk over a map", type(params), "Draw curves.", EnvError)
    place = cells(params)
    number = np.asarray(model.observation)
    absorbing = np.asarray(params.absorbing)
    worth = np.full(params.letters.shape, np.nan)
    worth[tuple(place[number].T)] = np.where(absorbing[number], np.nan, np.asarray(value, np.float64))
    text = f"Colour: {label[0].lower()}{label[1:]} of every cell. Dark: walls. Grey: cells that are never left, the goal a star."
    text += "" if policy is None else " Arrows: the actions of the policy, several where it takes each at times."
    figure, axes = new_figure(run, title, "Colour: value" + ("" if policy is None else ". Arrows: policy"))
    walls = np.asarray(params.letters) == ord(grid.WALL)
    axes.imshow(walls, cmap=ListedColormap([NOWHERE, WALLS]), vmin=0, vmax=1)
    image = axes.imshow(np.ma.masked_invalid(worth), cmap=matplotlib.colormaps["cividis"])
    for row, column in place[absorbing & ~np.isin(np.asarray(params.letters)[tuple(place.T)], [ord("H"), ord("L")])]:
        axes.plot(column, row, marker="*", color="#009E73", markersize=9)
    if policy is not None:
        _arrows(axes, place[number], np.where(absorbing[number, None], 0.0, policy), moves, worth)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(plain_text(label))
    bar.outline.set_edgecolor(GREY)  # pyright: ignore[reportCallIssue]
    return save_figure(run, name, figure, text)


def _arrows(axes, place: np.ndarray, policy: np.ndarray, moves: np.ndarray, worth: np.ndarray) -> None:
    """Draws the actions that have some probability, light on dark cells and dark on light ones."""
    middle = np.nanmean([np.nanmin(worth), np.nanmax(worth)])
    state, action = np.nonzero(policy > 1e-3)
    row, column = place[state].T
    down, right = np.asarray(moves)[action].T
    ink = np.where((worth[row, column] < middle)[:, None], (1.0, 1.0, 1.0), (0.05, 0.05, 0.05))
    colour = np.concatenate([ink, 0.25 + 0.75 * policy[state, action][:, None]], axis=1)
    moving = (down != 0) | (right != 0)
    tail = np.where(policy[state, action] > 0.999, -0.18, 0.06)  # the only arrow of a cell stands in its middle
    axes.quiver(
        (column + tail * right)[moving],
        (row + tail * down)[moving],
        0.36 * right[moving],
        0.36 * down[moving],
        color=colour[moving],
        angles="xy",
        scale_units="xy",
        scale=1,
        units="xy",
        width=0.07,
        headwidth=3.6,
        headlength=3.4,
        headaxislength=3.0,
    )
    axes.scatter(column[~moving], row[~moving], s=12, color=colour[~moving])
