"""Films: one episode of a policy as an animated picture in a run's directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from envs.rendering import render
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.finite import TabularModel, from_table
from jaxrl.core.rollout import Decision, Policy
from jaxrl.errors import require
from jaxrl.evaluation import follow
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.storage import replacing

SECONDS_PER_FRAME, SECONDS_AT_END = 0.16, 1.2
MOST_FRAMES = 300  # of a film: of a longer episode evenly spaced steps are shown, the last among them


class Played(NamedTuple):
    """One episode of n steps, on the host.

    states: PyTree[n + 1, ...], from the first one to the last. action: PyTree[n, ...]. reward: float32[n] or [n, N].
    terminated: whether it ended by itself, and not at the limit of steps.
    """

    states: PyTree
    action: PyTree
    reward: np.ndarray
    terminated: bool

    @property
    def num_steps(self) -> int:
        """n, the steps of the episode."""
        return len(self.reward)

    @property
    def summary(self) -> str:
        """How long the episode was, how it ended and what it paid, in one line."""
        end = "terminated" if self.terminated else "cut at the limit of steps"
        steps = f"{self.num_steps} step{'s' * (self.num_steps != 1)}"
        return f"{steps}, {end}, return {float(np.sum(self.reward, dtype=np.float64)):.4g}"


def play(key: jax.Array, env: Environment, policy: Policy, memory: PyTree = (), max_steps: int | None = None) -> Played:
    """Plays one episode to its end.

    Args:
        key: one key; the same key plays the same episode.
        env: the environment.
        policy: see ``jaxrl.core.rollout.Policy``.
        memory: what the policy remembers, for one environment; it starts as zeros.
        max_steps: at most so many steps, by default the environment's limit.
    """
    num_steps = env.max_steps if max_steps is None else min(max_steps, env.max_steps)
    steps = jax.tree.map(np.asarray, jax.jit(lambda key: follow(key, env, policy, memory, num_steps))(key))
    before, after, action = steps.state, steps.outcome.state, steps.action
    reward, terminated = steps.outcome.reward, steps.outcome.terminated
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


def play_table(key: jax.Array, env: Environment, model: TabularModel, policy: np.ndarray, max_steps: int | None = None) -> Played:
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
    """Returns pictures of the states of an episode, uint8[H, W, 3] each: all, or ``MOST_FRAMES`` evenly spaced ones."""
    count = played.num_steps + 1
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int))
    return [render(env, jax.tree.map(lambda leaf, index=index: leaf[index], played.states)) for index in shown]


def write_replay(run: RunDirectory, name: str, env: Environment, played: Played) -> Path:
    """Writes an episode as ``<run>/replays/<name>.gif`` and returns its path.

    Args:
        run: the run.
        name: file name without its ending.
        env: the environment that was played, untransformed.
        played: a whole episode, from ``play`` or ``play_table``.

    Raises:
        EnvError: there are no pictures of this environment.
        ResultsError: the file cannot be written.
    """
    path = run.path / "replays" / f"{name}.gif"
    with replacing(path) as file:
        write_gif(file, frames(env, played), f"{name.replace('_', ' ')}: {played.summary}")
    return path


def write_gif(file: Any, pictures: Sequence[np.ndarray], text: str = "") -> None:
    """Writes pictures, uint8[H, W, 3] each, as an animated GIF that starts again after the last, which stays longer.

    Args:
        file: to write to.
        pictures: at least one.
        text: the caption, stored as the comment of the file; see ``jaxrl.report.style.caption``.
    """
    palette = Image.fromarray(np.concatenate([pictures[0], pictures[-1]])).quantize(128)
    images = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    milliseconds = [round(1000 * SECONDS_PER_FRAME)] * (len(images) - 1) + [round(1000 * SECONDS_AT_END)]
    images[0].save(
        file, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0, optimize=True, comment=text
    )
