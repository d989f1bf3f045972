"""Learning a reward from preferences between trajectories, judged by the policy it leads to.

Segments of 10 steps on a 6x6 grid, from policies between random and near-optimal, are labelled by a Bradley-Terry judge; a
reward is fitted to N comparisons and the exact optimal policy for it is evaluated under the true reward: 0 is the uniform policy,
1 the optimum. Controls are random labels, a network in place of a table, and behaviour cloning of the preferred segments.

Source: Christiano et al. (2017); the thresholds are ours.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.gridworlds.reward_grid import cell_rewards
from jaxrl.algorithms.preferences import reward_fitting
from jaxrl.algorithms.preferences.labellers import LabelledSegments, Labeller
from jaxrl.algorithms.preferences.losses import bradley_terry_loss
from jaxrl.algorithms.preferences.metrics import BehaviourCloning, HeldOut, PolicyRegret
from jaxrl.algorithms.preferences.reward_models import MLP, Tabular
from jaxrl.algorithms.preferences.segments import boltzmann_policies, differences
from jaxrl.core.finite import tabulate
from jaxrl.experiment import Arm, Claim, Results, derived, draw, exact, final

GAMMA = 0.95
TEMPERATURES = (1000.0, 4.0, 1.0)  # of the optimal action values: a random policy, a weak one, a good one
SIZES = (30, 100, 300, 1000, 2000)  # comparisons


@dataclass(frozen=True)
class Config:
    """Reward models on a grid, from 30 to 2000 comparisons."""

    seeds: int = 16
    """Data sets, each with a reward model of its own (count)."""
    updates: int = 20
    """Updates of each reward model (count), each of 20 passes over its data (5 of the network)."""


QUICK = Config(seeds=2, updates=2)


@functools.cache
def segments() -> LabelledSegments:
    """Returns data sets of full size with honest labels."""
    env = envs.make("reward_grid")
    return LabelledSegments(env, boltzmann_policies(env, GAMMA, TEMPERATURES), Labeller(), jnp.int32(SIZES[-1]), SIZES[-1])


def arms(config: Config) -> Iterator[Arm]:
    """A tabular reward on labels of every number and on random ones, and a network on the most labels."""
    env = segments().env
    pays = jnp.asarray(cell_rewards(6, 6, 0), jnp.float32)[tabulate(env).observation]
    unseen = replace(segments(), num_labels=jnp.int32(1000), num_pairs=1000)(jax.random.key(12345))
    fits = {
        "tabular": reward_fitting.Config(Tabular.of(env, reads=("next_obs",)), 0.03, num_epochs=20, num_minibatches=1),
        "network": reward_fitting.Config(MLP.of(env, reads=("obs", "action")), 3e-3, num_epochs=5, num_minibatches=1),
    }
    honest = [(0.0, size) for size in SIZES]
    for name, cases in (("tabular", [*honest, (0.5, SIZES[-1])]), ("network", honest[-1:])):
        model = fits[name].model
        regret = PolicyRegret.of(env, model, GAMMA, jnp.broadcast_to(pays, (36, 4, 36)))
        for flip_rate, size in cases:
            yield Arm(
                {"model": name, "flip_rate": flip_rate, "pairs": size},
                reward_fitting.make,
                replace(segments(), labeller=Labeller(flip_rate=flip_rate), num_labels=jnp.int32(size)),
                fits[name],
                seeds=config.seeds,
                num_updates=config.updates,
                evaluators=(regret, BehaviourCloning(regret), HeldOut(unseen, model)),
                show=("normalised_return", "held_out_accuracy"),
            )


def by_size(results: Results, metric: str) -> np.ndarray:
    """Returns the last values of the tabular reward for every number of comparisons, float64[S, sizes]."""
    return results.along(metric, "pairs", model="tabular", flip_rate=0.0)[1]


def figures(results: Results) -> None:
    """Draws returns and distances from the true reward over the number of comparisons, and the returns with the most of them."""
    lines = {
        "policy from the reward": (SIZES, by_size(results, "normalised_return")),
        "behaviour cloning": (SIZES, by_size(results, "cloned_return")),
    }
    options = {"x_scale": "log", "level": 1.0, "note": "0 is the uniform policy, 1 the optimum."}
    draw.relation(results, "return_by_size", lines, "Comparisons", "Normalised return", **options)
    lines = {name: (SIZES, by_size(results, f"{name}_distance")) for name in ("starc", "epic")}
    draw.relation(results, "distance_by_size", lines, "Comparisons", "Distance from the true reward", x_scale="log")
    draw.curves(results, "normalised_return", {"optimum": 1.0, "title": "bt_rm: 2000 comparisons"}, pairs=SIZES[-1])


def slope(results: Results) -> np.ndarray:
    """Returns by how much the return rises per unit of log N, float64[S]."""
    return np.polyfit(np.log(SIZES), by_size(results, "normalised_return").T, 1)[0]


def change_by_constant() -> float:
    """Returns by how much 3.7 added to a tabular reward changes the loss on 100 comparisons, in float64."""
    found = replace(segments(), num_labels=jnp.int32(100), num_pairs=100)(jax.random.key(0))
    model = Tabular.of(segments().env, reads=("next_obs",))
    with jax.enable_x64(True):
        table = jnp.asarray(cell_rewards(6, 6, 1))
        less, more = (differences(model, table + constant, found.segments, found.first, found.second) for constant in (0.0, 3.7))
        return float(abs(bradley_terry_loss(more, found.label).mean() - bradley_terry_loss(less, found.label).mean()))


CLAIMS = (
    Claim(
        "On a 6x6 grid the optimal policy of a tabular reward fitted to 2000 comparisons has a normalised return of at least "
        "0.95 on average",
        "after Christiano et al. (2017); the bar is ours",
        final("normalised_return", model="tabular", flip_rate=0.0, pairs=SIZES[-1]) >= 0.95,
    ),
    Claim(
        "The normalised return of the optimal policy of a fitted tabular reward rises with the number of comparisons, from 30 to "
        "2000 on a 6x6 grid",
        "after Christiano et al. (2017)",
        derived("slope of the normalised return in log N", slope) > 0,
    ),
    Claim(
        "On a 6x6 grid the optimal policy of a tabular reward fitted to 2000 random labels (flip rate 0.5) has a normalised "
        "return of at most 0.3 on average",
        "negative control, the bar is ours",
        final("normalised_return", flip_rate=0.5) <= 0.3,
    ),
    Claim(
        "A constant added to the reward leaves the Bradley-Terry loss on segments of equal length as it is",
        "follows from the Bradley-Terry likelihood",
        exact("change of the loss by a constant of 3.7", change_by_constant).equals(0.0, 1e-12),
    ),
)
