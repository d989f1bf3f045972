"""Fictitious play, replicator dynamics and regret matching: where they converge, and where they cycle.

Shapley's game is symmetric: players who begin with the same action move in lockstep and stay on its diagonal, where the
averages do converge. What Shapley proved concerns the other starts, so the two kinds are told apart.

Source: Brown (1951); Shapley (1964); Taylor and Jonker (1978); Hart and Mas-Colell (2000); Farina, Kroer and Sandholm (2021).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.matrix_games import named
from jaxrl.experiment.claims import Claim, Verdict, recorded, recorded_within
from jaxrl.experiment.session import Session
from jaxrl.report import game_figures as figures
from jaxrl.report.figures import relation
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers.dynamics import Course, fictitious_play, regret_matching, replicator
from jaxrl.solvers.normal_form import coarse_correlated_regrets

INTERVAL = 10  # plays between two records
STEP_SIZE = 0.01  # time units in an integration step of the replicator dynamics
# Chosen on games of another key: all of 1024 games were below 1e-3 after 1024 steps, so twice as many leave a margin.
SOLVER_STEPS = 2048
SOLVERS = {
    "regret matching": partial(regret_matching),
    "regret matching plus": partial(regret_matching, plus=True, alternating=True, averaging=1.0),
    "predictive regret matching plus": partial(regret_matching, plus=True, predictive=True, alternating=True, averaging=1.0),
}
BEST_SOLVER = "predictive regret matching plus"
# Game -> its table, and the pairs of first actions.
UNEQUAL, EQUAL = list(permutations(range(3), 2)), [(action, action) for action in range(3)]
GAMES = {
    "rps": (named.ROCK_PAPER_SCISSORS, UNEQUAL + EQUAL),
    "weighted rps": (named.WEIGHTED_ROCK_PAPER_SCISSORS, UNEQUAL + EQUAL),
    "shapley": (named.SHAPLEY, UNEQUAL),
    "shapley from equal starts": (named.SHAPLEY, EQUAL),
}
LEARNERS: dict[str, Callable[..., Course]] = {"fictitious play": fictitious_play, "regret matching": regret_matching}


@dataclass(frozen=True)
class Config:
    """Learning dynamics in small games and in 1024 random ones."""

    plays: int = 30_000
    """Plays of fictitious play and regret matching (count), a multiple of 10."""
    steps: int = 10_000
    """Integration steps of the replicator dynamics, of 0.01 time units (count), a multiple of 100."""
    populations: int = 64
    """Random starts of the replicator dynamics (count)."""
    games: int = 1024
    """Random 10x10 zero-sum games with independent standard normal payoffs (count), solved in one call."""


QUICK = Config(plays=2_000, steps=200, populations=4, games=8)


def run(config: Config, session: Session) -> None:
    """Plays every game with every dynamic and draws the paths."""
    for (game, (table, starts)), (learner, dynamic) in product(GAMES.items(), LEARNERS.items()):
        session.record(from_pure_starts(dynamic, table, starts, config.plays), f"{game}, {learner}")
    starts = np.random.default_rng(0).dirichlet(np.ones(3), config.populations)
    session.record(orbits(starts, config.steps), "rps, replicator")
    shares = np.random.default_rng(1).uniform(0.01, 0.99, config.populations)
    session.record(populations_of_two(named.PRISONERS_DILEMMA, shares, config.steps), "prisoners dilemma, replicator")
    session.record(populations_of_two(named.STAG_HUNT, np.arange(0.01, 1.0, 0.02), config.steps), "stag hunt, replicator")
    rows = np.random.default_rng(0).normal(size=(config.games, 10, 10))
    for solver, dynamic in SOLVERS.items():
        session.record({"nash_conv": solve(dynamic, rows)}, f"random zero-sum, {solver}")
    draw(session.directory)


def from_pure_starts(
    dynamic: Callable[..., Course], table: np.ndarray, first: list[tuple[int, int]], plays: int
) -> dict[str, np.ndarray]:
    """Plays from several pairs of first actions, a row each, and returns records over time.

    ``nash_conv`` of the averages; ``share_0`` ... of the row player's average; after the last play ``coarse_gap``, what a
    player could gain by committing to one action against the average joint play, and ``welfare``, the mean sum of payoffs.
    """
    payoff = jnp.asarray(table, jnp.float32)
    starts = tuple(jnp.eye(table.shape[1])[np.array(actions)] for actions in zip(*first, strict=True))
    play = partial(dynamic, num_steps=plays, num_records=plays // INTERVAL)
    course = jax.jit(jax.vmap(lambda start: play(payoff, start=start)))(starts)
    gaps = jax.vmap(lambda joint: coarse_correlated_regrets(payoff, joint).max())(course.joint)
    welfare = (payoff.sum(0) * course.joint).sum((1, 2))
    history = course.history.average_nash_conv
    shares = {f"share_{index}": course.history.average[0][:, :, index] for index in range(table.shape[1])}
    constant = {"coarse_gap": gaps, "welfare": welfare}
    return {"nash_conv": history} | shares | {name: np.tile(v[:, None], history.shape[1]) for name, v in constant.items()}


def _populations(table: np.ndarray, starts: np.ndarray, steps: int, num_records: int) -> Course:
    """Moves populations that play a game against themselves by the replicator dynamics. starts: float[S, A], a row each."""
    payoff = jnp.asarray(table, jnp.float32)
    move = partial(replicator, num_steps=steps, step_size=STEP_SIZE, num_records=num_records)
    return jax.jit(jax.vmap(lambda start: move(payoff, start=(start, start))))(jnp.asarray(starts, jnp.float32))


def orbits(starts: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Moves populations playing rock, paper, scissors against themselves, float64[S, 3], a row each.

    ``drift``: by which share the product of the three shares has changed; ``from_centre``: the largest distance of a
    time-averaged share from 1/3; ``share_0`` ...: the population.
    """
    course = _populations(named.ROCK_PAPER_SCISSORS, starts, steps, num_records=steps // 20)
    path, average = np.asarray(course.history.profile[0], np.float64), np.asarray(course.history.average[0], np.float64)
    first = np.asarray(starts, np.float32).astype(np.float64).prod(-1)[:, None]
    measures = {"drift": np.abs(path.prod(-1) / first - 1), "from_centre": np.abs(average - 1 / 3).max(-1)}
    return measures | {f"share_{index}": path[:, :, index] for index in range(3)}


def populations_of_two(table: np.ndarray, first: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Moves populations with two actions playing against themselves; ``share_0``: of the first action, a row per start.

    ``started`` repeats the share at the start, float64[S].
    """
    course = _populations(table, np.column_stack([first, 1 - first]), steps, num_records=100)
    share = np.asarray(course.history.profile[0])[:, :, 0]
    return {"share_0": share, "started": np.tile(np.asarray(first)[:, None], share.shape[1])}


def solve(dynamic: Callable[..., Course], rows: np.ndarray) -> np.ndarray:
    """Plays many zero-sum games in one compiled call, and returns the NashConv of the averages over time, float32[G, 64].

    rows: float[G, A, B], what the row players get.
    """
    payoffs = jnp.asarray(np.stack([rows, -rows], 1), jnp.float32)
    play = partial(dynamic, num_steps=SOLVER_STEPS, num_records=64)
    # Vmapped 32 games at a time, which stay in a core's cache: twice to three times as fast as all at once on a CPU.
    return np.asarray(jax.jit(lambda games: jax.lax.map(play, games, batch_size=32).history.average_nash_conv)(payoffs))


def _times(count: int, interval: float) -> np.ndarray:
    return (np.arange(count) + 1) * interval


def draw(directory: RunDirectory) -> None:
    """Draws NashConv over time, and paths on the simplex of rock, paper, scissors and of Shapley's game."""
    axes: dict[str, Any] = {
        "x_label": "Plays",
        "y_label": "NashConv of averages (reward units)",
        "x_scale": "log",
        "y_scale": "log",
    }
    for learner in LEARNERS:
        lines = {}
        for game in ("rps", "weighted rps", "shapley"):
            values = directory.curves("nash_conv", f"{game}, {learner}").values
            kept = np.unique(np.geomspace(1, values.shape[1], 60).astype(int)) - 1  # evenly spread on a logarithmic axis
            lines[game] = _times(values.shape[1], INTERVAL)[kept], values[:, kept]
        name, title = f"nash_conv_{learner.replace(' ', '_')}", f"{learner.capitalize()} from pure starts"
        relation(directory, name, lines, title=title, **axes)

    lines = {}
    for solver in SOLVERS:
        values = directory.curves("nash_conv", f"random zero-sum, {solver}").values
        short = " ".join(solver.replace("regret matching", "").split()) or "plain"
        lines[short] = _times(64, SOLVER_STEPS / 64), np.maximum(values, 1e-7)  # what is left is rounding
    title = "Regret matching on random 10x10 zero-sum games"
    relation(directory, "random_zero_sum", lines, level=1e-3, title=title, **axes)

    hands, order = ("rock", "paper", "scissors"), ("first", "second", "third")
    orbit = {"": _path(directory, "rps, replicator")[:6]}
    paths = {game: {learner: _path(directory, f"{game}, {learner}")[0] for learner in LEARNERS} for game in ("rps", "shapley")}
    six, one = "Paths of six populations", "The row player's average strategy over time, from one pure start"
    for name, drawn, corners, title, text in (
        ("rps_replicator", orbit, hands, "Replicator dynamics circle the equilibrium of rock, paper, scissors", six),
        ("rps_averages", paths["rps"], hands, "Rock, paper, scissors: averages converge", one),
        ("shapley_averages", paths["shapley"], order, "Shapley's game: averages cycle", one),
    ):
        text = f"{text}. Dot: the end; cross: the equilibrium."
        figures.simplex(directory, name, drawn, corners, equilibrium=(1 / 3,) * 3, title=title, text=text)


def _path(directory: RunDirectory, variant: str) -> np.ndarray:
    """Returns float32[S, U, 3]."""
    return np.stack([directory.curves(f"share_{index}", variant).values for index in range(3)], -1)


def _at_most(limit: float, text: str, values: Callable[[RunDirectory], np.ndarray]):
    """Returns the check that no number of ``(run) -> float[...]`` exceeds a limit. text: what they are in words."""

    def check(directory: RunDirectory) -> Verdict:
        largest = float(values(directory).max())
        return Verdict(largest <= limit, largest, f"largest {text} <= {limit:g}")

    return check


def _at_play(metric: str, variant: str, play: int, limit: float):
    """Returns the check that a quantity is at most a limit after some plays, from every start."""
    text = f"{metric} after {play:,} plays"
    return _at_most(limit, text, lambda directory: recorded(directory, metric, variant, play // INTERVAL - 1))


def _stays_above(variant: str, limit: float):
    """Returns the check that NashConv exceeds a limit at all times from the 1,000th to the last play, from every start."""

    def check(directory: RunDirectory) -> Verdict:
        smallest = float(directory.curves("nash_conv", variant).values[:, 1000 // INTERVAL - 1 :].min())
        return Verdict(smallest > limit, smallest, f"smallest NashConv between 1,000 and 30,000 plays > {limit:g}")

    return check


def _basins(directory: RunDirectory) -> Verdict:
    variant = "stag hunt, replicator"
    started, ended = recorded(directory, "started", variant), recorded(directory, "share_0", variant)
    right = np.where(started > 0.5, ended > 0.99, ended < 0.01)
    return Verdict(bool(right.all()), float(right.mean()), "share of starts that end on their side of 1/2 = 1")


CLAIMS = (
    Claim(
        "Fictitious play solves rock, paper, scissors from every pure start",
        "Robinson (1951), An iterative method of solving a game",
        _at_play("nash_conv", "rps, fictitious play", 10_000, 0.05),
    ),
    Claim(
        "Fictitious play solves weighted rock, paper, scissors from every pure start",
        "Robinson (1951), An iterative method of solving a game",
        _at_play("nash_conv", "weighted rps, fictitious play", 10_000, 0.05),
    ),
    Claim(
        "In Shapley's game, begun with different actions, fictitious play never comes near the equilibrium",
        "Shapley (1964), Some topics in two-person games",
        _stays_above("shapley, fictitious play", 0.2),
    ),
    Claim(
        "Begun with equal actions the players stay equal, and the averages do go there",
        "the symmetry of the game",
        _at_play("nash_conv", "shapley from equal starts, fictitious play", 10_000, 0.05),
    ),
    Claim(
        "Regret matching solves weighted rock, paper, scissors from every pure start",
        "Hart and Mas-Colell (2000)",
        _at_play("nash_conv", "weighted rps, regret matching", 10_000, 0.05),
    ),
    Claim(
        "In Shapley's game, begun with different actions, regret matching becomes a coarse correlated equilibrium",
        "Hart and Mas-Colell (2000)",
        _at_play("coarse_gap", "shapley, regret matching", 30_000, 0.005),
    ),
    Claim(
        "There its joint play earns 1 in all, the best of any correlated equilibrium",
        "Hart and Mas-Colell (2000)",
        recorded_within("welfare", 0.99, 1.0 + 1e-6, "shapley, regret matching"),
    ),
    Claim(
        "Yet its average strategies stay away from the Nash equilibrium",
        "Hart and Mas-Colell (2000)",
        _stays_above("shapley, regret matching", 0.2),
    ),
    Claim(
        "The replicator dynamics of rock, paper, scissors conserve the product of the shares",
        "Hofbauer and Sigmund (1998), Evolutionary Games and Population Dynamics, section 7.7",
        _at_most(1e-3, "drift", lambda directory: directory.curves("drift", "rps, replicator").values),
    ),
    Claim(
        "and their time average goes to the equilibrium: it is within 0.05 after 100 time units",
        "Hofbauer and Sigmund (1998), theorem 7.6.4",
        recorded_within("from_centre", 0.0, 0.05, "rps, replicator"),
    ),
    Claim(
        "In the prisoner's dilemma defectors take over from every start",
        "Taylor and Jonker (1978)",
        _at_most(
            0.01,
            "share of cooperators at the end",
            lambda directory: recorded(directory, "share_0", "prisoners dilemma, replicator"),
        ),
    ),
    Claim(
        "In the stag hunt the two basins of attraction meet at a share of 1/2",
        "Skyrms (2004), The Stag Hunt; payoffs 4, 1, 3, 2",
        _basins,
    ),
    Claim(
        f"Predictive regret matching plus solves 1024 random 10x10 zero-sum games in {SOLVER_STEPS} steps of one compiled call",
        "Farina, Kroer and Sandholm (2021), Faster game solving via predictive Blackwell approachability",
        _at_most(
            1e-3,
            "NashConv of any game",
            lambda directory: recorded(directory, "nash_conv", f"random zero-sum, {BEST_SOLVER}"),
        ),
    ),
)
