"""Symmetries of a model, exact or nearly so, and how far optimal values can differ where one is broken.

A map of the states and one of the actions, both one to one, are a symmetry if they change neither rewards nor transitions. With
(g s, g a) where s and a are taken,

    eps_R = max_{s, a} |r(s, a) - r(g s, g a)|
    eps_P = max_{s, a} TV(g P(. | s, a), P(. | g s, g a))            total variation, in [0, 1]

    sup |Q*(s, a) - Q*(g s, g a)| <= (eps_R + gamma eps_P span V*) / (1 - gamma)

Q*(g ., g .) is the optimal value of the model that is mapped back, D is its largest distance from Q*, and

    D <= eps_R + gamma |(P - P_g) V*| + gamma |P_g (V* - V*_g)| <= eps_R + gamma eps_P span V* + gamma D

since two distributions at distance eps_P weigh values of this span alike up to eps_P times it. The value beyond the end of an
episode is 0, and counts in the span.

Source: Ravindran and Barto (2001), "Symmetries and Model Minimization in Markov Decision Processes", for the symmetry; the bound
is a simulation lemma in the manner of Kearns and Singh (2002), lemma 4; Park et al. (2025) state another one.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxrl.core.finite import TabularModel
from jaxrl.core.finite.model import require_model
from jaxrl.errors import EnvError, require, require_discount
from jaxrl.solvers.mdp import host


class Asymmetry(NamedTuple):
    """How far a model is from having a symmetry, in float64.

    reward: eps_R. transition: eps_P, in [0, 1]. action_value: the largest |Q*(s, a) - Q*(g s, g a)|.
    bound: what that is at most, by the first two.
    error: how far ``action_value`` can be from the truth, since Q* is known up to its own error.
    """

    reward: float
    transition: float
    action_value: float
    bound: float
    error: float


def asymmetry(model: TabularModel, states: Any, actions: Any, gamma: float) -> Asymmetry:
    """Measures how far a map of states and actions is from a symmetry, exactly, in float64 on the host.

    Args:
        model: the environment's tables, with one reward (no agent axis).
        states: int[X], where each state is taken; a permutation.
        actions: int[A], where each action is taken; a permutation, the same in every state.
        gamma: discount in [0, 1).

    Raises:
        ConfigError: gamma lies outside [0, 1), or a map is no permutation.
        EnvError: the tables are unsound, have a reward for each of several agents, or the map takes a legal action to a
            forbidden one; or the optimum does not converge.
    """
    where = "asymmetry"
    require_discount(where, gamma, below_one=True)
    require_model(where, model)
    states, actions = _permutation("states", states, model.num_states), _permutation("actions", actions, model.num_actions)
    solution = host.solve(model, gamma)
    host.require_solved(where, model, solution, gamma)
    model = model.tables
    pair = np.ix_(states, actions)
    mask = np.asarray(model.action_mask)
    must, fix = "the maps must take legal actions to legal ones", "Map actions as the picture is mapped."
    require(bool((mask == mask[pair]).all()), where, must, "another mask", fix, EnvError)
    probability = np.asarray(model.probability, np.float64)
    reward = (probability * np.asarray(model.reward, np.float64)).sum(-1)
    ends, successor = np.asarray(model.terminated), np.asarray(model.next_state)
    # Wherever an episode ends, the value beyond is 0: all ends are one more state, which stays where it is.
    reached = np.where(ends, model.num_states, successor)
    mapped = np.append(states, model.num_states)[reached]
    distance = _total_variation(mapped, probability, reached[pair], probability[pair])
    value = np.asarray(solution.action_value, np.float64)
    reward_gap = np.abs(reward - reward[pair])[mask].max()
    transition_gap = distance[mask].max()
    span = max(solution.value.max(), 0.0) - min(solution.value.min(), 0.0)
    bound = (reward_gap + gamma * transition_gap * span) / (1 - gamma)
    gap = np.abs(value[mask] - value[pair][mask]).max()
    return Asymmetry(*map(float, (reward_gap, transition_gap, gap, bound, 2 * solution.error_bound)))


def _permutation(name: str, order: Any, count: int) -> np.ndarray:
    order = np.asarray(order)
    sound = order.shape == (count,) and np.issubdtype(order.dtype, np.integer) and set(order.tolist()) == set(range(count))
    require(sound, "asymmetry", f"{name} must be a permutation of 0 .. {count - 1}", order, "Say where each is taken.")
    return order


def _total_variation(one: np.ndarray, p: np.ndarray, other: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns the distance of distributions of numbers, float64[...]: masses p, q float64[..., K] at int[..., K]."""
    place = np.concatenate([one, other], -1)
    order = np.argsort(place, -1)
    place = np.take_along_axis(place, order, -1)
    mass = np.take_along_axis(np.concatenate([p, -q], -1), order, -1)
    # Masses of one place stand side by side: the sum of each group is the difference of cumulated sums at its ends.
    total = np.cumsum(mass, -1)
    last = np.concatenate([place[..., 1:] != place[..., :-1], np.ones((*place.shape[:-1], 1), bool)], -1)
    before = np.maximum.accumulate(np.where(last, np.arange(place.shape[-1]), -1), -1)
    before = np.concatenate([np.full((*place.shape[:-1], 1), -1), before[..., :-1]], -1)
    start = np.where(before >= 0, np.take_along_axis(total, np.maximum(before, 0), -1), 0.0)
    return np.where(last, np.abs(total - start), 0.0).sum(-1) / 2
