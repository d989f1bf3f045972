"""Policies that are optimal for a reward under a penalty on their distance from a reference, in closed form; and best-of-n.

    argmax_pi  E_pi[r] - beta KL(pi || ref)  =  ref exp(r / beta) / Z

Everything is over K responses to one context; ``jax.vmap`` over contexts. Sums over few numbers, no sampling.

A ConfigError says which argument is not a number, does not fit the others, or is out of range; of traced values the shapes and
types alone are checked.

Source: Ziebart (2010); Rafailov et al. (2023), equation 4; best-of-n: Gao et al. (2022), Beirami et al. (2024).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.blocks.distributions import kl_divergence as kl_divergence
from jaxrl.errors import is_traced, require, require_arrays, require_distribution, require_finite, require_within


def kl_optimal(log_reference: jax.Array, reward: jax.Array, beta: jax.Array | float) -> jax.Array:
    """Returns the log-probabilities of the policy that maximises reward less ``beta`` times its divergence from the reference.

    Args:
        log_reference: float[K]; minus infinity where a response is impossible, which it stays.
        reward: float[K].
        beta: positive, in units of the reward.

    Returns:
        float[K].
    """
    log_reference, reward = _require_problem("kl_optimal", log_reference, reward, "beta", beta)
    return jax.nn.log_softmax(log_reference + _behind(log_reference, reward, beta)[0])


def optimal_value(log_reference: jax.Array, reward: jax.Array, beta: jax.Array | float) -> jax.Array:
    """Returns the value of that maximum, ``beta log Z``, float[]."""
    log_reference, reward = _require_problem("optimal_value", log_reference, reward, "beta", beta)
    exponent, best = _behind(log_reference, reward, beta)
    log_reference = jax.nn.log_softmax(log_reference)
    less = jnp.sum(jnp.exp(log_reference) * jnp.expm1(exponent))
    # For a large beta the sum is close to 1, and its logarithm must not be rounded before it is multiplied.
    near = less > -0.5
    far = jax.nn.logsumexp(log_reference + exponent)
    return beta * jnp.where(near, jnp.log1p(jnp.where(near, less, 0.0)), far) + best


def _responses(where: str, **values: Any) -> tuple[jax.Array, ...]:
    """Returns numbers of responses as arrays; raises ConfigError unless all are float[K], K at least 1."""
    found = require_arrays(where, **values)
    shapes = {name: array.shape for name, array in found.items()}
    first, *_ = shapes.values()
    alike = len(set(shapes.values())) == 1 and len(first) == 1 and first > (0,)
    require(alike, where, "all must have one shape [K], K at least 1", shapes, "Give each response a number.")
    return tuple(found.values())


def _require_reference(where: str, log_reference: jax.Array) -> None:
    if not is_traced(log_reference):
        table = np.asarray(log_reference)
        sound = bool(np.all(table < np.inf) and np.any(table > -np.inf))
        must = "log_reference must hold logarithms of probabilities, of which one is finite"
        require(sound, where, must, table.tolist(), "Use -inf for an impossible response.")


def _require_problem(where: str, log_reference: Any, reward: Any, name: str, weight: Any) -> tuple[jax.Array, ...]:
    """Returns the reference and the reward as arrays, after a check of these and of the weight of the penalty."""
    require_within(where, name, weight, 0, np.inf, "0.1 is common.", above=True, below=True)
    log_reference, reward = _responses(where, log_reference=log_reference, reward=reward)
    _require_reference(where, log_reference)
    if not is_traced(log_reference, reward):
        require_finite(where, "rewards of possible responses", np.where(np.asarray(log_reference) > -np.inf, reward, 0.0))
    return log_reference, reward


def _behind(log_reference: jax.Array, reward: jax.Array, beta: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """Returns (r - max r) / beta, and max r: with the best reward taken out, a small beta cannot overflow."""
    possible = log_reference > -jnp.inf
    best = jax.lax.stop_gradient(jnp.max(reward, where=possible, initial=-jnp.inf))
    return (jnp.where(possible, reward, best) - best) / beta, best


def best_of_n(reference: jax.Array, score: jax.Array, n: jax.Array | int) -> jax.Array:
    """Returns the probability that each response is the best of n draws from the reference, exactly, from ranks.

    Responses of equal score share their probability in proportion to the reference, as if ties were broken at random.

    Args:
        reference: float[K], probabilities.
        score: float[K].
        n: how many draws, at least 1.

    Returns:
        float[K], sums to 1.
    """
    where = "best_of_n"
    reference, score = _responses(where, reference=reference, score=score)
    require_within(where, "n", n, 1, np.inf, "16 is common.")
    if not is_traced(reference):
        require_distribution(where, "reference", reference)
    if not is_traced(score):
        require_finite(where, "score", score)
    order = jnp.argsort(-score)
    ranked, mass = score[order], reference[order]
    # Counted from the best down: the tail is small where the probabilities of large n are decided.
    upto = jnp.concatenate([jnp.zeros(1, mass.dtype), jnp.cumsum(mass)])
    above = upto[jnp.searchsorted(-ranked, -ranked, side="left")]
    including = upto[jnp.searchsorted(-ranked, -ranked, side="right")]

    def missed(tail):
        """The probability that none of n draws falls into a tail."""
        inside = tail < 1.0
        return jnp.where(inside, jnp.exp(n * jnp.log1p(-jnp.where(inside, tail, 0.0))), 0.0)

    # The whole mass may sum to a little more or less than 1 through rounding.
    including = jnp.where(including >= upto[-1], 1.0, including)
    tied = including - above
    share = jnp.where(tied > 0, mass / jnp.where(tied > 0, tied, 1.0), 0.0)
    chosen = share * (missed(above) - missed(including))
    return jnp.zeros_like(chosen).at[order].set(chosen)


def best_of_n_kl(n: Any) -> jax.Array:
    """Returns ``log n - (n - 1) / n``: the divergence of best-of-n from its reference where every response is improbable.

    With finitely many responses it is an upper bound (Beirami et al. 2024, theorem 1).
    """
    require_within("best_of_n_kl", "n", n, 1, np.inf, "16 is common.", below=True)
    draws = jnp.asarray(n, jnp.result_type(float))
    return jnp.log(draws) - (draws - 1.0) / draws


def psi_optimal(
    log_reference: jax.Array, preference: jax.Array, behaviour: jax.Array, tau: jax.Array | float, psi: Callable
) -> jax.Array:
    """Returns the log-probabilities of the optimal policy of the Psi-PO objective.

        argmax_pi  E_{y ~ pi, y' ~ mu}[Psi(p(y > y'))] - tau KL(pi || ref)

    Psi may be infinite, as the logit is where a preference is certain. The answer then is the limit of preferences that become
    certain together: what is surely preferred to more of mu than any other response takes all, whatever tau is.

    Args:
        log_reference: float[K]; minus infinity where a response is impossible, which it stays.
        preference: float[K, K], the probability that the row is preferred to the column.
        behaviour: float[K], mu, the distribution of the other response.
        tau: positive.
        psi: increasing, elementwise: the identity gives IPO, the logit RLHF (on Bradley-Terry preferences).

    Source: Azar et al. (2023), equation 6 and its solution in section 4; section 4.2 on certain preferences.
    """
    where = "psi_optimal"
    require_within(where, "tau", tau, 0, np.inf, "0.1 is common.", above=True, below=True)
    log_reference, behaviour = _responses(where, log_reference=log_reference, behaviour=behaviour)
    _require_reference(where, log_reference)
    preference = require_arrays(where, preference=preference)["preference"]
    shape = log_reference.shape * 2
    require(preference.shape == shape, where, f"preference must have shape {list(shape)}", preference.shape, "Compare all pairs.")
    require_within(where, "preference", preference, 0, 1, "Give probabilities.")
    if not is_traced(behaviour):
        require_distribution(where, "behaviour", behaviour)
    value = psi(preference)
    certain = jnp.isinf(value)
    surely = jnp.dot(jnp.where(certain, jnp.sign(value), 0.0), behaviour, precision="highest")
    most = jnp.max(surely, where=log_reference > -jnp.inf, initial=-jnp.inf)
    # Sums of a few probabilities of one behaviour, equal up to rounding where the same ones are added in another order.
    first = surely >= most - 8 * jnp.finfo(surely.dtype).eps
    expected = jnp.dot(jnp.where(certain, 0.0, value), behaviour, precision="highest")
    return kl_optimal(jnp.where(first, log_reference, -jnp.inf), expected, tau)


def logit(probability: jax.Array) -> jax.Array:
    """Returns log p / (1 - p), minus infinity at 0 and infinity at 1."""
    require_within("logit", "probability", probability, 0, 1, "Give probabilities.")
    probability = jnp.asarray(probability)
    return jnp.log(probability) - jnp.log1p(-probability)
