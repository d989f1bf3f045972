"""Token MDP: an agent writes a string of H tokens from a vocabulary of V, and the whole string is scored.

A stand-in for a language model that is small enough to list all of its ``V ** H`` strings. States are prefixes, the nodes of a
tree numbered level by level: the empty prefix is 0, and appending token v to node n leads to node ``V n + 1 + v``. A policy is a
table of token probabilities for each prefix, or anything that reads the prefix's number. ``string_log_probabilities`` gives
exactly how likely it writes every string, so divergences, partition functions and best-of-n are sums.

Source: Rafailov et al. (2024), From r to Q*: your language model is secretly a Q-function.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl.core.environment import Environment
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.spaces import Discrete
from jaxrl.errors import require, unknown_name


@struct.dataclass
class Params:
    score: jax.Array  # float32[V, ..., V], H axes: of every string


def first_node(vocabulary: int, length: int) -> int:
    """Returns the number of the first node at this depth, which is how many prefixes are shorter."""
    return sum(vocabulary**depth for depth in range(length))


def strings(vocabulary: int, length: int) -> np.ndarray:
    """Returns all strings in lexicographic order, int32[V ** H, H]."""
    return np.indices((vocabulary,) * length, np.int32).reshape(length, -1).T


def string_log_probabilities(token_log_probability: jax.Array, length: int) -> jax.Array:
    """Returns how likely a policy writes each string, in nats, float[V ** H]. Pure and differentiable.

    Args:
        token_log_probability: float[P, V], of each token after each of the P prefixes shorter than ``length``.
        length: H; static.
    """
    vocabulary = token_log_probability.shape[1]
    total = jnp.zeros(1, token_log_probability.dtype)
    for depth in range(length):
        first = first_node(vocabulary, depth)
        total = (total[:, None] + token_log_probability[first : first + vocabulary**depth]).reshape(-1)
    return total


def independent(key: jax.Array, vocabulary: int, length: int) -> jax.Array:
    """Draws a standard normal score for every string, float32[V ** H]."""
    return jax.random.normal(key, (vocabulary**length,), jnp.float32)


def bigram(key: jax.Array, vocabulary: int, length: int) -> jax.Array:
    """Draws standard normal scores of tokens and of pairs; a string scores the sum of its own, over the root of their number."""
    token_key, pair_key = jax.random.split(key)
    token = jax.random.normal(token_key, (vocabulary,), jnp.float32)
    pair = jax.random.normal(pair_key, (vocabulary, vocabulary), jnp.float32)
    text = strings(vocabulary, length)
    total = token[text].sum(-1) + pair[text[:, :-1], text[:, 1:]].sum(-1)
    return total / (2 * length - 1) ** 0.5


KINDS: dict[str, Callable[[jax.Array, int, int], jax.Array]] = {"independent": independent, "bigram": bigram}


def outcomes(state, action, params):
    """One outcome: the token is appended, and the last one is paid what the string is worth. The state is the node."""
    vocabulary, length = params.score.shape[0], params.score.ndim
    complete = first_node(vocabulary, length)
    over = state >= complete
    node = jnp.where(over, state, vocabulary * state + 1 + action).astype(jnp.int32)
    worth = params.score.reshape(-1)[jnp.maximum(node - complete, 0)]
    reward = jnp.where((node >= complete) & ~over, worth, 0.0)
    return Outcomes(jnp.ones(1, jnp.float32), node[None], reward[None], (node >= complete)[None])


def initial(params):
    """The empty prefix."""
    return Initial(jnp.ones(1, jnp.float32), jnp.zeros(1, jnp.int32))


def of(score: jax.Array) -> Environment:
    """Builds the environment of these scores, float[V, ..., V] with H axes. Actions: tokens. Observation: the prefix's node."""
    vocabulary, length = score.shape[0], score.ndim
    nodes = Discrete(first_node(vocabulary, length + 1))
    return finite(Params(jnp.asarray(score, jnp.float32)), outcomes, initial, nodes, Discrete(vocabulary), max_steps=length)


def make(kind: str = "independent", vocabulary: int = 4, length: int = 5, seed: int = 0) -> Environment:
    """Builds a token MDP with random scores.

    Args:
        kind: a name in ``KINDS``.
        vocabulary: V, how many tokens there are.
        length: H, of a string; ``V ** H`` may be ten million at most.
        seed: numbers the draw.

    Raises:
        ConfigError: a number is out of range.
        UnknownNameError: no kind has this name.
    """
    if kind not in KINDS:
        raise unknown_name("token_mdp", "kind", kind, KINDS)
    for name, count in (("vocabulary", vocabulary), ("length", length)):
        require(count >= 1, "token_mdp", f"{name} must be at least 1", count, "4 tokens and length 5 are the defaults.")
    few = vocabulary**length <= 10_000_000
    require(few, "token_mdp", "there must be at most 10,000,000 strings", vocabulary**length, "Shorten them.")
    return of(KINDS[kind](jax.random.key(seed), vocabulary, length).reshape((vocabulary,) * length))
