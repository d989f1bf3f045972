"""Deep Q-learning: the effect of replay, the target network, double Q-learning and dueling.

Catch with its ablations and with every action under five names, CartPole, and a grid with noisy rewards, where the values of the
start are compared with the exact value of the greedy policy.

Source: Mnih et al. (2015); double: van Hasselt et al. (2016); dueling: Wang et al. (2016). Exact values: dynamic programming.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

import envs
from jaxrl.algorithms.deep import dqn
from jaxrl.core.transforms import with_copied_actions
from jaxrl.evaluation import Episodes, ExactValue, Overestimate
from jaxrl.experiment import Arm, Claim, Results, area, draw, exact, final, smallest

EVALUATIONS = 50  # of each learner, evenly spaced
COPIES = 5  # of every action

# Learning rates and the schedules were chosen with seeds of another root than the one the claims are checked with.
COMMON = dqn.Config(learning_rate=1e-3, num_rounds=125, learning_starts=1_000)
SMALL = replace(COMMON, target_interval=100, num_steps=4, batch_size=32)
CATCH = replace(SMALL, epsilon_steps=20_000.0, hidden=(64, 64))
NOISY_GRID = replace(SMALL, gamma=0.95, epsilon_start=0.5, epsilon_end=0.5, hidden=(64,))
CARTPOLE = replace(
    COMMON,
    # Values are near 200: an average over some 4,000 gradient steps tells actions apart more surely than the newest parameters.
    averaging=True,
    gamma=0.995,
    # At a constant rate good policies come and go: late evaluations stay below 475 in one of five. 300 updates are all there are.
    anneal_updates=300.0,
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
    env_steps: int = 100_000
    """Environment steps of each learner on Catch (count)."""
    cartpole_env_steps: int = 300_000
    """On CartPole (count)."""
    noisy_grid_env_steps: int = 50_000
    """On the noisy grid (count)."""


QUICK = Config(seeds=2, env_steps=2_000, cartpole_env_steps=3_000, noisy_grid_env_steps=2_000)


def arms(config: Config) -> Iterator[Arm]:
    """Three learners on Catch, two with copied actions, one on CartPole, and plain and double DQN on the noisy grid."""
    catch, cartpole, noisy = envs.make("catch"), envs.make("cartpole"), envs.make("noisy_grid")
    copied = with_copied_actions(catch, COPIES)
    catch_value, copied_value = ExactValue.of(catch, 1.0), ExactValue.of(copied, 1.0)
    overestimate = Overestimate(ExactValue.of(noisy, NOISY_GRID.gamma), dqn.q_network(noisy, NOISY_GRID))
    no_target = replace(CATCH, target_interval=1, target_step_size=1.0)
    for task, algorithm, env, learner, env_steps, evaluator in (
        ("catch", "DQN", catch, CATCH, config.env_steps, catch_value),
        ("catch", "DQN without target network", catch, no_target, config.env_steps, catch_value),
        ("catch", "DQN without replay", catch, CATCH.without_replay(), config.env_steps, catch_value),
        ("catch with copied actions", "DQN", copied, CATCH, config.env_steps, copied_value),
        ("catch with copied actions", "dueling DQN", copied, replace(CATCH, dueling=True), config.env_steps, copied_value),
        ("cartpole", "double DQN", cartpole, CARTPOLE, config.cartpole_env_steps, Episodes(cartpole)),
        ("noisy_grid", "DQN", noisy, NOISY_GRID, config.noisy_grid_env_steps, overestimate),
        ("noisy_grid", "double DQN", noisy, replace(NOISY_GRID, double=True), config.noisy_grid_env_steps, overestimate),
    ):
        arm = Arm(
            {"task": task, "algorithm": algorithm},
            dqn.make,
            env,
            learner,
            seeds=config.seeds,
            env_steps=env_steps,
            evaluators=(evaluator,),
            show=("episode_return", "loss"),
        )
        yield replace(arm, chunk_length=max(1, arm.updates // EVALUATIONS))


def figures(results: Results) -> None:
    """Draws the values of the greedy policies on every task over time, and the overestimates on the noisy grid."""
    label = "Exact return of the greedy policy (reward units)"
    for name, task, title in (
        ("catch", "catch", "DQN on Catch"),
        ("copied_actions", "catch with copied actions", f"DQN on Catch, every action under {COPIES} names"),
    ):
        draw.curves(results, "greedy_exact_value", {"optimum": 1.0, "title": title, "label": label, "name": name}, task=task)
    draw.curves(results, "greedy_return", {"optimum": 500.0, "title": "DQN on CartPole"}, task="cartpole")
    label = "Overestimate at the start (reward units)"
    draw.curves(results, "overestimate", {"title": "DQN on the noisy grid", "label": label}, task="noisy_grid")


def largest_mean_advantage() -> float:
    """Returns the largest absolute mean of the advantages over the actions, in a new dueling network on 1000 observations."""
    network = dqn.q_network(envs.make("cartpole"), dqn.Config(dueling=True))
    obs = jax.random.normal(jax.random.key(0), (1000, 4))
    streams: Any = network.apply(network.init(jax.random.key(1), obs), obs, method="streams")
    return float(jnp.abs(streams[1].mean(-1)).max())


CLAIMS = (
    Claim(
        "After 100,000 steps on Catch the exact return of DQN's greedy policy is at least 0.95 on average (optimum 1)",
        "Mnih et al. (2015)",
        final("greedy_exact_value", task="catch", algorithm="DQN") >= 0.95,
    ),
    Claim(
        "After 300,000 steps on CartPole every seed of double DQN keeps the pole up for 475 of 500 steps",
        "Mnih et al. (2015); van Hasselt et al. (2016)",
        smallest(final("greedy_return", task="cartpole")) >= 475.0,
    ),
    Claim(
        "On Catch, DQN has a larger area under the curve of the greedy policy's exact return than DQN without a target network",
        "Mnih et al. (2015), extended data table 3",
        area("greedy_exact_value", task="catch", algorithm="DQN")
        > area("greedy_exact_value", task="catch", algorithm="DQN without target network"),
    ),
    Claim(
        "On Catch, DQN has a larger area under the curve of the greedy policy's exact return than DQN without "
        "replay, which learns from the newest steps alone",
        "Mnih et al. (2015), extended data table 3",
        area("greedy_exact_value", task="catch", algorithm="DQN")
        > area("greedy_exact_value", task="catch", algorithm="DQN without replay"),
    ),
    Claim(
        "On the noisy grid, double DQN overestimates the value of the start less than DQN",
        "van Hasselt et al. (2016), figure 3",
        final("overestimate", algorithm="DQN") > final("overestimate", algorithm="double DQN"),
    ),
    Claim(
        "The advantages of DQN's dueling network sum to zero over the actions",
        "Wang et al. (2016), equation 9",
        exact("largest mean of the advantages", largest_mean_advantage).equals(0.0, 1e-6),
    ),
    Claim(
        "On Catch with every action under five names, dueling DQN has a larger area under the curve of the greedy policy's exact "
        "return than DQN",
        "Wang et al. (2016), figure 3",
        area("greedy_exact_value", task="catch with copied actions", algorithm="dueling DQN")
        > area("greedy_exact_value", task="catch with copied actions", algorithm="DQN"),
    ),
)
