"""Stored steps of a learner of action values: what replay keeps of a step, and the minibatches that are drawn of it.

    single steps   each with its target n steps ahead, or where its episode ends sooner
    sequences      L successive steps of one environment, for a network with memory; each step as above, within the sequence

Both are drawn uniformly or by priority, and a drawn step or sequence gets the priority

    (|delta| + 1e-6)^alpha,   of a sequence (eta max_t |delta_t| + (1 - eta) mean_t |delta_t| + 1e-6)^alpha

over the steps of the sequence that were learned from. Any step may begin a sequence, so priorities belong to first steps.

Source: sequences and their priorities: Kapturowski et al. (2019), "Recurrent Experience Replay in Distributed Reinforcement
Learning" (R2D2), section 2.3; ours: sequences begin at every step, theirs every half length. Priorities: Schaul et al. (2016),
algorithm 1.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax

from jaxrl.blocks import multi_step, priorities, replay
from jaxrl.blocks.replay import ReplayBuffer
from jaxrl.core import rollout
from jaxrl.core.environment import PyTree
from jaxrl.core.rollout import Policy, Transition, View
from jaxrl.errors import require, require_counts, require_whole


class Experience(NamedTuple):
    """The stored part of a step; see ``rollout.Transition``. A time limit is no part of it: the target reaches beyond.

    ended: bool, the episode ends here, for whatever reason; None unless targets look several steps ahead.
    first: bool, an episode starts here; None without memory. memory: that of the network before the step; () without memory.
    """

    obs: PyTree
    action: jax.Array
    reward: jax.Array
    next_obs: PyTree
    terminated: jax.Array
    next_mask: jax.Array | None
    ended: jax.Array | None
    first: jax.Array | None
    memory: PyTree


class Sample(NamedTuple):
    """A minibatch.

    steps: Experience[B], or with memory Experience[L, B] whose memory is that before the first step, [B, H]. With n steps the
        reward is their sum, and ``terminated`` belongs to the last of them.
    discount: of the value after them: gamma, or float32[B] or float32[L, B], gamma to the number of rewards that were summed.
    place: int32[B] in the buffer, of the (first) steps; None without one. weight: float32[B] in the loss; None for 1.
    last: int32[L, B], of each step of a sequence the step after which its target takes a value; None where that is the step
        itself. Single steps need none: their ``next_obs`` is that of the last step already.
    """

    steps: Experience
    discount: jax.Array | float
    place: jax.Array | None = None
    weight: jax.Array | None = None
    last: jax.Array | None = None


def noting_memory(policy: Policy) -> Policy:
    """Returns a policy that notes with every step what it remembered before it, as ``extras["memory"]``."""

    def act(key: jax.Array, view: View):
        decision = policy(key, view)
        return decision._replace(extras=decision.extras | {"memory": view.memory})

    return act


def remembered(config: Any, batch: Transition) -> Experience:
    """Returns what is remembered of the steps [T, E, ...], in the order of time, leaves [T * E, ...].

    The policy was one of ``noting_memory``; config: has ``n_steps`` and ``memory_size``.
    """
    ended = batch.terminated | batch.truncated if config.n_steps > 1 else None
    first = batch.t == 0 if config.memory_size else None
    what = batch.obs, batch.action, batch.reward, batch.next_obs, batch.terminated, batch.next_mask, ended, first
    return rollout.flattened(Experience(*what, batch.extras["memory"]))


def reach(config: Any) -> int:
    """Returns how many successive steps of an environment belong to one that is drawn: L with memory, n without."""
    return config.sequence_length if config.memory_size else config.n_steps


def stored(config: Any, buffer: ReplayBuffer, experience: Experience) -> ReplayBuffer:
    """Returns the replay memory with more steps [T * E]. With priorities, one is drawn once its successors are there."""
    return replay.add(buffer, experience, delay=(reach(config) - 1) * config.num_envs)


def sampled(key: jax.Array, config: Any, buffer: ReplayBuffer, importance_exponent: jax.Array | float) -> Sample:
    """Draws a minibatch from the replay memory.

    Args:
        key: one key.
        config: has ``batch_size``, ``num_envs``, ``n_steps``, ``gamma``, ``prioritised``, ``memory_size`` and, with memory,
            ``sequence_length``.
        buffer: of Experience, see ``stored``.
        importance_exponent: beta, in [0, 1]; read with priorities alone.
    """
    size, envs, weight = config.batch_size, config.num_envs, None
    if config.prioritised:
        place, probability = replay.sample_by_priority(key, buffer, size)
        weight = priorities.importance_weights(probability, importance_exponent)
    else:
        place = replay.sample_starts(key, buffer, size, reach(config), envs)
    if config.memory_size:
        return _sequences(config, buffer, place, weight)
    if config.n_steps == 1:
        return Sample(replay.items_at(buffer, place), config.gamma, place, weight)
    return Sample(*multi_step.n_steps_from(buffer, place, config.n_steps, envs, config.gamma), place, weight)


def _sequences(config: Any, buffer: ReplayBuffer, place: jax.Array, weight: jax.Array | None) -> Sample:
    places = replay.sequence_from(place, buffer, config.sequence_length, config.num_envs)
    steps = replay.items_at(buffer, places)
    steps = steps._replace(memory=jax.tree.map(lambda leaf: leaf[0], steps.memory))
    if config.n_steps == 1:
        return Sample(steps, config.gamma, place, weight)
    steps, discount, last = multi_step.n_steps_within(steps, config.n_steps, config.gamma)
    return Sample(steps, discount, place, weight, last)


def reprioritised(config: Any, buffer: ReplayBuffer | None, sample: Sample, errors: jax.Array) -> ReplayBuffer | None:
    """Returns the replay memory with new priorities of what was drawn.

    Args:
        config: has ``priority_exponent``, alpha, and ``priority_max_share``, eta, which is read with memory alone.
        buffer: one without priorities is returned as it is, and so is None.
        sample: what was drawn.
        errors: float32[B], |delta|; of sequences float32[T, B], of the steps that were learned from.
    """
    if buffer is None or buffer.priorities is None or sample.place is None:
        return buffer
    if errors.ndim > 1:
        errors = priorities.sequence_error(errors, config.priority_max_share)
    priority = (errors + 1e-6) ** config.priority_exponent
    return replace(buffer, priorities=priorities.assign(buffer.priorities, sample.place, priority))


def require_stored(where: str, config: Any) -> None:
    """Raises ConfigError unless what is drawn can be stored: with replay, without, and with memory.

    Args:
        where: who asks.
        config: an ``OffPolicyConfig`` that has also ``replay``, ``n_steps``, ``prioritised``, ``memory_size``,
            ``sequence_length`` and ``burn_in``.
    """
    require_whole(where, config, "memory_size", "burn_in")
    require_counts(where, config, "n_steps")
    if config.memory_size:
        must, fix = "with memory, replay must be True: sequences are drawn from the buffer", "Set memory_size=0, or replay=True."
        require(config.replay, where, must, config.replay, fix)
    else:
        must, fix = "burn_in must be 0 without memory", "Set burn_in=0, or memory_size=64."
        require(config.burn_in == 0, where, must, config.burn_in, fix)
    if not config.replay:
        _require_newest(where, config)
        return
    config.require_buffer(where)
    if config.memory_size:
        _require_sequences(where, config)
    _require_room(where, config, "sequence_length" if config.memory_size else "n_steps")


def _require_sequences(where: str, config: Any) -> None:
    require_counts(where, config, "sequence_length")
    length = config.sequence_length
    must = f"burn_in must be below sequence_length ({length}), or nothing is learned from"
    require(config.burn_in < length, where, must, config.burn_in, f"Try burn_in={length // 2}.")
    learned = length - config.burn_in
    must = f"with memory, n_steps must not exceed sequence_length - burn_in ({learned}): targets end with their sequence"
    require(config.n_steps <= learned, where, must, config.n_steps, f"Try n_steps={learned}.")


def _require_room(where: str, config: Any, name: str) -> None:
    """Raises ConfigError unless the buffer holds ``config.name`` steps of each environment, before the first is drawn."""
    steps, envs = getattr(config, name), config.num_envs
    must, least = f"buffer_size must hold {name} of each environment", steps * envs
    fix = f"Try buffer_size={least}, or {name}={max(config.buffer_size // envs, 1)}."
    require(config.buffer_size >= least, where, f"{must} ({name} * num_envs = {least})", config.buffer_size, fix)
    there, missing = config.warm_up_steps + config.num_steps, max(steps - config.num_steps, 1) * envs
    must = f"the first draw needs {name} ({steps}) steps of each environment before it"
    require(there >= steps, where, must, there, f"Try learning_starts={missing}.")


def _require_newest(where: str, config: Any) -> None:
    newest = {"batch_size": config.num_envs * config.num_steps, "buffer_size": 0, "learning_starts": 0, "n_steps": 1}
    newest |= {"prioritised": False}
    for name, value in newest.items():
        found, fix = getattr(config, name), f"Set {name}={value}, or replay=True."
        require(found == value, where, f"without replay, {name} must be {value}: nothing is kept", found, fix)
