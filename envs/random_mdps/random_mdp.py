"""Random decision processes: X states, A actions, and transition probabilities and rewards drawn from a key.

Four kinds of transitions. ``dense``: every row is a Dirichlet draw over all states. ``garnet``: every state and action has b
successors, drawn without replacement, whose probabilities are the gaps between b - 1 uniform cuts of [0, 1]. ``reversible``: a
random walk on a complete graph with random weights, which fulfils detailed balance. ``symmetric``: both ways between two states
are equally likely, so that the uniform distribution is stationary.

Rewards are uniform on [0, 1] for every state and action. Nothing ends an episode but the time limit, and it begins anywhere. The
draws are pure, so they can be vmapped over keys, and so can ``table``, the exact model of what was drawn.

Source: Archibald, McKinnon and Thomas (1995) and Bhatnagar et al. (2009) (Garnet); Levin, Peres and Wilmer (2009),
section 9.1 (reversible chains as weighted graphs).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, TabularModel, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, unknown_name


@struct.dataclass
class Params:
    """X states, A actions, B successors.

    next_state: int32[X, A, B], all different along B.
    probability: float32[X, A, B], sums to 1 over B.
    reward: float32[X, A].
    """

    next_state: jax.Array
    probability: jax.Array
    reward: jax.Array


def _of_matrix(key: jax.Array, transition: jax.Array) -> Params:
    """Returns a process with these transitions, float32[X, A, X], and uniform rewards."""
    successors = jnp.broadcast_to(jnp.arange(transition.shape[-1], dtype=jnp.int32), transition.shape)
    return Params(successors, transition, jax.random.uniform(key, transition.shape[:2], jnp.float32))


def dense(key: jax.Array, num_states: int, num_actions: int, concentration: jax.Array | float = 1.0) -> Params:
    """Draws a process in which every state can follow on every other.

    Args:
        key: one key.
        num_states, num_actions: X and A; static.
        concentration: of the Dirichlet distribution, positive; 1 is uniform over distributions, less puts the mass on few states.
    """
    row_key, reward_key = jax.random.split(key)
    evenly = jnp.broadcast_to(jnp.asarray(concentration, jnp.float32), (num_states,))
    return _of_matrix(reward_key, jax.random.dirichlet(row_key, evenly, (num_states, num_actions), jnp.float32))


def around(key: jax.Array, centre: Params, concentration: jax.Array | float) -> Params:
    """Draws a process like another: every row is a Dirichlet draw with the mean of the row of ``centre``; rewards are the same.

    Args:
        key: one key.
        centre: the process in the middle.
        concentration: positive; the larger it is, the more alike are both.
    """
    alpha = jnp.maximum(concentration * centre.probability, 1e-6)  # a Dirichlet distribution has no zeros
    return Params(centre.next_state, jax.random.dirichlet(key, alpha, dtype=jnp.float32), centre.reward)


def along_a_ring(params: Params, share: jax.Array | float = 0.9) -> Params:
    """Returns a process that mostly goes round, from x to x + 1 and from the last state to the first: far from reversible.

    Args:
        params: a process of any kind but garnet, which it is else.
        share: in [0, 1], the probability of going on along the ring.
    """
    ring = jnp.roll(jnp.eye(params.reward.shape[0], dtype=jnp.float32), 1, axis=1)[:, None]
    return Params(params.next_state, share * ring + (1 - share) * params.probability, params.reward)


def garnet(key: jax.Array, num_states: int, num_actions: int, num_successors: int = 3) -> Params:
    """Draws a sparse process.

    Args:
        key: one key.
        num_states, num_actions: X and A; static.
        num_successors: b, of every state and action, 1 .. X; static.
    """
    state_key, cut_key, reward_key = jax.random.split(key, 3)
    shape = (num_states, num_actions)
    # The places of the largest of random numbers are a draw without replacement.
    successors = jax.lax.top_k(jax.random.uniform(state_key, (*shape, num_states), jnp.float32), num_successors)[1]
    cuts = jnp.sort(jax.random.uniform(cut_key, (*shape, num_successors - 1), jnp.float32), axis=-1)
    ends = jnp.zeros((*shape, 1), jnp.float32)
    probability = jnp.diff(cuts, prepend=ends, append=ends + 1)
    return Params(successors.astype(jnp.int32), probability, jax.random.uniform(reward_key, shape, jnp.float32))


def _weights(key: jax.Array, num_states: int, num_actions: int) -> jax.Array:
    """Draws the weights of the edges of a complete graph for every action, symmetric float32[A, X, X], mean 1, positive."""
    weight = jax.random.exponential(key, (num_actions, num_states, num_states), jnp.float32)
    upper = jnp.triu(weight)
    return upper + jnp.swapaxes(jnp.triu(weight, 1), 1, 2)


def reversible(key: jax.Array, num_states: int, num_actions: int) -> Params:
    """Draws a process in which every action alone makes a reversible chain; its stationary law is that of the sums of weights."""
    weight_key, reward_key = jax.random.split(key)
    weight = _weights(weight_key, num_states, num_actions)
    return _of_matrix(reward_key, jnp.swapaxes(weight / weight.sum(-1, keepdims=True), 0, 1))


def symmetric(key: jax.Array, num_states: int, num_actions: int) -> Params:
    """Draws a process in which every action alone makes a symmetric chain, with the uniform stationary law.

    The weights of a reversible process are divided by the largest of their sums; a state with less to give stays the more often.
    """
    weight_key, reward_key = jax.random.split(key)
    weight = _weights(weight_key, num_states, num_actions)
    total = weight.sum(-1)
    most = total.max(-1, keepdims=True)
    transition = (weight + jax.vmap(jnp.diag)(most - total)) / most[..., None]
    return _of_matrix(reward_key, jnp.swapaxes(transition, 0, 1))


KINDS: dict[str, Callable[..., Params]] = {"dense": dense, "garnet": garnet, "reversible": reversible, "symmetric": symmetric}


def outcomes(state, action, params):
    """One outcome for each successor."""
    probability = params.probability[state, action]
    reward = jnp.broadcast_to(params.reward[state, action], probability.shape)
    return Outcomes(probability, params.next_state[state, action], reward, jnp.zeros(probability.shape, bool))


def initial(params):
    """Every state is equally likely."""
    count = params.reward.shape[0]
    return Initial(jnp.full(count, 1 / count, jnp.float32), jnp.arange(count, dtype=jnp.int32))


def table(params: Params) -> TabularModel:
    """Returns the exact model, as ``jaxrl.core.finite.tabulate`` does, but pure: it compiles, and vmaps over drawn processes."""
    num_states, num_actions, _ = params.probability.shape
    states = jnp.arange(num_states, dtype=jnp.int32)
    return TabularModel(
        next_state=params.next_state,
        probability=params.probability / params.probability.sum(-1, keepdims=True),
        reward=jnp.broadcast_to(params.reward[..., None], params.probability.shape),
        terminated=jnp.zeros(params.probability.shape, bool),
        initial=jnp.full(num_states, 1 / num_states),
        action_mask=jnp.ones((num_states, num_actions), bool),
        observation=states,
        state=states,
        joint_shape=(num_actions,),
    )


def exact_table(params: Params) -> TabularModel:
    """Returns the model of what was drawn on the host, in NumPy float64 with rows that sum to 1: for exact solvers."""
    model: TabularModel = jax.tree.map(np.asarray, table(params))
    chance, reward, initial = (np.asarray(leaf, np.float64) for leaf in (model.probability, model.reward, model.initial))
    chance, initial = chance / chance.sum(-1, keepdims=True), initial / initial.sum()
    return dataclasses.replace(model, probability=chance, reward=reward, initial=initial)


def of(params: Params, max_steps: int = 100) -> Environment:
    """Builds the environment of a process. Actions: 0 .. A - 1. Observation: the state's number."""
    num_states, num_actions = params.reward.shape[-2:]
    return finite(params, outcomes, initial, Discrete(num_states), Discrete(num_actions), max_steps)


def make(
    kind: str = "dense",
    num_states: int = 10,
    num_actions: int = 3,
    num_successors: int | None = None,
    seed: int = 0,
    max_steps: int = 100,
) -> Environment:
    """Builds a random decision process drawn from a seed.

    Args:
        kind: a name in ``KINDS``.
        num_states, num_actions: X and A.
        num_successors: b, of "garnet" alone, 1 .. X; by default 3, or X where that is less.
        seed: numbers the draw.
        max_steps: the time limit.

    Raises:
        ConfigError: a number is out of range.
        UnknownNameError: no kind has this name.
    """
    where = "random_mdp"
    if kind not in KINDS:
        raise unknown_name(where, "kind", kind, KINDS)
    for name, count in (("num_states", num_states), ("num_actions", num_actions), ("max_steps", max_steps)):
        require(count >= 1, where, f"{name} must be at least 1", count, f"Set {name} to 1 or more.")
    key = jax.random.key(seed)
    if kind != "garnet":
        require(num_successors is None, where, f"{kind} takes no num_successors", num_successors, "Leave it out, or take garnet.")
        return of(KINDS[kind](key, num_states, num_actions), max_steps)
    successors = min(3, num_states) if num_successors is None else num_successors
    inside = 1 <= successors <= num_states
    require(inside, where, f"num_successors must lie in 1 .. {num_states}", successors, "They are different states.")
    return of(garnet(key, num_states, num_actions, successors), max_steps)
