"""Correlated equilibria of well-known and of random games by linear programming, beside their Nash equilibria.

Source: Aumann (1974), Subjectivity and correlation in randomized strategies; Moulin and Vial (1978) on coarse ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment import Claim, Results, every, final, largest
from jaxrl.report import game_figures
from jaxrl.solvers.equilibria import correlated_equilibrium, correlated_payoffs, minimax, support_enumeration
from jaxrl.solvers.normal_form import correlated_regrets, expected_payoffs, joint_distribution


@dataclass(frozen=True)
class Config:
    """Correlated equilibria of well-known and of random games."""

    seeds: int = 100
    """Random games of each kind, with independent standard normal payoffs (count)."""
    actions: int = 4
    """Actions of each player in a random game (count)."""
    directions: int = 72
    """Directions in which the set of payoffs is explored for the figure (count)."""


QUICK = Config(seeds=4, actions=3, directions=12)


def best_sums(table: np.ndarray) -> dict[str, float]:
    """Returns the best sums of payoffs in Nash, correlated and coarse correlated equilibrium, and three other measures.

    ``shortfall``: by how much a wider kind of equilibrium pays less than a narrower one, at most; never more than rounding.
    ``gain``: what a player could gain at most by disobeying when recommendations are drawn from a Nash equilibrium.
    ``egalitarian``: the largest payoff of the worse-off player in correlated equilibrium.
    """
    with jax.enable_x64(True):
        payoff = jnp.asarray(table)
        profiles = [tuple(map(jnp.asarray, one[:2])) for one in support_enumeration(table)]
        nash = max(float(expected_payoffs(payoff, one).sum()) for one in profiles)
        gain = max(float(correlated_regrets(payoff, joint_distribution(one)).max()) for one in profiles)
    correlated = float(correlated_equilibrium(table).payoffs.sum())
    coarse = float(correlated_equilibrium(table, coarse=True).payoffs.sum())
    return {
        "nash": nash,
        "correlated": correlated,
        "coarse": coarse,
        "shortfall": max(nash - correlated, correlated - coarse),
        "egalitarian": float(correlated_equilibrium(table, "egalitarian").payoffs.min()),
        "gain": gain,
    }


def value_difference(row: np.ndarray) -> float:
    """Returns how far the row player's payoff in a correlated equilibrium of a zero-sum game is from the minimax value.

    The larger of two distances: for the equilibrium that is best and for the one that is worst for the row player.
    """
    table = named.zero_sum(row)
    payoffs = [correlated_equilibrium(table, sign * row).payoffs[0] for sign in (1, -1)]
    return float(np.abs(np.array(payoffs) - minimax(table).value).max())


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Solves every game; random games have a row each. Of chicken, the corners of the set of payoffs as well."""
    for game, known in named.BEST_CORRELATED_SUMS.items():
        found = best_sums(named.TABLES[game])
        yield {"game": game}, found | {"error": abs(found["correlated"] - known)}
    generator = np.random.default_rng(results.root)
    shape = (config.seeds, config.actions, config.actions)
    solved = [best_sums(table) for table in generator.normal(size=(2, *shape)).swapaxes(0, 1)]
    yield {"game": "random"}, {name: [[one[name]] for one in solved] for name in solved[0]}
    yield {"game": "random zero-sum"}, {"value_difference": [[value_difference(row)] for row in generator.normal(size=shape)]}
    x, y = correlated_payoffs(named.CHICKEN, config.directions).T
    yield {"game": "chicken, payoffs in all directions"}, {"x": x, "y": y}


def figures(results: Results) -> None:
    """Draws the best sums of payoffs game by game, and the pairs of payoffs that equilibria of chicken give."""
    kinds = {"Nash": "nash", "correlated": "correlated", "coarse correlated": "coarse"}
    games = [game for game, best in named.BEST_CORRELATED_SUMS.items() if best]
    game_figures.bars(
        results.directory,
        "best_sums",
        {label: [float(results.final(kind, game=game)[0]) for game in games] for label, kind in kinds.items()},
        [game.replace("_", " ") for game in games],
        "Sum of payoffs (reward units)",
        title="The best equilibrium of each kind",
        text="Largest sum of the players' payoffs over all equilibria of a kind. Zero-sum games are left out.",
    )
    corners = np.column_stack([results.values(axis)[0] for axis in ("x", "y")])
    nash = [[x @ table @ y for table in named.CHICKEN] for x, y, _ in support_enumeration(named.CHICKEN)]
    # The corners of all that the players can expect: (dare, dare), and the joint actions in which at least one swerves.
    hull = np.array([(0, 0), (7, 2), (6, 6), (2, 7)], float)
    game_figures.payoff_region(
        results.directory,
        "chicken_payoffs",
        {"all joint actions": hull, "correlated equilibria": corners},
        {"Nash equilibria": np.array(nash)},
        title="Chicken: what correlation adds",
        text="Payoffs that a correlated equilibrium can give, by linear programmes in many directions.",
    )


CLAIMS = (
    Claim(
        "The best correlated equilibrium of chicken pays 10.5 in all, more than any Nash equilibrium (28/3)",
        "Aumann (1974)",
        every(
            [
                final("correlated", game="chicken").equals(10.5, 1e-6),
                final("correlated", game="chicken") > final("nash", game="chicken"),
            ]
        ),
    ),
    Claim(
        "In twelve well-known games the best sum of payoffs in correlated equilibrium is that on the list, 1 in Shapley's game",
        "Shoham and Leyton-Brown (2008), section 4.6",
        largest("error") <= 1e-6,
    ),
    Claim(
        "Every Nash equilibrium of twelve well-known and 100 random 4x4 games is a correlated equilibrium",
        "Aumann (1974)",
        largest("gain") <= 1e-9,
    ),
    Claim(
        "In twelve well-known and 100 random 4x4 games the best coarse correlated equilibrium pays no less than the best "
        "correlated one, and that no less than the best Nash equilibrium",
        "Moulin and Vial (1978)",
        largest("shortfall") <= 1e-6,
    ),
    Claim(
        "In 100 random zero-sum games every correlated equilibrium is worth the minimax value to the row player",
        "Forges (1990), Correlated equilibrium in two-person zero-sum games",
        largest("value_difference") <= 1e-6,
    ),
)
