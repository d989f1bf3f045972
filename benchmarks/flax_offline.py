"""Behaviour cloning and CQL for numbered actions, as a user of flax and optax writes them. Does not need jaxrl."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from benchmarks.offline_data import NUM_ACTIONS, OBS_SIZE, Steps


class Config(NamedTuple):
    """Of both; behaviour cloning reads the first three. See ``jaxrl.algorithms.offline``."""

    hidden: Sequence[int]
    batch_size: int
    learning_rate: float
    gamma: float = 0.99
    alpha: float = 1.0
    target_step_size: float = 0.005


class State(NamedTuple):
    """params, opt_state: of the network. target_params: of the target network, None for behaviour cloning."""

    params: Any
    opt_state: Any
    target_params: Any


class Network(nn.Module):
    """Observations float32[B, OBS_SIZE] -> float32[B, NUM_ACTIONS]."""

    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x):
        for size in self.hidden:
            x = nn.relu(nn.Dense(size)(x))
        return nn.Dense(NUM_ACTIONS)(x)


def learner(algorithm: str, config: Config) -> tuple[Callable, Callable]:
    """Returns ``init: (key) -> State`` and ``step: (State, Steps[B]) -> (State, loss)``, one gradient step on a minibatch.

    algorithm: ``"behaviour_cloning"`` or ``"cql"``.
    """
    network, adam = Network(config.hidden), optax.adam(config.learning_rate)
    loss = {"behaviour_cloning": _likelihood_loss, "cql": _conservative_loss}[algorithm]
    targeted = algorithm == "cql"

    def init(key):
        params = network.init(key, jnp.zeros((1, OBS_SIZE)))
        return State(params, adam.init(params), jax.tree.map(jnp.copy, params) if targeted else None)

    def step(state, batch):
        value, gradient = jax.value_and_grad(loss)(state.params, state.target_params, network.apply, config, batch)
        updates, opt_state = adam.update(gradient, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        target_params = optax.incremental_update(params, state.target_params, config.target_step_size) if targeted else None
        return State(params, opt_state, target_params), value

    return init, step


def _likelihood_loss(params, target_params, apply, config, batch):
    return optax.softmax_cross_entropy_with_integer_labels(apply(params, batch.obs), batch.action).mean()


def _conservative_loss(params, target_params, apply, config, batch):
    best = apply(params, batch.next_obs).argmax(-1)
    beyond = _at(apply(target_params, batch.next_obs), best)
    target = jax.lax.stop_gradient(batch.reward + config.gamma * jnp.where(batch.terminated, 0.0, beyond))
    values = apply(params, batch.obs)
    taken = _at(values, batch.action)
    penalty = (jax.nn.logsumexp(values, axis=-1) - taken).mean()
    return config.alpha * penalty + 0.5 * jnp.square(taken - target).mean()


def _at(values, action):
    return jnp.take_along_axis(values, action[:, None], 1)[:, 0]


def scanned(step: Callable, data: Steps, batch_size: int, num_steps: int) -> Callable:
    """Returns ``((key, State)) -> ((key, State), losses)``: gradient steps in one program, minibatches drawn within it.

    data: Steps[N] on the device. num_steps: gradient steps.
    """
    size = data.action.shape[0]

    def learn(carry):
        key, state = carry
        next_key, draw_key = jax.random.split(key)

        def one(state, key):
            places = jax.random.randint(key, (batch_size,), 0, size)
            return step(state, jax.tree.map(lambda leaf: leaf[places], data))

        state, losses = jax.lax.scan(one, state, jax.random.split(draw_key, num_steps))
        return (next_key, state), losses

    return learn
