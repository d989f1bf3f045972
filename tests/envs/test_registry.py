"""The registry: every environment keeps the protocol, and wrong names are explained."""

import subprocess
import sys

import jax
import pytest

import envs
from jaxrl.core.finite import from_table, tabulate
from jaxrl.errors import UnknownNameError
from jaxrl.testing.conformance import check_environment
from tests.marks import every

LARGE = ("gathering", "traffic_junction")  # finite, but with too many states to walk; their tests walk small ones


@pytest.mark.parametrize("name", every(envs.REGISTRY))
def test_environment_keeps_the_protocol(name):
    with jax.debug_nans(True):  # no environment has a NaN, not even on the way
        check_environment(envs.make(name), jax.random.key(0), rebuilt=envs.make(name), tabulated=name not in LARGE)


@pytest.mark.parametrize("name", ["prisoners_dilemma", "t_maze"])
def test_table_keeps_the_protocol(name):
    model = tabulate(envs.make(name))
    check_environment(from_table(model, max_steps=20), jax.random.key(0), rebuilt=from_table(model, max_steps=20))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("corridor", dict(slip=0.3)),
        ("cliff_walking", dict(slip=0.5)),
        ("four_rooms", dict(goal=(6, 2), start=(2, 2), slip=1 / 3)),
        ("t_maze", dict(length=4, max_steps=100)),
        ("lqr", dict(start=3.0)),
    ],
)
def test_other_numbers_find_the_compiled_program(name, parameters):
    check_environment(envs.make(name), jax.random.key(1), rebuilt=envs.make(name, **parameters))


def test_unknown_environment():
    with pytest.raises(UnknownNameError, match=r"'frozen_lake'.*Known: .*cartpole, catch"):
        envs.make("frozen_lak")


def test_unknown_parameter():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'slip'.*Known: map, max_steps, slip"):
        envs.make("frozen_lake", slipp=0.1)


def test_parameters_reach_the_factory():
    assert envs.make("corridor", length=5).observation_space.n == 5
    assert envs.make("frozen_lake_8x8", slip=0.0).observation_space.n == 64


def test_import_leaves_the_backend_unstarted():
    """The number of CPU devices can only be set before jax's backend starts, so importing must not start it."""
    script = "import envs, jax; jax.config.update('jax_num_cpu_devices', 3); assert len(jax.devices('cpu')) == 3"
    subprocess.run([sys.executable, "-c", script], check=True)
