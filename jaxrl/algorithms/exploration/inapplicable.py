"""Inapplicable actions: any learner is spared the actions of which a classifier has learned that they do nothing.

    repeat
        improve    the learner by an update of its own, with the actions a for which m(s, a) > threshold masked,
                   but for a share of the steps, in which it chooses and explores among all
        learn      m(s, a) = P(no effect) from the steps that this update took

It stands around a learner, as ``intrinsic`` does: the mask is put into the environment (``transforms.with_mask``), where the
parameters of m are traced, and the steps come back with the learner's metrics. So PPO, DQN and all tabular learners take it; the
values of successors and the probabilities of a policy count the actions that are left. In the steps without a mask, one that is
wrong is found out. Actions that are known to matter though they do nothing, such as waiting, are listed in ``always``. If all
actions are masked, none is.

m may be learned in one task and kept in others: ``classifier.learning_rate`` 0, and ``initial`` states with its parameters.

Metrics: those of the learner, those of the classifier, and ``masked``, the share of actions that the mask leaves out.

Source: Ardon (2022), "Inapplicable Actions Learning for Knowledge Transfer in Reinforcement Learning".
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import applicability
from jaxrl.blocks.applicability import Classifier
from jaxrl.blocks.around import AroundLearner, acting_as
from jaxrl.core import masks, rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.config import require_discrete_actions, require_single_agent
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.rollout import View
from jaxrl.core.transforms import Masked, with_mask, with_steps
from jaxrl.errors import require, require_between, require_index, require_numbers

WHERE = "inapplicable"


@struct.dataclass
class Config(AroundLearner):
    """Hyper-parameters; those of the learner and of the classifier are nested."""

    where: ClassVar[str] = WHERE

    learner: Any  # the configuration of the learner
    classifier: Classifier  # see jaxrl.blocks.applicability, for example Classifier.of(env)
    make_learner: Callable = static()  # its ``make``, for example ``dqn.make`` or ``q_learning.make``
    threshold: float = 0.95  # an action is masked if m is above, in [0, 1]; 1 masks nothing
    unmasked: float = 0.05  # share of the steps without a mask, in [0, 1]
    always: tuple[int, ...] = static(default=())  # actions that are never masked

    def validate(self, env: Environment) -> None:
        """Raises ConfigError, EnvError or SpaceError where these values cannot run on ``env``."""
        require_single_agent(WHERE, env, "Mask the actions of one agent.")
        require_discrete_actions(WHERE, env)
        require_numbers(WHERE, self)
        require_between(WHERE, self, 0, 1, "threshold", "unmasked")
        self.validate_learner(env)
        self.classifier.validate(env)
        for action in self.always:
            require_index(WHERE, "an action of always", action, self.classifier.num_actions)
        must, fix = "the steps of an update must fit into classifier.buffer_size", f"Set it to {self.steps_per_update}."
        fits = self.classifier.buffer_size >= (self.steps_per_update or 1)
        require(fits, WHERE, must, self.classifier.buffer_size, fix)


@struct.dataclass
class State:
    """learner: the learner's state. classifier: that of m."""

    learner: PyTree
    classifier: applicability.State


def make(env: Environment, config: Config) -> Algorithm:
    """Builds a learner on an environment whose mask is learned."""
    classifier = config.classifier
    acting = config.make_learner(env, config.learner)  # its policy does not depend on the mask

    def mask(state):
        return Mask(classifier, state.params, config.threshold, config.always)

    def learner(state):
        masked = with_mask(env, legal, mask(state), config.unmasked, classifier.features)
        return config.make_learner(with_steps(masked, seen_in), config.learner)

    def init(key):
        learner_key, classifier_key = jax.random.split(key)
        first = classifier.init(classifier_key)
        return State(learner(first).init(learner_key), first)

    def update(state, key):
        improve_key, learn_key = jax.random.split(key)
        # Improve the learner by an update of its own, with the actions of which m(s, a) > threshold masked.
        learner_state, metrics = learner(state.classifier).update(state.learner, improve_key)
        metrics, block = rollout.apart(WHERE, metrics)
        # Learn m from the steps that this update took.
        shown = block.info[rollout.BLOCK]
        left_out = 1.0 - legal(mask(state.classifier), shown).mean(dtype=jnp.float32)
        classifier_state, learned = classifier.update(learn_key, state.classifier, block, shown)
        return State(learner_state, classifier_state), metrics | learned | {"masked": left_out}

    def masked_view(state: State, view: View) -> View:
        shown = view.obs
        if classifier.features is not None:
            shown = jax.vmap(classifier.features, (0, None))(view.state, jax.tree.map(jnp.asarray, env.params))
        both = masks.both(legal(mask(state.classifier), shown), view.mask)
        return view._replace(mask=masks.unless_empty(both, view.mask))

    algorithm = acting_as(acting, init, update, masked_view)
    return algorithm if classifier.features is None else algorithm._replace(probabilities=None)


@struct.dataclass
class Mask:
    """The parameters of the mask: the classifier, the parameters of m, the threshold, and the actions that are never masked."""

    classifier: Classifier
    params: PyTree
    threshold: jax.Array | float
    always: tuple[int, ...] = static()


def legal(mask: Mask, seen: PyTree) -> jax.Array:
    """Returns which actions are not known to do nothing, bool[..., A]; seen: PyTree[..., ...]."""
    kept = np.isin(np.arange(mask.classifier.num_actions), mask.always)
    return (mask.classifier(mask.params, seen) <= mask.threshold) | kept


def seen_in(state: Masked) -> PyTree:
    """Returns what the mask saw in a state."""
    return state.seen
