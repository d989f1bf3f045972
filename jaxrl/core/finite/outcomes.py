"""Outcome probabilities, and the sampled environment that follows from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.core.environment import Environment, PyTree, Step
from jaxrl.core.spaces import Discrete, Space
from jaxrl.errors import nan_unless

_ROUNDING = 1e-3  # by how much the probabilities of a sampled step may miss a sum of 1 in float32


class Outcomes(NamedTuple):
    """Everything that one action in one state can lead to. K is fixed; impossible outcomes get probability 0.

    probability: float32[K], sums to 1.
    state: PyTree[K, ...], the successors.
    reward: float32[K] or float32[K, N].
    terminated: bool[K].
    """

    probability: jax.Array
    state: PyTree
    reward: jax.Array
    terminated: jax.Array


class Initial(NamedTuple):
    """The initial distribution. probability: float32[K0], sums to 1; state: PyTree[K0, ...]."""

    probability: jax.Array
    state: PyTree


def sample_index(key: jax.Array, probability: jax.Array) -> jax.Array:
    """Draws an index by inverse CDF; an index of probability 0 is never returned, whatever the rounding.

    Args:
        key: one key.
        probability: float[K], non-negative, not all zero; need not sum to exactly 1.

    Returns:
        int32[].
    """
    return _draw(key, probability)[0]


def _draw(key: jax.Array, probability: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns an index drawn as by ``sample_index``, and whether the probabilities are a distribution, bool[]."""
    if probability.shape[0] == 1:
        return jnp.int32(0), jnp.abs(probability[0] - 1) <= _ROUNDING
    possible = probability > 0
    cumulative = jnp.where(possible, jnp.cumsum(probability.astype(jnp.float32)), 0)  # in float64 mode the same draws
    total = cumulative.max()
    # A uniform draw below 1 times the largest possible cumulative sum stays below that sum, so some possible index exceeds it.
    threshold = jax.random.uniform(key, dtype=cumulative.dtype) * total
    sound = (jnp.abs(total - 1) <= _ROUNDING) & (probability.min() >= 0)
    return jnp.argmax(cumulative > threshold).astype(jnp.int32), sound


# The derived functions are frozen dataclasses rather than closures: built twice from the same parts they compare equal, so a
# rebuilt environment finds its compiled program.
@dataclass(frozen=True)
class _SampledReset:
    initial: Callable
    observe: Callable

    def __call__(self, key, params):
        initial = self.initial(params)
        index = sample_index(key, initial.probability)
        state = jax.tree.map(lambda leaf: leaf[index], initial.state)
        return self.observe(state, params), state


@dataclass(frozen=True)
class _SampledStep:
    outcomes: Callable
    observe: Callable

    def __call__(self, key, state, action, params):
        outcomes = self.outcomes(state, action, params)
        index, sound = _draw(key, outcomes.probability)
        state, reward, terminated = jax.tree.map(lambda leaf: leaf[index], outcomes[1:])
        # Probabilities that are none would be learned from without a word: a reward of NaN puts the seed into quarantine.
        return Step(self.observe(state, params), state, nan_unless(sound, reward.astype(jnp.float32)), terminated)


def observe_state(state: PyTree, params: PyTree) -> PyTree:
    """The default observation of a finite environment: its state."""
    return state


def finite(
    params: PyTree,
    outcomes: Callable,
    initial: Callable,
    observation_space: Space,
    action_space: Discrete,
    max_steps: int,
    *,
    observe: Callable = observe_state,
    num_agents: int | None = None,
    action_mask: Callable | None = None,
    global_obs: Callable | None = None,
) -> Environment:
    """Builds an environment from its outcome probabilities.

    Args:
        params: numbers and tables that the functions read.
        outcomes: ``(state, action, params) -> Outcomes``; action is int32[] (int32[N] with agents).
        initial: ``(params) -> Initial``.
        observation_space: the space of one agent's observation.
        action_space: the space of one agent's action.
        max_steps: steps after which an episode is truncated.
        observe: ``(state, params) -> obs``, by default the state itself.
        num_agents: N, or None for no agent axis.
        action_mask: ``(state, params) -> bool[A]`` or ``bool[N, A]``.
        global_obs: ``(state, params) -> float32[G]``, what a centralised critic may see.

    Returns:
        The environment, with ``outcomes_fn``, ``initial_fn`` and ``observe_fn`` set.
    """
    return Environment(
        params,
        _SampledReset(initial, observe),
        _SampledStep(outcomes, observe),
        observation_space,
        action_space,
        max_steps=max_steps,
        num_agents=num_agents,
        action_mask_fn=action_mask,
        global_obs_fn=global_obs,
        outcomes_fn=outcomes,
        initial_fn=initial,
        observe_fn=observe,
    )
