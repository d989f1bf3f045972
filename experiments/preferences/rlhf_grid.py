"""The whole loop of reinforcement learning from preferences, over a thousand seeds at once.

Every round collects segments with the current policy, has pairs of them labelled by a Bradley-Terry judge, fits a tabular reward
to all answers and improves the policy by tabular Q-learning on it. The policy is evaluated exactly under the true reward.

Source: Christiano et al. (2017), the synchronous form of its loop; the grid and the bar are ours.
"""

import resource
import sys
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import struct

import envs
from experiments import figures
from experiments.protocol import Claim, exceeds, last, mean_at_least
from experiments.session import Session
from jaxrl.algorithms.preferences import reward_fitting, rlhf
from jaxrl.algorithms.preferences.labellers import Labeller
from jaxrl.algorithms.preferences.metrics import PolicyRegret
from jaxrl.algorithms.preferences.reward_models import Tabular
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment
from jaxrl.evaluation import ExactValue

GAMMA = 0.95
LABELS, COINS = "labels", "random labels"


@dataclass(frozen=True)
class Config:
    """The loop on a 6x6 grid."""

    seeds: int = 1024
    """Independent runs of the loop, side by side (count)."""
    rounds: int = 40
    """Rounds of each run (count)."""
    queries: int = 25
    """Comparisons that are labelled in each round (count), of as many segments of 10 steps."""
    control_seeds: int = 64
    """Runs in which every label is a coin flip (count)."""


def loop(config: Config, env: Environment, labeller: Labeller) -> rlhf.Config:
    """Returns the hyper-parameters of the loop. The learner's step size and exploration were chosen on other seeds (root 1)."""
    model = Tabular.of(env, reads=("next_obs",))
    return rlhf.Config(
        reward_fitting.Config(model, learning_rate=0.05, weight_decay=1e-3, num_epochs=5, num_minibatches=1),
        q_learning.Config(gamma=GAMMA, learning_rate=0.2, learning_rate_half_life=np.inf, epsilon=0.6, num_envs=4),
        q_learning.make,
        labeller,
        num_rounds=config.rounds,
        num_segments=config.queries,
        num_queries=config.queries,
        learner_updates=5,
    )


QUICK = Config(seeds=8, rounds=2, control_seeds=4)


@struct.dataclass
class NormalisedValue:
    """Evaluates the loop's policy exactly: ``policy_value``, 0 for the uniform policy and 1 for the optimum.

    Beside it stands ``normalised_return``, that of the optimal policy of the learned reward.
    """

    exact: ExactValue
    regret: PolicyRegret

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, Any]:
        gap: Any = self.exact(key, algorithm, state)["greedy_optimality_gap"]
        reached = 1.0 - gap / (self.regret.optimum - self.regret.uniform)
        return {"policy_value": reached} | self.regret(key, algorithm, state)


def run(config: Config, session: Session) -> None:
    """Runs the loop with honest and with random labels, evaluates exactly, and reports the memory that was needed."""
    env = envs.make("reward_grid")
    model = Tabular.of(env, reads=("next_obs",))
    evaluator = NormalisedValue(ExactValue.of(env, GAMMA), PolicyRegret.of(env, model, GAMMA))
    before = _peak()
    for variant, seeds, labeller in (
        (LABELS, config.seeds, Labeller()),
        (COINS, config.control_seeds, Labeller(flip_rate=0.5)),
    ):
        done = session.train(
            rlhf.make,
            env,
            loop(config, env, labeller),
            seeds=seeds,
            num_updates=config.rounds,
            chunk_length=max(d for d in range(1, 5) if config.rounds % d == 0),
            evaluators=(evaluator,),
            variant=variant,
            show=("policy_value", "reward_accuracy"),
        )
        if variant == LABELS:
            state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(done.state) if hasattr(leaf, "nbytes"))
            memory = {"seeds": seeds, "state_bytes_per_seed": state_bytes / seeds}
            memory |= {"process_peak_bytes": _peak(), "peak_bytes_before_training": before}
            session.directory.write_summary({"memory": memory})
    labels = config.queries * (1 + session.directory.curves("policy_value", LABELS, "evaluations").updates)
    lines = {
        f"{name}, {variant}": (labels, session.directory.curves(metric, variant, "evaluations").values)
        for variant in (LABELS, COINS)
        for name, metric in (("policy", "policy_value"), ("reward's best", "normalised_return"))
    }
    text = ("Labelled comparisons", "Normalised return")
    note = "0 is the uniform policy, 1 the optimum. Reward's best: the optimal policy of the learned reward."
    figures.relation(session.directory, "return_by_labels", lines, *text, level=1.0, note=note)
    figures.distribution(session.directory, "policy_value", fraction=0.01)


def _peak() -> int:
    """Returns the largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


CLAIMS = (
    Claim(
        "After 1000 labels the greedy policy has a normalised return of at least 0.9 on average over 1024 seeds",
        "after Christiano et al. (2017); the bar is ours",
        mean_at_least("policy_value", 0.9, LABELS),
    ),
    Claim(
        "It beats the same loop with random labels, seed by seed on average",
        "negative control",
        exceeds(
            lambda run: last(run, "policy_value", LABELS)[: len(last(run, "policy_value", COINS))],
            lambda run: last(run, "policy_value", COINS),
            "normalised return, labels less coin flips",
        ),
    ),
)
