"""Around a learner: what algorithms share that hold another one, improve it by its own updates and act as it does.

Their configurations hold that of the learner as ``learner``, their states its state as ``learner``.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from jaxrl.core.algorithm import Algorithm, Init, Update
from jaxrl.core.config import Batched
from jaxrl.core.contracts import declared_steps, validate
from jaxrl.core.environment import Environment
from jaxrl.core.rollout import View
from jaxrl.errors import require


class AroundLearner:
    """The members of a configuration that follow from those of the learner in it.

    where: the name of the algorithm, in errors. learner: the configuration of the learner.
    """

    where: ClassVar[str]
    learner: Any

    @property
    def steps_per_update(self) -> int | None:
        """Environment steps of one seed in an update: those of the learner."""
        return declared_steps(self.where, self.learner, "config.learner").per_update

    @property
    def steps_before_first_update(self) -> int:
        """Environment steps of one seed before the first update: those that the learner begins with."""
        return declared_steps(self.where, self.learner, "config.learner").before

    def validate_learner(self, env: Environment) -> None:
        """Raises ConfigError, EnvError or SpaceError where the learner cannot run on ``env``, or does not say how many run."""
        must, fix = "config.learner must have num_envs", "Take one of the library's learners."
        require(isinstance(self.learner, Batched), self.where, must, type(self.learner).__name__, fix)
        validate(self.where, self.learner, env)


def acting_as(
    learner: Algorithm, init: Init, update: Update, seen: Callable[[Any, View], View] = lambda state, view: view
) -> Algorithm:
    """Returns an algorithm of its own ``init`` and ``update`` that acts as the learner in its state does.

    Args:
        learner: made on an environment with the same observations and actions.
        init, update: of states with the learner's as ``learner``.
        seen: ``(state, view) -> view``, the view that the learner is given; by default all of it.
    """

    acting: Any = learner  # of the policy and its probabilities either may be missing, and then is not asked for

    def policy(state, greedy):
        act = acting.policy(state.learner, greedy)
        return lambda key, view: act(key, seen(state, view))

    def probabilities(state, view):
        return acting.probabilities(state.learner, seen(state, view))

    return Algorithm(
        init,
        update,
        policy if learner.policy else None,
        learner.memory,
        probabilities if learner.probabilities else None,
    )
