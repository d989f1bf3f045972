"""Memory: what an episode has shown up to now, as features of the present step.

    GRU      a state that every step overwrites
    GTrXL    a transformer that looks back at the last steps

Both are cores, with a method ``unroll(memory, x, first)``: from the memory PyTree[B, ...] before step 0 and x float32[T, B, F] it
computes the features of each step, float32[T, B, H], and the memories after each step, PyTree[T, B, ...]. first: bool[T, B], an
episode starts here, and nothing before it is remembered. T steps in one call come to the same as T calls of one step: a policy
acts by the latter and is trained by the former.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from jaxrl.blocks.networks.layers import dense, orthogonal
from jaxrl.core.config import require_divisor
from jaxrl.errors import require, require_counts, require_whole, unknown_name

MEMORY_FIELDS = ("memory_size", "memory", "memory_length", "memory_heads", "memory_layers")  # of configurations and of networks
CORES = ("gru", "attention")


def require_memory(where: str, config: Any) -> None:
    """Raises ConfigError unless the fields of a configuration, ``MEMORY_FIELDS``, describe a memory, or UnknownNameError.

    where: who asks. config: has ``MEMORY_FIELDS``.
    """
    require_whole(where, config, "memory_size")
    if config.memory not in CORES:
        raise unknown_name(where, "memory", config.memory, CORES)
    if config.memory == "attention":
        must, fix = "memory='attention' needs a memory_size of at least 1", "Set memory_size=32, or memory='gru'."
        require(config.memory_size >= 1, where, must, config.memory_size, fix)
        require_counts(where, config, "memory_length", "memory_heads", "memory_layers")
        require_divisor(where, "memory_size", config.memory_size, "memory_heads", config.memory_heads)


def core(fields: Any) -> Any:
    """Returns the core that a configuration or a network describes by ``MEMORY_FIELDS``, or None if it has no memory."""
    if not fields.memory_size:
        return None
    if fields.memory == "gru":
        return GRU(fields.memory_size)
    return GTrXL(fields.memory_size, fields.memory_length, fields.memory_heads, fields.memory_layers)


def initial_memory(fields: Any) -> Any:
    """Returns the memory of one environment at the start of an episode, zeros; () if there is none. fields: as for ``core``."""
    if not fields.memory_size:
        return ()
    if fields.memory == "gru":
        return jnp.zeros(fields.memory_size, jnp.float32)
    shape = fields.memory_layers, fields.memory_length, fields.memory_size
    return Recent(jnp.zeros(shape, jnp.float32), jnp.int32(0))


class GRU(nn.Module):
    """A gated recurrent unit over a sequence (Cho et al. 2014). Its memory is zeroed where an episode starts.

    size: H. Its memory, float32[H], is also its features.

    Called with memory float32[B, H] and (inputs float32[T, B, F], first bool[T, B]), returns the last memory and all
    memories float32[T, B, H]; entry t has taken in input t.
    """

    size: int

    @functools.partial(nn.scan, variable_broadcast="params", split_rngs={"params": False})
    @nn.compact
    def __call__(self, memory, inputs):
        x, first = inputs
        memory = jnp.where(first[..., None], 0.0, memory)
        cell = nn.GRUCell(self.size, kernel_init=orthogonal(), recurrent_kernel_init=orthogonal())
        memory, _ = cell(memory, x)
        return memory, memory

    def unroll(self, memory, x, first):
        _, memories = self(memory, (x, first))
        return memories, memories


@struct.dataclass
class Recent:
    """The memory of a GTrXL. Batched: every leaf has the same leading axes.

    inputs: float32[L, K, H], what each of L layers was given at the last K steps, the newest at the end; 0 before the episode.
    count: int32[], how many of these steps belong to the episode, at most K.
    """

    inputs: jax.Array
    count: jax.Array


class GTrXL(nn.Module):
    """A gated transformer whose layers look back at what they were given at the last K steps of the episode.

        x <- W_in of the input
        for each layer, with m its inputs at the K steps before, of this episode
            y <- relu(Attention(LN(x), LN([m, x])))         x <- g(x, y)
            y <- relu(MLP(LN(x)))                           x <- g(x, y)

    with g the gate of ``Gate``, which mostly lets x pass at first: the policy begins near a feed-forward one, and learns to look
    back. The features of a step depend on the L K steps before it at most. Gradients flow through those of the block; the
    memory before the block is a constant, made by the parameters that acted, as the state of a GRU is. Unlike in the paper, a
    place in time is known by its distance alone, through a learned addition to the scores of each head.

    size: H, of the features, a multiple of ``num_heads``. length: K. num_heads: in each layer. num_layers: L.

    The memory of an environment has L K H numbers. Replay keeps them for each step, and needs room for them.

    Source: Parisotto et al. (2020), "Stabilizing Transformers for Reinforcement Learning", section 3; the memory: Dai et al.
    (2019), "Transformer-XL", section 3.2; the distances: Raffel et al. (2020), section 2.1.
    """

    size: int
    length: int = 32
    num_heads: int = 4
    num_layers: int = 1

    @nn.compact
    def unroll(self, memory, x, first):
        past, count = steps_before(memory.count, first)
        seen = _seen(past, self.length)
        x = dense(self.size, 1.0, "input")(x)
        inputs = []
        for layer in range(self.num_layers):
            before = jnp.moveaxis(memory.inputs[:, layer], 1, 0)  # [K, B, H]
            known = jnp.concatenate([before, x])
            inputs.append(_windows(known, self.length))
            x = GatedLayer(self.num_heads, self.length, name=f"layer_{layer}")(x, known, seen)
        count = jnp.minimum(count, self.length)
        belongs = jnp.arange(self.length, dtype=jnp.int32) >= self.length - count[..., None]  # [T, B, K]
        kept = jnp.where(belongs[:, :, None, :, None], jnp.stack(inputs, 2), 0.0)
        return x, Recent(kept, count)


class GatedLayer(nn.Module):
    """A layer of ``GTrXL``, called with x float32[T, B, H], with float32[K + T, B, H] that ends with x, and with
    bool[B, T, K + T], which of these each step sees; returns float32[T, B, H].
    """

    num_heads: int
    length: int

    @nn.compact
    def __call__(self, x, known, seen):
        width = x.shape[-1]
        shape = self.num_heads, width // self.num_heads
        normal = nn.LayerNorm(name="norm")
        query = nn.DenseGeneral(shape, name="query")(normal(x))
        key, value = (nn.DenseGeneral(shape, name=name)(normal(known)) for name in ("key", "value"))
        by_distance = self.param("by_distance", nn.initializers.zeros, (self.num_heads, self.length + 1), jnp.float32)
        distance = jnp.clip(_distance(len(x), self.length), 0, self.length)
        scores = jnp.einsum("tbnd,sbnd->bnts", query, key) / math.sqrt(shape[1]) + by_distance[:, distance]
        weight = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf))  # no row is empty: each step sees itself
        mixed = jnp.einsum("bnts,sbnd->tbnd", weight, value)
        x = Gate(name="attention_gate")(x, nn.relu(nn.DenseGeneral(width, axis=(-2, -1), name="output")(mixed)))
        hidden = nn.relu(nn.Dense(4 * width, name="hidden")(nn.LayerNorm(name="hidden_norm")(x)))
        return Gate(name="hidden_gate")(x, nn.relu(nn.Dense(width, name="hidden_output")(hidden)))


class Gate(nn.Module):
    """Lets y into x where it has learned to, float32[..., H] each, by the equations of a GRU:

        r = sigmoid(W_r y + U_r x)    z = sigmoid(W_z y + U_z x - b)    h = tanh(W_h y + U_h (r x))
        g(x, y) = (1 - z) x + z h

    b begins at 2, so that x passes.

    Source: Parisotto et al. (2020), section 3.2, "Gated-Recurrent-Unit-type gating".
    """

    @nn.compact
    def __call__(self, x, y):
        def both(name, x):
            of_y, of_x = (nn.Dense(x.shape[-1], use_bias=False, name=f"{name}_{of}") for of in ("y", "x"))
            return of_y(y) + of_x(x)

        closed = self.param("closed", nn.initializers.constant(2.0), (x.shape[-1],), jnp.float32)
        reset, update = nn.sigmoid(both("reset", x)), nn.sigmoid(both("update", x) - closed)
        return (1 - update) * x + update * nn.tanh(both("candidate", reset * x))


def steps_before(count, first):
    """Returns how many steps of its episode are known before each step, and including it, int32[T, B] each.

    count: int32[B], how many were known before step 0. first: bool[T, B], an episode starts here.
    """
    t = jnp.arange(len(first), dtype=jnp.int32)[:, None]
    began = jax.lax.cummax(jnp.where(first, t, -count))
    return t - began, t - began + 1


def _distance(num_steps, length):
    """Returns how many steps lie between step t and entry s of K + T, int32[T, K + T]; negative if s is later."""
    t, s = jnp.arange(num_steps, dtype=jnp.int32), jnp.arange(length + num_steps, dtype=jnp.int32)
    return length + t[:, None] - s


def _seen(past, length):
    """Returns which of K + T entries each step sees: itself and the last K steps of its episode, bool[B, T, K + T].

    past: int32[T, B], see ``steps_before``.
    """
    distance = _distance(len(past), length)
    return (distance >= 0) & (distance <= jnp.minimum(past.T, length)[..., None])


def _windows(known, length):
    """Returns of each of T steps what came last, up to it: [T, B, K, H] of [K + T, B, H]."""
    start = jnp.arange(1, len(known) - length + 1, dtype=jnp.int32)
    index = start[:, None] + jnp.arange(length, dtype=jnp.int32)
    return jnp.moveaxis(known[index], 1, 2)


def unroll(core: Any, memory, x, first):
    """Unrolls a core over float32[T, B, F], or with agents over [T, B, N, F] as if they were B * N sequences.

    first: bool[T, B]. memory: PyTree[B, ...] or PyTree[B, N, ...]. Returns the features and the memories, with the axes of x.
    """
    batch = x.shape[1:-1]
    first = jnp.broadcast_to(first.reshape(*first.shape, *(1,) * (len(batch) - 1)), x.shape[:-1])
    memory = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]), memory)
    features, memories = core.unroll(memory, x.reshape(len(x), -1, x.shape[-1]), first.reshape(len(x), -1))
    return jax.tree.map(lambda leaf: leaf.reshape(len(x), *batch, *leaf.shape[2:]), (features, memories))
