"""Risk-averse value learning with the Itakura-Saito loss, against the exponential squared error and two other losses.

A portfolio with normal returns and exponential utility has a known best amount and certainty equivalent at every step, which
judge what tabular learning finds. Then 20 is added to, or taken from, every reward: it changes no decision, and it decides
whether a loss can be computed at all.

Source: Udovichenko et al. (2025), "Risk-Averse Reinforcement Learning with Itakura-Saito Loss".
"""

from dataclasses import dataclass, field, replace

import numpy as np

from envs.trading import gaussian_portfolio
from experiments import figures
from experiments.protocol import Claim, Verdict
from experiments.session import Session
from jaxrl.results import RunDirectory
from jaxrl.statistics import bootstrap_interval
from jaxrl.tabular import entropic_td

MEAN, DEVIATION, STEPS = 0.05, 0.2, 10
RISK_AVERSIONS = (0.5, 1.0, 2.0, 5.0, 10.0)
SHIFT = 20.0
CELLS = (0.0, 0.5, 1.0, 1.5, 2.0)  # amounts, in multiples of the best one; a cell is half of it


@dataclass(frozen=True)
class Config:
    """Risk-averse learning on a portfolio problem with a closed form."""

    seeds: int = 20
    """Independent learners, trained side by side (count)."""
    updates: int = 500
    """Updates of each learner (count), each of num_envs * num_steps environment steps."""
    algorithm: entropic_td.Config = field(
        default_factory=lambda: entropic_td.Config(learning_rate_hold=2500.0, epsilon=0.8, num_envs=64)
    )
    """Hyper-parameters, chosen on seeds of root 1; risk aversion and loss are set by the experiment. While the step size is held
    at 1 the values can travel the distance of 200 by which the shift moves them."""


QUICK = Config(seeds=2, updates=2)


def run(config: Config, session: Session) -> None:
    """Trains every loss at every risk aversion; the two with the right fixed point with shifted rewards as well."""
    for loss, shifts in (
        ("itakura_saito", (0.0, SHIFT, -SHIFT)),
        ("exponential_squared", (0.0, SHIFT, -SHIFT)),
        ("softplus", (0.0,)),
        ("mean_variance", (0.0,)),
    ):
        errors = {shift: _learn(config, session, loss, shift) for shift in shifts}
        for shift, (value_error, cells) in errors.items():
            session.record({"value_error": value_error, "cells_off": cells}, _name(loss, shift))
    _draw(session.directory)


def _name(loss: str, shift: float) -> str:
    return loss if not shift else f"{loss} {shift:+g}"


def _learn(config: Config, session: Session, loss: str, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns, float64[S, R]: the relative error of the value at the start, infinite where it is not a number; and by how many
    cells the amount is off at the step where it is off most."""
    errors, cells = [], []
    for aversion in RISK_AVERSIONS:
        best = gaussian_portfolio.best_amount(MEAN, DEVIATION, aversion)
        amounts = tuple(best * multiple for multiple in CELLS)
        env = gaussian_portfolio.make(amounts, MEAN, DEVIATION, STEPS, shift)
        done = session.train(
            entropic_td.make,
            env,
            replace(config.algorithm, risk_aversion=aversion, loss=loss),
            seeds=config.seeds,
            num_updates=config.updates,
            variant=f"{_name(loss, shift)}, training at a = {aversion:g}",
            show=("loss",),
            chunk_length=config.updates,
        )
        q = np.asarray(done.state.q, np.float64)[:, :STEPS]
        exact = gaussian_portfolio.certainty_equivalent(MEAN, DEVIATION, aversion, STEPS)
        # The shift is taken off again, so that it does not make errors look small.
        error = np.abs(q[:, 0].max(-1) - STEPS * shift - exact) / exact
        errors.append(np.where(np.isfinite(error), error, np.inf))
        cells.append(np.abs(q.argmax(-1) - CELLS.index(1.0)).max(-1))
    return np.stack(errors, 1), np.stack(cells, 1)


def _draw(run: RunDirectory) -> None:
    lines = {}
    for variant in run.variants("metrics"):
        if "training" in variant:
            continue
        values = _values(run, variant)
        finite = np.isfinite(values).all(0)
        if finite.any():
            lines[variant] = np.asarray(RISK_AVERSIONS)[finite], np.maximum(values[:, finite], 1e-5)
    figures.relation(
        run,
        "value_error",
        lines,
        "Risk aversion a (per unit of reward)",
        "Relative error of the value at the start",
        x_scale="log",
        y_scale="log",
        level=0.05,
        note="A loss is not drawn where a seed has no finite value. Dashed: 5 %.",
    )


def _values(run: RunDirectory, variant: str, metric: str = "value_error") -> np.ndarray:
    values = run.curves(metric, variant, "metrics").values.astype(np.float64)
    return np.where(np.isnan(values), np.inf, values)


def accurate(run: RunDirectory) -> Verdict:
    """The mean error over seeds is at most 5 % at every risk aversion; the worst one is reported."""
    values = _values(run, "itakura_saito")
    worst = values[:, values.mean(0).argmax()]
    mean = bootstrap_interval(worst, np.mean)
    return Verdict(mean.estimate <= 0.05, mean.estimate, "mean relative error at the worst a <= 0.05", mean.low, mean.high)


def breaks_down(run: RunDirectory) -> Verdict:
    """At every risk aversion and either shift, for at least half the seeds: not finite, or five times the error."""
    shares = []
    for shift in (SHIFT, -SHIFT):
        ours, theirs = _values(run, _name("itakura_saito", shift)), _values(run, _name("exponential_squared", shift))
        shares.append((np.isfinite(ours) & ((theirs >= 5 * ours) | ~np.isfinite(theirs))).mean(0))
    share = float(np.min(shares))
    return Verdict(share >= 0.5, share, "smallest share of such seeds over both shifts and every a >= 0.5")


def near_the_best_amount(run: RunDirectory) -> Verdict:
    """No seed is off by more than one cell at any step and risk aversion."""
    worst = float(_values(run, "itakura_saito", "cells_off").max())
    return Verdict(worst <= 1, worst, "largest distance from the best amount over seeds, steps and a <= 1 cell")


CLAIMS = (
    Claim(
        "With the Itakura-Saito loss the learned value is within 5 % of the closed form at every risk aversion from 0.5 to 10",
        "Udovichenko et al. (2025); closed form of the normal portfolio",
        accurate,
    ),
    Claim(
        "With rewards shifted by 20 or -20, the exponential squared error gives five times the error, or no finite number, for "
        "at least half of the seeds",
        "Udovichenko et al. (2025), the conditioning of the loss",
        breaks_down,
    ),
    Claim(
        "With the Itakura-Saito loss the greedy amount is within one grid cell of the best one at every step",
        "Merton (1969)",
        near_the_best_amount,
    ),
)
