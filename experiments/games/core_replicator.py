"""Replicator dynamics: where a population that plays against itself circles, and where two populations end in every 2x2 game.

Source: Taylor and Jonker (1978); Hofbauer and Sigmund (1998), Evolutionary Games and Population Dynamics.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from envs.matrix_games import named
from jaxrl.experiment import Claim, Results, draw, final, largest, share, smallest
from jaxrl.report import game_figures
from jaxrl.solvers import dynamics

RPS = "rock_paper_scissors"
TWO_BY_TWO = {
    "prisoners_dilemma": "Prisoner's dilemma",
    "stag_hunt": "Stag hunt",
    "chicken": "Chicken",
    "battle_of_the_sexes": "Battle of the sexes",
    "pure_coordination": "Pure coordination",
    "matching_pennies": "Matching pennies",
}
CIRCLES = "matching_pennies"  # the one in which play does not come to rest


@dataclass(frozen=True)
class Config:
    """Replicator dynamics of one population in three games, and of two populations in all 2x2 games."""

    steps: int = 10_000
    """Integration steps of 0.01 time units (count), a multiple of 100."""
    seeds: int = 1024
    """Starts in each game, drawn uniformly (count)."""


QUICK = Config(steps=200, seeds=4)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Integrates every game; a row for each start.

    ``share_0`` ... are the current shares of the actions. ``drift``: by which share the constant of motion, the product of all
    shares, has changed; ``from_centre``: the largest distance of a time-averaged share from the equilibrium; ``on_side``: whether
    the first action has almost all of a population in which it began with more than half, or almost none of another;
    ``from_rest``: how far the two populations are from the nearest pure equilibrium, the larger distance of their shares.
    """
    generator = np.random.default_rng(results.root)
    starts = generator.dirichlet(np.ones(3), config.seeds)
    path, average = dynamics.populations(named.ROCK_PAPER_SCISSORS, starts, config.steps, 0.01, config.steps // 20)
    measures = {"drift": drift(starts, path), "from_centre": np.abs(average - 1 / 3).max(-1)}
    yield {"game": RPS, "populations": 1}, measures | {f"share_{action}": path[:, :, action] for action in range(3)}

    random = generator.uniform(0.01, 0.99, config.seeds)
    for game, first in (("prisoners_dilemma", random), ("stag_hunt", np.arange(0.01, 1.0, 0.02))):
        share_0 = dynamics.populations(named.TABLES[game], two_shares(first), config.steps, 0.01, 100)[0][:, :, 0]
        on_side = np.where(first[:, None] > 0.5, share_0 > 0.99, share_0 < 0.01)
        yield {"game": game, "populations": 1}, {"share_0": share_0, "on_side": on_side}

    firsts = generator.uniform(size=(2, config.seeds))
    move = partial(dynamics.replicator, num_steps=config.steps, step_size=0.01, num_records=config.steps // 20)
    for game in TWO_BY_TWO:
        starts = [two_shares(first) for first in firsts]
        history = dynamics.from_starts(move, named.TABLES[game], starts).history
        shares, average = (np.concatenate(pair, -1).astype(np.float64) for pair in (history.profile, history.average))
        at = shares[..., ::2]  # of the first action of both
        measures = {"row_share": at[..., 0], "column_share": at[..., 1]}
        pure = [(row[0], column[0]) for row, column in named.EQUILIBRIA[game] if {*row, *column} <= {0, 1}]
        if game == CIRCLES:
            measures |= {"drift": drift(np.concatenate(starts, -1), shares), "from_centre": np.abs(average - 1 / 2).max(-1)}
        else:
            measures["from_rest"] = np.min([np.abs(at - np.array(rest)).max(-1) for rest in pure], 0)
        yield {"game": game, "populations": 2}, measures


def two_shares(first: np.ndarray) -> np.ndarray:
    """Returns the shares of two actions, [S, 2], from those of the first."""
    return np.column_stack([first, 1 - first])


def drift(first: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Returns by which share the product of all shares, [S, C, A], differs from that at the start, [S, A]."""
    return np.abs(path.prod(-1) / first.astype(np.float32).astype(np.float64).prod(-1)[:, None] - 1)


def figures(results: Results) -> None:
    """Draws paths on the simplex of rock, paper, scissors, and 64 paths of two populations in every 2x2 game."""
    options = {"title": "Replicator dynamics circle the equilibrium", "equilibrium": (1 / 3,) * 3}
    options["text"] = "Paths of six populations. Dot: the end; cross: the equilibrium."
    shares, hands = [f"share_{action}" for action in range(3)], ("rock", "paper", "scissors")
    draw.simplex(results, "rps_replicator", shares, {"": {"game": RPS}}, hands, paths=6, **options)
    both = ("row_share", "column_share")
    game_figures.phase_portraits(
        results.directory,
        "two_populations",
        {label: np.stack([results.values(name, game=game)[:64] for name in both], -1) for game, label in TWO_BY_TWO.items()},
        {label: named.EQUILIBRIA[game] for game, label in TWO_BY_TWO.items()},
        title="Where two populations go in every 2x2 game",
        text="Paths from 64 starts: shares of the first action of either player. Dot: the end; cross: equilibria.",
    )


CLAIMS = (
    Claim(
        "The replicator dynamics of rock, paper, scissors conserve the product of the shares to a thousandth",
        "Hofbauer and Sigmund (1998), Evolutionary Games and Population Dynamics, section 7.7",
        largest("drift", game=RPS) <= 1e-3,
    ),
    Claim(
        "After 100 time units of the replicator dynamics of rock, paper, scissors the time average is within 0.05 of equilibrium",
        "Hofbauer and Sigmund (1998), theorem 7.6.4",
        final("from_centre", game=RPS) <= 0.05,
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
    *(
        Claim(
            f"{label}: two populations come within 0.01 of a pure equilibrium from at least 99 % of all starts",
            "Hofbauer and Sigmund (1998), section 10.3, on games of two strategies each",
            share(final("from_rest", game=game) <= 0.01) >= 0.99,
        )
        for game, label in TWO_BY_TWO.items()
        if game != CIRCLES
    ),
    Claim(
        "In matching pennies two populations conserve the product of all shares to a thousandth",
        "Hofbauer and Sigmund (1998), section 11.2, on zero-sum games",
        largest("drift", game=CIRCLES) <= 1e-3,
    ),
    Claim(
        "After 100 time units of matching pennies the time averages of two populations are within 0.05 of equilibrium",
        "Hofbauer and Sigmund (1998), section 11.2",
        final("from_centre", game=CIRCLES) <= 0.05,
    ),
)
