"""Offline learning and off-policy evaluation on FrozenLake, from data of several qualities.

Behaviour cloning, conservative and implicit Q-learning learn from episodes of policies between random and near-optimal, each seed
from data of its own, and are evaluated exactly. A better policy than the behaviour is then evaluated from hundreds of data sets,
by importance sampling and by fitted Q evaluation, and compared with its exact value.

Source: Kumar et al. (2020), CQL; Kostrikov et al. (2022), IQL; Precup, Sutton and Singh (2000); Le, Voloshin and Yue (2019). The
lake, its data and the bars are ours.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.offline import behaviour_cloning, cql, implicit_q_learning
from jaxrl.blocks.datasets import Collected
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.evaluation import ExactValue
from jaxrl.evaluation.off_policy import KINDS, fitted_q_evaluation, importance_sampling, log_probs
from jaxrl.experiment import Arm, Claim, Results, draw, every, final, share
from jaxrl.solvers.mdp import host

GAMMA = 0.99  # of the learners
# Of the evaluated policy: 100 steps, the time limit, are beyond any horizon then, and the exact value is that of the episodes.
SHORT_GAMMA = 0.9
OPTIMUM = 0.542026
# Probabilities of a uniform action in place of the optimal one: of the two policies that take turns in the episodes of the data.
QUALITIES = {"random": (1.0, 1.0), "medium": (0.5, 0.5), "expert": (0.1, 0.1), "mixed": (1.0, 0.1)}
BEHAVIOUR, EVALUATED = 0.5, 0.3  # of off-policy evaluation
SIZES = {"hidden": (64,), "batch_size": 64, "learning_rate": 1e-3}
SLOW = {"gamma": GAMMA, "target_step_size": 0.01}
LEARNERS = {
    "BC": (behaviour_cloning, {}),
    "CQL": (cql, {"alpha": 0.1, **SLOW}),
    "IQL": (implicit_q_learning, {"critic_learning_rate": 1e-3, "inverse_temperature": 10.0, **SLOW}),
}
FITTED = "fitted Q"


@dataclass(frozen=True)
class Config:
    """Three offline learners and four off-policy evaluators on FrozenLake."""

    seeds: int = 16
    """Learners of each kind on data of each quality, side by side, each with data of its own (count)."""
    episodes: int = 200
    """Episodes in a data set (count)."""
    updates: int = 50
    """Updates of each learner (count), of 100 gradient steps each."""
    datasets: int = 500
    """Data sets from which a policy is evaluated (count)."""


QUICK = Config(seeds=2, episodes=20, updates=2, datasets=4)


@functools.cache
def lake() -> TabularModel:
    """Returns the exact model of the lake."""
    return tabulate(envs.make("frozen_lake"))


@functools.cache
def table(epsilon: float) -> np.ndarray:
    """Returns a policy by observation number, float32[16, 4]: uniform with probability epsilon, and optimal otherwise."""
    best = np.zeros(16, int)
    best[lake().observation] = np.argmax(host.solve(lake(), GAMMA).action_value, axis=-1)
    return (epsilon / 4 + (1 - epsilon) * np.eye(4)[best]).astype(np.float32)


def worth(policy: np.ndarray, gamma: float) -> float:
    """Returns the exact value of a policy by observation number."""
    return float(host.evaluate(lake(), policy[lake().observation], gamma).start_value(lake()))


def data_of(quality: str, config: Config) -> Collected:
    """Returns the task from which every seed draws its data."""
    tables = jnp.stack([jnp.asarray(table(epsilon)) for epsilon in QUALITIES[quality]])
    return Collected(envs.make("frozen_lake"), tables, config.episodes)


def arms(config: Config) -> Iterator[Arm]:
    """Three learners on data of four qualities."""
    value = ExactValue.of(envs.make("frozen_lake"), GAMMA)
    for name, (module, options) in LEARNERS.items():
        for quality in QUALITIES:
            factors, learner = {"data": quality, "algorithm": name}, module.Config(**SIZES, **options)
            task, show = data_of(quality, config), ("greedy_exact_value",)
            yield Arm(
                factors, module.make, task, learner, config.seeds, num_updates=config.updates, evaluators=(value,), show=show
            )


def measure(config: Config, results: Results) -> Iterator[tuple[dict, dict]]:
    """Measures what the data's own policies are worth, and evaluates a policy from many data sets in four ways.

    ``covers`` is 1 where the 95 % interval holds the exact value. ``error`` is the distance of the estimate from it, relative
    to it.
    """
    for quality, epsilons in QUALITIES.items():
        value = float(np.mean([worth(table(epsilon), GAMMA) for epsilon in epsilons]))
        yield {"data": quality, "algorithm": "behaviour"}, {"behaviour_value": value}
    target = table(EVALUATED)
    exact = worth(target, SHORT_GAMMA)
    task = replace(data_of("medium", config), policies=jnp.asarray(table(BEHAVIOUR))[None])
    found = {name: {"covers": [], "error": [], "effective_sample_size": []} for name in (*KINDS, FITTED)}
    for key in jax.random.split(jax.random.key(results.root), config.datasets):
        data = task(key)
        log_prob = log_probs(target[data.obs], data)
        for kind in KINDS:
            estimate = importance_sampling(data, log_prob, SHORT_GAMMA, kind, resamples=1000)
            found[kind]["covers"].append([float(estimate.low <= exact <= estimate.high)])
            found[kind]["error"].append([abs(estimate.value - exact) / exact])
            found[kind]["effective_sample_size"].append([estimate.effective_sample_size])
        found[FITTED]["error"].append([abs(fitted_q_evaluation(data, target, SHORT_GAMMA).value - exact) / exact])
    for name, values in found.items():
        yield {"data": "medium", "algorithm": name}, {metric: rows for metric, rows in values.items() if rows}


def figures(results: Results) -> None:
    """Draws the values of the learned policies on every kind of data, and the errors of off-policy evaluation."""
    for quality in QUALITIES:
        options = {"optimum": OPTIMUM, "title": f"Greedy policies from {quality} data", "name": f"greedy_{quality}"}
        draw.curves(results, "greedy_exact_value", options, data=quality)
    draw.ends(results, "error", {"label": "Error, relative to the exact value"})


def learned(name: str, quality: str, mode: str = "greedy"):
    """The exact value of a learned policy."""
    return final(f"{mode}_exact_value", algorithm=name, data=quality)


def behaviour(quality: str):
    """The exact value of the policies that collected the data."""
    return final("behaviour_value", data=quality)


def error(name: str):
    """The relative error of an off-policy evaluator."""
    return final("error", algorithm=name)


CLAIMS = (
    Claim(
        "On data of one policy, random, medium or expert, the sampled policy of behaviour cloning is worth what that policy is "
        "worth, to 0.03 on average (optimum 0.542)",
        "Bain and Sammut (1995); the bar is ours",
        every(
            (learned("BC", quality, "sampled") - behaviour(quality)).within(-0.03, 0.03)
            for quality in ("random", "medium", "expert")
        ),
    ),
    *(
        Claim(
            f"On mixed data the greedy policy of {name} is worth at least 0.1 more than the policies that collected them",
            f"{source}; the bar is ours",
            learned(name, "mixed") - behaviour("mixed") >= 0.1,
        )
        for name, source in (("CQL", "Kumar et al. (2020)"), ("IQL", "Kostrikov et al. (2022)"))
    ),
    *(
        Claim(
            f"On mixed data the greedy policy of {name} is worth more than the sampled policy of behaviour cloning, seed by "
            "seed on average",
            source,
            learned(name, "mixed") > learned("BC", "mixed", "sampled"),
        )
        for name, source in (("CQL", "Kumar et al. (2020)"), ("IQL", "Kostrikov et al. (2022)"))
    ),
    *(
        Claim(
            f"On medium data the greedy policy of {name} is worth more than the policy that collected them",
            source,
            learned(name, "medium") - behaviour("medium") > 0.0,
        )
        for name, source in (("CQL", "Kumar et al. (2020)"), ("IQL", "Kostrikov et al. (2022)"))
    ),
    *(
        Claim(
            f"The 95 % interval of {words} importance sampling from 200 episodes holds the exact value in at least 90 % of "
            "data sets",
            "Precup, Sutton and Singh (2000); the bar is ours",
            share(final("covers", algorithm=kind) >= 1.0) >= 0.9,
        )
        for kind, words in (("weighted", "weighted"), ("per_decision", "per-decision"))
    ),
    Claim(
        "Per-decision importance sampling is nearer to the exact value than ordinary importance sampling, on average over data "
        "sets",
        "Precup, Sutton and Singh (2000)",
        error("per_decision") < error("ordinary"),
    ),
    Claim(
        "Fitted Q evaluation with a table misses the exact value by at most 20 % on average over data sets of 200 episodes",
        "Le, Voloshin and Yue (2019); the bar is ours",
        error(FITTED) <= 0.2,
    ),
)
