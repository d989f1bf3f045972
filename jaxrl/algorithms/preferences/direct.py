"""Direct preference optimisation and its relatives: one table of losses over log-probabilities.

For a preferred response w and a dispreferred one l, with policy pi and reference ref,

    h = (log pi(w) - log ref(w)) - (log pi(l) - log ref(l))

Most losses are functions of h; those that need no reference, or the lengths of the responses, say so. All take a batch
``Pairs`` and a ``Config`` and return float[N], one loss per pair: ``loss("ipo")(pairs, Config(tau=0.5))``. TDPO, SPIN, PMPO and
KTO without pairs see more than that, and stand in ``jaxrl.algorithms.preferences.beyond_pairs``.

Sources: DPO Rafailov et al. (2023); cDPO Mitchell (2023); robust Chowdhury et al. (2024); IPO Azar et al. (2023); SLiC Zhao et
al. (2023); RRHF Yuan et al. (2023); KTO Ethayarajh et al. (2024); SimPO Meng et al. (2024); CPO Xu et al. (2024); ORPO Hong et
al. (2024); DPOP Pal et al. (2024); RPO Liu et al. (2024); R-DPO Park et al. (2024); beta-DPO Wu et al. (2024); SPPO Wu et al.
(2024); NCA Chen et al. (2024); APO D'Oosterlinck et al. (2024); BCO Jung et al. (2024); EXO Ji et al. (2024).
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.nn import log_sigmoid, sigmoid, softplus

from jaxrl.errors import require_between, require_numbers, require_positive, unknown_name


class Pairs(NamedTuple):
    """Log-probabilities of N pairs of whole responses, in nats; float[N] each.

    chosen, rejected: under the policy that is trained.
    reference_chosen, reference_rejected: under the reference.
    chosen_length, rejected_length: in tokens, at least 1.
    """

    chosen: jax.Array
    rejected: jax.Array
    reference_chosen: jax.Array
    reference_rejected: jax.Array
    chosen_length: jax.Array
    rejected_length: jax.Array

    @property
    def chosen_ratio(self) -> jax.Array:
        """log pi(w) / ref(w)."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> jax.Array:
        """log pi(l) / ref(l)."""
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> jax.Array:
        """h."""
        return self.chosen_ratio - self.rejected_ratio


@struct.dataclass
class Config:
    """The numbers in the losses, all traced. Each loss reads those that name it; ``PUBLISHED`` holds what None stands for."""

    # Strength of the reference, or scale of the log-probabilities; positive. None: that of the loss's own paper. They differ by a
    # factor of 200: 0.1 for DPO, 2 for SimPO, 0.01 for BCO.
    beta: Any = None
    flip_rate: float = 0.1  # cdpo, robust: the share of labels that are the wrong way round, in [0, 1/2)
    smoothing: float = 1e-3  # exo: epsilon, what is left for the dispreferred response, in (0, 1/2)
    tau: float = 0.1  # ipo: strength of the reference; positive
    # slic: delta. simpo: gamma, in units of the scaled log-probability. None: 1 and beta / 2.
    target_margin: Any = None
    sft: Any = None  # slic, rrhf, cpo, rpo: weight of the log-likelihood of the preferred response. None: 1, of rpo 0.005
    odds: float = 0.1  # orpo: lambda, weight of the odds ratio
    drop: float = 50.0  # dpop: lambda, price of a preferred response that becomes less likely than under the reference
    length: float = 0.01  # r_dpo: alpha, price of a token
    desirable: float = 1.0  # kto: weight of preferred responses
    undesirable: float = 1.0  # kto: weight of dispreferred ones
    eta: float = 1000.0  # sppo: step size; positive
    beta_gain: float = 0.6  # beta_dpo: alpha, how strongly beta follows the batch's margin
    margin_average: float = 0.0  # beta_dpo: M_0, the running mean of the margin; see ``updated_margin_average``

    def validate(self) -> None:
        """Raises ConfigError where a number is out of range."""
        require_numbers("direct", self)
        given = ("beta",) if self.beta is not None else ()
        require_positive("direct", self, *given, "tau", "eta", "smoothing")
        require_between("direct", self, 0, 0.5, "flip_rate", "smoothing", below=True)
        given = ("sft",) if self.sft is not None else ()
        names = ("odds", "drop", "desirable", "undesirable", "beta_gain")
        require_between("direct", self, 0, float("inf"), *given, *names)


LOSSES: dict[str, Callable[[Pairs, Config], jax.Array]] = {}
PUBLISHED: dict[str, dict[str, float]] = {}


def _published(**numbers: float) -> Callable:
    """Enters a loss into ``LOSSES``, and the numbers of its paper into ``PUBLISHED``: they replace None in the configuration."""

    def enter(function: Callable[[Pairs, Any], jax.Array]) -> Callable[[Pairs, Config], jax.Array]:
        @functools.wraps(function)
        def loss(pairs: Pairs, config: Config) -> jax.Array:
            return function(pairs, filled(function.__name__, config))

        LOSSES[function.__name__], PUBLISHED[function.__name__] = loss, numbers
        return loss

    return enter


def filled(name: str, config: Config) -> Any:
    """Returns a configuration with the numbers of a loss's paper in place of None."""
    return replace(config, **{field: value for field, value in PUBLISHED[name].items() if getattr(config, field) is None})


@_published(beta=0.1)
def dpo(pairs: Pairs, config: Any) -> jax.Array:
    """-log sigmoid(beta h)."""
    return -log_sigmoid(config.beta * pairs.margin)


@_published(beta=0.1)
def cdpo(pairs: Pairs, config: Any) -> jax.Array:
    """(1 - e) L(h) + e L(-h), L of DPO: the expected loss if a share e of the labels is wrong. Its margin stays finite."""
    e, scaled = config.flip_rate, config.beta * pairs.margin
    return -(1.0 - e) * log_sigmoid(scaled) - e * log_sigmoid(-scaled)


@_published(beta=0.01)
def robust(pairs: Pairs, config: Any) -> jax.Array:
    """[(1 - e) L(h) - e L(-h)] / (1 - 2 e): over labels of which a share e is wrong, its mean is DPO's on the right ones."""
    e, scaled = config.flip_rate, config.beta * pairs.margin
    return -((1.0 - e) * log_sigmoid(scaled) - e * log_sigmoid(-scaled)) / (1.0 - 2.0 * e)


@_published()
def ipo(pairs: Pairs, config: Any) -> jax.Array:
    """(h - 1 / (2 tau))^2."""
    return jnp.square(pairs.margin - 1.0 / (2.0 * config.tau))


@_published(target_margin=1.0, sft=1.0)
def slic(pairs: Pairs, config: Any) -> jax.Array:
    """max(0, delta - (log pi(w) - log pi(l))) - sft log pi(w); no reference."""
    return jax.nn.relu(config.target_margin - (pairs.chosen - pairs.rejected)) - config.sft * pairs.chosen


@_published(sft=1.0)
def rrhf(pairs: Pairs, config: Any) -> jax.Array:
    """max(0, p(l) - p(w)) - sft log pi(w), p the log-probability per token; no reference."""
    per_token = pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length
    return jax.nn.relu(-per_token) - config.sft * pairs.chosen


@_published(beta=0.1)
def kto(pairs: Pairs, config: Any) -> jax.Array:
    """lambda_w (1 - sigmoid(beta (rho_w - z))) + lambda_l (1 - sigmoid(beta (z - rho_l))), rho the log-ratios.

    z is the batch's mean log-ratio (of responses that are possible), a constant to the gradient and never negative: an estimate
    of KL(pi || ref). The two sides are not compared with each other: for responses that are not in pairs see ``unpaired_kto``.
    """
    chosen, rejected = unpaired_kto(pairs.chosen_ratio, pairs.rejected_ratio, config)
    return chosen + rejected


def unpaired_kto(
    desirable: jax.Array, undesirable: jax.Array, config: Config, divergence: jax.Array | float | None = None
) -> tuple[jax.Array, jax.Array]:
    """Returns KTO's loss of each desirable and of each undesirable response, float[N] and float[M].

    Nothing is compared: the two sides may differ in number and belong to different contexts, and one may be empty. The total is
    the mean over all N + M. Where the numbers differ, the paper asks for weights with desirable N / (undesirable M) in [1, 4/3].

    Args:
        desirable, undesirable: float[N], float[M], log pi(y) / ref(y) of each response.
        config: reads beta, desirable and undesirable.
        divergence: z, an estimate of KL(pi || ref), at least 0; by default the mean log-ratio of all responses that
            are possible, cut at 0.

    Source: Ethayarajh et al. (2024), equation 8. There z is estimated from responses to other contexts.
    """
    numbers = filled("kto", config)
    z = _mean_of_possible(jnp.concatenate([desirable, undesirable])) if divergence is None else jnp.asarray(divergence)
    z = jax.lax.stop_gradient(jnp.maximum(0.0, z))
    gain, loss = sigmoid(numbers.beta * (desirable - z)), sigmoid(numbers.beta * (z - undesirable))
    return numbers.desirable * (1.0 - gain), numbers.undesirable * (1.0 - loss)


def _mean_of_possible(ratios: jax.Array) -> jax.Array:
    """Returns the mean over the log-ratios that are not infinite: a response of probability 0 would carry the batch with it."""
    possible = ~jnp.isinf(ratios)
    return jnp.where(possible, ratios, 0.0).sum() / jnp.maximum(possible.sum(), 1)


@_published(beta=2.0)
def simpo(pairs: Pairs, config: Any) -> jax.Array:
    """-log sigmoid(beta (log pi(w) / |w| - log pi(l) / |l|) - gamma); no reference."""
    per_token = pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length
    target_margin = 0.5 * config.beta if config.target_margin is None else config.target_margin
    return -log_sigmoid(config.beta * per_token - target_margin)


@_published(beta=0.1, sft=1.0)
def cpo(pairs: Pairs, config: Any) -> jax.Array:
    """-log sigmoid(beta (log pi(w) - log pi(l))) - sft log pi(w); no reference."""
    return -log_sigmoid(config.beta * (pairs.chosen - pairs.rejected)) - config.sft * pairs.chosen


@_published()
def orpo(pairs: Pairs, config: Any) -> jax.Array:
    """-p(w) - lambda log sigmoid(log odds(w) - log odds(l)), p the log-probability per token, odds = e^p / (1 - e^p).

    No reference.
    """
    chosen, rejected = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    return -chosen + config.odds * _log_odds_loss(chosen, rejected)


def _log_odds_loss(chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """Returns -log sigmoid(log odds(chosen) - log odds(rejected)), as log(1 + odds(rejected) / odds(chosen)).

    1 / odds(chosen) = exp(-chosen) - 1 vanishes smoothly where the chosen one is certain; the odds themselves are infinite there.
    """
    # A log-probability of 0 has been rounded: a softmax cannot tell it from minus half the precision.
    rejected = jnp.where(rejected < 0, rejected, -0.5 * jnp.finfo(rejected.dtype).eps)
    log_odds = rejected - jnp.log(-jnp.expm1(rejected))
    likely = chosen > -1.0
    near, far = jnp.where(likely, chosen, -1.0), jnp.where(likely, -1.0, chosen)
    inverse_odds = jnp.expm1(-near)
    return jnp.where(likely, jnp.log1p(inverse_odds * jnp.exp(log_odds)), softplus(jnp.log1p(-jnp.exp(far)) - far + log_odds))


@_published(beta=0.3)
def dpop(pairs: Pairs, config: Any) -> jax.Array:
    """-log sigmoid(beta (h - lambda max(0, log ref(w) - log pi(w))))."""
    lost = jax.nn.relu(-pairs.chosen_ratio)
    return -log_sigmoid(config.beta * (pairs.margin - config.drop * lost))


@_published(beta=0.01, sft=0.005)
def rpo(pairs: Pairs, config: Any) -> jax.Array:
    """DPO - sft log pi(w)."""
    return dpo(pairs, config) - config.sft * pairs.chosen


@_published(beta=0.1)
def r_dpo(pairs: Pairs, config: Any) -> jax.Array:
    """-log sigmoid(beta h + alpha (|w| - |l|)): the reward less alpha per token is what the policy is tilted by.

    Derived from the reward r - alpha |y|; some tables print the opposite sign.
    """
    return -log_sigmoid(config.beta * pairs.margin + config.length * (pairs.chosen_length - pairs.rejected_length))


@_published(beta=0.1)
def beta_dpo(pairs: Pairs, config: Any) -> jax.Array:
    """DPO with beta (1 + alpha (mean h - M_0)), at least 1e-3 and a constant to the gradient; the mean is of finite margins."""
    gain = 1.0 + config.beta_gain * (_mean_of_possible(pairs.margin) - config.margin_average)
    beta = jax.lax.stop_gradient(jnp.maximum(1e-3, config.beta * gain))
    return -log_sigmoid(beta * pairs.margin)


@_published()
def sppo(pairs: Pairs, config: Any) -> jax.Array:
    """(rho_w - eta / 2)^2 + (rho_l + eta / 2)^2: the log-ratios are regressed on eta (P - 1/2) with P = 1 for w, 0 for l."""
    return jnp.square(pairs.chosen_ratio - config.eta / 2.0) + jnp.square(pairs.rejected_ratio + config.eta / 2.0)


@_published(beta=0.01)
def nca(pairs: Pairs, config: Any) -> jax.Array:
    """-log sigmoid(beta rho_w) - 1/2 log sigmoid(-beta rho_w) - 1/2 log sigmoid(-beta rho_l)."""
    chosen, rejected = config.beta * pairs.chosen_ratio, config.beta * pairs.rejected_ratio
    return -log_sigmoid(chosen) - 0.5 * log_sigmoid(-chosen) - 0.5 * log_sigmoid(-rejected)


@_published(beta=0.1)
def apo_zero(pairs: Pairs, config: Any) -> jax.Array:
    """1 - sigmoid(beta rho_w) + sigmoid(beta rho_l): preferred responses up, dispreferred ones down."""
    return 1.0 - sigmoid(config.beta * pairs.chosen_ratio) + sigmoid(config.beta * pairs.rejected_ratio)


@_published(beta=0.01)
def bco(pairs: Pairs, config: Any) -> jax.Array:
    """-log sigmoid(beta rho_w - delta) - log sigmoid(delta - beta rho_l), delta the batch's mean of beta rho, a constant.

    The mean is over responses that are possible.
    """
    chosen, rejected = config.beta * pairs.chosen_ratio, config.beta * pairs.rejected_ratio
    shift = jax.lax.stop_gradient(0.5 * (_mean_of_possible(chosen) + _mean_of_possible(rejected)))
    return -log_sigmoid(chosen - shift) - log_sigmoid(shift - rejected)


@_published(beta=0.1)
def exo(pairs: Pairs, config: Any) -> jax.Array:
    """p log(p / (1 - e)) + (1 - p) log((1 - p) / e), p = sigmoid(beta h): KL(policy || labels).

    cDPO, less a constant, is that divergence with its sides exchanged. Smoothing by e keeps it finite, and its margin too: on a
    label that never changes the least loss is at p = 1 - e, and where w wins with probability P at logit(p) = (2 P - 1)
    logit(1 - e). Source: equation 16, for two responses.
    """
    e, scaled = config.smoothing, config.beta * pairs.margin
    chosen, rejected = log_sigmoid(scaled), log_sigmoid(-scaled)

    def part(log_probability, log_label):
        never = log_probability == -jnp.inf
        return jnp.exp(log_probability) * (jnp.where(never, 0.0, log_probability) - log_label)

    return part(chosen, jnp.log1p(-e)) + part(rejected, jnp.log(e))


WITHOUT_REFERENCE = ("slic", "rrhf", "simpo", "cpo", "orpo")


SLOPES: dict[str, Callable[[Any], jax.Array | float]] = {
    "dpo": lambda c: -c.beta / 2,
    "cdpo": lambda c: -c.beta * (1 - 2 * c.flip_rate) / 2,
    "robust": lambda c: -c.beta / (2 * (1 - 2 * c.flip_rate)),
    "ipo": lambda c: -1 / c.tau,
    "kto": lambda c: -c.beta * (c.desirable + c.undesirable) / 8,
    "dpop": lambda c: -c.beta / 2,
    "rpo": lambda c: -(c.beta + c.sft) / 2,
    "r_dpo": lambda c: -c.beta / 2,
    "beta_dpo": lambda c: -c.beta / 2,
    "sppo": lambda c: -c.eta,
    "nca": lambda c: -c.beta / 4,
    "apo_zero": lambda c: -c.beta / 4,
    "bco": lambda c: -c.beta / 2,
    "exo": lambda c: -c.beta / 4 * jnp.log((1 - c.smoothing) / c.smoothing),
}
"""Closed forms of the derivative in h, half of which lies in either log-ratio, where the policy is the reference, the responses
are equally long and M_0 = 0: for every loss with a reference, of a configuration that ``filled`` has completed."""


def loss(name: str) -> Callable[[Pairs, Config], jax.Array]:
    """Returns the loss of this name, ``(pairs, config) -> float[N]``.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in LOSSES:
        raise unknown_name("direct.loss", "loss", name, LOSSES)
    return LOSSES[name]


def pairs_of(log_policy: jax.Array, log_reference: jax.Array, length: jax.Array, chosen: jax.Array, rejected: jax.Array) -> Pairs:
    """Looks pairs of responses up in tables over all K of them.

    Args:
        log_policy, log_reference: float[K], log-probabilities.
        length: float[K], tokens.
        chosen, rejected: int32[N], which responses.
    """
    return Pairs(
        log_policy[chosen],
        log_policy[rejected],
        log_reference[chosen],
        log_reference[rejected],
        length[chosen],
        length[rejected],
    )


def updated_margin_average(average: jax.Array, margin: jax.Array, momentum: jax.Array | float = 0.9) -> jax.Array:
    """Returns beta-DPO's running mean of the margin after a batch; margin: float[N]."""
    return momentum * average + (1.0 - momentum) * _mean_of_possible(margin)


def keep_probability(margin: jax.Array, average: jax.Array, deviation: jax.Array) -> jax.Array:
    """Returns how likely beta-DPO is to keep each pair of a batch, up to a factor: exp(-((h - M_0) / sigma)^2 / 2), float[N].

    Where sigma is 0, pairs at the mean are kept and no others.
    """
    spread = jnp.where(deviation > 0, deviation, 1.0)
    distance = jnp.where((deviation == 0) & (margin != average), jnp.inf, (margin - average) / spread)
    return jnp.exp(-0.5 * jnp.square(distance))
