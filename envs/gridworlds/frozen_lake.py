"""FrozenLake: cross a frozen lake from S to G without falling into a hole; the ice is slippery.

Moving in the chosen direction succeeds with probability 1 - slip; otherwise one of the two perpendicular directions is taken.
Reward 1 on entering G. Holes H and the goal end the episode.

Source: Gymnasium's FrozenLake-v1 (slip 2/3), maps 4x4 and 8x8.
"""

from envs.gridworlds import grid
from jaxrl.core.environment import Environment
from jaxrl.errors import require, unknown_name

MAPS = {
    "4x4": ("SFFF", "FHFH", "FFFH", "HFFG"),
    "8x8": ("SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"),
}


def make(map: str | tuple[str, ...] = "4x4", slip: float = 2 / 3, max_steps: int | None = None) -> Environment:
    """Builds FrozenLake. Actions: left, down, right, up. Observation: the cell's number, row by row.

    Args:
        map: "4x4", "8x8", or rows of letters S (start), F (frozen), H (hole), G (goal), # (wall).
        slip: probability in [0, 1] of moving perpendicularly instead; 2/3 is Gymnasium's, 0 makes it deterministic.
        max_steps: the time limit; by default 100 up to 16 cells and 200 above, as in Gymnasium.

    Raises:
        ConfigError: slip is no probability, or the map is malformed or lacks S or G.
        UnknownNameError: no map has this name.
    """
    if isinstance(map, str) and map not in MAPS:
        raise unknown_name("frozen_lake", "map", map, MAPS)
    rows = MAPS[map] if isinstance(map, str) else map
    params = grid.read("frozen_lake", rows, known="SFHG", slip=slip)
    require({"S", "G"} <= set("".join(rows)), "frozen_lake", "the map must have an S and a G", rows, "Add them.")
    if max_steps is None:
        max_steps = 100 if len("".join(rows)) <= 16 else 200
    return grid.world("frozen_lake", params, grid.turning, max_steps)
