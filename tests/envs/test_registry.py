"""The registry: every environment keeps the protocol, and wrong names are explained."""

import subprocess
import sys
from inspect import signature

import jax
import numpy as np
import pytest

import envs
from jaxrl.core.finite import from_table, tabulate
from jaxrl.errors import ConfigError, UnknownNameError
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


def test_a_name_that_is_no_text_is_unknown():
    for name in (None, 3, ["cartpole"]):
        with pytest.raises(UnknownNameError, match=r"no environment is named .*Known: acrobot"):
            envs.make(name)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("cartpole", dict(gravity=float("nan")), r"gravity must be a number, got nan\. The default is 9\.8"),
        ("cartpole", dict(mass_cart="heavy"), "mass_cart must be a number, got 'heavy'"),
        ("cartpole", dict(max_steps=2.5), r"max_steps must be an integer, got 2\.5\. The default is 500"),
        ("cartpole", dict(max_steps=[500]), r"max_steps must be an integer, got \[500\]"),
        ("cartpole", dict(max_steps=None), "max_steps must be an integer"),
        ("frozen_lake", dict(slip="yes"), "slip must be a number, got 'yes'"),
        ("frozen_lake", dict(max_steps="long"), "max_steps must be an integer"),
        ("four_rooms", dict(goal=(6.5, 2)), "goal must be a row of integers"),
        ("bernoulli_bandit", dict(probabilities=(0.5, np.nan)), "probabilities must be a row of numbers"),
        ("empty_room", dict(anywhere="no"), "anywhere must be True or False, got 'no'"),
        ("four_rooms", dict(goal=3), r"goal must be a row of integers, got 3\. The default is \(11, 11\)"),
        ("lqr", dict(noise=[["a"]]), "lqr: noise must be an array of real numbers"),
        ("dueling_bandit", dict(preference="a"), "dueling_bandit: preference must be an array of real numbers"),
        ("lewis", dict(probability=["a", "b"]), "lewis: probability must be an array of real numbers"),
        ("gridworld", dict(rewards={"a": "much"}), "gridworld: rewards must be an array of real numbers"),
        ("gridworld", dict(rewards={"a": np.nan}), "gridworld: rewards must be finite"),
        ("cartpole", dict(max_steps=True), "max_steps must be an integer, got True"),
    ],
)
def test_values_of_another_kind_than_declared_are_refused(name, parameters, message):
    with pytest.raises(ConfigError, match=message):
        envs.make(name, **parameters)


@pytest.mark.parametrize(
    "name", [name for name, factory in envs.REGISTRY.items() if "max_steps" in signature(factory).parameters]
)
@pytest.mark.parametrize("max_steps", [0, -1, 2.5, "3", np.nan])
def test_unsound_time_limits_are_refused(name, max_steps):
    with pytest.raises(ConfigError, match="max_steps"):
        envs.make(name, max_steps=max_steps)


def test_infinite_and_traced_numbers_reach_the_factory():
    with pytest.raises(ConfigError, match=r"^cartpole: mass_cart must be positive, got -inf"):
        envs.make("cartpole", mass_cart=-np.inf)
    assert float(envs.make("cartpole", force=np.float32(np.inf)).params.force) == np.inf
    assert envs.make("cartpole", max_steps=np.int64(7)).max_steps == 7
    assert float(jax.jit(lambda force: envs.make("cartpole", force=force).params.force)(3.0)) == 3.0


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
