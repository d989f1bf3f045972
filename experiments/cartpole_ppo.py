"""PPO on CartPole: 475 of 500 steps by half a million environment steps.

Source: Schulman et al. (2017); 475 is the mark at which CartPole-v1 is usually called solved.
"""

from dataclasses import dataclass, field, replace

import envs
from experiments.protocol import Claim, mean_at_least
from experiments.session import Session
from jaxrl.deep import ppo
from jaxrl.evaluation import Episodes


@dataclass(frozen=True)
class Config:
    """PPO on CartPole."""

    seeds: int = 8
    """Independent learners, trained side by side (count)."""
    updates: int = 976
    """Updates of each learner (count), 512 environment steps each with the default algorithm: half a million."""
    anneal: bool = True
    """Let the learning rate fall linearly to 0 over the run; otherwise --anneal-updates decides."""
    algorithm: ppo.Config = field(default_factory=ppo.Config)
    """Hyper-parameters."""


QUICK = Config(seeds=2, updates=4)


def run(config: Config, session: Session) -> None:
    """Trains the learners and plays 32 evaluation episodes with each, some 20 times on the way."""
    env = envs.make("cartpole")
    anneal_updates = config.updates if config.anneal else config.algorithm.anneal_updates
    algorithm = replace(config.algorithm, anneal_updates=float(anneal_updates))
    session.train(
        ppo.make,
        env,
        algorithm,
        seeds=config.seeds,
        num_updates=config.updates,
        evaluators=(Episodes(env),),
        show=("greedy_return", "sampled_return"),
    )
    session.draw_curves("greedy_return", optimum=float(env.max_steps))


CLAIMS = (
    Claim(
        "After half a million steps the greedy policy keeps the pole up for at least 475 of 500 steps on average",
        "Schulman et al. (2017)",
        mean_at_least("greedy_return", 475.0),
    ),
)
