"""Planning by search with the true model and with a learned one: what a search adds to its prior, and learning from it.

A search of 5x5 grids that knows nothing but the rules; bandits in which the policy of a search can be compared with its prior
exactly; AlphaZero on tic-tac-toe, judged by the best replies of all opponents; and MuZero on Catch.

Source: Danihelka et al. (2022), "Policy improvement by planning with Gumbel"; Silver et al. (2018); Schrittwieser et al. (2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

import envs
from jaxrl.algorithms.planning import alphazero, muzero
from jaxrl.blocks import search
from jaxrl.core.environment import Environment
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import ExactValue, Exploitability
from jaxrl.experiment import Arm, Claim, Results, draw, every, final, largest, smallest
from jaxrl.solvers.mdp import host

SIZE, ACTIONS, FARTHEST = 5, 4, 4  # rows of a grid, its actions, and how many steps from the goal a start may be
GAMMA = 0.9  # on the grids, where reaching the goal pays 1
NEAR = f"at distance 1 to {FARTHEST}"
ARMS = 8  # of a bandit


@dataclass(frozen=True)
class Config:
    """Gumbel MuZero's search on grids and bandits, AlphaZero on tic-tac-toe, MuZero on Catch."""

    seeds: int = 3
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 100_000
    """Environment steps of each learner: moves of tic-tac-toe, frames of Catch (count)."""
    simulations: tuple[int, ...] = (16, 64, 256, 1024)
    """Of the searches on grids (counts)."""
    goals: int = SIZE**2
    """Grids, each with the goal in another cell, row by row (count)."""
    bandits: int = 1000
    """Random bandits with exact values (count)."""
    tic_tac_toe: alphazero.Config = field(default_factory=lambda: alphazero.Config(gumbel_scale=5.0))
    """Hyper-parameters of AlphaZero. With less noise it plays the same few games again and again (chosen on root 1)."""
    catch: muzero.Config = field(default_factory=muzero.Config)
    """Hyper-parameters of MuZero."""


FEW: dict[str, Any] = {"num_simulations": 2, "num_envs": 2, "num_gradient_steps": 1, "batch_size": 8, "hidden": (8,)}
GAME = alphazero.Config(num_steps=8, **FEW)
CATCH = muzero.Config(unroll_steps=2, bootstrap_steps=2, num_rounds=1, learning_starts=16, **FEW)
QUICK = Config(2, 64, simulations=(64, 1024), goals=1, bandits=16, tic_tac_toe=GAME, catch=CATCH)


def arms(config: Config) -> Iterator[Arm]:
    """AlphaZero, the same search with a network that never learns, and MuZero; greedy policies are evaluated exactly."""
    game, catch, size = envs.make("tic_tac_toe"), envs.make("catch"), (config.seeds, config.env_steps)
    how = {"evaluators": (Exploitability.of(game, 1.0),), "show": ("greedy_exploitability",)}
    how["chunk_length"] = max(1, config.env_steps // config.tic_tac_toe.steps_per_update // 8)
    for name, options in (("AlphaZero", {}), ("search alone", {"learning_rate": 1e-12})):  # such a rate changes nothing
        factors, learner = {"task": "tic-tac-toe", "algorithm": name}, replace(config.tic_tac_toe, **options)
        yield Arm(factors, alphazero.make, game, learner, *size, **how)
    factors, exact = {"task": "Catch", "algorithm": "MuZero"}, (ExactValue.of(catch, 1.0),)
    yield Arm(factors, muzero.make, catch, config.catch, *size, evaluators=exact)


@partial(jax.jit, static_argnames="simulations")
def first_moves(env: Environment, states: jax.Array, simulations: int) -> jax.Array:
    """Returns the actions of a search of a grid from states int32[B], without noise."""
    guess, node = search.constant(ACTIONS), search.Node(states, jnp.zeros(states.shape, bool))
    model = search.of_environment(env, guess, GAMMA)
    return search.search(jax.random.key(0), guess(states, None), node, model, simulations, gumbel_scale=0.0).action


def chosen(goal: int, simulations: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether the first move is optimal in each start on the grid with a goal, and the steps to the goal."""
    rows = np.where(np.arange(SIZE**2) == goal, "G", ".").reshape(SIZE, SIZE)
    env = envs.make("gridworld", map=tuple(map("".join, rows)), step=0.0, goal=1.0)
    model = tabulate(env)
    best, cell = np.asarray(host.solve(model, GAMMA).action_value), np.asarray(model.state)
    action = np.asarray(first_moves(env, jnp.asarray(cell), simulations))
    steps = abs(cell // SIZE - goal // SIZE) + abs(cell % SIZE - goal % SIZE)
    return best[np.arange(len(cell)), action] >= best.max(1) - 1e-9, steps


@jax.jit
def improved(key: jax.Array, prior: jax.Array, worth: jax.Array) -> search.Plan:
    """Searches bandits with prior logits and the worth of their arms, float32[B, ARMS] each, which every pull shows exactly."""
    value = (jax.nn.softmax(prior) * worth).sum(-1)
    return search.search(key, search.Prediction(prior, value), worth, search.of_bandit, num_simulations=2 * ARMS)


def measure(config: Config, results: Results):
    """Measures first moves on grids by their distance to the goal, and how much a search adds to the worth of a policy."""
    for number in config.simulations:
        optimal, steps = map(np.concatenate, zip(*(chosen(goal, number) for goal in range(config.goals)), strict=True))
        starts = {f"at distance {distance}": steps == distance for distance in range(1, FARTHEST + 1)}
        for name, among in (starts | {NEAR: (steps >= 1) & (steps <= FARTHEST)}).items():
            yield {"task": "5x5 grid", "simulations": number, "starts": name}, {"optimal_share": optimal[among].mean()}
    prior, worth = np.random.default_rng(results.root).normal(scale=2.0, size=(2, config.bandits, ARMS)).astype(np.float32)
    found = improved(jax.random.key(results.root), jnp.asarray(prior), jnp.asarray(worth))
    after = np.asarray(found.policy, np.float64)
    gain = ((after / after.sum(1, keepdims=True) - softmax(prior.astype(np.float64), axis=1)) * worth).sum(1, keepdims=True)
    yield {"task": "bandits", "simulations": 2 * ARMS}, {"gain": gain, "least_pulls": found.visits.min(1, keepdims=True)}


def figures(results: Results) -> None:
    """Draws the learning curves, and how many simulations a search needs for goals at each distance."""
    label = {"of": {"task": "5x5 grid"}, "x_scale": "log", "title": "5x5 grids"}
    draw.against(results, "grids", "optimal_share", "simulations", "Simulations", "Share of optimal first moves", **label)
    draw.gaps(results, "greedy_exploitability", {"title": "Tic-tac-toe"}, task="tic-tac-toe")
    draw.curves(results, "greedy_exact_value", {"optimum": 1.0, "title": "Catch", "name": "catch"}, task="Catch")


CLAIMS = (
    *(
        Claim(
            f"With the true model, a uniform prior and values of 0, a search with {number} simulations chooses an optimal first "
            f"move in {starts} within 4 steps of the goal on a 5x5 grid",
            "Danihelka et al. (2022); there are 340 sequences of up to 4 moves",
            final("optimal_share", simulations=number, starts=NEAR) >= bar,
        )
        for number, bar, starts in ((64, 0.95, "at least 95 % of the starts"), (1024, 1.0, "every start"))
    ),
    Claim(
        "On 1000 random bandits with exact values the search pulls all arms, and its policy is never worth less than its prior",
        "Danihelka et al. (2022), section 4",
        every((smallest("gain") >= -1e-5, smallest("least_pulls") >= 1)),
    ),
    Claim(
        "After 100,000 frames of Catch the greedy policy of MuZero catches the ball so often that its return is at least 0.9",
        "Schrittwieser et al. (2020)",
        final("greedy_exact_value", task="Catch") >= 0.9,
    ),
    Claim(
        "After 100,000 moves of self-play no opponent, on either side, beats AlphaZero at tic-tac-toe in any seed",
        "Silver et al. (2018); with perfect play the game is drawn",
        largest(final("greedy_exploitability", algorithm="AlphaZero")) <= 0.0,
    ),
    Claim(
        "The same search with a network that never learned loses a game of tic-tac-toe to some opponent, in every seed",
        "Silver et al. (2018)",
        smallest(final("greedy_exploitability", algorithm="search alone")) >= 0.5,
    ),
)
