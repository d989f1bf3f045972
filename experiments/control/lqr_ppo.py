"""PPO on the linear-quadratic regulator, measured against the exact Riccati solution.

Source: Schulman et al. (2017); the optimum is that of the discounted algebraic Riccati equation (Bertsekas, vol. 2).
"""

from dataclasses import dataclass, field, replace

import envs
from envs.control.lqr import riccati
from experiments.control.ppo_settings import CONTINUOUS, PPOSettings
from jaxrl.algorithms.deep import ppo
from jaxrl.evaluation import Episodes
from jaxrl.experiment.claims import Claim, equals, mean_at_least
from jaxrl.experiment.session import Session

GAMMA = 0.99
OPTIMAL_COST = 5.948985


@dataclass(frozen=True)
class Config(PPOSettings):
    """PPO on the double integrator."""

    updates: int = 200  # of 2048 steps with the default algorithm
    algorithm: ppo.Config = field(default_factory=lambda: replace(CONTINUOUS, gamma=GAMMA))


QUICK = Config(seeds=2, updates=2)


def run(config: Config, session: Session) -> None:
    """Trains the learners and plays 1024 evaluation episodes with each greedy policy."""
    env = envs.make("lqr")
    evaluator = Episodes(env, gamma=config.algorithm.gamma, num_episodes=1024, modes=("greedy",), discounted=True)
    config.train(session, env, (evaluator,), show=("greedy_discounted_return",))
    session.draw_curves("greedy_discounted_return", optimum=-OPTIMAL_COST)


CLAIMS = (
    Claim(
        "The Riccati equation gives the optimal expected discounted cost",
        "Bertsekas, Dynamic Programming and Optimal Control, vol. 2",
        equals(lambda: riccati(envs.make("lqr").params, GAMMA).cost, OPTIMAL_COST, 1e-5),
    ),
    Claim(
        "The greedy policy's expected discounted cost is within 10 % of the optimum",
        "Schulman et al. (2017)",
        mean_at_least("greedy_discounted_return", -1.10 * OPTIMAL_COST),
    ),
)
