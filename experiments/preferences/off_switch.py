"""The off-switch game: whether a robot that does not know what its human wants should let itself be switched off.

An act is worth U to the human, of which the robot knows the mean m and the standard deviation s of a normal belief. It acts,
switches itself off (worth 0), or waits; then the human decides, and allows the act with probability 1 / (1 + exp(-U / b)): b is
the noise of the human, and without noise the act is allowed if U > 0. The gain of waiting is what that is worth beyond the better
of the other two.

Source: Hadfield-Menell et al. (2017), The off-switch game.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, optimize, special, stats

from jaxrl.experiment import Claim, Quantity, Results, draw, every, exact, final, largest

BELIEFS = ((0.5, 1.0), (-0.5, 1.0), (0.0, 1.0), (1.0, 0.5), (-2.0, 2.0))  # mean and deviation
NOISES = (0.0, 0.1, 0.5, 1.0, 2.0)
BREAK_EVEN = {0.25: 0.0625, 0.5: 0.25, 1.0: 1.0, 2.0: 4.0, 4.0: 16.0}  # deviation: noise at which waiting pays nothing, |m| = 0.5
GAINS = {0.1: 0.1922, 0.5: 0.1049, 2.0: -0.1042}  # noise: gain of waiting with mean 0.5 and deviation 1


@dataclass(frozen=True)
class Config:
    """Gains of waiting in closed form, by integrals and by samples."""

    seeds: int = 64
    """Estimates of each gain (count)."""
    samples: int = 200_000
    """Draws of U in each estimate (count)."""


QUICK = Config(seeds=4, samples=1000)


def rational_gain(mean: float, deviation: float) -> float:
    """Returns the gain of waiting for a human without noise: s phi(m / s) - |m| Phi(-|m| / s), in closed form."""
    ratio = abs(mean) / deviation
    return float(deviation * stats.norm.pdf(ratio) - abs(mean) * stats.norm.cdf(-ratio))


def gain(mean: float, deviation: float, noise: float) -> float:
    """Returns the gain of waiting for a human with noise, by an integral; the belief may be certain, the noise 0."""
    if noise == 0 and deviation > 0:
        return rational_gain(mean, deviation)
    if deviation == 0:
        return float(mean * (special.expit(mean / noise) if noise else float(mean > 0)) - max(mean, 0))

    def density(u: float) -> float:
        return special.expit(u / noise) * u * stats.norm.pdf(u, mean, deviation)

    ends = mean - 12 * deviation, mean + 12 * deviation
    places = [place for place in (0.0, mean) if ends[0] < place < ends[1]]
    return integrate.quad(density, *ends, points=places, epsabs=1e-12, limit=400)[0] - max(mean, 0)


def break_even(mean: float, deviation: float) -> float:
    """Returns the noise at which waiting gains nothing, by a search for the root."""
    guess = deviation**2 / (2 * abs(mean))
    ends = guess / 10, guess * 10
    return float(optimize.root_scalar(lambda noise: gain(mean, deviation, noise), bracket=ends, xtol=1e-12).root)


@partial(jax.jit, static_argnums=4)
def estimates(keys: jax.Array, mean: float, deviation: float, noise: float, samples: int) -> jax.Array:
    """Returns means of the gain over draws of U and of the human's decision, float[S]."""

    def estimate(key):
        worth_key, human_key = jax.random.split(key)
        worth = mean + deviation * jax.random.normal(worth_key, (samples,))
        threshold = noise * jax.random.logistic(human_key, (samples,))
        return jnp.where(worth > threshold, worth, 0.0).mean() - jnp.maximum(mean, 0.0)

    return jax.lax.map(estimate, keys)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Computes and estimates gains. ``sampled``: an estimate in each row; ``apart``: how far it is from ``gain``."""
    keys = jax.random.split(jax.random.key(results.root), config.seeds)
    for mean, deviation in BELIEFS:
        for noise in NOISES:
            known, found = gain(mean, deviation, noise), np.asarray(estimates(keys, mean, deviation, noise, config.samples))
            columns = {"sampled": found, "gain": np.full(config.seeds, known), "apart": found - known}
            belief = {"mean": mean, "deviation": deviation, "noise": noise}
            yield belief, {name: values[:, None] for name, values in columns.items()}
    for mean in (-2.0, -0.5, 0.5, 2.0):
        for noise in NOISES:
            yield {"mean": mean, "deviation": 0.0, "noise": noise}, {"gain": gain(mean, 0.0, noise)}


def figures(results: Results) -> None:
    """Draws the gain of waiting by the noise of the human, and the noise at which it ends."""
    noises = np.linspace(0, 3, 61)
    lines = {
        f"deviation {deviation:g}": (noises, np.array([[gain(0.5, deviation, noise) for noise in noises]]))
        for deviation in (0.0, 0.5, 1.0, 2.0)
    }
    axes = "Noise of the human b (units of U)", "Gain of waiting (units of U)"
    draw.relation(results, "gain", lines, *axes, level=0.0, title="A robot that expects 0.5 of its act")
    deviations = np.array(list(BREAK_EVEN))
    found = np.array([[break_even(0.5, deviation) for deviation in deviations]])
    lines = {"root of the integral": (deviations, found), "s^2 / 2|m|": (deviations, deviations[None] ** 2)}
    axes = "Deviation s of the belief (units of U)", "Noise at which waiting gains nothing"
    draw.relation(results, "break_even", lines, *axes, x_scale="log", y_scale="log", title="Worth of the doubt, |m| = 0.5")


def gain_at(noise: float) -> Quantity:
    """The gain of waiting with mean 0.5 and deviation 1."""
    return exact(f"gain at noise {noise:g}", lambda: gain(0.5, 1.0, noise))


PAPER = "Hadfield-Menell et al. (2017)"
CLAIMS = (
    Claim(
        "To wait for a human without noise gains 0.1978 with mean 0.5 and deviation 1, and samples agree with the closed form to "
        "0.001 for five beliefs",
        f"{PAPER}, theorem 1",
        every(
            [gain_at(0.0).equals(0.1978, 5e-5)]
            + [final("apart", mean=mean, deviation=deviation, noise=0.0).within(-1e-3, 1e-3) for mean, deviation in BELIEFS]
        ),
    ),
    Claim(
        "A robot that is certain of U gains nothing by waiting, whatever the noise of the human",
        PAPER,
        largest("gain", deviation=0.0) <= 0,
    ),
    Claim(
        "With mean 0.5 and deviation 1 waiting gains 0.1922 at a noise of 0.1 and 0.1049 at 0.5, and loses 0.1042 at 2; samples "
        "agree to 0.001",
        f"{PAPER}, section 4",
        every(
            [gain_at(noise).equals(value, 5e-5) for noise, value in GAINS.items()]
            + [final("apart", mean=0.5, deviation=1.0, noise=noise).within(-1e-3, 1e-3) for noise in GAINS]
        ),
    ),
    Claim(
        "Waiting pays as long as the noise is below s^2 / 2|m|: with |m| = 0.5 below 0.0625, 0.25, 1, 4 and 16 for s = 0.25 to 4",
        "at that noise the integrand is odd; roots of the integral",
        every(
            exact(f"break-even noise at m = {mean:g}, s = {s:g}", partial(break_even, mean, s)).equals(noise, 1e-6 * noise)
            for s, noise in BREAK_EVEN.items()
            for mean in (-0.5, 0.5)
        ),
    ),
)
