"""Fictitious play, replicator dynamics and regret matching: where they converge, and where they cycle.

Shapley's game is symmetric: players who begin with the same action move in lockstep and stay on its diagonal, where the
averages do converge. Shapley's result concerns the other starts, so the two kinds are told apart.

Source: Brown (1951); Shapley (1964); Taylor and Jonker (1978); Hart and Mas-Colell (2000); Farina, Kroer and Sandholm (2021).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment import Claim, Quantity, Results, at, derived, draw, every, final, largest, smallest
from jaxrl.report import game_figures
from jaxrl.solvers.dynamics import Course, fictitious_play, from_starts, regret_matching, replicator
from jaxrl.solvers.normal_form import coarse_correlated_regrets

INTERVAL = 10  # plays between two records
# Chosen on games of another key: all of 1024 games were below 1e-3 after 1024 steps, so twice as many leave a margin.
SOLVER_STEPS = 2048
FP, RM, REPLICATOR = "fictitious play", "regret matching", "replicator dynamics"
PREDICTIVE = "predictive regret matching plus"
LEARNERS: dict[str, Callable[..., Course]] = {FP: fictitious_play, RM: regret_matching}
SOLVERS: dict[str, Callable[..., Course]] = {
    RM: regret_matching,
    "regret matching plus": partial(regret_matching, plus=True, alternating=True, averaging=1.0),
    PREDICTIVE: partial(regret_matching, plus=True, predictive=True, alternating=True, averaging=1.0),
}
# Game -> its table, and the pairs of first actions.
RPS, WEIGHTED, SHAPLEY = "rock_paper_scissors", "weighted_rock_paper_scissors", "shapley"
UNEQUAL, EQUAL = list(permutations(range(3), 2)), [(action, action) for action in range(3)]
GAMES = {
    RPS: (named.ROCK_PAPER_SCISSORS, UNEQUAL + EQUAL),
    WEIGHTED: (named.WEIGHTED_ROCK_PAPER_SCISSORS, UNEQUAL + EQUAL),
    SHAPLEY: (named.SHAPLEY, UNEQUAL),
    "shapley, equal starts": (named.SHAPLEY, EQUAL),
}


@dataclass(frozen=True)
class Config:
    """Learning dynamics in small games and in 1024 random ones."""

    seeds: int = 1024
    """Random 10x10 zero-sum games with independent standard normal payoffs (count), solved in one call."""
    plays: int = 30_000
    """Plays of fictitious play and regret matching in the small games (count), a multiple of 10."""
    steps: int = 10_000
    """Integration steps of the replicator dynamics, of 0.01 time units (count), a multiple of 100."""
    populations: int = 64
    """Random starts of the replicator dynamics (count)."""


QUICK = Config(seeds=8, plays=2_000, steps=200, populations=4)


def from_pure_starts(dynamic: Callable[..., Course], table: np.ndarray, first: list, plays: int) -> dict[str, Any]:
    """Plays from several pairs of first actions, a row each, and returns records over time.

    ``nash_conv`` of the averages; ``share_0`` ... of the row player's average; after the last play ``coarse_gap``, the most that
    a player could gain by committing to one action against the average joint play, and ``welfare``, the mean sum of payoffs.
    """
    play = partial(dynamic, num_steps=plays, num_records=plays // INTERVAL)
    course = from_starts(play, table, list(np.eye(table.shape[1])[np.array(first).T]))
    payoff, nash_conv, average = jnp.asarray(table, jnp.float32), course.history.average_nash_conv, course.history.average[0]
    gaps = jax.vmap(lambda joint: coarse_correlated_regrets(payoff, joint).max())(course.joint)
    at_end = {"coarse_gap": gaps, "welfare": (payoff.sum(0) * course.joint).sum((1, 2))}
    over_time = {"nash_conv": nash_conv} | {f"share_{action}": average[:, :, action] for action in range(table.shape[1])}
    return over_time | {name: np.tile(values[:, None], nash_conv.shape[1]) for name, values in at_end.items()}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Plays every game with every dynamic. Rows are pure starts, populations or random games.

    Populations play against themselves; ``share_0`` ... are those of the actions. ``drift``: by which share the product of the
    three shares has changed; ``from_centre``: the largest distance of a time-averaged share from 1/3; ``on_side``: whether the
    first action has almost all of a population in which it began with more than half, or almost none of another.
    """
    for (game, (table, starts)), (name, dynamic) in product(GAMES.items(), LEARNERS.items()):
        yield {"game": game, "dynamic": name}, from_pure_starts(dynamic, table, starts, config.plays)

    move = partial(replicator, num_steps=config.steps, step_size=0.01)
    starts = np.random.default_rng(results.root).dirichlet(np.ones(3), config.populations)
    history = from_starts(partial(move, num_records=config.steps // 20), named.ROCK_PAPER_SCISSORS, (starts, starts)).history
    path, average = history.profile[0].astype(np.float64), history.average[0].astype(np.float64)
    first = starts.astype(np.float32).astype(np.float64).prod(-1)[:, None]
    measures = {"drift": np.abs(path.prod(-1) / first - 1), "from_centre": np.abs(average - 1 / 3).max(-1)}
    yield {"game": RPS, "dynamic": REPLICATOR}, measures | {f"share_{action}": path[:, :, action] for action in range(3)}

    random = np.random.default_rng(results.root + 1).uniform(0.01, 0.99, config.populations)
    for game, first in (("prisoners_dilemma", random), ("stag_hunt", np.arange(0.01, 1.0, 0.02))):
        starts = np.column_stack([first, 1 - first])
        share = from_starts(partial(move, num_records=100), named.TABLES[game], (starts, starts)).history.profile[0][:, :, 0]
        on_side = np.where(first[:, None] > 0.5, share > 0.99, share < 0.01)
        yield {"game": game, "dynamic": REPLICATOR}, {"share_0": share, "on_side": on_side}

    rows = np.random.default_rng(results.root).normal(size=(config.seeds, 10, 10))
    payoffs = jnp.asarray(np.stack([rows, -rows], 1), jnp.float32)
    for name, dynamic in SOLVERS.items():
        play = partial(dynamic, num_steps=SOLVER_STEPS, num_records=64)
        # Vmapped 32 games at a time, which stay in a core's cache: twice to three times as fast as all at once on a CPU.
        solve = jax.jit(lambda games, play=play: jax.lax.map(play, games, batch_size=32).history.average_nash_conv)
        yield {"game": "random zero-sum", "dynamic": name}, {"nash_conv": solve(payoffs)}


def figures(results: Results) -> None:
    """Draws NashConv over time, and paths on the simplex of rock, paper, scissors and of Shapley's game."""
    labels, log = ("Plays", "NashConv of averages (reward units)"), {"x_scale": "log", "y_scale": "log"}
    for name in LEARNERS:
        curves = {game: results.curves("nash_conv", game=game, dynamic=name) for game in (RPS, WEIGHTED, SHAPLEY)}
        lines = {game.replace("_", " "): (INTERVAL * (curve.updates + 1), curve.values) for game, curve in curves.items()}
        title = f"{name.capitalize()} from pure starts"
        draw.relation(results, f"nash_conv_{name.replace(' ', '_')}", lines, *labels, title=title, **log)
    values = {name: results.values("nash_conv", game="random zero-sum", dynamic=name) for name in SOLVERS}
    plays = SOLVER_STEPS / 64 * (np.arange(64) + 1)
    lines = {name: (plays, np.maximum(one, 1e-7)) for name, one in values.items()}  # the rest is rounding
    title = "Regret matching on random 10x10 zero-sum games"
    draw.relation(results, "random_zero_sum", lines, *labels, level=1e-3, title=title, **log)

    def path(game: str, name: str) -> np.ndarray:
        return np.stack([results.values(f"share_{action}", game=game, dynamic=name) for action in range(3)], -1)

    hands, order = ("rock", "paper", "scissors"), ("first", "second", "third")
    averages = {game: {name: path(game, name)[0] for name in LEARNERS} for game in (RPS, SHAPLEY)}
    six, one = "Paths of six populations", "The row player's average strategy over time, from one pure start"
    for name, paths, corners, title, text in (
        ("rps_replicator", {"": path(RPS, REPLICATOR)[:6]}, hands, "Replicator dynamics circle the equilibrium", six),
        ("rps_averages", averages[RPS], hands, "Rock, paper, scissors: averages converge", one),
        ("shapley_averages", averages[SHAPLEY], order, "Shapley's game: averages cycle", one),
    ):
        text = f"{text}. Dot: the end; cross: the equilibrium."
        game_figures.simplex(results.directory, name, paths, corners, equilibrium=(1 / 3,) * 3, title=title, text=text)


def after(plays: int, game: str, dynamic: str) -> Quantity:
    """The largest NashConv of the averages after so many plays, over all pure starts."""
    return largest(at("nash_conv", plays // INTERVAL - 1, game=game, dynamic=dynamic))


def since(plays: int, game: str, dynamic: str) -> Quantity:
    """The smallest NashConv of the averages at any time from so many plays on, over all pure starts."""
    text, first = f"smallest nash_conv from play {plays:,} on ({game}, {dynamic})", plays // INTERVAL - 1
    return derived(text, lambda found: found.values("nash_conv", game=game, dynamic=dynamic)[:, first:].min())


CLAIMS = (
    Claim(
        "From every pure start fictitious play ends 10,000 plays of rock, paper, scissors at a NashConv of at most 0.05",
        "Robinson (1951), An iterative method of solving a game",
        after(10_000, RPS, FP) <= 0.05,
    ),
    Claim(
        "From every pure start fictitious play ends 10,000 plays of weighted rock, paper, scissors at a NashConv of at most 0.05",
        "Robinson (1951), An iterative method of solving a game",
        after(10_000, WEIGHTED, FP) <= 0.05,
    ),
    Claim(
        "In Shapley's game, begun with different actions, fictitious play never has a NashConv of 0.2 or less after 1,000 plays",
        "Shapley (1964), Some topics in two-person games",
        since(1_000, SHAPLEY, FP) > 0.2,
    ),
    Claim(
        "In Shapley's game, begun with equal actions, fictitious play has a NashConv of at most 0.05 after 10,000 plays",
        "the symmetry of the game: the players stay equal",
        after(10_000, "shapley, equal starts", FP) <= 0.05,
    ),
    Claim(
        "From every pure start regret matching ends 10,000 plays of weighted rock, paper, scissors at a NashConv of at most 0.05",
        "Hart and Mas-Colell (2000)",
        after(10_000, WEIGHTED, RM) <= 0.05,
    ),
    Claim(
        "In Shapley's game, begun with different actions, the joint play of regret matching is a coarse correlated equilibrium "
        "within 0.005 after 30,000 plays",
        "Hart and Mas-Colell (2000)",
        largest("coarse_gap", game=SHAPLEY, dynamic=RM) <= 0.005,
    ),
    Claim(
        "In Shapley's game, begun with different actions, the joint play of regret matching earns 1 in all, the best of any "
        "correlated equilibrium",
        "Hart and Mas-Colell (2000)",
        every([smallest("welfare", game=SHAPLEY, dynamic=RM) >= 0.99, largest("welfare", game=SHAPLEY, dynamic=RM) <= 1 + 1e-6]),
    ),
    Claim(
        "In Shapley's game, begun with different actions, the averages of regret matching never have a NashConv of 0.2 or less "
        "after 1,000 plays",
        "Hart and Mas-Colell (2000)",
        since(1_000, SHAPLEY, RM) > 0.2,
    ),
    Claim(
        "The replicator dynamics of rock, paper, scissors conserve the product of the shares to a thousandth",
        "Hofbauer and Sigmund (1998), Evolutionary Games and Population Dynamics, section 7.7",
        largest("drift") <= 1e-3,
    ),
    Claim(
        "After 100 time units of the replicator dynamics of rock, paper, scissors the time average is within 0.05 of equilibrium",
        "Hofbauer and Sigmund (1998), theorem 7.6.4",
        final("from_centre") <= 0.05,
    ),
    Claim(
        "In the prisoner's dilemma the replicator dynamics leave at most 1 % of cooperators, from every start",
        "Taylor and Jonker (1978)",
        largest(final("share_0", game="prisoners_dilemma")) <= 0.01,
    ),
    Claim(
        "In the stag hunt the basins of attraction of the replicator dynamics meet at a share of 1/2: no start leaves its side",
        "Skyrms (2004), The Stag Hunt; payoffs 4, 1, 3, 2",
        smallest(final("on_side", game="stag_hunt")) >= 1,
    ),
    Claim(
        f"Predictive regret matching plus solves 1024 random 10x10 zero-sum games to a NashConv of 0.001 in {SOLVER_STEPS} steps",
        "Farina, Kroer and Sandholm (2021), Faster game solving via predictive Blackwell approachability",
        largest(final("nash_conv", game="random zero-sum", dynamic=PREDICTIVE)) <= 1e-3,
    ),
)
