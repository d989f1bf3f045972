"""The iterated prisoner's dilemma: naive learners defect, learners who foresee each other cooperate, and extortion is exact.

Strategies remember the last round; values are exact, per round, with a discount of 0.96. A look-ahead of 1 on the discounted sum
of rewards is one of 25 on the value per round.

Source: Foerster et al. (2018), Learning with opponent-learning awareness; Press and Dyson (2012); Hilbe, Traulsen and Sigmund
(2015), Partners or rivals?
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.algorithms.games import lola
from jaxrl.experiment import Arm, Claim, Results, draw, final, largest, share
from jaxrl.solvers import memory_one

PD, GAMMA = named.PRISONERS_DILEMMA, 0.96
NAIVE, LOLA = "naive", "LOLA"
LEARNERS = {NAIVE: lola.Config(gamma=GAMMA), LOLA: lola.Config(gamma=GAMMA, lookahead=1 / (1 - GAMMA))}
EXTORTION, GENEROSITY = {"slope": 3.0, "baseline": -2.0}, {"slope": 2.0, "baseline": -1.0, "first": 1.0}


@dataclass(frozen=True)
class Config:
    """Naive learners and LOLA, and strategies that fix a line of payoffs, in the iterated prisoner's dilemma."""

    seeds: int = 1024
    """Pairs of learners of each kind (count)."""
    updates: int = 400
    """Gradient steps of each pair (count)."""
    opponents: int = 1024
    """Random strategies that extortion and generosity meet (count)."""


QUICK = Config(seeds=8, updates=20, opponents=8)


def arms(config: Config) -> Iterator[Arm]:
    """Both kinds of learners, settings of one program."""
    for learner, algorithm in LEARNERS.items():
        yield Arm(
            {"learner": learner}, lola.make, PD, algorithm, seeds=config.seeds, num_updates=config.updates, show=("welfare",)
        )


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Plays both strategies against random ones, in float64. ``off_line``: how far the values are from the line."""
    cooperates = np.random.default_rng(results.root).uniform(size=(config.opponents, 5))
    with jax.enable_x64(True):
        payoff, others = jnp.asarray(PD, jnp.float64), jnp.asarray(np.stack([cooperates, 1 - cooperates], -1))
        for name, line in (("extortion", EXTORTION), ("generosity", GENEROSITY)):
            own = memory_one.zero_determinant(PD, GAMMA, weight=0.1, **line)
            against = jax.vmap(lambda other, own=own: memory_one.values(payoff, [own, other], GAMMA))
            value = np.asarray(jax.jit(against)(others))
            off_line = np.abs(value[:, 0] - line["baseline"] - line["slope"] * (value[:, 1] - line["baseline"]))
            yield {"strategy": name}, {"off_line": off_line[:, None], "own": value[:, :1], "other": value[:, 1:]}


def figures(results: Results) -> None:
    """Draws what pairs of learners earn over time, and the values of extortion and generosity against random strategies."""
    lines = {learner: {"learner": learner} for learner in LEARNERS}
    labels = "Gradient steps", "Mean value of both players (reward units per round)"
    draw.lines(results, "welfare", "welfare", lines, *labels, title="Iterated prisoner's dilemma")
    for strategy in ("extortion", "generosity"):
        own, other = (results.values(player, strategy=strategy)[:, 0] for player in ("own", "other"))
        order = np.argsort(other)
        line = {"values against random strategies": (other[order], own[None, order])}
        axes = "Value of the other player (per round)", "Value of its own (per round)"
        draw.relation(results, strategy, line, *axes, title=f"{strategy.capitalize()}: all values on one line")


CLAIMS = (
    Claim(
        "At least 90 % of pairs of naive learners earn less than -1.8 per round after 400 steps: they defect",
        "Foerster et al. (2018), table 2",
        share(final("welfare", learner=NAIVE) < -1.8) >= 0.9,
    ),
    Claim(
        "Pairs of LOLA learners earn more than -1.3 per round on average after 400 steps",
        "Foerster et al. (2018), table 2",
        final("welfare", learner=LOLA) > -1.3,
    ),
    *(
        Claim(
            f"{strategy.capitalize()} holds the values of both players on its line within 1e-6 against every random strategy",
            "Press and Dyson (2012); Hilbe, Traulsen and Sigmund (2015)",
            largest("off_line", strategy=strategy) <= 1e-6,
        )
        for strategy in ("extortion", "generosity")
    ),
)
