"""The DPO family: each loss against its known optimum, and what deterministic preferences do to it.

Tabular policies over a few responses, exact populations instead of samples, float64. Only the losses are tested: no
generalisation across prompts and no language model.

Source: Rafailov et al. (2023); Azar et al. (2023); and those of ``jaxrl.algorithms.preferences.direct``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.algorithms.preferences import direct, populations
from jaxrl.algorithms.preferences.direct import Config as Numbers
from jaxrl.experiment import Claim, Quantity, Results, at, draw, every, final, largest
from jaxrl.experiment.experiment import Row
from jaxrl.results.factors import Factor

BETA, FLIPS, TOKEN_PRICE, TAUS = 0.5, 0.2, 0.05, (0.1, 0.5, 1.0)
ALIKE = Numbers(beta=BETA, flip_rate=FLIPS, target_margin=1.0, sft=1.0, eta=1.0)
PAIR, CHAIN = "a > b", "a > b > c"  # labels that never change


@dataclass(frozen=True)
class Config:
    """Optima, gradients and margins of the DPO family."""

    steps: int = 100_000
    """Gradient steps on deterministic labels (count)."""
    seeds: int = 32
    """Worlds in which the influence of the length is measured (count)."""


QUICK = Config(steps=1_000, seeds=4)


def strength(loss: str) -> dict[str, float]:
    """Returns the number that ties a loss to its reference, empty of a loss that reads none."""
    return {"tau": TAUS[0]} if loss == "ipo" else {"beta": BETA} if "beta" in direct.PUBLISHED[loss] else {}


def measure(config: Config, results: Results) -> list[Row]:
    """Computes everything in float64."""
    with jax.enable_x64(True):
        return [*closed_forms(results.root), *deterministic(config.steps), *length_neutral(config.seeds, results.root)]


def closed_forms(root: int) -> Iterator[Row]:
    """Compares optima, slopes at the reference, the robust loss and losses without a reference with closed forms."""
    for loss, found in populations.optimum_errors(np.random.default_rng(root), 10, BETA, TOKEN_PRICE).items():
        yield {"problem": "Bradley-Terry", "loss": loss}, found
    for loss, error in populations.slope_errors(Numbers(beta=BETA, tau=0.3, flip_rate=FLIPS, eta=0.8)).items():
        yield {"problem": "policy = reference", "loss": loss}, {"gradient_error": error}
    error = populations.robust_error(jnp.linspace(-5.0, 5.0, 11), ALIKE)
    yield {"problem": "flipped labels", "loss": "robust"}, {"robust_error": error}
    for loss, change in populations.reference_changes(Numbers()).items():
        yield {"problem": "another reference", "loss": loss}, {"reference_change": change}


def deterministic(last: int) -> Iterator[Row]:
    """Follows the gradient where labels never change: the margin of a and b, and log pi(c) - log pi(a) of three responses."""
    steps = populations.logarithmic_steps(last)
    alone = [(loss, strength(loss)) for loss in direct.LOSSES]
    pairs = [*alone, ("dpo", {"beta": 0.1}), ("dpo", {"beta": 1.0}), *(("ipo", {"tau": tau}) for tau in TAUS[1:])]
    chains = [("dpo", {"beta": BETA}), *(("ipo", {"tau": tau}) for tau in TAUS)]
    for problem, metric, follow, cases in (
        (PAIR, "margin", populations.margins, pairs),
        (CHAIN, "log_ratio", populations.chain_log_ratios, chains),
    ):
        paths = follow([(loss, replace(ALIKE, **numbers)) for loss, numbers in cases], steps)
        for (loss, numbers), path in zip(cases, paths, strict=True):
            yield {"problem": problem, "loss": loss, **numbers}, {metric: path, "steps": steps}


def length_neutral(seeds: int, root: int) -> Iterator[Row]:
    """Measures how implicit rewards depend on the length where gold does not."""
    numbers = Numbers(beta=1.0, target_margin=0.0, sft=0.0)
    for loss, found in populations.length_correlations(jax.random.key(root), seeds, numbers).items():
        yield {"problem": "length-neutral labels", "loss": loss}, {"correlation": found[:, None]}


def figures(results: Results) -> None:
    """Draws margins and log-ratios over the gradient steps."""
    shown = ("dpo", "dpop", "apo_zero", "ipo", "cdpo", "sppo")
    arms = {loss: {"problem": PAIR, "loss": loss, **strength(loss)} for loss in shown}
    over, options = "Gradient steps", {"x": "steps", "x_scale": "log"}
    draw.lines(results, "margins", "margin", arms, over, "Margin h (nats)", title="A pair whose label never changes", **options)
    arms = {f"ipo, tau {tau}": {"problem": CHAIN, "loss": "ipo", "tau": tau} for tau in TAUS[1:]}
    arms, title = {"dpo": {"problem": CHAIN, "loss": "dpo"}} | arms, "Three responses, a > b and b > c"
    draw.lines(results, "chain", "log_ratio", arms, over, "log pi(c) - log pi(a) (nats)", title=title, **options)


def last_decade(metric: str, **arm: Factor) -> Quantity:
    """By how much a metric rises over the last nine tenths of the steps."""
    return final(metric, **arm) - at(metric, -11, **arm)


def settled(loss: str) -> Quantity:
    """By which share of itself a margin changes over the last nine tenths of the steps: below 1 %, it counts as finite."""
    return abs(last_decade("margin", loss=loss, **strength(loss)) / final("margin", loss=loss, **strength(loss)))


CLAIMS = (
    Claim(
        "The gradients of the losses in the margin, where the policy is the reference, are the closed forms",
        "derived",
        largest("gradient_error") <= 1e-9,
    ),
    Claim(
        "DPO's optimum on Bradley-Terry data is the reference tilted by the reward, total variation at most 1e-3",
        "Rafailov et al. (2023)",
        final("variation", loss="dpo") <= 1e-3,
    ),
    Claim(
        "Psi-PO with the logit has the optimum of RLHF on Bradley-Terry data, total variation at most 1e-3",
        "Azar et al. (2023)",
        final("variation", loss="psi_po") <= 1e-3,
    ),
    Claim(
        "Averaged over flipped labels, the robust loss is DPO's on the right ones",
        "Chowdhury et al. (2024)",
        final("robust_error") <= 1e-9,
    ),
    Claim(
        "On deterministic labels cDPO's margin ends at logit(1 - e) / beta, within 1 %",
        "derived",
        (final("margin", loss="cdpo") * (BETA / np.log((1 - FLIPS) / FLIPS))).equals(1.0, 0.01),
    ),
    Claim(
        "On deterministic labels IPO's margin ends at 1 / (2 tau), within 1 %, for tau of 0.1, 0.5 and 1",
        "Azar et al. (2023)",
        every(final("margin", loss="ipo", tau=tau).equals(1 / (2 * tau), 0.01 / (2 * tau)) for tau in TAUS),
    ),
    Claim(
        "On deterministic labels DPO's margin h grows without bound, whatever beta: in the last decade of steps, beta h rises by "
        "more than half of log(10) for beta of 0.1 and 1",
        "Azar et al. (2023)",
        every(last_decade("margin", loss="dpo", beta=beta) * (beta / np.log(10.0)) > 0.5 for beta in (0.1, 1.0)),
    ),
    Claim(
        "Of three responses with a > b and b > c always, DPO drops the one that never wins: in the last decade of steps it loses "
        "more than 1 nat against the best",
        "Azar et al. (2023)",
        last_decade("log_ratio", loss="dpo") < -1.0,
    ),
    Claim(
        "Of three responses with a > b and b > c always, IPO keeps the last one at exp(-1 / tau) times the first, within 1 % of "
        "the logarithm, for tau of 0.1, 0.5 and 1",
        "Azar et al. (2023)",
        every(final("log_ratio", loss="ipo", tau=tau).equals(-1 / tau, 0.01 / tau) for tau in TAUS),
    ),
    Claim(
        "Another reference changes neither values nor gradients of SLiC, RRHF, SimPO, CPO and ORPO, which have none",
        "by definition",
        largest("reference_change").equals(0.0, 0.0),
    ),
    Claim(
        "R-DPO's optimum on Bradley-Terry data falls by alpha / beta nats per token, within 1 %",
        "derived from the reward r - alpha |y|",
        final("length_slope").equals(-TOKEN_PRICE / BETA, 0.01 * TOKEN_PRICE / BETA),
    ),
    Claim(
        "Of all losses, IPO, cDPO and DPOP alone keep finite margins on deterministic labels: the last nine tenths of the steps "
        "change them by less than 1 %",
        "surveys, 2024",
        every(settled(loss) < 0.01 if loss in ("ipo", "cdpo", "dpop") else settled(loss) >= 0.01 for loss in direct.LOSSES),
    ),
    Claim(
        "Division by the length reduces how the implicit reward depends on the length, where gold does not: its correlation is "
        "smaller for SimPO than for CPO",
        "after Meng et al. (2024)",
        final("correlation", loss="cpo") > final("correlation", loss="simpo"),
    ),
)
