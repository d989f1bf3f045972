"""Pictures of environments: ``render(env, state)``. The library knows nothing of them; they are found by the parameters' type.

Every environment of the catalogue has pictures of its states. They show the whole state, also what the agents do not see.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from envs.bandits import (
    bernoulli_bandit,
    contextual_bandit,
    contextual_dueling_bandit,
    dueling_bandit,
    gamble_ladder,
    gaussian_bandit,
    linear_bandit,
    linear_dynamical_bandit,
    maximisation_bias,
    restless_bandit,
)
from envs.bandits import rendering as bandits
from envs.board_games import in_a_row
from envs.board_games import rendering as boards
from envs.control import acrobot, cartpole, lqr, mountain_car, pendulum, point_maze
from envs.control import rendering as control
from envs.extensive_games import kuhn, leduc, lewis
from envs.extensive_games import rendering as turns
from envs.gridworlds import (
    blocking_maze,
    catch,
    corridor,
    deep_sea,
    deep_sea_treasure,
    doorkey,
    empty_room,
    grid,
    hazard_grid,
    noisy_grid,
    noisy_tv,
    random_maze,
    short_corridor,
    t_maze,
    windy_torus,
)
from envs.gridworlds import rendering as grids
from envs.markov_games import (
    beer_game,
    coin_game,
    commons,
    foraging,
    gathering,
    gaussian_squeeze,
    grid_game,
    ising,
    levers,
    liquidity_game,
    pursuit,
    simple_spread,
    soccer,
    speaker_listener,
    spread_grid,
    switch_riddle,
    tag,
    traffic_junction,
    two_step,
)
from envs.markov_games import rendering as games
from envs.matrix_games import (
    bar_game,
    bayesian_game,
    beauty_contest,
    cournot,
    iterated,
    matrix_game,
    public_goods,
    travellers_dilemma,
)
from envs.matrix_games import rendering as payoffs
from envs.random_mdps import random_graph, random_mdp
from envs.random_mdps import rendering as processes
from envs.token_mdps import rendering as tokens
from envs.token_mdps import token_mdp
from envs.trading import binomial_market, execution, gaussian_portfolio, option_hedging, single_asset
from envs.trading import rendering as markets
from jaxrl.core.environment import Environment, PyTree
from jaxrl.errors import EnvError

# Type of the parameters -> (state, params) -> picture.
RENDERERS: dict[type, Callable[[Any, Any], np.ndarray]] = {
    acrobot.Params: control.two_links,
    bayesian_game.Params: payoffs.types,
    beer_game.Params: games.supply_chain,
    bernoulli_bandit.Params: bandits.probabilities,
    binomial_market.Params: markets.regime,
    blocking_maze.Params: grids.blocking,
    cartpole.Params: control.cart,
    catch.Params: grids.catch_board,
    coin_game.Params: games.coins,
    commons.Params: games.stock,
    contextual_bandit.Params: bandits.context,
    contextual_dueling_bandit.Params: bandits.utilities,
    corridor.Params: grids.corridor_row,
    deep_sea.Params: grids.sea,
    deep_sea_treasure.Params: grids.sea_floor,
    doorkey.Params: grids.key_and_door,
    dueling_bandit.Params: bandits.duel,
    empty_room.Params: grids.bare_room,
    execution.Params: markets.sale,
    foraging.Params: games.forage,
    gathering.Params: games.orchard,
    gamble_ladder.Params: bandits.rounds,
    gaussian_bandit.Params: bandits.means,
    gaussian_portfolio.Params: markets.time_left,
    grid.Walk: grids.walk,
    grid_game.Params: games.race,
    hazard_grid.Params: grids.hazardous_walk,
    in_a_row.Params: boards.stones,
    ising.Params: games.spins,
    iterated.Params: payoffs.last_round,
    kuhn.Params: turns.hands,
    leduc.Params: turns.rounds,
    levers.Params: games.called,
    lewis.Params: turns.signals,
    liquidity_game.Params: games.inventories,
    linear_bandit.Params: bandits.linear_means,
    linear_dynamical_bandit.Params: bandits.hidden_means,
    lqr.Params: control.coordinates,
    matrix_game.Params: payoffs.rounds,
    maximisation_bias.Params: bandits.behind_the_left,
    mountain_car.Params: control.hill,
    noisy_grid.Params: grids.noisy,
    noisy_tv.Params: grids.television,
    option_hedging.Params: markets.lattice,
    pendulum.Params: control.swing,
    point_maze.Params: grids.point_in_maze,
    pursuit.Params: games.hunt,
    random_maze.Params: grids.maze,
    random_graph.Params: processes.walk,
    random_mdp.Params: processes.graph,
    restless_bandit.Arms: bandits.arms_at_work,
    restless_bandit.Params: bandits.arms_at_work,
    short_corridor.Params: grids.alike,
    simple_spread.Params: games.particles,
    single_asset.Params: markets.price_so_far,
    soccer.Params: games.field,
    speaker_listener.Params: games.particles,
    spread_grid.Params: games.covering,
    switch_riddle.Params: games.cell_block,
    t_maze.Params: grids.t_junction,
    tag.Params: games.particles,
    token_mdp.Params: tokens.prefix,
    traffic_junction.Params: games.crossing,
    two_step.Params: games.two_games,
    windy_torus.Params: grids.borderless,
}

# Those whose rules are a formula, which their parameters do not tell: (env, state) -> picture.
OF_FORMULAS: dict[type, Callable[[Environment, Any], np.ndarray]] = dict.fromkeys(
    (
        bar_game.Params,
        beauty_contest.Params,
        cournot.Params,
        gaussian_squeeze.Params,
        public_goods.Params,
        travellers_dilemma.Params,
    ),
    payoffs.responses,
)


def can_render(env: Environment) -> bool:
    """Returns whether there are pictures of this environment."""
    return type(env.params) in RENDERERS or type(env.params) in OF_FORMULAS


def render(env: Environment, state: PyTree) -> np.ndarray:
    """Returns a picture of one state, uint8[H, W, 3].

    Args:
        env: the environment, not transformed (a changed reward or observation looks the same: pass the one underneath).
        state: one state, without a batch axis.

    Raises:
        EnvError: there are no pictures of it.
    """
    if not can_render(env):
        kind = f"{type(env.params).__module__}.{type(env.params).__qualname__}"
        fix = "Add a function (state, params) -> uint8[H, W, 3] to envs.rendering.RENDERERS."
        raise EnvError(f"render: the environment must have pictures, got parameters of type {kind}. {fix}")
    if type(env.params) in OF_FORMULAS:
        return OF_FORMULAS[type(env.params)](env, jax.tree.map(np.asarray, state))
    state, params = jax.tree.map(np.asarray, (state, env.params))
    return RENDERERS[type(env.params)](state, params)
