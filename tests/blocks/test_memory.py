"""Memory: whole blocks against single steps, what no output may depend on, and attention against a direct computation."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.blocks.networks import GRU, GTrXL, require_memory
from jaxrl.blocks.networks.memory import GatedLayer, core, initial_memory, steps_before, unroll
from jaxrl.errors import ConfigError, UnknownNameError

STEPS, ENVS, FEATURES, LENGTH = 12, 2, 3, 4
FIELDS = {"memory_size": 6, "memory": "attention", "memory_length": LENGTH, "memory_heads": 2, "memory_layers": 2}


def normal(number, *shape):
    return jax.random.normal(jax.random.key(number), shape, jnp.float32)


def unrolled(**changes):
    """Returns the unrolled core with random parameters, jitted, and a batch of memories that hold nothing."""
    fields = types.SimpleNamespace(**(FIELDS | changes))
    network = core(fields)
    memory = jax.tree.map(lambda leaf: jnp.stack([leaf] * ENVS), initial_memory(fields))
    start = memory, normal(0, 1, ENVS, FEATURES), jnp.zeros((1, ENVS), bool)
    params = network.init(jax.random.key(1), *start, method="unroll")
    params = jax.tree.map(lambda leaf: leaf + 0.3 * normal(2, *leaf.shape), params)  # no addition by distance is 0
    apply = jax.jit(lambda memory, x, first: network.apply(params, memory, x, first, method="unroll"))
    return apply, memory


@pytest.fixture(scope="module", params=["attention", "gru"])
def kind(request):
    return unrolled(memory=request.param)


@pytest.fixture(scope="module")
def block():
    """Inputs of two environments. In the first, episodes start at steps 0, 5 and 7; in the other, one goes on."""
    first = jnp.zeros((STEPS, ENVS), bool).at[jnp.array([0, 5, 7]), 0].set(True)
    return normal(3, STEPS, ENVS, FEATURES), first


def test_a_block_is_its_steps_one_by_one(kind, block):
    """From a memory that an earlier block left, through starts of episodes, and however the block is cut."""
    apply, memory = kind
    x, first = block
    _, before = apply(memory, normal(4, 3, ENVS, FEATURES), jnp.zeros((3, ENVS), bool))
    memory = jax.tree.map(lambda leaf: leaf[-1], before)
    features, memories = apply(memory, x, first)
    for pieces in ([1] * STEPS, [5, 7]):
        now, ends = memory, np.cumsum(pieces)
        for start, end in zip(ends - pieces, ends, strict=True):
            found, after = apply(now, x[start:end], first[start:end])
            np.testing.assert_allclose(found, features[start:end], atol=1e-6)
            now = jax.tree.map(lambda leaf: leaf[-1], after)
            jax.tree.map(lambda one, all, end=end: np.testing.assert_allclose(one, all[end - 1], atol=1e-6), now, memories)


@pytest.mark.parametrize("changed", [1, 4, 5, 6, 8])
def test_an_input_changes_later_outputs_of_its_episode_alone(kind, block, changed):
    apply, memory = kind
    x, first = block
    (before, remembered), (after, other) = apply(memory, x, first), apply(memory, x.at[changed].add(1.0), first)
    end = next(t for t in (5, 7, STEPS) if t > changed)  # of the episode in the first environment
    np.testing.assert_array_equal(before[:changed], after[:changed])
    np.testing.assert_array_equal(before[end:, 0], after[end:, 0])
    jax.tree.map(lambda one, two: np.testing.assert_array_equal(one[end:, 0], two[end:, 0]), remembered, other)
    assert (np.abs(before - after)[changed:end, 0].max(-1) > 1e-5).all()
    # The other environment goes on: attention through two layers sees twice its length back.
    assert (np.abs(before - after)[changed : changed + LENGTH, 1].max(-1) > 1e-5).all()


def test_what_the_memory_held_is_forgotten_where_an_episode_starts(kind, block):
    apply, memory = kind
    x, first = block
    _, full = apply(memory, normal(5, 6, ENVS, FEATURES), jnp.zeros((6, ENVS), bool))
    full = jax.tree.map(lambda leaf: leaf[-1], full)
    (found, left), (fresh, kept) = apply(full, x, first), apply(memory, x, first)
    np.testing.assert_array_equal(found[:, 0], fresh[:, 0])
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one[:, 0], other[:, 0]), left, kept)
    assert np.abs(found[0, 1] - fresh[0, 1]).max() > 1e-3


def test_attention_reaches_as_far_as_its_layers_times_its_length(block):
    x, _ = block
    one_episode = jnp.zeros((STEPS, ENVS), bool)
    for layers in (1, 2):
        apply, memory = unrolled(memory_layers=layers)
        moved = np.abs(apply(memory, x, one_episode)[0] - apply(memory, x.at[1].add(1.0), one_episode)[0]).max((1, 2))
        reach = layers * LENGTH
        assert (moved[1 : 2 + reach] > 1e-6).all()
        np.testing.assert_array_equal(moved[2 + reach :], 0.0)


def test_steps_before_are_counted_from_the_start_of_the_episode():
    first = jnp.array([[False, True], [False, False], [True, False], [False, True]])
    past, count = steps_before(jnp.array([3, 2]), first)
    np.testing.assert_array_equal(past, [[3, 0], [4, 1], [0, 2], [1, 0]])
    np.testing.assert_array_equal(count, past + 1)


# ---- attention by hand, in float64


def layer_norm(x, params):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * params["scale"] + params["bias"]


def affine(x, params):
    return x @ params["kernel"] + params.get("bias", 0.0)


def gate(x, y, params):
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    reset = sigmoid(affine(y, params["reset_y"]) + affine(x, params["reset_x"]))
    update = sigmoid(affine(y, params["update_y"]) + affine(x, params["update_x"]) - params["closed"])
    candidate = np.tanh(affine(y, params["candidate_y"]) + affine(reset * x, params["candidate_x"]))
    return (1 - update) * x + update * candidate


def test_a_gated_layer_equals_the_direct_computation():
    """One environment, three steps, of which the last begins an episode; two of four remembered steps belong to the first."""
    heads, width, num_steps = 2, 6, 3
    layer, x, before = GatedLayer(heads, LENGTH), normal(6, num_steps, 1, width), normal(7, LENGTH, 1, width)
    known = jnp.concatenate([before, x])
    seen = np.zeros((1, num_steps, LENGTH + num_steps), bool)
    seen[0, 0, 2:5] = seen[0, 1, 2:6] = seen[0, 2, 6:] = True
    params = layer.init(jax.random.key(0), x, known, jnp.asarray(seen))
    params = jax.tree.map(lambda leaf: leaf + 0.3 * normal(8, *leaf.shape), params)
    with jax.default_matmul_precision("highest"):
        found = layer.apply(params, x, known, jnp.asarray(seen))[:, 0]
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    by_hand, known = np.asarray(x[:, 0], np.float64), np.asarray(known[:, 0], np.float64)
    normal_known = layer_norm(known, own["norm"])
    k, v = (np.einsum("sf,fhd->shd", normal_known, own[n]["kernel"]) + own[n]["bias"] for n in ("key", "value"))
    q = np.einsum("tf,fhd->thd", layer_norm(by_hand, own["norm"]), own["query"]["kernel"]) + own["query"]["bias"]
    mixed = np.zeros_like(q)
    for t in range(num_steps):
        columns = np.flatnonzero(seen[0, t])
        for h in range(heads):
            score = [q[t, h] @ k[s, h] / np.sqrt(width // heads) + own["by_distance"][h, LENGTH + t - s] for s in columns]
            weight = np.exp(score) / np.exp(score).sum()
            mixed[t, h] = weight @ v[columns, h]
    attended = np.einsum("thd,hdf->tf", mixed, own["output"]["kernel"]) + own["output"]["bias"]
    by_hand = gate(by_hand, np.maximum(attended, 0), own["attention_gate"])
    hidden = np.maximum(affine(layer_norm(by_hand, own["hidden_norm"]), own["hidden"]), 0)
    by_hand = gate(by_hand, np.maximum(affine(hidden, own["hidden_output"]), 0), own["hidden_gate"])
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


# ---- the fields


def test_agents_are_sequences_of_their_own(block):
    x, first = block
    apply, memory = unrolled()
    agents = jnp.stack([x, x[::-1], 2 * x], 2)
    spread = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3, 1), memory)
    stand_in = types.SimpleNamespace(unroll=apply)
    features, memories = unroll(stand_in, spread, agents, first)
    for agent in range(3):
        alone = apply(memory, agents[:, :, agent], first)
        found = jax.tree.map(lambda leaf, agent=agent: leaf[:, :, agent], (features, memories))
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), found, alone)


def test_fields_name_a_core():
    assert core(types.SimpleNamespace(memory_size=0)) is None
    assert initial_memory(types.SimpleNamespace(memory_size=0)) == ()
    assert core(types.SimpleNamespace(**(FIELDS | {"memory": "gru"}))) == GRU(6)
    assert core(types.SimpleNamespace(**FIELDS)) == GTrXL(6, LENGTH, 2, 2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"memory_heads": 4}, ConfigError, r"memory_size \(6\) must be divisible by memory_heads, got 4. Try memory_heads=3"),
        ({"memory_size": 0}, ConfigError, "memory='attention' needs a memory_size of at least 1, got 0"),
        ({"memory_size": -1}, ConfigError, "memory_size must be an integer of at least 0"),
        ({"memory_length": 0}, ConfigError, "memory_length must be an integer of at least 1"),
        ({"memory_layers": 1.5}, ConfigError, "memory_layers must be an integer of at least 1"),
        ({"memory": "atention"}, UnknownNameError, "no memory is named 'atention'. Did you mean 'attention'"),
    ],
    ids=str,
)
def test_memories_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=f"here: {message}"):
        require_memory("here", types.SimpleNamespace(**(FIELDS | changes)))
