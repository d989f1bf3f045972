"""Moves between coalitions: by consent players come to rest, without it they may run for ever.

Values of players for each other are standard normal. They begin alone, and one at a time goes to another coalition as long as it
gains: by consent of all members of both ("CIS", contractual individual stability), or without any ("NS", Nash stability).

Source: Zech and Bullinger (2025), Deviation dynamics in cardinal hedonic games; Bogomolnaia and Jackson (2002), The stability of
hedonic coalition structures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from jaxrl.experiment import Claim, Quantity, Results, derived, draw, every, exact, smallest
from jaxrl.solvers import hedonic, hedonic_moves

CIS, NS, SYMMETRIC, INDEPENDENT = "CIS", "NS", "symmetric", "independent"
CHASE = [[0, 1], [-1, 0]]  # one player likes the other, who does not like it
SIZES = (6, 10, 14, 18, 22, 26, 30)


@dataclass(frozen=True)
class Config:
    """Players who move between coalitions, in random games of three forms."""

    seeds: int = 256
    """Random games of each size (count)."""
    moves: int = 2000
    """Moves after which a path is given up (count)."""


QUICK = Config(seeds=4, moves=50)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Follows players in float64; a row for each game.

    ``moves``: how many; ``stable``: whether no player wants to move at the end. ``rise``: the least by which a move raises the
    sum of what all get; ``lowest``: the least that a player gets on the way. ``cycles``: whether the last partition has occurred
    before and was left: of players whose largest gain comes first, this is a proof that they never stop.
    """
    with jax.enable_x64(True):
        for players in SIZES:
            game_key, path_key = jax.random.split(jax.random.fold_in(jax.random.key(results.root), players))
            values = jax.random.normal(game_key, (config.seeds, players, players))
            keys = jax.random.split(path_key, config.seeds)
            for form in hedonic_moves.FORMS:
                found = paths(keys, values, 4 * players, form=form)
                yield {"rule": CIS, "form": form, "players": players}, ends(found) | raised(values, found, form)
            for kind, table in ((SYMMETRIC, (values + values.swapaxes(1, 2)) / 2), (INDEPENDENT, values)):
                found = paths(keys, table, config.moves, stability="nash", choice="largest")
                before = (found.labels[:, :-1] == found.labels[:, -1:]).all(-1).any(1)
                cycles = {"cycles": (before & ~found.stable)[:, None]}
                yield {"rule": NS, "values": kind, "players": players}, ends(found) | cycles


def paths(keys: jax.Array, values: jax.Array, num_steps: int, **options) -> hedonic_moves.Path:
    """Returns the paths of players who are alone at first, in each game."""
    move = partial(hedonic_moves.moves, num_steps=num_steps, **options)
    return jax.device_get(jax.vmap(move)(keys, values))  # compiled within, once for all forms


def ends(found: hedonic_moves.Path) -> dict[str, np.ndarray]:
    """Returns where paths end."""
    return {"moves": np.asarray(found.moves)[:, None], "stable": np.asarray(found.stable)[:, None]}


def raised(values: jax.Array, found: hedonic_moves.Path, form: str) -> dict[str, np.ndarray]:
    """Returns by how much each move raises the sum of what all get at least, and the least that a player gets on the way."""
    get = jax.vmap(jax.vmap(partial(hedonic_moves.payoffs, form=form), (None, 0)))
    earned = np.asarray(get(values, found.labels))
    moved = np.arange(earned.shape[1] - 1) < found.moves[:, None]
    rise = np.where(moved, np.diff(earned.sum(-1)), np.inf).min(1)
    return {"rise": np.where(moved.any(1), rise, 1.0)[:, None], "lowest": earned.min((1, 2))[:, None]}  # 1: no move, no fall


def linearity(form: str) -> Quantity:
    """The share of the variance of the mean number of moves, over sizes, that a line explains."""

    def squared(results: Results) -> float:
        players, counts = results.along("moves", "players", rule=CIS, form=form)
        return np.corrcoef(players, counts.mean(0))[0, 1] ** 2

    return derived(f"R^2 of a line through mean moves (form={form})", squared)


def least_gain_in_the_chase() -> float:
    """The gain of the player who can gain by moving in the chase, in the partition where it is least."""
    return float(hedonic.structures(hedonic.additive(CHASE)).nash.min())


def moves_in_the_chase() -> float:
    """How often players have moved in the chase, of 1000 times."""
    return float(hedonic_moves.moves(jax.random.key(0), CHASE, 1000, stability="nash").moves)


def figures(results: Results) -> None:
    """Draws how many moves it takes to come to rest, and in how many games players do without consent."""
    lines = {form.replace("_", " "): results.along("moves", "players", rule=CIS, form=form) for form in hedonic_moves.FORMS}
    draw.relation(results, "moves", lines, "Players", "Moves until rest (count)", title="Moves by consent")
    shares = {
        "symmetric: come to rest": results.along("stable", "players", rule=NS, values=SYMMETRIC),
        "independent: come to rest": results.along("stable", "players", rule=NS, values=INDEPENDENT),
        "independent: go round for ever": results.along("cycles", "players", rule=NS, values=INDEPENDENT),
    }
    lines = {label: (players, ended.mean(0, keepdims=True)) for label, (players, ended) in shares.items()}
    options = {"title": "Moves without consent, largest gain first", "note": "Each point is a share of random games."}
    draw.relation(results, "rest", lines, "Players", "Share of games", **options)


PAPER, OLDER = "Zech and Bullinger (2025)", "Bogomolnaia and Jackson (2002)"
CLAIMS = (
    Claim(
        "Players who begin alone and move by consent of all members of both coalitions come to rest, in each of 256 games of 6 "
        "to 30 players, whether they add up, average over all or over the others",
        PAPER,
        smallest("stable", rule=CIS) >= 1,
    ),
    Claim(
        "Each move by consent raises the sum of what all get, and no player ever gets less than 0, what it gets alone",
        PAPER,
        every([smallest("rise") > 0, smallest("lowest") >= -1e-9]),
    ),
    Claim(
        "The mean number of moves by consent grows like a line in the number of players, 6 to 30, of which the line explains "
        "95 % or more",
        f"{PAPER}, who show that a linear number is possible; the bar is ours",
        every(linearity(form) >= 0.95 for form in hedonic_moves.FORMS),
    ),
    Claim(
        "Where one player likes another who does not like it, one gains by moving in every partition: without consent they "
        "never stop",
        OLDER,
        every(
            [
                exact("least gain by a move", least_gain_in_the_chase).equals(1.0, 1e-12),
                exact("moves of 1000", moves_in_the_chase).equals(1000, 0),
            ]
        ),
    ),
    Claim(
        "In each of 256 symmetric games of 6 to 30 players who add up, players who move without consent come to rest",
        f"{OLDER}: each move raises the sum of what all get",
        smallest("stable", rule=NS, values=SYMMETRIC) >= 1,
    ),
)
