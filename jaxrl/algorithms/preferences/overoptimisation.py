"""Over-optimisation: the true reward ("gold") of policies that maximise a proxy, computed exactly over K responses.

    best-of-n     the best of n draws from the reference, in the proxy's eyes
    KL penalty    argmax_pi E_pi[proxy] - beta KL(pi || reference)

With d the root of the divergence from the reference, the gold of best-of-n follows gold(d) - gold(0) = d (a - b d): it rises,
turns at d = a / (2 b), and falls.

Source: Gao et al. (2022), "Scaling Laws for Reward Model Overoptimization", section 3.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.solvers.kl_optimal import best_of_n, kl_divergence, kl_optimal


class Outcome(NamedTuple):
    """S families of P policies each, from the weakest to the strongest optimisation; float[S, P] each.

    gold, proxy: their expected rewards. divergence: KL(policy || reference), in nats.
    """

    gold: jax.Array
    proxy: jax.Array
    divergence: jax.Array


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0, None))
def by_best_of_n(reference: jax.Array, gold: jax.Array, proxy: jax.Array, draws: jax.Array) -> Outcome:
    """Returns what best-of-n reaches on the proxies of S seeds.

    Args:
        reference: float[K], probabilities.
        gold, proxy: float[S, K], the true reward of each response and the one that is maximised.
        draws: float[P], n, at least 1.
    """
    policies = jax.vmap(best_of_n, in_axes=(None, None, 0))(reference, proxy, draws)
    return _outcome(policies, jnp.log(policies), reference, gold, proxy)


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0, None))
def by_kl_penalty(reference: jax.Array, gold: jax.Array, proxy: jax.Array, betas: jax.Array) -> Outcome:
    """Returns what the policies reach that maximise the proxies of S seeds less a penalty on the distance from the reference.

    Args:
        reference, gold, proxy: as for ``by_best_of_n``.
        betas: float[P], strengths of the penalty, positive, in units of the proxy.
    """
    log_policies = jax.vmap(kl_optimal, in_axes=(None, None, 0))(jnp.log(reference), proxy, betas)
    return _outcome(jnp.exp(log_policies), log_policies, reference, gold, proxy)


def _outcome(policies, log_policies, reference, gold, proxy) -> Outcome:
    divergence = jax.vmap(kl_divergence, in_axes=(0, None))(log_policies, jnp.log(reference))
    expected = partial(jnp.dot, policies, precision="highest")
    return Outcome(expected(gold), expected(proxy), divergence)


def fit_distance(distance: np.ndarray, gold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fits gold(d) - gold(0) = d (a - b d) to each seed by least squares.

    Args:
        distance: float[P], d, the root of the divergence; the first is 0.
        gold: float[S, P].

    Returns:
        a and b, float64[S] each.
    """
    d = np.asarray(distance, np.float64)
    coefficients, *_ = np.linalg.lstsq(np.stack([d, -(d**2)], axis=1), (gold - gold[:, :1]).T, rcond=None)
    return coefficients[0], coefficients[1]


def fall_from_peak(gold: np.ndarray) -> np.ndarray:
    """Returns gold at the peak less gold at the end, float[S].

    The other half of the seeds says where the peak is: at the largest of its own values a seed would fall by chance alone.

    Args:
        gold: float[S, P], at least two seeds.
    """
    halves = gold[: len(gold) // 2], gold[len(gold) // 2 :]
    return np.concatenate([mine[:, other.mean(0).argmax()] - mine[:, -1] for mine, other in (halves, halves[::-1])])
