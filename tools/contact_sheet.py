"""``python -m tools.contact_sheet sheet.png`` draws every gridworld, board game and particle task into one picture."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

import envs
from envs.gridworlds import random_maze
from envs.rendering import can_render, render
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import uniform_policy
from jaxrl.errors import EnvError, require
from jaxrl.report.films import play
from jaxrl.report.style import STYLE
from jaxrl.results.storage import replacing

# Title -> environment, as they stand in the sheet.
SHEET: dict[str, Callable[[], Environment]] = {
    "frozen_lake": lambda: envs.make("frozen_lake"),
    "frozen_lake 8x8": lambda: envs.make("frozen_lake_8x8"),
    "four_rooms": lambda: envs.make("four_rooms"),
    "cliff_walking": lambda: envs.make("cliff_walking"),
    "windy_grid": lambda: envs.make("windy_grid"),
    "windy_torus": lambda: envs.make("windy_torus", wind=0.3),
    "dyna_maze": lambda: envs.make("dyna_maze"),
    "blocking_maze right": lambda: envs.make("blocking_maze"),
    "blocking_maze left": lambda: envs.make("blocking_maze", opening="left"),
    "hazard_grid": lambda: envs.make("hazard_grid"),
    "gridworld": lambda: envs.make("gridworld"),
    "gridworld, own map": lambda: envs.make("gridworld", map=("S.^.b", "..#2L", "CC>.a", "..+.G"), rewards={"a": 0.5, "b": -0.5}),
    "reward_grid": lambda: envs.make("reward_grid"),
    "noisy_grid": lambda: envs.make("noisy_grid"),
    "deep_sea": lambda: envs.make("deep_sea"),
    "catch": lambda: envs.make("catch"),
    "corridor": lambda: envs.make("corridor"),
    "short_corridor": lambda: envs.make("short_corridor"),
    "t_maze": lambda: envs.make("t_maze"),
    "doorkey 5": lambda: envs.make("doorkey"),
    "doorkey 8": lambda: envs.make("doorkey", size=8),
    "random_maze, depth first": lambda: envs.make("random_maze", size=15),
    "random_maze, Prim": lambda: envs.make("random_maze", size=15, carve="prim"),
    "maze as a map": lambda: envs.make("gridworld", map=random_maze.text(1)),
    "point_maze": lambda: envs.make("point_maze", map="medium"),
    "simple_spread": lambda: envs.make("simple_spread"),
    "tag": lambda: envs.make("tag"),
    "speaker_listener": lambda: envs.make("speaker_listener"),
    "grid_game_1": lambda: envs.make("grid_game_1"),
    "spread_grid": lambda: envs.make("spread_grid"),
    "foraging": lambda: envs.make("foraging"),
    "gathering": lambda: envs.make("gathering"),
    "ising": lambda: envs.make("ising"),
    "pursuit": lambda: envs.make("pursuit"),
    "soccer": lambda: envs.make("soccer"),
    "coin_game": lambda: envs.make("coin_game"),
}


def contact_sheet(path: Path, sheet: dict[str, Callable[[], Environment]] = SHEET, columns: int = 7, steps: int = 3) -> Path:
    """Writes a picture of every environment after a few random steps, side by side, and returns its path.

    Args:
        path: a PNG.
        sheet: title -> environment.
        columns: how many stand in a row.
        steps: how many random steps are taken at first, fewer if the episode ends.
    """
    rows = -(-len(sheet) // columns)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(2.1 * columns, 2.25 * rows), dpi=110, layout="constrained")
        grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
        for axes in grid:
            axes.axis("off")
        for index, (axes, (title, build)) in enumerate(zip(grid, sheet.items(), strict=False)):
            env = build()
            require(can_render(env), "contact_sheet", "the environment must have pictures", title, "Leave it out.", EnvError)
            played = play(jax.random.key(index), env, uniform_policy(env), max_steps=steps)
            last = -2 if played.terminated else -1  # the state before the end, where there is more to see
            axes.imshow(render(env, jax.tree.map(lambda leaf, last=last: leaf[last], played.states)))
            axes.set_title(title, fontsize=9.5)
        with replacing(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})
    return path


if __name__ == "__main__":
    print(contact_sheet(Path(sys.argv[1] if len(sys.argv) > 1 else "contact_sheet.png")))
