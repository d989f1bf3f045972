"""What the PPO experiments have in common: their options, and one way to train with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from jaxrl.algorithms.deep import ppo
from jaxrl.core.environment import Environment
from jaxrl.experiment.session import Session

# For continuous control: more passes over the data, no entropy bonus, rewards scaled since their size is arbitrary.
CONTINUOUS = ppo.Config(
    learning_rate=1e-3,
    ent_coef=0.0,
    num_envs=16,
    num_epochs=10,
    num_minibatches=8,
    normalize_reward=True,
    clip_value=False,
)


@dataclass(frozen=True)
class PPOSettings:
    """Options of a PPO experiment. Each experiment sets its own defaults."""

    seeds: int = 8
    """Independent learners, trained side by side (count)."""
    updates: int = 1000
    """Updates of each learner (count), each of num_envs * num_steps environment steps."""
    anneal: bool = True
    """Let the learning rate fall linearly to 0 over the run; otherwise --anneal-updates decides."""
    algorithm: ppo.Config = field(default_factory=ppo.Config)
    """Hyper-parameters."""

    def train(
        self, session: Session, env: Environment, evaluators: Sequence[Callable], show: Sequence[str], variant: str = ""
    ) -> None:
        """Trains the learners and evaluates them some 20 times on the way; see ``Session.train``."""
        annealed = replace(self.algorithm, anneal_updates=float(self.updates)) if self.anneal else self.algorithm
        session.train(
            ppo.make,
            env,
            annealed,
            seeds=self.seeds,
            num_updates=self.updates,
            evaluators=evaluators,
            variant=variant,
            show=show,
        )
