"""Behaviour cloning: the policy of the data, by maximum likelihood.

    initialise the policy pi_theta
    repeat
        sample a minibatch of steps (s, a) of the data
        one Adam step on L(theta) = -mean log pi_theta(a | s)

The policy is categorical over Discrete and MultiDiscrete actions, and Gaussian over those of a Box, in units of half the range,
with deviations that depend on no state. Illegal actions have no probability. No reward is looked at: the policy comes to be that
of the data, and of a mixture of policies it is the mixture in every state.

Source: Bain and Sammut (1995), "A Framework for Behavioural Cloning"; Pomerleau (1991). Cloning the best episodes alone
(``jaxrl.blocks.datasets.best``): Chen et al. (2021), section 5.1.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import datasets, distributions, offline, optimisers
from jaxrl.blocks.datasets import Dataset
from jaxrl.blocks.offline import OfflineConfig
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree
from jaxrl.errors import require_numbers, require_positive


@struct.dataclass
class Config(OfflineConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 3e-4  # of Adam
    max_grad_norm: float = jnp.inf  # the global norm of the gradient is cut to this

    def validate(self, task: Any) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``task``, DataError where its data are unsound."""
        data = self.require_data("behaviour_cloning", task)
        distributions.require_action_space("behaviour_cloning", data.action_space)
        require_numbers("behaviour_cloning", self, "max_grad_norm")
        require_positive("behaviour_cloning", self, "learning_rate", "max_grad_norm")


@struct.dataclass
class State:
    """params, opt_state: of the policy. data: this seed's own data set, None where all seeds share one."""

    params: PyTree
    opt_state: PyTree
    data: Dataset | None = None


def make(task: Any, config: Config) -> Algorithm:
    """Builds behaviour cloning on a data set, or on a pytree that draws one from a key."""
    actor = offline.actor_network(offline.data_of("behaviour_cloning", task), config)
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    step = optimisers.gradient_step(partial(offline.likelihood_loss, actor), adam)

    def begin(key, data):
        params = offline.init_actor(key, actor, jax.tree.map(lambda leaf: leaf[:1, 0], data.obs))
        return State(params, adam.init(params))

    def learn(state, data, key):
        batch = datasets.sample(key, data, config.batch_size)
        (params, opt_state), metrics = step((state.params, state.opt_state), batch)
        return replace(state, params=params, opt_state=opt_state), metrics

    policy, probabilities = offline.acting(actor, lambda state: state.params)
    return offline.learner(task, config, begin, learn, policy, probabilities)
