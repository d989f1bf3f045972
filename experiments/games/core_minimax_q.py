"""Minimax-Q and independent Q-learning on Littman's soccer, measured against the exact solution of the game.

Source: Littman (1994), Markov games as a framework for multi-agent reinforcement learning; the exact solution: Shapley (1953).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

import envs
from jaxrl.algorithms.multiagent import iql, minimax_q
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import Exploitability, ValueGap
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final
from jaxrl.solvers import markov_games

GAMMA = 0.9  # Littman's games end in a draw with probability 0.1 a step
START_VALUE = 0.218484  # what the owner of the ball at the kick-off wins
BY_TIME, BY_VISITS = "step size by time", "step size by visits"


@dataclass(frozen=True)
class Config:
    """Minimax-Q and independent Q-learning on soccer."""

    seeds: int = 8
    """Independent pairs of players of each kind, trained side by side (count)."""
    env_steps: int = 1_000_000
    """Environment steps of each pair (count), as many as in the paper."""
    minimax: minimax_q.Config = field(default_factory=lambda: minimax_q.Config(gamma=GAMMA, num_steps=1_000))
    """Hyper-parameters of minimax-Q: the paper's."""
    half_life: float = 10.0
    """Visits of a joint action after which its step size has halved, where it falls with visits (chosen on root 1)."""
    independent: iql.Config = field(default_factory=lambda: iql.Config(gamma=GAMMA, epsilon=0.2, num_steps=1_000))
    """Hyper-parameters of independent Q-learning: the exploration of the paper, the step sizes of Q-learning here."""


QUICK = Config(seeds=2, env_steps=4_000)


def arms(config: Config) -> Iterator[Arm]:
    """Three kinds of players, trained against their own kind; their policies are evaluated exactly."""
    env = envs.make("soccer")
    exploitability = Exploitability.of(env, GAMMA)
    both = (exploitability, ValueGap.of(env, GAMMA, least_visits=500))
    by_visits = replace(config.minimax, learning_rate_final=1.0, learning_rate_half_life=config.half_life)
    for algorithm, step_size, make, settings, evaluators in (
        ("minimax-Q", BY_TIME, minimax_q.make, config.minimax, both),
        ("minimax-Q", BY_VISITS, minimax_q.make, by_visits, both),
        ("independent Q", BY_VISITS, iql.make, config.independent, (exploitability,)),
    ):
        yield Arm(
            {"algorithm": algorithm, "step_size": step_size},
            make,
            env,
            settings,
            seeds=config.seeds,
            env_steps=config.env_steps,
            evaluators=evaluators,
            show=("sampled_exploitability", "greedy_exploitability"),
        )


def figures(results: Results) -> None:
    """Draws how exploitable the policies are, and how far minimax-Q is wrong about the states, over time."""
    draw.gaps(results, "sampled_exploitability")
    draw.gaps(results, "greedy_exploitability")
    draw.gaps(results, "value_error")


def start_value() -> float:
    """Returns what the first player wins if it has the ball at the kick-off."""
    model = tabulate(envs.make("soccer", ball=1.0))
    with jax.enable_x64(True):
        return float(jnp.asarray(model.initial) @ markov_games.shapley(model, GAMMA, 1e-12).value)


def change_of_sweep_47() -> float:
    """Returns the residual after 46 sweeps: the largest change of a value in the next one."""
    model = tabulate(envs.make("soccer"))
    with jax.enable_x64(True):
        before, after = (markov_games.shapley(model, GAMMA, 0.0, sweeps).value for sweeps in (46, 47))
        return float(jnp.abs(after - before).max())


CLAIMS = (
    Claim(
        "Shapley's value iteration on soccer finds what the owner of the ball wins from the kick-off, 0.218484",
        "Shapley (1953); Littman (1994), Figure 2",
        exact("value of the kick-off", start_value).equals(START_VALUE, 1e-6),
    ),
    Claim(
        "46 sweeps of Shapley's value iteration on soccer leave a residual of 8e-8, in one digit",
        "Shapley (1953)",
        exact("largest change of a value in sweep 47", change_of_sweep_47) < 8.5e-8,
    ),
    Claim(
        "After a million steps of soccer minimax-Q is wrong by at most 0.1 about every state visited at least 500 times",
        "Littman (1994)",
        final("value_error", step_size=BY_TIME) <= 0.1,
    ),
    Claim(
        "After a million steps of soccer a best-responding opponent gains at most 0.15 from the policies of minimax-Q",
        "Littman (1994)",
        final("sampled_exploitability", algorithm="minimax-Q", step_size=BY_TIME) <= 0.15,
    ),
    Claim(
        "After a million steps of soccer a best-responding opponent gains at most 0.15 from the policies of minimax-Q if step "
        "sizes fall with visits rather than with time",
        "Watkins and Dayan (1992), on step sizes",
        final("sampled_exploitability", algorithm="minimax-Q", step_size=BY_VISITS) <= 0.15,
    ),
    Claim(
        "After a million steps of soccer a best-responding opponent gains at least 0.5 from the deterministic policies of "
        "independent Q-learners",
        "Littman (1994)",
        final("greedy_exploitability", algorithm="independent Q") >= 0.5,
    ),
)
