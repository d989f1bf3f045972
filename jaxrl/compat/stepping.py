"""Environments that are stepped from the host, one program for each call: what the adapters to other interfaces share.

Every environment carries its own stream of random numbers, of which each reset and each step splits off its part. So an
environment plays the same episodes whether it is stepped alone or in a batch, and whichever way the next episode is begun.
That, and the info of a step, is what these functions have beyond ``jaxrl.core.rollout``, which is made for loops that are
compiled.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.rollout import View
from jaxrl.core.spaces import joint


class Stream(NamedTuple):
    """The episodes of one environment, one after the other. Batched: every leaf has a leading axis E.

    key: what all that is still to come is drawn with.
    state: PyTree, where the environment stands.
    t: int32[], steps taken in this episode.
    done: bool[], the episode is over, for whatever reason.
    """

    key: jax.Array
    state: PyTree
    t: jax.Array
    done: jax.Array


class Outcome(NamedTuple):
    """The result of a step beside the view of its successor: ``Step`` and the time limit."""

    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    info: dict


class Moved(NamedTuple):
    """The result of a step of a batch of E environments.

    view: what each environment shows now: of a new episode where one has begun with this step.
    outcome: of the step; zeros where none was taken.
    stepped: bool[E], whether a step was taken; False where the call has begun an episode instead.
    successor: the view of the true successor, or None where ``view`` is that.
    """

    view: View
    outcome: Outcome
    stepped: jax.Array
    successor: View | None


def key(seed: int) -> jax.Array:
    """Returns ``jax.random.key(seed)``, of any integer; as there, its last 32 bits count."""
    return jax.random.key(np.uint32(seed % 2**32))


def keys(seeds: Sequence[int]) -> jax.Array:
    """Returns ``key(seed)`` for each seed."""
    return _keys(np.array([seed % 2**32 for seed in seeds], np.uint32))


@jax.jit
def _keys(seeds):
    return jax.vmap(jax.random.key)(seeds)


def _begin(env: Environment, key: jax.Array) -> tuple[Stream, View]:
    key, reset_key = jax.random.split(key)
    obs, state = env.reset(reset_key)
    return Stream(key, state, jnp.int32(0), jnp.bool_(False)), View(obs, env.action_mask(state), ())


def _step(env: Environment, stream: Stream, action: PyTree) -> tuple[Stream, View, Outcome]:
    key, step_key = jax.random.split(stream.key)
    step = env.step(step_key, stream.state, action)
    t = stream.t + 1
    truncated = ~step.terminated & (t >= env.max_steps)
    onward = Stream(key, step.state, t, step.terminated | truncated)
    view = View(step.obs, env.action_mask(step.state), ())
    return onward, view, Outcome(step.reward, step.terminated, truncated, step.info)


begin = jax.jit(_begin)  # (env, key) -> (stream, view)
step = jax.jit(_step)  # (env, stream, action) -> (stream, view, outcome); beyond the end it returns what the environment does


@jax.jit
def begin_all(env: Environment, keys: jax.Array) -> tuple[Stream, View]:
    """Begins an episode in each of E environments; ``keys`` is [E]."""
    return jax.vmap(_begin, in_axes=(None, 0))(env, keys)


@jax.jit
def begin_chosen(env: Environment, streams: Stream, views: View, chosen: jax.Array) -> tuple[Stream, View]:
    """Begins an episode in the chosen environments, bool[E]; the others stay as they are."""
    return _begin_chosen(env, streams, views, chosen)


def _begin_chosen(env, streams, views, chosen):
    def anew():
        return _select(chosen, jax.vmap(_begin, in_axes=(None, 0))(env, streams.key), (streams, views))

    return jax.lax.cond(chosen.any(), anew, lambda: (streams, views))  # most steps of a small batch need no reset at all


def _step_all(env, streams, actions):
    return jax.vmap(_step, in_axes=(None, 0, 0))(env, streams, actions)


@jax.jit
def step_all(env: Environment, streams: Stream, actions: PyTree) -> tuple[Stream, Moved]:
    """Takes a step in each of E environments and begins no episode."""
    streams, view, outcome = _step_all(env, streams, actions)
    return streams, Moved(view, outcome, jnp.ones_like(streams.done), None)


@jax.jit
def step_and_begin(env: Environment, streams: Stream, actions: PyTree) -> tuple[Stream, Moved]:
    """Takes a step in each of E environments and, where that ends an episode, begins the next in the same call."""
    streams, successor, outcome = _step_all(env, streams, actions)
    onward, view = _begin_chosen(env, streams, successor, streams.done)
    return onward, Moved(view, outcome, jnp.ones_like(streams.done), successor)


@jax.jit
def step_or_begin(env: Environment, streams: Stream, actions: PyTree) -> tuple[Stream, Moved]:
    """Takes a step in each of E environments, but begins the next episode where the one before was over already."""
    over = streams.done
    moved, view, outcome = _step_all(env, streams, actions)
    kept, outcome = _select(over, (streams, jax.tree.map(jnp.zeros_like, outcome)), (moved, outcome))
    onward, view = _begin_chosen(env, kept, view, over)
    return onward, Moved(view, outcome, ~over, None)


@jax.jit
def global_obs(env: Environment, stream: Stream, obs: PyTree) -> jax.Array:
    """Returns what a centralised critic sees of one game, float32[G]; ``obs`` is what its agents see, [N, ...]."""
    seen = env.global_obs(stream.state)
    return joint(env.observation_space, obs) if seen is None else seen


def _select(chosen: jax.Array, one: PyTree, other: PyTree) -> PyTree:
    """Takes the environments that are chosen, bool[E], from one tree and the rest from the other."""

    def select(chosen, one, other):
        return jax.tree.map(lambda new, old: jnp.where(chosen, new, old), one, other)

    return jax.vmap(select)(chosen, one, other)
