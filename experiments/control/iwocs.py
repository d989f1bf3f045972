"""Robust decision problems as a sequence of ordinary ones: incremental worst-case search against robust value iteration.

Source: Zouitine et al. (2024), Solving robust MDPs as a sequence of static RL problems; Iyengar (2005) on the robust optimum.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

import envs
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.experiment import Claim, Results, derived, draw, every, final, largest, smallest
from jaxrl.report import game_figures
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.robust import robust_value_iteration
from jaxrl.solvers.mdp.worst_cases import WorstCases, incremental_worst_cases, worst_case_search

GAMMA = 0.9
CANDIDATES, BALL = "five candidates", "ball of radius 0.2 in L1"


@dataclass(frozen=True)
class Config:
    """Random processes with uncertain transitions, and a windy walk."""

    seeds: int = 64
    """Random processes of each kind (count)."""
    states: int = 10
    """States of a random process, each of which can follow on each (count)."""
    actions: int = 3
    """Actions of a random process (count)."""
    candidates: int = 5
    """Transition laws between which the adversary chooses for every state and action (count)."""
    winds: int = 7
    """Chances of a gust in the windy walk, 0 to 0.9 up and down, of which the adversary chooses a pair (count)."""


QUICK = Config(seeds=2, winds=2)


def random_process(generator: np.random.Generator, config: Config) -> tuple[TabularModel, np.ndarray]:
    """Draws a process with uniform rewards, and candidates [M, X, A, X] for its transitions, all uniform over distributions."""
    shape = (config.states, config.actions, config.states)
    rows = generator.dirichlet(np.ones(config.states), (config.candidates, *shape[:2]))
    states, reward = np.arange(config.states, dtype=np.int32), generator.random((*shape[:2], 1))
    never, legal, start = np.zeros(shape, bool), np.ones(shape[:2], bool), np.full(config.states, 1 / config.states)
    tables = np.broadcast_to(states, shape), rows[0], np.broadcast_to(reward, shape), never, start, legal
    return TabularModel(*tables, states, states, (config.actions,)), rows


def searched(model: TabularModel, uncertainty, adversary: str) -> dict[str, float]:
    """Returns how far a search is from the robust optimum in the worst state, how many models it took, and its own gap.

    ``missing``: by how much the promise of the candidates falls short of the robust optimum after any of the models, at most.
    """
    found = incremental_worst_cases(model, GAMMA, uncertainty, adversary)
    best = robust_value_iteration(model, GAMMA, uncertainty, adversary, 0.0).solution
    numbers = {
        "error": np.abs(found.value - np.asarray(best.value)).max(),
        "models": len(found.promises),
        "gap": found.gap,
        "missing": (best.start_value(model) - found.promises).max(),
        "converged": found.converged & best.converged,
    }
    return {name: float(number) for name, number in numbers.items()}


def windy(winds: int) -> dict[str, float]:
    """Searches against one unknown wind for the whole walk; returns how the policy compares.

    ``promise``: the value of the start with the models that were found. ``sure``: what the policy is worth in the wind that is
    worst for it. ``single``: the same of the best of those policies that are optimal for one wind.
    """
    nominal = tabulate(envs.make("windy_grid", moves="king", gust=0.5))
    blows = np.asarray(nominal.probability)[..., 0] > 0
    chances = [(down, up) for down in np.linspace(0, 0.9, winds) for up in np.linspace(0, 0.9, winds) if down + up <= 1]
    laws = [np.where(blows[..., None], (down, 1 - down - up, up), (0.0, 1.0, 0.0)) for down, up in chances]
    family = [replace(nominal, probability=law) for law in laws]
    initial = np.asarray(nominal.initial)

    def worth(model: TabularModel, policy: np.ndarray) -> float:
        return float(initial @ host.evaluate(model, policy, GAMMA).value)

    def worst(policy: np.ndarray) -> TabularModel:
        return min(family, key=lambda one: worth(one, policy))

    found: WorstCases = worst_case_search(family[0], GAMMA, worst)
    solved = [host.solve(one, GAMMA) for one in family]
    optimal = [np.eye(nominal.num_actions)[one.action_value.argmax(-1)] for one in solved]
    single = max(worth(worst(policy), policy) for policy in optimal)
    sure, converged = float(initial @ found.value), float(np.all([one.converged for one in solved]))
    return {"promise": float(found.promises[-1]), "sure": sure, "single": single, "converged": converged}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Searches all random processes against both adversaries, and the windy walk, in float64."""
    generator = np.random.default_rng(results.root)
    drawn = [random_process(generator, config) for _ in range(config.seeds)]
    with jax.enable_x64(True):
        for kind in (CANDIDATES, BALL):
            rows = [
                searched(one, *((rows, "candidates") if kind == CANDIDATES else (0.1, "total_variation"))) for one, rows in drawn
            ]
            yield {"uncertainty": kind}, {name: [[row[name]] for row in rows] for name in rows[0]}
        yield {"uncertainty": "one wind everywhere"}, windy(config.winds)


def figures(results: Results) -> None:
    """Draws how many models the searches took, and what is known of the walk in an unknown wind."""
    draw.ends(results, "models", {"label": "Models (count)", "title": "Ordinary problems that were solved"})
    ticks = {"promised": "promise", "search": "sure", "best single": "single"}
    bars = {"": [float(results.final(metric)[0]) for metric in ticks.values()]}
    text = "Promised by the models that were found; in the worst wind, the search and the best of policies for one wind."
    options = {"title": "One unknown wind everywhere", "text": text}
    game_figures.bars(results.directory, "wind", bars, list(ticks), "Value of the start (reward units)", **options)


def most_models(results: Results) -> float:
    """Returns the largest number of models that a search of a random process took."""
    return max(float(results.final("models", uncertainty=kind).max()) for kind in (CANDIDATES, BALL))


PAPER = "Zouitine et al. (2024)"
CLAIMS = (
    Claim(
        "Against an adversary of every state and action, the policy of the search is worth the robust optimum to 1e-6 in every "
        "state of 64 random processes with five candidates, and of 64 with balls",
        PAPER,
        largest("error") <= 1e-6,
    ),
    Claim("No search of a random process needs more than 6 models", PAPER, derived("most models", most_models) <= 6),
    Claim(
        "After every model the candidates promise at least the robust optimum, up to 1e-9",
        f"{PAPER}; restated after its numbers had been seen: that the promise falls is how it is made",
        largest("missing") <= 1e-9,
    ),
    Claim(
        "The certificate of the search closes: the candidates promise what the policy is sure of, up to 1e-9",
        f"{PAPER}; restated after its numbers had been seen: no gap may be negative either",
        every(largest(abs(final("gap", uncertainty=kind))) <= 1e-9 for kind in (CANDIDATES, BALL)),
    ),
    Claim("All searches of random processes and all solvers converge", "added later", smallest("converged") >= 1.0),
    Claim(
        "Against one unknown wind that blows everywhere alike, the policy of the search is sure of no less than the best of all "
        "policies that are optimal for one wind",
        f"{PAPER}; a set of models that is not rectangular, which theory does not cover",
        final("sure") - final("single") >= -1e-9,
    ),
)
