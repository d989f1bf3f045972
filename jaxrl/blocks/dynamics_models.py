"""Ensembles of dynamics models: networks that predict how observations change, what is paid, and whether the episode ends.

    each of N members:  (o, a) -> mean and variance of (o' - o, r), and the probability of a termination
    a fit
        draw for each member a bootstrap sample of the stored steps, without those that are held out
        repeat: one Adam step of each member on a minibatch of its own sample
            -log N(o' - o, r | mean, variance) - log P(terminated) + c sum (largest - least log-variance)
        the elites are the members with the least error on the held-out steps

The variance of a member is the noise of the environment (aleatoric); the members' means differ where there are few data
(epistemic). Members of a model without noise are deterministic: their variance is 0, and they minimise the squared error.

Inputs and outputs are normalised by the moments of all steps seen so far (the sources normalise inputs alone), so that the bounds
of the log-variances mean the same in every environment. Terminations are learned as a Bernoulli variable: the log-odds of its
frequency so far plus an output of the network, so that where no episode has ever terminated none will.

A fit starts where the last one ended, and its length is fixed; the sources stop by the error on held-out steps. A fifth of the
stored steps is held out: those at every fifth place of the buffer, so that a step is so for as long as it is stored.

Source: Chua et al. (2018), "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (PETS),
section 4 and appendix A; elites: Janner et al. (2019), "When to trust your model: model-based policy optimization" (MBPO).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks import moments, optimisers, replay
from jaxrl.blocks.moments import Moments
from jaxrl.blocks.networks import DynamicsModel
from jaxrl.blocks.off_policy import Experience
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import spaces
from jaxrl.core.environment import Environment, PyTree, static
from jaxrl.core.scan import scan
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import SpaceError, require, require_count

HELD_OUT = 5  # one stored step of so many is held out
BOUNDS_COEFFICIENT = 0.01  # c, which pulls the learned bounds of a log-variance together (Chua et al. 2018, appendix A.1)
LARGEST_LOG_ODDS = 20.0  # of the frequency of terminations, which may be 0 or 1


@struct.dataclass
class State:
    """params: of the members, PyTree[N, ...]. opt_state: of their optimiser.

    inputs: moments of features float32[F] and actions float32[A]. outputs: of float32[F + 1]. ends: of float32[], terminations.
    elites: int32[K], the best members first.
    """

    params: PyTree
    opt_state: PyTree
    inputs: Moments
    outputs: Moments
    ends: Moments
    elites: jax.Array


class Prediction(NamedTuple):
    """The answers of all members, in units of observations and rewards.

    mean, deviation: float32[N, ..., F + 1], of the changes of the flattened observation and, last, of the reward.
    end: float32[N, ...], the probability of a termination.
    """

    mean: jax.Array
    deviation: jax.Array
    end: jax.Array

    @property
    def spread(self) -> jax.Array:
        """float32[..., F + 1], the standard deviation of the members' means: how much the members do not know."""
        return self.mean.std(0)


class Outcome(NamedTuple):
    """Draws of a step, with leading axes [K, B]. next_obs: PyTree. reward: float32. terminated: bool."""

    next_obs: PyTree
    reward: jax.Array
    terminated: jax.Array


@struct.dataclass
class Ensemble:
    """N models of an environment whose observations are a Box of reals; actions are as a policy draws them (``Experience``)."""

    observation_space: Any = static()
    action_space: Any = static()
    learning_rate: Any = 1e-3  # of Adam
    num_members: int = static(default=5)  # N (count)
    num_elites: int = static(default=5)  # K, that predict (count); at most N
    hidden: tuple[int, ...] = static(default=(200, 200, 200))  # layer sizes of each member
    activation: str = static(default="swish")  # between layers: tanh, relu, swish or gelu
    probabilistic: bool = static(default=True)  # with a variance
    # A network of your own in place of these layers: (space, num_outputs) -> flax module; it sees the tuple of both inputs.
    network: Callable | None = static(default=None)

    def init(self, key: jax.Array) -> State:
        """Draws the members."""
        one = jnp.zeros(self._num_features, jnp.float32), jnp.zeros(self._num_action_features, jnp.float32)
        params = jax.vmap(self._network.init, (0, None, None))(jax.random.split(key, self.num_members), *_batch_of_one(one))
        outputs = moments.init(jnp.zeros(self._num_features + 1, jnp.float32))
        elites = jnp.arange(self.num_elites, dtype=jnp.int32)
        return State(params, self._adam.init(params), moments.init(one), outputs, moments.init(jnp.float32(0.0)), elites)

    def observe(self, state: State, steps: Experience) -> State:
        """Takes steps Experience[B] into the moments: each step once."""
        return replace(
            state,
            inputs=moments.update(state.inputs, self._features(steps.obs, steps.action)),
            outputs=moments.update(state.outputs, self._targets(steps)),
            ends=moments.update(state.ends, steps.terminated),
        )

    def fit(self, key: jax.Array, state: State, buffer: ReplayBuffer, num_steps: int, batch_size: int):
        """Fits every member to its own bootstrap sample of the stored steps, and chooses the elites.

        Args:
            key: one key.
            state: before the fit; its moments count the steps already.
            buffer: of Experience, with at least ``HELD_OUT`` steps.
            num_steps: gradient steps of each member (count).
            batch_size: B, steps of each minibatch, and of those held out that choose the elites (count).

        Returns:
            The state, and metrics: ``model_loss``, the mean over members and gradient steps; ``model_error``, the share of the
            variance of held-out changes and rewards that the elites' mean does not explain (0 is perfect; the mean of all
            steps has about 1); ``model_spread``, the members' spread there, in deviations of the changes and rewards.
        """
        bootstrap_key, step_key, held_out_key = jax.random.split(key, 3)
        sample_keys = jax.random.split(bootstrap_key, self.num_members)
        held_out = buffer.size // HELD_OUT
        count = buffer.size - held_out
        gradient_step = optimisers.gradient_step(lambda params, steps: self._loss(params, state, steps), self._adam)

        def step(carry, key):
            # A minibatch of each member's own sample.
            number = jax.vmap(lambda key: replay.uniform(key, batch_size, count))(jax.random.split(key, self.num_members))
            number = jax.vmap(_resampled, (0, 0, None))(sample_keys, number, count)
            return gradient_step(carry, replay.items_at(buffer, _place_of(number)))

        carry, metrics = scan(step, (state.params, state.opt_state), jax.random.split(step_key, num_steps))
        state = replace(state, params=carry[0], opt_state=carry[1])
        # The elites have the least error on held-out steps.
        number = replay.uniform(held_out_key, batch_size, held_out)
        steps = replay.items_at(buffer, HELD_OUT * number + HELD_OUT - 1)
        mean, _, _ = self._normalised(state.params, state, steps.obs, steps.action)
        target = moments.normalize(state.outputs, self._targets(steps), clip=jnp.inf)
        elites = jnp.argsort(jnp.square(mean - target).mean((1, 2)))[: self.num_elites].astype(jnp.int32)
        error = jnp.square(mean[elites].mean(0) - target).mean()
        metrics = jax.tree.map(jnp.mean, metrics) | {"model_error": error, "model_spread": mean.std(0).mean()}
        return replace(state, elites=elites), metrics

    def predict(self, state: State, obs: PyTree, action: jax.Array) -> Prediction:
        """Returns what all members say of observations PyTree[..., ...] and actions [..., ...]."""
        return self._prediction(state, *self._normalised(state.params, state, obs, action))

    def step(self, key: jax.Array, state: State, obs: PyTree, action: jax.Array) -> Outcome:
        """Draws what follows, each elite for a row of its own.

        Args:
            key: one key.
            state: of the members.
            obs: PyTree[K, B, ...], row k for the k-th elite. action: [K, B, ...].

        Returns:
            Leading axes [K, B]. Observations are kept within the bounds of their space.
        """
        normal_key, end_key = jax.random.split(key)
        params = jax.tree.map(lambda leaf: leaf[state.elites], state.params)
        found = jax.vmap(lambda *member: self._outputs(state, *member))(params, obs, action)
        mean, deviation, end = self._prediction(state, *found)
        drawn = mean + deviation * jax.random.normal(normal_key, mean.shape, jnp.float32)
        space = self.observation_space
        moved = (spaces.flatten(space, obs) + drawn[..., :-1]).reshape(*drawn.shape[:-1], *space.shape)
        low, high = (np.asarray(bound, np.float32) for bound in (space.low, space.high))
        terminated = jax.random.uniform(end_key, end.shape, jnp.float32) < end
        return Outcome(jnp.clip(moved, low, high).astype(space.dtype), drawn[..., -1], terminated)

    def _loss(self, params: PyTree, state: State, steps: Experience) -> tuple[jax.Array, dict]:
        """Returns the sum over members of the mean loss of steps Experience[N, B], and metrics."""

        def of_member(params, steps):
            mean, log_variance, logit = self._outputs(state, params, steps.obs, steps.action)
            target = moments.normalize(state.outputs, self._targets(steps), clip=jnp.inf)
            fit = gaussian_nll(mean, log_variance, target).sum(-1)
            end = jax.nn.softplus(jnp.where(steps.terminated, -logit, logit))
            return (fit + end).mean() + (BOUNDS_COEFFICIENT * _width(params) if self.probabilistic else 0.0)

        loss = jax.vmap(of_member)(params, steps)
        return loss.sum(), {"model_loss": loss.mean()}

    def _normalised(self, params: PyTree, state: State, obs: PyTree, action: jax.Array):
        return jax.vmap(lambda params: self._outputs(state, params, obs, action))(params)

    def _outputs(self, state: State, params: PyTree, obs: PyTree, action: jax.Array):
        """Returns a member's normalised mean and log-variance, float32[..., F + 1], and its log-odds of an end, float32[...]."""
        apply: Any = self._network.apply
        mean, log_variance, logit = apply(params, *moments.normalize(state.inputs, self._features(obs, action)))
        frequency = jnp.clip(state.ends.origin + state.ends.mean, 0.0, 1.0)
        log_odds = jnp.clip(jnp.log(frequency) - jnp.log1p(-frequency), -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
        return mean, log_variance, logit[..., 0] + log_odds

    def _prediction(self, state: State, mean: jax.Array, log_variance: jax.Array, logit: jax.Array) -> Prediction:
        scale = jnp.sqrt(state.outputs.variance + moments.EPSILON)
        deviation = scale * jnp.exp(0.5 * log_variance) if self.probabilistic else jnp.zeros_like(mean)
        return Prediction(moments.denormalize(state.outputs, mean), deviation, jax.nn.sigmoid(logit))

    def _features(self, obs: PyTree, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        space = self.action_space
        return spaces.flatten(self.observation_space, obs), action if isinstance(space, Box) else spaces.flatten(space, action)

    def _targets(self, steps: Experience) -> jax.Array:
        before, after = (spaces.flatten(self.observation_space, obs) for obs in (steps.obs, steps.next_obs))
        return jnp.concatenate([after - before, steps.reward[..., None]], axis=-1)

    @property
    def _num_features(self) -> int:
        return spaces.flat_size(self.observation_space)

    @property
    def _num_action_features(self) -> int:
        return spaces.flat_size(self.action_space)

    @property
    def _network(self) -> DynamicsModel:
        layers = self.hidden, self.activation, self.probabilistic, self.network
        return DynamicsModel(self._num_features, self._num_action_features, *layers)

    @property
    def _adam(self) -> Any:
        return optimisers.adam(self.learning_rate, jnp.inf, eps=1e-8)


def require_task(where: str, env: Environment) -> None:
    """Raises SpaceError unless an ensemble can model an environment. where: who asks."""
    space = env.observation_space
    must, fix = "the observation_space must be a Box of reals", "Use a model-free algorithm, jaxrl.algorithms.deep.sac."
    require(isinstance(space, Box) and not space.integer, where, must, space, fix, SpaceError)
    space = env.action_space
    known = isinstance(space, Discrete) or (isinstance(space, Box) and not space.integer)
    require(known, where, "the action_space must be Discrete, or a Box of reals", space, fix, SpaceError)
    must = "every action must be legal: masks are not modelled"
    require(env.action_mask_fn is None, where, must, env.action_mask_fn, fix, SpaceError)


def require_members(where: str, config: Any) -> None:
    """Raises ConfigError unless ``num_members`` and ``num_elites`` are counts, and the elites are among the members."""
    for name in ("num_members", "num_elites"):
        require_count(where, name, getattr(config, name))
    must, most = f"num_elites must not exceed num_members ({config.num_members})", config.num_members
    require(config.num_elites <= most, where, must, config.num_elites, f"Set num_elites={most}.")


def require_held_out(where: str, steps: int) -> None:
    """Raises ConfigError unless a step is held out of those that fill the buffer at first. where: who asks."""
    must = f"learning_starts must be at least {HELD_OUT}, so that a step is held out"
    require(steps >= HELD_OUT, where, must, steps, f"Try learning_starts={HELD_OUT}.")


def gaussian_nll(mean: jax.Array, log_variance: jax.Array, target: jax.Array) -> jax.Array:
    """Returns -log N(target | mean, exp(log_variance)) of each entry, float32[...]; the arguments broadcast.

    Source: Chua et al. (2018), equation 1 with a diagonal covariance, the constant included.
    """
    return 0.5 * (jnp.square(target - mean) * jnp.exp(-log_variance) + log_variance + math.log(2.0 * math.pi))


def _batch_of_one(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[None], tree)


def _width(params: PyTree) -> jax.Array:
    """Returns the sum of the widths between the bounds of a member's log-variances."""
    own = params["params"]
    return (own["largest_log_variance"] - own["least_log_variance"]).sum()


def _resampled(key: jax.Array, number: jax.Array, count: jax.Array) -> jax.Array:
    """Returns items of a bootstrap sample: item n of ``count`` draws with replacement, int32[B]. The key decides which.

    number: int32[B], n, each below ``count``.
    """
    bits = jax.vmap(lambda n: jax.random.bits(jax.random.fold_in(key, n), (), jnp.uint32))(number)
    return (bits % count.astype(jnp.uint32)).astype(jnp.int32)


def _place_of(number: jax.Array) -> jax.Array:
    """Returns the places in the buffer of steps that are not held out, counted by themselves, int32[...]."""
    return number + number // (HELD_OUT - 1)
