"""Direct preference optimisation and its relatives: one table of losses over log-probabilities.

For a preferred response w and a dispreferred one l, with policy pi and reference ref,

    h = (log pi(w) - log ref(w)) - (log pi(l) - log ref(l))

Most losses are functions of h; those that need no reference, or the lengths of the responses, say so. All take a batch
``Pairs`` and a ``Config`` and return float[N], one loss per pair: ``loss("ipo")(pairs, Config(tau=0.5))``. TDPO, SPIN and PMPO
see more than that, and stand in ``jaxrl.preferences.beyond_pairs``.

Sources: DPO Rafailov et al. (2023); cDPO Mitchell (2023); robust Chowdhury et al. (2024); IPO Azar et al. (2023); SLiC Zhao et
al. (2023); RRHF Yuan et al. (2023); KTO Ethayarajh et al. (2024); SimPO Meng et al. (2024); CPO Xu et al. (2024); ORPO Hong et
al. (2024); DPOP Pal et al. (2024); RPO Liu et al. (2024); R-DPO Park et al. (2024); beta-DPO Wu et al. (2024); SPPO Wu et al.
(2024); NCA Chen et al. (2024); APO D'Oosterlinck et al. (2024); BCO Jung et al. (2024); EXO Ji et al. (2024).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.nn import log_sigmoid, sigmoid

from jaxrl.errors import require_between, require_positive, unknown_name


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
    """The numbers in the losses, all traced. Defaults are those of the papers where these give one."""

    beta: float = 0.1  # strength of the reference, or scale of the log-probabilities; positive
    flip_rate: float = 0.1  # cdpo, robust: the share of labels that are the wrong way round, in [0, 1/2)
    smoothing: float = 1e-3  # exo: epsilon, what is left for the dispreferred response, in (0, 1/2)
    tau: float = 0.1  # ipo: strength of the reference; positive
    target_margin: float = 1.0  # slic: delta. simpo: gamma, in units of the scaled log-probability
    sft: float = 1.0  # slic, rrhf, cpo, rpo: weight of the log-likelihood of the preferred response
    odds: float = 0.1  # orpo: lambda, weight of the odds ratio
    drop: float = 50.0  # dpop: lambda, price of a preferred response that becomes less likely than under the reference
    length: float = 0.01  # r_dpo: alpha, price of a token
    desirable: float = 1.0  # kto: weight of preferred responses
    undesirable: float = 1.0  # kto: weight of dispreferred ones
    eta: float = 1.0  # sppo: step size; positive
    beta_gain: float = 0.6  # beta_dpo: alpha, how strongly beta follows the batch's margin
    margin_average: float = 0.0  # beta_dpo: M_0, the running mean of the margin; see ``updated_margin_average``

    def validate(self) -> None:
        """Raises ConfigError where a number is out of range."""
        require_positive("direct", self, "beta", "tau", "eta", "smoothing")
        require_between("direct", self, 0, 0.499, "flip_rate", "smoothing")
        names = ("sft", "odds", "drop", "desirable", "undesirable", "beta_gain")
        require_between("direct", self, 0, float("inf"), *names)


def dpo(pairs: Pairs, config: Config) -> jax.Array:
    """-log sigmoid(beta h)."""
    return -log_sigmoid(config.beta * pairs.margin)


def cdpo(pairs: Pairs, config: Config) -> jax.Array:
    """(1 - e) L(h) + e L(-h), L of DPO: the expected loss if a share e of the labels is wrong. Its margin stays finite."""
    e, scaled = config.flip_rate, config.beta * pairs.margin
    return -(1.0 - e) * log_sigmoid(scaled) - e * log_sigmoid(-scaled)


def robust(pairs: Pairs, config: Config) -> jax.Array:
    """[(1 - e) L(h) - e L(-h)] / (1 - 2 e): over labels of which a share e is wrong, its mean is DPO's on the right ones."""
    e, scaled = config.flip_rate, config.beta * pairs.margin
    return -((1.0 - e) * log_sigmoid(scaled) - e * log_sigmoid(-scaled)) / (1.0 - 2.0 * e)


def ipo(pairs: Pairs, config: Config) -> jax.Array:
    """(h - 1 / (2 tau))^2."""
    return jnp.square(pairs.margin - 1.0 / (2.0 * config.tau))


def slic(pairs: Pairs, config: Config) -> jax.Array:
    """max(0, delta - (log pi(w) - log pi(l))) - sft log pi(w); no reference."""
    return jax.nn.relu(config.target_margin - (pairs.chosen - pairs.rejected)) - config.sft * pairs.chosen


def rrhf(pairs: Pairs, config: Config) -> jax.Array:
    """max(0, p(l) - p(w)) - sft log pi(w), p the log-probability per token; no reference."""
    per_token = pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length
    return jax.nn.relu(-per_token) - config.sft * pairs.chosen


def kto(pairs: Pairs, config: Config) -> jax.Array:
    """lambda_w (1 - sigmoid(beta (rho_w - z))) + lambda_l (1 - sigmoid(beta (z - rho_l))), rho the log-ratios.

    The two sides are not compared with each other: w and l may belong to different contexts. z is the batch's mean log-ratio,
    a constant to the gradient and never negative: an estimate of KL(pi || ref).
    """
    ratios = jnp.concatenate([pairs.chosen_ratio, pairs.rejected_ratio])
    z = jax.lax.stop_gradient(jnp.maximum(0.0, ratios.mean()))
    gain = 1.0 - sigmoid(config.beta * (pairs.chosen_ratio - z))
    return config.desirable * gain + config.undesirable * (1.0 - sigmoid(config.beta * (z - pairs.rejected_ratio)))


def simpo(pairs: Pairs, config: Config) -> jax.Array:
    """-log sigmoid(beta (log pi(w) / |w| - log pi(l) / |l|) - gamma); no reference."""
    per_token = pairs.chosen / pairs.chosen_length - pairs.rejected / pairs.rejected_length
    return -log_sigmoid(config.beta * per_token - config.target_margin)


def cpo(pairs: Pairs, config: Config) -> jax.Array:
    """-log sigmoid(beta (log pi(w) - log pi(l))) - sft log pi(w); no reference."""
    return -log_sigmoid(config.beta * (pairs.chosen - pairs.rejected)) - config.sft * pairs.chosen


def orpo(pairs: Pairs, config: Config) -> jax.Array:
    """-p(w) - lambda log sigmoid(log odds(w) - log odds(l)), p the log-probability per token, odds = e^p / (1 - e^p).

    No reference.
    """
    chosen, rejected = pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length
    log_odds = (chosen - jnp.log(-jnp.expm1(chosen))) - (rejected - jnp.log(-jnp.expm1(rejected)))
    return -chosen - config.odds * log_sigmoid(log_odds)


def dpop(pairs: Pairs, config: Config) -> jax.Array:
    """-log sigmoid(beta (h - lambda max(0, log ref(w) - log pi(w))))."""
    lost = jax.nn.relu(-pairs.chosen_ratio)
    return -log_sigmoid(config.beta * (pairs.margin - config.drop * lost))


def rpo(pairs: Pairs, config: Config) -> jax.Array:
    """DPO - sft log pi(w)."""
    return dpo(pairs, config) - config.sft * pairs.chosen


def r_dpo(pairs: Pairs, config: Config) -> jax.Array:
    """-log sigmoid(beta h + alpha (|w| - |l|)): the reward less alpha per token is what the policy is tilted by.

    Derived from the reward r - alpha |y|; some tables print the opposite sign.
    """
    return -log_sigmoid(config.beta * pairs.margin + config.length * (pairs.chosen_length - pairs.rejected_length))


def beta_dpo(pairs: Pairs, config: Config) -> jax.Array:
    """DPO with beta (1 + alpha (mean h - M_0)), at least 1e-3 and a constant to the gradient."""
    gain = 1.0 + config.beta_gain * (pairs.margin.mean() - config.margin_average)
    beta = jax.lax.stop_gradient(jnp.maximum(1e-3, config.beta * gain))
    return -log_sigmoid(beta * pairs.margin)


def sppo(pairs: Pairs, config: Config) -> jax.Array:
    """(rho_w - eta / 2)^2 + (rho_l + eta / 2)^2: the log-ratios are regressed on eta (P - 1/2) with P = 1 for w, 0 for l."""
    return jnp.square(pairs.chosen_ratio - config.eta / 2.0) + jnp.square(pairs.rejected_ratio + config.eta / 2.0)


def nca(pairs: Pairs, config: Config) -> jax.Array:
    """-log sigmoid(beta rho_w) - 1/2 log sigmoid(-beta rho_w) - 1/2 log sigmoid(-beta rho_l)."""
    chosen, rejected = config.beta * pairs.chosen_ratio, config.beta * pairs.rejected_ratio
    return -log_sigmoid(chosen) - 0.5 * log_sigmoid(-chosen) - 0.5 * log_sigmoid(-rejected)


def apo_zero(pairs: Pairs, config: Config) -> jax.Array:
    """1 - sigmoid(beta rho_w) + sigmoid(beta rho_l): preferred responses up, dispreferred ones down."""
    return 1.0 - sigmoid(config.beta * pairs.chosen_ratio) + sigmoid(config.beta * pairs.rejected_ratio)


def bco(pairs: Pairs, config: Config) -> jax.Array:
    """-log sigmoid(beta rho_w - delta) - log sigmoid(delta - beta rho_l), delta the batch's mean of beta rho, a constant."""
    chosen, rejected = config.beta * pairs.chosen_ratio, config.beta * pairs.rejected_ratio
    shift = jax.lax.stop_gradient(0.5 * (chosen.mean() + rejected.mean()))
    return -log_sigmoid(chosen - shift) - log_sigmoid(shift - rejected)


def exo(pairs: Pairs, config: Config) -> jax.Array:
    """p log(p / (1 - e)) + (1 - p) log((1 - p) / e), p = sigmoid(beta h): KL(policy || labels).

    cDPO, less a constant, is that divergence with its sides exchanged. Smoothing by e keeps it finite, and its margin too: on a
    label that never changes the least loss is at p = 1 - e, and where w wins with probability P at logit(p) = (2 P - 1)
    logit(1 - e). Source: equation 16, for two responses.
    """
    e, scaled = config.smoothing, config.beta * pairs.margin
    chosen, rejected = log_sigmoid(scaled), log_sigmoid(-scaled)
    return jnp.exp(chosen) * (chosen - jnp.log1p(-e)) + jnp.exp(rejected) * (rejected - jnp.log(e))


LOSSES: dict[str, Callable[[Pairs, Config], jax.Array]] = {
    "dpo": dpo,
    "cdpo": cdpo,
    "robust": robust,
    "ipo": ipo,
    "slic": slic,
    "rrhf": rrhf,
    "kto": kto,
    "simpo": simpo,
    "cpo": cpo,
    "orpo": orpo,
    "dpop": dpop,
    "rpo": rpo,
    "r_dpo": r_dpo,
    "beta_dpo": beta_dpo,
    "sppo": sppo,
    "nca": nca,
    "apo_zero": apo_zero,
    "bco": bco,
    "exo": exo,
}
WITHOUT_REFERENCE = ("slic", "rrhf", "simpo", "cpo", "orpo")


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
    return momentum * average + (1.0 - momentum) * margin.mean()


def keep_probability(margin: jax.Array, average: jax.Array, deviation: jax.Array) -> jax.Array:
    """Returns how likely beta-DPO is to keep each pair of a batch, up to a factor: exp(-((h - M_0) / sigma)^2 / 2), float[N]."""
    return jnp.exp(-0.5 * jnp.square((margin - average) / deviation))
