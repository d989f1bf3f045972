"""The registry: every environment keeps the protocol, and wrong names are explained."""

import functools
import subprocess
import sys
import types
from inspect import signature

import jax
import numpy as np
import pytest

import envs
from jaxrl.cli.catalogue import catalogue
from jaxrl.core.finite import from_table, tabulate
from jaxrl.errors import ConfigError, EnvError, UnknownNameError
from jaxrl.experiment import pairing
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
    with pytest.raises(
        UnknownNameError, match=r"Did you mean 'frozen_lake' or 'frozen_lake_8x8'\? All \d+ are shown by envs.names"
    ):
        envs.make("frozen_lak")


def test_a_name_that_is_no_text_is_unknown():
    for name in (None, 3, ["cartpole"]):
        with pytest.raises(UnknownNameError, match=r"no environment is named .* All \d+ are shown by .*: jaxrl envs\.$"):
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


# ---- environments of a project of its own


def short(length: int = 4):
    return envs.make("corridor", length=length)


def long(length: int = 9):
    return envs.make("corridor", length=length)


def unfinished(length):
    return envs.make("corridor", length=length)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(envs, "REGISTRY", dict(envs.REGISTRY))


def test_a_registered_environment_belongs_to_the_catalogue(registry):
    envs.register("hallway", short)
    envs.register("long_hallway", functools.partial(short, length=30))
    assert envs.make("hallway").observation_space.n == 4
    assert envs.make("hallway", length=6).observation_space.n == 6
    assert envs.make("long_hallway").observation_space.n == 30
    with pytest.raises(UnknownNameError, match="Did you mean 'length'"):
        envs.make("hallway", lenght=6)
    with pytest.raises(ConfigError, match="length must be an integer"):
        envs.make("hallway", length=2.5)
    assert {"hallway", "long_hallway", "cartpole"} <= set(envs.names())
    for name in set(envs.REGISTRY) - {"hallway", "cartpole", "corridor"}:
        del envs.REGISTRY[name]
    found = {entry.name: entry for entry in catalogue()}
    assert found["hallway"].family == __name__.partition(".")[0]
    assert found["cartpole"].family == "control"
    check_environment(envs.make("hallway"), jax.random.key(0), rebuilt=envs.make("hallway", length=4), tabulated=False)


def test_a_name_belongs_to_one_factory(registry):
    envs.register("hallway", short)
    envs.register("hallway", short)
    again = types.FunctionType(short.__code__, short.__globals__, short.__name__, short.__defaults__)
    again.__annotations__, again.__module__ = short.__annotations__, "imported_again"
    envs.register("hallway", again)
    with pytest.raises(ConfigError, match=r"a name must belong to one factory, got \"'hallway' of .*test_registry.py short\""):
        envs.register("hallway", long)
    with pytest.raises(ConfigError, match="a name must belong to one factory"):
        envs.register("cartpole", short)
    envs.register("partial", functools.partial(short, length=5))
    envs.register("partial", functools.partial(short, length=5))
    with pytest.raises(ConfigError, match="a name must belong to one factory"):
        envs.register("partial", functools.partial(short, length=6))


@pytest.mark.parametrize("name", ["", "My_hall", "my-hall", "9hall", "a:b", "a.b", 3])
def test_names_that_no_command_could_take_are_refused(registry, name):
    with pytest.raises(ConfigError, match="lower-case letters, digits and underscores"):
        envs.register(name, short)


def test_factories_that_cannot_build_an_environment_are_refused(registry):
    for factory, message in (
        (unfinished, r"got \['length'\]"),
        (short(), "a function that returns"),
        ("corridor", "a function that"),
    ):
        with pytest.raises(EnvError, match=message):
            envs.register("hallway", factory)  # pyright: ignore[reportArgumentType]


WORLDS = """
import envs

def make(length: int = 7):
    return envs.make("corridor", length=length)

envs.register("hall_of_a_file", make)
"""


def test_a_name_may_say_which_module_registers_it(registry, tmp_path, monkeypatch):
    (tmp_path / "some_worlds.py").write_text(WORLDS)
    with pytest.raises(ConfigError, match=r"some_worlds must be a module that can be imported, got ModuleNotFoundError"):
        envs.make("some_worlds:hall_of_a_file")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_worlds", raising=False)
    assert envs.make("some_worlds:hall_of_a_file").observation_space.n == 7
    assert envs.make("hall_of_a_file", length=5).observation_space.n == 5
    with pytest.raises(UnknownNameError, match="Did you mean 'hall_of_a_file'"):
        envs.make("some_worlds:hall_of_a_fil")


def test_the_command_line_knows_environments_of_files_and_modules(registry, tmp_path, monkeypatch):
    file = tmp_path / "more_worlds.py"
    file.write_text(WORLDS.replace("hall_of_a_file", "hall_of_files"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "more_worlds", raising=False)
    digests = set()
    for source in (f"{file}:hall-of-files", "more_worlds:hall_of_files", "hall_of_files"):
        found = pairing.pair(f"q_learning:{source}")
        assert found.environment == "hall_of_files"
        assert found.defaults == {"length": (int, 7)}
        assert found.make_env(length=3).observation_space.n == 3
        digests.add(found.digest)
    assert len(digests) == 1  # a run goes on only with the file that began it


@pytest.mark.parametrize(
    ("asked", "file", "message"),
    [
        ("near_worlds:hall-of-a-file", "near_worlds.py", "Write near_worlds.py:hall_of_a_file: this file lies in this folder."),
        ("sub.near_worlds:hall", "sub/near_worlds.py", "Write sub/near_worlds.py:hall: this file lies in this folder."),
        ("near_worlds", "near_worlds.py", "Write near_worlds.py: this file lies in this folder. All "),
        ("near_worlds:hall", "other.py", "Install its project, set PYTHONPATH, or write FILE.py:NAME."),
    ],
)
def test_a_file_is_offered_for_a_module_that_is_not_found(asked, file, message, registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".", str(tmp_path))])
    (tmp_path / "sub").mkdir()
    (tmp_path / file).write_text(WORLDS)
    with pytest.raises((ConfigError, UnknownNameError)) as found:
        pairing.pair(f"q_learning:{asked}")
    assert message in str(found.value)


def test_a_file_that_only_registers_names_is_told_by_these(registry, tmp_path):
    file = tmp_path / "only_registers.py"
    file.write_text(WORLDS.replace("def make", "def build").replace(", make", ", build").replace("hall_of_a_file", "its_hall"))
    with pytest.raises(ConfigError, match=r"got \['its_hall'\]\. Write .*only_registers.py:its_hall\.$"):
        pairing.pair(f"q_learning:{file}")
    with pytest.raises(ConfigError, match=r"the file must have make, got \['build'\]"):
        pairing.pair(f"{file}:cartpole")


def test_entry_points_of_installed_projects_are_imported_for_an_unknown_name(registry, tmp_path, monkeypatch):
    (tmp_path / "installed_worlds.py").write_text(WORLDS.replace("hall_of_a_file", "hall_of_a_project"))
    information = tmp_path / "installed-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[jaxrl.envs]\ninstalled = installed_worlds\n")
    monkeypatch.syspath_prepend(tmp_path)
    envs._import_entry_points.cache_clear()
    assert envs.make("hall_of_a_project").observation_space.n == 7
    envs._import_entry_points.cache_clear()


def test_import_leaves_the_backend_unstarted():
    """The number of CPU devices can only be set before jax's backend starts, so importing must not start it."""
    script = "import envs, jax; jax.config.update('jax_num_cpu_devices', 3); assert len(jax.devices('cpu')) == 3"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["alphazero", "cem_mpc", "mbpo", "muzero"])
def test_planners_and_learners_of_models_are_offered(name):
    assert pairing.algorithm_names()[name].endswith(f".{name}")
    pairing.config_class(pairing.pair(f"{name}:cartpole"))


@pytest.mark.parametrize(
    ("name", "needs"), [("cql", "a data set"), ("td3_bc", "a data set"), ("cfr", "a game"), ("intrinsic", "a learner")]
)
def test_the_way_to_what_needs_more_than_an_environment_is_shown(name, needs):
    with pytest.raises(ConfigError, match=rf"jaxrl train: .* got '{name} of .*, which needs {needs}'. .*jaxrl.run\({name}.make"):
        pairing.pair(f"{name}:cartpole")
