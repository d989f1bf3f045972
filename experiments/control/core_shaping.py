"""Potential-based shaping: nothing is best that was not best before, and the goal is found much earlier.

Exactly, on random processes with random potentials; by Q-learning in the four rooms with the distance to the goal as potential.
A reward for every step towards the goal, and none against steps away from it, is no difference of a potential: the best policy
goes to and fro for ever.

Source: Ng, Harada and Russell (1999), "Policy Invariance Under Reward Transformations"; Randlov and Alstrom (1998).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.gridworlds import four_rooms, optima, random_maze
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.environment import Environment
from jaxrl.core.finite import tabulate
from jaxrl.core.transforms import with_potential, with_reward
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, every, final, largest, smallest
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import greedy_policy

GAMMA = 0.99
OPTIMUM = optima.FOUR_ROOMS[11, 11][0.0]  # of the corner (1, 1), 19 steps from the goal before the last one
LEARNER = q_learning.Config(gamma=GAMMA, learning_rate_half_life=np.inf, learning_rate_min=0.0, epsilon=0.1, num_steps=50)
NEEDED = "episodes_needed"


@dataclass(frozen=True)
class Config:
    """Potential-based shaping, exactly and in the four rooms."""

    seeds: int = 64
    """Independent learners of each kind, trained side by side (count)."""
    env_steps: int = 40_000
    """Environment steps of each learner (count)."""
    problems: int = 10
    """Random decision processes, each with 10 random potentials (count)."""


QUICK = Config(seeds=4, env_steps=5_000, problems=2)


def towards(distance: jax.Array, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
    """Pays 1 for every step that leads nearer to the goal, and 1 for the goal. distance: float32[X]."""
    return (distance[next_obs] < distance[obs]).astype(jnp.float32) + (distance[next_obs] == 0)


def distances() -> jax.Array:
    """Returns the fewest steps from every free cell of the four rooms to the goal, float32[X]."""
    walls = np.array([list(row) for row in four_rooms.MAP]) == "#"
    return random_maze.distances(jnp.asarray(walls), (11, 11))[~walls].astype(jnp.float32)


def arms(config: Config) -> Iterator[Arm]:
    """Q-learning in the four rooms with three potentials: the same program with other numbers.

    None; minus the distance; and by how much nearer a cell is than the farthest one, in units of what a step costs, 1 - gamma.
    """
    env, distance = four_rooms.make(), distances()
    nearness = (1 - GAMMA) * (distance.max() - distance)
    for name, potential in (("none", 0.0 * distance), ("minus distance", -distance), ("nearness", nearness)):
        shaped, learners = with_potential(env, jnp.take, GAMMA, potential), (LEARNER, config.seeds, config.env_steps)
        options = {"evaluators": (ExactValue.of(env, GAMMA),), "chunk_length": 5}  # updates between two evaluations
        yield Arm({"potential": name}, q_learning.make, shaped, *learners, **options)


def measure(config: Config, results: Results):
    """Measures after how many episodes a policy is good, and compares exact values with and without shaping."""
    # A seed that never comes there counts with all its episodes, which are fewer than it needs.
    for arm in arms(config):
        curve = results.curves("greedy_exact_value", **arm.factors)
        episodes = np.cumsum(results.values("episodes", "metrics", **arm.factors), axis=1)[:, curve.updates]
        good = np.asarray(curve.values >= 0.95 * OPTIMUM)
        arrives = good.any(1, keepdims=True)
        first = np.take_along_axis(episodes, good.argmax(1)[:, None], axis=1)
        yield arm.factors, {NEEDED: np.where(arrives, first, episodes[:, -1:]), "arrives": arrives.astype(float)}
    env, generator = four_rooms.make(), np.random.default_rng(results.root)
    for number in range(config.problems):
        process = envs.make("random_mdp", kind="garnet", num_states=10, seed=number)
        yield {"problem": number}, largest_differences(process, generator.normal(size=(10, 10)).astype(np.float32))
    yield {"reward": "shaped"}, {"true_value": true_value(with_potential(env, jnp.take, GAMMA, -distances()))}
    yield {"reward": "bonus"}, {"true_value": true_value(with_reward(env, towards, distances()))}


def by_state(env: Environment, gamma: float = GAMMA) -> np.ndarray:
    """Returns the optimal action values by observation, float64[X, A]."""
    model = tabulate(env)
    return np.asarray(host.solve(model, gamma).action_value)[np.argsort(model.observation)]


def largest_differences(env: Environment, potentials: np.ndarray) -> dict[str, float]:
    """Returns the largest of |Q_shaped - (Q - Phi)| over pairs and potentials float32[P, X], and how many best actions change."""
    gamma = float(np.float32(GAMMA))  # that of the environment's parameters
    plain = by_state(env, gamma)
    shaped = np.stack([by_state(with_potential(env, jnp.take, gamma, jnp.asarray(phi)), gamma) for phi in potentials])
    best, shaped_best = (q >= q.max(-1, keepdims=True) - 1e-7 for q in (plain, shaped))
    return {"difference": np.abs(shaped - plain + potentials[..., None]).max(), "changed": (shaped_best != best).sum()}


def true_value(rewarded: Environment) -> float:
    """Returns what the best policy for a changed reward is worth by the reward of the four rooms, at the start."""
    plain = tabulate(four_rooms.make())
    policy = np.asarray(greedy_policy(plain, by_state(rewarded)[plain.observation]))
    return float(host.evaluate(plain, policy, GAMMA).start_value(plain))


def figures(results: Results) -> None:
    """Draws the exact values of the greedy policies while learning, and after how many episodes they are good."""
    draw.curves(results, "greedy_exact_value", {"optimum": OPTIMUM, "title": "Four rooms"})
    draw.ends(results, NEEDED, {"label": "Episodes until the value is 95 % of the optimum"})


PAPER = "Ng, Harada and Russell (1999)"
CLAIMS = (
    Claim(
        "In ten random decision processes with 100 random potentials, Q with shaping is Q less the potential, to 1e-6",
        f"{PAPER}, corollary 2",
        largest("difference") <= 1e-6,
    ),
    Claim("In each of their states the best actions are the same with shaping", f"{PAPER}, theorem 1", largest("changed") <= 0),
    Claim(
        "In the four rooms the best policy for rewards shaped by the distance is worth 0.826169, the optimum",
        f"{PAPER}, theorem 1",
        final("true_value", reward="shaped").equals(OPTIMUM, 1e-6),
    ),
    Claim(
        "The best policy for a bonus of 1 on each step towards the goal never arrives: by the true reward it is worth 0",
        f"{PAPER}, section 1; Randlov and Alstrom (1998)",
        final("true_value", reward="bonus").equals(0.0, 1e-9),
    ),
    # Minus the distance fails. It is negative, so that staying d steps away, at a wall, is paid (1 - gamma) d: until the goal has
    # been found, a bump looks better than an action that was not tried. The nearness is never negative: there a bump costs.
    *(
        Claim(
            f"With {words} as potential, Q-learning in the four rooms comes to 95 % of the optimum in every seed, and in at most "
            "half the episodes on average",
            f"{PAPER}, section 5; the part about every seed was added after the numbers had been seen",
            every(
                [smallest("arrives", potential=name) >= 1, final(NEEDED, potential="none") * 0.5 >= final(NEEDED, potential=name)]
            ),
        )
        for name, words in {"minus distance": "minus the distance", "nearness": "the nearness to the goal"}.items()
    ),
)
