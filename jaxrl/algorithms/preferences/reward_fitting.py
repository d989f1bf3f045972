"""Fitting a reward model to preferences, by minibatch Adam on the Bradley-Terry likelihood.

    minimise  mean_p w_p CE(label_p, sigmoid(R(first_p) - R(second_p))) + lambda / 2 |theta - theta_0|^2,   R = sum_t r(s_t, a_t)

An algorithm whose task is a data set. Seeds that share it are the members of an ensemble: they differ in their first parameters,
in the order of the minibatches and, with ``bootstrap``, in how often each comparison counts. A linear or tabular model has one
optimum, at which all its seeds meet unless they are bootstrapped or anchored; see ``jaxrl.algorithms.preferences.ensembles``.

Where the labels are separable (some reward explains every one), the likelihood has no maximum: without decay the differences grow
for ever, which the metric ``largest_difference`` shows.

Source: Christiano et al. (2017), section 2.2.3; anchored members (theta_0 random): Pearce et al. (2020), equation 4.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl.algorithms.preferences.losses import bradley_terry_loss
from jaxrl.algorithms.preferences.metrics import accuracy
from jaxrl.algorithms.preferences.reward_models import RewardModel, initial_scale, spaces_of
from jaxrl.algorithms.preferences.segments import Preferences, differences
from jaxrl.blocks import optimisers
from jaxrl.core.algorithm import Algorithm, epochs_of_minibatches
from jaxrl.core.averages import average, pooled
from jaxrl.core.environment import PyTree, static
from jaxrl.errors import is_traced, require, require_between, require_counts, require_numbers, require_positive


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    model: RewardModel = static()  # what is fitted
    learning_rate: float = 1e-3  # of Adam
    # lambda, of the squared distance of the parameters from 0, or from where they began if anchored. Above 0 the parameters stay
    # finite on separable labels. 1 / (P init_scale^2) is that of a normal prior as wide as the first parameters (P comparisons).
    weight_decay: float = 1e-4
    flip_rate: float = 0.0  # share of labels that are taken to be the wrong way round, in [0, 1/2)
    num_epochs: int = static(default=1)  # passes over the comparisons in one update (count)
    num_minibatches: int = static(default=10)  # in each pass (count), at most one for each comparison
    bootstrap: bool = static(default=False)  # whether each seed draws its comparisons again, with replacement
    anchored: bool = static(default=False)  # whether the decay pulls towards the first parameters rather than towards 0

    def validate(self, task: Any) -> None:
        """Raises ConfigError where these values cannot run on ``task``, DataError where its comparisons are wrong."""
        self.check(preferences_of(task, jax.random.key(0), abstract=True).count)
        if isinstance(task, Preferences):
            task.validate("reward_fitting", *spaces_of(self.model))

    def check(self, num_pairs: int) -> None:
        """Raises ConfigError where these values cannot run on this many comparisons."""
        where = "reward_fitting"
        require_counts(where, self, "num_epochs", "num_minibatches")
        require_numbers(where, self)
        require_positive(where, self, "learning_rate")
        require_between(where, self, 0, float("inf"), "weight_decay")
        require_between(where, self, 0, 0.5, "flip_rate", below=True)
        require(num_pairs >= 1, where, "there must be a comparison", num_pairs, "Label some pairs.")
        must = f"num_minibatches must not exceed the number of comparisons ({num_pairs})"
        require(self.num_minibatches <= num_pairs, where, must, self.num_minibatches, f"Try {num_pairs}.")
        if self.anchored:
            require_positive(f"{where}, anchored", self, "weight_decay")
            scale, must = initial_scale(self.model), "anchored models must begin at random: init_scale must be positive"
            require(scale > 0, where, must, scale, "Build the model with init_scale=1.0.")


@struct.dataclass
class State:
    """One fitted model.

    params, opt_state: of the model. anchor: where the parameters began, or None.
    repetitions: float32[P], how often each comparison counts in this seed's bootstrap sample, or None.
    """

    params: PyTree
    opt_state: PyTree
    anchor: PyTree
    repetitions: jax.Array | None


@struct.dataclass
class Fit:
    """The state of the algorithm. preferences: this seed's own data set, None where all seeds share one."""

    member: State
    preferences: Preferences | None

    @property
    def reward_params(self) -> PyTree:
        """The parameters of the fitted reward."""
        return self.member.params


def preferences_of(task: Any, key: jax.Array, abstract: bool = False) -> Any:
    """Returns the data set of a task: the task itself, or what it draws from a key (only its shapes if ``abstract``).

    Args:
        task: Preferences, or a pytree that can be called as ``(key) -> Preferences``.
        key: one key.
        abstract: whether nothing is to be computed.

    Raises:
        ConfigError: the task is neither.
    """
    if isinstance(task, Preferences):
        return task
    must = "the task must be Preferences, or draw some from a key"
    require(callable(task), "reward_fitting", must, type(task).__name__, "See jaxrl.algorithms.preferences.segments.")
    return jax.eval_shape(task, key) if abstract else task(key)


def _optimiser(config: Config) -> Any:
    return optimisers.adam(config.learning_rate, jnp.inf, eps=1e-8)


def begin(key: jax.Array, config: Config, num_pairs: int) -> State:
    """Draws the first parameters and, with ``bootstrap``, how often each of the comparisons counts."""
    model_key, bootstrap_key = jax.random.split(key)
    params = config.model.init(model_key)
    repetitions = None
    if config.bootstrap:
        drawn = jax.random.randint(bootstrap_key, (num_pairs,), 0, num_pairs, jnp.int32)
        repetitions = jnp.zeros(num_pairs, jnp.float32).at[drawn].add(1.0)
    return State(params, _optimiser(config).init(params), params if config.anchored else None, repetitions)


def penalty(params: PyTree, anchor: PyTree | None) -> jax.Array:
    """Returns half the squared distance between two sets of parameters, or from 0."""
    moved = params if anchor is None else jax.tree.map(jnp.subtract, params, anchor)
    return 0.5 * sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(moved)), jnp.float32(0.0))


def fit(key: jax.Array, state: State, preferences: Preferences, config: Config) -> tuple[State, dict[str, jax.Array]]:
    """Goes ``num_epochs`` times over the comparisons.

    Where ``num_minibatches`` does not divide them, comparisons of weight 0 fill the minibatches up.

    Returns:
        The state, and metrics: ``loss`` and ``accuracy``, averaged on the way, and ``largest_difference``, the largest predicted
        difference of scores in the last pass.
    """
    if not is_traced(preferences):
        preferences.validate("reward_fitting", *spaces_of(config.model))
    optimiser = _optimiser(config)
    weight = preferences.weight if state.repetitions is None else preferences.weight * state.repetitions
    fill = -preferences.count % config.num_minibatches
    columns = (preferences.first, preferences.second, preferences.label, weight)
    first, second, label, weight = columns if not fill else (jnp.pad(column, (0, fill)) for column in columns)
    mean = weight.mean()
    pairs = (first, second, label, weight / jnp.where(mean > 0, mean, 1.0))

    def loss(params, batch):
        first, second, label, weight = batch
        # A comparison of weight 0 may be of anything.
        difference = jnp.where(weight == 0, 0.0, differences(config.model, params, preferences.segments, first, second))
        losses = bradley_terry_loss(difference, label, config.flip_rate)
        metrics: dict[str, Any] = {"loss": average(losses, weight=weight), "accuracy": accuracy(difference, label, weight)}
        metrics["largest_difference"] = jnp.abs(difference).max()
        return jnp.mean(weight * losses) + config.weight_decay * penalty(params, state.anchor), metrics

    def gradient_step(carry, batch):
        params, opt_state = carry
        gradient, metrics = jax.grad(loss, has_aux=True)(params, batch)
        updates, opt_state = optimiser.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), metrics

    carry = (state.params, state.opt_state)
    if config.num_minibatches == 1:  # all at once need no order, and sorting thousands takes longer than a table's gradient
        carry, metrics = jax.lax.scan(lambda carry, _: gradient_step(carry, pairs), carry, length=config.num_epochs)
    else:
        carry, metrics = epochs_of_minibatches(key, gradient_step, carry, pairs, config.num_epochs, config.num_minibatches)
    largest = metrics.pop("largest_difference")[-1].max()
    return replace(state, params=carry[0], opt_state=carry[1]), pooled(metrics) | {"largest_difference": largest}


def fitting(task: Preferences | Callable, begin: Callable, fit: Callable) -> Algorithm:
    """Builds the algorithm that fits whatever ``begin`` begins and ``fit`` improves: one model, or an ensemble.

    Args:
        task: the data set, or a pytree that draws one from a key.
        begin: ``(key, num_pairs) -> member``.
        fit: ``(key, member, preferences) -> (member, metrics)``.
    """
    shared = task if isinstance(task, Preferences) else None

    def init(key):
        data_key, member_key = jax.random.split(key)
        preferences = preferences_of(task, data_key)
        return Fit(begin(member_key, preferences.count), None if shared else preferences)

    def update(state, key):
        member, metrics = fit(key, state.member, shared or state.preferences)
        return state.replace(member=member), metrics

    return Algorithm(init, update)


def make(task: Preferences | Callable, config: Config) -> Algorithm:
    """Builds the fit of one reward model per seed.

    Args:
        task: a data set that all seeds share, so that they are the members of one ensemble; or a pytree that can be called as
            ``(key) -> Preferences``, from which every seed draws its own.
        config: hyper-parameters.
    """
    return fitting(task, partial(_begin, config=config), partial(fit, config=config))


def _begin(key, num_pairs, config):
    return begin(key, config, num_pairs)
