"""PPO on CartPole: 475 of 500 steps by half a million environment steps.

Source: Schulman et al. (2017); 475 is the mark at which CartPole-v1 is usually called solved.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Results, draw, final


@dataclass(frozen=True)
class Config:
    """PPO on CartPole."""

    seeds: int = 8
    """Independent learners, trained side by side (count)."""
    env_steps: int = 500_000
    """Environment steps of each learner (count)."""
    algorithm: ppo.Config = field(default_factory=ppo.Config)
    """Hyper-parameters. The learning rate falls to 0 over the run."""


QUICK = Config(seeds=2, env_steps=2_048)


def arms(config: Config) -> Iterator[Arm]:
    """One arm, evaluated by 32 episodes of each learner's greedy and sampled policy."""
    env = envs.make("cartpole")
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
    """Draws the greedy policy's return over time and where the seeds end."""
    draw.curves(results, "greedy_return", {"optimum": 500.0})
    draw.ends(results, "greedy_return")


CLAIMS = (
    Claim(
        "After half a million steps on CartPole, PPO's greedy policy keeps the pole up for at least 475 of 500 steps on average",
        "Schulman et al. (2017)",
        final("greedy_return") >= 475.0,
    ),
)
