"""Options in the four rooms: how few sweeps find the optimum, and how early learners find the goal.

Each room has two options, to each of its doorways, that may begin in the room and in its other doorway. The goal is a hallway.
Sweeps are made over actions alone and over actions and options. Learners start in a corner, two rooms away from the goal.

Source: Sutton, Precup and Singh (1999), "Between MDPs and semi-MDPs", sections 2, 3 and 6; McGovern, Sutton and Fagg (1997).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

from envs.gridworlds import four_rooms
from jaxrl.algorithms.tabular import option_q_learning
from jaxrl.blocks.options import Options, joined, primitive, with_options
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.experiment import Arm, Claim, Results, draw, every, final, largest
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.option_models import OptionModels, option_models, smdp_value_iteration, towards
from jaxrl.solvers.mdp.value_iteration import value_iteration

GAMMA = 0.9
GOAL = (7, 9)  # of the learners
SWEEPS = {(3, 6): 15, (6, 2): 15, (7, 9): 14, (10, 6): 16}  # over actions, by goal
EPISODES = 20
SHORTEST = 14  # steps from the corner to the goal
CELLS, ACTIONS = 104, 4
LEARNER = option_q_learning.Config(
    gamma=GAMMA, learning_rate=0.25, learning_rate_half_life=np.inf, learning_rate_min=0.0, epsilon=0.1, num_steps=10
)


@dataclass(frozen=True)
class Config:
    """Options to hallways in the four rooms: sweeps, and Q-learning over options."""

    seeds: int = 256
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 20_000
    """Environment steps of each learner (count): enough for 20 episodes of each."""


QUICK = Config(seeds=4)


def hallway_options(model: TabularModel) -> Options:
    """Returns the eight options, over the states of a model of the four rooms."""
    found = []
    for cells, doorways in four_rooms.rooms():
        for door, other in (doorways, doorways[::-1]):
            region = cells | (np.arange(CELLS) == other)
            found.append(towards(model, region[model.observation], int(np.flatnonzero(model.observation == door)[0])))
    return joined(*found)


def solvable(goal: tuple[int, int]) -> tuple[TabularModel, OptionModels]:
    """Returns the model of the four rooms with a goal, and the models of all actions and options."""
    model = tabulate(four_rooms.make(start=None, goal=goal))
    return model, option_models(model, joined(primitive(CELLS, ACTIONS), hallway_options(model)), GAMMA)


def arms(config: Config) -> Iterator[Arm]:
    """Q-learning over actions; over actions and options, at their ends; and over both within options, from every step."""
    model = tabulate(four_rooms.make(start=None, goal=GOAL))
    hallways = hallway_options(model).at(np.argsort(model.observation))
    world = four_rooms.make(goal=GOAL, max_steps=config.env_steps)
    # Of options that may begin nowhere the actions are left: a world of as many options is the same program.
    nowhere = replace(hallways, initiation=np.zeros_like(hallways.initiation), termination=np.ones_like(hallways.termination))
    for learner, options, intra_option in (
        ("actions", nowhere, False),
        ("actions and options, SMDP", hallways, False),
        ("actions and options, intra-option", hallways, True),
    ):
        algorithm = replace(LEARNER, intra_option=intra_option)
        env = with_options(world, joined(primitive(CELLS, ACTIONS), options))
        yield Arm({"learner": learner}, option_q_learning.make, env, algorithm, config.seeds, config.env_steps)


def measure(config: Config, results: Results):
    """Measures the steps of 20 episodes, infinite if they have not all ended; how far the values of options are from the exact
    ones, on average over all cells in which they may begin; and solves the rooms for goals in each hallway.
    """
    for arm in arms(config):
        ended = np.cumsum(results.values("episodes", "metrics", **arm.factors), axis=1) >= EPISODES
        steps = np.where(ended.any(1), (ended.argmax(1) + 1.0) * LEARNER.num_steps, np.inf)
        q, options = results.states(**arm.factors).q, arm.task.params.options
        model, models = solvable(GOAL)
        exact = np.asarray(smdp_value_iteration(models).action_value)[np.argsort(model.observation), ACTIONS:]
        begins = np.asarray(options.initiation).T[:, ACTIONS:]
        error = np.abs(np.where(begins, q[:, :, ACTIONS:] - exact, 0.0)).sum((1, 2)) / max(begins.sum(), 1)
        yield arm.factors, {"steps": steps[:, None], "error": error[:, None]}
    for goal, flat in SWEEPS.items():
        model, models = solvable(goal)
        best = host.solve(model, GAMMA).value
        with jax.enable_x64(True):
            over_options = [np.asarray(smdp_value_iteration(models, 0.0, n).value) for n in (1, 2)]
            over_actions = [np.asarray(value_iteration(model, GAMMA, 0.0, n).value) for n in (flat - 1, flat)]
        errors = {f"options, sweep {n}": value for n, value in enumerate(over_options, 1)}
        errors |= dict(zip(("actions, almost", "actions, done"), over_actions, strict=True))
        found = {name: float(np.abs(value - best).max()) for name, value in errors.items()}
        yield {"goal": str(goal)}, found | {"residual": models.residual}


def figures(results: Results) -> None:
    """Draws the length of the episodes while learning, and how many steps the first twenty of them take."""
    options = {"title": "Four rooms", "optimum": SHORTEST, "label": "Steps of an episode"}
    draw.curves(results, "episode_length", options)
    draw.ends(results, "steps", {"label": f"Steps of the first {EPISODES} episodes"})


def steps(learner: str):
    """The steps that the first twenty episodes of a learner take."""
    return final("steps", learner=learner)


CLAIMS = (
    Claim(
        "For a goal in any of the four hallways, two sweeps over actions and options find the optimum of the four rooms, "
        "and one does not",
        "Sutton, Precup and Singh (1999), section 3 and figure 4",
        every(
            [
                largest("options, sweep 2") <= 1e-12,
                *(final("options, sweep 1", goal=str(goal)) >= 0.1 for goal in SWEEPS),
            ]
        ),
    ),
    Claim(
        "Sweeps over actions alone need 15, 15, 14 and 16 of them for goals at (3, 6), (6, 2), (7, 9) and (10, 6)",
        "Sutton, Precup and Singh (1999), figure 4",
        every(
            [
                largest("actions, done") <= 1e-12,
                *(final("actions, almost", goal=str(goal)) >= 0.1 for goal in SWEEPS),
            ]
        ),
    ),
    Claim(
        "The models of the options satisfy their equations to 1e-12",
        "Sutton, Precup and Singh (1999), equations 5 to 7",
        largest("residual") <= 1e-12,
    ),
    Claim(
        "SMDP Q-learning over actions and options takes fewer steps in the first 20 episodes than Q-learning over actions",
        "Sutton, Precup and Singh (1999), section 3; McGovern, Sutton and Fagg (1997)",
        steps("actions") - steps("actions and options, SMDP") > 0.0,
    ),
    Claim(
        "After as many steps, the values of options are nearer to the exact ones by intra-option than by SMDP Q-learning",
        "Sutton, Precup and Singh (1999), section 6 and figure 15",
        final("error", learner="actions and options, SMDP") - final("error", learner="actions and options, intra-option") > 0.0,
    ),
)
