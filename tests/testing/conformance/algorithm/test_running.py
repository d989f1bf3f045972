"""check_algorithm on what a few updates compute: a broken one for each check."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.testing.conformance.algorithm.subject import (
    Evaluator,
    Updating,
    broken,
    require_caught,
    undefined,
)

calls = 0


def divided_by_nothing(state, key, config):
    return state.replace(logits=state.logits / (state.logits - state.logits))


def noise_of_the_host(state, key, config):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    noise = jax.pure_callback(
        lambda count: np.float32(np.random.default_rng().random()), shape, state.count, vmap_method="sequential"
    )
    return state.replace(logits=state.logits + noise)


@dataclasses.dataclass(frozen=True)
class LateNoise:
    """Something outside the state that changes after so many calls on the host."""

    quiet: int

    def __call__(self, state, key, config):
        def noise(count):
            global calls
            calls += 1
            return np.float32(calls > self.quiet)

        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return state.replace(logits=state.logits + jax.pure_callback(noise, shape, state.count, vmap_method="sequential"))


@jax.custom_batching.custom_vmap
def number_of_lanes(value):
    return value * 0 + 1


@number_of_lanes.def_vmap
def _(axis_size, in_batched, value):
    return value * 0 + axis_size, True


def feels_the_batch(state, key, config):
    return state.replace(logits=state.logits + number_of_lanes(state.logits))


@jax.custom_batching.custom_vmap
def mean_of_lanes(value):
    return value


@mean_of_lanes.def_vmap
def _(axis_size, in_batched, value):
    return jnp.broadcast_to(value.mean() if in_batched[0] else value, (axis_size,)), True


def shares_its_field(state, key, config):
    return state.replace(logits=state.logits + mean_of_lanes(config.rate))


def knows_how_it_is_run(state, key, config):
    return state.replace(logits=state.logits + isinstance(key, jax.core.Tracer))


BROKEN = [
    broken("values stay finite", r"got \['state.logits in update 0 of seed 0'", Updating(divided_by_nothing)),
    broken("evaluations are finite", r"may be missing, got \['loss/0', 'loss/1'", evaluators=(Evaluator(undefined),)),
    broken("same key same result", r"two runs from one key must be equal", Updating(noise_of_the_host)),
    broken("chunks change nothing", r"in one chunk and in several", Updating(LateNoise(8))),
    broken("resuming changes nothing", r"interrupted must go on as if", Updating(LateNoise(14))),
    broken("batched equals single", r"the same alone and beside others", Updating(feels_the_batch)),
    broken("sweep equals plain", r"a member of a sweep must be what it is alone", Updating(shares_its_field)),
    broken("compiled equals eager", r"compiled and uncompiled", Updating(knows_how_it_is_run)),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.check)
def test_broken_algorithm_is_caught(broken):
    global calls
    calls = 0
    require_caught(broken)
