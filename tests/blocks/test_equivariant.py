"""Convolutions under quarter turns: against sums by hand, exact where they must be, and inexact where weights say so."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds.grid import MOVES
from jaxrl.algorithms.deep import ppo
from jaxrl.blocks.networks import (
    CNN,
    EquivariantNetwork,
    GroupConvolution,
    LiftingConvolution,
    QNetwork,
    pool_group,
    relaxation_penalty,
)
from jaxrl.blocks.networks.equivariant import GROUP_POOLINGS, PADDINGS, READOUTS
from jaxrl.core.contracts import equal_when_rebuilt
from jaxrl.core.spaces import Box, Discrete, Tuple
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError

KEY = jax.random.key(0)
SIZES = {"odd": 5, "even": 4}


def normal(number, *shape):
    return jax.random.normal(jax.random.key(number), shape, jnp.float32)


def moved(params, size=0.2):
    """Returns parameters of which no bias is 0; weights of filters stay equal."""

    def move(path, leaf):
        return leaf if path[-1].key == "relaxation" else leaf + size * normal(9, *leaf.shape)

    return jax.tree_util.tree_map_with_path(move, params)


def unequal(params, size=0.3):
    """Returns parameters whose weights of filters differ from turn to turn."""

    def move(path, leaf):
        return leaf + size * normal(8, *leaf.shape) if path[-1].key == "relaxation" else leaf

    return jax.tree_util.tree_map_with_path(move, params)


def turn_image(image, r):
    return jnp.rot90(image, r, (0, 1))


def turn_features(features, r):
    """The action of r turns on features [H, H, 4, C]: places turn, and the axis of turns is shifted."""
    return jnp.roll(jnp.rot90(features, r, (0, 1)), r, 2)


def turn_moves(outputs, r):
    """The action of r turns on the outputs of four moves: each becomes the next one counter-clockwise."""
    return jnp.roll(outputs, r, -1)


def turn_error(apply, turn_input, turn_output, x):
    """Returns the largest difference between what comes of a turned input and the turned output, over three turns."""
    y = apply(x)
    return max(float(jnp.abs(apply(turn_input(x, r)) - turn_output(y, r)).max()) for r in (1, 2, 3))


def built(layer, x):
    params = moved(jax.jit(layer.init)(KEY, x))
    return params, jax.jit(layer.apply)


# ---- by hand


def relaxed_sum(x, filters, weight, edge, mode, lifting):
    """y(t, r) = sum over places s and turns q of x(s, q) sum_l w_l psi_l(r^-1 (s - t), q - r), one term after another.

    r^-1 of an offset (i, j) is r quarter turns clockwise, (i, j) -> (j, -i).
    """
    padded = np.pad(x, ((edge, edge), (edge, edge)) + ((0, 0),) * (x.ndim - 2), mode=mode)
    size, half = x.shape[0], filters.shape[1] // 2
    y = np.zeros((size, size, 4, filters.shape[-1]))
    for row, column, r in np.ndindex(size, size, 4):
        for i, j in np.ndindex(2 * half + 1, 2 * half + 1):
            a, b = i - half, j - half
            for _ in range(r):
                a, b = b, -a
            seen = padded[row + i, column + j]
            for filter_, w in zip(filters[:, a + half, b + half], weight, strict=True):
                if lifting:
                    y[row, column, r] += w[r] * seen @ filter_
                else:
                    y[row, column, r] += sum(w[q] * seen[q] @ filter_[(q - r) % 4] for q in range(4))
    return y


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("num_filters", [0, 2])
@pytest.mark.parametrize("kind", [LiftingConvolution, GroupConvolution])
def test_a_layer_is_the_sum_over_the_group(kind, num_filters, padding):
    lifting = kind is LiftingConvolution
    x = normal(1, 4, 4, 2) if lifting else normal(1, 4, 4, 4, 2)
    params, apply = built(kind(3, 3, padding, num_filters), x)
    params = unequal(params)
    own = jax.tree.map(np.float64, params["params"])
    weight = own.get("relaxation", np.ones((1, 4)))
    by_hand = relaxed_sum(np.float64(x), own["filters"], weight, 1, PADDINGS[padding], lifting) + own["bias"]
    np.testing.assert_allclose(apply(params, x), by_hand, atol=1e-5)


def test_circular_padding_is_a_torus():
    """A shift around the torus shifts the outputs; with zeros beyond the edges it does not."""
    x = normal(1, 5, 5, 2)
    for padding, exact in (("circular", True), ("zero", False)):
        params, apply = built(LiftingConvolution(3, 3, padding), x)
        shifted = apply(params, jnp.roll(x, (2, 1), (0, 1))) - jnp.roll(apply(params, x), (2, 1), (0, 1))
        assert (np.abs(shifted).max() < 1e-5) == exact


# ---- equivariance of layers


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("num_filters", [0, 3])
def test_layers_turn_with_what_they_see(num_filters, padding, size):
    image, features = normal(1, size, size, 2), normal(2, size, size, 4, 3)
    lifting, group = LiftingConvolution(3, 3, padding, num_filters), GroupConvolution(3, 3, padding, num_filters)
    cases = (lifting, turn_image, image), (group, turn_features, features)
    for layer, turn, x in cases:
        params, apply = built(layer, x)
        assert turn_error(functools.partial(apply, params), turn, turn_features, x) < 1e-5
        if num_filters:  # relaxed, it is exact until weights differ
            assert turn_error(functools.partial(apply, unequal(params)), turn, turn_features, x) > 1e-3


@pytest.mark.parametrize("kind", [LiftingConvolution, GroupConvolution])
def test_a_relaxed_layer_begins_as_the_exact_one(kind):
    x = normal(1, 5, 5, 2) if kind is LiftingConvolution else normal(1, 5, 5, 4, 2)
    relaxed, apply_relaxed = built(kind(3, num_filters=3), x)
    _, apply_exact = built(kind(3), x)
    own = relaxed["params"]
    exact = {"params": {"filters": own["filters"].sum(0, keepdims=True), "bias": own["bias"]}}
    np.testing.assert_allclose(apply_relaxed(relaxed, x), apply_exact(exact, x), atol=1e-5)
    one, apply_one = built(kind(3, num_filters=1), x)
    same = {"params": {name: one["params"][name] for name in ("filters", "bias")}}
    np.testing.assert_array_equal(apply_one(one, x), apply_exact(same, x))


def test_the_ordinary_convolution_does_not_turn():
    image = normal(1, 5, 5, 2)
    params, apply = built(CNN((3,)), image)

    def features(x):
        return apply(params, x).reshape(5, 5, 3)

    assert turn_error(features, turn_image, turn_image, image) > 1e-2


# ---- whole networks

IMAGE = Box(0.0, 1.0, (5, 5, 2))


@functools.cache
def network(outputs, **fields):
    module = EquivariantNetwork(**{"channels": (3, 4), "hidden": (6,)} | fields)(IMAGE, outputs)
    params, apply = built(module, normal(1, 5, 5, 2))
    return params, apply


@pytest.mark.parametrize(("readout", "group_pooling"), list(zip(READOUTS, (*GROUP_POOLINGS, "max"), strict=True)))
@pytest.mark.parametrize("padding", PADDINGS)
def test_logits_turn_with_the_image_and_values_do_not(padding, group_pooling, readout):
    fields = {"padding": padding, "group_pooling": group_pooling, "readout": readout, "num_filters": 2}
    image = normal(1, 5, 5, 2)
    params, apply = network(4, **fields)
    logits = functools.partial(apply, params)
    assert turn_error(logits, turn_image, turn_moves, image) < 1e-5
    assert turn_error(logits, turn_image, lambda y, r: y, image) > 1e-3  # they do change
    assert turn_error(functools.partial(apply, unequal(params)), turn_image, turn_moves, image) > 1e-3
    params, apply = network(1, **fields)
    value = functools.partial(apply, params)
    assert turn_error(value, turn_image, lambda y, r: y, image) < 1e-5
    assert abs(value(image) - value(normal(2, 5, 5, 2))).max() > 1e-3
    assert turn_error(functools.partial(apply, unequal(params)), turn_image, lambda y, r: y, image) > 1e-3


def test_the_logits_of_the_ordinary_network_do_not_turn():
    image = normal(1, 5, 5, 2)
    params, apply = built(QNetwork(IMAGE, 4, channels=(3, 4)), image)
    assert turn_error(functools.partial(apply, params), turn_image, turn_moves, image) > 1e-2


def test_the_turn_of_an_image_turns_the_moves_of_the_grids():
    """Left, down, right, up: a step in a turned picture is the turned step."""
    for action, (row, column) in enumerate(MOVES):
        image = np.zeros((3, 3))
        image[1 + row, 1 + column] = 1.0
        row, column = MOVES[(action + 1) % 4]
        assert np.rot90(image)[1 + row, 1 + column] == 1.0


def test_other_actions_do_not_turn_and_each_action_has_its_outputs_together():
    """Six actions of two outputs: moves 5, 1, 3, 2, each the one before it turned; 0 and 4 stay."""
    image = normal(1, 5, 5, 2)
    params, apply = network(12, num_actions=6, moves=(5, 1, 3, 2), activation="tanh")
    before, after = (apply(params, turn_image(image, r)).reshape(6, 2) for r in (0, 1))
    for action, successor in {5: 1, 1: 3, 3: 2, 2: 5, 0: 0, 4: 4}.items():
        np.testing.assert_allclose(after[successor], before[action], atol=1e-5)
    assert len(np.unique(np.round(before, 4))) == 12


def test_outputs_that_are_no_moves_are_invariant():
    image = normal(1, 5, 5, 2)
    params, apply = network(3, head="invariant")
    assert turn_error(functools.partial(apply, params), turn_image, lambda y, r: y, image) < 1e-5
    batch = jnp.broadcast_to(image, (2, 3, 5, 5, 2))
    np.testing.assert_allclose(apply(params, batch), np.broadcast_to(apply(params, image), (2, 3, 3)), atol=1e-5)


def test_pooling_over_the_group():
    x = jnp.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(pool_group(x), [6.0, 7.0])
    np.testing.assert_array_equal(pool_group(x, "mean"), [3.0, 4.0])


# ---- the penalty


def test_the_penalty_is_zero_where_weights_are_equal_and_counts_pairs():
    params, _ = network(4, num_filters=2)
    assert relaxation_penalty(params) == 0.0
    assert relaxation_penalty(network(4)[0]) == 0.0
    other = unequal(params)
    weights = [np.float64(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(other) if path[-1].key == "relaxation"]
    assert len(weights) == 3  # two convolutions and the readout
    pairs = sum((w[:, g] - w[:, h]) ** 2 for w in weights for g in range(4) for h in range(4))
    np.testing.assert_allclose(relaxation_penalty(other), np.sum(pairs) / 8, rtol=1e-5)


def test_descent_on_the_penalty_makes_a_network_exact_again():
    image = normal(1, 5, 5, 2)
    params, apply = network(4, num_filters=2)
    params = unequal(params)
    step = jax.jit(lambda params: jax.tree.map(lambda w, d: w - 0.4 * d, params, jax.grad(relaxation_penalty)(params)))
    for _ in range(20):
        params = step(params)
    assert turn_error(functools.partial(apply, params), turn_image, turn_moves, image) < 1e-5


# ---- settings, and a whole algorithm


def test_made_again_it_is_equal():
    assert EquivariantNetwork([8], hidden=[4]) == EquivariantNetwork((8,), hidden=(4,))
    assert hash(EquivariantNetwork([8])) == hash(EquivariantNetwork((8,))) != hash(EquivariantNetwork((9,)))
    assert equal_when_rebuilt(EquivariantNetwork())


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"channels": ()}, ConfigError, "channels must name at least one layer"),
        ({"channels": (4, 0)}, ConfigError, "each of channels must be an integer of at least 1, got 0"),
        ({"kernel_size": 2}, ConfigError, "kernel_size must be odd, got 2"),
        ({"num_filters": -1}, ConfigError, "num_filters must be an integer of at least 0"),
        ({"num_actions": 3}, ConfigError, "num_actions must be an integer of at least 4"),
        ({"moves": (0, 1, 2, 2)}, ConfigError, "moves must be 4 different actions"),
        ({"moves": (1, 2, 3, 4)}, ConfigError, "below num_actions"),
        ({"padding": "circle"}, UnknownNameError, "Did you mean 'circular'"),
        ({"readout": "min"}, UnknownNameError, "no readout is named 'min'"),
        ({"group_pooling": "full"}, UnknownNameError, "no group_pooling is named 'full'"),
        ({"head": "move"}, UnknownNameError, "Did you mean 'moves'"),
        ({"activation": "sine"}, UnknownNameError, "no activation is named 'sine'"),
    ],
)
def test_settings_are_checked(fields, error, message):
    with pytest.raises(error, match=message):
        EquivariantNetwork(**fields)


@pytest.mark.parametrize(
    "space", [Discrete(4), Box(0.0, 1.0, (4, 5, 2)), Box(0.0, 1.0, (4,)), Tuple.of(IMAGE, Box(0.0, 1.0, (2,)))]
)
def test_observations_that_are_no_square_images_are_refused(space):
    with pytest.raises(SpaceError, match=r"EquivariantNetwork: "):
        EquivariantNetwork()(space, 4)


def test_outputs_that_are_not_those_of_the_actions_are_refused():
    with pytest.raises(ConfigError, match=r"1 or a multiple of num_actions \(4\), got 5. Set num_actions"):
        EquivariantNetwork()(IMAGE, 5)


@pytest.mark.slow
@pytest.mark.parametrize("num_filters", [0, 2])
def test_ppo_keeps_exact_networks_exact(num_filters):
    """Two updates in a maze: the policy still turns with the picture, unless it was relaxed."""
    env = envs.make("random_maze", size=5)
    network = EquivariantNetwork((3, 4), num_filters=num_filters, hidden=(8,))
    config = ppo.Config(network=network, num_envs=2, num_steps=16, num_epochs=2, num_minibatches=1, learning_rate=0.02)
    algorithm = ppo.make(env, config)
    before = jax.jit(algorithm.init)(KEY)
    after, metrics = jax.jit(lambda state: jax.lax.scan(algorithm.update, state, jax.random.split(KEY, 2)))(before)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, metrics)))
    assert relaxation_penalty(before.params) == 0.0
    assert (relaxation_penalty(after.params) > 0.0) == (num_filters > 0)
    (inner,) = after.params["params"]["actor"].values()
    (start,) = before.params["params"]["actor"].values()
    policy = jax.jit(network(env.observation_space, 4).apply)
    image = normal(3, *env.observation_space.shape)
    assert np.abs(policy({"params": inner}, image) - policy({"params": start}, image)).max() > 1e-3
    error = turn_error(functools.partial(policy, {"params": inner}), turn_image, turn_moves, image)
    assert (error < 1e-5) == (num_filters == 0)
