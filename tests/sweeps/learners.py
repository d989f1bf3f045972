"""Small algorithms and configurations that sweeps are tested with; ``traces`` counts how often ``drift`` was traced."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

import envs
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.environment import static
from jaxrl.evaluation import ExactValue
from jaxrl.sweeps.members import (
    grid,
)
from jaxrl.sweeps.sweep import sweep

GRID = envs.make("cliff_walking")

Q = q_learning.Config(num_steps=20)

RATES = [0.1, 0.3, 0.5, 0.9]


class Inner(NamedTuple):
    width: int = 3
    scale: float = 2.0


@struct.dataclass
class Nested:
    """rate: of change. inside: another configuration."""

    inside: q_learning.Config = dataclasses.field(default_factory=lambda: Q)
    rate: float = 1.0
    count: int = 2
    size: int = static(default=3)
    name: str = static(default="one")
    hidden: tuple[int, ...] = static(default=(4, 4))
    shape: Inner = static(default=Inner())
    limit: float | None = None


traces = 0


def count_trace():
    global traces
    traces += 1


def drift(task, config):
    """An algorithm whose state grows by ``rate`` times noise plus ``rate`` in every update."""
    count_trace()

    def update(state, key):
        state = state + config.rate * (1.0 + jax.random.normal(key, (config.size,)))
        return state, {"value": state.sum(), "size": jnp.float32(config.size)}

    return Algorithm(lambda key: jnp.zeros(config.size), update)


EXACT = (ExactValue.of(GRID, 0.99),)

SHORT = {"seeds": 4, "num_updates": 16, "chunk_length": 2, "evaluators": EXACT}


@functools.cache
def swept(vmap_width=1):
    return sweep(q_learning.make, GRID, Q, grid({"learning_rate": RATES}), vmap_width=vmap_width, **SHORT)
