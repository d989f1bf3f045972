"""PPO in the four rooms, measured against the exact optimum.

Source: Schulman et al. (2017); the map is that of Sutton, Precup and Singh (1999). Exact values: dynamic programming.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import envs
from envs.gridworlds import optima
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, final

GAMMA = 0.99
OPTIMUM = optima.FOUR_ROOMS[11, 11][0.0]  # 0.99^19, from (1, 1) to (11, 11)


@dataclass(frozen=True)
class Config:
    """PPO in the four rooms."""

    seeds: int = 128
    """Independent learners, trained side by side (count)."""
    env_steps: int = 163_840
    """Environment steps of each learner (count)."""
    algorithm: ppo.Config = field(
        default_factory=lambda: ppo.Config(learning_rate=1e-3, gamma=GAMMA, hidden=(32,), num_envs=16, clip_value=False)
    )
    """Hyper-parameters. The learning rate falls to 0 over the run."""


QUICK = Config(seeds=4, env_steps=4_096)


def arms(config: Config) -> Iterator[Arm]:
    """One arm, whose policies are evaluated exactly, greedy and sampled."""
    env = envs.make("four_rooms")
    yield Arm(
        {"algorithm": "PPO"},
        ppo.make,
        env,
        config.algorithm.annealed(config.env_steps),
        seeds=config.seeds,
        env_steps=config.env_steps,
        evaluators=(ExactValue.of(env, config.algorithm.gamma),),
        show=("greedy_exact_value", "greedy_optimality_gap"),
    )


def figures(results: Results) -> None:
    """Draws the exact value over time, where the seeds end, and the gap to the optimum."""
    draw.curves(results, "greedy_exact_value", {"optimum": OPTIMUM})
    draw.ends(results, "greedy_exact_value")
    draw.gaps(results, "greedy_optimality_gap")


CLAIMS = (
    Claim(
        "In the four rooms the exact value of PPO's greedy policy is within 5 % of the optimum on average",
        "Schulman et al. (2017)",
        final("greedy_exact_value") >= 0.95 * OPTIMUM,
    ),
)
