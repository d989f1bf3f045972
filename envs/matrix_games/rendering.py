"""Pictures of matrix games: payoff tables, the last joint action in a frame, and how much of the game is left."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs import charts
from envs.matrix_games import bayesian_game, iterated, matrix_game
from jaxrl.core.environment import Environment

MOST_RESPONSES = 24  # actions of a game whose payoffs are a formula: of more, so many are looked at


def rounds(state, params: matrix_game.Params) -> np.ndarray:
    """The payoffs of every player and, below, the share of rounds that is left."""
    left = float(state) / max(float(params.rounds), 1.0)
    return charts.above(_payoffs(params.payoff, params.legal), charts.gauges(left))


def last_round(state, params: iterated.Params) -> np.ndarray:
    """The payoffs of every player; the last joint action is in a frame, if there was one."""
    joint = np.asarray(state)
    return _payoffs(params.payoff, params.legal, None if joint[0] == iterated.START else joint)


def types(state: bayesian_game.State, params: bayesian_game.Params) -> np.ndarray:
    """The payoffs of every player for the types that were drawn; the gauge is full until the game has been played."""
    payoff = np.asarray(params.payoff)
    drawn = payoff[(slice(None), *(int(kind) for kind in state.types))]
    shown = _payoffs(drawn, params.legal, largest=float(np.abs(payoff).max()))
    return charts.above(shown, charts.gauges(0.0 if state.played else 1.0))


def _payoffs(payoff: Any, legal: Any, joint: np.ndarray | None = None, largest: float | None = None) -> np.ndarray:
    """Returns a table for each player: rows are the actions of the first, columns those of the others, joint ones in order."""
    payoff, legal = np.asarray(payoff), np.asarray(legal)
    for player, allowed in enumerate(legal):
        payoff = np.compress(allowed, payoff, axis=player + 1)
    shape = payoff.shape[1:]
    flat = payoff.reshape(len(payoff), shape[0], -1)
    pictures = [charts.table(each, largest or float(np.abs(payoff).max()) or 1.0) for each in flat]
    if joint is not None:
        row, *rest = (int(action) for action in joint)
        column = int(np.ravel_multi_index(rest, shape[1:]))
        for picture in pictures:
            charts.mark(picture, charts.cell_side(flat.shape[1:]), row, column)
    return charts.beside(*pictures)


def responses(env: Environment, state) -> np.ndarray:
    """The payoff of one agent for its action (rows) if all others choose the same (columns).

    The gauge is full until the game has been played.
    """
    agents: Any = env.num_agents
    space: Any = env.action_space
    count = space.n
    grid = jnp.asarray(np.unique(np.linspace(0, count - 1, min(count, MOST_RESPONSES)).round()), jnp.int32)
    table = _responses(env, grid, agents)
    return charts.above(charts.beside(charts.table(np.asarray(table))), charts.gauges(0.0 if state else 1.0))


@jax.jit(static_argnames=("agents",))
def _responses(env: Any, grid: jax.Array, agents: int) -> jax.Array:
    """Returns float32[n, n]; rewards are those of one draw, the same for all."""
    key = jax.random.key(0)
    _, state = env.reset(key)

    def reward(own, others):
        return env.step(key, state, jnp.where(jnp.arange(agents) == 0, own, others).astype(jnp.int32)).reward[0]

    return jax.vmap(jax.vmap(reward, (None, 0)), (0, None))(grid, grid)
