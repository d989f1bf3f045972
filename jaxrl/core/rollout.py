"""Rollouts: the only place that knows about automatic reset, time limits and the memory of a policy.

``next_obs`` is always the true successor of ``obs``, also where the episode ends; ``terminated`` and ``truncated`` are never
merged. A one-step target is ``reward + gamma * (1 - terminated) * V(next_obs)``; a lambda-trace is cut where either is set.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxrl.core import masks
from jaxrl.core.averages import MOST_ENTRIES, average
from jaxrl.core.batch_axis import shard_batch
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.scan import scan
from jaxrl.core.spaces import example
from jaxrl.errors import AlgorithmError, nan_unless, require

BLOCK = "block"  # an environment with this name in its ``Step.info`` asks for all its steps: see ``episode_metrics``


class View(NamedTuple):
    """The input of a policy, for a batch of E environments.

    obs: PyTree[E, ...] (``[E, N, ...]`` with agents).
    mask: the legal actions, with leading axes [E] or [E, N]: bool[E, A] of a Discrete space, of others see ``jaxrl.core.masks``.
        None where every action is always legal.
    memory: PyTree[E, ...], what the policy returned a step ago; zeros at the first step of an episode.
    t: int32[E], steps taken in the episode.
    action: PyTree[E, ...], reward: float32[E] or float32[E, N], those of the step before; zeros at the first step of an episode.
        None unless the policy's memory asks for them: see ``last_step``.
    state: PyTree[E, ...], the environment's own state, for planners on the true model: ``env.step(key, state, action)``. A policy
        that reads it sees what an observation may hide.

    A rollout fills all fields. Where a policy is asked outside of an episode, fields may be None: exact evaluators show every
    state of a model, at no time and after no action; others show observations and masks alone.
    """

    obs: PyTree
    mask: PyTree
    memory: PyTree
    t: jax.Array | None = None
    action: PyTree = None
    reward: jax.Array | None = None
    state: PyTree = None


class Decision(NamedTuple):
    """The output of a policy, for a batch of E environments.

    action: what the environment receives.
    extras: dict of arrays [E, ...] to be kept with the transition (a raw action, a log-probability).
    memory: PyTree[E, ...], handed back in the next view; zeroed by the rollout when the episode ends. A ``LastStep`` in it is
        written by the rollout, whatever is returned there.
    """

    action: PyTree
    extras: dict = {}
    memory: PyTree = ()


Policy = Callable[[jax.Array, View], Decision]  # (key, view) -> decision; one key serves the whole batch


@struct.dataclass
class LastStep:
    """The action and the reward of the last step, as the memory of a policy holds them. Batched: every leaf has a leading axis E.

    action: PyTree, what the environment received. reward: float32[] or float32[N].
    """

    action: PyTree
    reward: jax.Array


def last_step(env: Environment) -> LastStep:
    """Returns what a policy has in its memory that reads ``View.action`` and ``View.reward``.

    This is all of the memory, ``Algorithm(..., memory=last_step(env))``, or a part of it: ``memory=(hidden, last_step(env))``.
    The policy hands it on as it is, and the rollout writes the action and the reward into it. The
    memory is optional because everything in it has to be computed, copied and zeroed at every step.
    """
    agents = () if env.num_agents is None else (env.num_agents,)
    action = jax.tree.map(lambda leaf: jnp.zeros((*agents, *leaf.shape), leaf.dtype), example(env.action_space))
    return LastStep(action, jnp.zeros(agents, jnp.float32))


@struct.dataclass
class Episode:
    """An episode under way. Batched: every leaf has a leading axis E.

    state, obs: PyTree, where the environment stands and what it shows.
    t: int32[], steps taken so far.
    return_: float32[] or float32[N], undiscounted sum of rewards so far.
    memory: PyTree, the policy's.
    """

    state: PyTree
    obs: PyTree
    t: jax.Array
    return_: jax.Array
    memory: PyTree


class Transition(NamedTuple):
    """One step of a batch of environments; from ``unroll`` every leaf is [T, E, ...].

    obs, action, reward, next_obs: as the environment gave them; next_obs is the true successor. The reward of an agent to whom
        the environment left no legal action is NaN: whatever it did was illegal, and its seed goes into quarantine.
    terminated: bool, the value beyond is 0. truncated: bool, the time limit was reached without termination.
    mask, next_mask: the legal actions in obs and in next_obs (``jaxrl.core.masks``), or None.
    t: int32, steps taken in this episode before this one (0 = the first).
    return_: float32, the sum of the episode's rewards up to and including this one.
    extras: what the policy added.
    global_obs, next_global_obs: float32[..., G], what a centralised critic sees of the same two states, or None where the
        environment has no ``global_obs_fn``.
    info: dict, ``Step.info`` of this step: what the environment reports for diagnosis, which no policy sees.
    """

    obs: PyTree
    action: PyTree
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    truncated: jax.Array
    mask: PyTree
    next_mask: PyTree
    t: jax.Array
    return_: jax.Array
    extras: dict
    global_obs: jax.Array | None = None
    next_global_obs: jax.Array | None = None
    info: dict = {}

    @property
    def done(self) -> jax.Array:
        """bool, the episode ended with this step, for whatever reason."""
        return self.terminated | self.truncated


def start(key: jax.Array, env: Environment, num_envs: int, memory: PyTree = ()) -> Episode:
    """Begins ``num_envs`` episodes.

    Args:
        key: one key.
        env: the environment.
        num_envs: E.
        memory: what the policy remembers, for one environment; only its shapes and dtypes matter, it starts as zeros.
    """
    return shard_batch(_start(key, env, num_envs, memory))


@functools.partial(jax.jit, static_argnames=("num_envs",), inline=True)
def _start(key: jax.Array, env: Environment, num_envs: int, memory: PyTree) -> Episode:
    return jax.vmap(lambda key: _begin(env.reset(key), env, memory))(jax.random.split(key, num_envs))


def _begin(reset, env: Environment, memory: PyTree) -> Episode:
    obs, state = reset
    shape = () if env.num_agents is None else (env.num_agents,)
    return Episode(state, obs, jnp.int32(0), jnp.zeros(shape, jnp.float32), jax.tree.map(jnp.zeros_like, memory))


def view(env: Environment, episodes: Episode) -> View:
    """Returns what the policy sees of a batch of episodes."""
    mask = None if env.action_mask_fn is None else jax.vmap(env.action_mask)(episodes.state)
    nodes = jax.tree.leaves(episodes.memory, is_leaf=_is_last_step)
    last = next(filter(_is_last_step, nodes), LastStep(None, None))  # type: ignore[arg-type]
    return View(episodes.obs, mask, episodes.memory, episodes.t, last.action, last.reward, episodes.state)


def _is_last_step(node: Any) -> bool:
    return isinstance(node, LastStep)


def remembered(decision: Decision, reward: jax.Array) -> PyTree:
    """Returns the memory of a policy after a step, with its action and its reward where these are asked for."""

    def write(node):
        return LastStep(decision.action, reward) if _is_last_step(node) else node

    return jax.tree.map(write, decision.memory, is_leaf=_is_last_step)


def advance(key: jax.Array, env: Environment, episode: Episode, decision: Decision) -> tuple[Episode, Transition]:
    """Takes one step in one environment and, where the episode ends, begins the next.

    For a single step of a single environment; ``advance_all`` takes one in a batch, and ``unroll`` is the fast way to take many.
    """
    step_key, reset_key = jax.random.split(key)
    return _advance(step_key, env.reset(reset_key), env, episode, decision)


def advance_all(key: jax.Array, env: Environment, episodes: Episode, decision: Decision) -> tuple[Episode, Transition]:
    """Takes one step in each of E environments, as a learner does that learns at every step.

    Args:
        key: one key for the batch.
        env: the environment.
        episodes: where the environments stand, leading axis E.
        decision: of the policy, leading axis E.

    Returns:
        The episodes after the step and the transitions [E, ...].
    """
    keys = jax.random.split(key, episodes.t.shape[0])
    return jax.vmap(advance, in_axes=(0, None, 0, 0))(keys, env, episodes, decision)


def _advance(step_key, reset, env: Environment, episode: Episode, decision: Decision) -> tuple[Episode, Transition]:
    mask = env.action_mask(episode.state)
    step = env.step(step_key, episode.state, decision.action)
    if mask is not None:
        step = step._replace(reward=nan_unless(masks.some_legal(env.action_space, mask), step.reward))
    t = episode.t + 1
    return_ = episode.return_ + step.reward
    truncated = ~step.terminated & (t >= env.max_steps)
    done = step.terminated | truncated
    transition = Transition(
        episode.obs,
        decision.action,
        step.reward,
        step.obs,
        step.terminated,
        truncated,
        mask,
        env.action_mask(step.state),
        episode.t,
        return_,
        decision.extras,
        env.global_obs(episode.state),
        env.global_obs(step.state),
        step.info,
    )
    memory = remembered(decision, step.reward)
    onward = Episode(step.state, step.obs, t, return_, memory)
    afresh = _begin(reset, env, memory)
    return jax.tree.map(lambda new, old: jnp.where(done, new, old), afresh, onward), transition


def unroll(
    key: jax.Array, env: Environment, policy: Policy, episodes: Episode, num_steps: int, reset_pool: int = 0
) -> tuple[Episode, Transition]:
    """Takes ``num_steps`` steps in every environment.

    The randomness of the whole block is drawn at once, before the loop (see ``jaxrl.core.scan``).

    Args:
        key: one key for the block.
        env: the environment.
        policy: ``(key, view) -> decision`` for the whole batch.
        episodes: where the environments stand, leading axis E.
        num_steps: T.
        reset_pool: 0 draws a fresh initial state for every step, used or not, which is exact. P > 0 draws P initial states
            per environment for the whole block and uses them in turn: cheaper where a reset is dear, and exact only while
            no environment begins more than P episodes within the block (after that, initial states repeat).

    Returns:
        The episodes after the block and the transitions [T, E, ...].
    """
    num_envs = episodes.t.shape[0]
    policy_key, step_key, reset_key = jax.random.split(key, 3)
    policy_keys = jax.random.split(policy_key, num_steps)
    step_keys = jax.random.split(step_key, (num_steps, num_envs))
    advance_each = jax.vmap(_advance, in_axes=(0, 0, None, 0, 0))

    if not reset_pool:

        def step(episodes, keys):
            policy_key, step_keys, reset_keys = keys
            decision = policy(policy_key, view(env, episodes))
            return advance_each(step_keys, jax.vmap(env.reset)(reset_keys), env, episodes, decision)

        reset_keys = jax.random.split(reset_key, (num_steps, num_envs))
        episodes, batch = scan(step, episodes, (policy_keys, step_keys, reset_keys))
        return episodes, shard_batch(batch, axis=1)

    pool = jax.vmap(jax.vmap(env.reset))(jax.random.split(reset_key, (num_envs, reset_pool)))

    def step_from_pool(carry, keys):
        episodes, used = carry
        policy_key, step_keys = keys
        decision = policy(policy_key, view(env, episodes))
        reset = jax.vmap(lambda states, index: jax.tree.map(lambda leaf: leaf[index], states))(pool, used)
        episodes, transition = advance_each(step_keys, reset, env, episodes, decision)
        return (episodes, (used + transition.done) % reset_pool), transition

    (episodes, _), batch = scan(step_from_pool, (episodes, jnp.zeros(num_envs, jnp.int32)), (policy_keys, step_keys))
    return episodes, shard_batch(batch, axis=1)


def flattened(steps: PyTree) -> PyTree:
    """Returns steps PyTree[T, E, ...] as a batch, PyTree[T * E, ...]: one step of all environments after another."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)


def episode_metrics(batch: Transition) -> dict[str, Any]:
    """Returns statistics of the episodes that ended in a block.

    Returns:
        ``episodes``: float32[], how many ended; ``episode_return`` (summed over agents) and ``episode_length``: their averages,
        a missing value where none ended. With agents, at most ``MOST_ENTRIES`` of them, ``agent_return``: that of each, [N].
        ``block``: the Transitions themselves, where the environment asks for them by ``BLOCK`` in its info. An algorithm around
        the learner asks, and takes them out of the metrics of the learner's update, which hands them on unread.
    """
    done = batch.done
    total = batch.return_.reshape(*done.shape, -1).sum(-1)
    metrics = {
        "episodes": done.sum().astype(jnp.float32),
        "episode_return": average(total, done),
        "episode_length": average(batch.t + 1.0, done),
    }
    if batch.return_.ndim > done.ndim and batch.return_.shape[-1] <= MOST_ENTRIES:
        metrics["agent_return"] = average(batch.return_, done[..., None], axis=tuple(range(done.ndim)))
    return metrics | ({BLOCK: batch} if BLOCK in batch.info else {})


def apart(where: str, metrics: dict[str, Any]) -> tuple[dict[str, Any], Transition]:
    """Takes the steps of an update out of the metrics of a learner whose environment asks for them by ``BLOCK``.

    Args:
        where: who asks.
        metrics: of the learner's update.

    Returns:
        The other metrics, and Transition[T, E, ...], whatever loops the learner took the steps in.

    Raises:
        AlgorithmError: the steps are not there.
    """
    must, fix = "a learner must measure its episodes by rollout.episode_metrics", "Add its metrics to those of the update."
    require(BLOCK in metrics, where, must, sorted(metrics), fix, AlgorithmError)
    block: Transition = metrics[BLOCK]
    axes = block.done.ndim - 1  # an update of several rounds stacks their blocks, in the order of time
    block = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:]), block)
    return {name: value for name, value in metrics.items() if name != BLOCK}, block


def uniform_policy(env: Environment) -> Policy:
    """Returns the policy that draws legal actions uniformly, and entries of boxes by ``Box.sample``; see ``masks.sample``."""
    agents = () if env.num_agents is None else (env.num_agents,)

    def act(key: jax.Array, view: View) -> Decision:
        batch = (jax.tree.leaves(view.obs)[0].shape[0], *agents)
        return Decision(masks.sample(key, env.action_space, view.mask, batch))

    return act
