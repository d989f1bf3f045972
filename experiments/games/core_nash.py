"""All Nash equilibria of well-known games and of random ones, by support enumeration and by the Lemke-Howson algorithm.

Source: Nash (1951); Lemke and Howson (1964); Wilson (1971) on odd numbers; games after Shoham and Leyton-Brown (2008).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment import Claim, Results, derived, every, final, largest, smallest
from jaxrl.report import game_figures
from jaxrl.solvers.equilibria import distance, minimax, support_enumeration
from jaxrl.solvers.lemke_howson import from_all_labels
from jaxrl.solvers.normal_form import nash_conv

SYMMETRIC_ZERO_SUM = ("rock_paper_scissors", "weighted_rock_paper_scissors", "rock_paper_scissors_lizard_spock", "blotto")
SAME = 1e-6  # two strategies are the same if no probability differs by more
ENUMERATION, LEMKE_HOWSON = "support enumeration", "Lemke-Howson"


@dataclass(frozen=True)
class Config:
    """Nash equilibria of well-known and of random games."""

    seeds: int = 200
    """Random games with independent standard normal payoffs (count)."""
    actions: int = 5
    """Actions of each player in a random game (count)."""


QUICK = Config(seeds=8, actions=3)


def largest_nash_conv(table: np.ndarray, equilibria: list) -> float:
    """Returns the largest sum of what the players could gain by deviating from one of these equilibria."""
    with jax.enable_x64(True):
        return max(float(nash_conv(jnp.asarray(table), tuple(map(jnp.asarray, one[:2])))) for one in equilibria)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Solves every game and compares: with the list of known equilibria, with the value 0, one algorithm with the other.

    ``missing`` counts known equilibria that are not found, ``unlisted`` those found that are not known; ``nash_conv`` is the
    largest of any of them. ``distance`` is the largest of the end of a Lemke-Howson path to the nearest enumerated equilibrium;
    ``reached`` counts the enumerated equilibria in which a path ends. Random games have a row each.
    """
    for game, known in named.EQUILIBRIA.items():
        found = support_enumeration(named.TABLES[game])
        yield (
            {"game": game, "solver": ENUMERATION},
            {
                "equilibria": len(found),
                "missing": sum(distance(one, found) > SAME for one in known),
                "unlisted": sum(distance(one, known) > SAME for one in found),
                "nash_conv": largest_nash_conv(named.TABLES[game], found),
            },
        )
    for game in SYMMETRIC_ZERO_SUM:
        yield {"game": game, "solver": "minimax"}, {"value": minimax(named.TABLES[game]).value}
    tables = np.random.default_rng(results.root).normal(size=(config.seeds, 2, config.actions, config.actions))
    enumerated, paths = [support_enumeration(table) for table in tables], from_all_labels(tables)
    ends = [list(zip(rows, columns, strict=True)) for rows, columns in zip(paths.row, paths.column, strict=True)]
    yield (
        {"game": "random", "solver": ENUMERATION},
        {
            "equilibria": [[len(found)] for found in enumerated],
            "nash_conv": [[largest_nash_conv(*pair)] for pair in zip(tables, enumerated, strict=True)],
        },
    )
    pairs = list(zip(enumerated, ends, strict=True))
    yield (
        {"game": "random", "solver": LEMKE_HOWSON},
        {
            "distance": [[max(distance(end, found) for end in reached)] for found, reached in pairs],
            "reached": [[sum(distance(one, reached) <= SAME for one in found)] for found, reached in pairs],
        },
    )


def figures(results: Results) -> None:
    """Draws how many equilibria random games have, and says how many of them Lemke-Howson reaches."""
    counts = results.final("equilibria", game="random").astype(int)
    reached = results.final("reached", game="random").mean()
    numbers = np.arange(1, counts.max() + 1)
    game_figures.bars(
        results.directory,
        "equilibria",
        {"games": [int((counts == number).sum()) for number in numbers]},
        [str(number) for number in numbers],
        "Games",
        x_label="Nash equilibria",
        title="How many equilibria random games have",
        text=f"{counts.size} random games. Over all labels Lemke-Howson reaches {reached:.2f} equilibria a game on average.",
    )


CLAIMS = (
    Claim(
        "In twelve well-known games support enumeration finds every equilibrium on the list and nothing else",
        "Shoham and Leyton-Brown (2008), chapter 3; Claus and Boutilier (1998); Shapley (1964)",
        every(largest(count) <= 0 for count in ("missing", "unlisted")),
    ),
    Claim(
        "No player can gain by deviating from any equilibrium that support enumeration finds in twelve well-known games",
        "Nash (1951)",
        every(final("nash_conv", game=game) <= 1e-9 for game in named.EQUILIBRIA),
    ),
    Claim(
        "In 200 random 5x5 games every label leads Lemke-Howson to one of the enumerated equilibria",
        "Lemke and Howson (1964)",
        largest("distance") <= SAME,
    ),
    Claim(
        "Each of 200 random 5x5 games has an odd number of equilibria",
        "Wilson (1971)",
        derived("games of even number", lambda found: (found.final("equilibria", game="random") % 2 == 0).sum()) <= 0,
    ),
    Claim(
        "Symmetric zero-sum games, Colonel Blotto with 10 coins and 3 fields among them, have value 0",
        "von Neumann (1928); Borel (1921)",
        every([largest("value") <= 1e-9, smallest("value") >= -1e-9]),
    ),
)
