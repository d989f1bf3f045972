"""Conservative Q-learning (CQL) for Discrete actions: DQN on fixed data, with values of actions outside of them pushed down.

    initialise the network Q, and the target network as its copy
    repeat
        sample a minibatch of transitions (s, a, r, s') of the data
        y = r + gamma Q_target(s', a*), or r where the episode terminated
        one Adam step on  alpha mean[ log sum_b exp Q(s, b) - Q(s, a) ] + 1/2 mean (Q(s, a) - y)^2
        theta_target <- theta_target + tau (theta - theta_target)

with a* = argmax_a' Q_target(s', a'), or argmax_a' Q(s', a') for double Q-learning; sums and maxima are over the legal actions.
The penalty is least where Q prefers the actions of the data: for large alpha the greedy policy takes the most frequent of them,
and alpha = 0 is DQN.

Source: Kumar et al. (2020), "Conservative Q-Learning for Offline Reinforcement Learning", equation 4, CQL(H). The paper's
version for Discrete actions adds the penalty to quantile regression; here it is added to the mean, as in equation 4.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import datasets, exploration, offline, optimisers, value_heads
from jaxrl.blocks.datasets import Dataset
from jaxrl.blocks.losses import squared_value_loss
from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.off_policy import Experience
from jaxrl.blocks.offline import OfflineConfig
from jaxrl.blocks.policies import epsilon_greedy_over
from jaxrl.blocks.returns import one_step_target
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree, static
from jaxrl.core.spaces import Discrete
from jaxrl.errors import SpaceError, require, require_between, require_numbers, require_positive


@struct.dataclass
class Config(OfflineConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 3e-4  # of Adam
    gamma: float = 0.99  # discount, in [0, 1]
    alpha: float = 1.0  # weight of the penalty, in units of the return, at least 0
    target_step_size: float = 0.005  # tau, in [0, 1]: how far the target network moves towards the network
    max_grad_norm: float = jnp.inf  # the global norm of the gradient is cut to this
    double: bool = static(default=True)  # the network selects the next action, the target network values it
    dueling: bool = static(default=False)  # a value and an advantage stream

    def validate(self, task: Any) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``task``, DataError where its data are unsound."""
        space = self.require_data("cql", task, "dueling").action_space
        fix = "Use jaxrl.algorithms.offline.implicit_q_learning."
        require(isinstance(space, Discrete), "cql", "the action_space must be Discrete", space, fix, SpaceError)
        require_numbers("cql", self, "max_grad_norm")
        require_between("cql", self, 0, 1, "gamma", "target_step_size")
        require_between("cql", self, 0, float("inf"), "alpha")
        require_positive("cql", self, "learning_rate", "max_grad_norm")


@struct.dataclass
class State:
    """params, opt_state: of the network. target_params: of the target network.

    data: this seed's own data set, None where all seeds share one.
    """

    params: PyTree
    target_params: PyTree
    opt_state: PyTree
    data: Dataset | None = None


def q_network(data: Dataset, config: Config) -> QNetwork:
    """Returns the network whose parameters are ``State.params``."""
    actions: Any = data.action_space
    layers = config.hidden, config.activation, config.channels, config.dueling, config.network
    return QNetwork(data.observation_space, actions.n, *layers)


def make(task: Any, config: Config) -> Algorithm:
    """Builds CQL on a data set with Discrete actions, or on a pytree that draws one from a key."""
    network = q_network(offline.data_of("cql", task), config)
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    step = optimisers.gradient_step(partial(loss, network, config), adam)

    def begin(key, data):
        params = network.init(key, jax.tree.map(lambda leaf: leaf[:1, 0], data.obs))
        return State(params, params, adam.init(params))

    def learn(state, data, key):
        batch = datasets.sample(key, data, config.batch_size)
        target = targets(network, config, state.params, state.target_params, batch)
        (params, opt_state), metrics = step((state.params, state.opt_state), (batch, target))
        # The target network moves.
        target_params: Any = optax.incremental_update(params, state.target_params, config.target_step_size)
        return replace(state, params=params, target_params=target_params, opt_state=opt_state), metrics

    def values(state, obs):
        return network.apply(state.params, obs)

    # The greedy policy is all there is: nothing is explored.
    policy, probabilities = epsilon_greedy_over(values, lambda state: jnp.float32(0.0), random_ties=False)
    return offline.learner(task, config, begin, learn, policy, probabilities)


def targets(network: QNetwork, config: Config, params: PyTree, target_params: PyTree, batch: Experience) -> jax.Array:
    """Returns y = r + gamma Q_target(s', a*) of Experience[B], float32[B]."""
    values: Any = network.apply(target_params, batch.next_obs)
    selector: Any = network.apply(params, batch.next_obs) if config.double else values
    best = exploration.greedy(selector, batch.next_mask)
    return one_step_target(batch.reward, value_heads.chosen(values, best), batch.terminated, config.gamma)


def loss(network: QNetwork, config: Config, params: PyTree, batch: tuple[Experience, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns alpha mean[log sum_b exp Q(s, b) - Q(s, a)] + 1/2 mean (Q(s, a) - y)^2, and metrics.

    batch: Experience[B] and its targets y, float32[B].
    """
    steps, target = batch
    values: Any = network.apply(params, steps.obs)
    taken = value_heads.chosen(values, steps.action)
    penalty = (jax.nn.logsumexp(values, axis=-1, where=steps.mask) - taken).mean()
    error = squared_value_loss(taken, target).mean()
    metrics = {"loss": config.alpha * penalty + error, "penalty": penalty, "td_loss": error, "value": taken.mean()}
    return metrics["loss"], metrics
