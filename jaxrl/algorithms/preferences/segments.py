"""Segments of behaviour and preferences between them: the data that reward models are fitted to.

Segments come from any environment and policy (``collect``), or from a user. A preference names two segments of a pool by their
numbers, so a segment that is compared often is stored once.

Source: Christiano et al. (2017), section 2.2.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.blocks.exploration import boltzmann_probabilities
from jaxrl.core import rollout
from jaxrl.core.config import require_discrete
from jaxrl.core.environment import Environment, PyTree
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Policy, Transition
from jaxrl.core.spaces import Space, flat_size
from jaxrl.core.transforms import STATES
from jaxrl.errors import DataError, EnvError, is_traced, nan_unless, require
from jaxrl.solvers.mdp.policy_iteration import policy_iteration

SHOWN = 5  # bad rows that a message names


class Segments(NamedTuple):
    """A pool of N segments of at most T steps each.

    obs, action, next_obs: PyTree[N, T, ...]; next_obs is the true successor.
    mask: bool[N, T], True where the segment has this step; a segment ends where its episode ended. Entries behind the
        mask may be anything, NaN too.
    reward: float32[N, T], the reward of the environment. The labeller may know it, the reward model never sees it. None if it
        is unknown.
    state: PyTree[N, T+1, ...], the states of the environment from the first to the one that the last step reached, to show the
        segments to people. None unless the environment reports them: ``jaxrl.core.transforms.with_reported_states``.
    """

    obs: PyTree
    action: PyTree
    next_obs: PyTree
    mask: jax.Array
    reward: jax.Array | None = None
    state: PyTree = None

    @property
    def count(self) -> int:
        """N, how many segments there are."""
        return self.mask.shape[0]

    def validate(self, where: str, observation_space: Space | None = None, action_space: Space | None = None) -> None:
        """Raises DataError unless every step that the mask shows lies in the spaces; see ``Preferences.validate``."""
        if is_traced(self):
            return
        mask = np.asarray(self.mask)
        parts = ("obs", observation_space), ("action", action_space), ("next_obs", observation_space)
        for name, space in parts:
            tree = getattr(self, name)
            leaves = [np.shape(leaf)[:2] for leaf in jax.tree.leaves(tree)]
            must, fix = f"{name} must begin with the axes of the mask, {mask.shape}", "Stack the segments."
            require(all(shape == mask.shape for shape in leaves), where, must, leaves, fix, DataError)
            if space is None or tree is None or not mask.any():
                continue
            steps = jax.tree.map(lambda leaf: np.asarray(leaf)[mask], tree)
            with jax.ensure_compile_time_eval():  # who asks may be traced, though the data are not
                inside = np.asarray(jax.vmap(space.contains)(steps))
            if not inside.all():
                number = int(np.argmin(inside))
                segment, t = np.argwhere(mask)[number].tolist()
                found = jax.tree.map(lambda leaf, number=number: leaf[number].tolist(), steps)
                must, fix = f"{name} of step {t} of segment {segment} must lie in {space}", "Correct it, or mask the step."
                require(False, where, must, found, fix, DataError)


@struct.dataclass
class Preferences:
    """P comparisons between segments of a pool.

    segments: the pool.
    first, second: int32[P], the numbers of the two segments in the pool.
    label: float32[P] in [0, 1], the probability that the first is preferred: 1 first, 0 second, 1/2 neither.
    weight: float32[P], at least 0; a comparison that was skipped has 0.
    """

    segments: Segments
    first: jax.Array
    second: jax.Array
    label: jax.Array
    weight: jax.Array

    @property
    def count(self) -> int:
        """P, how many comparisons there are."""
        return self.label.shape[0]

    def validate(self, where: str, observation_space: Space | None = None, action_space: Space | None = None) -> None:
        """Raises DataError where a comparison or a step of a segment is wrong; the message names the first ones and why.

        A comparison names segments of the pool by their numbers; its label lies in [0, 1] and its weight is finite and not
        negative; it is of two different segments, unless it has weight 0. Every step lies in the spaces. Data that are traced
        have no numbers yet and are not looked at.

        Args:
            where: who asks.
            observation_space, action_space: of a step; None where they are not known.
        """
        if is_traced(self):
            return
        columns = {name: np.asarray(getattr(self, name)) for name in ("first", "second", "label", "weight")}
        for name, column in columns.items():
            must, fix = f"{name} must have one number for each of the {self.count} comparisons", "Give each comparison one."
            require(column.shape == (self.count,), where, must, column.shape, fix, DataError)
        for name in ("first", "second"):
            must, fix = f"{name} must hold the numbers of segments, integers", "Cast it: .astype(jnp.int32)."
            require(columns[name].dtype.kind in "iu", where, must, columns[name].dtype.name, fix, DataError)
        first, second, label, weight = columns.values()
        report_faults(where, faults(first, second, label, weight, self.segments.count), "comparison", 0)
        self.segments.validate(where, observation_space, action_space)


def faults(
    first: np.ndarray,
    second: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    num_segments: int,
    names: Callable[[int], str] = str,
) -> dict[int, list[str]]:
    """Returns what is wrong with comparisons: row -> reasons. See ``Preferences.validate`` for the rules.

    Args:
        first, second: int[P].
        label, weight: float[P].
        num_segments: N.
        names: what the user calls the segment with a number.
    """
    found: dict[int, list[str]] = {}

    def check(bad: np.ndarray, reason: Callable[[int], str]) -> None:
        for row in np.flatnonzero(bad).tolist():
            found.setdefault(row, []).append(reason(row))

    for name, column in (("first", first), ("second", second)):
        check(
            (column < 0) | (column >= num_segments),
            lambda row, name=name, column=column: f"{name} {column[row]} is none of the {num_segments} segments",
        )
    counts = ~(weight == 0)
    check((first == second) & counts, lambda row: f"first and second are the same segment {names(int(first[row]))!r}")
    for name, column, high in (("label", label, 1.0), ("weight", weight, np.inf)):
        missing = np.isnan(column)
        check(missing, lambda row, name=name: f"{name} is NaN")
        range_ = "is not in [0, 1]" if np.isfinite(high) else "is not finite and at least 0"
        outside = ~missing & ~((column >= 0) & (column <= high) & np.isfinite(column))
        check(outside, lambda row, name=name, column=column, range_=range_: f"{name} {column[row]:g} {range_}")
    return found


def report_faults(where: str, found: Mapping[int, list[str]], row: str, first: int, note: str = "") -> None:
    """Raises DataError where there are faults, naming the first ones.

    Args:
        where: who asks.
        found: place -> reasons; see ``faults``.
        row: what a place is called.
        first: the number that the user gives to the first place.
        note: a sentence for the end.
    """
    if not found:
        return
    rows = sorted(found)
    listed = "; ".join(f"{row} {place + first}: {', '.join(found[place])}" for place in rows[:SHOWN])
    more = f"; and {len(rows) - SHOWN} more {row}s" if len(rows) > SHOWN else ""
    raise DataError(f"{where}: every {row} must be valid, got {listed}{more}. {note}Correct them.")


def take(segments: Segments, index: jax.Array) -> Segments:
    """Returns the segments with these numbers; index: int32[M]."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), segments)


def cut(batch: Transition) -> Segments:
    """Turns transitions [T, E, ...] into E segments, each ending where the first episode in it ends."""
    over = jnp.cumsum(batch.done, axis=0) - batch.done > 0
    left, reached = batch.info.get(STATES, (None, None))
    state = jax.tree.map(lambda first, after: jnp.concatenate([first[:1], after]), left, reached)
    parts = Segments(batch.obs, batch.action, batch.next_obs, ~over, batch.reward, state)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), parts)


def collect(key: jax.Array, env: Environment, policy: Policy, num_segments: int, length: int, memory: PyTree = ()) -> Segments:
    """Collects segments from the beginnings of fresh episodes.

    Args:
        key: one key.
        env: an environment without agents.
        policy: see ``jaxrl.core.rollout.Policy``; it acts in all segments side by side.
        num_segments: N.
        length: T, steps of a segment.
        memory: the policy's, for one environment.
    """
    start_key, step_key = jax.random.split(key)
    episodes = rollout.start(start_key, env, num_segments, memory)
    return cut(rollout.unroll(step_key, env, policy, episodes, length)[1])


def single_steps(obs: PyTree, action: PyTree) -> Segments:
    """Returns segments of one step each, for contexts and responses; obs, action: PyTree[N, ...]."""
    obs, action = jax.tree.map(lambda leaf: leaf[:, None], (obs, action))
    return Segments(obs, action, obs, jnp.ones((jax.tree.leaves(action)[0].shape[0], 1), bool))


def boltzmann_policies(env: Environment, gamma: float, temperatures: Sequence[float]) -> jax.Array:
    """Returns policies of different quality for ``jaxrl.blocks.policies.mixture``, float32[M, X, A] by observation number:
    Boltzmann's, of the optimal action values, one for each temperature.

    Args:
        env: a finite environment without agents, in which observations and actions are numbers, every observation belongs to one
            state, and every action is legal everywhere.
        gamma: discount in [0, 1).
        temperatures: positive, in units of the return; the lower, the better the policy.

    Raises:
        SpaceError: observations or actions are no numbers. EnvError: the environment is not finite, or not as above.
    """
    where = "boltzmann_policies"
    require_discrete(where, env, "Use an environment with Discrete spaces.")
    model = tabulate(env)
    observation, fix = np.asarray(model.observation), "Write the tables down."
    once = np.unique(observation).size == observation.size
    require(once, where, "every observation must belong to one state", observation.tolist(), fix, EnvError)
    require(bool(np.all(model.action_mask)), where, "every action must be legal everywhere", "a mask", fix, EnvError)
    with jax.enable_x64(True):
        values = np.asarray(policy_iteration(model, gamma).action_value)
    table = np.zeros((flat_size(env.observation_space), values.shape[1]), np.float32)  # uniform where no state looks like this
    table[observation] = values
    return jnp.stack([boltzmann_probabilities(jnp.asarray(table), temperature) for temperature in temperatures])


def sample_pairs(key: jax.Array, num_segments: int, num_pairs: int) -> tuple[jax.Array, jax.Array]:
    """Draws pairs of two different segments uniformly; returns their numbers, int32[P] each."""
    first_key, other_key = jax.random.split(key)
    first = jax.random.randint(first_key, (num_pairs,), 0, num_segments, jnp.int32)
    others = jax.random.randint(other_key, (num_pairs,), 1, num_segments, jnp.int32)
    return first, (first + others) % num_segments


def summed(rewards: jax.Array, mask: jax.Array, discount: jax.Array | float = 1.0) -> jax.Array:
    """Returns the sum of the rewards of each segment, float32[N].

    Args:
        rewards: float32[N, T].
        mask: bool[N, T].
        discount: in [0, 1], of steps further from the end; below 1 it is a judge who remembers the end best (Lee et al. 2021,
            "B-Pref", section 3.1, myopic).
    """
    after = mask.sum(-1, keepdims=True) - 1 - jnp.arange(mask.shape[-1])
    weight = jnp.asarray(discount, rewards.dtype) ** jnp.maximum(after, 0)
    return jnp.sum(weight * jnp.where(mask, rewards, 0.0), axis=-1)


def scores(reward: Callable, params: PyTree, segments: Segments) -> jax.Array:
    """Returns the sum of a reward function over each segment, float32[N].

    The reward function is shown zeros behind the mask: what it makes of the padding reaches neither the sum nor the gradient.

    Args:
        reward: ``(params, obs, action, next_obs) -> float32[...]`` for any leading axes, as the models of
            ``jaxrl.algorithms.preferences.reward_models``; an advantage function gives regret-based preferences (Knox et al.
            2022).
        params: its parameters.
        segments: the pool.
    """

    def shown(leaf):
        return jnp.where(segments.mask.reshape(*segments.mask.shape, *(1,) * (leaf.ndim - 2)), leaf, jnp.zeros((), leaf.dtype))

    obs, action, next_obs = jax.tree.map(shown, (segments.obs, segments.action, segments.next_obs))
    return summed(reward(params, obs, action, next_obs), segments.mask)


def differences(reward: Callable, params: PyTree, segments: Segments, first: jax.Array, second: jax.Array) -> jax.Array:
    """Returns the predicted score of the first segment of each pair minus that of the second, float32[B].

    A number that names no segment has no score: the difference is NaN.

    Args:
        reward, params, segments: as for ``scores``.
        first, second: int32[B], the numbers of the segments in the pool.
    """
    index = jnp.concatenate([first, second])
    if segments.count <= index.shape[0]:  # each segment is looked at once, however many pairs it is in
        score = scores(reward, params, segments)[index]
    else:
        score = scores(reward, params, take(segments._replace(reward=None), index))
    score = nan_unless((index >= 0) & (index < segments.count), score)
    return score[: first.shape[0]] - score[first.shape[0] :]
