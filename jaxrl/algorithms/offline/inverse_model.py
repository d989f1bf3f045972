"""Inverse model: which action led from one state to the next, learned where actions are known and filled in where they are not.

    1. fit       p(a_t | o_{t-K+1}, ..., o_t, o_{t+1}) to the episodes with actions, by maximum likelihood:
                     repeat: a minibatch of their steps, and one Adam step on -mean log p
    2. relabel   every step of the episodes without actions by the most likely action, or one drawn from p
    3. learn     from all episodes by any offline learner

This algorithm is line 1: behaviour cloning that also sees where the step has led. Its task is the data with actions, for example
``jaxrl.blocks.action_labels.Labelled``. ``relabelled`` is line 2, and ``Completed`` a task of line 3, in which every seed has
data and a model of its own. Before the first step of an episode the window shows its first observation again.

With K = 1 and Discrete actions the likelihood is that of the inverse model of ``jaxrl.blocks.bonuses.ICM``, there on features
that it learns.

Source: Zheng et al. (2023), "Semi-Supervised Offline Reinforcement Learning with Action-Free Trajectories", algorithm 1 and
section 4.1; Pathak et al. (2017), equation 2.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.blocks import datasets, distributions, offline, optimisers
from jaxrl.blocks.action_labels import Labelled, without_actions
from jaxrl.blocks.datasets import Dataset
from jaxrl.blocks.networks import ActorCritic
from jaxrl.blocks.offline import OfflineConfig
from jaxrl.core import spaces
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import PyTree, static
from jaxrl.core.spaces import Box
from jaxrl.errors import require, require_counts, require_numbers, require_positive

WHERE = "inverse_model"


@struct.dataclass
class Config(OfflineConfig):
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing. Integers, names and flags set shapes: they do."""

    learning_rate: float = 3e-4  # of Adam
    max_grad_norm: float = jnp.inf  # the global norm of the gradient is cut to this
    context: int = static(default=1)  # K, observations up to that of the step; its successor comes on top (count)

    def validate(self, task: Any) -> None:
        """Raises ConfigError or SpaceError where these values cannot run on ``task``, DataError where its data are unsound."""
        must, fix = "channels must be empty: the window is a vector", "Give a network of your own."
        require(not self.channels, WHERE, must, self.channels, fix)
        data = self.require_data(WHERE, task)
        distributions.require_action_space(WHERE, data.action_space)
        require_counts(WHERE, self, "context")
        require_numbers(WHERE, self, "max_grad_norm")
        require_positive(WHERE, self, "learning_rate", "max_grad_norm")


@struct.dataclass
class State:
    """params, opt_state: of the model. data: this seed's own data set, None where all seeds share one."""

    params: PyTree
    opt_state: PyTree
    data: Dataset | None = None


def network(data: Dataset, config: Config) -> ActorCritic:
    """Returns the network whose parameters are ``State.params``: the outputs of p(a | window)."""
    size = (config.context + 1) * spaces.flat_size(data.observation_space)
    return offline.actor_network(replace(data, observation_space=Box(-jnp.inf, jnp.inf, (size,))), config)


def window(data: Dataset, place: tuple[jax.Array, jax.Array], context: int) -> jax.Array:
    """Returns the observations around some steps, one after another, float32[..., (K + 1) F].

    Args:
        data: of F features.
        place: int32[...] each, the numbers of the episodes and the steps in them.
        context: K, observations up to that of the step; its successor comes last.
    """
    episode, t = place
    steps = [jax.tree.map(lambda leaf, back=back: leaf[episode, jnp.maximum(t - back, 0)], data.obs) for back in range(context)]
    shown = [*reversed(steps), jax.tree.map(lambda leaf: leaf[place], data.next_obs)]
    return jnp.concatenate([spaces.flatten(data.observation_space, one) for one in shown], axis=-1)


def make(task: Any, config: Config) -> Algorithm:
    """Builds the fit of an inverse model to a data set with actions, or to a pytree that draws one from a key."""
    model = network(offline.data_of(WHERE, task), config)
    adam = optimisers.adam(config.learning_rate, config.max_grad_norm, eps=1e-8)
    step = optimisers.gradient_step(partial(offline.likelihood_loss, model), adam)

    def begin(key, data):
        first = jnp.zeros(1, jnp.int32)
        params = offline.init_actor(key, model, window(data, (first, first), config.context))
        return State(params, adam.init(params))

    def learn(state, data, key):
        place = datasets.sample_places(key, data, config.batch_size)
        batch = datasets.at(data, place)._replace(obs=window(data, place, config.context))
        (params, opt_state), metrics = step((state.params, state.opt_state), batch)
        return replace(state, params=params, opt_state=opt_state), metrics

    return offline.learner(task, config, begin, learn, None)


def predicted(config: Config, params: PyTree, data: Dataset, key: jax.Array | None = None) -> PyTree:
    """Returns the action of every step, PyTree[N, T, ...], in units of the data: the most likely one, or with a key one drawn.

    Args:
        config: of the model. params: its parameters.
        data: their actions are not read. Actions that their mask forbids are left out.
        key: None for the most likely action.
    """
    model, place = network(data, config), jnp.indices(data.valid.shape, jnp.int32)
    shown = window(data, (place[0], place[1]), config.context)
    outputs, _ = offline.act(model, params, shown, jnp.zeros(data.valid.shape, bool), ())
    law = distributions.of_space(data.action_space, outputs, data.mask)
    return spaces.from_unit(data.action_space, law.mode() if key is None else law.sample(seed=key))


def relabelled(config: Config, params: PyTree, data: Dataset, key: jax.Array | None = None) -> Dataset:
    """Returns data whose actions are those of the model; see ``predicted``. How likely the behaviour took them is not known."""
    return datasets.padded(replace(data, action=predicted(config, params, data, key), log_prob=None))


def accuracy(config: Config, params: PyTree, data: Dataset) -> jax.Array:
    """Returns the share of the steps whose most likely action is that of the data, float32[]; no real action ever is."""

    def equal(own: jax.Array, true: jax.Array) -> jax.Array:
        return (own == true).reshape(*data.valid.shape, -1).all(-1)

    same = jax.tree.map(equal, predicted(config, params, data), data.action)
    return jnp.mean(jax.tree.reduce(jnp.logical_and, same), where=data.valid, dtype=jnp.float32)


LEFT_OUT, FILLED_IN, TRUE = range(3)


@struct.dataclass
class Completed:
    """A task: the episodes that keep their actions, followed by the others, in one of three ways that share a program.

    labels: which episodes these are.
    config, params: of the model of a seed: a run on such tasks has ``task_axes`` 0 at params.
    others: int32[], LEFT_OUT (they have no step), FILLED_IN by the model, or with their TRUE actions, all that it could do.
    """

    labels: Labelled
    config: Config
    params: PyTree
    others: jax.Array | int = FILLED_IN

    def __call__(self, key: jax.Array) -> Dataset:
        """Draws the data of a seed: those from which its model has learned, and the others."""
        labelled, others = (replace(part, log_prob=None) for part in self.labels.parts(key))
        filled = relabelled(self.config, self.params, without_actions(others))
        others = jax.tree.map(lambda true, own: jnp.where(self.others == TRUE, true, own), others, filled)
        others = replace(others, valid=others.valid & (self.others != LEFT_OUT))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), labelled, others)
