"""The DPO family: each loss against its known optimum, and what deterministic preferences do to it.

Tabular policies over a few responses, exact populations instead of samples, float64. Only the losses are tested: no
generalisation across prompts and no language model.

Source: Rafailov et al. (2023); Azar et al. (2023); and those of ``jaxrl.algorithms.preferences.direct``.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxrl.algorithms.preferences import direct
from jaxrl.algorithms.preferences.direct import Config as Numbers
from jaxrl.algorithms.preferences.direct import Pairs
from jaxrl.experiment.claims import Claim, Verdict, exceeds, recorded, recorded_within
from jaxrl.experiment.session import Session
from jaxrl.report import figures
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers.kl_optimal import kl_optimal, logit, psi_optimal

RESPONSES = 10
BETA, FLIPS, TOKEN_PRICE = 0.5, 0.2, 0.05
TAUS = (0.1, 0.5, 1.0)
FINITE = ("cdpo", "dpop", "ipo")  # the losses that are said to keep finite margins on deterministic labels
NORMALISED, SUMMED = "simpo", "cpo"  # the same loss with and without division by the length


@dataclass(frozen=True)
class Config:
    """Optima, gradients and margins of the DPO family."""

    steps: int = 100_000
    """Gradient steps on deterministic labels (count)."""
    seeds: int = 32
    """Worlds in which the influence of the length is measured (count)."""


QUICK = Config(steps=1_000, seeds=4)


@dataclass(frozen=True)
class World:
    """K responses: gold, reference log-probabilities and lengths; float64[K] each."""

    gold: jax.Array
    log_reference: jax.Array
    length: jax.Array

    @property
    def preference(self) -> jax.Array:
        """The Bradley-Terry probability that the row is preferred to the column, float64[K, K]."""
        return jax.nn.sigmoid(self.gold[:, None] - self.gold)


def draw(seed: int) -> World:
    """Draws a world whose lengths have nothing to do with gold."""
    random = np.random.default_rng(seed)
    gold, reference = random.standard_normal((2, RESPONSES))
    length = random.permutation(np.arange(5.0, 5.0 + RESPONSES))
    length_free = length - length.mean()
    gold = gold - gold.mean() - length_free * (gold @ length_free) / (length_free @ length_free)
    return World(jnp.asarray(gold), jax.nn.log_softmax(jnp.asarray(reference)), jnp.asarray(length))


def population_loss(name: str, numbers: Numbers, logits: jax.Array, world: World, preference: jax.Array) -> jax.Array:
    """Returns the expected loss over all pairs of different responses, each labelled with its probability."""
    first, second = (jnp.asarray(side) for side in np.nonzero(~np.eye(len(world.gold), dtype=bool)))
    pairs = direct.pairs_of(jax.nn.log_softmax(logits), world.log_reference, world.length, first, second)
    return jnp.sum(preference[first, second] * direct.loss(name)(pairs, numbers)) / len(first)


def minimiser(objective: Callable, start: jax.Array) -> np.ndarray:
    """Returns where a smooth function has its minimum, float64[K]."""
    value_and_grad = jax.jit(jax.value_and_grad(objective))

    def evaluate(x):
        value, gradient = value_and_grad(jnp.asarray(x))
        return float(value), np.asarray(gradient)

    return optimize.minimize(evaluate, np.asarray(start), jac=True, method="BFGS", options={"gtol": 1e-11}).x


def total_variation(log_p: jax.Array, log_q: jax.Array) -> float:
    """Returns half the sum of absolute differences of two distributions."""
    return float(0.5 * jnp.abs(jnp.exp(log_p) - jnp.exp(log_q)).sum())


def optimum(name: str, numbers: Numbers, world: World) -> jax.Array:
    """Returns the log-probabilities that minimise a loss on Bradley-Terry data."""
    objective = functools.partial(population_loss, name, numbers, world=world, preference=world.preference)
    return jax.nn.log_softmax(jnp.asarray(minimiser(objective, world.log_reference)))


def exact_optima(seed: int) -> dict[str, float]:
    """Returns how far the minimisers are from the closed forms."""
    world = draw(seed)
    found = {"dpo_variation": total_variation(optimum("dpo", Numbers(beta=BETA), world), _tilted(world, world.gold, BETA))}
    uniform = jnp.full(RESPONSES, 1 / RESPONSES)
    psi = psi_optimal(world.log_reference, world.preference, uniform, BETA, logit)
    found["psi_variation"] = total_variation(psi, _tilted(world, world.gold, BETA))
    priced = optimum("r_dpo", Numbers(beta=BETA, length=TOKEN_PRICE), world)
    tilt = np.asarray(priced - world.log_reference - world.gold / BETA)
    found["length_slope"] = float(np.polyfit(np.asarray(world.length), tilt, 1)[0])
    return found


def _tilted(world: World, reward: jax.Array, beta: float) -> jax.Array:
    return kl_optimal(world.log_reference, reward, beta)


def _two(margin: Any, shift: float = 0.0) -> Pairs:
    """Two responses, probability 1/2 each under the reference; shift: added to the reference's log-probabilities."""
    policy = jax.nn.log_softmax(jnp.stack([jnp.asarray(margin, float), jnp.zeros(())]))
    half = jnp.log(jnp.full(1, 0.5))
    one = jnp.ones(1)
    return Pairs(policy[:1], policy[1:], half + shift, half - shift, one, one)


def gradients_at_zero() -> float:
    """Returns the largest error of the gradients in the margin, at the reference, against their closed forms."""
    e, beta, tau, eta = FLIPS, BETA, 0.3, 0.8
    numbers = Numbers(beta=beta, tau=tau, flip_rate=e, eta=eta)
    expected = {
        "dpo": -beta / 2,
        "cdpo": -beta * (1 - 2 * e) / 2,
        "robust": -beta / (2 * (1 - 2 * e)),
        "ipo": -1 / tau,
        "kto": -beta / 4,
        "dpop": -beta / 2,
        "r_dpo": -beta / 2,
        "beta_dpo": -beta / 2,
        "sppo": -eta,
        "apo_zero": -beta / 4,
        "bco": -beta / 2,
        "exo": -beta / 4 * np.log((1 - numbers.smoothing) / numbers.smoothing),
    }
    errors = []
    for name, closed in expected.items():
        # Half of the margin each way, so that losses of the two log-ratios have a derivative in it too.
        def along(margin, name=name):
            pairs = _two(0.0)
            pairs = pairs._replace(chosen=pairs.chosen + margin / 2, rejected=pairs.rejected - margin / 2)
            return direct.loss(name)(pairs, numbers)[0]

        errors.append(abs(float(jax.grad(along)(1e-12)) - closed))
    return max(errors)


def robustness() -> float:
    """Returns the largest gap between the robust loss averaged over flips and DPO on clean labels."""
    margins = jnp.linspace(-5.0, 5.0, 11)
    numbers = Numbers(beta=BETA, flip_rate=FLIPS)

    def loss(name, margin):
        return direct.loss(name)(_two(margin), numbers)[0]

    gaps = [abs((1 - FLIPS) * loss("robust", m) + FLIPS * loss("robust", -m) - loss("dpo", m)) for m in margins]
    return float(max(gaps))


def change_with_reference() -> float:
    """Returns by how much another reference changes the losses that need none, gradients included."""
    changes = []
    for name in direct.WITHOUT_REFERENCE:
        for function in (
            direct.loss(name),
            lambda pairs, numbers, name=name: jax.grad(lambda x: direct.loss(name)(pairs._replace(chosen=x), numbers).sum())(
                pairs.chosen
            ),
        ):
            one, other = (function(_two(0.7, shift), Numbers()) for shift in (0.0, 2.0))
            changes.append(float(jnp.abs(one - other).max()))
    return max(changes)


def descend(objective: Callable, start: jax.Array, checkpoints: np.ndarray, step: float = 0.1) -> np.ndarray:
    """Follows the gradient with a fixed step and returns the parameters after each number of steps, float64[C, K]."""

    @jax.jit
    def onward(x, count):
        return jax.lax.fori_loop(0, count, lambda _, x: x - step * jax.grad(objective)(x), x)

    x, path = start, []
    for count in np.diff(checkpoints, prepend=0):
        x = onward(x, int(count))
        path.append(np.asarray(x))
    return np.stack(path)


def checkpoints_up_to(steps: int) -> np.ndarray:
    """Returns ten numbers of steps per decade, int[C]; ends with steps / 10 .. steps."""
    decades = round(np.log10(steps))
    return np.unique(np.round(np.geomspace(1, 10**decades, 10 * decades + 1)).astype(int))


def margins(name: str, numbers: Numbers, checkpoints: np.ndarray) -> np.ndarray:
    """Returns the margin of a pair whose first response always wins, along the gradient steps, float64[C]."""
    path = descend(lambda x: direct.loss(name)(_two(x[0]), numbers).sum(), jnp.zeros(1), checkpoints)
    return path[:, 0]


def chain(name: str, numbers: Numbers, checkpoints: np.ndarray) -> np.ndarray:
    """Returns log pi(c) - log pi(a) where only a > b and b > c were seen, along the gradient steps, float64[C]."""
    world = World(jnp.zeros(3), jnp.log(jnp.full(3, 1 / 3)), jnp.ones(3))
    seen = jnp.zeros((3, 3)).at[0, 1].set(3.0).at[1, 2].set(3.0)  # the mean over six pairs becomes that over these two
    objective = functools.partial(population_loss, name, numbers, world=world, preference=seen)
    path = descend(lambda x: objective(x), jnp.zeros(3), checkpoints)
    return path[:, 2] - path[:, 0]


@functools.partial(jax.jit, static_argnames=("name", "steps"))
def length_correlation(key: jax.Array, name: str, steps: int = 200) -> jax.Array:
    """Trains on length-neutral labels from a reference that makes long responses unlikely, as language models do.

    Returns:
        The size of the correlation between the length and the loss's own implicit reward (the log-probability, per token where
        the loss divides by the length), float[].
    """
    gold_key, length_key, noise_key = jax.random.split(key, 3)
    length = jax.random.randint(length_key, (50,), 5, 50).astype(float)
    log_reference = -0.5 * length + jax.random.normal(noise_key, (50,))
    gold = jax.random.normal(gold_key, (50,))
    first, second = (jnp.asarray(side) for side in np.nonzero(~np.eye(50, dtype=bool)))
    preference = jax.nn.sigmoid(gold[first] - gold[second])

    def objective(log_probability):
        pairs = direct.pairs_of(log_probability, log_reference, length, first, second)
        numbers = Numbers(beta=1.0, target_margin=0.0, sft=0.0)
        return jnp.mean(preference * direct.loss(name)(pairs, numbers)) * 50

    # Log-probabilities of single responses among very many: they need not sum to one over those that were labelled.
    trained = jax.lax.fori_loop(0, steps, lambda _, x: x - 0.1 * jax.grad(objective)(x), log_reference)
    implicit = trained / length if name == NORMALISED else trained
    return jnp.abs(jnp.corrcoef(implicit, length)[0, 1])


def run(config: Config, session: Session) -> None:
    """Computes everything, in float64, and draws the margins."""
    checkpoints = checkpoints_up_to(config.steps)
    with jax.enable_x64(True):
        session.record(
            exact_optima(0)
            | {
                "gradient_error": gradients_at_zero(),
                "robust_error": robustness(),
                "reference_change": change_with_reference(),
            },
            "optima",
        )
        alike = Numbers(beta=BETA, flip_rate=FLIPS, target_margin=1.0, sft=1.0, eta=1.0)
        deterministic = {name: margins(name, alike, checkpoints) for name in direct.LOSSES}
        for name, path in deterministic.items():
            session.record({"margin": path}, f"deterministic, {name}")
        for beta in (0.1, 1.0):
            session.record({"margin": margins("dpo", Numbers(beta=beta), checkpoints)}, f"deterministic, dpo, beta {beta}")
        for tau in TAUS:
            numbers = Numbers(tau=tau)
            session.record({"margin": margins("ipo", numbers, checkpoints)}, f"deterministic, ipo, tau {tau}")
            session.record({"log_ratio": chain("ipo", numbers, checkpoints)}, f"chain, ipo, tau {tau}")
        session.record({"log_ratio": chain("dpo", Numbers(beta=BETA), checkpoints)}, "chain, dpo")
        keys = jax.random.split(jax.random.key(0), config.seeds)
        for name in (SUMMED, NORMALISED):
            correlation = jax.vmap(functools.partial(length_correlation, name=name))(keys)
            session.record({"correlation": np.asarray(correlation)[:, None]}, f"length, {name}")
    shown = ("dpo", "dpop", "apo_zero", "ipo", "cdpo", "sppo")
    lines = {name: (checkpoints, deterministic[name][None]) for name in shown}
    labels = ("Gradient steps", "Margin h (nats)")
    figures.relation(session.directory, "margins", lines, *labels, x_scale="log", title="A pair whose label never changes")
    lines = {"dpo": (checkpoints, _path(session.directory, "log_ratio", "chain, dpo")[None])}
    for tau in TAUS[1:]:
        lines[f"ipo, tau {tau}"] = (checkpoints, _path(session.directory, "log_ratio", f"chain, ipo, tau {tau}")[None])
    labels = ("Gradient steps", "log pi(c) - log pi(a) (nats)")
    figures.relation(session.directory, "chain", lines, *labels, x_scale="log", title="Three responses, a > b and b > c")


def _path(run: RunDirectory, metric: str, variant: str) -> np.ndarray:
    return run.curves(metric, variant, "metrics").values[0].astype(np.float64)


def _relative_error(metric: str, names: dict[str, float]) -> Callable[[RunDirectory], Verdict]:
    """Returns the check that recorded values are within 1 % of what they should be."""

    def check(run: RunDirectory) -> Verdict:
        worst = max(abs(float(recorded(run, metric, name)[0]) / value - 1.0) for name, value in names.items())
        return Verdict(worst <= 0.01, worst, "largest relative error <= 0.01")

    return check


def _growth(run: RunDirectory) -> Verdict:
    """The slope of beta h in the logarithm of the steps over the last decade: 1 if h grows like log(steps) / beta."""
    slopes = []
    for beta in (0.1, 1.0):
        path = _path(run, "margin", f"deterministic, dpo, beta {beta}")
        slopes.append(beta * (path[-1] - path[-11]) / np.log(10.0))
    least = float(min(slopes))
    return Verdict(least > 0.5, least, "smallest slope of beta h in log(steps), beta 0.1 and 1, > 0.5 in the last decade")


def _finite_margins(run: RunDirectory) -> Verdict:
    """A margin counts as finite if the last nine tenths of the steps change it by less than 1 %."""
    kept = []
    for name in sorted(direct.LOSSES):
        path = _path(run, "margin", f"deterministic, {name}")
        if abs(path[-1] - path[-11]) < 0.01 * abs(path[-1]):
            kept.append(name)
    missed = sorted(set(FINITE) ^ set(kept))
    return Verdict(not missed, len(missed), f"exactly {', '.join(FINITE)} keep finite margins; found {', '.join(kept)}")


def _loser_vanishes(run: RunDirectory) -> Verdict:
    path = _path(run, "log_ratio", "chain, dpo")
    fall = float(path[-11] - path[-1])
    return Verdict(fall > 1.0, fall, "log-ratio falls by more than 1 in the last decade of steps")


def _reference_free(run: RunDirectory) -> Verdict:
    change = float(recorded(run, "reference_change", "optima")[0])
    return Verdict(change == 0.0, change, "largest change of loss or gradient = 0")


CLAIMS = (
    Claim("The gradients at the reference are the closed forms", "derived", recorded_within("gradient_error", 0, 1e-9, "optima")),
    Claim(
        "DPO's optimum on Bradley-Terry data is the reference tilted by the reward, total variation below 1e-3",
        "Rafailov et al. (2023)",
        recorded_within("dpo_variation", 0, 1e-3, "optima"),
    ),
    Claim(
        "Psi-PO with the logit has the optimum of RLHF on Bradley-Terry data, total variation below 1e-3",
        "Azar et al. (2023)",
        recorded_within("psi_variation", 0, 1e-3, "optima"),
    ),
    Claim(
        "Averaged over flipped labels, the robust loss is DPO on the right ones",
        "Chowdhury et al. (2024)",
        recorded_within("robust_error", 0, 1e-9, "optima"),
    ),
    Claim(
        "On deterministic labels cDPO's margin ends at logit(1 - e) / beta, within 1 %",
        "derived",
        _relative_error("margin", {"deterministic, cdpo": float(np.log((1 - FLIPS) / FLIPS)) / BETA}),
    ),
    Claim(
        "On deterministic labels IPO's margin ends at 1 / (2 tau), within 1 %, tau 0.1, 0.5 and 1",
        "Azar et al. (2023)",
        _relative_error("margin", {f"deterministic, ipo, tau {tau}": 1 / (2 * tau) for tau in TAUS}),
    ),
    Claim("On deterministic labels DPO's margin grows without bound, whatever beta", "Azar et al. (2023)", _growth),
    Claim(
        "Of three responses, a > b and b > c, DPO drops the one that never wins",
        "Azar et al. (2023)",
        _loser_vanishes,
    ),
    Claim(
        "IPO keeps it at exp(-1 / tau) times the winner, within 1 % of the logarithm",
        "Azar et al. (2023)",
        _relative_error("log_ratio", {f"chain, ipo, tau {tau}": -1 / tau for tau in TAUS}),
    ),
    Claim("Losses without a reference do not see it", "by definition", _reference_free),
    Claim(
        "R-DPO's optimum falls by alpha / beta nats per token",
        "derived from the reward r - alpha |y|",
        recorded_within("length_slope", -1.01 * TOKEN_PRICE / BETA, -0.99 * TOKEN_PRICE / BETA, "optima"),
    ),
    Claim("Only IPO, cDPO and DPOP keep finite margins on deterministic labels", "surveys, 2024", _finite_margins),
    Claim(
        "Division by the length reduces how the implicit reward depends on the length, where gold does not depend on it",
        "after Meng et al. (2024)",
        exceeds(
            lambda run: recorded(run, "correlation", f"length, {SUMMED}"),
            lambda run: recorded(run, "correlation", f"length, {NORMALISED}"),
            "|correlation with the length|, CPO less SimPO",
        ),
    ),
)
