"""Direct preference losses that see more than the log-probabilities of labelled pairs.

TDPO sees the whole distribution of every token; SPIN has demonstrations in place of labels; PMPO has good and bad responses that
were never compared. As in ``jaxrl.algorithms.preferences.direct``, log-probabilities are in nats and belong to whole responses.

Sources: TDPO Zeng et al. (2024), "Token-level Direct Preference Optimization"; SPIN Chen et al. (2024), "Self-Play Fine-Tuning
Converts Weak Language Models to Strong Language Models"; PMPO Abdolmaleki et al. (2024), "Learning from negative feedback, or
positive feedback or both".
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.nn import log_sigmoid

from jaxrl.algorithms.preferences import direct
from jaxrl.algorithms.preferences.direct import Pairs
from jaxrl.blocks.distributions import kl_divergence
from jaxrl.errors import require_between, require_numbers, require_positive


@struct.dataclass
class Config:
    """The numbers in the losses, all traced."""

    beta: float = 0.1  # strength of the reference; spin: lambda, of the opponent. Positive
    alpha: float = 0.5  # tdpo2: weight of the divergences, not negative
    accepted: float = 0.5  # pmpo: alpha, weight of the accepted responses, in [0, 1]; the rejected ones have the rest

    def validate(self) -> None:
        """Raises ConfigError where a number is out of range."""
        require_numbers("beyond_pairs", self)
        require_positive("beyond_pairs", self, "beta")
        require_between("beyond_pairs", self, 0, float("inf"), "alpha")
        require_between("beyond_pairs", self, 0, 1, "accepted")


def sequential_divergence(log_policy: jax.Array, log_reference: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns KL(reference || policy) of the next token, summed along each response, float[N] in nats.

    Args:
        log_policy, log_reference: float[N, T, V], log-probabilities of every token that could have come next. Where the mask is
            False they may be anything, NaN too.
        mask: bool[N, T], True where the response has a token.

    Source: Zeng et al. (2024), section 4, the sequential KL divergence.
    """
    log_policy, log_reference = (jnp.where(mask[..., None], table, 0.0) for table in (log_policy, log_reference))
    return kl_divergence(log_reference, log_policy).sum(-1)


def tdpo1(pairs: Pairs, chosen: jax.Array, rejected: jax.Array, config: Config) -> jax.Array:
    """-log sigmoid(beta h - beta (D(l) - D(w))), D the sequential divergence: DPO with a KL penalty at every token.

    Its optimum is the reference tilted, token by token, by the expected reward of going on as the reference does.

    Args:
        pairs: N pairs of responses.
        chosen, rejected: float[N], D of each; see ``sequential_divergence``.

    Returns:
        float[N].

    Source: Zeng et al. (2024), section 4, TDPO1.
    """
    return -log_sigmoid(config.beta * (pairs.margin - (rejected - chosen)))


def tdpo2(pairs: Pairs, chosen: jax.Array, rejected: jax.Array, config: Config) -> jax.Array:
    """-log sigmoid(beta h - alpha beta (D(l) - D(w))) with D(w) a constant to the gradient: w may leave the reference freely.

    Args, Returns: as for ``tdpo1``. Source: Zeng et al. (2024), section 4, TDPO2.
    """
    excess = rejected - jax.lax.stop_gradient(chosen)
    return -log_sigmoid(config.beta * (pairs.margin - config.alpha * excess))


def spin(log_policy: jax.Array, log_opponent: jax.Array, demonstrated: jax.Array, config: Config) -> jax.Array:
    """Returns the expectation of DPO's loss where a demonstration is preferred to a response of the opponent, float[N].

    The opponent, the policy of the iteration before, is the reference as well. If its responses cannot all be listed, draw them:
    then SPIN is ``direct.dpo`` with them as the rejected ones. The optimum is p_t (p_data / p_t)^(1 / beta), normalised, with p_t
    the opponent; it stays where it is once p_t = p_data.

    Args:
        log_policy, log_opponent: float[K], log-probabilities of all responses; the opponent's is a constant to the gradient.
        demonstrated: int32[N], which responses were demonstrated.

    Source: Chen et al. (2024), equation 4.7 with the logistic loss; the optimum is theorem 5.4.
    """
    log_opponent = jax.lax.stop_gradient(log_opponent)
    probability = jnp.exp(log_opponent)
    # Responses that the opponent never gives have weight 0, and no log-ratio.
    rejected, opponent = (jnp.where(probability > 0, table, 0.0)[None] for table in (log_policy, log_opponent))
    chosen, reference = log_policy[demonstrated][:, None], log_opponent[demonstrated][:, None]
    lengths = jnp.ones((1, 1), log_policy.dtype)
    against_every = Pairs(chosen, rejected, reference, opponent, lengths, lengths)
    return jnp.dot(direct.dpo(against_every, direct.Config(beta=config.beta)), probability, precision="highest")


def pmpo(accepted: jax.Array, rejected: jax.Array, divergence: jax.Array, config: Config) -> jax.Array:
    """-alpha E[log pi(accepted)] + (1 - alpha) E[log pi(rejected)] + beta KL(ref || pi), float[].

    The two sides may differ in number and belong to different contexts. With their distributions p_acc and p_rej, the optimum is
    proportional to c = beta ref - (1 - alpha) p_rej + alpha p_acc if c is nowhere negative; otherwise the loss has no minimum.

    Args:
        accepted, rejected: float[N], float[M], log-probabilities under the policy; at least one each.
        divergence: float[] or float[B], KL(reference || policy) in the contexts of a batch, nats.

    Source: Abdolmaleki et al. (2024), equation 10.
    """
    feedback = config.accepted * accepted.mean() - (1.0 - config.accepted) * rejected.mean()
    return config.beta * divergence.mean() - feedback
