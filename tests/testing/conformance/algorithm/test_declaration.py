"""check_algorithm on what an algorithm declares: a broken one for each check."""

import dataclasses
import functools

import jax.numpy as jnp
import pytest
from flax import struct

from jaxrl.algorithms.deep import ppo
from jaxrl.core.environment import static
from tests.testing.conformance.algorithm.subject import (
    CELLS,
    Config,
    Declaring,
    broken,
    make,
    require_caught,
    reset,
)


@struct.dataclass
class Whole:
    rate: float = 0.5
    size: int = 3


@struct.dataclass
class Named:
    rate: str = "fast"
    size: int = static(default=3)


@dataclasses.dataclass
class NoTree:
    rate: float = 0.5
    size: int = 3


@struct.dataclass
class StaticRate:
    rate: float = static(default=0.5)
    size: int = static(default=3)


@struct.dataclass
class DeclaringHalves(Config):
    @property
    def steps_per_update(self):
        return self.size / 2


@struct.dataclass
class DeclaringBefore(Config):
    steps_before_first_update: int = static(default=-8)


@struct.dataclass
class OfPandas(Config):
    def validate(self, task):
        task.to_csv()


@struct.dataclass
class OfOneSeed(Config):
    def validate(self, task):
        if self.rate < 0:
            raise ValueError


BROKEN = [
    broken(
        "arguments", r"make must be a function.*got <module 'jaxrl.algorithms.deep.ppo'.*Give jaxrl.algorithms.deep.ppo.make", ppo
    ),
    broken("arguments", r"task must be an Environment, a data set or a game, got 'cells'. Build", task="cells"),
    broken("arguments", r"task must be a number or an array, got <function reset", task=reset),
    broken("make equal when rebuilt", r"make must be a function at module level", lambda *given: make(*given)),
    broken("make equal when rebuilt", r"make must be a function at module level", functools.partial(make)),
    broken(
        "config is a struct", r"config must be an instance of a flax.struct.dataclass, got <class 'dict'>", config={"rate": 1.0}
    ),
    broken("config is a struct", r"config must be an instance.*got <class '.*NoTree'>", config=NoTree()),
    broken("traced fields are scalars", r"config.size must be a float, or static, got 3. Declare", config=Whole()),
    broken("traced fields are scalars", r"config.rate must be a float, or static, got 'fast'", config=Named()),
    broken("traced fields are scalars", r"config.rate must be a scalar, got 'float32\[2\]'", config=Config(jnp.ones(2))),
    broken("static fields are hashable", r"config.size must be hashable.*got \[3\]", config=Config(size=[3])),  # pyright: ignore
    broken("static fields are hashable", r"config.rate must be traced.*got 0.5", config=StaticRate()),
    broken("static fields are hashable", r"config.size must be a function at module level", config=Config(size=lambda: 3)),  # pyright: ignore
    broken("rebuilt compiles once", r"task and config made again.*another structure of config", rebuilt=(CELLS, Config(size=4))),
    broken("validate", r"config.validate\(task\) must accept the task, got AttributeError", config=OfPandas()),
    broken("validate", r"must accept fields that hold an entry for each seed", config=OfOneSeed()),
    broken("declared steps", r"steps_per_update must be an integer of at least 1, got 0", config=Declaring(steps_per_update=0)),
    broken("declared steps", r"steps_per_update must be an integer.*got 1.5", config=DeclaringHalves()),
    broken("declared steps", r"steps_before_first_update must be an integer.*0, got -8", config=DeclaringBefore()),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.check)
def test_broken_algorithm_is_caught(broken):
    require_caught(broken)
