"""Markov games on their exact model: what policies earn, best responses to them, exploitability, and the value of zero-sum games.

The model is a ``TabularModel`` with agents: joint actions J (``joint_shape``), rewards [X, J, K, N]. Policies are float[X, N, A],
for each state and agent a distribution over its own actions; agents choose independently of each other.

All is pure and compiles, without LAPACK, so it can be vmapped over thousands of policies. It computes in the precision jax is set
to: float32, or float64 inside ``jax.enable_x64(True)``.

Source: Shapley (1953), Stochastic games; Littman (1994); exploitability: Lanctot et al. (2017).
"""

import dataclasses
import operator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl.core.finite import TabularModel, byte_rows
from jaxrl.errors import EnvError, is_traced, nan_unless, require, require_index, require_zero_sums
from jaxrl.solvers import zero_sum
from jaxrl.solvers.fixed_point import MAX_SWEEPS, FixedPoint, deciding, fixed_point
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.solvers.mdp.problem import require_policy, require_problem


class BestResponse(NamedTuple):
    """value: float[X], what the best response earns. action_value: float[X, A], minus infinity where an action is illegal.

    error_bound: float[], how far a value can be from the exact one; infinite without discount.
    converged: bool[], whether the sweeps came to an end by themselves.
    """

    value: jax.Array
    action_value: jax.Array
    error_bound: jax.Array
    converged: jax.Array


class ZeroSumSolution(NamedTuple):
    """The solution of a two-player zero-sum Markov game.

    value: float[X], what the first player gets, and the second loses.
    policies: float[X, 2, A], an equilibrium.
    sweeps: int32[], how many it took.
    gap: float[], the largest duality gap of a stage game, in units of the value; see ``jaxrl.solvers.zero_sum``.
    error_bound: float[], how far a value can be from that of the game if every stage game were solved exactly; infinite without
        discount.
    converged: bool[], whether the sweeps came to an end by themselves and every stage game was solved.
    """

    value: jax.Array
    policies: jax.Array
    sweeps: jax.Array
    gap: jax.Array
    error_bound: jax.Array
    converged: jax.Array


def for_player(model: TabularModel, player: int) -> TabularModel:
    """Returns the model with the rewards of one player alone; with joint actions, for a planner who moves all agents."""
    _require_agents("for_player", model)
    require_index("for_player", "player", player, np.shape(model.reward)[-1])
    return dataclasses.replace(model, reward=model.reward[..., player])


def agent_masks(model: TabularModel) -> jax.Array:
    """Returns which actions of every agent are legal, bool[X, N, A]; joint actions are legal where each part is.

    A is the largest number of actions that an agent has; those that another one lacks are illegal.
    """
    return _agent_masks(model.tables)


@jax.jit
def _agent_masks(model: TabularModel) -> jax.Array:
    agents, widest = range(len(model.joint_shape)), max(model.joint_shape)
    joint = jnp.reshape(jnp.asarray(model.action_mask), (model.num_states, *model.joint_shape))

    def mask(agent: int) -> jax.Array:
        legal = joint.any([1 + other for other in agents if other != agent])
        return jnp.pad(legal, ((0, 0), (0, widest - legal.shape[1])))

    return jnp.stack([mask(agent) for agent in agents], axis=1)


def joint_policy(model: TabularModel, policies: jax.Array) -> jax.Array:
    """Returns the distribution over joint actions float[X, J] of agents that choose independently, float[X, N, A]."""
    joint = jnp.ones((model.num_states, 1), jnp.result_type(policies, float))
    for agent, actions in enumerate(model.joint_shape):
        joint = (joint[:, :, None] * policies[:, agent, None, :actions]).reshape(model.num_states, -1)
    return joint


def evaluate(
    model: TabularModel, policies: jax.Array, gamma: jax.Array | float, tolerance: float = 1e-6, max_sweeps: int = MAX_SWEEPS
) -> FixedPoint:
    """Returns what every agent earns from every state on, float[X, N], with its error bound.

    Args:
        model: the game.
        policies: float[X, N, A].
        gamma: discount in [0, 1]; at 1 the policies must end the episode, or the sweeps do not converge.
        tolerance: the error to accept, relative to the largest value; without discount, the change of a sweep.
        max_sweeps: an end for policies that do not end the episode.

    Raises:
        ConfigError: the discount, the tolerance or ``max_sweeps`` is out of range, or a policy is no distribution.
        EnvError: the model has no reward for each agent, or its tables are unsound.
    """
    policies = _require_play("markov_games.evaluate", model, policies, gamma, tolerance, max_sweeps)
    return _evaluate(model.tables, policies, gamma, tolerance, max_sweeps)


@jax.jit
def _evaluate(model, policies, gamma, tolerance, max_sweeps) -> FixedPoint:
    weight = joint_policy(model, policies)[:, :, None] * model.probability  # [X, J, K]
    average = partial(jnp.einsum, "xjk,xjkn->xn", precision="highest")
    reward = average(weight, jnp.asarray(model.reward, weight.dtype))
    onward = gamma * jnp.where(model.terminated, 0.0, weight)

    magnitude, terms = average(weight, jnp.abs(jnp.asarray(model.reward, weight.dtype))).max(), model.probability[0].size

    def sweep(value):
        return reward + average(onward, value[model.next_state]), magnitude

    return fixed_point(sweep, jnp.zeros_like(reward), gamma, tolerance, max_sweeps, terms)


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

    Raises:
        ConfigError, EnvError: as for ``evaluate``; or there is no such player.
    """
    where = "markov_games.best_response"
    policies = _require_play(where, model, policies, gamma, tolerance, max_sweeps)
    require_index(where, "player", player, len(model.joint_shape))
    return _best_response(model.tables, policies, operator.index(player), gamma, tolerance, max_sweeps)


@partial(jax.jit, static_argnames="player")
def _best_response(model, policies, player, gamma, tolerance, max_sweeps) -> BestResponse:
    shape, states = model.joint_shape, model.num_states
    # The others' choices become part of chance: outcomes [X, A, O K], with O the joint actions of the others.
    others = jnp.ones((states, 1), policies.dtype)
    for other in range(len(shape)):
        if other != player:
            others = (others[:, :, None] * policies[:, other, None, : shape[other]]).reshape(states, -1)

    def own_first(table):
        table = jnp.moveaxis(jnp.reshape(jnp.asarray(table), (states, *shape, -1)), 1 + player, 1)
        return table.reshape(states, shape[player], -1)

    outcomes = model.next_state.shape[-1]
    chance = own_first(model.probability) * jnp.repeat(others, outcomes, axis=1)[:, None]
    paid = own_first(model.reward[..., player])
    reward, absolute = (chance * paid).sum(-1), (chance * jnp.abs(paid)).sum(-1)
    onward = gamma * jnp.where(own_first(model.terminated), 0.0, chance)
    successor = own_first(model.next_state)
    legal = agent_masks(model)[:, player, : shape[player]]

    def values(value):
        return jnp.where(legal, reward + (onward * value[successor]).sum(-1), -jnp.inf)

    def sweep(value):
        found = values(value)
        return found.max(-1), deciding(found, absolute, terms)

    start, terms = jnp.zeros(states, reward.dtype), onward.shape[-1]
    best = fixed_point(sweep, start, gamma, tolerance, max_sweeps, terms)
    return BestResponse(best.value, values(best.value), best.error_bound, best.converged)


def regrets(model: TabularModel, policies: jax.Array, gamma: jax.Array | float, tolerance: float = 1e-6) -> jax.Array:
    """Returns how much more every agent would earn from every state on by its best response, float[X, N].

    All are NaN if the policies' values or the best responses did not converge, as without discount if an episode need not end.

    Raises:
        ConfigError, EnvError: as for ``evaluate``.
    """
    policies = _require_play("markov_games.regrets", model, policies, gamma, tolerance)
    return _regrets(model.tables, policies, gamma, tolerance)


@jax.jit
def _regrets(model, policies, gamma, tolerance) -> jax.Array:
    played = evaluate(model, policies, gamma, tolerance)
    best = [best_response(model, policies, player, gamma, tolerance) for player in range(len(model.joint_shape))]
    converged = jnp.stack([played.converged, *(response.converged for response in best)]).all()
    regret = jnp.stack([response.value for response in best], axis=-1) - played.value
    return nan_unless(converged, regret)


def nash_conv(model: TabularModel, policies: jax.Array, gamma: jax.Array | float, tolerance: float = 1e-6) -> jax.Array:
    """Returns the sum of all agents' regrets at the initial distribution, float[]; 0 at a Nash equilibrium."""
    return jnp.dot(model.initial, regrets(model, policies, gamma, tolerance).sum(-1), precision="highest")


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
        model: a game of two players whose rewards sum to zero.
        gamma: discount in [0, 1]; each sweep shrinks the error at least by gamma.
        tolerance: the error to accept, relative to the largest value; without discount, the change of a sweep.
        max_sweeps: an end for games without discount that do not converge.

    Raises:
        ConfigError: the discount, the tolerance or ``max_sweeps`` is out of range.
        EnvError: there are not two players, their rewards do not sum to zero, or the tables are unsound.
    """
    require_problem("shapley", model, gamma, tolerance, max_sweeps, one_reward=False)
    require_zero_sum("shapley", model)
    return _shapley(model.tables, gamma, tolerance, max_sweeps)


@jax.jit
def _shapley(model, gamma, tolerance, max_sweeps) -> ZeroSumSolution:
    first = for_player(model, 0)
    masks = agent_masks(model)
    row_masks, column_masks = (masks[:, player, :actions] for player, actions in enumerate(model.joint_shape))
    solve = jax.vmap(zero_sum.solve)

    def solutions(value):
        stage = action_values(first, value, gamma).reshape(-1, *model.joint_shape)
        return solve(stage, row_masks, column_masks)

    start, terms = jnp.zeros(model.num_states, jnp.result_type(float)), model.probability.shape[-1]
    absolute = (first.probability * jnp.abs(first.reward)).sum(-1).reshape(-1, *model.joint_shape).astype(start.dtype)

    def sweep(value):
        solution = solutions(value)
        # Actions that are not played do not decide the value of the game.
        deciding = jnp.einsum("xa,xab,xb->x", solution.row, absolute, solution.column, precision="highest")
        return solution.value, deciding.max()

    found = fixed_point(sweep, start, gamma, tolerance, max_sweeps, terms)
    solution = solutions(found.value)
    widest = max(model.joint_shape)
    policies = [jnp.pad(strategy, ((0, 0), (0, widest - strategy.shape[1]))) for strategy in (solution.row, solution.column)]
    solved = found.converged & jnp.isfinite(solution.value).all()  # a stage game that is not solved has the value NaN
    return ZeroSumSolution(found.value, jnp.stack(policies, axis=1), found.sweeps, solution.gap.max(), found.error_bound, solved)


def _require_agents(where: str, model: TabularModel) -> None:
    must, found = "the model must have a reward for each agent, [X, J, K, N]", list(np.shape(model.reward))
    fix = "Use jaxrl.solvers.mdp for one agent."
    require(np.ndim(model.reward) == 4, where, must, found, fix, EnvError)


def _require_play(where: str, model: TabularModel, policies: Any, gamma: Any, tolerance: Any, max_sweeps: Any = 1) -> jax.Array:
    """Returns the policies as an array, after a check of all arguments of a solver."""
    _require_agents(where, model)
    require_problem(where, model, gamma, tolerance, max_sweeps, one_reward=False)
    return require_policy(where, policies, (model.num_states, len(model.joint_shape), max(model.joint_shape)))


def require_zero_sum(where: str, model: TabularModel) -> None:
    """Raises EnvError unless a game has two players whose rewards sum to zero. Traced rewards are not looked at."""
    players = model.reward.shape[-1] if model.reward.ndim == 4 else None
    require(players == 2, where, "the game must have two players", players, "Choose a two-player game.", EnvError)
    if is_traced(model.reward, model.probability):
        return
    possible = (np.asarray(model.probability) > 0) & np.asarray(model.action_mask)[..., None]
    fix = "Choose a zero-sum game, or evaluate it by best responses."
    require_zero_sums(where, np.asarray(model.reward, np.float64)[possible], fix, EnvError)


def hidden_information(model: TabularModel) -> str | None:
    """Says which agent cannot tell two states apart in which it has a choice, or returns None if each can always.

    Where information is hidden, a policy of the states knows more than the agent does, and its best response is not the agent's.
    """
    under_way = np.asarray(model.initial) > 0
    possible = (np.asarray(model.probability) > 0) & ~np.asarray(model.terminated) & np.asarray(model.action_mask)[..., None]
    under_way[np.asarray(model.next_state)[possible]] = True
    chooses = (np.asarray(agent_masks(model)).sum(-1) > 1) & under_way[:, None]
    for agent in range(len(model.joint_shape)):
        states = np.flatnonzero(chooses[:, agent])
        seen = jax.tree.map(lambda leaf: np.asarray(leaf)[states, agent], model.observation)  # noqa: B023
        rows = byte_rows("hidden_information", seen)
        _, first, same = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        twice = np.flatnonzero(first[same.ravel()] != np.arange(len(states)))
        if len(twice):
            pair = sorted(int(states[i]) for i in (first[same.ravel()[twice[0]]], twice[0]))
            return f"agent {agent} observes the same in states {pair[0]} and {pair[1]}"
    return None
