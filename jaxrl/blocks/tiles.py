"""Tile features: a state belongs to one tile of each of several tilings, shifted against each other.

Source: Sutton and Barto (2018), section 9.5.4.
"""

import numpy as np

from jaxrl.errors import require_count


def line_tiles(num_states: int, width: int) -> np.ndarray:
    """Returns features of states on a line: ``width`` tilings of tiles ``width`` states wide, each one state further.

    Two states less than ``width`` apart share as many tiles as they are nearer than that, so that what is learned of one counts
    for the other in proportion. Of width 1 the features are a table.

    Args:
        num_states: X, at least 1.
        width: states of a tile, at least 1.

    Returns:
        float32[X, F], each row of norm 1, with F = X + width - 1 tiles in all; none of them is without a state.

    Raises:
        ConfigError: a number is no integer of at least 1.
    """
    require_count("line_tiles", "num_states", num_states)
    require_count("line_tiles", "width", width)
    # The tiles of all tilings, in order of their first state, begin at 1 - width, ..., X - 1.
    distance = np.arange(num_states)[:, None] - np.arange(1 - width, num_states)
    return (((distance >= 0) & (distance < width)) / np.sqrt(width)).astype(np.float32)
