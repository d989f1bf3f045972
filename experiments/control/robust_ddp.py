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
from jaxrl.solvers.mdp.distributional import distributional_evaluation, tail_mean
from jaxrl.solvers.mdp.policy_evaluation import return_variance
from jaxrl.solvers.mdp.two_atoms import PREFERENCES, two_atom_control, two_atom_evaluation

GAMMA, LEVELS = 0.99, (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Config:
    """Two atoms a state, on FrozenLake, on random processes and on a ladder of fair gambles."""

    seeds: int = 64
    """Random processes (count)."""
    states: int = 20
    """States of a random process, each with 4 actions and 3 successors an action (count)."""
    sweeps: int = 60
    """Sweeps whose contraction is measured (count)."""
    atoms: int = 401
    """Atoms of the whole law of the return on FrozenLake (count)."""


QUICK = Config(seeds=2, states=16, sweeps=3, atoms=51)


def greedy(model: TabularModel) -> np.ndarray:
    """Returns an optimal policy, float64[X, A]."""
    return np.eye(model.num_actions)[host.solve(model, GAMMA).action_value.argmax(-1)]


def mean_error(model: TabularModel, level: float) -> float:
    """Returns how far the mean of the two atoms of an optimal policy is from its value, in the worst state."""
    policy = greedy(model)
    parts = np.asarray(two_atom_evaluation(model, policy, GAMMA, level, 1e-13).value)
    exact = np.asarray(host.evaluate(model, policy, GAMMA).value)
    return float(np.abs(parts @ np.array([level, 1 - level]) - exact).max())


def contraction(model: TabularModel, level: float, sweeps: int) -> float:
    """Returns the largest factor by which a sweep changes the distance from the fixed point, over gamma."""
    policy = greedy(model)
    fixed = np.asarray(two_atom_evaluation(model, policy, GAMMA, level, 1e-14).value)
    far = [
        np.abs(np.asarray(two_atom_evaluation(model, policy, GAMMA, level, 0.0, count).value) - fixed).max()
        for count in range(1, sweeps + 1)
    ]
    return float((np.array(far[1:]) / np.array(far[:-1])).max() / GAMMA)


def adversary_error(model: TabularModel, level: float) -> float:
    """Returns how far v1 is from the optimum of an adversary's linear programme, in the worst state.

    The adversary sends the worse part of a state, of mass alpha, to parts j of successors k: q_kj <= p_k alpha_j / alpha.
    """
    policy = greedy(model)
    value = np.asarray(two_atom_evaluation(model, policy, GAMMA, level, 1e-14).value)
    errors = []
    for state, action in enumerate(policy.argmax(-1)):
        going_on = ~np.asarray(model.terminated)[state, action][:, None]
        successor, chance = np.asarray(model.next_state)[state, action], np.asarray(model.probability)[state, action]
        worth = np.asarray(model.reward)[state, action][:, None] + GAMMA * going_on * value[successor]
        most = np.outer(chance, (level, 1 - level)).reshape(-1) / level
        found = optimize.linprog(worth.reshape(-1), A_eq=np.ones((1, most.size)), b_eq=[1.0], bounds=[(0, top) for top in most])
        errors.append(abs(found.fun - value[state, 0]))
    return max(errors)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Checks means, contraction and linear programmes, and what safe and risky ties lead to, in float64."""
    with jax.enable_x64(True):
        lake = tabulate(envs.make("frozen_lake"))
        atoms = np.linspace(0.0, 1.0, config.atoms)
        law = distributional_evaluation(lake, greedy(lake), GAMMA, atoms, 1e-9).start_law(lake)
        keys = jax.random.split(jax.random.key(results.root), config.seeds)
        drawn = [random_mdp.exact_table(random_mdp.garnet(key, config.states, 4)) for key in keys]
        for level in LEVELS:
            start = two_atom_evaluation(lake, greedy(lake), GAMMA, level, 1e-13).value[np.asarray(lake.initial).argmax()]
            checks = {"mean_error": mean_error(lake, level), "adversary_error": adversary_error(lake, level)}
            parts = {"worse_part": start[0], "better_part": start[1], "tail_of_law": tail_mean(atoms, law, level)}
            yield {"problem": "lake", "level": level}, checks | parts | {"factor": contraction(lake, level, config.sweeps)}
            yield {"problem": "random", "level": level}, {"mean_error": [[mean_error(model, level)] for model in drawn]}
        yield from ties()


def ties() -> Iterator[tuple[dict, dict]]:
    """Breaks the ties of a ladder of five fair gambles, where every policy is optimal, both ways."""
    model = tabulate(envs.make("gamble_ladder", win=2.0))
    start = int(np.asarray(model.initial).argmax())
    for prefer in PREFERENCES:
        for level in LEVELS:
            found = two_atom_control(model, 1.0, level, prefer, 1e-13)
            value = host.evaluate(model, np.asarray(found.policy), 1.0).value[start]
            numbers = {
                "worse": found.value[start, 0],
                "value": value,
                "variance": return_variance(model, found.policy, 1.0)[start],
            }
            yield {"problem": "fair ladder", "prefer": prefer, "level": level}, numbers


def figures(results: Results) -> None:
    """Draws the worse and the better part of the return from the start of the lake, by the mass of the worse part."""
    parts = {"worse part": "worse_part", "better part": "better_part", "worse part of the whole law": "tail_of_law"}
    lines = {
        label: (np.array(LEVELS), np.array([[results.final(name, problem="lake", level=level)[0] for level in LEVELS]]))
        for label, name in parts.items()
    }
    labels = ("Mass of the worse part", "Mean of the part (reward units)")
    draw.relation(results, "parts", lines, *labels, title="FrozenLake 4x4, an optimal policy, gamma 0.99")
    lake = envs.make("frozen_lake")
    model = tabulate(lake)
    spread = np.diff(np.asarray(two_atom_evaluation(model, greedy(model), GAMMA, 0.5).value), axis=1)[:, 0]
    label, title = "Difference of the two atoms (reward units)", "Where the return is uncertain"
    grid_figures.value_map(results.directory, "spread", lake, model, spread, greedy(model), label=label, title=title)


PAPER = "Achab and Neu (2021)"
CLAIMS = (
    Claim(
        "The mean of the two atoms is the value of the policy to 1e-8, on FrozenLake and 64 random processes, for masses 0.1, "
        "0.5 and 0.9",
        PAPER,
        largest("mean_error") <= 1e-8,
    ),
    Claim(
        "A sweep brings the atoms on FrozenLake closer to their fixed point by gamma at least",
        PAPER,
        largest("factor") <= 1 + 1e-9,
    ),
    Claim(
        "In every state of FrozenLake the lower atom is what an adversary reaches by a linear programme over parts of successors",
        f"{PAPER}; the dual form of the average value at risk",
        largest("adversary_error") <= 1e-8,
    ),
    Claim(
        "Safe and risky ties on a ladder of five fair gambles keep the optimal value 5",
        PAPER,
        every([smallest("value") >= 5 - 1e-9, largest("value") <= 5 + 1e-9]),
    ),
    Claim(
        "Safe ties on the ladder of fair gambles lead to a return of less variance than risky ones, at every mass",
        PAPER,
        every(final("variance", prefer="safe", level=level) < final("variance", prefer="risky", level=level) for level in LEVELS),
    ),
    Claim(
        "The lower atom on FrozenLake is no lower than the same tail mean of the whole law of the return: merging hides risk",
        "convex order of laws",
        every(final("worse_part", level=level) - final("tail_of_law", level=level) >= -1e-6 for level in LEVELS),
    ),
)
