"""AlphaZero on tic-tac-toe as a user of mctx writes it: self-play, and a loop that learns from it. Does not need jaxrl.

One network plays both sides, each from the view of the player to move. A move hands the board over, so values change their sign
with it: the discount is -1.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import optax
from flax import linen as nn

CELLS = 9
LINES = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]])


class Config(NamedTuple):
    """As ``jaxrl.algorithms.planning.alphazero.Config``. buffer_size: a multiple of ``num_envs * num_steps``."""

    num_envs: int
    num_steps: int
    num_simulations: int
    max_considered: int
    gumbel_scale: float
    hidden: Sequence[int]
    num_gradient_steps: int
    batch_size: int
    buffer_size: int
    learning_rate: float
    weight_decay: float


class Position(NamedTuple):
    """stones: bool[..., 2, CELLS], of the player to move and of the other. policy: float32[..., CELLS], of the search.

    outcome: float32[...], what the player to move won in the end.
    """

    stones: jax.Array
    policy: jax.Array
    outcome: jax.Array


class State(NamedTuple):
    """key: of all to come. params, opt_state: of the network. stones: the games under way. buffer: Position[C].

    written: int32[], positions so far.
    """

    key: jax.Array
    params: Any
    opt_state: Any
    stones: jax.Array
    buffer: Position
    written: jax.Array


class Network(nn.Module):
    """Stones -> logits float32[B, CELLS] and values float32[B], from layers of their own."""

    hidden: Sequence[int]

    @nn.compact
    def __call__(self, stones):
        board = stones.reshape(-1, 2 * CELLS).astype(jnp.float32)
        seen = jnp.concatenate([board, jnp.ones((len(board), CELLS))], -1)  # a plane that says who is to move, as ours has
        return self.tower(seen, CELLS), self.tower(seen, 1)[:, 0]

    def tower(self, x, outputs):
        for size in self.hidden:
            x = nn.relu(nn.Dense(size)(x))
        return nn.Dense(outputs)(x)


def move(stones: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Places a stone on an empty cell. Returns the stones as the other player sees them, the mover's reward, and the end."""
    own = stones[0].at[cell].set(True)
    won = own[LINES].all(-1).any()
    return jnp.stack([stones[1], own]), won.astype(jnp.float32), won | (own | stones[1]).all()


def loop(config: Config) -> tuple[Callable, Callable, Callable]:
    """Returns ``init: (key) -> State``, and ``self_play`` and ``update``: ``(State) -> (State, what was found)``.

    Both make T steps in each of E games; only ``update`` stores and learns.
    """
    network, adam = Network(config.hidden), optax.adam(config.learning_rate)

    def init(key):
        stones = jnp.zeros((config.num_envs, 2, CELLS), bool)
        params = network.init(key, stones)
        empty = Position(stones[0], jnp.zeros(CELLS), jnp.float32(0.0))
        buffer = jax.tree.map(lambda leaf: jnp.zeros((config.buffer_size, *leaf.shape), leaf.dtype), empty)
        return State(key, params, adam.init(params), stones, buffer, jnp.int32(0))

    def recurrent(params, key, cell, stones):
        stones, reward, over = jax.vmap(move)(stones, cell)
        logits, value = network.apply(params, stones)
        logits = jnp.where(stones.any(1), jnp.finfo(jnp.float32).min, logits)
        discount = jnp.where(over, 0.0, -1.0)
        return mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value), stones

    def play(params, key, stones):
        def step(stones, key):
            logits, value = network.apply(params, stones)
            root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=stones)
            how = {"invalid_actions": stones.any(1), "max_num_considered_actions": config.max_considered}
            how |= {"gumbel_scale": config.gumbel_scale}
            plan = mctx.gumbel_muzero_policy(params, key, root, recurrent, config.num_simulations, **how)
            after, reward, over = jax.vmap(move)(stones, plan.action)
            return jnp.where(over[:, None, None], False, after), (stones, plan.action_weights, reward, over)

        return jax.lax.scan(step, stones, jax.random.split(key, config.num_steps))

    def self_play(state):
        next_key, play_key = jax.random.split(state.key)
        stones, steps = play(state.params, play_key, state.stones)
        return state._replace(key=next_key, stones=stones), steps

    def loss(params, batch):
        logits, value = network.apply(params, batch.stones)
        log_p = jax.nn.log_softmax(jnp.where(batch.stones.any(1), jnp.finfo(jnp.float32).min, logits))
        size = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        return (jnp.square(batch.outcome - value) - (batch.policy * log_p).sum(-1)).mean() + config.weight_decay * size

    def learn(carry, batch):
        params, opt_state = carry
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, opt_state = adam.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    def update(state):
        state, (stones, policy, reward, over) = self_play(state)
        # Games that are not over go on with the value that the network gives them.
        outcome = outcomes(reward, over, network.apply(state.params, state.stones)[1])
        fresh = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), Position(stones, policy, outcome))
        start = state.written % config.buffer_size
        buffer = jax.tree.map(lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, start, 0), state.buffer, fresh)
        written = state.written + config.num_envs * config.num_steps

        def sample_and_learn(carry, key):
            places = jax.random.randint(key, (config.batch_size,), 0, jnp.minimum(written, config.buffer_size))
            return learn(carry, jax.tree.map(lambda leaf: leaf[places], buffer))

        next_key, learn_key = jax.random.split(state.key)
        keys = jax.random.split(learn_key, config.num_gradient_steps)
        (params, opt_state), losses = jax.lax.scan(sample_and_learn, (state.params, state.opt_state), keys)
        return State(next_key, params, opt_state, state.stones, buffer, written), losses

    return init, self_play, update


def outcomes(reward: jax.Array, over: jax.Array, beyond: jax.Array) -> jax.Array:
    """Returns what the player to move won in the end, float32[T, E].

    reward, over: [T, E], of each move. beyond: float32[E], values of the games after the last move.
    """

    def before(after, move):
        reward, over = move
        value = reward - jnp.where(over, 0.0, after)
        return value, value

    return jax.lax.scan(before, beyond, (reward, over), reverse=True)[1]
