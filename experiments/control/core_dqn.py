"""Deep Q-learning: what replay, the target network, double and dueling are good for.

Catch with its ablations and CartPole; on a grid with noisy rewards, how far the values of the start are above what the greedy
policy is worth; and Catch with every action five times over.

Source: Mnih et al. (2015); double: van Hasselt et al. (2016); dueling: Wang et al. (2016). Exact values: dynamic programming.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.blocks.networks import QNetwork
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import Environment, static
from jaxrl.core.spaces import Discrete
from jaxrl.evaluation import Episodes, ExactValue
from jaxrl.experiment.claims import Claim, Verdict, equals, last, mean_at_least
from jaxrl.experiment.session import Session
from jaxrl.report import figures
from jaxrl.results.run_directory import RunDirectory
from jaxrl.statistics import bootstrap_interval

EVALUATIONS = 50  # of each learner, evenly spaced
COPIES = 5  # of every action

# Learning rates and the schedules of epsilon were chosen with seeds of another root than the one the claims are checked with.
COMMON = dqn.Config(learning_rate=1e-3, num_rounds=125, learning_starts=1_000)
SMALL = replace(COMMON, target_interval=100, num_steps=4, batch_size=32)
CATCH = replace(SMALL, epsilon_steps=20_000.0, hidden=(64, 64))
NOISY_GRID = replace(SMALL, gamma=0.95, epsilon_start=0.5, epsilon_end=0.5, hidden=(64,))
CARTPOLE = replace(
    COMMON,
    epsilon_steps=50_000.0,
    target_step_size=0.01,
    target_interval=1,
    num_envs=8,
    num_steps=1,
    buffer_size=50_000,
    double=True,
)


@dataclass(frozen=True)
class Config:
    """DQN on Catch, CartPole and a noisy grid."""

    seeds: int = 8
    """Independent learners of each kind, trained side by side (count)."""
    catch_steps: int = 100_000
    """Environment steps of each learner on Catch (count)."""
    cartpole_steps: int = 300_000
    """On CartPole (count)."""
    noisy_grid_steps: int = 50_000
    """On the noisy grid (count)."""


QUICK = Config(seeds=2, catch_steps=2_000, cartpole_steps=3_000, noisy_grid_steps=2_000)


@struct.dataclass
class Overestimate:
    """Evaluates by how much max_a Q(start, a) exceeds the exact value of the greedy policy: ``overestimate``, float32[].

    exact: of a finite environment. network: that of the learner.
    """

    exact: ExactValue
    network: QNetwork = static()

    def __call__(self, key: jax.Array, algorithm: Algorithm, state: Any) -> dict[str, jax.Array]:
        values: Any = self.network.apply(state.params, self.exact.model.observation)
        believed = self.exact.model.initial @ values.max(-1)
        return {"overestimate": believed - self.exact(key, algorithm, state)["greedy_exact_value"]}


@dataclass(frozen=True)
class OneOfCopies:
    """A function of an environment whose action ``a`` does what ``a // COPIES`` did."""

    function: Callable

    def __call__(self, *arguments: Any) -> Any:
        *before, action, params = arguments
        return self.function(*before, action // COPIES, params)


def with_copies(env: Environment) -> Environment:
    """Returns a finite environment in which every action can be taken under ``COPIES`` names."""
    assert isinstance(env.action_space, Discrete)
    outcomes: Any = env.outcomes_fn
    actions = Discrete(COPIES * env.action_space.n)
    return replace(env, step_fn=OneOfCopies(env.step_fn), outcomes_fn=OneOfCopies(outcomes), action_space=actions)


def run(config: Config, session: Session) -> None:
    """Trains all learners and evaluates them ``EVALUATIONS`` times on the way."""
    catch, cartpole, noisy = envs.make("catch"), envs.make("cartpole"), envs.make("noisy_grid")
    copied = with_copies(catch)
    ablations = {
        "DQN": CATCH,
        "no target network": replace(CATCH, target_interval=1, target_step_size=1.0),
        "no replay": CATCH.without_replay(),
    }
    many = {"many actions": CATCH, "many actions, dueling": replace(CATCH, dueling=True)}
    for env, variants in ((catch, ablations), (copied, many)):
        exact = ExactValue.of(env, 1.0)
        for variant, algorithm in variants.items():
            _train(session, env, algorithm, config.seeds, config.catch_steps, (exact,), variant)

    _train(session, cartpole, CARTPOLE, config.seeds, config.cartpole_steps, (Episodes(cartpole),), "CartPole")

    exact = ExactValue.of(noisy, NOISY_GRID.gamma)
    for variant, double in (("single", False), ("double", True)):
        algorithm = replace(NOISY_GRID, double=double)
        evaluator = Overestimate(exact, dqn.q_network(noisy, algorithm))
        _train(session, noisy, algorithm, config.seeds, config.noisy_grid_steps, (evaluator,), variant)
    _draw(session, tuple(ablations), tuple(many))


def _train(session, env, algorithm, seeds, steps, evaluators, variant) -> None:
    updates = (steps - algorithm.steps_before_first_update) // algorithm.steps_per_update
    chunk_length = max(1, updates // EVALUATIONS)
    session.train(
        dqn.make,
        env,
        algorithm,
        seeds=seeds,
        num_updates=updates // chunk_length * chunk_length,
        chunk_length=chunk_length,
        evaluators=evaluators,
        variant=variant,
        show=("episode_return", "loss"),
    )


def _draw(session: Session, ablations: tuple[str, ...], many: tuple[str, ...]) -> None:
    run, label = session.directory, "Exact return of the greedy policy (reward units)"
    for name, variants, title in (
        ("catch", ablations, "DQN on Catch"),
        ("many_actions", many, "DQN on Catch, every action five times over"),
    ):
        figures.learning_curves(run, "greedy_exact_value", variants=variants, optimum=1.0, title=title, label=label, name=name)
    figures.learning_curves(run, "greedy_return", variants=("CartPole",), optimum=500.0, title="DQN on CartPole")
    label = "Overestimate at the start (reward units)"
    figures.learning_curves(run, "overestimate", variants=("single", "double"), title="DQN on the noisy grid", label=label)


def _area(directory: RunDirectory, variant: str) -> np.ndarray:
    """Returns the mean over the evaluations of the exact return of the greedy policy, float[S]."""
    return directory.curves("greedy_exact_value", variant, "evaluations").values.mean(1)


def _larger(more: Callable[[RunDirectory], np.ndarray], less: Callable[[RunDirectory], np.ndarray]):
    """Returns the check that a paired difference over seeds is positive: the 95 % interval of its mean lies above 0."""

    def check(directory: RunDirectory) -> Verdict:
        mean = bootstrap_interval(np.asarray(more(directory) - less(directory), np.float64), np.mean)
        return Verdict(mean.low > 0, mean.estimate, "95 % interval of the mean paired difference above 0", mean.low, mean.high)

    return check


def _larger_area(more: str, less: str):
    return _larger(lambda directory: _area(directory, more), lambda directory: _area(directory, less))


def _most_seeds_at_least(metric: str, threshold: float, share: float, variant: str):
    def check(directory: RunDirectory) -> Verdict:
        reached = bootstrap_interval((last(directory, metric, variant) >= threshold).astype(float), np.mean)
        criterion = f"share of seeds with {metric} >= {threshold:g} at least {share:g}"
        return Verdict(reached.estimate >= share, reached.estimate, criterion, reached.low, reached.high)

    return check


def largest_mean_advantage() -> float:
    """Returns the largest absolute mean of the advantages over the actions, in a new dueling network on 1000 observations."""
    env = envs.make("cartpole")
    network = dqn.q_network(env, dqn.Config(dueling=True))
    obs = jax.random.normal(jax.random.key(0), (1000, 4))
    params = network.init(jax.random.key(1), obs)
    advantage: Any = network.apply(params, obs, method="streams")
    return float(jnp.abs(advantage[1].mean(-1)).max())


CLAIMS = (
    Claim(
        "After 100,000 steps on Catch the greedy policy's exact return is at least 0.95 on average (optimum 1)",
        "Mnih et al. (2015)",
        mean_at_least("greedy_exact_value", 0.95, "DQN"),
    ),
    Claim(
        "After 300,000 steps on CartPole at least 6 of 8 seeds keep the pole up for 475 of 500 steps",
        "Mnih et al. (2015); van Hasselt et al. (2016)",
        _most_seeds_at_least("greedy_return", 475.0, 0.75, "CartPole"),
    ),
    Claim(
        "On Catch, learning without a target network has a smaller area under the curve",
        "Mnih et al. (2015), extended data table 3",
        _larger_area("DQN", "no target network"),
    ),
    Claim(
        "On Catch, learning from the newest steps alone has a smaller area under the curve",
        "Mnih et al. (2015), extended data table 3",
        _larger_area("DQN", "no replay"),
    ),
    Claim(
        "On the noisy grid, double Q-learning overestimates the start less",
        "van Hasselt et al. (2016), figure 3",
        _larger(
            lambda directory: last(directory, "overestimate", "single"),
            lambda directory: last(directory, "overestimate", "double"),
        ),
    ),
    Claim(
        "The advantages of the dueling network sum to zero",
        "Wang et al. (2016), equation 9",
        equals(largest_mean_advantage, 0.0, 1e-6),
    ),
    Claim(
        "With every action five times over, the dueling network has a larger area under the curve on Catch",
        "Wang et al. (2016), figure 3",
        _larger_area("many actions, dueling", "many actions"),
    ),
)
