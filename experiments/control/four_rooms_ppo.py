"""PPO in the four rooms, measured against the exact optimum.

Source: Schulman et al. (2017); the map is that of Sutton, Precup and Singh (1999). Exact values: dynamic programming.
"""

from dataclasses import dataclass, field

import envs
from experiments.control.ppo_settings import PPOSettings
from experiments.protocol import Claim, mean_at_least
from experiments.session import Session
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import ExactValue

GAMMA = 0.99
OPTIMUM = 0.826169  # 0.99^19, from (1, 1) to (11, 11)


@dataclass(frozen=True)
class Config(PPOSettings):
    """PPO in the four rooms."""

    seeds: int = 128
    updates: int = 80  # of 2048 steps with the default algorithm
    algorithm: ppo.Config = field(
        default_factory=lambda: ppo.Config(learning_rate=1e-3, gamma=GAMMA, hidden=(32,), num_envs=16, clip_value=False)
    )


QUICK = Config(seeds=4, updates=2)


def run(config: Config, session: Session) -> None:
    """Trains the learners and evaluates each policy exactly, greedy and sampled."""
    env = envs.make("four_rooms")
    exact = ExactValue.of(env, config.algorithm.gamma)
    config.train(session, env, (exact,), show=("greedy_exact_value", "greedy_optimality_gap"))
    session.draw_curves("greedy_exact_value", optimum=float(exact.optimum))
    session.draw_gap()


CLAIMS = (
    Claim(
        "The greedy policy's exact value is within 5 % of the optimum on average",
        "Schulman et al. (2017)",
        mean_at_least("greedy_exact_value", 0.95 * OPTIMUM),
    ),
)
