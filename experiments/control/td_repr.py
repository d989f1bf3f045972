"""Representations under TD-learning: features of the states of random Markov chains, learned together with the values.

Source: Tang and Munos (2023), "Towards a Better Understanding of Representation Dynamics under TD-learning"; random rewards as
tasks: Lyle et al. (2021), "On the Effect of Auxiliary Tasks on Representation Dynamics".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.random_mdps import random_mdp
from jaxrl.experiment import Claim, Quantity, Results, draw, final, largest
from jaxrl.solvers.representations import Course, Values, leading_eigenvectors, principal_angles, td_learning

STATES, FEATURES, REWARDS, GAMMA = 20, 4, 16, 0.9
STEP_SIZE, RECORDS = 0.01, 50
CHAINS = ("symmetric", "dense", "ring")


@dataclass(frozen=True)
class Config:
    """TD-learning of features and values in random Markov chains, as a flow."""

    seeds: int = 64
    """Random chains of each kind, each with its own rewards and first features (count)."""
    steps: int = 3_000
    """Euler's steps of 0.01 time units (count), a multiple of 50."""


QUICK = Config(seeds=8, steps=500)


def processes(keys: jax.Array) -> dict[str, random_mdp.Params]:
    """Draws a process of each kind for every key; those along a ring are the dense ones with nine steps of ten along it."""
    symmetric, dense = (
        jax.jit(jax.vmap(partial(kind, num_states=STATES, num_actions=1)))(keys)
        for kind in (random_mdp.symmetric, random_mdp.dense)
    )
    return {"symmetric": symmetric, "dense": dense, "ring": jax.vmap(random_mdp.along_a_ring)(dense)}


def learned(key: jax.Array, transition: jax.Array, reward: jax.Array, steps: int) -> Course:
    """Follows features and weights that begin at random in one chain, with rewards float[X, M]."""
    feature_key, weight_key = jax.random.split(key)
    features = jax.random.normal(feature_key, (STATES, FEATURES)) / jnp.sqrt(STATES)
    weights = jax.random.normal(weight_key, (FEATURES, reward.shape[1])) / jnp.sqrt(FEATURES * reward.shape[1])
    return td_learning(transition, reward, Values(features, weights), GAMMA, STEP_SIZE, steps, RECORDS)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Follows all chains of a kind side by side, in float64.

    One reward is that of the process, uniform in [0, 1]; random rewards are normal, divided by the root of their number.
    ``energy`` and ``squared_error`` are curves; ``.._rise`` is by how much either has risen at most in one step. Angles, in
    degrees, are those between the last features and the leading eigenvectors of a symmetric chain, in which values under random
    rewards vary most.
    """
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(results.root), config.seeds)
        drawn = processes(keys)
        many = jax.random.normal(jax.random.key(results.root + 1), (config.seeds, STATES, REWARDS)) / np.sqrt(REWARDS)
        follow = jax.jit(jax.vmap(partial(learned, steps=config.steps)))
        for chain, task in [(chain, "one reward") for chain in CHAINS] + [("symmetric", "random rewards")]:
            transition = jax.vmap(random_mdp.table)(drawn[chain]).probability[:, :, 0].astype(float)
            reward = many if task == "random rewards" else drawn[chain].reward.astype(float)
            course = jax.device_get(follow(keys, transition, reward))
            factors = {"chain": chain, "task": task}
            yield factors | {"part": "curves"}, course.measures
            ends = {f"{name}_rise": rise[:, None] for name, rise in course.rise.items()}
            if chain == "symmetric":
                eigenvectors = leading_eigenvectors(transition, FEATURES)
                angles = np.degrees(principal_angles(course.state.features[:, -1], eigenvectors))
                ends |= {"mean_angle": angles.mean(1, keepdims=True), "largest_angle": angles.max(1, keepdims=True)}
            yield factors | {"part": "ends"}, ends


def figures(results: Results) -> None:
    """Draws both errors while learning one reward, and the angles at the end."""
    curve = results.values("energy", chain="symmetric", task="one reward")
    time = np.linspace(0, 1, curve.shape[1] + 1)[1:]
    arms = {chain: {"chain": chain, "task": "one reward"} for chain in CHAINS}
    for metric, label in (("energy", "Energy of the error"), ("squared_error", "Squared error of the values")):
        draw.lines(results, metric, metric, arms, "Share of the time", label, x=time, y_scale="log", floor=1e-12)
    draw.ends(results, "mean_angle", {"label": "Mean angle to the leading eigenvectors (degrees)"}, chain="symmetric")


def angle(kind: str, task: str) -> Quantity:
    """The mean or the largest principal angle between features and leading eigenvectors, in degrees."""
    return final(f"{kind}_angle", chain="symmetric", task=task)


CLAIMS = (
    Claim(
        "In 64 symmetric chains TD-learning never raises (V - V*)^T (I - gamma P) (V - V*), by more than 1e-9 in a step",
        "Tang and Munos (2023)",
        largest("energy_rise", chain="symmetric", task="one reward") <= 1e-9,
    ),
    *(
        Claim(
            f"Learning the values of {REWARDS} random rewards leaves a smaller {kind} principal angle between features and the "
            "leading eigenvectors of a symmetric chain than learning those of one reward",
            "Tang and Munos (2023); Lyle et al. (2021)",
            angle(kind, "random rewards") < angle(kind, "one reward"),
        )
        for kind in ("mean", "largest")
    ),
)
