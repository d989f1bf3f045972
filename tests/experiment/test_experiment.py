"""Experiments are found by name, by path and as modules, and whatever is none is refused in a sentence."""

import sys
from pathlib import Path

import pytest

from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.experiment import Claim
from jaxrl.experiment.arms import checked
from jaxrl.experiment.experiment import load, names

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "small_experiment.py"


def test_every_script_is_found_without_a_list():
    scripts = {path.stem for path in (ROOT / "experiments").glob("*/*.py")} - {"__init__"}
    assert set(names()) == scripts


@pytest.mark.parametrize("name", names())
def test_every_experiment_keeps_its_form(name):
    """Its arms can be listed, it has options for its seeds and steps, and its claims name their source and stand alone."""
    experiment = load(name)
    assert "Source:" in experiment.doc
    assert experiment.claims
    for claim in experiment.claims:
        assert isinstance(claim, Claim)
        assert claim.source
        assert not claim.text[0].islower(), f"a claim stands alone: {claim.text}"
    config = experiment.quick
    arms = checked(experiment.arms(config)) if experiment.arms else []
    assert hasattr(config, "seeds")
    assert hasattr(config, "env_steps") or all(arm.env_steps is None for arm in arms)
    assert all(arm.updates >= 1 for arm in arms)


def test_a_file_and_a_module():
    by_path, by_module = load(str(SMALL)), load("tests.small_experiment")
    assert (by_path.name, by_module.name) == ("small_experiment", "small_experiment")
    assert by_path.digest == by_module.digest
    assert by_path.title.startswith("Does optimism help")
    assert load("cartpole-ppo").name == "cartpole_ppo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise OSError('broken')", "must be importable, got OSError: broken"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("", "Config must be a frozen dataclass"),
        ("from tests.small_experiment import Config\nCLAIMS = ()", "QUICK must be a Config"),
        ("from tests.small_experiment import Config, QUICK\nCLAIMS = (1,)", "CLAIMS must be a tuple of Claims"),
        ("from tests.small_experiment import Config, QUICK, CLAIMS", "there must be a function arms or measure"),
        ("from tests.small_experiment import *\narms = 3", "arms, measure and figures must be functions"),
    ],
)
def test_files_that_are_no_experiment(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(str(path))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("Config = 3", "Config must be a dataclass"),
        ("@dataclass\nclass Config:\n    rate: float", r"every field of Config must have a default, got \['rate'\]"),
        ("", "the file must have Config"),
    ],
)
def test_files_that_are_no_algorithm(tmp_path, config, message):
    path = tmp_path / "mine.py"
    path.write_text(f"from dataclasses import dataclass\n{config}\ndef make(env, config): ...\n")
    with pytest.raises(ConfigError, match=message):
        load(f"{path}:corridor")


def test_an_environment_with_an_open_parameter_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def make(noise: float): ...\n")
    with pytest.raises(ConfigError, match=r"every parameter of the factory .* must have a default, got 'noise: float'"):
        load(f"q_learning:{path}")


def test_an_algorithm_on_an_environment():
    experiment = load("q_learning:frozen_lake")
    (arm,) = experiment.arms(experiment.quick)
    assert arm.factors == {"algorithm": "q_learning", "environment": "frozen_lake"}
    assert arm.updates == 2
    with pytest.raises(UnknownNameError, match="Did you mean 'q_learning'"):
        load("q_lerning:frozen_lake")
    with pytest.raises(UnknownNameError, match="Did you mean 'frozen_lake'"):
        load("q_learning:frozen_lak")


def test_what_is_nowhere():
    with pytest.raises(UnknownNameError, match="Did you mean 'cartpole_ppo'"):
        load("cartpole_pp")
    with pytest.raises(ConfigError, match="the file must exist"):
        load("nowhere/mine.py")
    with pytest.raises(ConfigError, match="must be a module that can be imported"):
        load("nowhere_at_all.mine")


def test_a_file_of_this_folder_is_offered_for_a_module_that_is_not_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    (tmp_path / "inside").mkdir()
    for file in ("mine_alone.py", "inside/mine_too.py"):
        (tmp_path / file).write_text(SMALL.read_text())
    offer = r"Write {}: this file lies in this folder\."
    with pytest.raises(UnknownNameError, match=r"no experiment is named 'mine_alone'\. " + offer.format("mine_alone.py")):
        load("mine_alone")
    with pytest.raises(UnknownNameError, match=r"no algorithm is named 'mine_alone'\. " + offer.format("mine_alone.py")):
        load("mine_alone:cartpole")
    with pytest.raises(ConfigError, match=r"No module named 'inside.*" + offer.format("inside/mine_too.py")):
        load("inside.mine_too")


def test_a_file_finds_the_modules_beside_it(tmp_path):
    (tmp_path / "beside_me.py").write_text("SEEDS = 3\n")
    text = (
        SMALL.read_text()
        .replace("import envs", "import beside_me\nimport envs")
        .replace("seeds: int = 4", "seeds: int = beside_me.SEEDS")
    )
    (tmp_path / "mine.py").write_text(text)
    try:
        assert load(str(tmp_path / "mine.py")).config().seeds == 3
        assert str(tmp_path) not in sys.path
    finally:
        sys.modules.pop("beside_me", None)
