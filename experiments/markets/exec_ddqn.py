"""Optimal execution with double DQN when liquidity varies in time, against schedules that are optimal where one can be computed.

Four tasks: constant impact, impact that rises or falls linearly, and a latent mean-reverting impact that the agent can only guess
from how far its own sales have moved the price. The optimum of the first three is that of a quadratic programme.

Source: Macri and Lillo (2024), "Reinforcement Learning for Optimal Execution when Liquidity is Time-Varying"; the schedules:
Almgren and Chriss (2001). The sizes of the impacts are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from envs.trading import execution, schedules
from jaxrl.algorithms.deep import dqn
from jaxrl.core.algorithm import require_policy
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import Policy
from jaxrl.experiment import Arm, Claim, Quantity, Results, draw, exact, final
from jaxrl.studies import sales

LOTS, STEPS = 20, 10
RISING = np.linspace(1.0, 3.0, STEPS)
IMPACTS: dict[str, dict[str, Any]] = {
    "constant": dict(temporary=1.0, permanent=0.5),
    "rising": dict(temporary=RISING, permanent=RISING / 2),
    "falling": dict(temporary=RISING[::-1], permanent=RISING[::-1] / 2),
    # Liquidity is good at first, so that it pays to sell early, and the first sales show how it goes on.
    "latent": dict(temporary=1.0, permanent=0.5, speed=0.3, spread=0.5, factor=0.7),
}


@dataclass(frozen=True)
class Config:
    """Double DQN on optimal execution."""

    seeds: int = 10
    """Independent learners, trained side by side (count)."""
    env_steps: int = 780_800
    """Environment steps of each learner (count)."""
    latent_env_steps: int = 1_932_800
    """Those where liquidity is latent (count): its costs are far noisier."""
    paths: int = 10_000
    """Paths on which every policy and schedule is evaluated, the same for all (count)."""
    algorithm: dqn.Config = field(
        default_factory=lambda: dqn.Config(
            learning_rate=5e-4,
            gamma=1.0,
            epsilon_steps=300_000.0,
            target_step_size=0.005,
            target_interval=1,
            num_envs=128,
            num_steps=1,
            num_rounds=100,
            batch_size=256,
            buffer_size=200_000,
            learning_starts=12_800,
            hidden=(64, 64),
            double=True,
        )
    )
    """Hyper-parameters, chosen on seeds of root 1."""


SMALL = replace(Config().algorithm, num_envs=16, num_rounds=5, batch_size=16, learning_starts=160, buffer_size=1_000)
QUICK = Config(seeds=2, env_steps=320, latent_env_steps=320, paths=100, algorithm=SMALL)


def arms(config: Config) -> Iterator[Arm]:
    """One learner for each impact."""
    for impact, parameters in IMPACTS.items():
        yield Arm(
            {"impact": impact, "method": "double DQN"},
            dqn.make,
            execution.make(LOTS, num_steps=STEPS, **parameters),
            config.algorithm,
            seeds=config.seeds,
            env_steps=config.latent_env_steps if impact == "latent" else config.env_steps,
            show=("episode_return", "loss"),
        )


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures costs and sales, by step: of learners and schedules on the same paths, of the quadratic programme on average.

    A learner acts by its target network, the running mean of the network over the last few hundred gradient steps.
    """

    def learned(env: Environment, state: dqn.State) -> Policy:
        policy = require_policy("exec_ddqn", dqn.make(env, config.algorithm))
        return policy(replace(state, params=state.target_params), True)

    for number, arm in enumerate(arms(config)):
        env, factors = arm.task, dict(arm.factors)
        key = jax.random.fold_in(jax.random.key(results.root + 1), number)  # not the key of training
        sold = sales.of_policies(key, env, learned, results.run(**factors).state, config.paths)
        yield factors, results.marked(sold, **factors)
        for method, sold in sales.of_schedules(key, env, config.paths):
            yield factors | {"method": method}, sold


def figures(results: Results) -> None:
    """Draws, for each impact, where the costs of the seeds end, and the sales of the learners beside the optimal ones."""
    for impact in IMPACTS:
        title = f"Selling {LOTS} lots, {impact} impact"
        options = {"label": "Cost of the sale (quote currency)", "name": f"cost_{impact}", "title": title}
        draw.ends(results, "cost", options, impact=impact)
        methods = {name: {"impact": impact, "method": name} for name in ("double DQN", "quadratic programme")}
        note = "The learner's are means over paths."
        draw.lines(results, f"sales_{impact}", "sold", methods, "Step", "Lots sold", title=title, note=note)


def cost_ratio() -> float:
    """Returns the cost of the optimum over that of equal sales, where only temporary impact is paid, rising from 1 to 3."""
    none = np.zeros(STEPS)
    best, equal = schedules.optimal(LOTS, RISING, none), schedules.twap(LOTS, STEPS)
    return schedules.cost(best, RISING, none) / schedules.cost(equal, RISING, none)


def cost(impact: str, method: str = "double DQN") -> Quantity:
    """The expected cost of the whole sale, quote currency."""
    return final("cost", impact=impact, method=method)


SOURCE = "Macri and Lillo (2024)"
CLAIMS = (
    Claim(
        "Temporary impact rising from 1 to 3 over ten steps: the optimal schedule costs 0.8886 of equal sales",
        "Almgren and Chriss (2001), by Lagrange's rule",
        exact("cost of the optimum over that of equal sales", cost_ratio).equals(0.8886, 5e-5),
    ),
    *(
        Claim(f"{impact.capitalize()} impact: selling by double DQN costs {words}", SOURCE, statement)
        for impact, words, statement in (
            ("constant", "at most 1.03 of equal sales", cost("constant") / cost("constant", "equal sales") <= 1.03),
            ("rising", "at most 1.04 of the optimum", cost("rising") / cost("rising", "quadratic programme") <= 1.04),
            ("rising", "less than equal sales", cost("rising") < cost("rising", "equal sales")),
            ("falling", "at most 1.04 of the optimum", cost("falling") / cost("falling", "quadratic programme") <= 1.04),
            ("falling", "less than equal sales", cost("falling") < cost("falling", "equal sales")),
            ("latent", "less than equal sales", cost("latent") < cost("latent", "equal sales")),
            ("latent", "less than the best schedule for the mean impact", cost("latent") < cost("latent", "best whole lots")),
        )
    ),
)
