"""Correlated equilibria of well-known and of random games by linear programming, beside their Nash equilibria.

Source: Aumann (1974), Subjectivity and correlation in randomized strategies; Moulin and Vial (1978) on coarse ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment.claims import Claim, Verdict, recorded, recorded_within
from jaxrl.experiment.session import Session
from jaxrl.report import game_figures as figures
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers.equilibria import correlated_equilibrium, minimax, support_enumeration
from jaxrl.solvers.normal_form import correlated_regrets, expected_payoffs, joint_distribution

# The largest sum of payoffs in a correlated equilibrium.
BEST_SUM = {
    "prisoners_dilemma": -4.0,
    "stag_hunt": 8.0,
    "chicken": 10.5,
    "battle_of_the_sexes": 5.0,
    "matching_pennies": 0.0,
    "pure_coordination": 4.0,
    "rock_paper_scissors": 0.0,
    "weighted_rock_paper_scissors": 0.0,
    "rock_paper_scissors_lizard_spock": 0.0,
    "climb": 22.0,
    "penalty": 20.0,
    "shapley": 1.0,
}
RANDOM, ZERO_SUM, REGION = "random", "random zero-sum", "chicken region"


@dataclass(frozen=True)
class Config:
    """Correlated equilibria of well-known and of random games."""

    games: int = 100
    """Random games of each kind, with independent standard normal payoffs (count)."""
    actions: int = 4
    """Actions of each player in a random game (count)."""
    directions: int = 72
    """Directions in which the set of payoffs is explored for the figure (count)."""


QUICK = Config(games=4, actions=3, directions=12)


def run(config: Config, session: Session) -> None:
    """Solves every game and draws the sums of payoffs and the payoffs that chicken allows."""
    for name in BEST_SUM:
        session.record(best_sums(named.TABLES[name]), name)
    generator = np.random.default_rng(0)
    shape = (config.games, config.actions, config.actions)
    found = [best_sums(table) for table in generator.normal(size=(2, *shape)).swapaxes(0, 1)]
    session.record({name: np.array([[one[name]] for one in found]) for name in found[0]}, RANDOM)
    session.record({"difference": [[value_difference(row)] for row in generator.normal(size=shape)]}, ZERO_SUM)
    session.record(payoff_boundary(named.CHICKEN, config.directions), REGION)
    draw(session.directory)


def best_sums(table: np.ndarray) -> dict[str, float]:
    """Returns the best sums of payoffs in Nash, correlated and coarse correlated equilibrium, and two other measures.

    ``largest_gain``: what a player could gain at most by disobeying when recommendations are drawn from a Nash equilibrium.
    ``egalitarian``: the largest payoff of the worse-off player in correlated equilibrium.
    """
    nash = support_enumeration(table)
    with jax.enable_x64(True):
        payoff = jnp.asarray(table)
        profiles = [tuple(map(jnp.asarray, one[:2])) for one in nash]
        sums = [float(expected_payoffs(payoff, one).sum()) for one in profiles]
        gains = [float(correlated_regrets(payoff, joint_distribution(one)).max()) for one in profiles]
    return {
        "nash": max(sums),
        "correlated": float(correlated_equilibrium(table).payoffs.sum()),
        "coarse": float(correlated_equilibrium(table, coarse=True).payoffs.sum()),
        "egalitarian": float(correlated_equilibrium(table, "egalitarian").payoffs.min()),
        "largest_gain": max(gains),
    }


def value_difference(row: np.ndarray) -> float:
    """Returns how far what the row player gets in a correlated equilibrium of a zero-sum game is from the minimax value.

    The larger of two distances: for the equilibrium that is best and for the one that is worst for the row player.
    """
    table, value = named.zero_sum(row), minimax(named.zero_sum(row)).value
    payoffs = [correlated_equilibrium(table, sign * row).payoffs[0] for sign in (1, -1)]
    return float(np.abs(np.array(payoffs) - value).max())


def payoff_boundary(table: np.ndarray, directions: int) -> dict[str, np.ndarray]:
    """Returns the corners of the set of correlated equilibrium payoffs, ``x`` and ``y``, float64[1, directions]."""
    corners = []
    for angle in np.linspace(0, 2 * np.pi, directions, endpoint=False):
        worth = np.cos(angle) * table[0] + np.sin(angle) * table[1]
        corners.append(correlated_equilibrium(table, worth).payoffs)
    return {"x": np.array(corners)[None, :, 0], "y": np.array(corners)[None, :, 1]}


def draw(directory: RunDirectory) -> None:
    """Draws the best sums of payoffs game by game, and what pairs of payoffs equilibria of chicken give."""
    kinds = {"Nash": "nash", "correlated": "correlated", "coarse correlated": "coarse"}
    games = [name for name, best in BEST_SUM.items() if best]
    heights = {label: [float(recorded(directory, metric, name)[0]) for name in games] for label, metric in kinds.items()}
    figures.bars(
        directory,
        "best_sums",
        heights,
        [name.replace("_", " ") for name in games],
        "Sum of payoffs (reward units)",
        title="The best equilibrium of each kind",
        text="Largest sum of the players' payoffs over all equilibria of a kind. Zero-sum games are left out.",
    )
    region = np.column_stack([directory.curves(axis, REGION).values[0] for axis in ("x", "y")])
    nash = [tuple(float(x @ table @ y) for table in named.CHICKEN) for x, y, _ in support_enumeration(named.CHICKEN)]
    # The corners of all that the players can expect: (dare, dare), and the joint actions in which at least one swerves.
    hull = np.array([(0, 0), (7, 2), (6, 6), (2, 7)], float)
    figures.payoff_region(
        directory,
        "chicken_payoffs",
        {"all joint actions": hull, "correlated equilibria": region},
        {"Nash equilibria": np.array(nash)},
        title="Chicken: what correlation adds",
        text="Payoffs that a correlated equilibrium can give, by linear programmes in many directions.",
    )


def _sums_agree(directory: RunDirectory) -> Verdict:
    error = max(abs(float(recorded(directory, "correlated", name)[0]) - best) for name, best in BEST_SUM.items())
    return Verdict(error <= 1e-6, error, "largest deviation <= 1e-6")


def _largest(compute: Callable[[RunDirectory, str], np.ndarray], variants: tuple[str, ...], criterion: str, limit: float):
    def check(directory: RunDirectory) -> Verdict:
        value = max(float(compute(directory, variant).max()) for variant in variants)
        return Verdict(value <= limit, value, criterion)

    return check


def _shortfall(directory: RunDirectory, variant: str) -> np.ndarray:
    best = {kind: recorded(directory, kind, variant).astype(np.float64) for kind in ("nash", "correlated", "coarse")}
    return np.maximum(best["nash"] - best["correlated"], best["correlated"] - best["coarse"])


def _gain(directory: RunDirectory, variant: str) -> np.ndarray:
    return recorded(directory, "largest_gain", variant)


def _difference(directory: RunDirectory, variant: str) -> np.ndarray:
    return recorded(directory, "difference", variant)


EVERYWHERE = (*BEST_SUM, RANDOM)

CLAIMS = (
    Claim(
        "The best correlated equilibrium of chicken pays 10.5 in all, more than any Nash equilibrium (28/3)",
        "Aumann (1974)",
        recorded_within("correlated", 10.5 - 1e-6, 10.5 + 1e-6, "chicken"),
    ),
    Claim(
        "The best sums of twelve well-known games are those on the list, Shapley's 1 among them",
        "Shoham and Leyton-Brown (2008), section 4.6",
        _sums_agree,
    ),
    Claim(
        "Every Nash equilibrium is a correlated equilibrium",
        "Aumann (1974)",
        _largest(_gain, EVERYWHERE, "largest gain by disobeying <= 1e-9", 1e-9),
    ),
    Claim(
        "The best coarse correlated equilibrium pays no less than the best correlated one, and that no less than the best Nash",
        "Moulin and Vial (1978)",
        _largest(_shortfall, EVERYWHERE, "largest shortfall <= 1e-6", 1e-6),
    ),
    Claim(
        "In 100 random zero-sum games every correlated equilibrium is worth the minimax value",
        "Forges (1990), Correlated equilibrium in two-person zero-sum games",
        _largest(_difference, (ZERO_SUM,), "largest difference <= 1e-6", 1e-6),
    ),
)
