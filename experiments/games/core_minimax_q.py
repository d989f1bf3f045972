"""Values of joint actions: minimax-Q on Littman's soccer, Nash-Q and friend-or-foe Q on a grid game, against exact solutions.

Source: Littman (1994), Markov games as a framework for multi-agent reinforcement learning; the exact solution: Shapley (1953);
Hu and Wellman (2003), Nash Q-learning for general-sum stochastic games; Littman (2001), Friend-or-foe Q-learning.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp

import envs
from jaxrl.algorithms.multiagent import friend_or_foe_q, iql, minimax_q, nash_q
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import AgentValues, Exploitability, ValueGap
from jaxrl.experiment import Arm, Claim, Results, Statement, draw, every, exact, final, share
from jaxrl.solvers import markov_games

GAMMA = 0.9  # Littman's games end in a draw with probability 0.1 a step
START_VALUE = 0.218484  # what the owner of the ball at the kick-off wins
BY_TIME, BY_VISITS = "step size by time", "step size by visits"
SOCCER, GRID = "soccer", "grid game 1"
GRID_GAMMA = 0.99
BOTH_ARRIVE = 97.0299  # 100 * 0.99^3: both reach their goals in the fourth step, and none is in the other's way
# Uniform play visits every joint action; step sizes that halve after 20 visits carry values back in time. Chosen on root 1.
GRID_SETTINGS = {"gamma": GRID_GAMMA, "epsilon": 1.0, "num_steps": 1_000, "learning_rate_half_life": 20.0}
ON_GRID = {
    "Nash-Q": (nash_q.make, nash_q.Config(**GRID_SETTINGS)),
    "friend-Q": (friend_or_foe_q.make, friend_or_foe_q.Config(**GRID_SETTINGS)),
    "foe-Q": (friend_or_foe_q.make, friend_or_foe_q.Config(**GRID_SETTINGS, other="foe")),
    "independent Q": (iql.make, iql.Config(**GRID_SETTINGS)),
}


@dataclass(frozen=True)
class Config:
    """Minimax-Q on soccer, Nash-Q and friend-or-foe Q on the first grid game, independent Q-learning on both."""

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
    grid_seeds: int = 32
    """Pairs of players of each kind on the grid (count)."""
    grid_steps: int = 50_000
    """Environment steps of each pair on the grid (count)."""


QUICK = Config(seeds=2, env_steps=4_000, grid_seeds=2, grid_steps=2_000)


def arms(config: Config) -> Iterator[Arm]:
    """Players trained against their own kind, three kinds on soccer and four on the grid; all policies are evaluated exactly."""
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
            {"game": SOCCER, "algorithm": algorithm, "step_size": step_size},
            make,
            env,
            settings,
            seeds=config.seeds,
            env_steps=config.env_steps,
            evaluators=evaluators,
            show=("sampled_exploitability", "greedy_exploitability"),
        )

    grid = envs.make("grid_game_1")
    evaluators = (Exploitability.of(grid, GRID_GAMMA), AgentValues.of(grid, GRID_GAMMA))
    for algorithm, (make, settings) in ON_GRID.items():
        factors = {"game": GRID, "algorithm": algorithm, "step_size": BY_VISITS}
        yield Arm(
            factors,
            make,
            grid,
            settings,
            seeds=config.grid_seeds,
            env_steps=config.grid_steps,
            evaluators=evaluators,
            show=("greedy_exploitability",),
        )


def figures(results: Results) -> None:
    """Draws how exploitable the policies are in both games, how far minimax-Q is wrong about the states, and what agents earn."""
    draw.gaps(results, "sampled_exploitability", game=SOCCER)
    draw.gaps(results, "greedy_exploitability", game=SOCCER)
    draw.gaps(results, "value_error")
    labels = {kind: {"game": GRID, "algorithm": kind} for kind in ON_GRID}
    steps, regret = "Environment steps (1,000)", "Mean regret (reward units)"
    title = "Regret of greedy policies, grid game 1"
    draw.lines(results, "grid_exploitability", "greedy_exploitability", labels, steps, regret, title=title)
    title, earned = "Return of greedy policies, grid game 1", "Discounted return of the first agent"
    draw.lines(results, "grid_value", "greedy_agent_value/0", labels, steps, earned, title=title)


def both_earn(algorithm: str, value: float, tolerance: float) -> Statement:
    """The statement that the greedy policies of a pair on the grid earn each of them this much."""
    pair = {"game": GRID, "algorithm": algorithm}
    earned = every(final(f"greedy_agent_value/{agent}", **pair).equals(value, tolerance) for agent in range(2))
    return replace(earned, text=f"{value:g} within {tolerance:g} for both agents")


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
        final("value_error", game=SOCCER, step_size=BY_TIME) <= 0.1,
    ),
    Claim(
        "After a million steps of soccer a best-responding opponent gains at most 0.15 from the policies of minimax-Q",
        "Littman (1994)",
        final("sampled_exploitability", game=SOCCER, algorithm="minimax-Q", step_size=BY_TIME) <= 0.15,
    ),
    Claim(
        "After a million steps of soccer a best-responding opponent gains at most 0.15 from the policies of minimax-Q if step "
        "sizes fall with visits rather than with time",
        "Watkins and Dayan (1992), on step sizes",
        final("sampled_exploitability", game=SOCCER, algorithm="minimax-Q", step_size=BY_VISITS) <= 0.15,
    ),
    Claim(
        "After a million steps of soccer a best-responding opponent gains at least 0.5 from the deterministic policies of "
        "independent Q-learners",
        "Littman (1994)",
        final("greedy_exploitability", game=SOCCER, algorithm="independent Q") >= 0.5,
    ),
    Claim(
        "On the first grid game the greedy policies of Nash-Q earn both agents 97.03, within 1, in at least 8 of 10 seeds",
        "Hu and Wellman (2003), section 5",
        share(both_earn("Nash-Q", BOTH_ARRIVE, 1.0)) >= 0.8,
    ),
    Claim(
        "On the first grid game a best-responding agent gains at most 1, of 97.03, from the greedy policies of Nash-Q",
        "Hu and Wellman (2003), section 5",
        final("greedy_exploitability", game=GRID, algorithm="Nash-Q") <= 1.0,
    ),
    Claim(
        "On the first grid game the greedy policies of Nash-Q earn the first agent more than those of foe-Q",
        "Littman (2001), on games that are not zero-sum",
        final("greedy_agent_value/0", game=GRID, algorithm="Nash-Q")
        > final("greedy_agent_value/0", game=GRID, algorithm="foe-Q"),
    ),
)
