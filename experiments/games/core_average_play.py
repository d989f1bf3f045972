"""Fictitious play and regret matching: where the averages of play converge, and where they cycle.

Shapley's game is symmetric: players who begin with the same action move in lockstep and stay on its diagonal, where the
averages do converge. Shapley's result concerns the other starts, so the two kinds are told apart.

Source: Brown (1951); Shapley (1964); Hart and Mas-Colell (2000); Farina, Kroer and Sandholm (2021).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product

import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment import Claim, Quantity, Results, at, draw, every, final, largest, lowest, smallest
from jaxrl.solvers import dynamics
from jaxrl.solvers.dynamics import Course, fictitious_play, regret_matching

INTERVAL = 10  # plays between two records
# Chosen on games of another key: all of 1024 games were below 1e-3 after 1024 steps, so twice as many leave a margin.
SOLVER_STEPS = 2048
FP, RM = "fictitious play", "regret matching"
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
    """Fictitious play and regret matching in small games, and regret matching in 1024 random ones."""

    seeds: int = 1024
    """Random 10x10 zero-sum games with independent standard normal payoffs (count), solved in one call."""
    plays: int = 30_000
    """Plays of fictitious play and regret matching in the small games (count), a multiple of 10."""


QUICK = Config(seeds=8, plays=2_000)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Plays every game with every dynamic. Rows are pure starts or random games.

    ``share_0`` ... are those of the actions in the row player's average, ``nash_conv`` is that of the averages; ``coarse_gap``
    and ``welfare`` are as in ``dynamics.PureStarts``.
    """
    for (game, (table, starts)), (name, dynamic) in product(GAMES.items(), LEARNERS.items()):
        found = dynamics.from_pure_starts(dynamic, table, starts, config.plays, config.plays // INTERVAL)
        at_end = {"coarse_gap": found.coarse_gap, "welfare": found.welfare}
        at_end = {metric: np.tile(values[:, None], found.nash_conv.shape[1]) for metric, values in at_end.items()}
        averages = {f"share_{action}": found.average[:, :, action] for action in range(found.average.shape[-1])}
        yield {"game": game, "dynamic": name}, {"nash_conv": found.nash_conv} | averages | at_end

    rows = np.random.default_rng(results.root).normal(size=(config.seeds, 10, 10))
    payoffs = jnp.asarray(np.stack([rows, -rows], 1), jnp.float32)
    for name, dynamic in SOLVERS.items():
        solved = dynamics.over_games(partial(dynamic, num_steps=SOLVER_STEPS, num_records=64), payoffs)
        yield {"game": "random zero-sum", "dynamic": name}, {"nash_conv": solved.history.average_nash_conv}


def figures(results: Results) -> None:
    """Draws NashConv over time, and paths on the simplex of rock, paper, scissors and of Shapley's game."""
    labels, log = ("Plays", "NashConv of averages (reward units)"), {"x_scale": "log", "y_scale": "log"}
    for name in LEARNERS:
        arms = {game.replace("_", " "): {"game": game, "dynamic": name} for game in (RPS, WEIGHTED, SHAPLEY)}
        log["title"] = f"{name.capitalize()} from pure starts"
        draw.lines(results, f"nash_conv_{name.replace(' ', '_')}", "nash_conv", arms, *labels, INTERVAL, **log)
    log["title"] = "Regret matching on random 10x10 zero-sum games"
    arms = {name: {"game": "random zero-sum", "dynamic": name} for name in SOLVERS}
    # Below the floor, all is rounding.
    draw.lines(results, "random_zero_sum", "nash_conv", arms, *labels, SOLVER_STEPS / 64, level=1e-3, floor=1e-7, **log)

    text = "The row player's average strategy over time, from one pure start. Dot: the end; cross: the equilibrium."
    options = {"paths": 1, "text": text, "equilibrium": (1 / 3,) * 3}
    for figure, game, corners, title in (
        ("rps_averages", RPS, ("rock", "paper", "scissors"), "Rock, paper, scissors: averages converge"),
        ("shapley_averages", SHAPLEY, ("first", "second", "third"), "Shapley's game: averages cycle"),
    ):
        arms = {name: {"game": game, "dynamic": name} for name in LEARNERS}
        draw.simplex(results, figure, [f"share_{action}" for action in range(3)], arms, corners, title=title, **options)


def after(plays: int, game: str, dynamic: str) -> Quantity:
    """The largest NashConv of the averages after so many plays, over all pure starts."""
    return largest(at("nash_conv", plays // INTERVAL - 1, game=game, dynamic=dynamic))


def since(plays: int, game: str, dynamic: str) -> Quantity:
    """The smallest NashConv of the averages at any time from so many plays on, over all pure starts."""
    return smallest(lowest("nash_conv", plays // INTERVAL - 1, game=game, dynamic=dynamic))


BEGUN = "In Shapley's game, begun with different actions,"
CLAIMS = (
    *(
        Claim(
            f"From every pure start {dynamic} ends 10,000 plays of {words} at a NashConv of at most 0.05",
            source,
            after(10_000, game, dynamic) <= 0.05,
        )
        for dynamic, game, words, source in (
            (FP, RPS, "rock, paper, scissors", "Robinson (1951), An iterative method of solving a game"),
            (FP, WEIGHTED, "weighted rock, paper, scissors", "Robinson (1951), An iterative method of solving a game"),
            (RM, WEIGHTED, "weighted rock, paper, scissors", "Hart and Mas-Colell (2000)"),
        )
    ),
    Claim(
        f"{BEGUN} fictitious play never has a NashConv of 0.2 or less after 1,000 plays",
        "Shapley (1964), Some topics in two-person games",
        since(1_000, SHAPLEY, FP) > 0.2,
    ),
    Claim(
        "In Shapley's game, begun with equal actions, fictitious play has a NashConv of at most 0.05 after 10,000 plays",
        "the symmetry of the game: the players stay equal",
        after(10_000, "shapley, equal starts", FP) <= 0.05,
    ),
    Claim(
        f"{BEGUN} the joint play of regret matching is a coarse correlated equilibrium within 0.005 after 30,000 plays",
        "Hart and Mas-Colell (2000)",
        largest("coarse_gap", game=SHAPLEY, dynamic=RM) <= 0.005,
    ),
    Claim(
        f"{BEGUN} the joint play of regret matching earns 1 in all, the best of any correlated equilibrium",
        "Hart and Mas-Colell (2000)",
        every([smallest("welfare", game=SHAPLEY, dynamic=RM) >= 0.99, largest("welfare", game=SHAPLEY, dynamic=RM) <= 1 + 1e-6]),
    ),
    Claim(
        f"{BEGUN} the averages of regret matching never have a NashConv of 0.2 or less after 1,000 plays",
        "Hart and Mas-Colell (2000)",
        since(1_000, SHAPLEY, RM) > 0.2,
    ),
    Claim(
        f"Predictive regret matching plus solves 1024 random 10x10 zero-sum games to a NashConv of 0.001 in {SOLVER_STEPS} steps",
        "Farina, Kroer and Sandholm (2021), Faster game solving via predictive Blackwell approachability",
        largest(final("nash_conv", game="random zero-sum", dynamic=PREDICTIVE)) <= 1e-3,
    ),
)
