"""Potential-based shaping: nothing is best that was not best before, and the goal is found much earlier.

Exactly, on random decision processes with random potentials; by Q-learning in the four rooms with the distance to the goal as
potential. A reward for every step towards the goal, and none against steps away from it, is no difference of a potential: the
best policy goes to and fro for ever.

Source: Ng, Harada and Russell (1999), "Policy Invariance Under Reward Transformations"; Randlov and Alstrom (1998), where a
bicycle rides in circles.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.gridworlds import four_rooms, optima
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.environment import Environment
from jaxrl.core.finite import tabulate
from jaxrl.core.transforms import with_potential, with_reward
from jaxrl.evaluation import ExactValue
from jaxrl.experiment import Arm, Claim, Results, draw, exact, final, largest
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import greedy_policy

GAMMA = 0.99
OPTIMUM = optima.FOUR_ROOMS[11, 11][0.0]  # of the corner (1, 1), 19 steps from the goal before the last one
BAR = 0.95 * OPTIMUM
STATES = 10  # of a random decision process
CHUNK = 5  # updates between two evaluations
LEARNER = q_learning.Config(
    gamma=GAMMA, learning_rate=0.5, learning_rate_half_life=np.inf, learning_rate_min=0.0, epsilon=0.1, num_steps=50
)


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


def by_number(table: jax.Array, obs: jax.Array) -> jax.Array:
    """The potential of a numbered observation. table: float32[X]."""
    return table[obs]


def towards(distance: jax.Array, obs: jax.Array, action: jax.Array, next_obs: jax.Array) -> jax.Array:
    """Pays 1 for every step that leads nearer to the goal, and 1 for the goal. distance: float32[X]."""
    return (distance[next_obs] < distance[obs]).astype(jnp.float32) + (distance[next_obs] == 0)


def distances(env: Environment) -> jax.Array:
    """Returns the steps from every cell of the four rooms to the goal, float32[X]."""
    model = tabulate(env)
    value = host.solve(model, GAMMA).value
    # d steps away, the goal is worth gamma^(d - 1); the goal itself is worth nothing any more.
    steps = np.where(value > 0, np.round(np.log(np.where(value > 0, value, 1.0)) / np.log(GAMMA)) + 1, 0)
    return jnp.asarray(steps[np.argsort(model.observation)], jnp.float32)


def arms(config: Config) -> Iterator[Arm]:
    """Q-learning in the four rooms with three potentials: the same program with other numbers.

    None; minus the distance; and by how much nearer a cell is than the farthest one, in units of what a step costs, 1 - gamma.
    """
    env = four_rooms.make()
    distance = distances(env)
    nearness = (1 - GAMMA) * (distance.max() - distance)
    for name, potential in (("none", 0.0 * distance), ("minus distance", -distance), ("nearness", nearness)):
        shaped = with_potential(env, by_number, GAMMA, potential)
        evaluators = (ExactValue.of(env, GAMMA),)
        factors = {"potential": name}
        yield Arm(
            factors, q_learning.make, shaped, LEARNER, config.seeds, config.env_steps, evaluators=evaluators, chunk_length=CHUNK
        )


def measure(config: Config, results: Results):
    """Measures after how many episodes a greedy policy is worth 95 % of the optimum, and compares exact values with and without
    shaping. A seed that never comes there counts with all its episodes, which are fewer than it needs.
    """
    for arm in arms(config):
        curve = results.curves("greedy_exact_value", **arm.factors)
        episodes = np.cumsum(results.values("episodes", "metrics", **arm.factors), axis=1)[:, curve.updates]
        good = np.asarray(curve.values >= BAR)
        first = np.take_along_axis(episodes, good.argmax(1)[:, None], axis=1)
        yield arm.factors, {"episodes_needed": np.where(good.any(1, keepdims=True), first, episodes[:, -1:])}
    generator = np.random.default_rng(results.root)
    for number in range(config.problems):
        env = envs.make("random_mdp", kind="garnet", num_states=STATES, seed=number)
        yield {"problem": number}, largest_differences(env, generator.normal(size=(10, STATES)))


def largest_differences(env: Environment, potentials: np.ndarray) -> dict[str, float]:
    """Returns the largest of |Q_shaped - (Q - Phi)| over all pairs, and how many states have other best actions.

    Args:
        env: whose states are numbers and that never ends.
        potentials: float[P, X].
    """
    gamma = float(np.float32(GAMMA))  # that of the environment's parameters
    plain, differences, changed = tabulate(env), [], 0
    q = np.asarray(host.solve(plain, gamma).action_value)[np.argsort(plain.observation)]
    for phi in potentials.astype(np.float32):
        model = tabulate(with_potential(env, by_number, gamma, jnp.asarray(phi)))
        found = np.asarray(host.solve(model, gamma).action_value)[np.argsort(model.observation)]
        differences.append(np.abs(found - (q - phi[:, None])).max())
        changed += int((best(found) != best(q)).any(1).sum())
    return {"difference": float(np.max(differences)), "changed": changed}


def best(q: np.ndarray) -> np.ndarray:
    """Returns which actions are best, up to rounding, bool[X, A]."""
    return q >= q.max(1, keepdims=True) - 1e-7


def true_value(rewarded: Environment) -> float:
    """Returns what the best policy for a changed reward is worth by the reward of the four rooms, at the start."""
    changed, plain = tabulate(rewarded), tabulate(four_rooms.make())
    policy = np.asarray(greedy_policy(changed, host.solve(changed, GAMMA).action_value))
    by_cell = np.zeros_like(policy)
    by_cell[changed.observation] = policy
    return float(host.evaluate(plain, by_cell[plain.observation], GAMMA).start_value(plain))


def figures(results: Results) -> None:
    """Draws the exact values of the greedy policies while learning, and after how many episodes they are good."""
    draw.curves(results, "greedy_exact_value", {"optimum": OPTIMUM, "title": "Four rooms"})
    draw.ends(results, "episodes_needed", {"label": "Episodes until the value is 95 % of the optimum"})


def shaped_value() -> float:
    """The exact value of the best policy for shaped rewards."""
    env = four_rooms.make()
    return true_value(with_potential(env, by_number, GAMMA, -distances(env)))


def bonus_value() -> float:
    """The exact value of the best policy for a bonus that is no difference of a potential."""
    env = four_rooms.make()
    return true_value(with_reward(env, towards, distances(env)))


CLAIMS = (
    Claim(
        "In ten random decision processes with 100 random potentials, Q with shaping is Q less the potential, to 1e-6",
        "Ng, Harada and Russell (1999), corollary 2",
        largest("difference") <= 1e-6,
    ),
    Claim(
        "In each of their states the best actions are the same with shaping",
        "Ng, Harada and Russell (1999), theorem 1",
        largest("changed") <= 0,
    ),
    Claim(
        "In the four rooms the best policy for rewards shaped by the distance is worth 0.826169, the optimum",
        "Ng, Harada and Russell (1999), theorem 1",
        exact("true value", shaped_value).equals(OPTIMUM, 1e-6),
    ),
    Claim(
        "The best policy for a bonus of 1 on each step towards the goal never arrives: by the true reward it is worth 0",
        "Ng, Harada and Russell (1999), section 1; Randlov and Alstrom (1998)",
        exact("true value", bonus_value).equals(0.0, 1e-9),
    ),
    # Minus the distance fails. It is negative, so that staying d steps away, at a wall, is paid (1 - gamma) d: until the goal has
    # been found, a bump looks better than an action that was not tried. The nearness is never negative: there a bump costs.
    *(
        Claim(
            f"With {words} as potential, Q-learning in the four rooms comes to 95 % of the optimum in at most half the episodes",
            "Ng, Harada and Russell (1999), section 5",
            final("episodes_needed", potential="none") * 0.5 - final("episodes_needed", potential=name) >= 0.0,
        )
        for name, words in (
            ("minus distance", "minus the distance"),
            ("nearness", "the nearness to the goal, in units of the values,"),
        )
    ),
)
