"""PPO with continuous actions on Pendulum: swing up and balance.

Source: Schulman et al. (2017); the environment is Gymnasium's Pendulum-v1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Results, draw, final


@dataclass(frozen=True)
class Config:
    """PPO on Pendulum. The short horizon of gamma 0.9 is common for this task, whose cost is paid at every step."""

    seeds: int = 8
    """Independent learners, trained side by side (count)."""
    env_steps: int = 983_040
    """Environment steps of each learner (count)."""
    algorithm: ppo.Config = field(default_factory=lambda: replace(ppo.CONTINUOUS, gamma=0.9))
    """Hyper-parameters. The learning rate falls to 0 over the run."""


QUICK = Config(seeds=2, env_steps=4_096)


def arms(config: Config) -> Iterator[Arm]:
    """One arm, evaluated by 32 episodes of each learner's greedy and sampled policy."""
    env = envs.make("pendulum")
    yield Arm(
        {"algorithm": "PPO"},
        ppo.make,
        env,
        config.algorithm.annealed(config.env_steps),
        seeds=config.seeds,
        env_steps=config.env_steps,
        evaluators=(Episodes(env),),
        show=("greedy_return", "sampled_return"),
    )


def figures(results: Results) -> None:
    """Draws the greedy policy's return over time, and where the seeds end."""
    draw.curves(results, "greedy_return")
    draw.ends(results, "greedy_return")


CLAIMS = (
    Claim(
        "After a million steps on Pendulum PPO's greedy policy costs at most 250 an episode on average (random: about 1200)",
        "Schulman et al. (2017)",
        final("greedy_return") >= -250.0,
    ),
)
