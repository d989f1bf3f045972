"""Environments. ``make(name, **parameters)`` builds one by name; scripts may as well import its factory.

A project of its own adds its environments by ``register(name, factory)`` in a module of its own. Registration is an effect of
importing that module, so every process must import it, and there are two ways to say which it is:

    my_project.worlds:machine    the name says so itself: ``make`` imports the module first. It needs no set-up, in any process
    machine                      the module is an entry point of the installed project, in the group ``jaxrl.envs``; entry
                                 points are imported when a name is not known, or all names are asked for
"""

import functools
import importlib
import importlib.metadata
import inspect
import re
import typing
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any

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
from envs.board_games import connect_four, tic_tac_toe
from envs.control import acrobot, cartpole, lqr, mountain_car, pendulum, point_maze
from envs.extensive_games import kuhn, leduc, lewis
from envs.gridworlds import (
    blocking_maze,
    catch,
    cliff_walking,
    corridor,
    deep_sea,
    deep_sea_treasure,
    doorkey,
    dyna_maze,
    empty_room,
    extra_actions,
    four_rooms,
    frozen_lake,
    gridworld,
    hazard_grid,
    noisy_grid,
    noisy_tv,
    random_maze,
    reward_grid,
    short_corridor,
    t_maze,
    windy_grid,
    windy_torus,
)
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
from envs.matrix_games import (
    bar_game,
    bayesian_game,
    beauty_contest,
    cournot,
    iterated,
    named,
    preference_games,
    public_goods,
    random_games,
    travellers_dilemma,
)
from envs.matrix_games.matrix_game import make as matrix_game
from envs.random_mdps import random_graph, random_mdp
from envs.token_mdps import token_mdp
from envs.trading import binomial_market, execution, gaussian_portfolio, option_hedging, single_asset
from jaxrl.core.environment import Environment
from jaxrl.errors import ConfigError, EnvError, JaxrlError, as_real, is_traced, require, unknown_name

ENTRY_POINTS = "jaxrl.envs"  # group of an installed project's modules that register environments
NAME = re.compile(r"[a-z][a-z0-9_]*")

REGISTRY: dict[str, Callable[..., Environment]] = {
    "acrobot": acrobot.make,
    "bandit_testbed": gaussian_bandit.make_testbed,
    "bar_game": bar_game.make,
    "battle_of_the_sexes": functools.partial(matrix_game, named.BATTLE_OF_THE_SEXES),
    "bayesian_four_games": bayesian_game.make_four_games,
    "beauty_contest": beauty_contest.make,
    "beer_game": beer_game.make,
    "bernoulli_bandit": bernoulli_bandit.make,
    "binomial_market": binomial_market.make,
    "blocking_maze": blocking_maze.make,
    "blotto": named.blotto,
    "cartpole": cartpole.make,
    "catch": catch.make,
    "chicken": functools.partial(matrix_game, named.CHICKEN),
    "cliff_walking": cliff_walking.make,
    "climb": functools.partial(matrix_game, named.CLIMB),
    "coin_game": coin_game.make,
    "commons": commons.make,
    "connect_four": connect_four.make,
    "contextual_bandit": contextual_bandit.make,
    "contextual_dueling_bandit": contextual_dueling_bandit.make,
    "corridor": corridor.make,
    "cournot": cournot.make,
    "deep_sea": deep_sea.make,
    "deep_sea_treasure": deep_sea_treasure.make,
    "doorkey": doorkey.make,
    "driven_bandit": linear_dynamical_bandit.make_driven,
    "dueling_bandit": dueling_bandit.make,
    "dyna_maze": dyna_maze.make,
    "empty_room": empty_room.make,
    "empty_room_random": functools.partial(empty_room.make, anywhere=True),
    "execution": execution.make,
    "extra_actions": extra_actions.make,
    "foraging": foraging.make,
    "four_rooms": four_rooms.make,
    "frozen_lake": frozen_lake.make,
    "frozen_lake_8x8": functools.partial(frozen_lake.make, map="8x8"),
    "gamble_ladder": gamble_ladder.make,
    "garnet": functools.partial(random_mdp.make, "garnet"),
    "gathering": gathering.make,
    "gaussian_bandit": gaussian_bandit.make,
    "gaussian_portfolio": gaussian_portfolio.make,
    "gaussian_squeeze": gaussian_squeeze.make,
    "grid_game_1": functools.partial(grid_game.make, game=1),
    "grid_game_2": functools.partial(grid_game.make, game=2),
    "gridworld": gridworld.make,
    "hazard_grid": hazard_grid.make,
    "ising": ising.make,
    "iterated_prisoners_dilemma": iterated.make,
    "kuhn": kuhn.make,
    "leduc": leduc.make,
    "levers": levers.make,
    "two_step": two_step.make,
    "lewis": lewis.make,
    "linear_bandit": linear_bandit.make,
    "linear_dynamical_bandit": linear_dynamical_bandit.make,
    "liquidity_game": liquidity_game.make,
    "lqr": lqr.make,
    "matching_pennies": functools.partial(matrix_game, named.MATCHING_PENNIES),
    "maximisation_bias": maximisation_bias.make,
    "mountain_car": mountain_car.make,
    "mountain_car_continuous": mountain_car.make_continuous,
    "noisy_grid": noisy_grid.make,
    "noisy_tv": noisy_tv.make,
    "option_hedging": option_hedging.make,
    "penalty": named.penalty,
    "pendulum": pendulum.make,
    "point_maze": point_maze.make,
    "preference_game": preference_games.make,
    "prisoners_dilemma": functools.partial(matrix_game, named.PRISONERS_DILEMMA),
    "public_goods": public_goods.make,
    "pure_coordination": functools.partial(matrix_game, named.PURE_COORDINATION),
    "pursuit": pursuit.make,
    "random_game": random_games.make,
    "random_graph": random_graph.make,
    "random_maze": random_maze.make,
    "random_mdp": random_mdp.make,
    "random_walk_bandit": gaussian_bandit.make_random_walk,
    "restless_bandit": restless_bandit.make,
    "restless_bandit_by_priority": restless_bandit.make_by_priority,
    "reversible_mdp": functools.partial(random_mdp.make, "reversible"),
    "reward_grid": reward_grid.make,
    "rock_paper_scissors": functools.partial(matrix_game, named.ROCK_PAPER_SCISSORS),
    "rock_paper_scissors_lizard_spock": functools.partial(matrix_game, named.ROCK_PAPER_SCISSORS_LIZARD_SPOCK),
    "shapley": functools.partial(matrix_game, named.SHAPLEY),
    "short_corridor": short_corridor.make,
    "simple_spread": simple_spread.make,
    "single_asset": single_asset.make,
    "single_asset_continuous": functools.partial(single_asset.make, weights=None),
    "soccer": soccer.make,
    "speaker_listener": speaker_listener.make,
    "spread_grid": spread_grid.make,
    "stag_hunt": functools.partial(matrix_game, named.STAG_HUNT),
    "switch_riddle": switch_riddle.make,
    "symmetric_mdp": functools.partial(random_mdp.make, "symmetric"),
    "t_maze": t_maze.make,
    "tag": tag.make,
    "tic_tac_toe": tic_tac_toe.make,
    "token_mdp": token_mdp.make,
    "traffic_junction": traffic_junction.make,
    "travellers_dilemma": travellers_dilemma.make,
    "weighted_rock_paper_scissors": functools.partial(matrix_game, named.WEIGHTED_ROCK_PAPER_SCISSORS),
    "windy_grid": windy_grid.make,
    "windy_torus": windy_torus.make,
}

SHOWN_BY = "envs.names() and by the command: jaxrl envs"  # all names


def register(name: str, factory: Callable[..., Environment]) -> None:
    """Adds an environment to the catalogue: from then on ``make``, ``jaxrl train`` and ``jaxrl envs`` know its name.

    Args:
        name: lower-case letters, digits and underscores, beginning with a letter.
        factory: ``(**parameters) -> Environment``, at module level or a partial of such; every parameter has a default. It is not
            called here, so that importing a module starts no backend.

    Raises:
        ConfigError: the name has another form, or belongs to another factory; a module that is imported again, or under another
            name, registers its factory again.
        EnvError: the factory cannot be called without arguments.
    """
    where = f"envs.register({name!r})"
    must = "a name must be of lower-case letters, digits and underscores, and begin with a letter"
    require(isinstance(name, str) and NAME.fullmatch(name) is not None, where, must, name, "Try 'my_environment'.")
    must = "a factory must be callable without arguments, as every parameter has a default"
    require(not _needed(factory), where, must, _needed(factory) or factory, "Give each parameter a default.", EnvError)
    taken, own = (_definition(REGISTRY[name]) if name in REGISTRY else None), _definition(factory)
    found = "" if taken is None else f"{name!r} of {taken[0]} {taken[1]}"
    require(taken in (None, own), where, "a name must belong to one factory", found, "Choose another name.")
    REGISTRY[name] = factory


def _needed(factory: Any) -> list[str]:
    """Returns what must be given to a factory: the parameters without a default; "a function" where it is none."""
    if not callable(factory) or isinstance(factory, Environment):
        return ["a function that returns an Environment"]
    optional = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(factory).parameters.values()
    return [one.name for one in parameters if one.default is one.empty and one.kind not in optional]


def _definition(factory: Any) -> tuple:
    """Returns by what a factory is known again when its file is imported again: file, name, and arguments given before."""
    if isinstance(factory, functools.partial):
        return (*_definition(factory.func), repr(factory.args), repr(sorted(factory.keywords.items())))
    try:
        file = inspect.getsourcefile(factory)
    except TypeError:
        file = None
    return file, factory.__qualname__ if inspect.isroutine(factory) or inspect.isclass(factory) else repr(factory)


def names() -> list[str]:
    """Returns the names of all environments, in alphabetical order, with those of installed projects."""
    _import_entry_points()
    return sorted(REGISTRY)


def factory_of(name: str) -> Callable[..., Environment]:
    """Returns the factory of a name.

    Args:
        name: of the catalogue; or ``module:name``, which imports the module that registers the name first.

    Raises:
        UnknownNameError: no environment has this name. ConfigError: the module cannot be imported.
    """
    module, sign, short = str(name).rpartition(":")
    if sign:
        _import_module(module, f"environment {name!r}")
    elif short not in REGISTRY:
        _import_entry_points()
    if short not in REGISTRY:
        raise unknown_name("envs.make", "environment", short, REGISTRY, SHOWN_BY)
    return REGISTRY[short]


@functools.cache
def _import_entry_points() -> None:
    """Imports the modules of installed projects that register environments, once in a process."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        _import_module(point.value, f"entry point {point.name!r} of {ENTRY_POINTS}")


def _import_module(name: str, where: str) -> None:
    try:
        importlib.import_module(name)
    except JaxrlError:
        raise
    except Exception as error:
        reason, fix = f"{type(error).__name__}: {error}", "Install its project, set PYTHONPATH, or mend it."
        raise ConfigError(f"{where}: {name or 'it'} must be a module that can be imported, got {reason}. {fix}") from error


def make(name: str, **parameters: Any) -> Environment:
    """Builds the environment of this name.

    Args:
        name: see ``factory_of``.
        **parameters: what its factory takes; the rest keeps its default.

    Raises:
        UnknownNameError: no environment, or no parameter of it, has this name.
        ConfigError: a parameter is out of range, or is no number or flag although its factory declares one.
    """
    factory = factory_of(name)
    known = inspect.signature(factory).parameters
    for parameter, value in parameters.items():
        if parameter not in known:
            raise unknown_name(f"envs.make({name!r})", "parameter", parameter, known)
        _require_declared(f"envs.make({name!r})", known[parameter], value)
    return factory(**parameters)


def _require_declared(where: str, parameter: inspect.Parameter, value: Any) -> None:
    """Raises ConfigError unless a value is an integer, a number, a flag or a row of these, as its factory declares.

    NaN is no number, infinity is one. A parameter that is declared as a float may be an array, as for vmapped environments. The
    factory itself checks ranges and values of other types. Traced values are not checked.
    """
    declared = parameter.annotation
    options = set(typing.get_args(declared)) if isinstance(declared, UnionType) else {declared}
    kinds = _kinds(declared) - {NoneType}
    if is_traced(value) or (value is None and NoneType in options) or kinds not in ({bool}, {int}, {float}):
        return
    fix = "Give one." if parameter.default is parameter.empty else f"The default is {parameter.default!r}."
    if kinds == {bool}:
        require(isinstance(value, bool | np.bool_), where, f"{parameter.name} must be True or False", value, fix)
        return
    one, row = bool(options & {int, float}), bool(options - {int, float, NoneType})
    array = as_real(value)
    sound = array is not None and array.dtype != bool and not np.isnan(array).any()
    if array is not None and sound:
        whole = kinds == {float} or array.size == 0 or np.issubdtype(array.dtype, np.integer)
        fits = one if array.ndim == 0 else row or kinds == {float}
        sound = bool(whole and fits)
    singular, plural = ("an integer", "integers") if kinds == {int} else ("a number", "numbers")
    kind = " or ".join([singular] * one + [f"a row of {plural}"] * row)
    require(sound, where, f"{parameter.name} must be {kind}", value, fix)


def _kinds(declared: Any) -> set:
    """Returns the types that an annotation is made of: {int, NoneType} for ``tuple[int, ...] | None``."""
    parts = typing.get_args(declared)
    return set().union(*map(_kinds, parts)) if parts else {declared} - {...}
