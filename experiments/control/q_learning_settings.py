"""What the experiments with tabular Q-learning have in common: their options, and one way to train with them."""

from dataclasses import dataclass, field

from experiments.session import Session
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.environment import Environment
from jaxrl.errors import require, require_counts
from jaxrl.evaluation import ExactValue


@dataclass(frozen=True)
class QLearningSettings:
    """Options of an experiment with tabular Q-learning. Each experiment sets its own defaults."""

    seeds: int = 1024
    """Independent learners, trained side by side (count)."""
    steps: int = 100_000
    """Environment steps of each learner (count); a multiple of the steps in an update."""
    algorithm: q_learning.Config = field(default_factory=q_learning.Config)
    """Hyper-parameters."""

    def train(self, session: Session, env: Environment) -> float:
        """Trains the learners, evaluates each greedy policy exactly some 20 times on the way, and draws its value.

        Returns:
            The exact value of an optimal policy.
        """
        require_counts("the algorithm", self.algorithm, "num_envs", "num_steps")
        length = self.algorithm.steps_per_update
        must, nearest = (
            f"steps must be a multiple of {length}, the steps of an update",
            max(1, round(self.steps / length)) * length,
        )
        require(self.steps >= 1 and self.steps % length == 0, "the experiment", must, self.steps, f"Try --steps {nearest}.")
        exact = ExactValue.of(env, self.algorithm.gamma)
        optimum = float(exact.optimum)
        session.train(
            q_learning.make,
            env,
            self.algorithm,
            seeds=self.seeds,
            num_updates=self.steps // self.algorithm.steps_per_update,
            evaluators=(exact,),
            show=("greedy_exact_value", "greedy_optimality_gap"),
        )
        session.draw_curves("greedy_exact_value", optimum=optimum)
        return optimum
