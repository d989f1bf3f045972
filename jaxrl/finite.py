"""Finite environments: write the outcome probabilities once, get the sampled environment and its exact model.

The author gives ``outcomes(state, action, params) -> Outcomes`` (every successor with its probability) and
``initial(params) -> Initial``. ``finite`` derives ``reset`` and ``step`` by sampling; ``tabulate`` walks the reachable
states into a ``TabularModel``. The two therefore cannot disagree. ``from_table`` turns a model back into an environment.
"""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.env import Environment, PyTree, Step, static
from jaxrl.errors import EnvironmentError, require
from jaxrl.spaces import Discrete, Space


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
    if probability.shape[0] == 1:
        return jnp.int32(0)
    possible = probability > 0
    cumulative = jnp.where(possible, jnp.cumsum(probability.astype(jnp.float32)), 0)  # in float64 mode the same draws
    # A uniform draw below 1 times the largest possible cumulative sum stays below that sum, so some possible index exceeds it.
    threshold = jax.random.uniform(key, dtype=cumulative.dtype) * cumulative.max()
    return jnp.argmax(cumulative > threshold).astype(jnp.int32)


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
        index = sample_index(key, outcomes.probability)
        state, reward, terminated = jax.tree.map(lambda leaf: leaf[index], outcomes[1:])
        return Step(self.observe(state, params), state, reward.astype(jnp.float32), terminated)


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


_BLOCK = 128  # states expanded per device call: one compiled shape, whatever the frontier


class _Numbering:
    """Numbers states in the order in which they are found; a state is known by its bytes."""

    def __init__(self):
        self.found: list[PyTree] = []
        self._number: dict[bytes, int] = {}

    def __call__(self, states: PyTree) -> np.ndarray:
        """Returns the number of each of n states PyTree[n, ...], int32[n]; new ones get the next numbers."""
        leaves, structure = jax.tree.flatten(states)
        count = leaves[0].shape[0]
        flat = [np.ascontiguousarray(leaf).reshape(count, -1).view(np.uint8).reshape(count, -1) for leaf in leaves]
        numbers = np.empty(count, np.int32)
        for i, row in enumerate(np.concatenate(flat, axis=1)):
            key = row.tobytes()
            if key not in self._number:
                self._number[key] = len(self.found)
                self.found.append(jax.tree.unflatten(structure, [leaf[i] for leaf in leaves]))
            numbers[i] = self._number[key]
        return numbers


def _expander(env: Environment, params: PyTree, dtypes: PyTree, actions: np.ndarray) -> Callable:
    """Returns ``(states [n]) -> Outcomes [n, A, K]`` on the host, for n up to ``_BLOCK``."""
    outcomes_fn: Any = env.outcomes_fn

    @jax.jit
    def expand(states):
        return jax.vmap(lambda state: jax.vmap(lambda action: outcomes_fn(state, action, params))(jnp.asarray(actions)))(states)

    def on_host(states: list[PyTree]) -> Outcomes:
        padded = states + states[:1] * (_BLOCK - len(states))
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *padded)
        outcomes = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(states)], expand(stacked))
        total = outcomes.probability.sum(-1)
        require(
            bool(np.abs(total - 1).max() < 1e-5 and outcomes.probability.min() >= 0),
            "tabulate",
            "outcome probabilities must be non-negative and sum to 1 for every state and action",
            float(total.flat[np.abs(total - 1).argmax()]),
            "Check outcomes(state, action, params).",
            EnvironmentError,
        )
        return outcomes._replace(probability=outcomes.probability / total[..., None], state=_cast(outcomes.state, dtypes))

    return on_host


def _cast(states: PyTree, dtypes: PyTree) -> PyTree:
    # float64 mode may widen integers; a state is known by its bytes, so its dtype is pinned to the sampled one.
    return jax.tree.map(lambda leaf, dtype: np.asarray(leaf).astype(dtype), states, dtypes)


class _Row(NamedTuple):
    """The tables of one state, [A, K] each (reward [A, K, N] with agents)."""

    next_state: np.ndarray
    probability: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


def _absorbing(state: int, like: _Row) -> _Row:
    probability = np.zeros_like(like.probability)
    probability[:, 0] = 1.0
    return _Row(np.full_like(like.next_state, state), probability, np.zeros_like(like.reward), np.ones_like(like.terminated))


def _walk(expand: Callable, number: _Numbering, frontier: list[int], max_states: int) -> dict[int, _Row]:
    """Expands states breadth-first until nothing new is reached; returns the rows of all that an episode can go on from."""
    rows: dict[int, _Row] = {}
    reached = set(frontier)
    while frontier:
        block, frontier = frontier[:_BLOCK], frontier[_BLOCK:]
        outcomes = expand([number.found[state] for state in block])
        shape = outcomes.probability.shape
        possible = np.flatnonzero(outcomes.probability.reshape(-1) > 0)
        successors = jax.tree.map(partial(_select, shape=shape, index=possible), outcomes.state)
        numbers = np.zeros(int(np.prod(shape)), np.int32)  # impossible outcomes point at state 0, with probability 0
        numbers[possible] = number(successors)
        require(
            len(number.found) <= max_states,
            "tabulate",
            f"the environment must have at most max_states = {max_states} states",
            f"{len(number.found)} and more",
            "Raise max_states, or bound the state.",
            EnvironmentError,
        )
        going_on = possible[~outcomes.terminated.reshape(-1)[possible]]
        fresh = set(numbers[going_on].tolist()) - reached
        reached |= fresh
        frontier += sorted(fresh)
        table = _Row(numbers.reshape(shape), outcomes.probability, outcomes.reward.astype(np.float64), outcomes.terminated)
        rows |= {state: _Row(*(part[i] for part in table)) for i, state in enumerate(block)}
    return rows


def _select(leaf: np.ndarray, shape: tuple[int, ...], index: np.ndarray) -> np.ndarray:
    return leaf.reshape(-1, *leaf.shape[len(shape) :])[index]


def tabulate(env: Environment, max_states: int = 100_000) -> TabularModel:
    """Walks the reachable states of a finite environment breadth-first and returns its exact model.

    Runs on the host, once, in float64; the frontier is expanded in vmapped blocks.

    Args:
        env: an environment built by ``finite`` (or any that sets ``outcomes_fn`` and ``initial_fn``).
        max_states: how many states to accept before giving up.

    Raises:
        EnvironmentError: the environment is not finite, has more than ``max_states`` states, or its outcome probabilities
            do not sum to 1.
    """
    if env.outcomes_fn is None or env.initial_fn is None:
        raise EnvironmentError(
            "tabulate: the environment must state its outcomes and initial distribution, got outcomes_fn=None. "
            "Build it with jaxrl.finite.finite."
        )
    if not isinstance(env.action_space, Discrete):
        raise EnvironmentError(f"tabulate: the action space must be Discrete, got {env.action_space}. Discretise it.")
    agents = env.num_agents or 1
    joint_shape = (env.action_space.n,) * agents
    joint = np.asarray(list(itertools.product(*(range(n) for n in joint_shape))), dtype=np.int32)
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, jax.eval_shape(env.initial_fn, env.params).state)
    number = _Numbering()
    with jax.enable_x64(True):
        params = jax.tree.map(_widen, env.params)
        first = jax.tree.map(np.asarray, env.initial_fn(params))
        starts = number(_cast(first.state, dtypes))
        expand = _expander(env, params, dtypes, joint[:, 0] if env.num_agents is None else joint)
        rows = _walk(expand, number, sorted(set(starts[first.probability > 0].tolist())), max_states)
    like = next(iter(rows.values()))
    rows = [rows.get(state) or _absorbing(state, like) for state in range(len(number.found))]
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *number.found)
    initial = np.zeros(len(rows))
    np.add.at(initial, starts, first.probability.astype(np.float64))

    # Observations and masks are what the agent is given, so they are computed at the ordinary precision.
    observe = env.observe_fn or observe_state
    observation = jax.tree.map(np.asarray, jax.vmap(observe, in_axes=(0, None))(states, env.params))
    mask = np.ones((len(rows), len(joint)), bool)
    if env.action_mask_fn is not None:
        legal = np.asarray(jax.vmap(env.action_mask_fn, in_axes=(0, None))(states, env.params))
        legal = legal if env.num_agents is not None else legal[:, None, :]
        mask = np.all([legal[:, agent, joint[:, agent]] for agent in range(agents)], axis=0)
    tables = (np.stack(table) for table in zip(*rows, strict=True))
    next_state, probability, reward, terminated = tables
    return TabularModel(
        next_state, probability, reward, terminated, initial / initial.sum(), mask, observation, states, joint_shape
    )


def single_precision(model: TabularModel) -> TabularModel:
    """Returns the model with float32 tables on the device."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32 if leaf.dtype == np.float64 else leaf.dtype), model)


def _widen(leaf):
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


@struct.dataclass
class Table:
    """What ``from_table`` steps through. model: float32 tables. first: int32[M], the states in which an episode may begin."""

    model: TabularModel
    first: jax.Array


def _joint(action, model):
    return jnp.ravel_multi_index(tuple(action), model.joint_shape, mode="clip") if jnp.ndim(action) else action


def _table_outcomes(state, action, table):
    model = table.model
    return jax.tree.map(
        lambda leaf: leaf[state, _joint(action, model)],
        Outcomes(model.probability, model.next_state, model.reward, model.terminated),
    )


def _table_initial(table):
    return Initial(table.model.initial[table.first], table.first)


@dataclass(frozen=True)
class _TableStep:
    """Draws an outcome's number first and looks up that one alone."""

    observe: Callable

    def __call__(self, key, state, action, table):
        model = table.model
        action = _joint(action, model)
        index = sample_index(key, model.probability[state, action])
        tables = model.next_state, model.reward, model.terminated
        state, reward, terminated = (leaf[state, action, index] for leaf in tables)
        return Step(self.observe(state, table), state, reward, terminated)


@dataclass(frozen=True)
class _TableObservation:
    num_agents: int | None

    def __call__(self, state, table):
        return state if self.num_agents is None else jnp.full((self.num_agents,), state)


@dataclass(frozen=True)
class _TableMask:
    num_agents: int | None

    def __call__(self, state, table):
        joint = table.model.action_mask[state].reshape(table.model.joint_shape)
        if self.num_agents is None:
            return joint
        agents = range(self.num_agents)
        return jnp.stack([joint.any(tuple(other for other in agents if other != agent)) for agent in agents])


def from_table(model: TabularModel, max_steps: int) -> Environment:
    """Builds the environment that a model describes. Its observation is the state's number; a step is a look-up.

    Args:
        model: the tables; agents see the same state number each.
        max_steps: steps after which an episode is truncated.
    """
    agents = len(model.joint_shape) if model.reward.ndim == 4 else None
    masked = not np.all(model.action_mask)
    observe = _TableObservation(agents)
    env = finite(
        Table(single_precision(model), jnp.asarray(np.flatnonzero(model.initial), jnp.int32)),
        _table_outcomes,
        _table_initial,
        Discrete(model.num_states),
        Discrete(model.joint_shape[0]),
        max_steps,
        observe=observe,
        num_agents=agents,
        action_mask=_TableMask(agents) if masked else None,
    )
    return dataclasses.replace(env, step_fn=_TableStep(observe))
