"""Intrinsic motivation: any learner is paid a bonus for what is new, and the bonus learns from the steps of the learner.

    repeat
        improve    the learner by an update of its own, paid  w_e r + beta i(s, a, s')
        learn      the bonus i from the steps that this update took

It stands around a learner rather than in it: the reward is changed in the environment (``transforms.with_bonus``), where the
state of the bonus is a traced part of the parameters, and the steps come back with the learner's metrics (``rollout.BLOCK``). So
no learner knows of it: PPO, DQN, PQN, SAC, TD3 and all tabular ones take it, and so does one of a user's own that measures its
episodes by ``rollout.episode_metrics``. A hook in each learner would have to carry the state of the bonus through the loops
inside its update.

The bonus stays as it is during an update: where this has many rounds (``num_rounds`` of DQN, ``num_steps`` of a table), the last
ones are paid by an old state, so these numbers should be small. A replay memory keeps the reward that was paid when the step was
made, although the bonus of the same step has fallen since; its first, random steps are paid by the first state, which does not
learn from them.

Metrics of episodes are those of the environment's own reward; ``bonus`` is the mean bonus of a step, before its weight.
Evaluators are built on the environment itself and see no bonus.

Source: Bellemare et al. (2016), "Unifying count-based exploration and intrinsic motivation"; see ``jaxrl.blocks.bonuses``.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks.around import AroundLearner, acting_as
from jaxrl.blocks.bonuses import Bonus
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import Transition
from jaxrl.core.transforms import with_bonus
from jaxrl.errors import require_between, require_numbers


@struct.dataclass
class Config(AroundLearner):
    """Hyper-parameters; those of the learner and of the bonus are nested."""

    where: ClassVar[str] = "intrinsic"

    learner: Any  # the configuration of the learner
    bonus: Any  # see jaxrl.blocks.bonuses, for example Count.of(env)
    make_learner: Callable = static()  # its ``make``, for example ``ppo.make`` or ``q_learning.make``
    bonus_weight: float = 1.0  # beta, what is paid for a unit of the bonus, at least 0
    reward_weight: float = 1.0  # w_e, of the environment's own reward, at least 0; 0 explores for its own sake

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError or SpaceError where these values cannot run on ``env``."""
        require_single_agent("intrinsic", env, "Explore with one agent.")
        require_numbers("intrinsic", self)
        require_between("intrinsic", self, 0, float("inf"), "bonus_weight", "reward_weight")
        self.validate_learner(env)
        self.bonus.validate(env, self.steps_per_update)


@struct.dataclass
class State:
    """learner: the learner's state. bonus: that of the bonus."""

    learner: PyTree
    bonus: PyTree


def pay(params: tuple[Bonus, PyTree], obs: PyTree, action: PyTree, next_obs: PyTree) -> jax.Array:
    """Returns the bonus of each step, float32[...]. params: the bonus and its state."""
    bonus, state = params
    return bonus(state, obs, action, next_obs)


def make(env: Environment, config: Config) -> Algorithm:
    """Builds a learner on an environment with a bonus."""
    bonus = config.bonus
    acting = config.make_learner(env, config.learner)  # its policy does not depend on the reward

    def learner(bonus_state):
        paying = with_bonus(env, pay, (bonus, bonus_state), config.reward_weight, config.bonus_weight)
        return config.make_learner(paying, config.learner)

    def init(key):
        learner_key, bonus_key = jax.random.split(key)
        bonus_state = bonus.init(bonus_key, config.learner.num_envs)
        return State(learner(bonus_state).init(learner_key), bonus_state)

    def update(state, key):
        improve_key, learn_key = jax.random.split(key)
        # Improve the learner by an update of its own, paid w_e r + beta i(s, a, s').
        learner_state, metrics = learner(state.bonus).update(state.learner, improve_key)
        metrics, block = rollout.apart("intrinsic", metrics)
        # Learn the bonus from the steps that this update took.
        bonus_state, learned = bonus.update(learn_key, state.bonus, block)
        return State(learner_state, bonus_state), metrics | learned | measured(block)

    return acting_as(acting, init, update)


def measured(block: Transition) -> dict[str, Any]:
    """Returns the metrics of the episodes of a block by the environment's own reward, and the mean ``bonus``."""
    paid = block.info[rollout.BLOCK]
    own = block._replace(reward=paid.reward, return_=paid.return_, info={})
    return rollout.episode_metrics(own) | {"bonus": paid.bonus.mean()}


@struct.dataclass
class MeanBonus:
    """Evaluates which bonus the steps of a list would be paid. Metric: ``bonus_NAME``, their mean, before its weight.

    bonus: of the algorithm. obs, action, next_obs: PyTree[K, ...], the steps. name: of the metric.
    """

    bonus: Any
    obs: PyTree
    action: PyTree
    next_obs: PyTree
    name: str = static()

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: State) -> dict[str, jax.Array]:
        return {f"bonus_{self.name}": jnp.mean(self.bonus(state.bonus, self.obs, self.action, self.next_obs))}
