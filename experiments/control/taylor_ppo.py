"""Weights between two discounts: PPO whose gradient weighs the steps of an episode by a Taylor expansion in the discount.

The gradient of the discounted return weighs step t by gamma^t, so that late steps hardly count; common practice leaves the
weight out, which is right for no discounted return. An expansion of order K around gamma towards 1 lies between both: order 0 is
gamma^t.

Source: Tang, Rowland, Munos and Valko (2021), "Taylor Expansion of Discount Factors".
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks.returns import taylor_weights
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Results, area, draw, exact

ORDERS = {"order 0": 0, "order 1": 1, "no weights": None}
LEARNER = ppo.Config(gamma=0.95, num_envs=8, clip_value=False)  # chosen with seeds of another root than the published one
HORIZON = 200  # steps of an episode


@dataclass(frozen=True)
class Config:
    """PPO on CartPole with weights of different orders."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 100_000
    """Environment steps of each learner (count)."""


QUICK = Config(seeds=2, env_steps=2_048)


def arms(config: Config) -> Iterator[Arm]:
    """Three learners, evaluated by episodes of their greedy and sampled policies."""
    env = envs.make("cartpole", max_steps=HORIZON)
    for name, order in ORDERS.items():
        learner = replace(LEARNER.annealed(config.env_steps), taylor_order=order)
        arm = Arm({"weights": name}, ppo.make, env, learner, config.seeds, config.env_steps, evaluators=(Episodes(env),))
        yield replace(arm, chunk_length=max(1, arm.updates // 25))


def largest_difference() -> float:
    """Returns by how much the weights of an order that the horizon does not exceed differ from the larger discount's powers."""
    t = jnp.arange(50)
    return float(jnp.abs(taylor_weights(t, LEARNER.gamma, 0.99, 50) - 0.99**t).max())


def figures(results: Results) -> None:
    """Draws the returns of the sampled policies over time, and the weights."""
    draw.curves(results, "sampled_return", {"optimum": float(HORIZON), "title": "CartPole, 200 steps"})
    t = jnp.arange(HORIZON)
    weight = {name: taylor_weights(t, LEARNER.gamma, 1.0, order) for name, order in ORDERS.items() if order is not None}
    lines = {name: (np.asarray(t), np.asarray(values)[None]) for name, values in weight.items()}
    draw.relation(results, "weights", lines, "Step of the episode", "Weight of its gradient", title="From discount 0.95 to 1")


PAPER = "Tang et al. (2021), section 5"
CLAIMS = (
    Claim(
        "On CartPole, PPO with weights of order 1 has a larger area under the curve of the sampled return than with order 0",
        PAPER,
        area("sampled_return", weights="order 1") > area("sampled_return", weights="order 0"),
    ),
    Claim(
        "Weights of an order as long as the episode are the powers of the larger discount",
        PAPER,
        exact("largest difference of a weight", largest_difference).equals(0.0, 1e-5),
    ),
)
