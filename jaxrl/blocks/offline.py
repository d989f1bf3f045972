"""Offline learning: gradient steps on minibatches of a data set that does not grow.

    repeat
        G times: sample a minibatch of the data, and learn from it

The task of an offline learner is a ``jaxrl.blocks.datasets.Dataset`` that all seeds share, or a pytree that can be called as
``(key) -> Dataset``, from which every seed draws its own. Here stand the sizes, the data of a seed, the actor and the loop; an
algorithm says what it learns from a minibatch. Evaluators bring the environment: the learner never steps one.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import distributions, networks, policies
from jaxrl.blocks.datasets import Dataset
from jaxrl.blocks.networks import ActorCritic
from jaxrl.blocks.off_policy import Experience
from jaxrl.core import spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree, static
from jaxrl.core.rollout import Policy, View
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import require, require_counts

# Bounds of the logarithm of a Gaussian policy's deviation, in units of half the range: data whose actions follow from the state
# would have it shrink for ever. Those of the implementation of Kostrikov et al. (2022).
LOG_STD = (-5.0, 2.0)


@struct.dataclass
class OfflineConfig:
    """Sizes and layers of an offline learner. They set shapes: none is traced."""

    num_gradient_steps: int = static(default=100)  # G, in one update; its metrics are means (count)
    batch_size: int = static(default=256)  # steps in one gradient step (count)
    hidden: tuple[int, ...] = static(default=(256, 256))  # layer sizes of each network
    activation: str = static(default="relu")  # between layers: tanh, relu, swish or gelu
    channels: tuple[int, ...] = static(default=())  # convolution layers over image observations; empty for none
    # A network of your own in place of these layers; see jaxrl.blocks.networks.
    network: Callable | None = static(default=None)

    @property
    def layers(self) -> tuple:
        """The layers, as the last fields of ``Critic``."""
        return self.hidden, self.activation, self.channels, self.network

    def require_data(self, where: str, task: Any, *replaced: str) -> Dataset:
        """Returns the data of a task, of one that draws them only their shapes, after a check of them and of the sizes.

        Args:
            where: who asks.
            task: the data set, or a pytree that draws one from a key.
            replaced: further fields that a network of the user's must come without.

        Raises:
            ConfigError: a size is out of range, or the task is neither. DataError: the data are unsound.
        """
        data = data_of(where, task)
        if data is task:  # data that would be drawn have no numbers yet
            data.validate(where)
        require_counts(where, self, "num_gradient_steps", "batch_size")
        networks.require_layers(where, self, data.observation_space, *replaced)
        return data


def data_of(where: str, task: Any, key: jax.Array | None = None) -> Dataset:
    """Returns the data set of a task: the task itself, or the one that it draws.

    Args:
        where: who asks.
        task: a data set, or a pytree that can be called as ``(key) -> Dataset``.
        key: one key; None computes nothing, and of data that would be drawn returns only the shapes.

    Raises:
        ConfigError: the task is neither.
    """
    if isinstance(task, Dataset):
        return task
    must, fix = "the task must be a Dataset, or draw one from a key", "See jaxrl.blocks.datasets."
    require(callable(task), where, must, type(task).__name__, fix)
    data = jax.eval_shape(task, jax.random.key(0)) if key is None else task(key)
    require(isinstance(data, Dataset), where, must, type(data).__name__, fix)
    return data


def learner(
    task: Any,
    config: OfflineConfig,
    begin: Callable,
    learn: Callable,
    policy: Callable | None,
    probabilities: Callable | None = None,
    prepare: Callable = lambda data: data,
) -> Algorithm:
    """Builds the algorithm of an offline learner.

    Args:
        task: see ``data_of``.
        config: the sizes.
        begin: ``(key, data) -> state``, a dataclass with a field ``data``, left None.
        learn: ``(state, data, key) -> (state, metrics)``, one gradient step on a minibatch that is drawn from the data.
        prepare: ``(data) -> data``, once in each update: what ``learn`` needs of them.
        policy, probabilities: as of ``Algorithm``.
    """
    shared = task if isinstance(task, Dataset) else None

    def init(key):
        data_key, begin_key = jax.random.split(key)
        data = data_of("init", task, data_key)
        return replace(begin(begin_key, data), data=None if shared is not None else data)

    def update(state, key):
        data = prepare(state.data if shared is None else shared)
        # The data stay outside of the loop's carry: they do not change.
        keys = jax.random.split(key, config.num_gradient_steps)
        new, metrics = scan(lambda bare, key: learn(bare, data, key), replace(state, data=None), keys)
        return replace(new, data=state.data), jax.tree.map(jnp.mean, metrics)

    return Algorithm(init, update, policy, (), probabilities)


# ---- the actor


def actor_network(data: Dataset, config: OfflineConfig) -> ActorCritic:
    """Returns the network of a policy: its actor alone is ever initialised. It has a head for every action space."""
    network = ActorCritic(data.observation_space, data.action_space, config.hidden, config.activation, config.channels)
    return network.clone(network=config.network)


def init_actor(key: jax.Array, actor: ActorCritic, obs: PyTree) -> PyTree:
    """Returns the first parameters of an actor; obs: PyTree[B, ...]."""
    return actor.init(key, *_alone(obs), method="act")


def _alone(obs: PyTree) -> tuple[PyTree, jax.Array, tuple]:
    """Returns observations PyTree[B, ...] as the arguments of ``ActorCritic.act``: a sequence of one step, no memory."""
    first = jnp.zeros((1, jax.tree.leaves(obs)[0].shape[0]), bool)
    return jax.tree.map(lambda leaf: leaf[None], obs), first, ()


def act(actor: ActorCritic, params: PyTree, obs: PyTree, first: jax.Array, memory: PyTree) -> tuple[PyTree, PyTree]:
    """Returns the outputs of an actor for a sequence and its memories, deviations kept within ``LOG_STD``."""
    found: Any = actor.apply(params, obs, first, memory, method="act")
    outputs, memories = found

    def one(part, output):
        return (output[0], jnp.clip(output[1], *LOG_STD)) if isinstance(part, Box) else output

    return spaces.map_parts(one, actor.action_space, outputs), memories


def log_prob(actor: ActorCritic, params: PyTree, obs: PyTree, action: PyTree, mask: PyTree) -> jax.Array:
    """Returns the log-probability of actions PyTree[B, ...] (as ``datasets.sample`` returns them), float32[B]."""
    outputs, _ = act(actor, params, *_alone(obs))
    outputs = jax.tree.map(lambda leaf: leaf[0], outputs)
    return distributions.of_space(actor.action_space, outputs, mask).log_prob(action)


def likelihood_loss(actor: ActorCritic, params: PyTree, batch: Experience) -> tuple[jax.Array, dict]:
    """Returns minus the mean log-probability of the actions of Experience[B], and metrics."""
    value = -log_prob(actor, params, batch.obs, batch.action, batch.mask).mean()
    return value, {"loss": value}


def acting(actor: ActorCritic, params_of: Callable) -> tuple[Callable, Callable | None]:
    """Returns how an actor acts: the functions ``policy`` and ``probabilities`` of its ``Algorithm``.

    Args:
        actor: the network.
        params_of: ``(state) -> params``.
    """
    space = actor.action_space

    def policy(state: Any, greedy: bool) -> Policy:
        choose = policies.mode if greedy else policies.sample
        return policies.behaviour(partial(act, actor, params_of(state)), space, choose)

    def probabilities(state: Any, view: View) -> jax.Array:
        return policies.action_probabilities(partial(act, actor, params_of(state)), space, view)

    return policy, probabilities if isinstance(space, Discrete) else None
