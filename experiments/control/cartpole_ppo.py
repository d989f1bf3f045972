"""PPO on CartPole: 475 of 500 steps by half a million environment steps.

Source: Schulman et al. (2017); 475 is the mark at which CartPole-v1 is usually called solved.
"""

from dataclasses import dataclass

import envs
from experiments.control.ppo_settings import PPOSettings
from jaxrl.evaluation import Episodes
from jaxrl.experiment.claims import Claim, mean_at_least
from jaxrl.experiment.session import Session


@dataclass(frozen=True)
class Config(PPOSettings):
    """PPO on CartPole."""

    updates: int = 976  # of 512 steps with the default algorithm: half a million steps


QUICK = Config(seeds=2, updates=4)


def run(config: Config, session: Session) -> None:
    """Trains the learners and plays 32 evaluation episodes with each."""
    env = envs.make("cartpole")
    config.train(session, env, (Episodes(env),), show=("greedy_return", "sampled_return"))
    session.draw_curves("greedy_return", optimum=float(env.max_steps))


CLAIMS = (
    Claim(
        "After half a million steps the greedy policy keeps the pole up for at least 475 of 500 steps on average",
        "Schulman et al. (2017)",
        mean_at_least("greedy_return", 475.0),
    ),
)
