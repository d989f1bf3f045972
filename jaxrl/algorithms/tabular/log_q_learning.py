"""Logarithmic Q-learning: Q-learning that sees small differences of values, in sweeps over a model, with linear features.

    f(x) = c ln((x + gamma^k) / gamma^k)          f^-1(y) = gamma^k (exp(y / c) - 1)
    Q(s, a) = f^-1(Q+(s, a)) - f^-1(Q-(s, a))     the part of positive and that of negative rewards, each on its own scale

    repeat, for all states and actions in a random order
        observe r and s', and split r = r+ - r-
        a' <- argmax Q(s', .)
        for either part
            U <- r+ + gamma f^-1(Q+(s', a'))
            U <- f^-1(Q+(s, a)) + beta_reg (U - f^-1(Q+(s, a)))         the average over chance, on the scale of the rewards
            Q+(s, a) <- Q+(s, a) + beta_log (f(U) - Q+(s, a))           the step of the approximation

With a low discount, values a few steps from a reward differ by less than an approximation can tell; their logarithms differ by
c ln gamma a step wherever they are. In a deterministic task beta_reg = 1. Q+(s, a) = phi(s) w(., a) is linear in given features;
the identity is a table. ``logarithmic=False`` is Q-learning in the same sweeps, with f the identity and one set of weights.

The task is a ``Sweeps``: a model and its features. Each sweep visits every state that can be left, so that exploration is no part
of the problem. An approximation can fall below 0, where no value of either part lies: there it counts as 0 in f.

Source: van Seijen, Fatemi and Tavakoli (2019), "Using a Logarithmic Mapping to Enable Lower Discount Factors in Reinforcement
Learning".
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.core.finite import TabularModel, sample_index, single_precision
from jaxrl.core.scan import scan
from jaxrl.errors import require, require_between, require_finite, require_numbers, require_positive, require_real
from jaxrl.solvers.mdp.problem import require_one_reward

WHERE = "log_q_learning"


@struct.dataclass
class Config:
    """Hyper-parameters. Floats are traced: sweeping them recompiles nothing."""

    learning_rate: float = 0.2  # beta_log, or alpha of Q-learning, in [0, 1]
    averaging_rate: float = 1.0  # beta_reg, in [0, 1]; 1 if nothing is left to chance; Q-learning has none
    gamma: float = 0.96  # discount, in (0, 1)
    scale: float = 0.5  # c, positive
    horizon: float = 50.0  # k, steps from a reward of 1 within which values are told apart, at least 0
    logarithmic: bool = static(default=True)  # False: Q-learning

    def validate(self, task: "Sweeps") -> None:
        """Raises ConfigError or EnvError where a value is out of range, or the parts of ``task`` do not fit together."""
        must, fix = "the task must be Sweeps over a model", "Build it: log_q_learning.sweeps(model, features, best)."
        require(isinstance(task, Sweeps), WHERE, must, type(task).__name__, fix)
        require_numbers(WHERE, self)
        require_between(WHERE, self, 0, 1, "learning_rate", "averaging_rate", "gamma")
        require_between(WHERE, self, 0, float("inf"), "horizon")
        require_positive(WHERE, self, "gamma", "scale")
        require_between(WHERE, self, 0, 1, "gamma", below=True)
        smallest = np.min(np.asarray(self.gamma, np.float64) ** np.asarray(self.horizon, np.float64))
        must, fix = "gamma ** horizon must be a number of float32", "Set horizon=50.0, or raise gamma."
        require(bool(smallest >= np.finfo(np.float32).tiny), WHERE, must, float(smallest), fix)
        task.validate()


@struct.dataclass
class Sweeps:
    """The task: a model, and the features of its states.

    model: the tables, with one reward. features: float32[X, F], phi.
    best: bool[X, A], the actions that the metric ``best_share`` counts as right.
    pairs: int32[M, 2], the states that can be left, each with every action.
    """

    model: TabularModel
    features: jax.Array
    best: jax.Array
    pairs: jax.Array

    def validate(self) -> None:
        """Raises ConfigError or EnvError where the parts do not fit together."""
        require_one_reward(WHERE, self.model)
        shape = (self.model.num_states, self.model.num_actions)
        features = require_finite(WHERE, "features", self.features)
        rows = features.ndim == 2 and features.shape[0] == shape[0] and features.shape[1] >= 1
        fix = "Give a row of features for each state."
        require(rows, WHERE, f"features must have shape [{shape[0]}, F]", features.shape, fix)
        require(
            np.shape(self.best) == shape, WHERE, f"best must have shape {list(shape)}", np.shape(self.best), "Mark the actions."
        )
        every = bool(np.asarray(self.model.action_mask).all())
        require(
            every, WHERE, "every action must be legal in every state", "a mask", "Let an illegal action do what a legal one does."
        )


def sweeps(model: TabularModel, features: Any, best: Any) -> Sweeps:
    """Builds the task: a model, float32[X, F] features, and bool[X, A] actions that count as right.

    Raises:
        ConfigError, EnvError: the parts do not fit together, or no state can be left.
    """
    require_one_reward(WHERE, model)
    stays = (np.asarray(model.next_state) == np.arange(model.num_states)[:, None, None]) & (np.asarray(model.reward) == 0)
    idle = (stays & np.asarray(model.terminated)) | (np.asarray(model.probability) == 0)
    live = np.flatnonzero(~idle.all((1, 2)))
    require(live.size > 0, WHERE, "there must be a state that can be left", 0, "Give a model in which episodes go on.")
    pairs = np.stack(np.meshgrid(live, np.arange(model.num_actions), indexing="ij"), -1).reshape(-1, 2)
    tables = single_precision(model.tables)
    features = jnp.asarray(require_real(WHERE, "features", features), jnp.float32)
    task = Sweeps(tables, features, jnp.asarray(best, bool), jnp.asarray(pairs, jnp.int32))
    task.validate()
    return task


def to_log(value: jax.Array, gamma: Any, scale: Any, horizon: Any) -> jax.Array:
    """Returns f(x) = c ln((x + gamma^k) / gamma^k) of values above -gamma^k; with x = 0 it is 0."""
    return scale * jnp.log1p(value / gamma**horizon)


def from_log(value: jax.Array, gamma: Any, scale: Any, horizon: Any) -> jax.Array:
    """Returns f^-1(y) = gamma^k (exp(y / c) - 1)."""
    return gamma**horizon * jnp.expm1(value / scale)


@struct.dataclass
class State:
    """weights: float32[2, F, A], of the parts of positive and of negative rewards; of Q-learning float32[1, F, A]."""

    weights: jax.Array


def make(task: Sweeps, config: Config) -> Algorithm:
    """Builds it on a task of ``sweeps``. An update is one sweep.

    Metrics: best_share, the share of states that can be left whose greedy action counts as right, the first of equal ones being
    the greedy one; td_error, the mean absolute error of a sweep, on the scale on which it is learned.
    """
    mapping = (config.gamma, config.scale, config.horizon)
    model, features, live = task.model, task.features, task.pairs[:: task.best.shape[1], 0]

    def regular(part):
        return from_log(part, *mapping) if config.logarithmic else part

    def values(weights, state):
        """Returns the parts of the values of all actions, on the scale on which they are learned, and those of the rewards."""
        parts = jnp.einsum("...f,pfa->p...a", features[state], weights, precision="highest")
        return parts, regular(parts)

    def total(worth):
        return worth[0] - worth[1] if config.logarithmic else worth[0]

    def init(key):
        shape = (2 if config.logarithmic else 1, features.shape[1], task.best.shape[1])
        return State(jnp.zeros(shape, jnp.float32))

    def learn(weights, seen):
        (state, action), key = seen
        # Observe r and s', and split r.
        place = (state, action, sample_index(key, model.probability[state, action]))
        reward, following = model.reward[place], model.next_state[place]
        paid = jnp.stack([jnp.maximum(reward, 0), jnp.maximum(-reward, 0)]) if config.logarithmic else reward[None]
        # a' <- argmax Q(s', .).
        _, beyond = values(weights, following)
        best = jnp.argmax(total(beyond))
        target = paid + config.gamma * jnp.where(model.terminated[place], 0.0, beyond[:, best])
        own, worth = (parts[:, action] for parts in values(weights, state))
        if config.logarithmic:
            average = worth + config.averaging_rate * (target - worth)
            target = to_log(jnp.maximum(average, 0.0), *mapping)
        error = target - own
        step = config.learning_rate * error[:, None] * features[state]
        return weights.at[:, :, action].add(step), jnp.abs(error).mean()

    def update(state, key):
        order_key, outcome_key = jax.random.split(key)
        order = jax.random.permutation(order_key, task.pairs)
        weights, error = scan(learn, state.weights, ((order[:, 0], order[:, 1]), jax.random.split(outcome_key, order.shape[0])))
        greedy = jnp.argmax(total(values(weights, live)[1]), -1)
        return State(weights), {"best_share": task.best[live, greedy].astype(jnp.float32).mean(), "td_error": error.mean()}

    return Algorithm(init, update)
