"""PPO with and without memory in the T-maze: the cue is shown once, the turn comes ten cells later.

Source: Bakker (2002) for the task; Schulman et al. (2017) and Cho et al. (2014) for the learner.
"""

from dataclasses import dataclass, field, replace

import envs
from experiments.control.ppo_settings import PPOSettings
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.experiment.claims import Claim, mean_at_least, mean_within
from jaxrl.experiment.session import Session


@dataclass(frozen=True)
class Config(PPOSettings):
    """Recurrent and feed-forward PPO in the T-maze."""

    updates: int = 400  # of 1024 steps with the default algorithm
    length: int = 10
    """Cells from the cue to the junction (count)."""
    gru_size: int = 32
    """Units of the GRU (count); the feed-forward learner has none. Replaces --memory-size."""
    algorithm: ppo.Config = field(
        default_factory=lambda: ppo.Config(learning_rate=1e-3, hidden=(32, 32), num_envs=16, num_steps=64, clip_value=False)
    )


QUICK = Config(seeds=2, updates=2)


def run(config: Config, session: Session) -> None:
    """Trains both kinds of learners and plays 64 evaluation episodes with each."""
    env = envs.make("t_maze", length=config.length)
    for variant, memory_size in (("GRU", config.gru_size), ("feed-forward", 0)):
        learners = replace(config, algorithm=replace(config.algorithm, memory_size=memory_size))
        learners.train(session, env, (Episodes(env, num_episodes=64),), show=("greedy_return",), variant=variant)
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
