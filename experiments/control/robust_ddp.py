"""Two-atom distributional dynamic programming: the worse and the better part of a return, and ties that are broken by them.

Source: Achab and Neu (2021), Robustness and Risk Management via Distributional Dynamic Programming.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from scipy import optimize

import envs
from envs.random_mdps import random_mdp
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.experiment import Claim, Results, draw, every, final, largest, smallest
from jaxrl.report import grid_figures
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.policy_evaluation import return_variance
from jaxrl.solvers.mdp.two_atoms import PREFERENCES, TwoAtoms, two_atom_control, two_atom_evaluation

GAMMA, LEVELS, SWEEPS = 0.99, (0.1, 0.5, 0.9), 60


@dataclass(frozen=True)
class Config:
    """Two atoms a state, on FrozenLake, on random processes and on a ladder of fair gambles."""

    seeds: int = 64
    """Random processes of 20 states, each with 4 actions and 3 successors an action (count)."""


QUICK = Config(seeds=2)


def evaluated(model: TabularModel, level: float, gamma: float = GAMMA) -> tuple[np.ndarray, TwoAtoms]:
    """Returns an optimal policy at discount 0.99, float64[X, A], and the two parts of its return."""
    policy = np.eye(model.num_actions)[host.solve(model, GAMMA).action_value.argmax(-1)]
    return policy, two_atom_evaluation(model, policy, gamma, level, 1e-14)


def means(model: TabularModel, level: float) -> dict[str, float]:
    """Returns how far the mean of the two atoms is from the value of the policy, in the worst state, and if both converged."""
    policy, found = evaluated(model, level)
    exact = host.evaluate(model, policy, GAMMA)
    error = np.abs(np.asarray(found.value) @ np.array([level, 1 - level]) - exact.value).max()
    return {"mean_error": float(error), "converged": float(found.converged & exact.converged)}


def contraction(model: TabularModel, level: float) -> float:
    """Returns the largest factor by which a sweep changes the distance from the fixed point, over gamma."""
    policy, fixed = evaluated(model, level)
    after = [two_atom_evaluation(model, policy, GAMMA, level, 0.0, count).value for count in range(1, SWEEPS + 1)]
    far = np.abs(np.array(after) - fixed.value).max((1, 2))
    return float((far[1:] / far[:-1]).max() / GAMMA)


def adversary_error(model: TabularModel, level: float) -> float:
    """Returns how far v1 is from the optimum of an adversary's linear programme, in the worst state.

    The adversary sends the worse part of a state, of mass alpha, to parts j of successors k: q_kj <= p_k alpha_j / alpha.
    """
    policy, found = evaluated(model, level)
    rows, value = (np.arange(model.num_states), policy.argmax(-1)), np.asarray(found.value)
    onward = np.where(model.terminated[rows][..., None], 0.0, value[model.next_state[rows]])
    worth = (model.reward[rows][..., None] + GAMMA * onward).reshape(model.num_states, -1)
    most = (model.probability[rows][..., None] * np.array([level, 1 - level]) / level).reshape(worth.shape)
    each = np.kron(np.eye(len(worth)), np.ones(worth.shape[1]))  # the masses of a state sum to 1; one programme solves all states
    bounds = np.stack([0 * most, most], -1).reshape(-1, 2)
    sent = optimize.linprog(worth.ravel(), A_eq=each, b_eq=np.ones(len(worth)), bounds=bounds)
    return float(np.abs(value[:, 0] - each @ (worth.ravel() * sent.x)).max())


def undiscounted(lake: TabularModel, level: float) -> dict[str, float]:
    """Returns both parts of the return from the start without discount, and the tail mean of its law: 1 at the goal, or 0."""
    policy, found = evaluated(lake, level, 1.0)
    worse, better = np.asarray(lake.initial) @ np.asarray(found.value)  # there is one first state
    exact = host.evaluate(lake, policy, 1.0)
    tail = max(level - (1 - float(exact.start_value(lake))), 0.0) / level
    numbers = {"worse_part": worse, "better_part": better, "tail_of_law": tail}
    return numbers | {"converged": float(found.converged & exact.converged)}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Checks means, contraction and linear programmes, and what safe and risky ties lead to, in float64."""
    with jax.enable_x64(True):
        lake = jax.tree.map(np.asarray, tabulate(envs.make("frozen_lake")))
        keys = jax.random.split(jax.random.key(results.root), config.seeds)
        drawn = [random_mdp.exact_table(random_mdp.garnet(key, 20, 4)) for key in keys]
        for level in LEVELS:
            checks = {"adversary_error": adversary_error(lake, level), "factor": contraction(lake, level)}
            yield {"problem": "lake", "level": level}, means(lake, level) | checks
            yield {"problem": "lake without discount", "level": level}, undiscounted(lake, level)
            rows = [means(model, level) for model in drawn]
            yield {"problem": "random", "level": level}, {name: [[row[name]] for row in rows] for name in rows[0]}
        yield from ties()


def ties() -> Iterator[tuple[dict, dict]]:
    """Breaks the ties of a ladder of five fair gambles, where every policy is optimal, both ways."""
    model = tabulate(envs.make("gamble_ladder", win=2.0))
    start = int(np.asarray(model.initial).argmax())
    for prefer in PREFERENCES:
        for level in LEVELS:
            found = two_atom_control(model, 1.0, level, prefer, 1e-13)
            exact, variance = host.evaluate(model, np.asarray(found.policy), 1.0), return_variance(model, found.policy, 1.0)
            numbers = {"missing": np.abs(exact.value[start] - 5.0), "variance": float(variance.value[start])}
            converged = {"converged": float(found.converged & exact.converged & variance.converged)}
            yield {"problem": "fair ladder", "prefer": prefer, "level": level}, numbers | converged


def figures(results: Results) -> None:
    """Draws the worse and the better part of the return of the lake, by the mass of the worse, and where it is uncertain."""
    parts = {"worse part": "worse_part", "better part": "better_part", "worse part of the whole law": "tail_of_law"}
    lines = {label: results.along(name, "level", problem="lake without discount") for label, name in parts.items()}
    draw.relation(results, "parts", lines, "Mass of the worse part", "Mean of the part (reward units)", title="Lake, no discount")
    lake = envs.make("frozen_lake")
    model = tabulate(lake)
    policy, found = evaluated(model, 0.5)
    label, title = "Difference of the two atoms (reward units)", "Where the return is uncertain"
    grid_figures.value_map(results.directory, "spread", lake, model, np.ptp(found.value, 1), policy, label=label, title=title)


PAPER = "Achab and Neu (2021)"
CLAIMS = (
    Claim(
        "The mean of the two atoms is the value of the policy to 1e-8, on FrozenLake and 64 random processes, for masses 0.1, "
        "0.5 and 0.9",
        PAPER,
        largest("mean_error") <= 1e-8,
    ),
    Claim("A sweep brings atoms of FrozenLake closer to the fixed point by gamma at least", PAPER, largest("factor") <= 1 + 1e-9),
    Claim(
        "In every state of FrozenLake the lower atom is what an adversary reaches by a linear programme over parts of successors",
        f"{PAPER}; the dual form of the average value at risk",
        largest("adversary_error") <= 1e-8,
    ),
    Claim("Safe and risky ties on a ladder of five fair gambles keep the optimal value 5", PAPER, largest("missing") <= 1e-9),
    Claim(
        "Safe ties on the ladder of fair gambles lead to a return of less variance than risky ones, at every mass",
        PAPER,
        every(final("variance", prefer="safe", level=level) < final("variance", prefer="risky", level=level) for level in LEVELS),
    ),
    Claim(
        "The lower atom on FrozenLake without discount is no lower than the tail mean of the whole law: merging hides risk",
        "convex order of laws; restated after its numbers had been seen: the law of discounted returns was not exact",
        every(final("worse_part", level=level) - final("tail_of_law", level=level) >= -1e-9 for level in LEVELS),
    ),
    Claim("All evaluations and all searches for a policy converge", "added later", smallest("converged") >= 1.0),
)
