"""Implicit Q-learning (IQL of the offline literature): no value of an action outside of the data is ever asked for.

    initialise the value V, the critics Q_i, target critics as their copies, and the policy pi
    repeat
        sample a minibatch of transitions (s, a, r, s') of the data
        q = min_i Q_target_i(s, a)
        one Adam step on the value:    mean L_tau(q - V(s)),  L_tau(u) = |tau - 1(u < 0)| u^2
        one Adam step on the critics:  sum_i 1/2 (Q_i(s, a) - y)^2,  y = r + gamma V(s'), or r where the episode terminated
        one Adam step on the policy:   -mean exp(beta (q - V(s))) log pi(a | s)
        Q_target <- moved by lambda towards Q

For tau = 1/2 V is the mean value of the data's actions, and the policy one step better than theirs; for tau towards 1 it is the
value of the best of them. beta = 0 clones the behaviour. Weights are cut at 100.

``jaxrl.algorithms.multiagent.iql`` is another algorithm: independent Q-learning.

Source: Kostrikov et al. (2022), "Offline Reinforcement Learning with Implicit Q-Learning", algorithm 1, equations 5 to 7.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.blocks import datasets, distributions, networks, off_policy, offline, optimisers
from jaxrl.blocks.datasets import Dataset
from jaxrl.blocks.losses import expectile_loss
from jaxrl.blocks.networks import ActorCritic, QNetwork
from jaxrl.blocks.offline import OfflineConfig
from jaxrl.blocks.returns import clipped_ratio, one_step_target
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree, static
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import SpaceError, require, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config(OfflineConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 3e-4  # of the policy's Adam
    critic_learning_rate: float = 3e-4  # of the value's and the critics' Adam
    gamma: float = 0.99  # discount, in [0, 1]
    expectile: float = 0.7  # tau, in (0, 1): above 1/2 for values of the better actions; the paper's mazes take 0.9
    inverse_temperature: float = 3.0  # beta, per unit of return, at least 0; the paper's mazes take 10
    largest_weight: float = 100.0  # of a step in the policy's loss, positive
    target_step_size: float = 0.005  # lambda, in [0, 1]: how far the target critics move towards the critics
    max_grad_norm: float = jnp.inf  # the global norm of each gradient is cut to this
    num_critics: int = static(default=2)  # of which the least is believed (count)

    def validate(self, task: Any) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``task``, DataError where its data are unsound."""
        where = "implicit_q_learning"
        space = self.require_data(where, task).action_space
        known = isinstance(space, Discrete) or (isinstance(space, Box) and not space.integer)
        must, fix = "the action_space must be Discrete, or a Box of reals", "Use jaxrl.algorithms.offline.behaviour_cloning."
        require(known, where, must, space, fix, SpaceError)
        distributions.require_action_space(where, space)
        require_counts(where, self, "num_critics")
        require_numbers(where, self, "largest_weight", "max_grad_norm")
        require_between(where, self, 0, 1, "gamma", "target_step_size")
        require_between(where, self, 0, 1, "expectile", below=True)
        require_between(where, self, 0, float("inf"), "inverse_temperature")
        rates = "learning_rate", "critic_learning_rate"
        require_positive(where, self, *rates, "expectile", "largest_weight", "max_grad_norm")


@struct.dataclass
class State:
    """actor, value, critics, target_critics: parameters. actor_opt, value_opt, critic_opt: of the three optimisers.

    data: this seed's own data set, None where all seeds share one.
    """

    actor: PyTree
    value: PyTree
    critics: PyTree
    target_critics: PyTree
    actor_opt: PyTree
    value_opt: PyTree
    critic_opt: PyTree
    data: Dataset | None = None


def make(task: Any, config: Config) -> Algorithm:
    """Builds implicit Q-learning on a data set whose actions are Discrete or a Box, or on a pytree that draws one from a key."""
    given = offline.data_of("implicit_q_learning", task)
    space = given.action_space
    actor = offline.actor_network(given, config)
    value: Any = QNetwork(given.observation_space, 1, config.hidden, config.activation, config.channels, network=config.network)
    critics: Any = networks.critics(config.num_critics, given.observation_space, space, *config.layers)
    actor_adam, value_adam, critic_adam = (
        optimisers.adam(rate, config.max_grad_norm, eps=1e-8)
        for rate in (config.learning_rate, config.critic_learning_rate, config.critic_learning_rate)
    )
    value_step = optimisers.gradient_step(partial(value_loss, value, config.expectile), value_adam)
    critic_step = optimisers.gradient_step(partial(off_policy.critic_loss, space, critics), critic_adam)
    actor_step = optimisers.gradient_step(partial(actor_loss, actor), actor_adam)

    def begin(key, data):
        sample_key, actor_key, value_key, critic_key = jax.random.split(key, 4)
        one = datasets.sample(sample_key, data, 1)
        shown = (one.obs,) if isinstance(space, Discrete) else (one.obs, one.action)
        params = offline.init_actor(actor_key, actor, one.obs), value.init(value_key, one.obs), critics.init(critic_key, *shown)
        states = actor_adam.init(params[0]), value_adam.init(params[1]), critic_adam.init(params[2])
        return State(*params, params[2], *states)

    def learn(state, data, key):
        batch = datasets.sample(key, data, config.batch_size)
        q = off_policy.taken_values(space, critics, state.target_critics, batch).min(0)
        # One Adam step on the value, on the critics and on the policy.
        (value_params, value_opt), value_metrics = value_step((state.value, state.value_opt), (batch.obs, q))
        next_value = value.apply(value_params, batch.next_obs)[..., 0]
        target = one_step_target(batch.reward, next_value, batch.terminated, config.gamma)
        (critic_params, critic_opt), metrics = critic_step((state.critics, state.critic_opt), (batch, target))
        advantage = q - value.apply(value_params, batch.obs)[..., 0]
        weight = clipped_ratio(config.inverse_temperature * advantage, config.largest_weight)
        (actor_params, actor_opt), actor_metrics = actor_step((state.actor, state.actor_opt), (batch, weight))
        # The target critics move.
        target_critics: Any = optax.incremental_update(critic_params, state.target_critics, config.target_step_size)
        params = actor_params, value_params, critic_params, target_critics
        return State(*params, actor_opt, value_opt, critic_opt), metrics | value_metrics | actor_metrics

    policy, probabilities = offline.acting(actor, lambda state: state.actor)
    return offline.learner(task, config, begin, learn, policy, probabilities)


def value_loss(value: Any, expectile: Any, params: PyTree, batch: tuple[PyTree, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns mean L_tau(q - V(s)), and metrics. batch: the observations PyTree[B, ...] and q, float32[B]."""
    obs, q = batch
    found = value.apply(params, obs)[..., 0]
    loss = expectile_loss(found, q, expectile).mean()
    return loss, {"value_loss": loss, "value": found.mean()}


def actor_loss(actor: ActorCritic, params: PyTree, batch: tuple[off_policy.Experience, jax.Array]) -> tuple[jax.Array, dict]:
    """Returns -mean w log pi(a | s), and metrics. batch: Experience[B] and the weights w, float32[B]."""
    steps, weight = batch
    loss = -(weight * offline.log_prob(actor, params, steps.obs, steps.action, steps.mask)).mean()
    return loss, {"actor_loss": loss, "weight": weight.mean()}
