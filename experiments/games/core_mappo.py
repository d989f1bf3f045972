"""MAPPO and IPPO: simple spread against its heuristics, pursuit against its exact optimum, parameters shared or not.

Source: Yu et al. (2022), "The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games". The returns of simple spread are
those of our version of it: rewards differ between ports, so no published number is used.
"""

import resource
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import numpy as np

import envs
from experiments import figures
from experiments.protocol import Claim, Verdict, last, mean_at_least, recorded_within
from experiments.session import Session
from jaxrl.algorithms.multiagent import mappo
from jaxrl.evaluation import Episodes, TeamReturn
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval

# Simple spread, the team's return over 25 steps, measured over 4000 episodes.
RANDOM, NEAREST_LANDMARK, FIXED_ASSIGNMENT = -51.6, -26.2, -11.9
CAPTURE_TIME = 3.121267  # of an optimal pair of predators on the 5x5 torus, from a uniformly drawn free start
AGENTS = 3
MAPPO, IPPO, SHARED, SEPARATE = "MAPPO, spread", "IPPO, spread", "shared, pursuit", "separate, pursuit"


@dataclass(frozen=True)
class Config:
    """MAPPO and IPPO on simple spread and pursuit."""

    spread_seeds: int = 5
    """Independent teams on simple spread (count)."""
    spread_steps: int = 2_000_000
    """Environment steps of each of them (count)."""
    pursuit_seeds: int = 64
    """Independent teams on pursuit, trained in one program (count)."""
    pursuit_steps: int = 96_000
    """Environment steps of each of them (count)."""
    evaluations: int = 20
    """How often simple spread is evaluated on the way (count); pursuit, which is evaluated exactly, a quarter as often."""
    algorithm: mappo.Config = field(
        default_factory=lambda: mappo.Config(learning_rate=1e-3, num_envs=32, num_steps=50, num_epochs=8, activation="relu")
    )
    """Hyper-parameters of both tasks, chosen on other seeds (root 1) than those of the claims. The command decides for itself
    whether the critic is central and the parameters are shared."""


QUICK = Config(spread_seeds=2, spread_steps=6_400, pursuit_seeds=4, pursuit_steps=6_400, evaluations=4)


def run(config: Config, session: Session) -> None:
    """Trains MAPPO and IPPO on simple spread, then MAPPO on pursuit with shared parameters and with separate ones."""
    spread, pursuit = envs.make("simple_spread", num_agents=AGENTS), envs.make("pursuit", size=5)
    episodes = Episodes(spread, num_episodes=256)
    for variant, centralized in ((MAPPO, True), (IPPO, False)):
        algorithm = replace(config.algorithm, centralized=centralized)
        _train(session, spread, algorithm, episodes, config.spread_seeds, config.spread_steps, config.evaluations, variant)
    exact = TeamReturn.of(pursuit)
    session.record({"optimal_capture_time": -float(exact.optimum)}, "planner, pursuit")
    for variant, shared in ((SHARED, True), (SEPARATE, False)):
        algorithm, evaluations = replace(config.algorithm, shared_parameters=shared), max(1, config.evaluations // 4)
        done = _train(session, pursuit, algorithm, exact, config.pursuit_seeds, config.pursuit_steps, evaluations, variant)
        carried = sum(leaf.nbytes for leaf in jax.tree.leaves(done.state)) / config.pursuit_seeds
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux
        session.record({"state_kilobytes": carried / 1024, "peak_megabytes": peak / 1024}, f"memory, {variant}")
    spreads, label = (MAPPO, IPPO), f"Return of the greedy policy, sum over {AGENTS} agents"
    figures.learning_curves(session.directory, "greedy_return", variants=spreads, label=label)
    figures.distribution(session.directory, "greedy_return", variants=spreads, label=label)
    pursuits, label = (SHARED, SEPARATE), "Exact return of the greedy policy: minus the steps"
    figures.learning_curves(session.directory, "greedy_exact_return", variants=pursuits, optimum=-CAPTURE_TIME, label=label)
    figures.distribution(session.directory, "greedy_exact_return", variants=pursuits, label=label)


def _train(session, env, algorithm, evaluator, seeds, steps, evaluations, variant):
    """Trains with a learning rate that falls to 0 over the run."""
    length = max(1, steps // algorithm.steps_per_update // evaluations)
    updates = length * evaluations
    return session.train(
        mappo.make,
        env,
        replace(algorithm, anneal_updates=float(updates)),
        seeds=seeds,
        num_updates=updates,
        chunk_length=length,
        evaluators=(evaluator,),
        variant=variant,
        show=("greedy_return",) if env.max_steps == 25 else ("greedy_exact_return", "greedy_optimality_gap"),
    )


def _team_return_at_least(threshold: float, variant: str) -> Callable[[RunDirectory], Verdict]:
    """All agents are paid the same: the team's return is the sum over agents divided by their number."""

    def check(run: RunDirectory) -> Verdict:
        mean = bootstrap_interval(last(run, "greedy_return", variant) / AGENTS, np.mean)
        return Verdict(mean.estimate >= threshold, mean.estimate, f"mean team return >= {threshold:g}", mean.low, mean.high)

    return check


CLAIMS = (
    Claim(
        "MAPPO earns at least -20 on simple spread within 2 million steps",
        "Yu et al. (2022)",
        _team_return_at_least(-20.0, MAPPO),
    ),
    Claim(
        "MAPPO does better than everyone going to the nearest landmark, -26.2",
        "Yu et al. (2022)",
        _team_return_at_least(NEAREST_LANDMARK, MAPPO),
    ),
    Claim(
        "The same code without the central critic, IPPO, does better than that as well",
        "de Witt et al. (2020)",
        _team_return_at_least(NEAREST_LANDMARK, IPPO),
    ),
    Claim(
        "With shared parameters the predators need at most 6 steps on average on the 5x5 torus (exact)",
        "Yu et al. (2022)",
        mean_at_least("greedy_exact_return", -6.0, SHARED),
    ),
    Claim(
        "With separate parameters they need at most 6 steps as well (exact)",
        "Yu et al. (2022)",
        mean_at_least("greedy_exact_return", -6.0, SEPARATE),
    ),
    Claim(
        "A planner for both predators needs 3.121267 steps",
        "value iteration on the exact model",
        recorded_within("optimal_capture_time", CAPTURE_TIME - 1e-5, CAPTURE_TIME + 1e-5, "planner, pursuit"),
    ),
)
