"""Planning by tree search: from a policy and a value that are guesses to better ones, by looking ahead in a model.

    the root is the state to act in, with prior logits and a value
    n times
        walk down from the root: there by sequential halving of g(a) + logits(a) + sigma(q(a)), with Gumbel noise g,
            below by pi'(a) - N(a) / (1 + sum of N)
        at an action that has no child yet, make one: one step of the model, and a prediction of what lies beyond
        on the way back up, q(a) takes in r + discount v
    act by the largest g(a) + logits(a) + sigma(q(a)) of the actions visited most
    pi' = softmax(logits + sigma(completed q)), with sigma increasing and q(a) completed where a was not visited

The model is the environment itself (``of_environment``), or a network. The tree is that of mctx.

Games in which two players move by turns are searched from the view of whose turn it is: the mover. A gain of one is a loss of
the other, so that the discount of a step after which the other moves is negative.

Source: Danihelka et al. (2022), "Policy improvement by planning with Gumbel", sections 3 to 5.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import mctx

from jaxrl.blocks import distributions
from jaxrl.core import rollout
from jaxrl.core.environment import Environment, PyTree
from jaxrl.errors import EnvError, nan_unless, require


class Prediction(NamedTuple):
    """A guess about B states. logits: float32[B, A], of the policy. value: float32[B], of the mover."""

    logits: jax.Array
    value: jax.Array


class Outcome(NamedTuple):
    """One step of a model in B states. reward: float32[B], of who moved. discount: float32[B], of the value beyond; 0 at an end,
    negative where the other player moves next. beyond: the prediction there.
    """

    reward: jax.Array
    discount: jax.Array
    beyond: Prediction


Model = Callable[[jax.Array, jax.Array, PyTree], tuple[Outcome, PyTree]]  # (key, action int32[B], node) -> outcome, next node
Predict = Callable[[PyTree, jax.Array | None], Prediction]  # (obs PyTree[B, ...], mask bool[B, A] or None) -> prediction


class Plan(NamedTuple):
    """The result of a search in B states.

    action: int32[B], the one to take. policy: float32[B, A], pi', 0 where an action is illegal.
    value: float32[B], the mean of what the simulations found. visits: int32[B, A], how often each action was tried at the root.
    """

    action: jax.Array
    policy: jax.Array
    value: jax.Array
    visits: jax.Array


class Node(NamedTuple):
    """B states of an environment in a tree. state: PyTree[B, ...]. over: bool[B], the episode has terminated."""

    state: PyTree
    over: jax.Array


def search(
    key: jax.Array,
    root: Prediction,
    node: PyTree,
    model: Model,
    num_simulations: int,
    mask: jax.Array | None = None,
    gumbel_scale: jax.Array | float = 1.0,
    max_considered: int = 16,
) -> Plan:
    """Searches from B states side by side.

    The policy is no worse than the prior if the values are exact and every legal action of the root is visited.

    Args:
        key: one key.
        root: the prediction for the states.
        node: PyTree[B, ...], the states as the model takes them.
        model: one step of what may happen.
        num_simulations: n, at least 1; static.
        mask: bool[B, A], the legal actions of the root, or None. Below the root illegal actions are the model's to exclude, by
            logits of ``distributions.MASKED_LOGIT``.
        gumbel_scale: of the noise at the root, at least 0; 0 acts by the best guess.
        max_considered: how many actions the halving begins with, at least 1; static.
    """

    root_of, step_of = cast(Any, (mctx.RootFnOutput, mctx.RecurrentFnOutput))  # type checkers see no fields of theirs

    def recurrent(params, key, action, node):
        (reward, discount, (logits, value)), node = model(jax.random.wrap_key_data(key), action, node)
        return step_of(reward=reward, discount=discount, prior_logits=logits, value=value), node

    found: Any = mctx.gumbel_muzero_policy(
        params=(),
        # As bits: mctx carries its key through loops of unequal lengths, where jax takes a key that was used for one used twice.
        rng_key=jax.random.key_data(key),
        root=root_of(prior_logits=root.logits, value=root.value, embedding=node),
        recurrent_fn=recurrent,
        num_simulations=num_simulations,
        invalid_actions=None if mask is None else (~mask).astype(jnp.float32),
        max_num_considered_actions=max_considered,
        gumbel_scale=gumbel_scale,
    )
    summary = found.search_tree.summary()
    return Plan(found.action, found.action_weights, summary.value, summary.visit_counts.astype(jnp.int32))


# ---- predictions and models without a network


def constant(num_actions: int, value: float = 0.0) -> Predict:
    """Returns the prediction of a uniform policy and one value everywhere, by default 0: that of no knowledge."""

    def predict(obs, mask):
        batch = jax.tree.leaves(obs)[0].shape[0]
        return Prediction(jnp.zeros((batch, num_actions), jnp.float32), jnp.full(batch, value, jnp.float32))

    return predict


def of_bandit(key: jax.Array, action: jax.Array, worth: jax.Array) -> tuple[Outcome, jax.Array]:
    """The model of bandits whose arms pay their worth exactly. The node is the worth, float32[B, A]; each pull is an end."""
    paid = jnp.take_along_axis(worth, action[:, None], axis=1)[:, 0]
    return Outcome(paid, jnp.zeros_like(paid), constant(worth.shape[1])(worth, None)), worth


# ---- the environment as the model


def of_environment(env: Environment, predict: Predict, gamma: jax.Array | float) -> Model:
    """Returns the environment's own step as a model, whose nodes are ``Node``.

    An episode that has terminated earns nothing more. A time limit is no end: the search looks beyond. Of a random step each edge
    of the tree holds one draw, so the search is exact for deterministic environments alone.

    Args:
        env: without agents, or a game of two players by turns; see ``require_turns``.
        predict: of what the mover observes.
        gamma: discount, in [0, 1].
    """

    def model(key, action, node):
        before = legal(env, node.state)
        here = mover(env, before)
        keys = jax.random.split(key, node.over.shape[0])
        step = jax.vmap(env.step)(keys, node.state, joint_action(before, here, action))
        over = node.over | step.terminated
        after = legal(env, step.state)
        there = mover(env, after)
        mask = seen_by(there, after)
        # After the end, where nothing may be legal, everything is: the prediction there is not looked at.
        mask = None if mask is None else mask | over[:, None]
        logits, value = predict(seen_by(there, step.obs), mask)
        sign = 1.0 if here is None else jnp.where(here == there, 1.0, -1.0)
        reward = jnp.where(node.over, 0.0, seen_by(here, step.reward))
        discount = jnp.where(over, 0.0, gamma * sign).astype(jnp.float32)
        beyond = Prediction(distributions.categorical(logits, mask).logits, jnp.where(over, 0.0, value))
        return Outcome(reward, discount, beyond), Node(step.state, over)

    return model


def legal(env: Environment, state: PyTree) -> jax.Array | None:
    """Returns the legal actions in states PyTree[B, ...], bool[B, A] or bool[B, 2, A]; None where everything is legal."""
    return None if env.action_mask_fn is None else jax.vmap(env.action_mask)(state)


# ---- whose turn it is


def mover(env: Environment, mask: jax.Array | None) -> jax.Array | None:
    """Returns whose turn it is, int32[...], the player with most legal actions; None of an environment without agents.

    If neither player has a choice this is the first: both can do only one thing, and either view of it will do.

    Args:
        env: the environment.
        mask: bool[..., 2, A].
    """
    return None if env.num_agents is None or mask is None else mask.sum(-1, dtype=jnp.int32).argmax(-1).astype(jnp.int32)


def seen_by(mover: jax.Array | None, tree: PyTree) -> PyTree:
    """Returns the mover's share PyTree[..., ...] of what all players have, PyTree[..., 2, ...]; without agents, all of it."""
    if mover is None:
        return tree

    def one(leaf):
        index = mover.reshape(*mover.shape, *(1,) * (leaf.ndim - mover.ndim))
        return jnp.take_along_axis(leaf, index, axis=mover.ndim).squeeze(mover.ndim)

    return jax.tree.map(one, tree)


def joint_action(mask: jax.Array | None, mover: jax.Array | None, action: jax.Array) -> jax.Array:
    """Returns the actions of both players, int32[B, 2]: the mover's, and the only one that the other has.

    Args:
        mask: bool[B, 2, A]. mover: int32[B], or None of an environment without agents, whose action is returned as it is.
        action: int32[B], of the mover.
    """
    if mover is None or mask is None:
        return action
    return jnp.where(jnp.arange(2) == mover[:, None], action[:, None], mask.argmax(-1)).astype(jnp.int32)


def for_first(mover: jax.Array | None, value: jax.Array) -> jax.Array:
    """Turns what is of value to the mover into what is of value to the first player, and back, float32[...]."""
    return value if mover is None else jnp.where(mover == 0, value, -value)


def checked_reward(env: Environment, batch: rollout.Transition) -> jax.Array:
    """Returns the rewards of steps [T, E], of a game those of the first player; NaN where it is no zero-sum game by turns."""
    if env.num_agents is None:
        return batch.reward
    sound = by_turns(batch.mask) & (jnp.abs(batch.reward.sum(-1)) <= 1e-5 * jnp.abs(batch.reward).max(-1))
    return nan_unless(sound, batch.reward[..., 0])


def by_turns(mask: jax.Array) -> jax.Array:
    """Returns whether at most one player has a choice, bool[...]; mask: bool[..., 2, A]."""
    return (mask.sum(-1) > 1).sum(-1) <= 1


def require_turns(where: str, env: Environment) -> None:
    """Raises ConfigError or EnvError unless an environment has no agents or random play shows a zero-sum game by turns.

    Hidden information does not show: a search with the true model would know it.
    """
    if env.num_agents is None:
        return
    fix = "Search is for one agent, or for two players who move by turns and whose rewards sum to zero."
    require(env.num_agents == 2, where, "the environment must have no agent axis or two agents", env.num_agents, fix)
    masked = env.action_mask_fn is not None
    must = "a game must have action masks, which leave who waits one action"
    require(masked, where, must, env.action_mask_fn, fix, EnvError)
    sound = jnp.isfinite(_rewards_of_random_play(env)).all()
    must = "two players must move by turns, and their rewards sum to zero"
    require(bool(sound), where, must, "another game", fix, EnvError)


@jax.jit
def _rewards_of_random_play(env: Environment) -> jax.Array:
    start_key, play_key = jax.random.split(jax.random.key(0))
    episodes = rollout.start(start_key, env, 16)
    _, batch = rollout.unroll(play_key, env, rollout.uniform_policy(env), episodes, 32)
    return checked_reward(env, batch)
