"""Minimax-Q and independent Q-learning on Littman's soccer, measured against the exact solution of the game.

Source: Littman (1994), Markov games as a framework for multi-agent reinforcement learning; the exact solution: Shapley (1953).
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import envs
from experiments.protocol import Claim, Verdict, equals, mean_at_least, mean_within
from experiments.session import Session
from jaxrl.algorithms.multiagent import iql, minimax_q
from jaxrl.core.environment import Environment
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import Exploitability
from jaxrl.results.run_directory import RunDirectory
from jaxrl.solvers import markov_games

GAMMA = 0.9  # Littman's games end in a draw with probability 0.1 a step
START_VALUE = 0.218484  # what the owner of the ball at the kick-off wins
MINIMUM_VISITS = 500


@dataclass(frozen=True)
class Config:
    """Minimax-Q and independent Q-learning on soccer."""

    seeds: int = 8
    """Independent pairs of players of each kind, trained side by side (count)."""
    updates: int = 1_000
    """Updates of each pair (count), of 1,000 steps with the default algorithms: a million steps, as in the paper."""
    minimax: minimax_q.Config = field(default_factory=lambda: minimax_q.Config(gamma=GAMMA, num_steps=1_000))
    """Hyper-parameters of minimax-Q: the paper's."""
    by_visits: minimax_q.Config = field(
        default_factory=lambda: minimax_q.Config(
            gamma=GAMMA, num_steps=1_000, learning_rate_final=1.0, learning_rate_half_life=10.0
        )
    )
    """The same with step sizes that fall with the visits to a joint action, not with time (chosen with other seeds, root 1)."""
    independent: iql.Config = field(default_factory=lambda: iql.Config(gamma=GAMMA, epsilon=0.2, num_steps=1_000))
    """Hyper-parameters of independent Q-learning: the exploration of the paper, the step sizes of Q-learning here."""


QUICK = Config(seeds=2, updates=4)


@struct.dataclass
class ValueGap:
    """Evaluates how far what minimax-Q takes the states to be worth is from the exact solution.

    Metrics: ``value_error``, the largest error among the states that were visited at least ``MINIMUM_VISITS`` times, and
    ``visited_states``, how many these are.

    number: int32[X], what the players observe in each state. value: float32[X], of the exact solution.
    """

    number: jax.Array
    value: jax.Array

    @classmethod
    def of(cls, env: Environment, gamma: float) -> "ValueGap":
        """Solves a two-player zero-sum game in float64."""
        model = tabulate(env)
        with jax.enable_x64(True):
            value = np.asarray(jax.jit(markov_games.shapley)(model, gamma, 1e-12).value)
        return cls(jnp.asarray(model.observation[:, 0]), jnp.asarray(value, jnp.float32))

    def __call__(self, key, algorithm, state):
        visited = state.visits[0, self.number].sum(-1) >= MINIMUM_VISITS
        error = jnp.abs(state.value[:, self.number] - jnp.stack([self.value, -self.value])).max(0)
        return {"value_error": jnp.max(error, where=visited, initial=0.0), "visited_states": visited.sum(dtype=jnp.float32)}


def run(config: Config, session: Session) -> None:
    """Trains both kinds of players against their own kind and evaluates their policies exactly, 20 times on the way."""
    env = envs.make("soccer")
    exploitability = Exploitability.of(env, GAMMA)
    exact = (exploitability, ValueGap.of(env, GAMMA))
    learners = (
        ("minimax-Q", minimax_q.make, config.minimax, exact, ("sampled_exploitability",)),
        ("minimax-Q, steps by visits", minimax_q.make, config.by_visits, exact, ("sampled_exploitability",)),
        ("independent Q", iql.make, config.independent, (exploitability,), ("greedy_exploitability",)),
    )
    for variant, make, algorithm, evaluators, show in learners:
        session.train(
            make,
            env,
            algorithm,
            seeds=config.seeds,
            num_updates=config.updates,
            evaluators=evaluators,
            variant=variant,
            show=show,
        )
    session.draw_curves("sampled_exploitability", optimum=0.0)
    session.draw_curves("value_error", optimum=0.0)


def _start_value() -> float:
    """Returns what the first player wins if it has the ball at the kick-off."""
    model = tabulate(envs.make("soccer", ball=1.0))
    with jax.enable_x64(True):
        return float(jnp.asarray(model.initial) @ jax.jit(markov_games.shapley)(model, GAMMA, 1e-12).value)


def _residual_after_46_sweeps(run: RunDirectory) -> Verdict:
    model = tabulate(envs.make("soccer"))
    with jax.enable_x64(True):
        sweeps = jax.jit(markov_games.shapley)
        change = sweeps(model, GAMMA, 0.0, 47).value - sweeps(model, GAMMA, 0.0, 46).value
        residual = float(jnp.abs(change).max())
    return Verdict(residual < 8.5e-8, residual, "the next sweep changes no value by more than 8e-8")


CLAIMS = (
    Claim(
        "Shapley's value iteration finds what the owner of the ball wins from the kick-off",
        "Shapley (1953); Littman (1994), Figure 2",
        equals(_start_value, START_VALUE, 1e-6),
    ),
    Claim("46 of its sweeps are enough for a residual of 8e-8", "Shapley (1953)", _residual_after_46_sweeps),
    Claim(
        "After a million steps minimax-Q is wrong by less than 0.1 about every state visited at least 500 times",
        "Littman (1994)",
        mean_within("value_error", 0.0, 0.1, "minimax-Q"),
    ),
    Claim(
        "A best-responding opponent gains less than 0.15 from the policies of minimax-Q",
        "Littman (1994)",
        mean_within("sampled_exploitability", 0.0, 0.15, "minimax-Q"),
    ),
    Claim(
        "So it does if step sizes fall with visits rather than with time",
        "Watkins and Dayan (1992), on step sizes",
        mean_within("sampled_exploitability", 0.0, 0.15, "minimax-Q, steps by visits"),
    ),
    Claim(
        "It gains more than 0.5 from the deterministic policies of independent Q-learners",
        "Littman (1994)",
        mean_at_least("greedy_exploitability", 0.5, "independent Q"),
    ),
)
