"""Reference computations in NumPy, independent of the library's own solvers, for the tests.

They work on the arrays of a ``jaxrl.core.finite.TabularModel``: probability, next_state, reward, terminated, all [X, A, K].
"""

import itertools
from fractions import Fraction

import jax
import numpy as np


def action_values(model, values, gamma):
    """Returns Q[X, A] of acting once and then being worth ``values`` [X]."""
    beyond = gamma * ~model.terminated * values[model.next_state]
    return (model.probability * (model.reward + beyond)).sum(-1)


def value_iteration(model, gamma, num_sweeps=20_000, tolerance=1e-13, epsilon=0.0):
    """Returns the optimal V[X], or with epsilon > 0 that of the best policy that explores with this probability."""
    values = np.zeros(model.num_states)
    for _ in range(num_sweeps):
        q = action_values(model, values, gamma)
        previous, values = values, (1 - epsilon) * q.max(-1) + epsilon * q.mean(-1)
        if np.abs(values - previous).max() < tolerance:
            break
    return values


def greedy(model, values, gamma, preference):
    """Returns the optimal policy [X, A] as one-hot rows; ties go to the action that comes first in ``preference``."""
    q = action_values(model, values, gamma)
    best = np.isclose(q, q.max(-1, keepdims=True))[:, preference].argmax(-1)
    return np.eye(model.num_actions)[np.asarray(preference)[best]]


def policy_values(model, policy, gamma, reward=None):
    """Returns V[X] of a policy [X, A] by a linear solve.

    States in which no episode can stand, as they are reached by termination alone, are worth 0. ``reward`` [X, A, K] replaces
    the model's, for example by 1 to count steps.
    """
    reward = model.reward if reward is None else reward
    standing = model.initial > 0
    standing[model.next_state[(model.probability > 0) & ~model.terminated]] = True
    weight = policy[:, :, None] * model.probability * standing[:, None, None]
    mean_reward = (weight * reward).sum((1, 2))
    transition = np.zeros((model.num_states, model.num_states))
    source = np.broadcast_to(np.arange(model.num_states)[:, None, None], weight.shape)
    np.add.at(transition, (source, model.next_state), weight * ~model.terminated)
    return np.linalg.solve(np.eye(model.num_states) - gamma * transition, mean_reward)


def horizon_values(model, num_steps, policy=None):
    """Returns the undiscounted V[X] of a policy [X, A] over ``num_steps`` steps; the best time-dependent one if None."""
    values = np.zeros(model.num_states)
    for _ in range(num_steps):
        q = action_values(model, values, 1.0)
        values = q.max(-1) if policy is None else (policy * q).sum(-1)
    return values


def start_value(model, values):
    """Returns the expected value of the first state."""
    return float(model.initial @ values)


def uniform(model):
    """Returns the policy [X, A] that draws every action alike."""
    return np.full((model.num_states, model.num_actions), 1 / model.num_actions)


def law(num_states, num_actions, entries):
    """Collects ``(state, action, probability, next_state, reward, terminated)`` into dense arrays.

    Returns:
        P[X, A, X, 2], the probability of each successor without and with termination, and R[X, A, X, 2], the mean reward of
        each, weighted by its probability.
    """
    probability = np.zeros((num_states, num_actions, num_states, 2))
    reward = np.zeros_like(probability)
    for state, action, p, successor, pay, terminated in entries:
        probability[state, action, successor, int(terminated)] += p
        reward[state, action, successor, int(terminated)] += p * pay
    return probability, reward


def environment_law(env):
    """Returns ``law`` of a finite environment whose states are the numbers 0 .. n-1 of its observation space."""
    states, actions = np.arange(env.observation_space.n, dtype=np.int32), np.arange(env.action_space.n, dtype=np.int32)
    each = jax.vmap(jax.vmap(env.outcomes_fn, in_axes=(None, 0, None)), in_axes=(0, None, None))
    outcomes = jax.tree.map(np.asarray, jax.jit(each)(states, actions, env.params))
    entries = []
    for (state, action, k), p in np.ndenumerate(outcomes.probability):
        entries.append((state, action, p, *(leaf[state, action, k] for leaf in outcomes[1:])))
    return law(len(states), len(actions), entries)


def gymnasium_law(env, action_of):
    """Returns ``law`` of a Gymnasium environment with a table ``P``; our action a is its action ``action_of[a]``."""
    table = env.unwrapped.P
    entries = [
        (state, action, *outcome)
        for state in table
        for action in range(len(action_of))
        for outcome in table[state][action_of[action]]
    ]
    return law(len(table), len(action_of), entries)


def solve_exactly(matrix, right):
    """Solves a square linear system in fractions, by Gauss-Jordan elimination; None where it has no unique solution."""
    rows = [[Fraction(entry) for entry in row] + [Fraction(last)] for row, last in zip(matrix, right, strict=True)]
    for column in range(len(rows)):
        pivot = next((row for row in range(column, len(rows)) if rows[row][column] != 0), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [entry / rows[column][column] for entry in rows[column]]
        for row in range(len(rows)):
            if row != column and rows[row][column] != 0:
                factor = rows[row][column]
                rows[row] = [entry - factor * other for entry, other in zip(rows[row], rows[column], strict=True)]
    return [row[-1] for row in rows]


def indifferent(payoff, own, other):
    """Returns the mix over columns ``other`` against which rows ``own`` earn the same, and how much; fractions, or None."""
    size = len(other)
    system = [[payoff[i][j] for j in other] + [Fraction(-1)] for i in own] + [[Fraction(1)] * size + [Fraction(0)]]
    found = solve_exactly(system, [0] * size + [1])
    return None if found is None or min(found[:size]) < 0 else (found[:size], found[size])


def equilibria(payoff, strictly=True):
    """Yields the equilibria on supports of equal size of a two-player game float[2, A, B], in exact arithmetic.

    Yields ``(x, y, value)``: lists of fractions, and what the row player earns. strictly: only with positive probabilities on the
    whole support, so that each comes once in a game that is not degenerate.
    """
    row = [[Fraction(float(entry)) for entry in line] for line in payoff[0]]
    column = [[Fraction(float(entry)) for entry in line] for line in np.transpose(payoff[1])]
    actions, answers = len(row), len(column)
    for size in range(1, min(actions, answers) + 1):
        for own, other in itertools.product(*(itertools.combinations(range(n), size) for n in (actions, answers))):
            mixes = indifferent(row, own, other), indifferent(column, other, own)
            if None in mixes or (strictly and any(min(mix[0]) == 0 for mix in mixes)):
                continue
            (y, value), (x, worth) = mixes
            best = all(sum(row[i][j] * p for j, p in zip(other, y, strict=True)) <= value for i in range(actions))
            if best and all(sum(column[j][i] * p for i, p in zip(own, x, strict=True)) <= worth for j in range(answers)):
                strategies = ([Fraction(0)] * actions, [Fraction(0)] * answers)
                for strategy, support, mix in zip(strategies, (own, other), (x, y), strict=True):
                    for place, p in zip(support, mix, strict=True):
                        strategy[place] = p
                yield *strategies, value


def game_value(payoff):
    """Returns the value of a zero-sum game float[A, B] for the row player, in exact arithmetic, rounded once.

    Some solution has supports of equal size on which both players are indifferent (Shapley and Snow, 1950).
    """
    return float(next(equilibria([payoff, -np.asarray(payoff)], strictly=False))[2])
