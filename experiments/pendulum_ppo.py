"""PPO with continuous actions on Pendulum: swing up and balance.

Source: Schulman et al. (2017); the environment is Gymnasium's Pendulum-v1.
"""

from dataclasses import dataclass, field, replace

import envs
from experiments.protocol import Claim, mean_at_least
from experiments.session import Session
from jaxrl.deep import ppo
from jaxrl.evaluation import Episodes


@dataclass(frozen=True)
class Config:
    """PPO on Pendulum."""

    seeds: int = 8
    """Independent learners, trained side by side (count)."""
    updates: int = 480
    """Updates of each learner (count), 2048 environment steps each with the default algorithm: just under a million."""
    anneal: bool = True
    """Let the learning rate fall linearly to 0 over the run; otherwise --anneal-updates decides."""
    algorithm: ppo.Config = field(
        default_factory=lambda: ppo.Config(
            learning_rate=1e-3,
            gamma=0.9,
            ent_coef=0.0,
            num_envs=16,
            num_epochs=10,
            num_minibatches=8,
            normalize_reward=True,
        )
    )
    """Hyper-parameters; the short horizon of gamma 0.9 is common for this task, whose cost is paid at every step."""


QUICK = Config(seeds=2, updates=2)


def run(config: Config, session: Session) -> None:
    """Trains the learners and plays 32 evaluation episodes with each, some 20 times on the way."""
    env = envs.make("pendulum")
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
    session.draw_curves("greedy_return")


CLAIMS = (
    Claim(
        "After a million steps the greedy policy costs at most 250 per episode on average (random: about 1200)",
        "Schulman et al. (2017)",
        mean_at_least("greedy_return", -250.0),
    ),
)
