"""Policy gradients of optimal stopping: from the last epoch backwards, or all epochs together.

T offers come one by one, each 0.1, 0.2, ... or 1.0 with the same chance. Accepting one ends the sequence; to let all go pays
nothing. A policy has preferences of its own for every epoch and offer. With N updates of every epoch, the dynamic method
trains the last epoch first, freezes it and goes backwards.

Source: Klein, Weissmann and Doering (2024), "Beyond Stationarity: Convergence Analysis of Stochastic Softmax Policy Gradient
Methods".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import jax
import numpy as np

from jaxrl.experiment import Claim, Quantity, Results, draw, every, exact, final, largest, smallest
from jaxrl.solvers import stopping
from jaxrl.solvers.mdp.policy_gradient import dynamic_policy_gradient, simultaneous_policy_gradient

OFFERS = np.arange(1, 11) / 10
METHODS = {"dynamic": dynamic_policy_gradient, "simultaneous": simultaneous_policy_gradient}
EPOCHS, UPDATES = (5, 20), (30, 100, 300, 1000)
# It moves the difference of the two preferences of an offer by the gradient of one offer that is sure to come: both preferences
# move, and an offer counts by its chance of 1/10.
STEP_SIZE = 5.0
KNOWN = {(20, 300): (0.939, 0.826), (5, 300): (0.814, 0.788), (20, 1000): (0.960, 0.877)}  # (T, N): dynamic, simultaneous
OPTIMA = {5: 0.824050, 20: 0.968176}


@dataclass(frozen=True)
class Config:
    """Dynamic and simultaneous policy gradient in optimal stopping, exact and sampled."""

    seeds: int = 32
    """Independent learners from samples, of each kind (count)."""
    batch_size: int = 16
    """Episodes of one sampled gradient (count)."""
    longest: int = 1000
    """Most updates of each epoch in the sampled version (count)."""


QUICK = Config(seeds=4, batch_size=4, longest=30)


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Trains by exact gradients for both numbers of epochs, and from samples, a row per seed, for 20 epochs."""
    model = stopping.offers(OFFERS)
    with jax.enable_x64(True):
        for epochs, method in product(EPOCHS, METHODS):
            found = jax.jit(jax.vmap(partial(METHODS[method], model, epochs, STEP_SIZE)))(np.array(UPDATES))
            for updates, value, gap in zip(UPDATES, found.value, found.gap, strict=True):
                factors = {"gradients": "exact", "epochs": epochs, "method": method, "updates": updates}
                yield factors, {"value": float(value), "optimum": float(value + gap)}
    keys = jax.random.split(jax.random.key(results.root), config.seeds)
    for method, train in METHODS.items():
        # The number of updates is traced: one program for all.
        run = partial(train, model, EPOCHS[1], STEP_SIZE, batch_size=config.batch_size)
        learn = jax.jit(jax.vmap(lambda key, updates, run=run: run(updates, key=key), in_axes=(0, None)))
        for updates in UPDATES:
            found = learn(keys, min(updates, config.longest))
            factors = {"gradients": "sampled", "epochs": EPOCHS[1], "method": method, "updates": updates}
            yield factors, {"value": found.value[:, None]}


def figures(results: Results) -> None:
    """Draws the values by the number of updates."""
    for gradients, epochs in (("exact", 5), ("exact", 20), ("sampled", 20)):
        title = f"{epochs} offers, {gradients} gradients"
        options = {"x_scale": "log", "level": OPTIMA[epochs], "title": title, "note": "Horizontal line: the optimum."}
        name, of = f"{gradients}_{epochs}", {"gradients": gradients, "epochs": epochs}
        draw.against(results, name, "value", "updates", "Updates of each epoch", "Value (reward units)", of=of, **options)


def value(method: str, updates: int, epochs: int = 20, gradients: str = "exact") -> Quantity:
    """The exact value of the policy at the end."""
    return final("value", gradients=gradients, epochs=epochs, method=method, updates=updates)


CLAIMS = (
    *(
        Claim(
            f"The best policy of {epochs} offers is worth {known:.6f}",
            "Klein et al. (2024); backward induction",
            every(
                [largest("optimum", epochs=epochs).equals(known, 1e-6), smallest("optimum", epochs=epochs).equals(known, 1e-6)]
            ),
        )
        for epochs, known in OPTIMA.items()
    ),
    Claim(
        "The best policy of 10 offers that are uniform on [0, 1] is worth 0.861098",
        "Gilbert and Mosteller (1966)",
        exact("optimum of uniform offers", lambda: stopping.uniform_offers_value(10)).equals(0.861098, 1e-6),
    ),
    Claim(
        "To pick the best of 10 candidates with the chance 0.398690, the first 3 are let go",
        "Gilbert and Mosteller (1966)",
        every(
            [
                exact("candidates let go", lambda: stopping.secretary(10).skip).equals(3, 0),
                exact("chance of the best", lambda: stopping.secretary(10).chance).equals(0.398690, 1e-6),
            ]
        ),
    ),
    *(
        Claim(
            f"By {updates} exact gradients of step 5, {epochs} offers are worth {dynamic} backwards and {together} all together",
            "Klein et al. (2024), example of optimal stopping; the numbers are those of a plain loop over offers in the tests",
            every(
                [
                    value("dynamic", updates, epochs).equals(dynamic, 1e-3),
                    value("simultaneous", updates, epochs).equals(together, 1e-3),
                ]
            ),
        )
        for (epochs, updates), (dynamic, together) in KNOWN.items()
    ),
    *(
        Claim(
            f"By {gradients} gradients, 20 offers are worth more backwards than all together after 30, 100, 300 and 1000 updates",
            "Klein et al. (2024)",
            every(
                value("dynamic", updates, gradients=gradients) > value("simultaneous", updates, gradients=gradients)
                for updates in UPDATES
            ),
        )
        for gradients in ("exact", "sampled")
    ),
)
