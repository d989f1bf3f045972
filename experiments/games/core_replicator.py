"""Replicator dynamics of a population that plays against itself: where they circle, and where they end.

Source: Taylor and Jonker (1978); Hofbauer and Sigmund (1998), Evolutionary Games and Population Dynamics.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from envs.matrix_games import named
from jaxrl.experiment import Claim, Results, draw, final, largest, smallest
from jaxrl.solvers import dynamics

RPS = "rock_paper_scissors"


@dataclass(frozen=True)
class Config:
    """Replicator dynamics in three games."""

    steps: int = 10_000
    """Integration steps of 0.01 time units (count), a multiple of 100."""
    seeds: int = 64
    """Populations, each from a random start (count)."""


QUICK = Config(steps=200, seeds=4)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Integrates every game; a row for each population.

    ``share_0`` ... are the current shares of the actions. ``drift``: by which share the product of the three shares has changed;
    ``from_centre``: the largest distance of a time-averaged share from 1/3; ``on_side``: whether the first action has almost all
    of a population in which it began with more than half, or almost none of another.
    """
    starts = np.random.default_rng(results.root).dirichlet(np.ones(3), config.seeds)
    path, average = dynamics.populations(named.ROCK_PAPER_SCISSORS, starts, config.steps, 0.01, config.steps // 20)
    first = starts.astype(np.float32).astype(np.float64).prod(-1)[:, None]
    measures = {"drift": np.abs(path.prod(-1) / first - 1), "from_centre": np.abs(average - 1 / 3).max(-1)}
    yield {"game": RPS}, measures | {f"share_{action}": path[:, :, action] for action in range(3)}

    random = np.random.default_rng(results.root + 1).uniform(0.01, 0.99, config.seeds)
    for game, first in (("prisoners_dilemma", random), ("stag_hunt", np.arange(0.01, 1.0, 0.02))):
        starts = np.column_stack([first, 1 - first])
        share = dynamics.populations(named.TABLES[game], starts, config.steps, 0.01, 100)[0][:, :, 0]
        on_side = np.where(first[:, None] > 0.5, share > 0.99, share < 0.01)
        yield {"game": game}, {"share_0": share, "on_side": on_side}


def figures(results: Results) -> None:
    """Draws paths on the simplex of rock, paper, scissors."""
    options = {"title": "Replicator dynamics circle the equilibrium", "equilibrium": (1 / 3,) * 3}
    options["text"] = "Paths of six populations. Dot: the end; cross: the equilibrium."
    shares, hands = [f"share_{action}" for action in range(3)], ("rock", "paper", "scissors")
    draw.simplex(results, "rps_replicator", shares, {"": {"game": RPS}}, hands, paths=6, **options)


CLAIMS = (
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
)
