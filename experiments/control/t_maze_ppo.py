"""PPO with and without memory in the T-maze: the cue is shown once, the turn comes ten cells later.

Source: Bakker (2002) for the task; Schulman et al. (2017) and Cho et al. (2014) for the learner.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.experiment import Arm, Claim, Results, draw, final


@dataclass(frozen=True)
class Config:
    """Recurrent and feed-forward PPO in the T-maze."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 409_600
    """Environment steps of each learner (count)."""
    length: int = 10
    """Cells from the cue to the junction (count)."""
    gru_size: int = 32
    """Units of the GRU (count); the feed-forward learner has none. Replaces --memory-size."""
    algorithm: ppo.Config = field(
        default_factory=lambda: ppo.Config(learning_rate=1e-3, hidden=(32, 32), num_envs=16, num_steps=64, clip_value=False)
    )
    """Hyper-parameters. The learning rate falls to 0 over the run."""


QUICK = Config(seeds=2, env_steps=2_048)


def arms(config: Config) -> Iterator[Arm]:
    """Two arms that differ in the GRU alone, evaluated by 64 episodes of each learner."""
    env = envs.make("t_maze", length=config.length)
    annealed = config.algorithm.annealed(config.env_steps)
    for memory, size in (("GRU", config.gru_size), ("feed-forward", 0)):
        yield Arm(
            {"memory": memory},
            ppo.make,
            env,
            replace(annealed, memory_size=size),
            seeds=config.seeds,
            env_steps=config.env_steps,
            evaluators=(Episodes(env, num_episodes=64),),
            show=("greedy_return",),
        )


def figures(results: Results) -> None:
    """Draws the greedy policy's return over time, and where the seeds end."""
    draw.curves(results, "greedy_return", {"optimum": 1.0})
    draw.ends(results, "greedy_return")


CLAIMS = (
    Claim(
        "In the T-maze PPO with a GRU turns the right way in at least 95 % of the episodes of its greedy policy",
        "Bakker (2002)",
        final("greedy_return", memory="GRU") >= 0.95,
    ),
    Claim(
        "In the T-maze PPO without memory cannot do better than chance, 50 %",
        "Bakker (2002)",
        final("greedy_return", memory="feed-forward").within(0.45, 0.55),
    ),
)
