"""Banks that target leverage by its risk: period doubling, chaos, and the coupling above which all breach their cap together.

The leverage of a bank by itself follows the logistic map x' = r x (1 - x); through the assets that all hold, each bank takes a
share e of the mean of all. A bank breaches its cap where x > 0.9.

Source: Ioffredi (2026), Chaos and Synchronization in Financial Leverages Dynamics; the map and the coupling are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxrl.experiment import Claim, Quantity, Results, draw, every, exact, final, largest
from jaxrl.solvers.coupled_maps import coupled, lyapunov_exponent, synchronisation_threshold

BANKS, CAP = 8, 0.9
EQUAL, UNEQUAL = "equal", "unequal"
RATES = {EQUAL: np.full(BANKS, 4.0), UNEQUAL: np.linspace(3.9, 4.0, BANKS)}  # r of each bank
COUPLINGS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.44, 0.46, 0.48, 0.5, 0.52, 0.54, 0.56, 0.6, 0.7)
BELOW, ABOVE = 0.48, 0.52  # around the threshold of 1/2


@dataclass(frozen=True)
class Config:
    """Eight banks, by themselves and coupled."""

    seeds: int = 200
    """Initial leverages of all banks (count)."""
    steps: int = 20_000
    """Steps before the last 2000, which are measured (count)."""


QUICK = Config(seeds=4, steps=100)


def run(start: jax.Array, rate: jax.Array, coupling: jax.Array, steps: int) -> dict[str, jax.Array]:
    """Returns means over 2000 steps after ``steps``: of the distance of the highest from the lowest bank, and of breaches."""
    move = coupled(lambda x: rate * x * (1 - x), coupling)

    def step(x, _):
        breaches = (x > CAP).sum()
        return move(x), (jnp.ptp(x), breaches > BANKS // 2, breaches / BANKS)

    late = jax.lax.fori_loop(0, steps, lambda _, x: move(x), start)
    _, (spread, together, share) = jax.lax.scan(step, late, length=2000)
    return {"spread": spread.mean(), "together": together.mean(), "breaches": share.mean()}


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Follows the banks in float64, a row for each start.

    ``spread``: how far the highest bank is above the lowest; ``together``: how often more than half of them breach the cap at the
    same time; ``breaches``: the share of banks that do. ``exponent``: of one bank by itself.
    """
    with jax.enable_x64(True):
        starts = jnp.asarray(np.random.default_rng(results.root).uniform(0.01, 0.99, (config.seeds, BANKS)))
        over = jax.vmap(jax.vmap(lambda x, rate, e: run(x, rate, e, config.steps), (0, None, None)), (None, None, 0))
        for banks, rate in RATES.items():
            found = jax.device_get(jax.jit(over)(starts, jnp.asarray(rate), jnp.array(COUPLINGS)))
            for number, coupling in enumerate(COUPLINGS):
                measures = {name: values[number][:, None] for name, values in found.items()}
                yield {"banks": banks, "coupling": coupling}, measures
        exponent = jax.vmap(lambda x: lyapunov_exponent(lambda y: 4.0 * y * (1 - y), x, 16_000))(starts[:, 0])
        yield {"banks": "one"}, {"exponent": np.asarray(exponent.value)[:, None]}


def first_doubling() -> float:
    """Returns the smallest r from which the leverage of one bank ends in a cycle of two."""

    def apart(rate: float) -> float:  # of two following leverages after 1e5 steps, less a hundredth
        move = jax.jit(lambda x: rate * x * (1 - x))
        late = jax.lax.fori_loop(0, 100_000, lambda _, x: move(x), jnp.float64(0.3))
        return float(jnp.abs(move(late) - late)) - 0.01

    with jax.enable_x64(True):
        return float(optimize.root_scalar(apart, bracket=(2.5, 3.4), xtol=1e-4).root)


def figures(results: Results) -> None:
    """Draws by the coupling how far banks are apart, and how often more than half breach their cap together."""
    for metric, label, title in (
        ("spread", "Highest less lowest leverage", "Banks move as one above a coupling of 1/2"),
        ("together", "Share of steps in which most banks breach", "Breaches of most banks at the same time"),
    ):
        lines = {f"{banks} rates": results.along(metric, "coupling", banks=banks) for banks in RATES}
        draw.relation(results, metric, lines, "Coupling e", label, title=title)


def spread(coupling: float, banks: str = EQUAL) -> Quantity:
    """How far banks are apart."""
    return final("spread", banks=banks, coupling=coupling)


def together(coupling: float) -> Quantity:
    """How often most banks breach at the same time."""
    return final("together", banks=EQUAL, coupling=coupling)


CLAIMS = (
    Claim(
        "The leverage of a bank by itself first doubles its period at r = 3, up to 0.01",
        "the slope of the logistic map at its fixed point is 2 - r",
        exact("first period doubling", first_doubling).equals(3.0, 0.01),
    ),
    Claim(
        "At r = 4 its Lyapunov exponent is log 2, up to 0.01",
        "conjugate to the tent map; Ulam and von Neumann (1947)",
        final("exponent").within(np.log(2) - 0.01, np.log(2) + 0.01),
    ),
    Claim(
        "Eight equal banks move as one if coupled by more than 1 - exp(-log 2) = 1/2: at 0.52 all leverages are equal from each "
        "of 200 starts, at 0.48 they are not",
        "Kaneko (1990)",
        every(
            [
                exact("threshold at r = 4", lambda: float(synchronisation_threshold(np.log(2)))).equals(0.5, 1e-6),
                largest(spread(ABOVE)) <= 1e-9,
                spread(BELOW) > 1e-3,
            ]
        ),
    ),
    Claim(
        "Most banks breach together more often at a coupling of 0.52 than without coupling, and at least half of this rise lies "
        "between 0.48 and 0.52: it is a jump",
        "the bar is ours",
        every(
            [
                together(ABOVE) > together(0.0),
                (together(ABOVE) - together(BELOW)) - (together(ABOVE) - together(0.0)) * 0.5 >= 0.0,
            ]
        ),
    ),
    Claim(
        "Banks with r from 3.9 to 4 stay apart at couplings of 0.52, 0.6 and 0.7, but at 0.6 by less than a quarter of their "
        "distance without",
        "approximate synchronisation; the bar is ours",
        every(
            [spread(coupling, UNEQUAL) > 1e-4 for coupling in (ABOVE, 0.6, 0.7)]
            + [spread(0.6, UNEQUAL) - spread(0.0, UNEQUAL) * 0.25 < 0.0]
        ),
    ),
)
