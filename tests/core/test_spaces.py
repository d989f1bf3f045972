"""Spaces: what they contain, what they draw, and how they become features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.compat.spaces import to_action
from jaxrl.core.spaces import (
    Box,
    Dict,
    Discrete,
    MultiDiscrete,
    Tuple,
    example,
    flat_size,
    flatten,
    from_unit,
    map_parts,
    parts,
    split_features,
    to_unit,
)
from jaxrl.errors import SpaceError

HALF_BOUNDED = Box((0.0, -1.0, 5.0), (float("inf"), 1.0, 7.0), (3,))
NESTED = Dict.of(view=Box(-1.0, 1.0, (2, 2)), cell=Discrete(3), inner=Dict.of(flag=Discrete(2)))
LEVERS = MultiDiscrete((2, 1, 5))
ACTION = Dict.of(pair=Tuple.of(Discrete(3), Box(-4.0, 4.0, (2,))), levers=LEVERS)
SPACES = [
    Discrete(1),
    Discrete(5),
    LEVERS,
    Box(-2.0, 2.0),
    Box(-float("inf"), float("inf"), (2,)),
    HALF_BOUNDED,
    NESTED,
    ACTION,
    Tuple.of(LEVERS, Tuple.of(NESTED)),
]


@functools.cache
def draws(space):
    return jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), 300))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_draws_lie_in_the_space_and_look_like_its_example(space):
    assert space.contains(draws(space))
    one = jax.tree.map(lambda leaf: leaf[0], draws(space))
    jax.tree.map(
        lambda drawn, zero: np.testing.assert_equal((drawn.shape, drawn.dtype), (zero.shape, zero.dtype)), one, example(space)
    )


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_features_have_the_promised_size(space):
    values = jax.tree.map(lambda leaf: leaf[:12].reshape(4, 3, *leaf.shape[1:]), draws(space))
    features = flatten(space, values)
    assert features.shape == (4, 3, flat_size(space))
    assert features.dtype == jnp.float32
    one = jax.tree.map(lambda leaf: leaf[1, 2], values)
    np.testing.assert_array_equal(flatten(space, one), features[1, 2])


def test_draws_reach_every_choice_and_both_halves():
    np.testing.assert_array_equal(np.bincount(draws(Discrete(5))) > 30, [True] * 5)
    for column, n in zip(np.asarray(draws(LEVERS)).T, LEVERS.nvec, strict=True):
        np.testing.assert_array_equal(np.bincount(column) > 30, [True] * n)
    bounded = np.asarray(draws(HALF_BOUNDED))[:, 2]
    assert bounded.min() < 5.1
    assert bounded.max() > 6.9


@pytest.mark.parametrize(
    ("space", "value", "inside"),
    [
        (Discrete(3), 2, True),
        (Discrete(3), 3, False),
        (Discrete(3), -1, False),
        (Discrete(3), 1.0, False),
        (Discrete(3), np.array([[0, 2], [1, 3]]), False),
        (Box(0.0, 1.0, (2,)), np.array([0.0, 1.0]), True),
        (Box(0.0, 1.0, (2,)), np.array([0.0, 1.1]), False),
        (Box(0.0, 1.0, (2,)), np.array([0.0, np.nan]), False),
        (Box(0.0, 1.0, (2,)), np.zeros((5, 2)), True),
        (Box(0.0, 1.0, (2,)), np.zeros(3), False),
        (Box(0.0, 1.0, (2,)), 0.0, False),
        (Box((0.0, 2.0), (1.0, 3.0), (2,)), np.array([0.5, 0.5]), False),
        (NESTED, {"view": np.zeros((2, 2)), "cell": 2, "inner": {"flag": 1}}, True),
        (NESTED, {"view": np.zeros((2, 2)), "cell": 3, "inner": {"flag": 1}}, False),
        (NESTED, {"view": np.zeros((2, 2)), "cell": 2}, False),
        (NESTED, np.zeros(3), False),
        (LEVERS, np.array([1, 0, 4]), True),
        (LEVERS, np.array([[1, 0, 4], [0, 0, 5]]), False),
        (LEVERS, np.array([1, 1, 4]), False),
        (LEVERS, np.array([-1, 0, 4]), False),
        (LEVERS, np.array([1.0, 0.0, 4.0]), False),
        (LEVERS, np.array([1, 0]), False),
        (LEVERS, 0, False),
        (ACTION, {"pair": (2, np.zeros(2)), "levers": np.zeros(3, int)}, True),
        (ACTION, {"pair": [2, np.zeros(2)], "levers": np.zeros(3, int)}, False),
        (ACTION, {"pair": (2,), "levers": np.zeros(3, int)}, False),
        (ACTION, {"pair": (2, np.full(2, 4.1)), "levers": np.zeros(3, int)}, False),
    ],
)
def test_contains(space, value, inside):
    assert bool(space.contains(value)) == inside


def test_features_in_the_order_of_names():
    value = {"view": jnp.full((2, 2), 0.5), "cell": jnp.int32(1), "inner": {"flag": jnp.int32(1)}}
    np.testing.assert_array_equal(flatten(NESTED, value), [0, 1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5])


def test_equal_spaces_hash_equal():
    assert Dict.of(a=Discrete(2), b=Box(0, 1)) == Dict.of(b=Box(0, 1), a=Discrete(2))
    assert hash(Dict.of(a=Discrete(2), b=Box(0, 1))) == hash(Dict.of(b=Box(0, 1), a=Discrete(2)))
    assert Box(0.0, 1.0, (2,)) != Box(0.0, 1.0, (3,))


def test_bounded():
    assert Box(0.0, 1.0, (2,)).bounded
    assert not HALF_BOUNDED.bounded


@pytest.mark.parametrize(
    "build",
    [
        lambda: Discrete(0),
        lambda: Box(1.0, 0.0),
        lambda: Box((0.0, 0.0), 1.0, (3,)),
        lambda: MultiDiscrete(()),
        lambda: MultiDiscrete((2, 0)),
        lambda: MultiDiscrete((2.5,)),  # type: ignore[arg-type]
        lambda: Tuple.of(),
        lambda: Dict.of(inner={"flag": Discrete(2)}),
        lambda: Tuple.of(Discrete(2), 3),
    ],
)
def test_impossible_spaces(build):
    with pytest.raises(SpaceError):
        build()


def test_counts_from_an_array_are_hashable():
    assert MultiDiscrete(np.array([2, 1, 5])) == LEVERS  # type: ignore[arg-type]
    assert hash(MultiDiscrete([2, 1, 5])) == hash(LEVERS)  # type: ignore[arg-type]


def test_features_of_several_choices():
    np.testing.assert_array_equal(flatten(LEVERS, jnp.array([1, 0, 3])), [0, 1, 1, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(LEVERS.rows(jnp.arange(8), -1), [[0, 1, -1, -1, -1], [2, -1, -1, -1, -1], [3, 4, 5, 6, 7]])


def test_parts_in_the_order_of_features():
    assert parts(ACTION) == [LEVERS, Discrete(3), Box(-4.0, 4.0, (2,))]
    value = {"pair": (jnp.int32(2), jnp.array([3.0, -1.0])), "levers": jnp.array([1, 0, 3])}
    pieces = split_features(ACTION, flatten(ACTION, value))
    expected = map_parts(flatten, ACTION, value)
    assert jax.tree.structure(pieces) == jax.tree.structure(expected) == jax.tree.structure(value)
    jax.tree.map(np.testing.assert_array_equal, pieces, expected)
    cut = split_features(ACTION, jnp.arange(9), [2, 3, 4])
    np.testing.assert_array_equal(cut["pair"][1], [5, 6, 7, 8])
    raw = {"pair": (jnp.int32(2), jnp.array([0.5, -9.0])), "levers": jnp.array([1, 0, 3])}
    action = from_unit(ACTION, raw)
    assert ACTION.contains(action)
    np.testing.assert_allclose(action["pair"][1], [2.0, -4.0])


@pytest.mark.parametrize(
    "space",
    [
        Box((0.0, -4.0), (1.0, 4.0), (2,)),
        Box(-np.inf, np.inf, (2, 1)),
        Box(-3.4e38, 3.4e38, (2,)),
        Box(1.0, 1.0, (2,)),
        Box(-2, 5, (3,), jnp.int32),
        Discrete(4),
        MultiDiscrete((2, 3)),
        ACTION,
    ],
)
def test_actions_come_back_from_units(space):
    key = jax.random.key(0)
    action = jax.vmap(space.sample)(jax.random.split(key, 20))
    raw = to_unit(space, action)
    again = from_unit(space, raw)

    def alike(found, given):
        np.testing.assert_allclose(found, given, rtol=0, atol=1e-5 * np.abs(given).max())

    jax.tree.map(alike, again, action)
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, action)
    if isinstance(space, Box) and space.bounded:
        assert raw.shape == (20, flat_size(space))
        assert np.abs(raw).max() <= 1.0 + 1e-6
    np.testing.assert_allclose(to_unit(Box(0.0, 8.0), jnp.float32([0.0, 2.0, 8.0])), [[-1.0], [-0.5], [1.0]])


def test_policies_draw_in_units_of_the_box():
    box = Box((0.0, -4.0), (1.0, 4.0), (2,))
    drawn = jnp.array([[0.0, 0.0], [-1.0, 1.0], [9.0, -9.0], [0.5, 0.25]])
    np.testing.assert_allclose(from_unit(box, drawn), [[0.5, 0.0], [0.0, 4.0], [1.0, -4.0], [0.75, 1.0]])
    np.testing.assert_array_equal(from_unit(Box(-np.inf, np.inf, (2, 1)), drawn)[..., 0], drawn)
    np.testing.assert_array_equal(from_unit(Discrete(3), jnp.array([2, 0])), [2, 0])


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(-2, 2, jnp.int32), (0, 255, jnp.uint8), (-128, 127, jnp.int8), (-1.5, 1.5, jnp.int16), (7, 7, jnp.int32)],
)
def test_boxes_of_integers_are_uniform_over_all_of_them(low, high, dtype):
    """Both ends included: truncation left them out."""
    space = Box(low, high, (100,), dtype)
    found = np.asarray(jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), 200)))
    assert found.dtype == np.dtype(dtype)
    assert space.contains(found)
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(np.ceil(low), np.floor(high) + 1))
    expected = found.size / len(values)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < len(values) + 5 * np.sqrt(2 * len(values))


def test_the_whole_range_of_a_type_and_none_of_it():
    whole = Box(-(2**31), 2**31 - 1, (2000,), jnp.int32)
    found = np.asarray(whole.sample(jax.random.key(0)), np.float64)
    assert found.min() < -2e9
    assert found.max() > 2e9
    assert abs(found.mean()) < 1e8
    half = Box(-3, float("inf"), (2,), jnp.int32)
    assert half.contains(jax.vmap(half.sample)(jax.random.split(jax.random.key(0), 50)))
    with pytest.raises(SpaceError, match="an integer between low and high"):
        Box(0.2, 0.8, (), jnp.int32)
    with pytest.raises(SpaceError, match="dtype must be a floating or an integer type"):
        Box(0, 1, (), bool)


def test_bounds_further_apart_than_float32_reaches():
    """Gymnasium's unbounded floats come as +-3.4e38: their distance is infinite."""
    space = Box(-3.4e38, 3.4e38, (500,))
    found = np.asarray(space.sample(jax.random.key(0)))
    assert space.contains(found)
    assert (found > 0).mean() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(
        from_unit(Box(-3.4e38, 3.4e38, (3,)), jnp.array([-1.0, 0.0, 1.0])), [-3.4e38, 0, 3.4e38], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("space", "raw", "expected"),
    [
        (Box(-2, 2, (6,), jnp.int32), [-9.0, -0.61, -0.59, 0.0, 0.59, 1.0], [-2, -2, -1, 0, 1, 2]),
        (Box(0, 255, (4,), jnp.uint8), [-1.0, 1.0, 0.999, 0.0], [0, 255, 255, 128]),
        (Box(-np.inf, np.inf, (3,), jnp.int32), [4.977, -0.2, 1e30], [5, 0, 2**31 - 1]),
    ],
    ids=str,
)
def test_policies_act_in_integers_where_the_space_has_integers(space, raw, expected):
    """A bounded Box gives every integer an equal part of [-1, 1]; 4.977 never reaches the environment."""
    found = from_unit(space, jnp.array(raw))
    np.testing.assert_array_equal(found, expected)
    assert space.contains(found)
    assert not space.contains(np.full(space.shape, 0.5))


def test_what_comes_from_gymnasium_is_not_truncated_to_an_integer():
    space = Box(-3, 3, (2,), jnp.int32)
    np.testing.assert_array_equal(to_action("step", space, np.array([3.0, -1.0])), [3, -1])
    for wrong in ([2.5, 0.0], [4, 0], [np.nan, 0.0]):
        with pytest.raises(SpaceError, match="step: an action must lie in Box"):
            to_action("step", space, np.array(wrong))


@pytest.mark.parametrize("last", [2**26 - 1, 2**30 - 1, 2**31 - 1])
def test_the_last_integer_of_a_box_is_not_rounded_out_of_it(last):
    box = Box(0, last, (1,), jnp.int32)
    assert bool(box.contains(from_unit(box, jnp.array([1.0]))))
