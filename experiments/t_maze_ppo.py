"""PPO with and without memory in the T-maze: the cue is shown once, the turn comes ten cells later.

Source: Bakker (2002) for the task; Schulman et al. (2017) and Cho et al. (2014) for the learner.
"""

from dataclasses import dataclass, field, replace

import envs
from experiments.protocol import Claim, mean_at_least, mean_within
from experiments.session import Session
from jaxrl.deep import ppo
from jaxrl.evaluation import Episodes


@dataclass(frozen=True)
class Config:
    """Recurrent and feed-forward PPO in the T-maze."""

    seeds: int = 8
    """Independent learners of either kind, trained side by side (count)."""
    length: int = 10
    """Cells from the cue to the junction (count)."""
    gru_size: int = 32
    """Units of the GRU (count); the feed-forward learner has none."""
    updates: int = 400
    """Updates of each learner (count), 1024 environment steps each with the default algorithm."""
    anneal: bool = True
    """Let the learning rate fall linearly to 0 over the run; otherwise --anneal-updates decides."""
    algorithm: ppo.Config = field(
        default_factory=lambda: ppo.Config(learning_rate=1e-3, hidden=(32, 32), num_envs=16, num_steps=64)
    )
    """Hyper-parameters of both learners; memory_size is set by --gru-size."""


QUICK = Config(seeds=2, updates=2)


def run(config: Config, session: Session) -> None:
    """Trains both kinds of learners and plays 64 evaluation episodes with each, some 20 times on the way."""
    env = envs.make("t_maze", length=config.length)
    anneal_updates = config.updates if config.anneal else config.algorithm.anneal_updates
    algorithm = replace(config.algorithm, anneal_updates=float(anneal_updates))
    for variant, memory_size in (("GRU", config.gru_size), ("feed-forward", 0)):
        session.train(
            ppo.make,
            env,
            replace(algorithm, memory_size=memory_size),
            variant=variant,
            seeds=config.seeds,
            num_updates=config.updates,
            evaluators=(Episodes(env, num_episodes=64),),
            show=("greedy_return",),
        )
    session.draw_curves("greedy_return", optimum=1.0)


CLAIMS = (
    Claim(
        "With a GRU the greedy policy turns the right way in at least 95 % of the episodes",
        "Bakker (2002)",
        mean_at_least("greedy_return", 0.95, "GRU"),
    ),
    Claim(
        "Without memory it cannot do better than chance, 50 %",
        "Bakker (2002)",
        mean_within("greedy_return", 0.45, 0.55, "feed-forward"),
    ),
)
