"""Inapplicable actions: Q-learning among K actions that nearly never do anything, with masks that are given, learned or kept.

FourRooms has K extra actions: every other one works in hallways, the others in corners, and anywhere else they do nothing. A
table chooses among all actions, among those of a mask that is exact or knows half of the extra ones, or among those that a
classifier of the walls around a cell has not ruled out yet. The classifier of one map is then kept on another one.

Source: Ardon (2022), "Inapplicable Actions Learning for Knowledge Transfer in Reinforcement Learning"; the bars are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.gridworlds import extra_actions
from envs.gridworlds.extra_actions import NUM_MOVES
from jaxrl.algorithms.exploration import inapplicable
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks.applicability import Classifier
from jaxrl.core.environment import Environment
from jaxrl.core.transforms import Masked, MaskParams, with_mask
from jaxrl.experiment import Arm, Claim, Results, draw, final
from jaxrl.training.runner import Run

COUNTS = (0, 10, 30)  # K
NONE, EXACT, HALF, LEARNED, KEPT = "no mask", "exact mask", "half of the mask", "learned mask", "kept mask"
FIRST, MOVED = "first map", "other map"
MAPS = {FIRST: extra_actions.MAP, MOVED: extra_actions.MOVED_MAP}
SHARE, WINDOW = 0.9, 20  # of the episodes that reach the goal in time, over so many updates
CELLS = 104  # of either map
BUFFER = 60_000  # steps from which a classifier learns
# A table that learns from a certain world. Its numbers, and those of the classifier, were chosen on root 1.
TABLE = q_learning.Config(epsilon=0.1, learning_rate_half_life=np.inf)


@dataclass(frozen=True)
class Config:
    """Q-learning among extra actions, with and without masks."""

    seeds: int = 10
    """Independent learners of each kind (count)."""
    env_steps: int = 80_000
    """Environment steps of each learner (count)."""
    counts: tuple[int, ...] = COUNTS
    """Extra actions (counts, at least 0)."""


QUICK = Config(seeds=2, env_steps=3_000, counts=(0, 30))


@cache
def world(place: str) -> Environment:
    """A map with the most extra actions."""
    return extra_actions.make(MAPS[place], COUNTS[-1])


def look_up(table: jax.Array, cell: jax.Array) -> jax.Array:
    """A mask that is given: bool[C, A]."""
    return table[cell]


def walls(state: Masked, params: MaskParams) -> jax.Array:
    """The walls around a cell, which a classifier sees: float32[16], one-hot."""
    return extra_actions.surroundings(state.state, params.env)


def first(count: int) -> np.ndarray:
    """The first K of the extra actions, and the moves, bool[A]: with another K the program is the same."""
    return np.arange(NUM_MOVES + COUNTS[-1]) < NUM_MOVES + count


def arms(config: Config) -> Iterator[Arm]:
    """Q-learning with each mask on the first map, and with a mask that is learned there or kept from there on the other."""
    for count in config.counts:
        env, there = world(FIRST), first(count)
        exact = extra_actions.applicable(env)
        known = np.arange(len(there)) % 4 < 2
        for mask, table in {NONE: np.ones_like(exact), EXACT: exact, HALF: exact | ~known}.items():
            if mask != HALF or count:
                yield _arm(
                    config, count, mask, FIRST, q_learning.make, with_mask(env, look_up, jnp.asarray(table & there)), TABLE
                )
        for place in (FIRST, MOVED) if count else (FIRST,):
            env = world(place)
            env = with_mask(env, look_up, jnp.broadcast_to(there, (CELLS, len(there))))
            learner = inapplicable.Config(TABLE, Classifier.of(env, walls, buffer_size=BUFFER), q_learning.make)
            yield _arm(config, count, LEARNED, place, inapplicable.make, env, learner)
        if count:
            frozen = replace(learner, classifier=replace(learner.classifier, learning_rate=0.0))
            arm = _arm(config, count, KEPT, MOVED, inapplicable.make, env, frozen)
            yield replace(arm, after={"extra": count, "mask": LEARNED, "map": FIRST}, prepare=keeping)


def _arm(config: Config, count: int, mask: str, place: str, make: Any, task: Any, learner: Any) -> Arm:
    return Arm({"extra": count, "mask": mask, "map": place}, make, task, learner, config.seeds, config.env_steps)


def keeping(arm: Arm, run: Run) -> Arm:
    """A new table, with the classifier of each seed."""
    new = jax.vmap(inapplicable.make(arm.task, arm.config).init)(jax.random.split(jax.random.key(0), arm.seeds))
    return replace(arm, initial=replace(new, classifier=run.state.classifier))


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures the steps until nine tenths of the episodes of 20 updates reach the goal in time, all steps if they never do. Of a
    mask that is learned: the share of the working pairs of cell and action that it forbids, and that of idle ones that it leaves.
    """
    for arm in arms(config):
        ended = results.values("episodes", "metrics", **arm.factors)
        reached = np.nan_to_num(results.values("episode_return", "metrics", **arm.factors)) * ended  # the goal alone pays, 1
        ended, reached = (np.apply_along_axis(np.convolve, 1, each, np.ones(WINDOW)) for each in (ended, reached))
        enough = (reached >= SHARE * ended)[:, WINDOW - 1 : -WINDOW + 1] & (ended > 0)[:, WINDOW - 1 : -WINDOW + 1]
        updates = np.where(enough.any(1), enough.argmax(1) + WINDOW, arm.updates)
        found = {"steps": updates[:, None] * float(TABLE.steps_per_update)}
        yield dict(arm.factors), found | (mistakes(arm, results) if arm.factors["mask"] == LEARNED else {})


def mistakes(arm: Arm, results: Results) -> dict[str, Any]:
    """Returns the shares of a learned mask that are wrong at the end, ``false_mask`` and ``idle_left``, float[S, 1]."""
    env, learner, there = world(str(arm.factors["map"])), arm.config, first(int(arm.factors["extra"]))
    seen = jax.vmap(extra_actions.surroundings, (0, None))(jnp.arange(CELLS), env.params)
    works = extra_actions.applicable(env)[:, there]

    def legal(params):
        return inapplicable.legal(inapplicable.Mask(learner.classifier, params, learner.threshold, learner.always), seen)

    left = np.asarray(jax.vmap(legal)(results.run(**arm.factors).state.classifier.params))[:, :, there]
    wrong = {"false_mask": (~left & works).sum((1, 2)) / works.sum(), "idle_left": (left & ~works).sum((1, 2)) / (~works).sum()}
    return results.marked({name: share[:, None] for name, share in wrong.items()}, **arm.factors)


def figures(results: Results) -> None:
    """Draws the success of the learners among most extra actions on both maps, and the steps they take against K."""
    for place, name in ((FIRST, "first"), (MOVED, "other")):
        options = {"title": f"{COUNTS[-1]} extra actions, the {place}", "label": "Reach the goal in time (share)"}
        draw.curves(results, "episode_return", options | {"name": name}, extra=COUNTS[-1], map=place)
    label = "Steps until 90 % succeed"
    draw.against(
        results,
        "steps",
        "steps",
        "extra",
        "Extra actions (count)",
        label,
        of={"map": FIRST},
        y_scale="log",
        title="The first map",
    )


def steps(mask: str, place: str = FIRST, extra: int = COUNTS[-1]) -> Any:
    """The steps until 90 % of episodes reach the goal."""
    return final("steps", mask=mask, map=place, extra=extra)


SOURCE = "Ardon (2022); the bar is ours"
CLAIMS = (
    Claim(
        "Among 30 extra actions in FourRooms, Q-learning with a learned mask takes at most 0.7 of the steps that it takes "
        "without one until 90 % of its episodes reach the goal",
        SOURCE,
        steps(LEARNED) <= steps(NONE) * 0.7,
    ),
    Claim(
        "Among 30 extra actions in FourRooms, Q-learning takes no fewer steps with a learned mask than with the exact one",
        "Ardon (2022)",
        steps(LEARNED) >= steps(EXACT),
    ),
    Claim(
        "Among 30 extra actions in FourRooms, the learned mask forbids in the end less than 1 % of the pairs of cell and action "
        "that do something",
        SOURCE,
        final("false_mask", mask=LEARNED, map=FIRST, extra=COUNTS[-1]) < 0.01,
    ),
    Claim(
        "On a map with other walls and another goal, 30 extra actions cost fewer steps with a classifier that is kept from "
        "FourRooms than with one that learns afresh",
        "Ardon (2022)",
        steps(KEPT, MOVED) < steps(LEARNED, MOVED),
    ),
    Claim(
        "Without extra actions in FourRooms, Q-learning takes at most 1.1 of the steps with a learned mask that it takes "
        "without one",
        SOURCE,
        steps(LEARNED, extra=0) <= steps(NONE, extra=0) * 1.1,
    ),
)
