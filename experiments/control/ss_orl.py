"""Semi-supervised offline learning: an inverse model fills in the actions of nine tenths of the episodes of a point maze.

A point mass moves by four pushes through a maze. Its 500 episodes are of mixed quality: a push is that of the shortest way, or a
random one with a probability that rises from episode to episode, from 0 to 1. A tenth of the episodes keep their actions, drawn
from all or from the half with the lowest returns. Conservative Q-learning learns from these alone, from all with the actions that
an inverse model fills in, and from all with the true ones. The inverse model alone is then tried where pushes slip.

Source: Zheng et al. (2023), "Semi-Supervised Offline Reinforcement Learning with Action-Free Trajectories". The maze is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import pairwise, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.control import point_maze
from envs.gridworlds import random_maze
from jaxrl.algorithms.offline import cql, inverse_model
from jaxrl.blocks import datasets
from jaxrl.blocks.action_labels import Labelled
from jaxrl.blocks.datasets import Dataset
from jaxrl.core.environment import Environment, static
from jaxrl.core.rollout import Decision
from jaxrl.core.spaces import Box
from jaxrl.core.transforms import with_discrete_actions, with_observation
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Results, draw, every, final
from jaxrl.training.runner import Run

MAP = ("SSSSS", "####S", "SSSSS", "S####", "SSSSG")
CELLS = len(MAP) * len(MAP[0])
STEPS, SHARE = 40, 0.1  # in an episode; of the episodes keep their actions
SLIPS = (0.0, 0.1, 0.2, 0.4, 0.6)
ANY, LOWEST = "of all", "of the lower half"  # the episodes that keep their actions
INVERSE, TRUE, FEW, FILLED = "inverse model", "all actions", "a tenth of them", "a tenth and an inverse model"
OTHERS = {FEW: inverse_model.LEFT_OUT, FILLED: inverse_model.FILLED_IN, TRUE: inverse_model.TRUE}
# Sizes and rates were chosen on root 1.
MODEL = inverse_model.Config(hidden=(64,), batch_size=64, learning_rate=3e-3)
LEARNER = cql.Config(hidden=(64, 64), batch_size=64, learning_rate=1e-3, gamma=0.95, alpha=0.03, target_step_size=0.01)


@dataclass(frozen=True)
class Config:
    """Conservative Q-learning in a point maze, from data whose actions are mostly filled in."""

    seeds: int = 8
    """Data sets, each with models and learners of its own (count)."""
    episodes: int = 500
    """Episodes in a data set (count)."""
    model_updates: int = 20
    """Updates of each inverse model (count), of 100 gradient steps each."""
    updates: int = 60
    """Updates of each learner (count), likewise."""
    model: inverse_model.Config = field(default_factory=lambda: MODEL)
    """The inverse model."""
    learner: cql.Config = field(default_factory=lambda: LEARNER)
    """Conservative Q-learning."""


TINY: dict[str, Any] = {"num_gradient_steps": 2, "batch_size": 4, "hidden": (4,)}
QUICK = Config(2, 20, 1, 1, inverse_model.Config(**TINY), cql.Config(**TINY))


@cache
def maze(slip: float) -> Environment:
    """The maze of four moves of half a cell, without inertia."""
    env = point_maze.make(MAP, force=50.0, damping=10.0, slip=slip, max_steps=STEPS)
    return with_observation(with_discrete_actions(env, point_maze.MOVES), seen, Box(-np.inf, np.inf, (CELLS + 4,)))


def seen(obs: jax.Array) -> jax.Array:
    """Returns the cell, one-hot, the place in it and the velocity, float32[CELLS + 4]. obs: of the point maze."""
    corner = jnp.floor(obs[:2])
    cell = (corner[0] * len(MAP[0]) + corner[1]).astype(jnp.int32)
    return jnp.concatenate([jax.nn.one_hot(cell, CELLS, dtype=jnp.float32), obs[:2] - corner, obs[2:4]])


@struct.dataclass
class Recording:
    """A task that draws episodes of mixed quality. shortest: int32[R + 2, C + 2], the move of the shortest way from each cell."""

    env: Environment
    shortest: jax.Array
    episodes: int = static()

    def __call__(self, key: jax.Array) -> Dataset:
        noise = jnp.linspace(0.0, 1.0, self.episodes, dtype=jnp.float32)

        def act(key, view):
            random_key, move_key = jax.random.split(key)
            cell = jnp.floor(view.state.position).astype(jnp.int32) + 1
            at_random = jax.random.uniform(random_key, noise.shape, jnp.float32) < noise
            move = jax.random.randint(move_key, noise.shape, 0, len(point_maze.MOVES), jnp.int32)
            return Decision(jnp.where(at_random, move, self.shortest[cell[:, 0], cell[:, 1]]))

        return datasets.collect(key, self.env, act, self.episodes)


def recording(slip: float, episodes: int) -> Recording:
    """Returns the task that draws the data of a maze."""
    env = maze(slip)
    walls, goal = ~env.params.free, env.params.goal[0].astype(jnp.int32) + 1
    distance = np.asarray(random_maze.distances(walls, goal))
    far = np.where(distance < 0, distance.max() + 1, distance)
    ahead = [np.roll(far, (-int(row), -int(column)), (0, 1)) for row, column in point_maze.MOVES]
    return Recording(env, jnp.asarray(np.argmin(ahead, 0), jnp.int32), episodes)


def arms(config: Config) -> Iterator[Arm]:
    """Inverse models, and learners from all actions, from a tenth of them, and from a tenth with what the models fill in."""

    def arm(data: str, labels: str, slip: float, make, task, learner, updates: int, **options) -> Arm:
        factors = {"data": data, "labels": labels, "slip": slip}
        return Arm(factors, make, task, learner, config.seeds, num_updates=updates, show=("loss",), **options)

    for slip, labels in [(slip, ANY) for slip in SLIPS] + [(0.0, LOWEST)]:
        task = Labelled(recording(slip, config.episodes), SHARE, jnp.bool_(labels == LOWEST))
        yield arm(INVERSE, labels, slip, inverse_model.make, task, config.model, config.model_updates)
    judge = (Episodes(maze(0.0), num_episodes=200, modes=("greedy",)),)
    for data, labels in [(TRUE, ANY), *product((FEW, FILLED), (ANY, LOWEST))]:
        task = Labelled(recording(0.0, config.episodes), SHARE, jnp.bool_(labels == LOWEST))
        learner = arm(data, labels, 0.0, cql.make, task, config.learner, config.updates, evaluators=judge)
        model = {"data": INVERSE, "labels": labels, "slip": 0.0}
        yield replace(learner, after=model, prepare=partial(completed, config.model))


def completed(model: inverse_model.Config, arm: Arm, run: Run) -> Arm:
    """The data of each seed, whose missing actions are left out, filled in by its own model, or true."""
    shared: Any = None
    others = jnp.int32(OTHERS[str(arm.factors["data"])])
    task = inverse_model.Completed(arm.task, model, run.state.params, others)
    return replace(arm, task=task, task_axes=inverse_model.Completed(shared, shared, 0, shared))


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures the accuracy of each inverse model on as many episodes again, whose actions it has not seen."""
    for place, arm in enumerate(arms(config)):
        if arm.factors["data"] == INVERSE:
            key, params = jax.random.fold_in(jax.random.key(results.root), place), results.run(**arm.factors).state.params
            found = accuracies(key, arm.task.data, config.model, params)
            yield dict(arm.factors), results.marked({"accuracy": found[:, None]}, **arm.factors)


@jax.jit
def accuracies(key: jax.Array, task: Recording, model: inverse_model.Config, params: Any) -> jax.Array:
    """Returns the accuracy of the model of each seed on fresh data, float32[S]."""
    return jax.vmap(inverse_model.accuracy, (None, 0, None))(model, params, task(key))


def figures(results: Results) -> None:
    """Draws the returns of the learners, and the accuracy of inverse models where pushes slip."""
    for labels, name in ((ANY, "any"), (LOWEST, "lowest")):
        arms = {what: {"data": what, "labels": labels} for what in (FILLED, FEW)} | {TRUE: {"data": TRUE}}
        x, y = "Gradient steps (count)", "Greedy return"
        options = {"title": f"Episodes with actions: a tenth, {labels}"}
        draw.lines(results, f"returns_{name}", "greedy_return", arms, x, y, x=float(LEARNER.num_gradient_steps), **options)
    of, title = {"data": INVERSE, "labels": ANY}, "Actions that are filled in rightly"
    draw.against(
        results,
        "accuracy",
        "accuracy",
        "slip",
        "Probability that a push slips",
        "Accuracy of the inverse model",
        of=of,
        title=title,
    )


def returns(data: str, labels: str) -> Any:
    """The greedy return at the end: how often the goal is reached within 40 steps."""
    return final("greedy_return", data=data, labels=labels)


PAPER, OURS = "Zheng et al. (2023)", "Zheng et al. (2023); the bar is ours"
CLAIMS = (
    *(
        Claim(
            f"In a point maze where a tenth {words} keeps its actions, conservative Q-learning from all episodes with the "
            "actions of an inverse model reaches the goal at least 0.9 times as often as from the true actions",
            OURS,
            returns(FILLED, labels) >= returns(TRUE, ANY) * 0.9,
        )
        for labels, words in ((ANY, "of 500 episodes"), (LOWEST, "of 500 episodes, of the half with the lowest returns,"))
    ),
    *(
        Claim(
            f"In a point maze where a tenth of 500 episodes keeps its actions, {words}, conservative Q-learning from all "
            "episodes with the actions of an inverse model reaches the goal more often than from that tenth alone",
            PAPER,
            returns(FILLED, labels) > returns(FEW, labels),
        )
        for labels, words in ((ANY, "drawn from all"), (LOWEST, "drawn from the half with the lowest returns"))
    ),
    Claim(
        "In a point maze whose pushes are certain, an inverse model gives at least 95 % of the actions of new episodes",
        OURS,
        every(final("accuracy", data=INVERSE, labels=labels, slip=0.0) >= 0.95 for labels in (ANY, LOWEST)),
    ),
    Claim(
        "In a point maze the accuracy of an inverse model falls from each of the probabilities 0, 0.1, 0.2, 0.4 and 0.6 of a "
        "slip to the next",
        OURS,
        every(
            final("accuracy", data=INVERSE, labels=ANY, slip=one) > final("accuracy", data=INVERSE, labels=ANY, slip=other)
            for one, other in pairwise(SLIPS)
        ),
    ),
)
