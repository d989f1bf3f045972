"""How actions are chosen from action values, and the probability of each choice.

``values`` is float32[..., A] with any batch axes; ``mask`` is bool[..., A], True = legal, at least one per row, or None where
every action is legal. An illegal action is never chosen, whatever its value. Each function takes one key for the whole batch,
and what it draws depends on that key alone, so that ``jaxrl.core.scan`` can draw it ahead.

Rates: ``linear`` moves epsilon or another number over a time that may be traced, which ``optax.linear_schedule`` does not allow;
``harmonic_schedule`` is for step sizes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxrl.errors import require


def _require_plain(value: object, holds: Callable, where: str, must: str, fix: str) -> None:
    """Checks a plain number; a traced one cannot be looked at."""
    if isinstance(value, float | int):
        require(holds(value), where, must, value, fix)


def _per_row(value: jax.Array | float, values: jax.Array) -> jax.Array:
    """Returns one number per row of action values, float32[..., 1]."""
    return jnp.broadcast_to(jnp.asarray(value, jnp.float32), values.shape[:-1])[..., None]


def _best(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Returns which actions are legal and no worse than any legal one, bool[..., A].

    Phrased as "not worse" so that rows of -inf or NaN still name legal actions.
    """
    peak = jnp.max(values, axis=-1, keepdims=True, where=mask, initial=-jnp.inf)
    best = ~(values < peak)
    return best if mask is None else best & mask


def _uniform(key: jax.Array, allowed: jax.Array) -> jax.Array:
    """Draws one of the allowed actions, each with the same probability. allowed: bool[..., A]; returns int32[...]."""
    noise = jax.random.uniform(key, allowed.shape, jnp.float32)
    return jnp.argmax(jnp.where(allowed, noise, -1.0), axis=-1).astype(jnp.int32)


def _uniform_probabilities(allowed: jax.Array) -> jax.Array:
    """Returns the probability with which ``_uniform`` chooses each action, float32[..., A]."""
    return allowed / allowed.sum(-1, keepdims=True, dtype=jnp.float32)


def greedy(values: jax.Array, mask: jax.Array | None = None, key: jax.Array | None = None) -> jax.Array:
    """Returns the best legal action.

    Args:
        values: float32[..., A].
        mask: bool[..., A] or None.
        key: None takes the first of several best actions, a key draws uniformly among them.

    Returns:
        int32[...].
    """
    if key is not None:
        return _uniform(key, _best(values, mask))
    if mask is None:
        return jnp.argmax(values, axis=-1).astype(jnp.int32)
    return jnp.argmax(_best(values, mask), axis=-1).astype(jnp.int32)


def greedy_probabilities(values: jax.Array, mask: jax.Array | None = None, random_ties: bool = False) -> jax.Array:
    """Returns the probability with which ``greedy`` chooses each action.

    Args:
        values: float32[..., A].
        mask: bool[..., A] or None.
        random_ties: whether a key decides between several best actions.

    Returns:
        float32[..., A], sums to 1.
    """
    if random_ties:
        return _uniform_probabilities(_best(values, mask))
    return jax.nn.one_hot(greedy(values, mask), values.shape[-1], dtype=jnp.float32)


def _require_epsilon(epsilon: jax.Array | float) -> None:
    must, fix = "epsilon must lie in [0, 1]", "It is the probability of a uniform action."
    _require_plain(epsilon, lambda value: 0 <= value <= 1, "epsilon_greedy", must, fix)


def epsilon_greedy(
    key: jax.Array,
    values: jax.Array,
    epsilon: jax.Array | float,
    mask: jax.Array | None = None,
    random_ties: bool = False,
) -> jax.Array:
    """Draws a uniform legal action with probability ``epsilon``, and takes the best one otherwise.

    Args:
        key: one key.
        values: float32[..., A].
        epsilon: float32[...] or float, probability in [0, 1] of a uniform action (which may be the best one).
        mask: bool[..., A] or None.
        random_ties: whether to draw among several best actions rather than take the first.

    Returns:
        int32[...].

    Source: Sutton & Barto (2018), section 2.2.
    """
    _require_epsilon(epsilon)
    # One draw decides whether to explore, the others order the actions: the first among those allowed is taken.
    draws = jax.random.uniform(key, (*values.shape[:-1], values.shape[-1] + 1), jnp.float32)
    explores = (draws[..., 0] < epsilon)[..., None]
    best = _best(values, mask) if random_ties else jax.nn.one_hot(greedy(values, mask), values.shape[-1], dtype=bool)
    allowed = jnp.where(explores, True if mask is None else mask, best)
    return jnp.argmax(jnp.where(allowed, draws[..., 1:], -1.0), axis=-1).astype(jnp.int32)


def epsilon_greedy_probabilities(
    values: jax.Array, epsilon: jax.Array | float, mask: jax.Array | None = None, random_ties: bool = False
) -> jax.Array:
    """Returns the probability with which ``epsilon_greedy`` chooses each action, float32[..., A].

    Args:
        values, epsilon, mask, random_ties: as for ``epsilon_greedy``.
    """
    _require_epsilon(epsilon)
    share = _per_row(epsilon, values)
    uniform = _uniform_probabilities(jnp.broadcast_to(True if mask is None else mask, values.shape))
    return share * uniform + (1.0 - share) * greedy_probabilities(values, mask, random_ties)


def _boltzmann_logits(values: jax.Array, temperature: jax.Array | float, mask: jax.Array | None) -> jax.Array:
    must, fix = "temperature must be positive", "A small one is nearly greedy; greedy() is exactly so."
    _require_plain(temperature, lambda value: value > 0, "boltzmann", must, fix)
    peak = jnp.max(values, axis=-1, keepdims=True, where=mask, initial=-jnp.inf)
    values = values if mask is None else jnp.where(mask, values, jax.lax.stop_gradient(peak))
    # Subtracted before the division, so that a small temperature cannot overflow; a row of -inf has no best action.
    gap = jnp.where(jnp.isneginf(peak), 0.0, values - jax.lax.stop_gradient(peak))
    logits = gap / _per_row(temperature, values)
    return logits if mask is None else jnp.where(mask, logits, -jnp.inf)


def boltzmann(key: jax.Array, values: jax.Array, temperature: jax.Array | float, mask: jax.Array | None = None) -> jax.Array:
    """Draws each legal action with probability proportional to ``exp(value / temperature)``.

    Args:
        key: one key.
        values: float32[..., A].
        temperature: float32[...] or float, positive, in units of the values; large is uniform, small is greedy.
        mask: bool[..., A] or None.

    Returns:
        int32[...].

    Source: Sutton & Barto (2018), eq. 13.2 with preferences value / temperature.
    """
    return jax.random.categorical(key, _boltzmann_logits(values, temperature, mask)).astype(jnp.int32)


def boltzmann_probabilities(values: jax.Array, temperature: jax.Array | float, mask: jax.Array | None = None) -> jax.Array:
    """Returns the probability with which ``boltzmann`` chooses each action, float32[..., A].

    Args:
        values, temperature, mask: as for ``boltzmann``.
    """
    return jax.nn.softmax(_boltzmann_logits(values, temperature, mask))


def upper_confidence_bound(
    values: jax.Array, counts: jax.Array, step: jax.Array | int, coefficient: jax.Array | float
) -> jax.Array:
    """Returns each action's value plus its uncertainty; infinite for an action that was never chosen.

    Args:
        values: float32[..., A], the mean reward of each action so far.
        counts: int32[..., A] or float32[..., A], how often each was chosen.
        step: int32[...] or int, the number of this choice in this row, at least 1.
        coefficient: float32[] or float, weight of the uncertainty, non-negative, in units of the values. UCB1 is sqrt(2) on
            rewards in [0, 1].

    Returns:
        float32[..., A].

    Source: Sutton & Barto (2018), eq. 2.10; Auer et al. (2002), figure 1.
    """
    _require_plain(step, lambda value: value >= 1, "ucb", "step must be at least 1", "Count the choice that is being made.")
    bonus = coefficient * jnp.sqrt(jnp.log(_per_row(step, values)) / jnp.maximum(counts, 1))
    return jnp.where(counts > 0, values + bonus, jnp.inf)


def ucb(
    values: jax.Array,
    counts: jax.Array,
    step: jax.Array | int,
    coefficient: jax.Array | float,
    mask: jax.Array | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """Returns the legal action with the largest upper confidence bound; actions never chosen come first.

    Args:
        values, counts, step, coefficient: as for ``upper_confidence_bound``.
        mask: bool[..., A] or None.
        key: None takes the first of several best actions, a key draws uniformly among them.

    Returns:
        int32[...].
    """
    return greedy(upper_confidence_bound(values, counts, step, coefficient), mask, key)


def ucb_probabilities(
    values: jax.Array,
    counts: jax.Array,
    step: jax.Array | int,
    coefficient: jax.Array | float,
    mask: jax.Array | None = None,
    random_ties: bool = False,
) -> jax.Array:
    """Returns the probability with which ``ucb`` chooses each action, float32[..., A].

    Args:
        values, counts, step, coefficient, mask: as for ``ucb``.
        random_ties: whether a key decides between several best actions.
    """
    return greedy_probabilities(upper_confidence_bound(values, counts, step, coefficient), mask, random_ties)


def linear(start: jax.Array | float, end: jax.Array | float, length: jax.Array | float, count: jax.Array) -> jax.Array:
    """Returns a number that goes evenly from ``start`` at count 0 to ``end`` at ``length``, and stays there, float32[...].

    start, end, length: may be traced; an infinite length stays at the start. count: int32[...], at least 0.
    """
    return start + jnp.minimum(jnp.float32(count) / length, 1.0) * (end - start)


def harmonic_schedule(
    initial: jax.Array | float, half_life: jax.Array | float, minimum: jax.Array | float = 0.0
) -> Callable[[jax.Array], jax.Array]:
    """Returns the step size ``max(initial / (1 + count / half_life), minimum)`` as a function of the count.

    With a minimum of 0 the sum of the step sizes diverges and that of their squares converges, as convergence proofs ask.

    Args:
        initial: the step size at count 0, positive.
        half_life: the count at which half of it is left, positive.
        minimum: the step size never falls below this, in [0, initial].

    Returns:
        ``(count) -> step size``, any shape.

    Raises:
        ConfigError: a plain number is out of range (traced values are not looked at).

    Source: Robbins and Monro (1951), the conditions on the step sizes.
    """
    for name, value in (("initial", initial), ("half_life", half_life)):
        _require_plain(value, lambda v: v > 0, "harmonic_schedule", f"{name} must be positive", "Give a positive number.")
    _require_plain(minimum, lambda v: v >= 0, "harmonic_schedule", "minimum must not be negative", "0 sets no limit.")
    if isinstance(initial, float | int):
        must = f"minimum must not exceed initial ({initial:g})"
        _require_plain(minimum, lambda v: v <= initial, "harmonic_schedule", must, "0 sets no limit.")

    def schedule(count: jax.Array) -> jax.Array:
        return jnp.maximum(initial / (1.0 + count / half_life), minimum)

    return schedule
