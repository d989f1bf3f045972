"""Fitted Q evaluation: what a policy is worth, from data that another one has collected, by a network.

    initialise the network Q, and the target network as its copy
    repeat
        sample a minibatch of transitions (s, a, r, s') of the data
        y = r + gamma sum_b pi(b | s') Q_target(s', b), or r where the episode terminated
        one Adam step on L(theta) = 1/2 mean (Q(s, a) - y)^2
        theta_target <- theta_target + tau (theta - theta_target)

The metric ``value`` is the mean of sum_b pi(b | s) Q(s, b) over the first observations of the episodes. The task is an
``Evaluated``: data, and the probabilities of the evaluated policy in them. Seeds differ in their first parameters and
minibatches: their spread tells how far the fit is to be trusted, not the data. With a table instead of a network there is an
exact answer in one call: ``jaxrl.evaluation.off_policy.fitted_q_evaluation``.

Source: Le, Voloshin and Yue (2019), "Batch Policy Learning under Constraints", algorithm 3, with a target network that moves
at every step in place of fits to convergence; Voloshin et al. (2021), "Empirical Study of Off-Policy Policy Evaluation".
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from jaxrl.blocks import datasets, optimisers, value_heads
from jaxrl.blocks.datasets import Dataset
from jaxrl.blocks.losses import expected_sarsa_target, squared_value_loss
from jaxrl.blocks.networks import QNetwork
from jaxrl.blocks.off_policy import Experience
from jaxrl.blocks.offline import OfflineConfig
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Discrete
from jaxrl.errors import (
    ConfigError,
    SpaceError,
    is_traced,
    require,
    require_between,
    require_distribution,
    require_numbers,
    require_positive,
)
from jaxrl.evaluation import off_policy


@struct.dataclass
class Evaluated:
    """The task: a data set, and the policy that is evaluated.

    data: with Discrete actions.
    first: float32[N, A], the probabilities of the policy at the first observation of each episode.
    after: float32[N, T, A], those at the successor of each step.
    """

    data: Dataset
    first: jax.Array
    after: jax.Array

    @classmethod
    def of(cls, algorithm: Algorithm, state: Any, data: Dataset) -> "Evaluated":
        """Returns the task of evaluating the policy that an algorithm has learned.

        Args:
            algorithm: made; its policy has no memory. state: of one seed. data: whose observations it is shown.

        Raises:
            AlgorithmError: the algorithm cannot say its probabilities.
        """
        start = off_policy.probabilities(algorithm, state, jax.tree.map(lambda leaf: leaf[:, :1], data))
        return cls(data, start[:, 0], off_policy.probabilities(algorithm, state, data, successors=True))

    @classmethod
    def of_table(cls, policy: Any, data: Dataset) -> "Evaluated":
        """Returns the task of evaluating a table, float[X, A], by observation number."""
        table = jnp.asarray(policy, jnp.float32)
        return cls(data, table[data.obs[:, 0]], table[data.next_obs])


@struct.dataclass
class Config(OfflineConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 3e-4  # of Adam
    gamma: float = 0.99  # discount, in [0, 1]
    target_step_size: float = 0.005  # tau, in [0, 1]: how far the target network moves towards the network
    max_grad_norm: float = jnp.inf  # the global norm of the gradient is cut to this

    def validate(self, task: Any) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``task``, DataError where its data are unsound."""
        where = "fitted_q_evaluation"
        must, fix = "the task must be an Evaluated", "Build it with fitted_q_evaluation.Evaluated.of."
        require(isinstance(task, Evaluated), where, must, type(task).__name__, fix, ConfigError)
        data = self.require_data(where, task.data)
        space: Any = data.action_space
        fix = "Evaluate a policy of Discrete actions."
        require(isinstance(space, Discrete), where, "the action_space must be Discrete", space, fix, SpaceError)
        shapes = {"first": (data.num_episodes, space.n), "after": (*data.valid.shape, space.n)}
        for name, shape in shapes.items():
            chances = getattr(task, name)
            require(chances.shape == shape, where, f"{name} must have shape {list(shape)}", list(chances.shape), "See Evaluated.")
            if not is_traced(chances):
                shown = np.asarray(chances)[np.asarray(data.valid)] if name == "after" else chances
                require_distribution(where, name, shown)
        require_numbers(where, self, "max_grad_norm")
        require_between(where, self, 0, 1, "gamma", "target_step_size")
        require_positive(where, self, "learning_rate", "max_grad_norm")


@struct.dataclass
class State:
    """params, opt_state: of the network. target_params: of the target network."""

    params: PyTree
    target_params: PyTree
    opt_state: PyTree


def make(task: Evaluated, config: Config) -> Algorithm:
    """Builds the fit of the action values of one policy."""
    data = task.data
    actions: Any = data.action_space
    network: Any = QNetwork(
        data.observation_space, actions.n, config.hidden, config.activation, config.channels, network=config.network
    )
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    step = optimisers.gradient_step(partial(loss, network), adam)

    def init(key):
        params = network.init(key, jax.tree.map(lambda leaf: leaf[:1, 0], data.obs))
        return State(params, params, adam.init(params))

    def learn(state, key):
        place = datasets.sample_places(key, data, config.batch_size)
        batch = datasets.at(data, place)
        next_values = network.apply(state.target_params, batch.next_obs)
        target = jax.vmap(expected_sarsa_target, (0, 0, 0, 0, None))(
            batch.reward, next_values, task.after[place], batch.terminated, config.gamma
        )
        (params, opt_state), metrics = step((state.params, state.opt_state), (batch, target))
        # The target network moves.
        target_params: Any = optax.incremental_update(params, state.target_params, config.target_step_size)
        return replace(state, params=params, target_params=target_params, opt_state=opt_state), metrics

    def update(state, key):
        state, metrics = scan(learn, state, jax.random.split(key, config.num_gradient_steps))
        values = network.apply(state.params, jax.tree.map(lambda leaf: leaf[:, 0], data.obs))
        return state, jax.tree.map(jnp.mean, metrics) | {"value": (task.first * values).sum(-1).mean()}

    return Algorithm(init, update)


def loss(network: QNetwork, params: PyTree, batch: tuple[Experience, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns 1/2 mean (Q(s, a) - y)^2, and metrics. batch: Experience[B] and its targets y, float32[B]."""
    steps, target = batch
    values: Any = network.apply(params, steps.obs)
    taken = value_heads.chosen(values, steps.action)
    value = squared_value_loss(taken, target).mean()
    return value, {"loss": value}
