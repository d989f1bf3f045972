"""Markov games on their exact model: what policies earn, best responses to them, exploitability, and the value of zero-sum games.

The model is a ``TabularModel`` with agents: joint actions J (``joint_shape``), rewards [X, J, K, N]. Policies are float[X, N, A],
for each state and agent a distribution over its own actions; agents choose independently of each other.

All is pure and compiles, without LAPACK, so it can be vmapped over thousands of policies. It computes in the precision jax is set
to: float32, or float64 inside ``jax.enable_x64(True)``.

Source: Shapley (1953), Stochastic games; Littman (1994); exploitability: Lanctot et al. (2017).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrl.finite import TabularModel
from jaxrl.games import zero_sum
from jaxrl.tabular.dynamic_programming import action_values

MAX_SWEEPS = 100_000  # an end for problems without discount that do not converge


class BestResponse(NamedTuple):
    """value: float[X], what the best response earns. action_value: float[X, A], minus infinity where an action is illegal."""

    value: jax.Array
    action_value: jax.Array


class ZeroSumSolution(NamedTuple):
    """The solution of a two-player zero-sum Markov game.

    value: float[X], what the first player gets, and the second loses.
    policies: float[X, 2, A], an equilibrium.
    sweeps: int32[], how many it took.
    """

    value: jax.Array
    policies: jax.Array
    sweeps: jax.Array


def for_player(model: TabularModel, player: int) -> TabularModel:
    """Returns the model with the rewards of one player alone; with joint actions, for a planner who moves all agents."""
    return dataclasses.replace(model, reward=model.reward[..., player])


def agent_masks(model: TabularModel) -> jax.Array:
    """Returns which actions of every agent are legal, bool[X, N, A]; joint actions are legal where each part is."""
    agents = range(len(model.joint_shape))
    joint = jnp.reshape(jnp.asarray(model.action_mask), (model.num_states, *model.joint_shape))
    return jnp.stack([joint.any([1 + other for other in agents if other != agent]) for agent in agents], axis=1)


def joint_policy(policies: jax.Array) -> jax.Array:
    """Returns the distribution over joint actions float[X, J] of agents that choose independently, float[X, N, A]."""
    joint = policies[:, 0]
    for agent in range(1, policies.shape[1]):
        joint = (joint[:, :, None] * policies[:, agent, None]).reshape(joint.shape[0], -1)
    return joint


def evaluate(
    model: TabularModel, policies: jax.Array, gamma: jax.Array | float, tolerance: float = 1e-6, max_sweeps: int = MAX_SWEEPS
) -> jax.Array:
    """Returns what every agent earns from every state on, float[X, N].

    Args:
        model: the game.
        policies: float[X, N, A].
        gamma: discount in [0, 1]; at 1 the policies must end the episode.
        tolerance: sweeps stop once none changes a value by more.
        max_sweeps: an end for policies that do not end the episode.
    """
    weight = joint_policy(policies)[:, :, None] * model.probability  # [X, J, K]
    average = partial(jnp.einsum, "xjk,xjkn->xn", precision="highest")
    reward = average(weight, jnp.asarray(model.reward, weight.dtype))
    onward = gamma * jnp.where(model.terminated, 0.0, weight)

    def sweep(value):
        return reward + average(onward, value[model.next_state])

    return _until_stable(sweep, jnp.zeros_like(reward), tolerance, max_sweeps)[0]


def best_response(
    model: TabularModel,
    policies: jax.Array,
    player: int,
    gamma: jax.Array | float,
    tolerance: float = 1e-6,
    max_sweeps: int = MAX_SWEEPS,
) -> BestResponse:
    """Returns the best a player can do while the others keep to their policies: value iteration on the problem this leaves.

    Args:
        model, gamma, tolerance, max_sweeps: as for ``evaluate``.
        policies: float[X, N, A]; the player's own is not looked at.
        player: whose best response, in [0, N).
    """
    shape, states = model.joint_shape, model.num_states
    # The others' choices become part of chance: outcomes [X, A, O K], with O the joint actions of the others.
    others = jnp.ones((states, 1), policies.dtype)
    for other in range(len(shape)):
        if other != player:
            others = (others[:, :, None] * policies[:, other, None]).reshape(states, -1)

    def own_first(table):
        table = jnp.moveaxis(jnp.reshape(jnp.asarray(table), (states, *shape, -1)), 1 + player, 1)
        return table.reshape(states, shape[player], -1)

    outcomes = model.next_state.shape[-1]
    chance = own_first(model.probability) * jnp.repeat(others, outcomes, axis=1)[:, None]
    reward = (chance * own_first(model.reward[..., player])).sum(-1)
    onward = gamma * jnp.where(own_first(model.terminated), 0.0, chance)
    successor = own_first(model.next_state)
    legal = agent_masks(model)[:, player]

    def values(value):
        return jnp.where(legal, reward + (onward * value[successor]).sum(-1), -jnp.inf)

    start = jnp.zeros(states, reward.dtype)
    value, _ = _until_stable(lambda value: values(value).max(-1), start, tolerance, max_sweeps)
    return BestResponse(value, values(value))


def regrets(model: TabularModel, policies: jax.Array, gamma: jax.Array | float, tolerance: float = 1e-6) -> jax.Array:
    """Returns how much more every agent would earn from every state on by its best response, float[X, N]."""
    agents = range(len(model.joint_shape))
    best = [best_response(model, policies, player, gamma, tolerance).value for player in agents]
    return jnp.stack(best, axis=-1) - evaluate(model, policies, gamma, tolerance)


def nash_conv(model: TabularModel, policies: jax.Array, gamma: jax.Array | float, tolerance: float = 1e-6) -> jax.Array:
    """Returns the sum of all agents' regrets at the initial distribution, float[]; 0 at a Nash equilibrium."""
    return jnp.asarray(model.initial) @ regrets(model, policies, gamma, tolerance).sum(-1)


def exploitability(model: TabularModel, policies: jax.Array, gamma: jax.Array | float, tolerance: float = 1e-6) -> jax.Array:
    """Returns the mean of all agents' regrets at the initial distribution, float[].

    In a two-player zero-sum game this is how far what the policies guarantee lies below the value of the game, on average.
    """
    return nash_conv(model, policies, gamma, tolerance) / len(model.joint_shape)


def shapley(
    model: TabularModel, gamma: jax.Array | float, tolerance: float = 1e-6, max_sweeps: int = MAX_SWEEPS
) -> ZeroSumSolution:
    """Solves a two-player zero-sum Markov game by Shapley's value iteration: V(x) <- the value of the matrix game Q(x, ., .).

    Args:
        model: a game of two players; the first one's rewards are read, the second's are taken to be their negative.
        gamma: discount in [0, 1]; each sweep shrinks the error at least by gamma.
        tolerance: sweeps stop once none changes a value by more.
        max_sweeps: an end for games without discount that do not converge.
    """
    first = for_player(model, 0)
    masks = agent_masks(model)
    solve = jax.vmap(zero_sum.solve)

    def solutions(value):
        stage = action_values(first, value, gamma).reshape(-1, *model.joint_shape)
        return solve(jax.vmap(zero_sum.restrict)(stage, masks[:, 0], masks[:, 1]))

    start = jnp.zeros(model.num_states, jnp.result_type(float))
    value, sweeps = _until_stable(lambda value: solutions(value).value, start, tolerance, max_sweeps)
    solution = solutions(value)
    return ZeroSumSolution(value, jnp.stack([solution.row, solution.column], axis=1), sweeps)


def _until_stable(sweep: Callable, value: jax.Array, tolerance: float, max_sweeps: int) -> tuple[jax.Array, jax.Array]:
    """Repeats ``value <- sweep(value)`` until no entry changes by more than the tolerance. Returns the value and the count."""

    def again(carry):
        value, _, count = carry
        new = sweep(value)
        return new, jnp.abs(new - value).max(), count + 1

    start = (value, jnp.asarray(jnp.inf, value.dtype), jnp.int32(0))
    value, _, count = jax.lax.while_loop(lambda carry: (carry[1] > tolerance) & (carry[2] < max_sweeps), again, start)
    return value, count
