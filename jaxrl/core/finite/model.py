"""The exact model of a finite environment as tables, and the requirements that they must meet, however they were made."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import PyTree, static
from jaxrl.errors import EnvError, is_traced, require, require_distribution

_ROUNDING = 1e-5  # by how much probabilities may miss a sum of 1


@struct.dataclass
class TabularModel:
    """A finite environment as sparse tables: X states, A (joint) actions, K outcomes. The time limit is not part of it.

    next_state: int32[X, A, K].
    probability: float64[X, A, K], sums to 1 over K.
    reward: float64[X, A, K], or [X, A, K, N] with agents.
    terminated: bool[X, A, K]: the outcome ends the episode; the value beyond is 0.
    initial: float64[X], the distribution of the first state.
    action_mask: bool[X, A], True = legal.
    observation: PyTree[X, ...], what is observed in each state.
    state: PyTree[X, ...], the environment's own states.
    joint_shape: the number of actions of every agent; joint action ``np.ravel_multi_index(actions, joint_shape)``.

    States that are only ever reached by termination are absorbing: they lead to themselves with reward 0.
    The tables are NumPy float64: jax computes with them in float32, or in float64 inside ``jax.enable_x64(True)``.
    """

    next_state: Any
    probability: Any
    reward: Any
    terminated: Any
    initial: Any
    action_mask: Any
    observation: PyTree
    state: PyTree
    joint_shape: tuple[int, ...] = static()

    @property
    def num_states(self) -> int:
        return self.next_state.shape[0]

    @property
    def num_actions(self) -> int:
        return self.next_state.shape[1]

    @property
    def tables(self) -> "TabularModel":
        """The model without observations and states: programs of it do not depend on how states look.

        Outcomes that are impossible pay 0 in it, whatever they paid: 0 times NaN or infinity is no 0.
        """
        numpy: Any = jnp if is_traced(self.probability, self.reward) else np
        possible = numpy.asarray(self.probability) > 0
        possible = possible if numpy.ndim(self.reward) == 3 else possible[..., None]
        return dataclasses.replace(self, reward=numpy.where(possible, self.reward, 0), observation=(), state=())


def single_precision(model: TabularModel) -> TabularModel:
    """Returns the model with float32 tables on the device."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32 if leaf.dtype == np.float64 else leaf.dtype), model)


def byte_rows(where: str, entries: PyTree, axes: int = 1) -> np.ndarray:
    """Returns the bytes of every entry of a batch, uint8[..., B]: equal entries have equal bytes, those with 0.0 and -0.0 too.

    Args:
        where: who asks.
        entries: PyTree[..., rest], numbers.
        axes: how many leading axes number the entries.

    Raises:
        EnvError: an entry holds NaN, which equals nothing.
    """
    rows = []
    for leaf in map(np.asarray, jax.tree.leaves(entries)):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            missing = np.argwhere(np.isnan(leaf))
            if len(missing):
                entry = jax.tree.map(lambda every: np.asarray(every)[tuple(missing[0, :axes])].tolist(), entries)  # noqa: B023
                require(False, where, "states and observations must not be NaN", entry, "Mask it.", EnvError)
            leaf = leaf + leaf.dtype.type(0)  # -0.0 + 0.0 is 0.0
        rows.append(np.ascontiguousarray(leaf).reshape(*leaf.shape[:axes], -1).view(np.uint8))
    return np.concatenate(rows, axis=-1)


def sound_outcomes(
    where: str, probability: np.ndarray, reward: np.ndarray, at: Callable[[int, int], str], fix: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probabilities divided by their sums, and the rewards with 0 where an outcome is impossible, in float64.

    Args:
        where: who asks.
        probability: float[n, A, K].
        reward: float[n, A, K] or [n, A, K, N].
        at: ``(row, action) -> str``, how a message names them.
        fix: what the user can do.

    Raises:
        EnvError: probabilities are no distribution, or a reward that can be paid is not a finite number.
    """
    probability, reward = np.asarray(probability, np.float64), np.asarray(reward, np.float64)
    total, lowest = probability.sum(-1), probability.min(-1)
    impossible = (probability == 0).reshape(*probability.shape, *(1,) * (reward.ndim - 3))
    reward = np.where(impossible, 0.0, reward)
    for good, must, value in (
        (lowest >= 0, "outcome probabilities must be numbers of at least 0", lowest),  # NaN is not
        (np.abs(total - 1) <= _ROUNDING, "outcome probabilities must sum to 1", total),
        (np.isfinite(reward).reshape(*total.shape, -1).all(-1), "rewards must be finite", reward),
    ):
        if not good.all():
            row, action = (int(index) for index in np.argwhere(~good)[0])
            raise EnvError(f"{where}: {must}, got {value[row, action].tolist()} for {at(row, action)}. {fix}")
    return probability / total[..., None], reward


def require_model(where: str, model: TabularModel) -> None:
    """Raises EnvError unless the tables of a model fit together and hold distributions and finite rewards.

    Tables that are traced have no numbers yet: of these the shapes alone are looked at.

    Args:
        where: who asks.
        model: tables of whatever origin.
    """
    require_shapes(where, model)
    if is_traced(model):
        return
    states = model.num_states
    fix = "See jaxrl.core.finite.TabularModel."
    successors = np.asarray(model.next_state)
    lowest, highest = successors.min(), successors.max()
    whole = np.issubdtype(successors.dtype, np.integer) and lowest >= 0 and highest < states
    must = f"next_state must hold whole numbers in [0, {states})"
    require(bool(whole), where, must, (lowest.item(), highest.item()), fix, EnvError)
    fix = "Rows of probabilities sum to 1, and rewards are finite."
    sound_outcomes(where, model.probability, model.reward, lambda row, action: f"action {action} in state {row}", fix)
    require_distribution(where, "the initial distribution", model.initial, "Divide it by its sum.", EnvError)
    stuck = np.flatnonzero(~np.asarray(model.action_mask).any(-1))
    must, found = "every state must have a legal action", f"none in state {stuck[0]}" if len(stuck) else ""
    require(not len(stuck), where, must, found, "Allow one that does nothing.", EnvError)


def require_tables(where: str, model: TabularModel) -> None:
    """Raises EnvError unless a model is one, and no environment, say. where: who asks."""
    must = "model must be a TabularModel"
    require(isinstance(model, TabularModel), where, must, type(model).__name__, "Write tabulate(env).", EnvError)


def require_shapes(where: str, model: TabularModel) -> None:
    """Raises EnvError unless the tables of a model fit together, traced or not. where: who asks."""
    require_tables(where, model)
    fix = "See jaxrl.core.finite.TabularModel."
    table = np.shape(model.next_state)
    filled = len(table) == 3 and min(table) >= 1
    require(filled, where, "next_state must have shape [X, A, K], each at least 1", list(table), fix, EnvError)
    states, actions, _ = table
    agents = (len(model.joint_shape),) if np.ndim(model.reward) == 4 else ()
    for name, shape in (
        ("probability", table),
        ("reward", (*table, *agents)),
        ("terminated", table),
        ("initial", (states,)),
        ("action_mask", (states, actions)),
    ):
        found = np.shape(getattr(model, name))
        require(found == shape, where, f"{name} must have shape {list(shape)}", list(found), fix, EnvError)
    listed = math.prod(model.joint_shape) == actions
    must = f"joint_shape must be the numbers of actions of the agents, with a product of {actions}"
    require(listed, where, must, model.joint_shape, fix, EnvError)
