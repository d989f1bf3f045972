"""Self-predictive representations: features of random Markov chains that predict themselves one step ahead, as flows.

Source: Tang et al. (2023), "Understanding Self-Predictive Learning for Reinforcement Learning".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.random_mdps import random_mdp
from jaxrl.experiment import Claim, Results, draw, final, largest
from jaxrl.solvers.representations import Course, bidirectional, self_prediction

STATES, FEATURES, RECORDS = 30, 4, 50
STEP_SIZE = {"symmetric": 0.002, "dense": 0.008}  # time in a step; the singular values of dense chains are the smaller ones
COLLAPSING = {"moving target": {"target": "moving"}, "slow predictor": {"predictor_rate": 0.01}}
METHODS = ("self-prediction", "bidirectional", *COLLAPSING)


@dataclass(frozen=True)
class Config:
    """Self-predictive learning in random Markov chains, as a flow."""

    seeds: int = 32
    """Random chains, each with its own first features (count)."""
    steps: int = 50_000
    """Euler's steps (count), a multiple of 50; a fifth of them where representations collapse."""


QUICK = Config(seeds=4, steps=500)


def orthonormal(key: jax.Array) -> jax.Array:
    """Draws orthonormal features, float[STATES, FEATURES], by Gram and Schmidt's method."""
    columns: list[jax.Array] = []
    for column in jax.random.normal(key, (FEATURES, STATES)):
        for other in columns * 2:  # twice is enough, for any rounding
            column = column - (other @ column) * other
        columns.append(column / jnp.sqrt(column @ column))
    return jnp.stack(columns, 1)


def learned(key: jax.Array, transition: jax.Array, method: str, steps: int) -> Course:
    """Follows one method in one chain."""
    feature_key, back_key = jax.random.split(key)
    features = orthonormal(feature_key)
    if method == "bidirectional":
        return bidirectional(transition, features, orthonormal(back_key), STEP_SIZE["dense"], steps, RECORDS)
    options = COLLAPSING.get(method, {})
    return self_prediction(transition, features, STEP_SIZE["symmetric"], steps // 5 if options else steps, RECORDS, **options)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Follows all chains of a method side by side, in float64: symmetric ones, but dense ones for the bidirectional method.

    ``reached``: the objective as a share of the most that it can be, the sum of the largest squared singular values of P, which
    are the squared eigenvalues of a symmetric one. ``norm_ratio``: of the covariance of the features, to that at first.
    ``fall``: by how much the objective has fallen at most in one step. ``drift``: of an entry of the covariance.
    """
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(results.root), config.seeds)
        for method in METHODS:
            kind = random_mdp.dense if method == "bidirectional" else random_mdp.symmetric
            process = jax.jit(jax.vmap(partial(kind, num_states=STATES, num_actions=1)))(keys)
            transition = jax.vmap(random_mdp.table)(process).probability[:, :, 0].astype(float)
            course = jax.device_get(jax.jit(jax.vmap(partial(learned, method=method, steps=config.steps)))(keys, transition))
            most = (np.linalg.svd(transition, compute_uv=False)[:, :FEATURES] ** 2).sum(1, keepdims=True)
            curves = {"reached": course.measures["objective"] / most, "drift": course.measures["drift"]}
            if method != "bidirectional":
                curves["norm_ratio"] = course.measures["covariance"] / np.sqrt(FEATURES)
            yield {"method": method, "part": "curves"}, curves
            yield {"method": method, "part": "steps"}, {"fall": course.fall["objective"][:, None]}


def figures(results: Results) -> None:
    """Draws how much of the objective is reached, and how the covariance collapses."""
    time = np.linspace(0, 1, results.values("reached", method="self-prediction").shape[1] + 1)[1:]
    for name, metric, methods, label in (
        ("objective", "reached", METHODS[:2], "Objective (share of its maximum)"),
        ("collapse", "norm_ratio", (METHODS[0], *COLLAPSING), "Norm of the covariance (share of that at first)"),
    ):
        arms = {method: {"method": method} for method in methods}
        draw.lines(results, name, metric, arms, "Share of the time", label, x=time)


CLAIMS = (
    Claim(
        "Self-prediction conserves the covariance of the features in symmetric chains: no entry moves by 1e-3",
        "Tang et al. (2023)",
        largest("drift", method="self-prediction") < 1e-3,
    ),
    Claim(
        "Self-prediction never lowers tr (Phi^T P Phi)^2 in a symmetric chain, by more than 1e-12 in a step",
        "Tang et al. (2023)",
        largest("fall", method="self-prediction") <= 1e-12,
    ),
    Claim(
        "Self-prediction ends with at least 97 % of the sum of the 4 largest squared eigenvalues of a symmetric chain",
        "Tang et al. (2023)",
        final("reached", method="self-prediction") >= 0.97,
    ),
    Claim(
        "Bidirectional self-prediction reaches 97 % of the sum of the 4 largest squared singular values of a dense chain",
        "Tang et al. (2023)",
        final("reached", method="bidirectional") >= 0.97,
    ),
    *(
        Claim(
            f"With a {method} the covariance of the features collapses to less than a tenth of its norm",
            "Tang et al. (2023)",
            final("norm_ratio", method=method) < 0.1,
        )
        for method in COLLAPSING
    ),
)
