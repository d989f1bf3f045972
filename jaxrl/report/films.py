"""Replays: one episode of a policy as an animated picture in a run's directory, and pictures of environments side by side.

``python -m jaxrl.report.films sheet.png`` draws every gridworld, board game and particle task into one picture.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import envs
from envs.gridworlds import random_maze
from envs.rendering import can_render, render
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.finite import TabularModel, from_table
from jaxrl.core.rollout import Decision, Policy, View, uniform_policy
from jaxrl.errors import EnvironmentError, require
from jaxrl.report.figures import STYLE
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.storage import replacing

SECONDS_PER_FRAME, SECONDS_AT_END = 0.16, 1.2
LONGEST = 300  # steps of an episode that are shown

# Title -> environment, as they stand in the sheet.
SHEET: dict[str, Callable[[], Environment]] = {
    "frozen_lake": lambda: envs.make("frozen_lake"),
    "frozen_lake 8x8": lambda: envs.make("frozen_lake_8x8"),
    "four_rooms": lambda: envs.make("four_rooms"),
    "cliff_walking": lambda: envs.make("cliff_walking"),
    "windy_grid": lambda: envs.make("windy_grid"),
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


class Played(NamedTuple):
    """One episode of n steps, on the host.

    states: PyTree[n + 1, ...], from the first one to the last. action: PyTree[n, ...]. reward: float32[n] or [n, N].
    terminated: whether it ended by itself, and not at the limit of steps.
    """

    states: PyTree
    action: PyTree
    reward: np.ndarray
    terminated: bool


def play(key: jax.Array, env: Environment, policy: Policy, memory: PyTree = (), max_steps: int = LONGEST) -> Played:
    """Plays one episode to its end.

    Args:
        key: one key; the same key plays the same episode.
        env: the environment.
        policy: see ``jaxrl.core.rollout.Policy``.
        memory: what the policy remembers, for one environment; it starts as zeros.
        max_steps: at most so many steps, and never more than the environment's limit.
    """
    num_steps = min(max_steps, env.max_steps)
    reset_key, play_key = jax.random.split(key)

    def step(carry, key):
        obs, state, memory = carry
        policy_key, step_key = jax.random.split(key)
        mask = env.action_mask(state)
        seen = jax.tree.map(lambda leaf: leaf[None], View(obs, mask, memory))
        decision = jax.tree.map(lambda leaf: leaf[0], policy(policy_key, seen))
        after = env.step(step_key, state, decision.action)
        return (after.obs, after.state, decision.memory), (state, after.state, decision.action, after.reward, after.terminated)

    @jax.jit
    def episode():
        start = (*env.reset(reset_key), jax.tree.map(jnp.zeros_like, memory))
        return jax.lax.scan(step, start, jax.random.split(play_key, num_steps))[1]

    before, after, action, reward, terminated = jax.tree.map(np.asarray, episode())
    length = int(np.argmax(terminated)) + 1 if terminated.any() else num_steps
    states = jax.tree.map(lambda first, rest: np.concatenate([first[:1], rest[:length]]), before, after)
    action, reward = jax.tree.map(lambda leaf: leaf[:length], (action, reward))
    return Played(states, action, reward, bool(terminated.any()))


@dataclass(frozen=True)
class _TablePolicy:
    """Draws from the row of probabilities float32[X, A] of the state that is observed."""

    probabilities: Any

    def __call__(self, key, view):
        chances = jnp.asarray(self.probabilities, jnp.float32)[view.obs]
        return Decision(jax.random.categorical(key, jnp.log(chances)))


def play_table(key: jax.Array, env: Environment, model: TabularModel, policy: np.ndarray, max_steps: int = LONGEST) -> Played:
    """Plays one episode of a policy that is a table, in a finite environment without agents.

    Args:
        key, max_steps: see ``play``.
        env: the environment; only its limit of steps is looked at.
        model: ``tabulate(env)``.
        policy: float[X, A], probabilities; every state its own row, whatever is observed there.
    """
    expected = (model.num_states, model.num_actions)
    require(np.shape(policy) == expected, "play_table", f"policy must have shape {expected}", np.shape(policy), "Tabulate again.")
    played = play(key, from_table(model, env.max_steps), _TablePolicy(policy), max_steps=max_steps)
    return played._replace(states=jax.tree.map(lambda leaf: np.asarray(leaf)[played.states], model.state))


def frames(env: Environment, played: Played) -> list[np.ndarray]:
    """Returns a picture of every state of an episode, uint8[H, W, 3] each."""
    count = len(played.reward) + 1
    return [render(env, jax.tree.map(lambda leaf, index=index: leaf[index], played.states)) for index in range(count)]


def write_replay(run: RunDirectory, name: str, env: Environment, played: Played) -> Path:
    """Writes an episode as ``<run>/replays/<name>.gif`` and returns its path.

    Args:
        run: the run.
        name: file name without its ending.
        env: the environment that was played, untransformed.
        played: from ``play`` or ``play_table``.

    Raises:
        EnvironmentError: there are no pictures of this environment.
        ResultsError: the file cannot be written.
    """
    path = run.path / "replays" / f"{name}.gif"
    with replacing(path) as file:
        write_gif(file, frames(env, played))
    return path


def write_gif(file: Any, pictures: Sequence[np.ndarray]) -> None:
    """Writes pictures, uint8[H, W, 3] each, as an animated GIF that starts again after the last, which stays longer."""
    palette = Image.fromarray(np.concatenate([pictures[0], pictures[-1]])).quantize(128)
    images = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    milliseconds = [round(1000 * SECONDS_PER_FRAME)] * (len(images) - 1) + [round(1000 * SECONDS_AT_END)]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=True)


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
            require(
                can_render(env), "contact_sheet", "the environment must have pictures", title, "Leave it out.", EnvironmentError
            )
            played = play(jax.random.key(index), env, uniform_policy(env), max_steps=steps)
            last = -2 if played.terminated else -1  # the state before the end, where there is more to see
            axes.imshow(render(env, jax.tree.map(lambda leaf, last=last: leaf[last], played.states)))
            axes.set_title(title, fontsize=9.5)
        with replacing(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})
    return path


if __name__ == "__main__":
    print(contact_sheet(Path(sys.argv[1] if len(sys.argv) > 1 else "contact_sheet.png")))
