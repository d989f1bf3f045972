"""Tiles on a line, against their definition."""

import numpy as np
import pytest

from jaxrl.blocks.tiles import line_tiles
from jaxrl.errors import ConfigError


@pytest.mark.parametrize(("num_states", "width"), [(7, 1), (7, 3), (50, 5), (2, 4)])
def test_states_share_tiles_as_they_are_near(num_states, width):
    features = line_tiles(num_states, width)
    assert features.dtype == np.float32
    assert features.shape == (num_states, num_states + width - 1)
    apart = np.abs(np.subtract.outer(np.arange(num_states), np.arange(num_states)))
    np.testing.assert_allclose(features @ features.T, np.maximum(0, 1 - apart / width), atol=1e-6)
    assert (features > 0).any(0).all()
    # A tiling is every width-th tile: it covers each state once.
    for first in range(width):
        np.testing.assert_array_equal((features[:, first::width] > 0).sum(1), 1)


def test_width_one_is_a_table():
    np.testing.assert_array_equal(line_tiles(5, 1), np.eye(5))


@pytest.mark.parametrize(("arguments", "name"), [((0, 1), "num_states"), ((3, 0), "width"), ((3, 1.5), "width")])
def test_numbers_are_counts(arguments, name):
    with pytest.raises(ConfigError, match=f"{name} must be an integer of at least 1"):
        line_tiles(*arguments)
