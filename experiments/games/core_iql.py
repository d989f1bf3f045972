"""Independent Q-learning in matrix games: which joint actions learners who ignore each other end with.

Source: Tan (1993); Claus and Boutilier (1998), The dynamics of reinforcement learning in cooperative multiagent systems;
Matignon, Laurent and Le Fort-Piat (2007), Hysteretic Q-learning.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.matrix_games import matrix_game, named
from experiments.figures import relation
from experiments.games import figures
from experiments.protocol import Claim, Verdict, last
from experiments.session import Session
from jaxrl.algorithms.multiagent import iql
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.rollout import View
from jaxrl.evaluation import NashConv
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval

TWO_BY_TWO = (
    "prisoners_dilemma",
    "stag_hunt",
    "chicken",
    "battle_of_the_sexes",
    "matching_pennies",
    "pure_coordination",
)
PLAIN = iql.Config(epsilon=0.1)
CLIMBERS = {
    "climb": PLAIN,
    "climb, hysteretic": replace(PLAIN, beta=0.1),
    # A step size of 1 / (n + 1) makes every entry the plain average of its rewards.
    "climb, averaging": replace(PLAIN, epsilon=1.0, learning_rate=1.0, learning_rate_half_life=1.0, learning_rate_min=0.0),
}
VARIANTS = {name: (name, PLAIN) for name in TWO_BY_TWO} | {name: ("climb", config) for name, config in CLIMBERS.items()}


@dataclass(frozen=True)
class Config:
    """Independent Q-learning on all 2x2 games and on climb."""

    seeds: int = 1024
    """Independent pairs of learners in each game, trained side by side (count)."""
    plays: int = 5_000
    """Plays of each pair (count), a multiple of 100."""


QUICK = Config(seeds=8, plays=200)


@struct.dataclass
class GreedyActions:
    """Evaluates which actions two greedy players take: ``row_action`` and ``column_action``, as float32[]."""

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        action = algorithm.policy(state, True)(key, View(jnp.zeros((1, 2), jnp.int32), None, ())).action[0]
        return {"row_action": action[0].astype(jnp.float32), "column_action": action[1].astype(jnp.float32)}


def run(config: Config, session: Session) -> None:
    """Trains all pairs in all games; the games of one size share a compiled program."""
    for variant, (game, algorithm) in VARIANTS.items():
        session.train(
            iql.make,
            matrix_game.make(named.TABLES[game]),
            algorithm,
            seeds=config.seeds,
            num_updates=config.plays // algorithm.steps_per_update,
            evaluators=(NashConv(named.TABLES[game]), GreedyActions()),
            variant=variant,
            show=("sampled_nash_conv", "greedy_nash_conv"),
        )
    draw(session)


def draw(session: Session) -> None:
    """Draws NashConv over time and how often each joint action is where the learners end."""
    curves = {variant: session.directory.curves("sampled_nash_conv", variant) for variant in TWO_BY_TWO}
    plays = PLAIN.steps_per_update * (next(iter(curves.values())).updates + 1)
    lines = {variant.replace("_", " "): (plays, curve.values) for variant, curve in curves.items()}
    title = "How far the sampled policies are from equilibrium"
    relation(session.directory, "sampled_nash_conv", lines, "Plays", "NashConv (reward units)", title=title)
    for name, variants, actions, title in (
        ("two_by_two", TWO_BY_TWO, 2, "Where independent learners end, 2x2 games"),
        ("climb", tuple(CLIMBERS), 3, "Where independent learners end on climb"),
    ):
        joint = list(product(range(actions), repeat=2))
        shares = {variant: [_share(session.directory, variant, *pair) for pair in joint] for variant in variants}
        ticks = ["".join("abc"[action] for action in pair) for pair in joint]
        figures.bars(
            session.directory,
            f"joint_actions_{name}",
            {variant.replace("_", " "): values for variant, values in shares.items()},
            ticks,
            "Share of seeds",
            x_label="Greedy actions of the row and the column player",
            title=title,
            text="Share of seeds whose greedy policies end in each joint action; a is the first action.",
        )


def _ends_in(directory: RunDirectory, variant: str, row: int, column: int) -> np.ndarray:
    """Returns which seeds end in a joint action, bool[S]."""
    return (last(directory, "row_action", variant) == row) & (last(directory, "column_action", variant) == column)


def _share(directory: RunDirectory, variant: str, row: int, column: int) -> float:
    return float(_ends_in(directory, variant, row, column).mean())


def _share_at_least(variant: str, row: int, column: int, limit: float):
    def check(directory: RunDirectory) -> Verdict:
        share = bootstrap_interval(_ends_in(directory, variant, row, column).astype(float), np.mean)
        return Verdict(share.estimate >= limit, share.estimate, f"share of seeds >= {limit:g}", share.low, share.high)

    return check


def _best_is_missed(directory: RunDirectory) -> Verdict:
    share = bootstrap_interval(_ends_in(directory, "climb", 0, 0).astype(float), np.mean)
    return Verdict(share.estimate < 0.5, share.estimate, "share of seeds that end in the best joint action < 0.5", *share[1:])


def _hysteresis_helps(directory: RunDirectory) -> Verdict:
    more, less = (_ends_in(directory, variant, 0, 0).astype(float) for variant in ("climb, hysteretic", "climb"))
    gain = bootstrap_interval(more - less, np.mean)
    return Verdict(gain.low > 0, gain.estimate, "95 % interval of the mean paired difference above 0", *gain[1:])


CLAIMS = (
    Claim(
        "In the prisoner's dilemma at least 95 % of the pairs end in mutual defection",
        "Tan (1993) on independent learners; the game's only equilibrium",
        _share_at_least("prisoners_dilemma", 1, 1, 0.95),
    ),
    Claim(
        "On climb most pairs miss the best joint action, worth 11",
        "Claus and Boutilier (1998), section 4",
        _best_is_missed,
    ),
    Claim(
        "Learners that average under uniform exploration choose the joint action worth 5 in at least 95 % of the pairs",
        "the averages over the other's actions: -6.33, -5.67, 1.67 for the rows",
        _share_at_least("climb, averaging", 2, 2, 0.95),
    ),
    Claim(
        "Hysteretic learners (beta 0.1) reach the best joint action more often than plain ones",
        "Matignon, Laurent and Le Fort-Piat (2007)",
        _hysteresis_helps,
    ),
)
