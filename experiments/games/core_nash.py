"""All Nash equilibria of well-known games and of random ones, by support enumeration and by the Lemke-Howson algorithm.

Source: Nash (1951); Lemke and Howson (1964); Wilson (1971) on odd numbers; games after Shoham and Leyton-Brown (2008).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment.claims import Claim, Verdict, recorded
from jaxrl.experiment.session import Session
from jaxrl.report import game_figures as figures
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers.equilibria import minimax, support_enumeration
from jaxrl.solvers.lemke_howson import lemke_howson
from jaxrl.solvers.normal_form import nash_conv

# Every equilibrium, as (row strategy, column strategy).
THIRDS, FIFTHS = (1 / 3, 1 / 3, 1 / 3), (1 / 5,) * 5
KNOWN = {
    "prisoners_dilemma": [((0, 1), (0, 1))],
    "stag_hunt": [((1, 0), (1, 0)), ((0, 1), (0, 1)), ((1 / 2, 1 / 2), (1 / 2, 1 / 2))],
    "chicken": [((1, 0), (0, 1)), ((0, 1), (1, 0)), ((2 / 3, 1 / 3), (2 / 3, 1 / 3))],
    "battle_of_the_sexes": [((1, 0), (1, 0)), ((0, 1), (0, 1)), ((0.6, 0.4), (0.4, 0.6))],
    "matching_pennies": [((1 / 2, 1 / 2), (1 / 2, 1 / 2))],
    "pure_coordination": [((1, 0), (1, 0)), ((0, 1), (0, 1)), ((1 / 3, 2 / 3), (1 / 3, 2 / 3))],
    "rock_paper_scissors": [(THIRDS, THIRDS)],
    "weighted_rock_paper_scissors": [((1 / 2, 1 / 3, 1 / 6), (1 / 2, 1 / 3, 1 / 6))],
    "rock_paper_scissors_lizard_spock": [(FIFTHS, FIFTHS)],
    "climb": [((1, 0, 0), (1, 0, 0)), ((0, 1, 0), (0, 1, 0)), ((0.3125, 0, 0.6875), (0.3125, 0, 0.6875))],
    "penalty": [
        ((1, 0, 0), (1, 0, 0)),
        ((0, 1, 0), (0, 1, 0)),
        ((0, 0, 1), (0, 0, 1)),
        ((1 / 6, 5 / 6, 0), (1 / 6, 5 / 6, 0)),
        ((0, 5 / 6, 1 / 6), (0, 5 / 6, 1 / 6)),
    ],
    "shapley": [(THIRDS, THIRDS)],
}
SYMMETRIC_ZERO_SUM = ("rock_paper_scissors", "weighted_rock_paper_scissors", "rock_paper_scissors_lizard_spock", "blotto")
RANDOM = "random 5x5"
SAME = 1e-6  # two strategies are the same if no probability differs by more


@dataclass(frozen=True)
class Config:
    """Nash equilibria of well-known and of random games."""

    games: int = 200
    """Random games with independent standard normal payoffs (count)."""
    actions: int = 5
    """Actions of each player in a random game (count)."""


QUICK = Config(games=8, actions=3)


def run(config: Config, session: Session) -> None:
    """Solves every game, compares with the list above, and random games by both algorithms."""
    for name, known in KNOWN.items():
        session.record(compared(named.TABLES[name], known), name)
    for name in SYMMETRIC_ZERO_SUM:
        session.record({"value": minimax(named.TABLES[name]).value}, f"minimax {name}")
    tables = np.random.default_rng(0).normal(size=(config.games, 2, config.actions, config.actions))
    session.record(both_algorithms(tables), RANDOM)
    draw(session.directory)


def _regret(table: np.ndarray, equilibrium) -> float:
    with jax.enable_x64(True):
        return float(nash_conv(jnp.asarray(table), tuple(map(jnp.asarray, equilibrium[:2]))))


def _distance(equilibrium, others) -> float:
    """Returns the largest difference in a probability to the nearest of others."""
    one = np.concatenate(equilibrium[:2])
    return min((float(np.abs(one - np.concatenate(other[:2])).max()) for other in others), default=np.inf)


def compared(table: np.ndarray, known: list) -> dict[str, float]:
    """Counts equilibria: ``found``, ``missing`` from what was found, ``unlisted`` in what is known; and the largest regret."""
    found = support_enumeration(table)
    return {
        "found": len(found),
        "missing": sum(_distance(one, found) > SAME for one in known),
        "unlisted": sum(_distance(one, known) > SAME for one in found),
        "largest_regret": max((_regret(table, one) for one in found), default=np.inf),
    }


def both_algorithms(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Solves random games, a row each: how many equilibria there are, and what Lemke-Howson finds from every label.

    ``largest_distance`` is that of any result of Lemke-Howson to the nearest enumerated equilibrium; ``reached`` counts the
    enumerated equilibria that are near one.
    """
    with jax.enable_x64(True):
        labels = jnp.arange(sum(tables.shape[2:]))
        paths = jax.jit(jax.vmap(jax.vmap(lemke_howson, (None, 0)), (0, None)))(jnp.asarray(tables), labels)
        paths = jax.tree.map(np.asarray, paths)
    columns = []
    for table, rows, answers in zip(tables, paths.row, paths.column, strict=True):
        found, ends = support_enumeration(table), list(zip(rows, answers, strict=True))
        furthest = max(_distance(end, found) for end in ends)
        reached = sum(_distance(one, ends) <= SAME for one in found)
        columns.append((len(found), furthest, reached, max(_regret(table, one) for one in found)))
    names = ("equilibria", "largest_distance", "reached", "largest_regret")
    return {name: np.array(values)[:, None] for name, values in zip(names, zip(*columns, strict=True), strict=True)}


def draw(directory: RunDirectory) -> None:
    """Draws how many equilibria random games have, and how many of them Lemke-Howson reaches."""
    counts = recorded(directory, "equilibria", RANDOM).astype(int)
    reached = recorded(directory, "reached", RANDOM)
    numbers = np.arange(1, counts.max() + 1)
    games = [int((counts == number).sum()) for number in numbers]
    text = f"{counts.size} random games. Over all labels Lemke-Howson reaches {reached.mean():.2f} equilibria a game on average."
    figures.bars(
        directory,
        "equilibria",
        {"games": games},
        [str(number) for number in numbers],
        "Games",
        x_label="Nash equilibria",
        title="How many equilibria random games have",
        text=text,
    )


def _total(metrics: tuple[str, ...], criterion: str, limit: float, combine):
    """Returns the check that a combination over all well-known games stays at or below a limit."""

    def check(directory: RunDirectory) -> Verdict:
        values = [float(recorded(directory, metric, name)[0]) for name in KNOWN for metric in metrics]
        return Verdict(combine(values) <= limit, combine(values), criterion)

    return check


def _random_games(compute, criterion: str, limit: float):
    """Returns the check that a number computed from the random games stays at or below a limit."""

    def check(directory: RunDirectory) -> Verdict:
        value = float(compute(directory))
        return Verdict(value <= limit, value, criterion)

    return check


def _largest_value(directory: RunDirectory) -> Verdict:
    largest = max(abs(float(recorded(directory, "value", f"minimax {name}")[0])) for name in SYMMETRIC_ZERO_SUM)
    return Verdict(largest <= 1e-9, largest, "largest absolute value <= 1e-9")


CLAIMS = (
    Claim(
        "In twelve well-known games support enumeration finds every equilibrium on the list and nothing else",
        "Shoham and Leyton-Brown (2008), chapter 3; Claus and Boutilier (1998); Shapley (1964)",
        _total(("missing", "unlisted"), "equilibria missing or unlisted = 0", 0, sum),
    ),
    Claim(
        "No player can gain by deviating from any of them",
        "Nash (1951)",
        _total(("largest_regret",), "largest NashConv <= 1e-9", 1e-9, max),
    ),
    Claim(
        "In 200 random 5x5 games every label leads Lemke-Howson to one of the enumerated equilibria",
        "Lemke and Howson (1964)",
        _random_games(
            lambda directory: recorded(directory, "largest_distance", RANDOM).max(), f"largest distance <= {SAME:g}", SAME
        ),
    ),
    Claim(
        "All of these games have an odd number of equilibria",
        "Wilson (1971)",
        _random_games(
            lambda directory: (recorded(directory, "equilibria", RANDOM) % 2 == 0).sum(), "games with even number = 0", 0
        ),
    ),
    Claim(
        "Symmetric zero-sum games, Colonel Blotto with 10 coins and 3 fields among them, have value 0",
        "von Neumann (1928); Borel (1921)",
        _largest_value,
    ),
)
