"""PPO with continuous actions on Pendulum: swing up and balance.

Source: Schulman et al. (2017); the environment is Gymnasium's Pendulum-v1.
"""

from dataclasses import dataclass, field, replace

import envs
from experiments.control.ppo_settings import CONTINUOUS, PPOSettings
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.experiment.claims import Claim, mean_at_least
from jaxrl.experiment.session import Session


@dataclass(frozen=True)
class Config(PPOSettings):
    """PPO on Pendulum. The short horizon of gamma 0.9 is common for this task, whose cost is paid at every step."""

    updates: int = 480  # of 2048 steps with the default algorithm: just under a million steps
    algorithm: ppo.Config = field(default_factory=lambda: replace(CONTINUOUS, gamma=0.9))


QUICK = Config(seeds=2, updates=2)


def run(config: Config, session: Session) -> None:
    """Trains the learners and plays 32 evaluation episodes with each."""
    env = envs.make("pendulum")
    config.train(session, env, (Episodes(env),), show=("greedy_return", "sampled_return"))
    session.draw_curves("greedy_return")


CLAIMS = (
    Claim(
        "After a million steps the greedy policy costs at most 250 per episode on average (random: about 1200)",
        "Schulman et al. (2017)",
        mean_at_least("greedy_return", -250.0),
    ),
)
