"""PPO on the linear-quadratic regulator, measured against the exact Riccati solution.

Source: Schulman et al. (2017); the optimum is that of the discounted algebraic Riccati equation (Bertsekas, vol. 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import envs
from envs.control.lqr import OPTIMAL_COST, riccati
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final

GAMMA = 0.99


@dataclass(frozen=True)
class Config:
    """PPO on the double integrator."""

    seeds: int = 8
    """Independent learners, trained side by side (count)."""
    env_steps: int = 409_600
    """Environment steps of each learner (count)."""
    algorithm: ppo.Config = field(default_factory=lambda: replace(ppo.CONTINUOUS, gamma=GAMMA))
    """Hyper-parameters. The learning rate falls to 0 over the run."""


QUICK = Config(seeds=2, env_steps=4_096)


def arms(config: Config) -> Iterator[Arm]:
    """One arm, evaluated by 1024 episodes of each learner's greedy policy."""
    env = envs.make("lqr")
    yield Arm(
        {"algorithm": "PPO"},
        ppo.make,
        env,
        config.algorithm.annealed(config.env_steps),
        seeds=config.seeds,
        env_steps=config.env_steps,
        evaluators=(Episodes(env, gamma=config.algorithm.gamma, num_episodes=1024, modes=("greedy",), discounted=True),),
        show=("greedy_discounted_return",),
    )


def figures(results: Results) -> None:
    """Draws the greedy policy's discounted return over time, and where the seeds end."""
    label = "Discounted return of the greedy policy (reward units)"
    draw.curves(results, "greedy_discounted_return", {"optimum": -OPTIMAL_COST, "label": label})
    draw.ends(results, "greedy_discounted_return", {"label": label})


CLAIMS = (
    Claim(
        "The Riccati equation gives the optimal expected discounted cost of the double integrator",
        "Bertsekas, Dynamic Programming and Optimal Control, vol. 2",
        exact("optimal cost", lambda: riccati(envs.make("lqr").params, GAMMA).cost).equals(OPTIMAL_COST, 1e-5),
    ),
    Claim(
        "On the double integrator the expected discounted cost of PPO's greedy policy is within 10 % of the optimum",
        "Schulman et al. (2017)",
        final("greedy_discounted_return") >= -1.10 * OPTIMAL_COST,
    ),
)
