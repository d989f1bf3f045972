"""Sink equilibria: the sets of profiles that improving players never leave, and how likely each is to be reached.

The better-response graph of a game has an edge from a profile of actions to every other one that one player reaches alone and
gains by; in the best-response graph the player must gain the most that it can. A sink is a strongly connected component that no
edge leaves: a strict pure equilibrium, or a cycle of profiles. A walk that chooses uniformly among the edges of its profile ends
in one of them; from a prior, it does so with the hitting probabilities.

A profile has a number, its place in the flattened table. Everything compiles, and vmaps over games of one shape. A game with P
profiles takes matrices of P x P.

Source: Goemans, Mirrokni and Vetta (2005), "Sink equilibria and convergence"; Hakim et al. (2024), "Swim till you sink:
computing the limit of a game", on hitting probabilities. Here all edges of a profile are equally likely.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.errors import is_traced, require, require_count, require_distribution, require_finite
from jaxrl.solvers.markov_chain import Chain, discounted_sums, stationary_logits
from jaxrl.solvers.normal_form import unilateral_deviations


class Graph(NamedTuple):
    """The moves of a walk through the P profiles of a game.

    successor: int32[P, M], where each of M deviations leads, see ``unilateral_deviations``.
    probability: float[P, M], with which the walk takes it; the row of a profile without an edge is 0, and the walk stays.
    """

    successor: jax.Array
    probability: jax.Array


class Sinks(NamedTuple):
    """The sinks of a game, and the walk into them. Shape [A_0, ..., A_{N-1}] where no other is given.

    component: int32[...], the number of the first profile in the strongly connected component of each profile.
    in_sink: bool[...], whether that component is a sink.
    hitting: float[...], the probability of ending in a sink, at the place of its first profile; 0 elsewhere.
    limit: float[...], how often the walk is at each profile in the long run.
    from_each: float[P, P], the probability of ending in a sink, by the profile of the start and the first one of the sink.
    residual: float[], by how much ``from_each`` and ``limit`` miss the equations that define them.
    error_bound: float[], how far a hitting probability can be from the truth; infinite where the walk took too long to follow.
    """

    component: jax.Array
    in_sink: jax.Array
    hitting: jax.Array
    limit: jax.Array
    from_each: jax.Array
    residual: jax.Array
    error_bound: jax.Array


def response_graph(payoff: Any, best: bool = False) -> Graph:
    """Returns the better-response graph of a game.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        best: whether only best responses are edges.

    Raises:
        ConfigError: the payoffs are no game or not finite.
    """
    successor, gains = unilateral_deviations(payoff)
    xp: Any = jnp if is_traced(payoff) else np
    edges = gains > 0
    if best:
        own = xp.split(gains, np.cumsum(np.shape(payoff)[1:])[:-1], axis=1)
        edges &= xp.concatenate([part == part.max(1, keepdims=True) for part in own], 1)
    number = edges.sum(1, keepdims=True)
    dtype = jnp.result_type(payoff, jnp.float32) if is_traced(payoff) else jnp.result_type(float)
    return Graph(jnp.asarray(successor), jnp.asarray(edges / (number + (number == 0)), dtype))


def sink_equilibria(payoff: Any, *, best: bool = False, prior: Any = None) -> Sinks:
    """Finds the sinks of a game, and how likely a walk of improving players is to end in each.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        best: whether players only move to best responses.
        prior: float[A_0, ..., A_{N-1}], the distribution of the first profile; uniform by default.

    Raises:
        ConfigError: the payoffs are no game or not finite, or the prior is no distribution over its profiles.
    """
    graph = response_graph(payoff, best)
    shape = np.shape(payoff)[1:]
    return _sinks(graph, _prior("sink_equilibria", shape, prior, graph.probability.dtype))


def _prior(where: str, shape: tuple[int, ...], prior: Any, dtype: Any) -> jax.Array:
    if prior is None:
        return jnp.full(shape, 1 / np.prod(shape), dtype)
    fix = "joint_distribution makes one of a profile."
    table = prior if is_traced(prior) else require_finite(where, "prior", prior, fix)
    require(table.shape == shape, where, f"prior must have shape {list(shape)}", table.shape, fix)
    if not is_traced(prior):
        require_distribution(where, "prior", table.reshape(-1), fix)
    return jnp.asarray(table, dtype)


@jax.jit
def _sinks(graph: Graph, prior: jax.Array) -> Sinks:
    profiles, dtype = graph.probability.shape[0], graph.probability.dtype
    places = jnp.arange(profiles, dtype=jnp.int32)
    step = Chain(graph.successor, graph.probability, jnp.ones((), dtype)).matrix()
    reaches = (step > 0) | jnp.eye(profiles, dtype=bool)
    for _ in range(int(np.ceil(np.log2(max(profiles, 2))))):
        paths = reaches.astype(jnp.float32)
        reaches = jnp.matmul(paths, paths, precision="highest") > 0
    mutual = reaches & reaches.T
    component = jnp.where(mutual, places[None, :], profiles).min(1).astype(jnp.int32)
    in_sink = (mutual | ~reaches).all(1)
    # A walk is followed until its first profile in a sink. There it is paid 1 in the column of that sink.
    leads = component[:, None] == places[None, :]
    moving = Chain(graph.successor, jnp.where(in_sink[:, None], 0, graph.probability), jnp.ones((), dtype))
    paid = (leads & in_sink[:, None]).astype(dtype)
    sums = discounted_sums(moving, paid)
    missed, error_bound = sums.check(moving, paid, jnp.ones((), dtype))
    start = prior.reshape(-1)
    hitting = jnp.matmul(start, sums.value, precision="highest")
    # Within a sink, profiles share its probability as the walk visits them.
    within = in_sink[:, None] & in_sink[None, :]
    logits, _ = stationary_logits(jnp.log(jnp.where(within, step, 0)))
    most = jnp.where(mutual, logits[None, :], -jnp.inf).max(1)
    weight = jnp.where(in_sink, jnp.exp(logits - most), 0)
    limit = weight * (hitting / jnp.where(in_sink, leads.T @ weight, 1))[component]
    stays = 1 - step.sum(1)
    drift = jnp.abs(jnp.matmul(limit, step, precision="highest") + limit * stays - limit).max()
    residual = jnp.maximum(missed, jnp.maximum(drift, jnp.abs(limit.sum() - start.sum())))
    component, in_sink, hitting, limit = (part.reshape(prior.shape) for part in (component, in_sink, hitting, limit))
    return Sinks(component, in_sink, hitting, limit, sums.value, residual, error_bound)


def walks(key: jax.Array, graph: Graph, num_walks: int, num_steps: int) -> jax.Array:
    """Walks through the graph of a game from first profiles drawn uniformly.

    Args:
        key: of the draws.
        graph: see ``response_graph``.
        num_walks: W (count).
        num_steps: of each (count).

    Returns:
        The numbers of the profiles in which the walks are at the end, int32[W].

    Raises:
        ConfigError: a count is below 1.
    """
    for name, count in (("num_walks", num_walks), ("num_steps", num_steps)):
        require_count("walks", name, count)
    cumulated = jnp.cumsum(graph.probability, 1)
    profiles = graph.successor.shape[0]

    def step(profile, key):
        rows = cumulated[profile]
        # The last sum may fall short of 1 by rounding; none is above a profile without an edge.
        drawn = jax.random.uniform(key, (num_walks, 1), rows.dtype) * rows[:, -1:]
        move = (rows > drawn).argmax(1)
        moved = jnp.take_along_axis(graph.successor[profile], move[:, None], 1)[:, 0]
        return jnp.where(rows[:, -1] > 0, moved, profile), None

    first, rest = jax.random.split(key)
    start = jax.random.randint(first, (num_walks,), 0, profiles, jnp.int32)
    return jax.lax.scan(step, start, jax.random.split(rest, num_steps))[0]
