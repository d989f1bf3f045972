"""Reference computations in NumPy, independent of the library's own solvers, for the tests.

They work on the arrays of a ``jaxrl.finite.TabularModel``: probability, next_state, reward, terminated, all [X, A, K].
"""

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
