"""Drawings of the rules of environments, where these say more than a state does, one function for each kind: ``(axes, env)``.

Everything comes from the environment itself: rewards from its steps, prices and probabilities from its parameters.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.rollout import Decision, uniform_policy
from jaxrl.core.spaces import flat_size
from jaxrl.report.films import play
from jaxrl.report.style import COLOURS

KEY = jax.random.key
DRAWS = 1000  # of a reward
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8}


def some_steps(env: Environment, steps: int) -> tuple[PyTree, int]:
    """Returns the states of a random episode and the last one before its end, where there is more to see."""
    played = play(KEY(0), env, uniform_policy(env), max_steps=steps)
    return played.states, len(played.reward) - (1 if played.terminated else 0)


def at(tree: PyTree, index: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


@dataclass(frozen=True)
class Always:
    """Takes the same action at every step."""

    action: jax.Array

    def __call__(self, key, view):
        return Decision(self.action[None])


def name_choices(axes: Axes, rows: str, columns: str) -> None:
    axes.set_ylabel(rows)
    axes.set_xlabel(columns)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=6))


# ---- bandits


def gaussian(axes: Axes, env: Environment) -> None:
    """The rewards of all arms in the first state; where their means walk, the course of five of them."""
    if env.params.drift is None:
        arms(axes, env)
    else:
        _course(axes, env, 1500)


def arms(axes: Axes, env: Environment) -> None:
    """The distribution of every arm's reward in the first state."""
    _, state = env.reset(KEY(0))
    arms = jnp.arange(flat_size(env.action_space))
    draw = jax.jit(jax.vmap(jax.vmap(lambda key, arm: env.step(key, state, arm).reward, (0, None)), (None, 0)))
    rewards = np.asarray(draw(jax.random.split(KEY(1), DRAWS), arms))
    if len(np.unique(rewards)) <= 2:
        axes.bar(np.arange(len(rewards)), rewards.mean(-1), color=COLOURS[0], width=0.6)
        axes.set_ylim(0, 1)
        axes.set_ylabel("mean reward")
    else:
        varied = [row + (1e-3 * np.arange(len(row)) / len(row) if row.std() == 0 else 0) for row in rewards]
        parts: Any = axes.violinplot(varied, np.arange(len(rewards)), showmeans=True, showextrema=False, widths=0.8)
        for body in parts["bodies"]:
            body.set(facecolor=COLOURS[0], alpha=0.5)
        axes.set_ylabel("reward")
    axes.set_xlabel("action")
    axes.set_xticks(range(len(rewards)))


def course_of_arms(axes: Axes, env: Environment) -> None:
    """The mean rewards of five arms from step to step, while arms are pulled at random."""
    _course(axes, env, 60)


def _course(axes: Axes, env: Environment, steps: int) -> None:
    played = play(KEY(0), env, uniform_policy(env), max_steps=steps)
    states = jax.tree.map(lambda leaf: jnp.asarray(leaf[:-1]), played.states)

    def mean(state, arm):
        return jax.vmap(lambda key: env.step(key, state, arm).reward)(jax.random.split(KEY(1), 64)).mean()

    rewards = np.asarray(jax.jit(jax.vmap(jax.vmap(mean, (None, 0)), (0, None)))(states, jnp.arange(5)))
    for course, colour in zip(rewards.T, COLOURS, strict=False):
        axes.plot(course, color=colour, linewidth=1.0)
    axes.set_xlabel("step")
    axes.set_ylabel("mean reward of five arms")


def gold(axes: Axes, env: Environment) -> None:
    """The reward of every response to every context."""
    _heat_map(axes, env.params.gold, "context", "response", "reward")


def preference(axes: Axes, env: Environment) -> None:
    """How likely the arm of the row is preferred to that of the column."""
    _heat_map(axes, env.params.preference, "arm", "other arm", "probability")


def scores(axes: Axes, env: Environment) -> None:
    """The score of every string."""
    score = np.asarray(env.params.score)
    _heat_map(axes, score.reshape(score.shape[0] ** 2, -1), "first two tokens", "the others", "score")


def transitions(axes: Axes, env: Environment) -> None:
    """The transition probabilities where actions are drawn uniformly."""
    params: Any = env.params
    states, actions, _ = params.next_state.shape
    found = np.zeros((states, states))
    rows = np.broadcast_to(np.arange(states)[:, None, None], params.next_state.shape)
    np.add.at(found, (rows, np.asarray(params.next_state)), np.asarray(params.probability) / actions)
    _heat_map(axes, found, "state", "next state", "probability")


def _heat_map(axes: Axes, table: Any, rows: str, columns: str, values: str) -> None:
    image = axes.imshow(np.asarray(table), cmap="viridis", aspect="auto", interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, label=values)
    name_choices(axes, rows, columns)


def arms_at_work(axes: Axes, env: Environment) -> None:
    """Which arms are in the good state while they are acted on at random."""
    played = play(KEY(0), env, uniform_policy(env), max_steps=60)
    good = np.asarray(jax.tree.leaves(played.states)[0]).T[:20]
    axes.imshow(good, cmap="Blues", vmin=-0.2, vmax=1.4, aspect="auto", interpolation="nearest")
    name_choices(axes, "arm", "step (dark: the arm is in its good state)")


# ---- control


def trace(axes: Axes, env: Environment) -> None:
    """The state of a random episode."""
    played = play(KEY(0), env, uniform_policy(env), max_steps=100)
    values = np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(played.states)], axis=-1)
    for column, colour in zip(values.T, COLOURS, strict=False):
        axes.plot(column, color=colour, linewidth=1.2)
    axes.set_xlabel("step of a random episode")
    axes.set_ylabel("state")


# ---- markets


def prices(axes: Axes, env: Environment) -> None:
    """The first price paths of the table."""
    table = np.asarray(env.params.table)[:6, :, 0]
    for path, colour in zip(table, COLOURS, strict=False):
        axes.plot(path, color=colour, linewidth=0.9)
    axes.set_xlabel("bar")
    axes.set_ylabel("price")


def regimes(axes: Axes, env: Environment) -> None:
    """A price path, in the colour of the regime."""
    played = play(KEY(0), env, uniform_policy(env))
    regime, up = np.asarray(played.states.regime), np.asarray(played.states.up)
    price = np.cumprod(np.where(up == 1, 1 + env.params.move, 1 - env.params.move))
    bars = np.arange(len(price))
    for number, name in enumerate(("regime 0", "regime 1")):
        axes.plot(bars, np.where(regime == number, price, np.nan), ".", color=COLOURS[number], markersize=3, label=name)
    axes.legend(**LEGEND)
    axes.set_xlabel("bar")
    axes.set_ylabel("price")


def lattice(axes: Axes, env: Environment) -> None:
    """All prices that can be reached, and the strike."""
    params: Any = env.params
    steps, move = len(params.steps), float(params.log_move)
    for t in range(steps):
        level = float(params.start) * np.exp(move * (2 * np.arange(t + 1) - t))
        for price in level:
            axes.plot((t, t + 1), (price, price * np.exp(move)), color=COLOURS[0], linewidth=0.8)
            axes.plot((t, t + 1), (price, price * np.exp(-move)), color=COLOURS[0], linewidth=0.8)
    axes.axhline(float(params.strike), color=COLOURS[1], linestyle="--", linewidth=1.2, label="strike")
    axes.legend(**LEGEND)
    axes.set_xlabel("step")
    axes.set_ylabel("price")


def sales(axes: Axes, env: Environment) -> None:
    """Mid prices while all lots are sold at once, evenly, or with the last step."""
    total, steps = len(env.params.sales) - 1, env.max_steps
    for lots, name, colour in (
        (total, "all at once", COLOURS[1]),
        (total // steps, "evenly", COLOURS[0]),
        (0, "at the end", COLOURS[2]),
    ):
        played = play(KEY(0), env, Always(jnp.int32(lots)), max_steps=steps)
        axes.plot(
            np.asarray(played.states.lots),
            np.asarray(played.states.price),
            "o-",
            color=colour,
            markersize=3,
            linewidth=1.2,
            label=name,
        )
    axes.invert_xaxis()
    axes.set_xlabel("lots still to be sold")
    axes.set_ylabel("mid price")
    axes.legend(**LEGEND)
