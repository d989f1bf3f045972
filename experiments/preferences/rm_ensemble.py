"""Ensembles of reward models against over-optimisation: the proxy rises for ever, what people want rises and falls.

A bandit of 1000 responses stands in for a language model; 6000 comparisons cover them unevenly. Best-of-n, computed exactly from
ranks, and the closed-form KL-optimal policy optimise one model, the ensemble's mean, its worst case and its mean less variance.
Members are anchored at random first tables (Pearce et al. 2020), which plays a network's opinions about what it has not seen.
In a control all members are linear in the same features: they extrapolate alike, and cannot disagree about what they have not
seen. No language model: only how optimisation exploits the errors of a proxy is tested.

Source: Coste et al. (2023); the curve d (a - b d), d the root of the divergence, from Gao et al. (2022).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import jax.numpy as jnp
import numpy as np

from jaxrl.algorithms.preferences import ensembles, reward_fitting
from jaxrl.algorithms.preferences.labellers import Labeller
from jaxrl.algorithms.preferences.overoptimisation import by_best_of_n, by_kl_penalty, fall_from_peak, fit_distance
from jaxrl.algorithms.preferences.reward_models import Linear, Tabular
from jaxrl.core.spaces import Box, Discrete
from jaxrl.experiment import Arm, Claim, Quantity, Results, derived, draw, final
from jaxrl.results import factors
from jaxrl.solvers.kl_optimal import best_of_n_kl
from jaxrl.studies.labelled_responses import LabelledResponses

OPTIMISERS = {  # each with its strengths: n of best-of-n, 1 to 4096, and beta of the penalty
    "best-of-n": (by_best_of_n, 2.0 ** np.arange(13)),
    "KL penalty": (by_kl_penalty, np.geomspace(10.0, 0.1, 13)),
}
DISTANCE = np.sqrt(np.asarray(best_of_n_kl(OPTIMISERS["best-of-n"][1])))
AGGREGATES = {
    "single": ("single", None),
    "mean": ("mean", None),
    "worst case": ("worst_case", None),
    "mean less half the variance": ("uncertainty_weighted", 0.5),
    "mean less variance": ("uncertainty_weighted", 1.0),
}
FEATURES = 8
SPREAD = 2.0  # standard deviation of what members believe before they have seen a comparison; gold's is 1
WORLDS = [{"model": m, "flip_rate": f} for m, f in (("tabular", 0.0), ("tabular", 0.25), ("linear", 0.0))]
TABLES, FLIPPED, LINEAR = WORLDS


@dataclass(frozen=True)
class Config:
    """Best-of-n on ensembles of five reward models."""

    seeds: int = 64
    """Worlds, each with a data set and an ensemble of its own (count)."""
    members: int = 5
    """Reward models in an ensemble (count)."""
    responses: int = 1000
    """Responses (count)."""
    pairs: int = 6000
    """Labelled comparisons in each world (count)."""
    updates: int = 8
    """Updates of each model (count), each of 20 passes over its data."""


QUICK = Config(seeds=2, responses=50, pairs=300, updates=2)


def arms(config: Config) -> Iterator[Arm]:
    """Ensembles of tables without flips and with 25 % flips, and of linear models where gold is half linear."""
    response = (Box(-np.inf, np.inf, (FEATURES,)), Discrete(config.responses))
    table = Tabular(*response, reads=("action",), init_scale=SPREAD)
    linear = Linear(*response, reads=("obs",), init_scale=SPREAD)
    # The decay is that of a Gaussian prior as wide as the first opinions. Chosen on other seeds (root 1): with first opinions
    # only as spread as gold itself, a single model stops to improve but is hardly over-optimised.
    decay = 1 / (config.pairs * SPREAD**2)
    options = {"num_epochs": 20, "num_minibatches": 1, "bootstrap": True, "anchored": True}
    for world, model, share in zip(WORLDS, (table, table, linear), (0.0, 0.0, 0.5), strict=True):
        labeller = Labeller(flip_rate=world["flip_rate"])
        yield Arm(
            world,
            ensembles.make,
            LabelledResponses(labeller, jnp.float32(share), config.responses, config.pairs, FEATURES),
            ensembles.Config(reward_fitting.Config(model, 0.1, decay, **options), config.members),
            seeds=config.seeds,
            num_updates=config.updates,
            show=("loss", "accuracy"),
        )


def measure(config: Config, results: Results):
    """Optimises each aggregate of each ensemble: gold, proxy and divergence at every n of best-of-n and every beta."""
    reference = jnp.full(config.responses, 1 / config.responses)
    for arm in arms(config):
        state = results.states(**arm.factors)
        pool, model = state.preferences.segments, arm.config.fitting.model
        for (aggregate, kind), (optimiser, (optimise, strengths)) in product(AGGREGATES.items(), OPTIMISERS.items()):
            proxy = ensembles.scores_of_seeds(ensembles.Aggregated(model, *kind), state.member.params, pool)
            found = optimise(reference, pool.reward[..., 0], proxy, jnp.float32(strengths))
            yield {**arm.factors, "aggregate": aggregate, "optimiser": optimiser}, found._asdict()


def curve(results: Results, metric: str, world: dict, aggregate: str = "single") -> np.ndarray:
    """Returns a metric at every n of best-of-n, float64[S, 13]."""
    return results.values(metric, **world, aggregate=aggregate, optimiser="best-of-n")


def figures(results: Results) -> None:
    """Draws gold against the distance from the reference, a line for each aggregate."""
    for world in WORLDS:
        title, file = f"rm_ensemble: {factors.label(world)}", f"{world['model']}_{world['flip_rate']:g}"
        best, kl = ({one: {**world, "aggregate": one, "optimiser": optimiser} for one in AGGREGATES} for optimiser in OPTIMISERS)
        a, b = (values.mean() for values in fit_distance(DISTANCE, curve(results, "gold", world)))
        note = f"Fit of the single model: d ({a:.2f} - {b:.2f} d), peak at d = {a / (2 * b):.2f}."
        labels = ("Root of log n - (n - 1) / n (nats to the 1/2)", "Gold reward of best-of-n")
        draw.lines(results, f"best_of_n_{file}", "gold", best, *labels, DISTANCE, title=title, note=note)
        distances = {one: np.sqrt(results.values("divergence", **arm).mean(0)) for one, arm in kl.items()}
        labels = ("Root of KL(policy, reference), mean over seeds (nats to the 1/2)", "Gold reward of the KL-optimal policy")
        draw.lines(results, f"kl_penalty_{file}", "gold", kl, *labels, distances, title=title)


def smallest_rise(results: Results) -> float:
    """Returns the smallest increase of a proxy from n to 2 n, of all ensembles, aggregates and seeds."""
    proxies = [curve(results, "proxy", world, aggregate) for world in WORLDS for aggregate in AGGREGATES]
    return float(np.diff(proxies, axis=-1).min())


def gain(world: dict, aggregate: str) -> Quantity:
    """The gold reward of best-of-4096 on an aggregate, less that on a single model."""
    best = {**world, "optimiser": "best-of-n"}
    return final("gold", **best, aggregate=aggregate) - final("gold", **best, aggregate="single")


SOURCE = "after Coste et al. (2023)"
CLAIMS = (
    Claim(
        "Best-of-n over-optimises a single tabular reward model: the gold reward falls from its peak to n = 4096",
        "Gao et al. (2022)",
        derived("gold at its peak less gold at n = 4096 (single)", lambda r: fall_from_peak(curve(r, "gold", TABLES))) > 0,
    ),
    Claim(
        "For a single tabular reward model, the gold reward of best-of-n bends down in the distance d from the reference: b > 0 "
        "in the fit d (a - b d)",
        "Gao et al. (2022)",
        derived("b (single)", lambda results: fit_distance(DISTANCE, curve(results, "gold", TABLES))[1]) > 0,
    ),
    Claim(
        "The proxy reward of best-of-n rises from every n to 2 n, up to 4096, for every ensemble, aggregate and seed",
        "Gao et al. (2022)",
        derived("smallest increase of the proxy from n to 2 n", smallest_rise) > 0,
    ),
    *(
        Claim(
            f"{labels}, best-of-4096 on the {aggregate} of five tabular reward models earns more gold reward than on one of them",
            SOURCE,
            gain(world, aggregate) > 0,
        )
        for labels, world in (("With unflipped labels", TABLES), ("With 25 % of labels flipped", FLIPPED))
        for aggregate in ("worst case", "mean less variance")
    ),
    Claim(
        "Negative control: where all members are linear in the same features and so extrapolate alike, mean less variance gains "
        "at most half as much gold reward over a single model as it does with tables",
        "follows from the ensemble's disagreement being its only signal; the bar is ours",
        gain(LINEAR, "mean less variance") <= gain(TABLES, "mean less variance") * 0.5,
    ),
)
