"""Walking the reachable states of a finite environment into its exact model."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core import machine
from jaxrl.core.environment import Environment, PyTree, in_full
from jaxrl.core.finite.model import TabularModel, byte_rows, sound_outcomes
from jaxrl.core.finite.outcomes import Initial, Outcomes, observe_state
from jaxrl.core.spaces import Discrete, Space
from jaxrl.errors import EnvError, require, require_distribution

_BLOCK = 128  # states expanded per device call: one compiled shape, and a second one where the frontier is many times as long
_LARGE_BLOCK, _BLOCK_BYTES = 4096, 2**26  # at most that many states, and bytes of their successors


class _Numbering:
    """Numbers states in the order in which they are found; a state is known by its bytes."""

    def __init__(self, like: PyTree):
        self._number: dict[bytes, int] = {}
        self._states = jax.tree.map(lambda leaf: np.empty((0, *leaf.shape), leaf.dtype), like)  # with room for more

    def __len__(self) -> int:
        return len(self._number)

    def __call__(self, states: PyTree) -> np.ndarray:
        """Returns the number of each of n states PyTree[n, ...], int32[n]; new ones get the next numbers."""
        rows, before = byte_rows("tabulate", states), len(self)
        keys = rows.view(np.dtype((np.void, rows.shape[-1])))[:, 0].tolist()
        numbers = np.fromiter((self._number.setdefault(key, len(self._number)) for key in keys), np.int32, len(keys))
        new, first = np.unique(numbers, return_index=True)
        first = first[new >= before]
        self._states = jax.tree.map(lambda kept, leaf: _with_rows(kept, before, leaf[first]), self._states, states)
        return numbers

    def states(self, numbers: np.ndarray | slice) -> PyTree:
        """Returns the states that have these numbers, PyTree[n, ...]."""
        return jax.tree.map(lambda leaf: leaf[: len(self)][numbers], self._states)


def _with_rows(kept: np.ndarray, count: int, new: np.ndarray) -> np.ndarray:
    """Returns an array whose first ``count`` rows are those of ``kept`` and the next are ``new``; it doubles where it is full."""
    if count + len(new) > len(kept):
        kept = np.concatenate([kept[:count], np.empty((max(count, len(new), 64), *kept.shape[1:]), kept.dtype)])
    kept[count : count + len(new)] = new
    return kept


# Module-level and compiled as a whole: a second environment of the same functions finds these programs.


@partial(jax.jit, static_argnums=0)
def _expand(outcomes: Callable, states: PyTree, actions: jax.Array, params: PyTree) -> Outcomes:
    return jax.vmap(lambda state: jax.vmap(lambda action: in_full(outcomes, state, action, params))(actions))(states)


@partial(jax.jit, static_argnums=0)
def _first(initial: Callable, params: PyTree) -> Initial:
    return in_full(initial, params)


@partial(jax.jit, static_argnums=0)
def _in_every(function: Callable, states: PyTree, params: PyTree) -> PyTree:
    return jax.vmap(partial(in_full, function), in_axes=(0, None))(states, params)


def _expander(env: Environment, params: PyTree, dtypes: PyTree, actions: np.ndarray) -> Callable:
    """Returns ``(states [n], size) -> Outcomes [n, A, K]`` on the host, checked, for n up to the size of a compiled block."""

    def on_host(states: PyTree, size: int) -> Outcomes:
        count, rows = jax.tree.leaves(states)[0].shape[0], np.arange(size)
        padded = jax.tree.map(lambda leaf: leaf[np.where(rows < count, rows, 0)], states)
        outcomes: Any = _expand(env.outcomes_fn, padded, actions, params)
        outcomes = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], outcomes)

        def at(row: int, action: int) -> str:
            state = jax.tree.map(lambda leaf: leaf[row].tolist(), states)
            return f"action {np.asarray(actions[action]).tolist()} in state {state}"

        fix = "Check outcomes(state, action, params)."
        probability, reward = sound_outcomes("tabulate", outcomes.probability, outcomes.reward, at, fix)
        return outcomes._replace(probability=probability, reward=reward, state=_cast(outcomes.state, dtypes))

    return on_host


def _cast(states: PyTree, dtypes: PyTree) -> PyTree:
    # float64 mode may widen integers; a state is known by its bytes, so its dtype is pinned to the sampled one.
    return jax.tree.map(lambda leaf, dtype: np.asarray(leaf).astype(dtype), states, dtypes)


class _Rows(NamedTuple):
    """The tables of n states, [n, A, K] each (reward [n, A, K, N] with agents)."""

    next_state: np.ndarray
    probability: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


def _walk(expand: Callable, number: _Numbering, frontier: np.ndarray, max_states: int, large: int) -> _Rows:
    """Expands states breadth-first until nothing new is reached; a state in which no episode goes on leads to itself."""
    blocks: list[tuple[np.ndarray, _Rows]] = []
    reached = np.zeros(len(number), bool)
    reached[frontier] = True
    while len(frontier):
        size = large if len(frontier) > 8 * _BLOCK else _BLOCK
        block, frontier = frontier[:size], frontier[size:]
        outcomes = expand(number.states(block), size)
        shape = outcomes.probability.shape
        possible = np.flatnonzero(outcomes.probability.reshape(-1) > 0)
        numbers = np.zeros(int(np.prod(shape)), np.int32)  # impossible outcomes point at state 0, with probability 0
        numbers[possible] = number(jax.tree.map(partial(_select, shape=shape, index=possible), outcomes.state))
        must = f"the environment must have at most max_states = {max_states} states"
        fix = f"Pass max_states={10 * max_states}, or bound the state."
        require(len(number) <= max_states, "tabulate", must, f"{len(number)} and more", fix, EnvError)
        if len(number) > len(reached):
            reached = np.concatenate([reached, np.zeros(len(number), bool)])
        going_on = np.unique(numbers[possible[~outcomes.terminated.reshape(-1)[possible]]])
        fresh = going_on[~reached[going_on]]
        reached[fresh] = True
        frontier = np.concatenate([frontier, fresh])
        blocks.append((block, _Rows(numbers.reshape(shape), *outcomes[:1], *outcomes[2:])))
    return _assembled(blocks, len(number))


def _assembled(blocks: list[tuple[np.ndarray, _Rows]], count: int) -> _Rows:
    """Returns the tables of all states from those of blocks, which are used up; states in none of them are absorbing."""
    like = blocks[0][1]
    needed = count * sum(table[0].nbytes for table in like)
    machine.require_room("tabulate", f"the tables of {count} states", needed, "Bound the state.")
    every = np.arange(count, dtype=np.int32)[:, None, None]
    tables = _Rows(
        np.broadcast_to(every, (count, *like.next_state.shape[1:])).copy(),
        np.zeros((count, *like.probability.shape[1:])),
        np.zeros((count, *like.reward.shape[1:])),
        np.ones((count, *like.terminated.shape[1:]), bool),
    )
    tables.probability[:, :, 0] = 1.0
    while blocks:
        states, rows = blocks.pop()
        for table, part in zip(tables, rows, strict=True):
            table[states] = part
    return tables


def _select(leaf: np.ndarray, shape: tuple[int, ...], index: np.ndarray) -> np.ndarray:
    return leaf.reshape(-1, *leaf.shape[len(shape) :])[index]


def _require_shapes(env: Environment, action: jax.ShapeDtypeStruct) -> Outcomes:
    """Returns all outcomes of one action by shape and dtype; raises EnvError where a shape is not as documented."""
    outcomes_fn: Any = env.outcomes_fn
    initial_fn: Any = env.initial_fn
    initial = jax.eval_shape(initial_fn, env.params)
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), initial.state)
    outcomes = jax.eval_shape(outcomes_fn, state, action, env.params)

    def require_shape(name: str, leaf: Any, shape: tuple[int, ...]) -> None:
        fix = "Give everything the axis of outcomes, and a reward one entry for each agent."
        require(leaf.shape == shape, "tabulate", f"{name} must have shape {list(shape)}", list(leaf.shape), fix, EnvError)

    for name, found in (("outcomes", outcomes), ("initial", initial)):
        require_shape(f"the probability of {name}", found.probability, found.probability.shape[:1] or (1,))
        for leaf, like in zip(jax.tree.leaves(found.state), jax.tree.leaves(state), strict=True):
            require_shape(f"every part of the state of {name}", leaf, (*found.probability.shape, *like.shape))
    agents = () if env.num_agents is None else (env.num_agents,)
    require_shape("the reward of outcomes", outcomes.reward, (*outcomes.probability.shape, *agents))
    require_shape("the termination of outcomes", outcomes.terminated, outcomes.probability.shape)
    return outcomes


def _require_in_space(space: Space, observation: PyTree, states: PyTree) -> None:
    """Raises EnvError where the observation of a state lies outside of the space: jax would read a table at its edge."""
    if bool(space.contains(observation)):
        return

    def at(tree: PyTree, row: int) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[row], tree)

    outside = (row for row in range(jax.tree.leaves(states)[0].shape[0]) if not bool(space.contains(at(observation, row))))
    first = next(outside)
    state, seen = (jax.tree.map(lambda leaf: leaf.tolist(), at(tree, first)) for tree in (states, observation))
    must = f"every state that can be reached must be observed within {space}"
    fix = "Mend the successors in outcomes, or widen the observation space."
    require(False, "tabulate", must, f"{seen} in state {state}", fix, EnvError)


def _joint_masks(env: Environment, states: PyTree, joint: np.ndarray) -> np.ndarray:
    """Returns which joint actions [J, N] are legal, bool[X, J]: those of which every part is."""
    count = jax.tree.leaves(states)[0].shape[0]
    if env.action_mask_fn is None:
        return np.ones((count, len(joint)), bool)
    legal = np.asarray(_in_every(env.action_mask_fn, states, env.params))
    legal = legal if env.num_agents is not None else legal[:, None, :]
    return np.all([legal[:, agent, joint[:, agent]] for agent in range(joint.shape[1])], axis=0)


def tabulate(env: Environment, max_states: int = 100_000) -> TabularModel:
    """Walks the reachable states of a finite environment breadth-first and returns its exact model.

    Runs on the host, once, in float64; the frontier is expanded in vmapped blocks.

    Args:
        env: an environment built by ``finite`` (or any that sets ``outcomes_fn`` and ``initial_fn``).
        max_states: how many states to accept before giving up. The tables of X states, A actions and K outcomes take about
            21 X A K bytes.

    Raises:
        ConfigError: the tables do not fit into the memory of this machine.
        EnvError: the environment is not finite, has more than ``max_states`` states, or states outcomes or an initial
            distribution of a wrong shape, with probabilities that are negative or do not sum to 1, with rewards that are not
            finite, or with states that are NaN or whose observation lies outside of the observation space.
    """
    where = "tabulate"
    must = "the environment must state its outcomes and initial distribution"
    if env.outcomes_fn is None or env.initial_fn is None:
        raise EnvError(f"{where}: {must}, got outcomes_fn=None. Build it with jaxrl.core.finite.finite.")
    if not isinstance(env.action_space, Discrete):
        raise EnvError(f"{where}: the action space must be Discrete, got {env.action_space}. Discretise it.")
    joint_shape = (env.action_space.n,) * (env.num_agents or 1)
    joint = np.asarray(list(itertools.product(*(range(n) for n in joint_shape))), dtype=np.int32)
    actions = joint[:, 0] if env.num_agents is None else joint
    shapes = _require_shapes(env, jax.ShapeDtypeStruct(actions.shape[1:], jnp.int32))
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, shapes.state)
    number = _Numbering(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes.state))
    bytes_of_state = len(actions) * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    large = max(_BLOCK, min(_LARGE_BLOCK, _BLOCK_BYTES // bytes_of_state))
    with jax.enable_x64(True):
        params = jax.tree.map(_widen, env.params)
        first = jax.tree.map(np.asarray, _first(env.initial_fn, params))
        name, fix = "the initial distribution", "Check initial(params)."
        chance = require_distribution(where, name, first.probability, fix, EnvError)
        possible = np.flatnonzero(chance)
        starts = number(_cast(jax.tree.map(lambda leaf: leaf[possible], first.state), dtypes))
        tables = _walk(_expander(env, params, dtypes, actions), number, np.unique(starts), max_states, large)
    states = number.states(slice(None))
    initial = np.bincount(starts, chance[possible] / chance.sum(), len(number))
    # Observations and masks are what the agent is given, so they are computed at the ordinary precision.
    observation = jax.tree.map(np.asarray, _in_every(env.observe_fn or observe_state, states, env.params))
    _require_in_space(env.observation_space, observation, states)
    return TabularModel(*tables, initial, _joint_masks(env, states, joint), observation, states, joint_shape)


def _widen(leaf):
    leaf = jnp.asarray(leaf)
    return jnp.asarray(np.asarray(leaf, np.float64)) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
