"""Drawings of games: payoffs, trees, boards, and what becomes of a common good."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from jaxrl.core.environment import Environment
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.core.spaces import flat_size
from jaxrl.report.films import play
from jaxrl.report.style import COLOURS, GREY
from tools.environment_drawings import KEY, LEGEND, Always, name_choices

NUMBERED = 6  # payoffs are written into tables of so many rows and columns at most


# ---- payoffs


def payoffs(axes: Axes, env: Environment) -> None:
    """The payoffs of both players, coloured by those of player 0 (blue: gains, red: losses)."""
    legal = np.asarray(env.params.legal) if hasattr(env.params, "legal") else None
    table = np.asarray(env.params.payoff)
    if legal is not None:
        table = table[:, : legal[0].sum(), : legal[1].sum()]
    _pay_map(axes, table[0])
    if max(table.shape) <= NUMBERED:
        for row, column in np.ndindex(table.shape[1:]):
            pair = _pair(table[:, row, column])
            axes.text(column, row, pair, ha="center", va="center", fontsize=9 if max(table.shape) < 5 else 7)
    name_choices(axes, "player 0 chooses", "player 1 chooses")


def types(axes: Axes, env: Environment) -> None:
    """The payoffs for all types and actions, a block for each pair of types."""
    payoff = np.asarray(env.params.payoff)
    first, second, rows, columns = payoff.shape[1:]
    table = payoff.transpose(0, 1, 3, 2, 4).reshape(2, first * rows, second * columns)
    _pay_map(axes, table[0])
    for row, column in np.ndindex(table.shape[1:]):
        pair = _pair(table[:, row, column])
        axes.text(column, row, pair, ha="center", va="center", fontsize=8)
    for index in range(1, first):
        axes.axhline(index * rows - 0.5, color="black")
    for index in range(1, second):
        axes.axvline(index * columns - 0.5, color="black")
    axes.set_xlabel("player 1: type and action")
    axes.set_ylabel("player 0: type and action")
    axes.set_xticks(range(second * columns), [f"{t}/{a}" for t in range(second) for a in range(columns)])
    axes.set_yticks(range(first * rows), [f"{t}/{a}" for t in range(first) for a in range(rows)])


def responses(axes: Axes, env: Environment) -> None:
    """The payoff of one agent for its action, where all others choose the same."""
    count = flat_size(env.action_space)
    agents = env.num_agents or 1
    _, state = env.reset(KEY(0))

    @jax.jit
    def reward(own, others):
        joint = jnp.where(jnp.arange(agents) == 0, own, others).astype(jnp.int32)
        return env.step(KEY(1), state, joint).reward[0]

    grid = jnp.arange(count)
    table = np.asarray(jax.vmap(jax.vmap(reward, (None, 0)), (0, None))(grid, grid))
    image = axes.imshow(table, origin="lower", cmap="viridis", aspect="auto")
    axes.figure.colorbar(image, ax=axes, label="its reward")
    name_choices(axes, "one agent chooses", "all others choose")


def _pay_map(axes: Axes, table: np.ndarray) -> None:
    most = np.abs(table).max() or 1.0
    axes.imshow(table, cmap="RdBu", vmin=-1.6 * most, vmax=1.6 * most, aspect="auto")


def _pair(payoffs: np.ndarray) -> str:
    return ", ".join(f"{payoff + 0.0:.3g}" if payoff == round(payoff) else f"{payoff:.2f}" for payoff in payoffs)


# ---- boards and trees


def tree(axes: Axes, env: Environment) -> None:
    """All states that can be reached, level by level; the ends in the colour of the first agent's reward."""
    level, parents, pay = _walk(tabulate(env))
    place = np.zeros(len(level))
    for depth in range(level.max() + 1):
        members = sorted(np.flatnonzero(level == depth).tolist(), key=lambda state: place[parents.get(state, state)])
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    for state, parent in parents.items():
        axes.plot((place[parent], place[state]), (-level[parent], -level[state]), color="#bbbbbb", linewidth=0.7, zorder=1)
    inner = [state for state in np.flatnonzero(level >= 0) if state not in pay]
    axes.scatter(place[inner], -level[inner], color=GREY, s=14, zorder=2)
    ends = list(pay)
    shown = axes.scatter(place[ends], -level[ends], c=[pay[state] for state in ends], cmap="coolwarm_r", s=20, zorder=2)
    axes.figure.colorbar(shown, ax=axes, label="reward of agent 0")
    axes.axis("off")


def _walk(model: TabularModel) -> tuple[np.ndarray, dict[int, int], dict[int, float]]:
    """Walks through a finite environment breadth first.

    Returns:
        level: int[X], how many steps lead to each state at least, -1 where none do. parents: state -> that from which it was
        found. pay: state that ends an episode -> the reward of agent 0 on coming there.
    """
    possible = (model.probability > 0) & model.action_mask[:, :, None]
    level, parents, pay = np.full(model.num_states, -1), {}, {}
    level[model.initial > 0] = 0
    frontier = np.flatnonzero(level == 0).tolist()
    while frontier:
        state = frontier.pop(0)
        for action, outcome in np.argwhere(possible[state]):
            successor = int(model.next_state[state, action, outcome])
            if level[successor] >= 0:
                continue
            level[successor], parents[successor] = level[state] + 1, state
            if model.terminated[state, action, outcome]:
                pay[successor] = np.ravel(model.reward[state, action, outcome])[0]
            else:
                frontier.append(successor)
    return level, parents, pay


# ---- crowds


def stock(axes: Axes, env: Environment) -> None:
    """The stock, where all agents request the same amount at every step."""
    for amount, colour in zip((1, 2, 3, 5), COLOURS, strict=False):
        action = jnp.full(env.num_agents or 1, amount, jnp.int32)
        played = play(KEY(0), env, Always(action), max_steps=60)
        axes.plot(np.ravel(jax.tree.leaves(played.states)[0]), color=colour, linewidth=1.4, label=f"{amount} each")
    axes.set_xlabel("step")
    axes.set_ylabel("stock")
    axes.legend(**LEGEND)
