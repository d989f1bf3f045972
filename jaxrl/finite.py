"""Finite environments: write the outcome probabilities once, get the sampled environment and its exact model.

The author gives ``outcomes(state, action, params) -> Outcomes`` (every successor with its probability) and
``initial(params) -> Initial``. ``finite`` derives ``reset`` and ``step`` by sampling; ``tabulate`` walks the reachable
states into a ``TabularModel``. The two therefore cannot disagree. ``from_table`` turns a model back into an environment.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
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
    cumulative = jnp.where(possible, jnp.cumsum(probability), 0)
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
        return Step(self.observe(state, params), state, reward, terminated)


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


def _rows(tree: PyTree, axes: int) -> list[bytes]:
    """Returns each element along the first ``axes`` axes of a pytree as bytes: a dictionary key for a state."""
    leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]
    count = int(np.prod(leaves[0].shape[:axes]))
    flat = [leaf.reshape(count, -1).view(np.uint8).reshape(count, -1) for leaf in leaves]
    table = np.concatenate(flat, axis=1)
    return [row.tobytes() for row in table]


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
    outcomes_fn, initial_fn = env.outcomes_fn, env.initial_fn
    if outcomes_fn is None or initial_fn is None:
        raise EnvironmentError(
            "tabulate: the environment must state its outcomes and initial distribution, got outcomes_fn=None. "
            "Build it with jaxrl.finite.finite."
        )
    if not isinstance(env.action_space, Discrete):
        raise EnvironmentError(f"tabulate: the action space must be Discrete, got {env.action_space}. Discretise it.")
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, jax.eval_shape(initial_fn, env.params).state)

    def as_states(tree):
        # float64 mode may widen integers; a state is identified by its bytes, so its dtype is pinned to the sampled one.
        return jax.tree.map(lambda leaf, dtype: np.asarray(leaf).astype(dtype), tree, dtypes)

    agents = 1 if env.num_agents is None else env.num_agents
    joint_shape = (env.action_space.n,) * agents
    joint = np.asarray(list(itertools.product(*(range(n) for n in joint_shape))), dtype=np.int32)
    actions = joint[:, 0] if env.num_agents is None else joint

    with jax.enable_x64(True):
        params = jax.tree.map(_widen, env.params)
        first = initial_fn(params)
        first = Initial(np.asarray(first.probability), as_states(first.state))

        @jax.jit
        def expand(states):
            return jax.vmap(lambda s: jax.vmap(lambda a: outcomes_fn(s, a, params))(jnp.asarray(actions)))(states)

        index: dict[bytes, int] = {}
        found: list[Any] = []  # the states in order of discovery, each a pytree of one element
        probability, successor, reward, terminated = [], [], [], []
        open_states: set[int] = set()  # reached other than by termination: these have outcomes of their own

        def number(states, keys):
            numbers = np.empty(len(keys), np.int32)
            for i, key in enumerate(keys):
                if key not in index:
                    index[key] = len(found)
                    found.append(jax.tree.map(lambda leaf, i=i: leaf[i], states))
                numbers[i] = index[key]
            return numbers

        starts = number(first.state, _rows(first.state, 1))
        open_states.update(int(s) for s, p in zip(starts, first.probability, strict=True) if p > 0)
        rows: dict[int, tuple] = {}
        frontier = sorted(open_states)
        while frontier:
            block, frontier = frontier[:_BLOCK], frontier[_BLOCK:]
            padded = block + [block[0]] * (_BLOCK - len(block))
            states = jax.tree.map(lambda *leaves: np.stack(leaves), *[found[i] for i in padded])
            out = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(block)], expand(states))
            total = out.probability.sum(-1)
            worst = np.abs(total - 1).max()
            require(
                worst < 1e-5 and out.probability.min() >= 0,
                "tabulate",
                "outcome probabilities must be non-negative and sum to 1 for every state and action",
                float(total.flat[np.abs(total - 1).argmax()]),
                "Check outcomes(state, action, params).",
                EnvironmentError,
            )
            shape = out.probability.shape
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), as_states(out.state))
            possible = np.flatnonzero(out.probability.reshape(-1) > 0)
            reachable = jax.tree.map(lambda leaf: leaf[possible], flat)
            numbers = np.zeros(int(np.prod(shape)), np.int32)  # impossible outcomes point at state 0, with probability 0
            numbers[possible] = number(reachable, _rows(reachable, 1))
            require(
                len(found) <= max_states,
                "tabulate",
                f"the environment must have at most max_states = {max_states} states",
                f"{len(found)} and more",
                "Raise max_states, or bound the state.",
                EnvironmentError,
            )
            going_on = possible[~np.asarray(out.terminated).reshape(-1)[possible]]
            fresh = set(numbers[going_on].tolist()) - open_states
            open_states |= fresh
            frontier += sorted(fresh)
            numbers = numbers.reshape(shape)
            normalised = out.probability / total[..., None]
            for i, state in enumerate(block):
                rows[state] = (normalised[i], numbers[i], np.asarray(out.reward[i], np.float64), out.terminated[i])

        width = next(iter(rows.values()))
        for state in range(len(found)):
            if state in rows:
                p, n, r, t = rows[state]
            else:
                p = np.zeros_like(width[0])
                p[:, 0] = 1.0
                n, r, t = np.full_like(width[1], state), np.zeros_like(width[2]), np.ones_like(width[3])
            probability.append(p)
            successor.append(n)
            reward.append(r)
            terminated.append(t)
        states = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
        initial = np.zeros(len(found))
        np.add.at(initial, starts, np.asarray(first.probability, np.float64))

    # Observations and masks are what the agent is given, so they are computed at the ordinary precision.
    observe = env.observe_fn or observe_state
    observation = jax.tree.map(np.asarray, jax.vmap(observe, in_axes=(0, None))(states, env.params))
    mask = np.ones((len(found), len(joint)), bool)
    if env.action_mask_fn is not None:
        legal = np.asarray(jax.vmap(env.action_mask_fn, in_axes=(0, None))(states, env.params))
        legal = legal if env.num_agents is not None else legal[:, None, :]
        mask = np.all([legal[:, agent, joint[:, agent]] for agent in range(agents)], axis=0)
    return TabularModel(
        np.stack(successor),
        np.stack(probability),
        np.stack(reward),
        np.stack(terminated),
        initial / initial.sum(),
        mask,
        observation,
        states,
        joint_shape,
    )


def single_precision(model: TabularModel) -> TabularModel:
    """Returns the model with float32 tables on the device."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32 if leaf.dtype == np.float64 else leaf.dtype), model)


def _widen(leaf):
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _table_outcomes(state, action, model):
    if jnp.ndim(action):
        action = jnp.ravel_multi_index(tuple(action), model.joint_shape, mode="clip")
    return Outcomes(
        jnp.asarray(model.probability)[state, action],
        jnp.asarray(model.next_state)[state, action],
        jnp.asarray(model.reward)[state, action],
        jnp.asarray(model.terminated)[state, action],
    )


def _table_initial(model):
    return Initial(jnp.asarray(model.initial), jnp.arange(model.num_states, dtype=jnp.int32))


@dataclass(frozen=True)
class _TableObservation:
    num_agents: int | None

    def __call__(self, state, model):
        return state if self.num_agents is None else jnp.full((self.num_agents,), state)


@dataclass(frozen=True)
class _TableMask:
    num_agents: int | None

    def __call__(self, state, model):
        joint = jnp.asarray(model.action_mask)[state].reshape(model.joint_shape)
        if self.num_agents is None:
            return joint
        agents = range(self.num_agents)
        return jnp.stack([joint.any(tuple(other for other in agents if other != agent)) for agent in agents])


def from_table(model: TabularModel, max_steps: int) -> Environment:
    """Builds the environment that a model describes. Its observation is the state's number; a step is one gather.

    Args:
        model: the tables; agents see the same state number each.
        max_steps: steps after which an episode is truncated.
    """
    agents = len(model.joint_shape) if model.reward.ndim == 4 else None
    masked = not np.all(model.action_mask)
    return finite(
        single_precision(model),
        _table_outcomes,
        _table_initial,
        Discrete(model.num_states),
        Discrete(model.joint_shape[0]),
        max_steps,
        observe=_TableObservation(agents),
        num_agents=agents,
        action_mask=_TableMask(agents) if masked else None,
    )
