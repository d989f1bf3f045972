"""RewardGrid: an open grid whose cells pay different amounts, collected for ever: a world to learn rewards in.

Nothing ends an episode but the time limit, so a constant added to the reward changes no policy: what preferences between
segments of one length can tell is all that matters. A slip turns the chosen direction by 90 degrees either way.
"""

import numpy as np

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.errors import ConfigError, require


def cell_rewards(rows: int, columns: int, seed: int) -> np.ndarray:
    """Returns what entering each cell pays, row by row, float64[rows * columns]: standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(rows * columns)


def make(
    rows: int = 6,
    columns: int = 6,
    slip: float = 0.1,
    rewards: tuple[float, ...] | None = None,
    seed: int = 0,
    max_steps: int = 60,
) -> Environment:
    """Builds a RewardGrid. Actions: left, down, right, up. Observation: ``columns * row + column``. Any cell may be the first.

    Args:
        rows, columns: the size, at least 1 each and 2 cells in all.
        slip: probability in [0, 1] of moving perpendicularly instead.
        rewards: what entering each cell pays, row by row (staying at the border enters the cell again); by default
            ``cell_rewards(rows, columns, seed)``.
        seed: of the default rewards.
        max_steps: the time limit.

    Raises:
        ConfigError: a number is out of range, or the rewards do not fit the grid.
    """
    where = "reward_grid"
    size = rows * columns
    fix = "6 by 6 is the default."
    require(min(rows, columns) >= 1 and size >= 2, where, "the grid must have at least 2 cells", (rows, columns), fix)
    pays = cell_rewards(rows, columns, seed) if rewards is None else np.asarray(rewards, np.float64)
    if pays.shape != (size,) or not np.isfinite(pays).all():
        raise ConfigError(f"{where}: rewards must be {size} finite numbers, one per cell, got {rewards!r}. Count the cells.")
    cells = grid.parse(where, ("." * columns,) * rows, known=".")
    nowhere, anywhere = np.zeros(size, bool), np.ones(size, bool)
    params = grid.walk(where, cells, pays[cells.neighbour], nowhere, anywhere, slip)
    return grid.world(where, params, grid.turning, max_steps)
