"""Every exact number known of the gridworlds, computed and expected side by side; ``pytest -s`` prints them.

Computed from the environments' exact models by the tests' own NumPy solvers, linear programs by scipy.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize_scalar

import envs
from envs.gridworlds import doorkey, four_rooms, grid, hazard_grid, random_maze
from envs.gridworlds.grid import DOWN, LEFT, RIGHT, UP
from jaxrl.core.finite import tabulate
from tests import oracles


class Number(NamedTuple):
    name: str
    computed: float
    expected: float
    tolerance: float = 1e-6


@functools.cache
def model_of(name, **parameters):
    return tabulate(envs.make(name, **parameters))


def optimum(gamma, name, **parameters):
    model = model_of(name, **parameters)
    return oracles.start_value(model, oracles.value_iteration(model, gamma))


def policy_value(policy, gamma, name, **parameters):
    model = model_of(name, **parameters)
    return oracles.start_value(model, oracles.policy_values(model, policy(model), gamma))


def shortest(name, **parameters):
    """The steps of the shortest way, from the discounted value of a reward of 1 at its end."""
    return 1 + math.log(optimum(0.95, name, **parameters)) / math.log(0.95)


def frozen_lake():
    small, large = (
        {0.9: 0.068891, 0.95: 0.180472, 0.99: 0.542026, 0.999: 0.785533, 1.0: 14 / 17},
        {0.99: 0.414640, 0.999: 0.892635},
    )
    yield from (Number(f"4x4, V* at {gamma}", optimum(gamma, "frozen_lake"), value) for gamma, value in small.items())
    yield Number("4x4, uniform policy at 0.99", policy_value(oracles.uniform, 0.99, "frozen_lake"), 0.012356)
    model = model_of("frozen_lake")
    greedy = oracles.greedy(model, oracles.value_iteration(model, 0.99), 0.99, [0, 1, 2, 3])
    chances = {"greedy": (greedy, 0.740165), "best": (None, 0.744190), "uniform": (oracles.uniform(model), 0.013940)}
    for name, (policy, value) in chances.items():
        yield Number(
            f"4x4, {name} within 100 steps", oracles.start_value(model, oracles.horizon_values(model, 100, policy)), value
        )
    yield Number("4x4 without slip at 0.99", optimum(0.99, "frozen_lake", slip=0.0), 0.99**5)
    yield from (Number(f"8x8, V* at {gamma}", optimum(gamma, "frozen_lake_8x8"), value) for gamma, value in large.items())
    yield Number("8x8, V* at 1.0", optimum(1.0, "frozen_lake_8x8"), 1.0)
    yield Number("8x8 without slip at 0.99", optimum(0.99, "frozen_lake_8x8", slip=0.0), 0.877521)


def cliff_walking():
    model, order = model_of("cliff_walking"), [RIGHT, DOWN, UP, LEFT]
    values = oracles.value_iteration(model, 1.0)
    yield Number("V*", oracles.start_value(model, values), -13)
    edge = oracles.greedy(model, values, 1.0, order)
    for epsilon, value in {0.1: -45.803322, 0.05: -28.811095, 0.01: -16.066662}.items():
        policy = (1 - epsilon) * edge + epsilon * oracles.uniform(model)
        yield Number(
            f"along the edge, epsilon {epsilon}", oracles.start_value(model, oracles.policy_values(model, policy, 1.0)), value
        )
    soft = oracles.value_iteration(model, 1.0, epsilon=0.1)
    yield Number("best epsilon-soft policy, epsilon 0.1", oracles.start_value(model, soft), -20.707677)
    safe = oracles.greedy(model, soft, 1.0, order)
    yield Number("steps of its greedy path", -oracles.start_value(model, oracles.policy_values(model, safe, 1.0)), 15)


def windy_grid():
    calm, stormy = {"four": -15, "king": -7, "king_and_stay": -7}, {"four": -20.628258, "king": -10.964609}
    yield from (Number(f"{moves}, V*", optimum(1.0, "windy_grid", moves=moves), value) for moves, value in calm.items())
    for moves, value in stormy.items():
        yield Number(f"{moves}, stochastic wind, V*", optimum(1.0, "windy_grid", moves=moves, gust=2 / 3), value)


def rooms():
    values = {(11, 11): (0.826169, 0.701625), (9, 9): (0.860058, 0.749416), (6, 2): (0.950990, 0.907251)}
    for goal, (certain, slippery) in values.items():
        yield Number(f"goal {goal}, V* at 0.99", optimum(0.99, "four_rooms", goal=goal), certain)
        yield Number(f"goal {goal}, slip 1/3, V* at 0.99", optimum(0.99, "four_rooms", goal=goal, slip=1 / 3), slippery)
    model = model_of("four_rooms")
    steps = oracles.policy_values(model, oracles.uniform(model), 1.0, reward=np.ones_like(model.reward))
    yield Number("steps of the random walk", oracles.start_value(model, steps), 1148.34, 0.005)
    neighbour = grid.parse("test", four_rooms.MAP).neighbour
    adjacency = np.zeros((len(neighbour),) * 2)
    adjacency[np.arange(len(neighbour))[:, None], neighbour] = 1
    np.fill_diagonal(adjacency, 0)
    eigenvalues = np.linalg.eigvalsh(np.diag(adjacency.sum(1)) - adjacency)
    for index, value in enumerate((0, 0.022903, 0.027156, 0.056157, 0.284739)):
        yield Number(f"Laplacian eigenvalue {index}", eigenvalues[index], value)
    yield Number("free cells", len(neighbour), 104)


def mazes():
    yield Number("Dyna maze, shortest way", shortest("dyna_maze"), 14)
    yield Number("Dyna maze, V* at 0.95", optimum(0.95, "dyna_maze"), 0.513342)
    yield Number("blocking maze, right opening", shortest("blocking_maze"), 10)
    yield Number("blocking maze, left opening", shortest("blocking_maze", opening="left"), 16)
    for carve, size in (("depth_first", 7), ("prim", 15)):
        rows = random_maze.text(0, size, carve)
        walls = jnp.array([[letter == "#" for letter in row] for row in rows])
        distance = int(random_maze.distances(walls, (size - 2, size - 2))[1, 1])
        yield Number(f"random maze, {carve} {size}: shortest way", shortest("gridworld", map=rows, step=0.0), distance)


def keys_and_doors():
    """Means over all layouts, by breadth-first search over the exact model; the tests of DoorKey hold each against another."""
    for size, mean, fewest, most in ((5, 59 / 6, 7, 14), (6, 221 / 18, 7, 19)):
        model = model_of("doorkey", size=size, timed=False)
        lengths = doorkey.optimal_lengths(model)
        first = lengths[model.initial > 0]
        yield Number(f"DoorKey {size}, mean of the shortest ways", oracles.start_value(model, lengths), mean)
        yield Number(f"DoorKey {size}, the shortest of all", first.min(), fewest)
        yield Number(f"DoorKey {size}, the longest of all", first.max(), most)


def hazards():
    optima = {
        (0.0, 0.0): -5.851985,
        (0.0, 0.5): -5.530180,
        (0.0, 1.0): -5.208375,
        (0.0, 2.0): -4.564765,
        (0.1, 0.5): -6.502827,
        (0.1, 1.0): -6.136387,
        (0.1, 2.0): -5.403506,
    }
    for (slip, budget), value in optima.items():
        yield Number(f"slip {slip}, cost at most {budget}", constrained_optimum(slip, budget), value)
    yield Number("slip 0.1, cost 0 is infeasible", constrained_optimum(0.1, 0.0), -math.inf)
    for slip, value, cost in ((0.0, -3.940399, 2.970100), (0.1, -4.642449, 3.173086)):
        yield Number(f"slip {slip}, unconstrained", optimum(0.99, "hazard_grid", slip=slip), value)
        yield Number(f"slip {slip}, most that an optimal policy costs", dearest_optimum(slip), cost)
    yield Number("by hand: mixture of both ways at 1", -5.851985 + (5.851985 - 3.940399) / 2.9701, -5.208375)


def constrained_optimum(slip, budget, gamma=0.99):
    """The best discounted return within a budget of discounted cost, by a linear program over state-action occupancies."""
    env = envs.make("hazard_grid", slip=slip)
    model = model_of("hazard_grid", slip=slip)
    cost = hazard_grid.cost_table(model, env.params)
    going_on = ~model.terminated.all((1, 2))
    states, actions = model.num_states, model.num_actions
    flow = np.zeros((states, actions, states))
    source = np.indices(model.probability.shape)
    np.add.at(flow, (source[0], source[1], model.next_state), model.probability * ~model.terminated)
    balance = (np.eye(states)[:, None] - gamma * flow).reshape(states * actions, states).T[going_on]
    mean_reward, mean_cost = ((model.probability * each).sum(-1).reshape(-1) for each in (model.reward, cost))
    bounds = [(0, None if alive else 0) for alive in np.repeat(going_on, actions)]
    found = linprog(-mean_reward, mean_cost[None], [budget], balance, model.initial[going_on], bounds, method="highs")
    return -math.inf if found.status == 2 else -found.fun


def dearest_optimum(slip, gamma=0.99):
    """The largest discounted cost among the policies that are optimal in reward: several are, and cost differently."""
    env, model = envs.make("hazard_grid", slip=slip), model_of("hazard_grid", slip=slip)
    cost = hazard_grid.cost_table(model, env.params)
    q = oracles.action_values(model, oracles.value_iteration(model, gamma), gamma)
    best, worth = np.isclose(q, q.max(-1, keepdims=True), atol=1e-9), np.zeros(model.num_states)
    for _ in range(3000):
        beyond = gamma * ~model.terminated * worth[model.next_state]
        worth = np.where(best, (model.probability * (cost + beyond)).sum(-1), -np.inf).max(-1)
    return oracles.start_value(model, worth)


def others():
    yield Number("DeepSea 10, V*", optimum(1.0, "deep_sea"), 0.99)
    for size in (4, 10):
        model = model_of("deep_sea", size=size, cost=0.0)
        found = oracles.start_value(model, oracles.policy_values(model, oracles.uniform(model), 1.0))
        yield Number(f"DeepSea {size}, uniform policy's chance", found, 2.0**-size, 1e-9)
    yield Number("Catch, V*", optimum(1.0, "catch"), 1.0)
    model = model_of("t_maze")
    yield Number("T-maze, V* with memory", oracles.start_value(model, oracles.value_iteration(model, 1.0)), 1.0)
    yield Number("T-maze, best policy without memory", best_without_memory(model, 4, 100), 0.5)
    model = model_of("short_corridor")

    def cost(right):
        policy = np.tile([1 - right, right], (model.num_states, 1))
        return -oracles.start_value(model, oracles.policy_values(model, policy, 1.0))

    best = minimize_scalar(cost, bounds=(0.01, 0.99), method="bounded", options={"xatol": 1e-10})
    yield Number("short corridor, best chance of going right", best.x, 2 - math.sqrt(2), 1e-5)
    yield Number("short corridor, its return", -best.fun, -(6 + 4 * math.sqrt(2)))


def best_without_memory(model, observations, num_steps):
    """The best return of all deterministic policies of what is observed, by trying all."""
    found = []
    for choice in np.ndindex(*(model.num_actions,) * observations):
        policy = np.eye(model.num_actions)[np.array(choice)[model.observation]]
        found.append(oracles.start_value(model, oracles.horizon_values(model, num_steps, policy)))
    return max(found)


GROUPS = {
    "FrozenLake": frozen_lake,
    "CliffWalking": cliff_walking,
    "WindyGrid": windy_grid,
    "FourRooms": rooms,
    "mazes": mazes,
    "DoorKey": keys_and_doors,
    "hazard grid": hazards,
    "others": others,
}


@pytest.mark.parametrize("group", GROUPS)
def test_numbers(group):
    numbers = list(GROUPS[group]())
    print(f"\n{group:<44}{'computed':>16}{'expected':>16}")
    for number in numbers:
        print(f"  {number.name:<42}{number.computed:>16.9g}{number.expected:>16.9g}")
    wrong = [number for number in numbers if number.computed != pytest.approx(number.expected, abs=number.tolerance)]
    assert not wrong


@pytest.mark.slow
def test_large_doorkey():
    """All 20,400 layouts of DoorKey 8."""
    model = tabulate(envs.make("doorkey", size=8, timed=False), max_states=200_000)
    lengths = doorkey.optimal_lengths(model)
    first = lengths[model.initial > 0]
    assert (len(first), model.num_states, first.min(), first.max()) == (20_400, 160_590, 7, 29)
    assert oracles.start_value(model, lengths) == pytest.approx(16.766163682864246)


def test_distances_of_many_mazes_at_once_are_those_of_each():
    walls = jax.vmap(lambda key: random_maze.prim(key, 9))(jax.random.split(jax.random.key(0), 5))
    together = jax.vmap(lambda each: random_maze.distances(each, (7, 7)))(walls)
    for maze, distance in zip(walls, together, strict=True):
        np.testing.assert_array_equal(random_maze.distances(maze, (7, 7)), distance)
