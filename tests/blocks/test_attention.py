"""Causal attention: against a direct computation, and what no output may depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.networks import CausalTransformer, DecisionTransformer
from jaxrl.blocks.networks.attention import Block
from jaxrl.core.spaces import Discrete
from tests.own_networks import Residual

KEY = jax.random.key(0)
LENGTH, WIDTH, HEADS = 6, 8, 2


def normal(number, *shape):
    return jax.random.normal(jax.random.key(number), shape, jnp.float32)


@pytest.fixture(scope="module")
def transformer():
    """A transformer, its parameters, three sequences of tokens and their places."""
    network = CausalTransformer(2, HEADS, LENGTH)
    tokens, position = normal(1, 3, LENGTH, WIDTH), jnp.tile(jnp.arange(LENGTH), (3, 1))
    params = jax.jit(network.init)(KEY, tokens, position, jnp.ones((3, LENGTH), bool))
    return jax.jit(lambda tokens, valid, position=position: network.apply(params, tokens, position, valid)), tokens


# ---- attention by hand, in float64


def layer_norm(x, params):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * params["scale"] + params["bias"]


def attention_by_hand(x, params, seen):
    """softmax(Q K^T / sqrt(d)) V for each head and row, one number after another."""
    q, k, v = (np.einsum("lf,fhd->lhd", x, params[n]["kernel"]) + params[n]["bias"] for n in ("query", "key", "value"))
    mixed = np.zeros_like(v)
    for row in range(len(x)):
        columns = np.flatnonzero(seen[row])
        for head in range(q.shape[1]):
            score = np.array([q[row, head] @ k[column, head] for column in columns]) / np.sqrt(q.shape[-1])
            weight = np.exp(score - score.max())
            mixed[row, head] = (weight / weight.sum()) @ v[columns, head]
    return np.einsum("lhd,hdf->lf", mixed, params["out"]["kernel"]) + params["out"]["bias"]


def test_a_block_equals_the_direct_computation():
    x = normal(2, LENGTH, WIDTH)
    seen = np.tri(LENGTH, dtype=bool)
    block = Block(HEADS, "tanh")
    params = jax.jit(block.init)(KEY, x, seen[None])
    params = jax.tree.map(lambda leaf: leaf + 0.1 * normal(3, *leaf.shape), params)  # no bias is 0, no scale 1
    with jax.default_matmul_precision("highest"):
        found = block.apply(params, x, seen[None])
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    by_hand = np.asarray(x, np.float64)
    by_hand = by_hand + attention_by_hand(layer_norm(by_hand, own["LayerNorm_0"]), own["attention"], seen)
    hidden = np.tanh(layer_norm(by_hand, own["LayerNorm_1"]) @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"])
    np.testing.assert_allclose(found, by_hand + hidden @ own["Dense_1"]["kernel"] + own["Dense_1"]["bias"], atol=1e-5)


# ---- what no output may depend on


@pytest.mark.parametrize("changed", range(LENGTH))
@pytest.mark.parametrize("padding", [0, 2])
def test_a_change_of_a_token_never_changes_an_earlier_output(transformer, changed, padding):
    apply, tokens = transformer
    valid = jnp.broadcast_to(jnp.arange(LENGTH) >= padding, tokens.shape[:2])
    before, after = apply(tokens, valid), apply(tokens.at[:, changed].set(normal(5, 3, WIDTH)), valid)
    np.testing.assert_array_equal(before[:, :changed], after[:, :changed])
    assert (np.abs(before - after)[:, changed].max(-1) > 1e-3).all()
    later = np.abs(before - after)[:, max(changed + 1, padding) :].max(-1)
    assert (later > 1e-6).all() if changed >= padding else (later == 0.0).all()


def test_the_content_of_padding_never_matters(transformer):
    apply, tokens = transformer
    valid = jnp.arange(LENGTH) >= jnp.array([[0], [2], [5]])
    other = jnp.where(valid[..., None], tokens, 1e3 * normal(6, *tokens.shape))
    before, after = apply(tokens, valid), apply(other, valid)
    np.testing.assert_array_equal(np.where(valid[..., None], before, 0.0), np.where(valid[..., None], after, 0.0))
    alone = apply(tokens, jnp.ones_like(valid))
    assert np.abs(alone - before)[1, 2:].max() > 1e-3  # tokens that are no padding do matter


def test_padding_in_front_is_the_same_as_a_shorter_sequence(transformer):
    apply, tokens = transformer
    position = jnp.tile(jnp.arange(LENGTH), (3, 1))
    padded = apply(tokens, position >= 2, jnp.maximum(position - 2, 0))[:, 2:]
    short = apply(tokens[:, 2:], jnp.ones((3, LENGTH - 2), bool), position[:, :-2])
    np.testing.assert_allclose(padded, short, atol=1e-5)


def test_order_matters_by_positions_and_beyond_the_last_there_is_no_more(transformer):
    apply, tokens = transformer
    valid, position = jnp.ones(tokens.shape[:2], bool), jnp.tile(jnp.arange(LENGTH), (3, 1))
    assert np.abs(apply(tokens, valid) - apply(tokens, valid, position[:, ::-1])).max() > 1e-2
    late = jnp.full_like(position, LENGTH - 1)
    np.testing.assert_array_equal(apply(tokens, valid, late), apply(tokens, valid, late + 7))


# ---- the Decision Transformer


@pytest.mark.parametrize("own", [None, Residual])
def test_the_outputs_of_a_step_see_its_return_and_observation_but_not_its_action(own):
    steps = 3
    network = DecisionTransformer(Discrete(4), 2, (8,), network=own, width=8, num_layers=1, num_positions=steps)
    t = jnp.arange(steps)[None]
    arguments = normal(7, 1, steps), jnp.array([[0, 1, 2]]), normal(8, 1, steps, 2), t, jnp.ones((1, steps), bool)
    params, apply = jax.jit(network.init)(KEY, *arguments), jax.jit(network.apply)

    def changes(place, value):
        """Returns of which steps the outputs change if what the last step but one holds is another value."""
        other = [*arguments]
        other[place] = other[place].at[0, 1].set(value)
        return np.abs(apply(params, *arguments) - apply(params, *other))[0].max(-1) > 1e-6

    np.testing.assert_array_equal(changes(0, 3.0), [False, True, True])
    np.testing.assert_array_equal(changes(1, 3), [False, True, True])
    np.testing.assert_array_equal(changes(2, jnp.array([2.0, -3.0])), [False, False, True])
    assert apply(params, *arguments).shape == (1, steps, 2)
