"""Action masks: what they allow, counted by hand and by enumeration, and what is drawn under them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrl.core import masks
from jaxrl.core.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

LEVERS = MultiDiscrete((2, 3))
SPACE = Dict.of(direction=Discrete(3), levers=LEVERS, amount=Box(0.0, 1.0, (2,)))
DISCRETE = Tuple.of(Discrete(3), LEVERS)
ROWS = jnp.array([[1, 0, 1, 1, 1], [0, 1, 0, 1, 0], [1, 1, 0, 0, 0]], bool)  # the last has no legal second lever
DIRECTION = jnp.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]], bool)


def test_structure_has_an_entry_for_every_integer():
    found = masks.structure(SPACE, 4)
    assert found["amount"] is None
    assert (found["direction"].shape, found["levers"].shape) == ((4, 3), (4, 5))
    assert masks.can_be_masked(SPACE)
    assert not masks.can_be_masked(Tuple.of(Box(0, 1), Box(0, 1)))


def test_some_legal_needs_an_integer_for_every_choice():
    np.testing.assert_array_equal(masks.some_legal(LEVERS, ROWS), [True, True, False])
    mask = {"amount": None, "direction": DIRECTION & jnp.array([[False], [True], [True]]), "levers": ROWS}
    np.testing.assert_array_equal(masks.some_legal(SPACE, mask), [False, True, False])


def test_an_agent_with_one_action_is_inactive():
    mask = jnp.array([[True, True, False], [False, True, False], [True, True, True]])
    np.testing.assert_array_equal(masks.active(Discrete(3), mask), [True, False, True])
    assert masks.active(Discrete(3), None) is None


def test_one_choice_in_any_part_makes_an_agent_active():
    mask = jnp.array([[0, 1, 0, 1, 0], [1, 1, 0, 1, 0], [0, 1, 1, 1, 0]], bool)
    np.testing.assert_array_equal(masks.active(LEVERS, mask), [False, True, True])
    one = jnp.array([[0, 0, 1], [0, 0, 1], [0, 0, 1]], bool)
    np.testing.assert_array_equal(masks.active(DISCRETE, (one, mask)), [False, True, True])
    np.testing.assert_array_equal(masks.active(DISCRETE, (DIRECTION, mask)), [True, True, True])
    assert masks.active(DISCRETE, (one, None)) is None  # levers without a mask can always be chosen
    assert masks.active(SPACE, {"amount": None, "direction": one, "levers": mask}) is None  # so can amounts
    np.testing.assert_array_equal(masks.active(Tuple.of(Discrete(1), LEVERS), (None, mask)), [False, True, True])


def test_legal_actions_are_those_of_every_part():
    mask = DIRECTION[0], ROWS[0]
    for direction, first, second in itertools.product(range(3), range(2), range(3)):
        found = masks.is_legal(DISCRETE, mask, (np.int32(direction), np.array([first, second])))
        assert bool(found) == (direction != 1 and first == 0)
    assert masks.is_legal(DISCRETE, (DIRECTION[0], None), (np.int32(0), np.array([1, 2])))


def test_both_masks():
    one, other = {"a": DIRECTION, "b": None, "c": None}, {"a": ~DIRECTION, "b": ROWS, "c": None}
    found = masks.both(one, other)
    assert not found["a"].any()
    np.testing.assert_array_equal(found["b"], ROWS)
    assert found["c"] is None


@pytest.mark.parametrize("masked", [True, False])
def test_draws_are_uniform_over_the_legal_actions(masked):
    count = 2000
    mask = {"amount": None, "direction": jnp.stack([DIRECTION[0]] * count), "levers": jnp.stack([ROWS[0]] * count)}
    drawn = jax.jit(lambda key: masks.sample(key, SPACE, mask if masked else None, (count,)))(jax.random.key(0))
    assert SPACE.contains(drawn)
    assert not masked or masks.is_legal(SPACE, mask, drawn).all()
    codes = np.ravel_multi_index((drawn["direction"], *drawn["levers"].T), (3, 2, 3))
    found = np.bincount(codes, minlength=18)
    possible = found[found > 0]
    assert len(possible) == (6 if masked else 18)
    assert stats.chisquare(possible).pvalue > 1e-3
    assert 0.4 < drawn["amount"].mean() < 0.6
