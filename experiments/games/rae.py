"""Players who avoid variance: the aversion at which a stag hunt turns to hares, and what it does to the risk of random games.

A player takes w times the variance of what it gets, over what the other draws, from its mean. Fictitious play begins with the
belief that the other is equally likely to do either.

Source: Slumbers et al. (2023), A game-theoretic framework for managing risk in multi-agent systems.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games.named import symmetric
from jaxrl.experiment import Claim, Results, draw, every, exact, final, largest, share
from jaxrl.solvers import dynamics, risk_averse

STAG = symmetric([[10, -2], [3, 3]])  # at equal odds stag has mean 4 and variance 36; hare is worth 3 for certain
HALF = ([0.5, 0.5], [0.5, 0.5])
BECOMES_STAG, BECOMES_HARE = (0.0, 0.02), (0.03, 0.1, 0.3)
AVERSIONS = (*BECOMES_STAG, 0.024, 0.027, 0.0285, *BECOMES_HARE)
OTHERS, BOTH = "the other's", "both players'"  # draws that count in the variance
RANDOM = (0.0, 0.25, 0.5, 1.0, 2.0)  # aversions in random games


@dataclass(frozen=True)
class Config:
    """Fictitious play of players who avoid variance."""

    seeds: int = 512
    """Random games of two players with three actions each and independent standard normal payoffs (count)."""
    plays: int = 2500
    """Plays of each game (count)."""


QUICK = Config(seeds=4, plays=20)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Plays, in float64.

    ``stag``: the average of a stag hunter. In random games, by a row for each, ``risk`` is the variance of what both players get
    over the other's draws, ``spread`` that over both players' draws, and ``mean`` the mean, each summed over both; ``regret`` is
    the most that a player misses of its best utility; ``apart`` how far averages are from those of fictitious play.
    """
    with jax.enable_x64(True):
        for draws, own_mixing in ((OTHERS, False), (BOTH, True)):
            play = partial(dynamics.risk_averse_play, STAG, config.plays, own_mixing=own_mixing, start=HALF)
            averages = jax.jit(jax.vmap(lambda w, play=play: play(aversion=w).average[0][0]))(jnp.array(AVERSIONS))
            for aversion, stag in zip(AVERSIONS, averages, strict=True):
                yield {"game": "stag hunt", "draws": draws, "aversion": aversion}, {"stag": stag}
        games = jnp.asarray(np.random.default_rng(results.root).normal(size=(config.seeds, 2, 3, 3)))
        plain = dynamics.over_games(partial(dynamics.fictitious_play, num_steps=config.plays), games).average
        played = jax.jit(jax.vmap(lambda payoff, w: in_game(payoff, w, config.plays), (0, None)))
        for aversion in RANDOM:
            average, measures = jax.device_get(played(games, aversion))
            measures["apart"] = np.max([np.abs(ours - theirs).max(-1) for ours, theirs in zip(average, plain, strict=True)], 0)
            yield {"game": "random", "aversion": aversion}, {name: value[:, None] for name, value in measures.items()}


def in_game(payoff: jax.Array, aversion: jax.Array, plays: int) -> tuple[tuple, dict[str, jax.Array]]:
    """Returns the averages of fictitious play in a game, and what they are worth."""
    average = dynamics.risk_averse_play(payoff, plays, aversion=aversion).average
    mean = risk_averse.utilities(payoff, average, 0.0)
    risk, spread = (mean - risk_averse.utilities(payoff, average, 1.0, own_mixing=own) for own in (False, True))
    sums = {"mean": mean.sum(), "risk": risk.sum(), "spread": spread.sum()}
    return average, sums | {"regret": risk_averse.regrets(payoff, average, aversion).max()}


def figures(results: Results) -> None:
    """Draws how many hunt stags by their aversion, and mean and variance in random games."""
    lines = {f"variance over {draws} draws": results.along("stag", "aversion", draws=draws) for draws in (OTHERS, BOTH)}
    options = {"level": 0.5, "title": "Stag or hare, from equal odds"}
    draw.relation(results, "stag_hunt", lines, "Aversion w (per reward unit)", "Share of stag in all plays", **options)
    lines = {}
    for label, name in (("over the other's draws", "risk"), ("over both players' draws", "spread")):
        aversions, found = results.along(name, "aversion", game="random")
        lines[f"variance {label}"] = aversions, found.mean(0, keepdims=True)
    axes = "Aversion w (per reward unit)", "Sum over both players (reward units squared)"
    options = {"title": "Random games after fictitious play", "note": "Means over games; in most there is none."}
    draw.relation(results, "random_games", lines, *axes, **options)


def stag_at_equal_odds(aversion: float) -> float:
    """The probability of stag that is best against equal odds."""
    with jax.enable_x64(True):
        return float(risk_averse.best_response(STAG, HALF, 0, aversion).strategy[0])


PAPER = "Slumbers et al. (2023)"
CLAIMS = (
    Claim(
        "Against equal odds in the stag hunt the best response is stag with probability min(1, 1 / 72w), for w = 0.01, 0.02, "
        "1/36, 0.03, 0.1 and 0.3",
        "by hand: mean 4 and variance 36 against 3 for certain",
        every(
            exact(f"stag at w = {w:.4g}", lambda w=w: stag_at_equal_odds(w)).equals(min(1, 1 / (72 * w)), 1e-9)
            for w in (0.01, 0.02, 1 / 36, 0.03, 0.1, 0.3)
        ),
    ),
    Claim(
        "From equal odds in the stag hunt more than 99 % of all plays become stag for w = 0 and 0.02, and fewer than 1 % for "
        "w = 0.03, 0.1 and 0.3: the change is at w = 1/36",
        PAPER,
        every(
            [final("stag", draws=OTHERS, aversion=w) > 0.99 for w in BECOMES_STAG]
            + [final("stag", draws=OTHERS, aversion=w) < 0.01 for w in BECOMES_HARE]
        ),
    ),
    Claim(
        "If the variance over both players' draws counts, stag and hare are told apart by the same aversions",
        "by hand: mixing own actions then hedges nothing, and stag is better than hare if 36w < 1",
        every(
            [final("stag", draws=BOTH, aversion=w) > 0.99 for w in BECOMES_STAG]
            + [final("stag", draws=BOTH, aversion=w) < 0.01 for w in BECOMES_HARE]
        ),
    ),
    Claim(
        "Without aversion all averages are those of fictitious play to the last bit, in 512 random games",
        "by definition",
        largest(final("apart", game="random", aversion=0.0)).equals(0, 0),
    ),
    Claim(
        "In at least 90 % of 512 random games players with w = 1 end with no more variance over each other's draws than those "
        "without aversion, up to 0.01",
        f"{PAPER}; the bar is ours",
        share(final("risk", game="random", aversion=1.0) - final("risk", game="random", aversion=0.0) <= 0.01) >= 0.9,
    ),
    Claim(
        "On average over these games the variance is lower with w = 1 than without aversion",
        PAPER,
        final("risk", game="random", aversion=1.0) < final("risk", game="random", aversion=0.0),
    ),
)
