"""Learning a reward from preferences between trajectories, judged by the policy it leads to.

Segments of 10 steps on a 6x6 grid, from policies between random and near-optimal, are labelled by a Bradley-Terry judge; a
reward is fitted to N comparisons and the exact optimal policy for it is evaluated under the true reward.

Source: Christiano et al. (2017); the thresholds are ours.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import envs
from envs.gridworlds.reward_grid import cell_rewards
from jaxrl.algorithms.preferences import reward_fitting
from jaxrl.algorithms.preferences.labellers import Labeller, ask
from jaxrl.algorithms.preferences.losses import bradley_terry_loss
from jaxrl.algorithms.preferences.metrics import HeldOut, PolicyRegret
from jaxrl.algorithms.preferences.reward_models import MLP, RewardModel, Tabular
from jaxrl.algorithms.preferences.segments import Preferences, collect, mixture, sample_pairs, scores
from jaxrl.blocks.exploration import boltzmann_probabilities
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, static
from jaxrl.core.finite import tabulate
from jaxrl.experiment.claims import Claim, above_zero, equals, last, mean_at_least, mean_within
from jaxrl.experiment.session import Session
from jaxrl.report import figures
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers.dynamic_programming import policy_iteration

GAMMA = 0.95
LENGTH = 10
TEMPERATURES = (1000.0, 4.0, 1.0)  # of the optimal action values: a random policy, a weak one, a good one
SIZES = (30, 100, 300, 1000, 2000)
LARGEST = f"{SIZES[-1]} pairs"
RANDOM = "random labels"
NETWORK = "network"


@dataclass(frozen=True)
class Config:
    """Reward models on a grid, from 30 to 2000 comparisons."""

    seeds: int = 16
    """Data sets, each with a reward model of its own (count)."""
    updates: int = 20
    """Updates of each reward model (count), each of 20 passes over its data (5 of the network)."""


QUICK = Config(seeds=2, updates=2)


@struct.dataclass
class MixedSegments:
    """Where a seed's comparisons come from: segments from several policies on an environment, labelled in random pairs.

    Every data set is drawn at its full size and the pairs beyond ``num_labels`` count nothing: one program serves all sizes.
    """

    env: Environment
    policies: jax.Array  # float32[M, X, A]
    labeller: Labeller
    num_labels: jax.Array  # int32[], how many pairs count
    num_pairs: int = static(default=SIZES[-1])

    def __call__(self, key: jax.Array) -> Preferences:
        """Draws the data set of a seed: as many segments as pairs."""
        collect_key, pair_key, label_key = jax.random.split(key, 3)
        segments = collect(collect_key, self.env, mixture(self.policies), self.num_pairs, LENGTH)
        first, second = sample_pairs(pair_key, segments.count, self.num_pairs)
        data = ask(label_key, self.labeller, segments, first, second)
        return replace(data, weight=data.weight * (jnp.arange(self.num_pairs) < self.num_labels))


@struct.dataclass
class Cloning:
    """Evaluates the policy that copies what was done in the preferred segments: ``cloned_return``, as ``normalised_return``."""

    regret: PolicyRegret

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        data, model = state.preferences, self.regret.model
        preferred = jnp.where(data.label > 0.5, data.first, data.second)
        obs, action = data.segments.obs[preferred], data.segments.action[preferred]
        counted = data.segments.mask[preferred] * data.weight[:, None]
        done = jnp.zeros((model.num_states, model.num_actions)).at[obs, action].add(counted)
        seen = done.sum(-1, keepdims=True)
        policy = jnp.where(seen > 0, done / jnp.maximum(seen, 1.0), 1.0 / model.num_actions)[model.observation]
        gap, _ = self.regret.exact.gap(policy)
        return {"cloned_return": 1.0 - gap / (self.regret.optimum - self.regret.uniform)}


def behaviour(env: Environment) -> jax.Array:
    """Returns the policies that are mixed, float32[M, X, A], by observation number."""
    model = tabulate(env)
    with jax.enable_x64(True):
        values = np.asarray(policy_iteration(model, GAMMA).action_value)
    by_observation = jnp.asarray(values[np.argsort(model.observation)], jnp.float32)
    return jnp.stack([boltzmann_probabilities(by_observation, temperature) for temperature in TEMPERATURES])


def run(config: Config, session: Session) -> None:
    """Fits reward models to data sets of every size, to random labels, and a network to the largest; clones as a baseline."""
    env = envs.make("reward_grid")
    policies = behaviour(env)
    tabular, network = Tabular.of(env, reads=("next_obs",)), MLP.of(env, reads=("obs", "action"))
    pays = jnp.asarray(cell_rewards(6, 6, 0), jnp.float32)[tabulate(env).observation]
    triples = jnp.broadcast_to(pays, (36, 4, 36))
    unseen = MixedSegments(env, policies, Labeller(), jnp.int32(1000), 1000)(jax.random.key(12345))

    def train(variant: str, size: int, labeller: Labeller, model: RewardModel, **options: Any) -> None:
        regret = PolicyRegret.of(env, model, GAMMA, triples)
        fitting = reward_fitting.Config(model, num_minibatches=1, **options)
        session.train(
            reward_fitting.make,
            MixedSegments(env, policies, labeller, jnp.int32(size)),
            fitting,
            seeds=config.seeds,
            num_updates=config.updates,
            evaluators=(regret, Cloning(regret), HeldOut(unseen, model)),
            variant=variant,
            show=("normalised_return", "held_out_accuracy"),
        )

    for size in SIZES:
        train(f"{size} pairs", size, Labeller(), tabular, learning_rate=0.03, num_epochs=20)
    train(RANDOM, SIZES[-1], Labeller(flip_rate=0.5), tabular, learning_rate=0.03, num_epochs=20)
    train(NETWORK, SIZES[-1], Labeller(), network, learning_rate=3e-3, num_epochs=5)

    directory = session.directory
    sizes = np.array(SIZES)
    lines = {
        "policy from the reward": (sizes, _by_size(directory, "normalised_return")),
        "behaviour cloning": (sizes, _by_size(directory, "cloned_return")),
    }
    labels = ("Comparisons", "Normalised return")
    note = "0 is the uniform policy, 1 the optimum."
    figures.relation(directory, "return_by_size", lines, *labels, x_scale="log", level=1.0, note=note)
    lines = {name: (sizes, _by_size(directory, f"{name}_distance")) for name in ("starc", "epic")}
    figures.relation(directory, "distance_by_size", lines, "Comparisons", "Distance from the true reward", x_scale="log")
    session.draw_curves("normalised_return", optimum=1.0)


def _by_size(run: RunDirectory, metric: str) -> np.ndarray:
    """Returns the last evaluations for every size, float[S, sizes]."""
    return np.stack([last(run, metric, f"{size} pairs") for size in SIZES], axis=1)


def _slope(run: RunDirectory) -> np.ndarray:
    """Returns by how much the return rises per unit of log N, float[S]."""
    values, size = _by_size(run, "normalised_return").astype(np.float64), np.log(SIZES)
    return values @ (size - size.mean()) / np.sum((size - size.mean()) ** 2)


def _change_by_constant() -> float:
    """Returns by how much a constant added to the reward changes the loss, in float64."""
    env = envs.make("reward_grid")
    data = MixedSegments(env, behaviour(env), Labeller(), jnp.int32(100), 100)(jax.random.key(0))
    model = Tabular.of(env, reads=("next_obs",))
    with jax.enable_x64(True):
        table = jnp.asarray(cell_rewards(6, 6, 1))

        def loss(table):
            score = scores(model, table, data.segments)
            return bradley_terry_loss(score[data.first] - score[data.second], data.label).mean()

        return float(jnp.abs(loss(table + 3.7) - loss(table)))


CLAIMS = (
    Claim(
        "The optimal policy of a reward fitted to 2000 comparisons has a normalised return of at least 0.95 on average",
        "after Christiano et al. (2017); the bar is ours",
        mean_at_least("normalised_return", 0.95, LARGEST),
    ),
    Claim(
        "The return rises with the number of comparisons",
        "after Christiano et al. (2017)",
        above_zero(_slope, "slope of the normalised return in log N"),
    ),
    Claim(
        "Fitted to 2000 random labels, its normalised return is at most 0.3 on average",
        "negative control, the bar is ours",
        mean_within("normalised_return", -np.inf, 0.3, RANDOM),
    ),
    Claim(
        "A constant added to the reward leaves the loss on segments of equal length as it is",
        "follows from the Bradley-Terry likelihood",
        equals(_change_by_constant, 0.0, 1e-12),
    ),
)
