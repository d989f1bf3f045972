"""Graph drawing: the slow eigenvectors of a graph's Laplacian, learned from sampled transitions by stochastic gradients.

    minimise  sum_k c_k E[(f_k(s) - f_k(s'))^2] + b sum_jk min(c_j, c_k) (E[f_j(s) f_k(s)] - [j = k])^2

over features f_1 .. f_F, with c = F, F - 1, .. 1, and the transitions (s, s') of a random walk. Neighbours shall have like
features, and the features shall be orthonormal; the weights c single out the eigenvectors themselves, in their order, of all
bases of the space that they span. Where the walk is in all states equally often, these are the eigenvectors of its Laplacian
times the root of the number of states; f_1 is constant.

The square of an expectation is the product of the means of two independent minibatches. The features are a table. Pure: jit it,
vmap it over keys.

Source: Wang et al. (2021), "Towards Better Laplacian Representation in Reinforcement Learning with Generalized Graph Drawing",
equations 5 and 6; Wu, Tucker and Nachum (2019), "The Laplacian in RL", for the penalty and its estimate; without the weights:
Koren (2005), "Drawing Graphs by Eigenvectors".
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_count, require_real, require_within


def graph_drawing(
    key: jax.Array,
    transitions: Any,
    num_states: int,
    num_features: int,
    num_steps: int,
    batch_size: int = 256,
    learning_rate: Any = 0.05,
    penalty: Any = 0.25,
) -> jax.Array:
    """Learns features of the states from transitions.

    Args:
        key: one key.
        transitions: int[N, 2], the numbers of a state and of its successor.
        num_states: X. num_features: F, at most X. num_steps: gradients, over which the step size falls linearly to 0.
        batch_size: transitions of one minibatch, of which a step takes two (count).
        learning_rate: of the first step, positive: the share of its gradient by which a state moves that is visited as often as
            others. Traced.
        penalty: b, positive. Traced.

    Returns:
        float32[X, F].

    Raises:
        ConfigError: a number is out of range, or the transitions have another shape or name no state. Traced values are not
            checked.
    """
    where = "graph_drawing"
    for name, count in (("num_states", num_states), ("num_features", num_features), ("num_steps", num_steps)):
        require_count(where, name, count)
    require_count(where, "batch_size", batch_size)
    require(
        num_features <= num_states, where, f"num_features must be at most {num_states}", num_features, "2 or more are common."
    )
    require_within(where, "learning_rate", learning_rate, 0, np.inf, "0.05 is common.", above=True, below=True)
    require_within(where, "penalty", penalty, 0, np.inf, "0.25 is common.", above=True, below=True)
    fix = "Give pairs of states, by their numbers."
    pairs = transitions if is_traced(transitions) else require_real(where, "transitions", transitions, fix)
    shaped = pairs.ndim == 2 and pairs.shape[0] >= 1 and pairs.shape[1] == 2
    require(shaped, where, "transitions must have shape [N, 2]", pairs.shape, fix)
    if not is_traced(transitions):
        whole = np.issubdtype(pairs.dtype, np.integer) and pairs.min() >= 0 and pairs.max() < num_states
        found = f"{pairs.dtype} from {pairs.min()} to {pairs.max()}"
        require(bool(whole), where, f"transitions must hold whole numbers in [0, {num_states})", found, fix)
    pairs = jnp.asarray(pairs, jnp.int32)
    weight = jnp.arange(num_features, 0, -1, dtype=jnp.float32)

    def loss(features, two):
        here, there = features[two[..., 0]], features[two[..., 1]]  # [2, B, F]
        apart = jnp.square(here - there).mean((0, 1))
        missing = jnp.einsum("nbj,nbk->njk", here, here, precision="highest") / batch_size - jnp.eye(num_features)
        both = jnp.minimum(weight[:, None], weight) * missing[0] * missing[1]
        return (weight * apart).sum() + penalty * both.sum()

    def step(features, place):
        number, key = place
        two = pairs[jax.random.randint(key, (2, batch_size), 0, len(pairs))]
        # A state has 1 / X of the gradient: with X, step sizes do not depend on how many states there are.
        size = learning_rate * num_states * (1 - number / num_steps)
        return features - size * jax.grad(loss)(features, two), None

    start_key, step_key = jax.random.split(key)
    start = 0.1 * jax.random.normal(start_key, (num_states, num_features), jnp.float32)
    places = jnp.arange(num_steps, dtype=jnp.float32), jax.random.split(step_key, num_steps)
    return jax.lax.scan(step, start, places)[0]
