"""Every algorithm of the library keeps the protocol."""

import jax
import pytest

import jaxrl
from tests.marks import every, rest_is_slow
from tests.small_algorithms import CASES

COMPILED = ("q_learning", "iql", "reward_fitting", "cfr")  # quickly enough for every test run


def check(name, **options):
    make, task, config = CASES[name]
    # Uncompiled updates are compared in the tests of jax's own switches, for all algorithms at once.
    return jaxrl.check_algorithm(make, task(), config(), jax.random.key(0), rebuilt=(task(), config()), eager=False, **options)


@pytest.mark.parametrize("name", every(CASES))
def test_algorithm_keeps_the_protocol_as_far_as_it_shows_while_traced(name):
    assert "dtypes are explicit" in check(name, trained=False).passed


@pytest.mark.parametrize("name", rest_is_slow(CASES, COMPILED))
def test_algorithm_keeps_the_protocol(name):
    assert "batched equals single" in check(name).passed
