"""Frozen lakes whose optimum at the start is known."""

import envs
from jaxrl.core.finite import tabulate

LAKE = {"4x4": tabulate(envs.make("frozen_lake")), "8x8": tabulate(envs.make("frozen_lake_8x8"))}
EXACT = [
    ("4x4", 0.9, 0.068891),
    ("4x4", 0.95, 0.180472),
    ("4x4", 0.99, 0.542026),
    ("4x4", 0.999, 0.785533),
    ("4x4", 1.0, 14 / 17),
    ("8x8", 0.99, 0.414640),
    ("8x8", 0.999, 0.892635),
    ("8x8", 1.0, 1.0),
]
