"""Risk with a memory of what has been earned: stock-augmented dynamic programming on ladders of gambles.

The best conditional value at risk (CVaR) of all policies that remember their winnings, beside that of all that do not; both
exact. A policy without memory is a mixture of plans that fix every action in advance, and CVaR is convex in the law of the
return, so no such policy is better than the best of these plans.

Source: Pires (2025), Optimizing Return Distributions with Distributional Dynamic Programming; Bauerle and Ott (2011).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import jax
import numpy as np

import envs
from jaxrl.blocks.utilities import tail_mean
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.experiment import Claim, Results, draw, every, final, largest, smallest
from jaxrl.report import game_figures
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.distributional import distributional_evaluation
from jaxrl.solvers.mdp.stock import optimal_cvar, stock_augmented

LEVELS = {0.1: 5.0, 0.25: 5.0, 0.5: 5.375, 1.0: 7.5}  # the best CVaR of the ladder at each
THRESHOLD = 7.0  # b, below which returns count, at level 0.5
ATOMS = np.arange(-12.0, 26.0)  # all sums of rewards of the problems here, 0 among them
PAID = slice(12, 28)  # those of the ladder: 0 .. 15


@dataclass(frozen=True)
class Config:
    """Exact plans on gamble ladders."""

    seeds: int = 32
    """Random ladders, whose payments and chances are drawn (count)."""
    levels: int = 20
    """Levels of CVaR in the figure (count)."""
    rounds: int = 6
    """Rounds of the problem whose stock should be kept near 0 (count)."""


QUICK = Config(seeds=2, levels=3, rounds=5)


def laws_of_plans(model: TabularModel) -> tuple[np.ndarray, bool]:
    """Returns the law of the return of every plan that fixes all actions in advance, float64[2^T, N], and if all converged.

    On a ladder the state is the round, so such a plan is a deterministic policy.
    """
    policies = np.eye(model.num_actions)[list(product(range(model.num_actions), repeat=model.num_states))]
    found = jax.vmap(lambda policy: distributional_evaluation(model, policy, 1.0, ATOMS, 0.0))(policies)
    return np.einsum("x,pxn->pn", model.initial, found.law), bool(found.converged.all())


def compared(model: TabularModel, levels) -> Iterator[dict[str, float]]:
    """Yields the best CVaR with and without a memory of the return at each level, the threshold, and checks."""
    laws, converged = laws_of_plans(model)
    for level in levels:
        plan = optimal_cvar(model, ATOMS, level)
        numbers = {"with_stock": plan.value, "without_stock": tail_mean(ATOMS, laws, level).max(), "threshold": plan.threshold}
        numbers |= {"gap": plan.gap, "sound": plan.converged & plan.exact & converged}
        yield {name: float(number) for name, number in numbers.items()}


def random_ladder(generator: np.random.Generator) -> TabularModel:
    """Draws a ladder of five rounds with whole payments, whose gamble pays more on average than the safe action."""
    safe = int(generator.integers(0, 3))
    lose, win = safe - int(generator.integers(1, 3)), safe + int(generator.integers(1, 4))
    fair = (safe - lose) / (win - lose)
    return tabulate(envs.make("gamble_ladder", safe=safe, win=win, lose=lose, chance=generator.uniform(fair, 1.0)))


def upkeep(rounds: int) -> dict[str, float]:
    """Returns the smallest expected distance of the sum of rewards from 0, if every rest costs 1 and a meal brings 0 or 2."""
    model = tabulate(envs.make("gamble_ladder", rounds=rounds, safe=-1.0, win=2.0, lose=0.0))
    joint = stock_augmented(model, ATOMS, 1.0, lambda stock: -np.abs(stock))
    solution = host.solve(replace(joint.model, reward=joint.utility), 1.0)
    (laws, converged), value = laws_of_plans(model), float(solution.start_value(joint.model))
    sound = float(solution.converged & converged & (joint.rounding == 0))
    return {"distance_with_stock": -value, "distance_without_stock": (laws @ np.abs(ATOMS)).min(), "sound": sound}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Solves the ladder at the levels of the claims and of the figure, the upkeep of a stock, and random ladders, in float64."""
    with jax.enable_x64(True):
        model = tabulate(envs.make("gamble_ladder"))
        for level, numbers in zip(LEVELS, compared(model, LEVELS), strict=True):
            yield {"problem": "ladder", "level": level}, numbers
        levels = np.linspace(1 / config.levels, 1.0, config.levels)
        rows = list(compared(model, levels))
        yield {"problem": "ladder, all levels"}, {"at_level": levels} | {name: [row[name] for row in rows] for name in rows[0]}
        yield {"problem": "upkeep"}, upkeep(config.rounds)
        laws = {level: optimal_cvar(model, ATOMS, level).law for level in (0.5, 1.0)}
        for level, law in laws.items():
            yield {"problem": "law", "level": level}, {"return": ATOMS[PAID], "mass": law[PAID]}
        generator = np.random.default_rng(results.root)
        rows = [next(compared(random_ladder(generator), (0.5,))) for _ in range(config.seeds)]
        yield {"problem": "random ladders", "level": 0.5}, {name: [[row[name]] for row in rows] for name in rows[0]}


def figures(results: Results) -> None:
    """Draws the best CVaR against its level, and the laws of the return of two policies."""
    everywhere = {"problem": "ladder, all levels"}
    x = results.values("at_level", **everywhere)[0]
    kinds = {"remembers its winnings": "with_stock", "does not": "without_stock"}
    lines = {label: (x, results.values(metric, **everywhere)) for label, metric in kinds.items()}
    labels = ("Level of CVaR (share of the worst returns)", "Best CVaR of the return (reward units)")
    draw.relation(results, "cvar_by_level", lines, *labels, title="Gamble ladder of five rounds")
    ticks = [f"{value:g}" for value in results.values("return", problem="law", level=0.5)[0]]
    bars = {f"level {level:g}": results.values("mass", problem="law", level=level)[0].tolist() for level in (0.5, 1.0)}
    options = {"x_label": "Return (reward units)", "title": "Laws of the return of the best policies"}
    game_figures.bars(results.directory, "laws", bars, ticks, "Probability", **options)


PAPER = "Pires (2025); Bauerle and Ott (2011)"
CLAIMS = (
    Claim(
        "On a ladder of five gambles, the best CVaR with a memory of the winnings is 5, 5, 5.375 and 7.5 at the levels 0.1, "
        "0.25, 0.5 and 1",
        PAPER,
        every(final("with_stock", problem="ladder", level=level).equals(value, 1e-6) for level, value in LEVELS.items()),
    ),
    Claim(
        "At level 0.5 the returns that count on the ladder are those below 7",
        PAPER,
        final("threshold", problem="ladder", level=0.5).equals(THRESHOLD, 1e-9),
    ),
    Claim(
        "At level 0.5 no policy without a memory of its winnings has a CVaR above 5 on the ladder",
        PAPER,
        final("without_stock", problem="ladder", level=0.5).equals(5.0, 1e-6),
    ),
    Claim(
        "The law of the return of each best policy has the CVaR that dynamic programming promises, on 32 random ladders too",
        "Rockafellar and Uryasev (2000)",
        largest("gap") <= 1e-9,
    ),
    Claim(
        "On 32 random ladders a memory of the winnings never lowers the best CVaR at level 0.5",
        PAPER,
        smallest(final("with_stock", problem="random ladders") - final("without_stock", problem="random ladders")) >= -1e-9,
    ),
    Claim("All programmes converge, and no stock is rounded", "added later", smallest("sound") >= 1.0),
    Claim(
        "A stock that rests and meals move by -1 and by 0 or 2 is kept nearer to 0 in six rounds by a policy that sees it",
        "Pires (2025), on homeostatic regulation",
        final("distance_with_stock") - final("distance_without_stock") < 0.0,
    ),
)
