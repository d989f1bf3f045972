"""CliffWalking: walk from S to G along a cliff. Every step costs 1; stepping off the cliff costs 100 and leads back to S.

Only the goal ends the episode. The optimal return is -13, along the edge.

Source: Sutton and Barto (2018), Example 6.6, with the transitions of Gymnasium's CliffWalking-v1 (slip 0, or 2/3 for its
slippery version). Gymnasium orders the actions up, right, down, left: ours 0, 1, 2, 3 are its 3, 2, 1, 0.
"""

from envs.gridworlds import grid
from jaxrl.core.environment import Environment

MAP = ("............", "............", "............", "SCCCCCCCCCCG")


def make(slip: float = 0.0, max_steps: int = 200) -> Environment:
    """Builds CliffWalking. Actions: left, down, right, up. Observation: 12 * row + column, 48 numbers.

    Args:
        slip: probability in [0, 1] of moving perpendicularly instead; Gymnasium's slippery version has 2/3.
        max_steps: the time limit (Gymnasium has none).

    Raises:
        ConfigError: slip is no probability, or max_steps is not positive.
    """
    params = grid.read("cliff_walking", MAP, step=-1.0, goal=-1.0, cliff=-100.0, slip=slip)
    return grid.world("cliff_walking", params, grid.turning, max_steps)
