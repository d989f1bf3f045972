"""CliffWalking: walk from S to G along a cliff. Every step costs 1; stepping off the cliff costs 100 and leads back to S.

Only the goal ends the episode. The optimal return is -13, along the edge.

Source: Sutton and Barto (2018), Example 6.6, with the transitions of Gymnasium's CliffWalking-v1 (slip 0, or 2/3 for its
slippery version). Gymnasium orders the actions up, right, down, left: ours 0, 1, 2, 3 are its 3, 2, 1, 0.
"""

import numpy as np

from envs.gridworlds import grid
from jaxrl.env import Environment
from jaxrl.errors import require
from jaxrl.finite import finite
from jaxrl.spaces import Discrete

MAP = ("............", "............", "............", "SCCCCCCCCCCG")


def make(slip: float = 0.0, max_steps: int = 200) -> Environment:
    """Builds CliffWalking. Actions: left, down, right, up. Observation: 12 * row + column, 48 numbers.

    Args:
        slip: probability in [0, 1] of moving perpendicularly instead; Gymnasium's slippery version has 2/3.
        max_steps: the time limit (Gymnasium has none).

    Raises:
        ConfigError: slip is no probability, or max_steps is not positive.
    """
    require(max_steps >= 1, "cliff_walking", "max_steps must be at least 1", max_steps, "200 is the default.")
    cells = grid.parse("cliff_walking", MAP, known="S.CG")
    cliff, start = cells.cells("C"), cells.cells("S")
    falls = cliff[cells.neighbour]
    neighbour = np.where(falls, np.argmax(start), cells.neighbour)
    params = grid.walk("cliff_walking", neighbour, np.where(falls, -100.0, -1.0), cells.cells("G"), start, slip)
    return finite(params, grid.turning, grid.initial, Discrete(len(cliff)), Discrete(4), max_steps)
