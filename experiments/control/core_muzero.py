"""Planning by search with the true model and with a learned one: what a search adds to its prior, and learning from it.

A search of 5x5 grids that knows nothing but the rules; bandits in which the policy of a search can be compared with its prior
exactly; AlphaZero on tic-tac-toe, judged by the best replies of all opponents; and MuZero on Catch.

Source: Danihelka et al. (2022), "Policy improvement by planning with Gumbel"; Silver et al. (2018), AlphaZero; Schrittwieser et
al. (2020), MuZero. Exact values: dynamic programming.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import envs
from jaxrl.algorithms.planning import alphazero, muzero
from jaxrl.blocks import search
from jaxrl.blocks.search import Node, Outcome, Plan, Prediction
from jaxrl.core.environment import Environment
from jaxrl.core.finite import tabulate
from jaxrl.evaluation import ExactValue, Exploitability
from jaxrl.experiment import Arm, Claim, Results, draw, final, largest, smallest
from jaxrl.solvers.mdp import host

SIZE, ACTIONS, FARTHEST = 5, 4, 4  # rows of a grid, its actions, and how many steps from the goal a start may be
GAMMA = 0.9  # on the grids, where reaching the goal pays 1
NEAR = f"at distance 1 to {FARTHEST}"
ARMS = 8  # of a bandit
UNTRAINED = 1e-12  # a learning rate that changes nothing


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


QUICK = Config(
    seeds=2,
    env_steps=64,
    simulations=(64, 1024),
    goals=1,
    bandits=16,
    tic_tac_toe=alphazero.Config(num_simulations=2, num_envs=2, num_steps=8, num_gradient_steps=1, batch_size=8, hidden=(8,)),
    catch=muzero.Config(
        num_simulations=2,
        unroll_steps=2,
        bootstrap_steps=2,
        num_envs=2,
        num_gradient_steps=1,
        num_rounds=1,
        batch_size=8,
        learning_starts=16,
        hidden=(8,),
    ),
)


def arms(config: Config) -> Iterator[Arm]:
    """AlphaZero, the same search with a network that never learns, and MuZero; greedy policies are evaluated exactly."""
    game, catch = envs.make("tic_tac_toe"), envs.make("catch")
    against_all = (Exploitability.of(game, 1.0),)
    for name, learner in (
        ("AlphaZero", config.tic_tac_toe),
        ("search alone", replace(config.tic_tac_toe, learning_rate=UNTRAINED)),
    ):
        chunk = max(1, config.env_steps // learner.steps_per_update // 8)
        yield Arm(
            {"task": "tic-tac-toe", "algorithm": name},
            alphazero.make,
            game,
            learner,
            config.seeds,
            config.env_steps,
            evaluators=against_all,
            show=("greedy_exploitability",),
            chunk_length=chunk,
        )
    factors, exact = {"task": "Catch", "algorithm": "MuZero"}, (ExactValue.of(catch, 1.0),)
    yield Arm(factors, muzero.make, catch, config.catch, config.seeds, config.env_steps, evaluators=exact)


def uniform(count: int, obs: jax.Array, mask: jax.Array | None) -> Prediction:
    """Knows nothing: predicts a uniform policy over so many actions and values of 0."""
    return Prediction(jnp.zeros((*obs.shape[:1], count), jnp.float32), jnp.zeros(obs.shape[:1], jnp.float32))


@partial(jax.jit, static_argnames="num_simulations")
def plan(env: Environment, states: jax.Array, num_simulations: int) -> Plan:
    """Searches a grid from states int32[B], without noise."""
    guess = partial(uniform, ACTIONS)
    model = search.of_environment(env, guess, GAMMA)
    node = Node(states, jnp.zeros(states.shape, bool))
    return search.search(jax.random.key(0), guess(states, None), node, model, num_simulations, gumbel_scale=0.0)


def chosen(goals: int, num_simulations: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether the first move is optimal in each start on the first grids, and the steps to the goal."""
    optimal, steps = [], []
    for goal in range(goals):
        cells = ["G" if cell == goal else "." for cell in range(SIZE**2)]
        rows = tuple("".join(cells[first : first + SIZE]) for first in range(0, SIZE**2, SIZE))
        env = envs.make("gridworld", map=rows, step=0.0, goal=1.0)
        model = tabulate(env)
        best = np.asarray(host.solve(model, GAMMA).action_value)
        action = np.asarray(plan(env, jnp.asarray(model.state), num_simulations).action)
        cell = np.asarray(model.state)
        steps.append(abs(cell // SIZE - goal // SIZE) + abs(cell % SIZE - goal % SIZE))
        optimal.append(best[np.arange(len(cell)), action] >= best.max(1) - 1e-9)
    return np.concatenate(optimal), np.concatenate(steps)


@jax.jit
def improved(key: jax.Array, prior: jax.Array, worth: jax.Array) -> Plan:
    """Searches bandits with prior logits and the worth of their arms, float32[B, ARMS] each, which every pull shows exactly."""

    def model(key, action, worth):
        paid = jnp.take_along_axis(worth, action[:, None], axis=1)[:, 0]
        return Outcome(paid, jnp.zeros_like(paid), uniform(ARMS, worth, None)), worth

    value = (jax.nn.softmax(prior) * worth).sum(-1)
    return search.search(key, Prediction(prior, value), worth, model, num_simulations=2 * ARMS)


def measure(config: Config, results: Results):
    """Measures first moves on grids by their distance to the goal, and how much a search adds to the worth of a policy."""
    for number in config.simulations:
        optimal, steps = chosen(config.goals, number)
        for distance in range(1, FARTHEST + 1):
            factors = {"task": "5x5 grid", "simulations": number, "starts": f"at distance {distance}"}
            yield factors, {"optimal_share": optimal[steps == distance].mean()}
        near = (steps >= 1) & (steps <= FARTHEST)
        yield {"task": "5x5 grid", "simulations": number, "starts": NEAR}, {"optimal_share": optimal[near].mean()}
    random = np.random.default_rng(results.root)
    prior, worth = random.normal(scale=2.0, size=(2, config.bandits, ARMS)).astype(np.float32)
    found = improved(jax.random.key(results.root), jnp.asarray(prior), jnp.asarray(worth))
    before = np.exp(prior.astype(np.float64) - prior.max(1, keepdims=True))
    after = np.asarray(found.policy, np.float64)
    gain = ((after / after.sum(1, keepdims=True) - before / before.sum(1, keepdims=True)) * worth).sum(1)
    pulled = np.asarray(found.visits).min(1)
    yield {"task": "bandits", "simulations": 2 * ARMS}, {"gain": gain[:, None], "least_pulls": pulled[:, None]}


def figures(results: Results) -> None:
    """Draws the learning curves, and how many simulations a search needs for goals at each distance."""
    label = {"of": {"task": "5x5 grid"}, "x_scale": "log", "title": "5x5 grids"}
    draw.against(results, "grids", "optimal_share", "simulations", "Simulations", "Share of optimal first moves", **label)
    draw.gaps(results, "greedy_exploitability", {"title": "Tic-tac-toe"}, task="tic-tac-toe")
    draw.curves(results, "greedy_exact_value", {"optimum": 1.0, "title": "Catch", "name": "catch"}, task="Catch")


def near_the_goal(simulations: int):
    """The share of starts within 4 steps of the goal in which the first move is optimal."""
    return final("optimal_share", simulations=simulations, starts=NEAR)


CLAIMS = (
    Claim(
        "With the true model, a uniform prior and values of 0, a search with 64 simulations chooses an optimal first move in at "
        "least 95 % of the starts within 4 steps of the goal on a 5x5 grid",
        "Danihelka et al. (2022)",
        near_the_goal(64) >= 0.95,
    ),
    Claim(
        "With the true model, a uniform prior and values of 0, a search with 1024 simulations chooses an optimal first move in "
        "every start within 4 steps of the goal on a 5x5 grid",
        "Danihelka et al. (2022); there are 340 sequences of up to 4 moves",
        near_the_goal(1024) >= 1.0,
    ),
    Claim(
        "On none of 1000 random bandits with exact values is the policy of the search worth less than its prior, if all arms are "
        "pulled",
        "Danihelka et al. (2022), section 4",
        smallest("gain") >= -1e-5,
    ),
    Claim(
        "After 100,000 frames of Catch the greedy policy of MuZero catches the ball so often that its return is at least 0.9",
        "Schrittwieser et al. (2020)",
        final("greedy_exact_value", task="Catch") >= 0.9,
    ),
    Claim(
        "After 100,000 moves of self-play no opponent wins a game of tic-tac-toe against AlphaZero, whatever it plays on either "
        "side, in any seed",
        "Silver et al. (2018); with perfect play the game is drawn",
        largest(final("greedy_exploitability", algorithm="AlphaZero")) <= 0.0,
    ),
    Claim(
        "The same search with a network that never learned loses a game of tic-tac-toe to some opponent, in every seed",
        "Silver et al. (2018)",
        smallest(final("greedy_exploitability", algorithm="search alone")) >= 0.5,
    ),
)
