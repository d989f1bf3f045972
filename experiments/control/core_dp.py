"""Dynamic programming on gridworlds whose optimum is known, and on random processes: value iteration and what is faster.

Source: Sutton and Barto (2018), chapters 4 and 8.4; Puterman (1994), chapter 6; Moore and Atkeson (1993), Prioritized sweeping.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

import envs
from envs.gridworlds.optima import problems
from envs.random_mdps import random_mdp
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.experiment import Claim, Results, draw, every, final, largest
from jaxrl.report import grid_figures
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.finite_horizon import backward_induction, evaluation
from jaxrl.solvers.mdp.modified_policy_iteration import modified_policy_iteration
from jaxrl.solvers.mdp.policy_iteration import policy_iteration
from jaxrl.solvers.mdp.prioritised_sweeping import prioritised_sweeping
from jaxrl.solvers.mdp.solution import Solution
from jaxrl.solvers.mdp.value_iteration import value_iteration, value_sweeps

GAMMA, HORIZON = 0.99, 100
SWEEPS = 1_000  # of value iteration, of which the errors are recorded

VI, PI, MPI, PS = "value iteration", "policy iteration", "modified policy iteration", "prioritised sweeping"
METHODS: dict[str, Callable[..., Solution]] = {
    VI: partial(value_iteration, tolerance=1e-10),
    PS: partial(prioritised_sweeping, tolerance=1e-10),
    PI: policy_iteration,
    MPI: partial(modified_policy_iteration, evaluation_sweeps=5, tolerance=1e-10),
}
DISCOUNTED = "discounted gridworld"
REACHED = {"best": 0.744190, "greedy": 0.740165, "random": 0.013940}  # within the time limit of the lake


@dataclass(frozen=True)
class Config:
    """Four ways to the same optimum."""

    seeds: int = 64
    """Random processes on which the methods are compared (count)."""
    states: int = 20
    """States of a random process, each with 4 actions and 3 successors an action (count)."""
    problems: int = 25
    """Problems of the list that are solved, from the first on (count)."""


QUICK = Config(seeds=2, states=16, problems=7)


def contraction(model: TabularModel, gamma: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the error before each sweep of value iteration, its change, and the largest factor of the error over gamma."""
    values = np.asarray(value_sweeps(model, gamma, SWEEPS))
    errors = np.abs(values - np.asarray(host.solve(model, gamma, 1e-14).value)).max(-1)
    clear = errors[:-1] > 1e-6 * errors[0]  # below, rounding is in the factor
    factor = (errors[1:] / np.maximum(errors[:-1], 1e-300))[clear].max() / gamma
    return errors[:-1], np.abs(np.diff(values, axis=0)).max(-1), float(factor)


def compared(model: TabularModel, gamma: float, start: float | None = None) -> Iterator[tuple[str, dict[str, float]]]:
    """Solves a model by every method; yields the method and its numbers.

    ``error``: of the start, against ``start``, or of the worst state against the host's solver. ``regret``: by how much an action
    of the greedy policy is worse than the best one, at most. ``updates``: backups of single states, or sweeps and improvements.
    """
    exact = host.solve(model, gamma)
    for method in METHODS if gamma < 1 else (VI, PS):  # without discount the others need policies that all end the episode
        found = METHODS[method](model, gamma)
        far = np.abs(found.value - exact.value).max() if start is None else abs(float(found.start_value(model)) - start)
        chosen = np.asarray(found.action_value).argmax(-1)[:, None]
        worse = exact.value - np.take_along_axis(np.asarray(exact.action_value), chosen, 1)[:, 0]
        updates = int(found.iterations) * (1 if method == PS else model.num_states)
        yield method, {"error": float(far), "regret": float(worse.max()), "updates": updates}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Solves all problems, and the random processes, in float64."""
    with jax.enable_x64(True):
        for name, env, gamma, optimum in list(problems())[: config.problems]:
            for method, numbers in compared(tabulate(env), gamma, optimum):
                yield {"kind": "gridworld", "problem": name, "gamma": gamma, "method": method}, numbers
        lake = tabulate(envs.make("frozen_lake"))
        errors, changes, factor = contraction(lake, GAMMA)
        sweeps = 1 + int((changes <= 1e-13).argmax())
        improvements = policy_iteration(lake, GAMMA).iterations
        yield {"study": "the lake"}, {"sweeps": sweeps, "improvements": improvements, "factor": factor}
        yield {"study": "errors on the lake"}, {"sweep_error": errors}
        greedy = np.eye(lake.num_actions)[host.solve(lake, GAMMA).action_value.argmax(-1)]
        always = [np.broadcast_to(policy, (HORIZON, *policy.shape)) for policy in (greedy, np.full_like(greedy, 0.25))]
        plans = backward_induction(lake, HORIZON), *(evaluation(lake, policy) for policy in always)
        for name, found in zip(REACHED, plans, strict=True):
            yield {"within_limit": name}, {"reached": found.start_value(lake), "visits_gap": found.gap}
        keys = jax.random.split(jax.random.key(results.root), config.seeds)
        models = [random_mdp.exact_table(random_mdp.garnet(key, config.states, 4)) for key in keys]
        yield {"study": "contraction on random processes"}, {"factor": [[contraction(one, 0.9)[-1]] for one in models]}
        rows = [dict(compared(one, GAMMA)) for one in models]
        for method in METHODS:
            numbers = {name: [[row[method][name]] for row in rows] for name in ("error", "regret", "updates")}
            yield {"kind": "random process", "gamma": GAMMA, "method": method}, numbers


def figures(results: Results) -> None:
    """Draws the optimum of four rooms, and how the error of value iteration falls on the lake."""
    rooms = envs.make("four_rooms", slip=1 / 3)
    model = tabulate(rooms)
    best = host.solve(model, GAMMA)
    policy = grid_figures.best_actions(np.asarray(best.action_value))
    grid_figures.value_map(results.directory, "four_rooms", rooms, model, np.asarray(best.value), policy, title="FourRooms")
    errors = results.values("sweep_error")
    sweeps, labels = np.arange(errors.shape[1]), ("Sweeps n of value iteration", "Largest error of a state")
    bound = "bound, the first error times 0.99 to the n"
    lines = {"error": (sweeps, errors), bound: (sweeps, errors[:, :1] * GAMMA ** sweeps[None])}
    draw.relation(results, "errors", lines, *labels, y_scale="log", floor=1e-16, title="FrozenLake 4x4, gamma 0.99")


BOOK = "Sutton and Barto (2018), chapter 4"
CLAIMS = (
    *(
        Claim(
            f"The optimum of every {problem} on the list is found by {method}, to six digits",
            BOOK,
            largest("error", kind="gridworld", method=method) <= 1e-6,
        )
        for method, problem in {VI: "gridworld", PS: "gridworld", PI: DISCOUNTED, MPI: DISCOUNTED}.items()
    ),
    Claim(
        "On 64 random processes with gamma 0.99 all methods find the value of every state up to 1e-6",
        BOOK,
        largest("error", kind="random process") <= 1e-6,
    ),
    Claim(
        "The greedy policies of all methods are optimal up to ties: no action is worse than the best by more than 1e-6",
        BOOK,
        largest("regret") <= 1e-6,
    ),
    Claim(
        "Policy iteration solves FrozenLake 4x4 with gamma 0.99 in at most 10 improvements",
        "Howard (1960)",
        final("improvements") <= 10,
    ),
    Claim(
        "Each sweep of value iteration brings the largest error down by gamma at least, on FrozenLake 4x4 and 64 random ones",
        "Puterman (1994), section 6.3",
        largest("factor") <= 1 + 1e-9,
    ),
    Claim(
        "With gamma 0.99, value iteration on FrozenLake 4x4 changes no value by over 1e-13 after 770 sweeps, give or take 20",
        BOOK,
        final("sweeps").within(750, 790),
    ),
    Claim(
        "Prioritised sweeping backs up fewer than a fifth of the states that value iteration does on the Dyna maze",
        "Moore and Atkeson (1993); Sutton and Barto (2018), example 8.4",
        final("updates", problem="Dyna maze", method=PS) - final("updates", problem="Dyna maze", method=VI) * 0.2 <= 0,
    ),
    Claim(
        "Within 100 steps of FrozenLake 4x4 the best policy reaches the goal with 0.744190, the greedy one for gamma 0.99 with "
        "0.740165, a random one with 0.013940",
        "Puterman (1994), section 4.5",
        every(final("reached", within_limit=name).equals(value, 1e-6) for name, value in REACHED.items()),
    ),
    Claim(
        "The values that backward induction carries backward are those that visits count forward",
        "duality of linear programming",
        largest("visits_gap") <= 1e-12,
    ),
)
