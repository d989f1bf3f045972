"""The protocol of an algorithm: pure functions, made from a task and a configuration.

The runner gives every one of them seeds, chunks, devices and results. The members of a configuration that
it reads are in ``jaxrl.core.config``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxrl.core.batch_axis import replicate, shard_batch
from jaxrl.core.rollout import Policy, View
from jaxrl.errors import AlgorithmError

PyTree = Any


class Init(Protocol):
    """Draws the state of a seed: a pytree of arrays only."""

    def __call__(self, key: jax.Array, /) -> PyTree: ...


class Update(Protocol):
    """Makes one update: exactly the body of a scan."""

    def __call__(self, state: PyTree, key: jax.Array, /) -> tuple[PyTree, dict[str, Any]]: ...


class PolicyOf(Protocol):
    """Returns the policy that a state stands for; ``greedy`` is a Python bool."""

    def __call__(self, state: PyTree, greedy: bool, /) -> Policy: ...


class ProbabilitiesOf(Protocol):
    """Returns the probabilities with which the sampled policy takes each action, float32[B, A] or float32[B, N, A]."""

    def __call__(self, state: PyTree, view: View, /) -> jax.Array: ...


class Algorithm(NamedTuple):
    """A training loop as pure functions, made by ``make(task, config)``.

    init: ``(key) -> state``. A state is a pytree of arrays only.
    update: ``(state, key) -> (state, metrics)``, exactly the body of a scan; metrics is a dict whose values are finite numbers or
        small arrays of them (one entry for each agent, say), or an ``Average`` where the number of items varies and may be 0. A
        metric that may be missing is declared: ``{"loss": optional(loss)}``. Any other one that is not finite puts its seed into
        quarantine. See ``jaxrl.core.averages``.
    policy: ``(state, greedy) -> Policy``: the policy that is evaluated; ``greedy`` is a Python bool, True for the mode of the
        distribution and False for a sample. See ``jaxrl.core.rollout.Policy``. None for what learns no policy.
    memory: what that policy remembers, for one environment; see ``jaxrl.core.rollout.start``. A policy that reads its last action
        and reward has ``jaxrl.core.rollout.last_step(env)`` in it.
    probabilities: ``(state, view) -> float32[B, A]`` (``[B, N, A]`` with agents), the probabilities with which the sampled
        policy takes each action, for exact evaluation; None unless actions are Discrete, and where the policy has memory.
    """

    init: Init
    update: Update
    policy: PolicyOf | None = None
    memory: PyTree = ()
    probabilities: ProbabilitiesOf | None = None


class Make(Protocol):
    """Builds the algorithm of a task (an environment, a data set or a game) and a configuration."""

    def __call__(self, task: Any, config: Any, /) -> Algorithm: ...


def require_policy(where: str, algorithm: Algorithm, fix: str = "Leave the evaluator out.") -> PolicyOf:
    """Returns ``algorithm.policy``.

    Args:
        where: who asks.
        algorithm: made.
        fix: what the user can do, one sentence.

    Raises:
        AlgorithmError: it learns none.
    """
    if algorithm.policy is None:
        raise AlgorithmError(f"{where}: the algorithm must have a policy, got None. {fix}")
    return algorithm.policy


def random_order(key: jax.Array, size: int) -> jax.Array:
    """Returns the numbers 0 .. size-1 in random order, int32[size].

    For up to 2048 numbers, each is sorted together with random bits in one 32-bit word, which takes a quarter of the time of
    ``jax.random.permutation``: with at least 21 random bits, two numbers tie (and keep their order) about once in two million
    pairs.
    """
    if size > 2048:
        return jax.random.permutation(key, jnp.arange(size, dtype=jnp.int32))
    low = jnp.uint32((1 << max(size - 1, 1).bit_length()) - 1)
    words = (jax.random.bits(key, (size,), jnp.uint32) & ~low) | jnp.arange(size, dtype=jnp.uint32)
    return (jnp.sort(words) & low).astype(jnp.int32)


def epochs_of_minibatches(
    key: jax.Array, update: Callable, state: PyTree, batch: PyTree, num_epochs: int, num_minibatches: int
) -> tuple[PyTree, PyTree]:
    """Goes ``num_epochs`` times over a batch, each time in a new order, in equal minibatches.

    Args:
        key: one key.
        update: ``(state, minibatch) -> (state, metrics)``.
        state: what is updated.
        batch: PyTree[B, ...]; B must be divisible by ``num_minibatches``.
        num_epochs: passes over the batch.
        num_minibatches: minibatches in a pass.

    Returns:
        The state, and the metrics with leading axes [num_epochs, num_minibatches].
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    batch = replicate(batch)  # a random order takes every minibatch from everywhere

    def epoch(state, key):
        order = random_order(key, size)
        shuffled = jax.tree.map(lambda leaf: jnp.take(leaf, order, axis=0), batch)
        minibatches = jax.tree.map(lambda leaf: leaf.reshape(num_minibatches, -1, *leaf.shape[1:]), shuffled)
        return jax.lax.scan(update, state, shard_batch(minibatches, axis=1))

    return jax.lax.scan(epoch, state, jax.random.split(key, num_epochs))
