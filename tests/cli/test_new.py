"""``new``: each start is made, tested and run: in a folder of its own, and from an installed wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxrl.cli.main import main
from jaxrl.experiment import load

ROOT = Path(__file__).parents[2]


def test_a_start_is_an_experiment(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "experiment", "my-idea"]) == 0
    assert capsys.readouterr().out.split() == ["my_idea.py", "test_my_idea.py"]
    experiment = load("my_idea.py")
    assert experiment.title.startswith("My idea")
    assert len(experiment.claims) == 2
    assert main(["run", "my_idea.py", "--quick"]) == 0
    assert list((tmp_path / "runs" / "my_idea").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "experiment", "my idea"], "a name must be an identifier in lower case, got 'my idea'. Try my_idea"),
        (["new", "experiment", "Mine"], "must be an identifier in lower case"),
        (["new", "experiment", "taken"], "the files must not be there yet, got ['test_taken.py']"),
    ],
)
def test_starts_that_are_refused(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_taken.py").write_text("")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["test_taken.py"]


def installed(folder: Path) -> dict[str, str]:
    """Installs a wheel of this library into a folder and returns the environment of a shell that finds it there."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = folder / "source"  # building leaves files beside the sources
    for part in ("jaxrl", "envs", "experiments"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, source)
    wheel = [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    subprocess.run(wheel, check=True, capture_output=True, cwd=folder)
    (built,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(built)], check=True)
    path = os.pathsep.join([str(folder / "site" / "bin"), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": str(folder / "site"), "PATH": path}


@pytest.mark.each
def test_a_project_from_an_installed_wheel(tmp_path):
    """In a folder with folders envs and experiments of its own: tests, train, run, resume, sweep."""
    env = installed(tmp_path)
    project = tmp_path / "my_idea"

    def command(*arguments, cwd=project, status=0):
        done = subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    command("jaxrl", "new", "project", "my-idea", cwd=tmp_path)
    for folder in ("envs", "experiments"):
        (project / folder).mkdir()
        (project / folder / "__init__.py").write_text("")
    found = command(sys.executable, "-c", "import os, sys; sys.path.remove(''); import jaxrl; print(jaxrl.__file__)")
    assert Path(found.strip()).is_relative_to(tmp_path / "site")
    assert "cartpole_ppo" in command("jaxrl", "list")
    steps = ["--seeds", "2", "--env-steps", "400"]
    command("jaxrl", "train", "algorithm.py", "environment.py", *steps, "--env.chance", "0.3")
    command("jaxrl", "run", "experiment.py", *steps)
    assert "experiment" in command("jaxrl", "resume", "experiment")
    members = "4 members in 1 program"
    grid = ["--grid", "epsilon=0.1,0.3", "--grid", "env.chance=0.4,0.6"]
    assert members in command("jaxrl", "sweep", "algorithm.py:environment.py", *steps, *grid)
    read = "import sys; sys.path.remove(''); import jaxrl; print(jaxrl.load('experiment').arm(epsilon=0.3).returns(0, 4).shape)"
    assert command(sys.executable, "-c", read).strip() == "(4,)"
    command(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_environment.py")
    problem = subprocess.run([sys.executable, "-m", "jaxrl", "envs"], cwd=project, env=env, capture_output=True, text=True)
    assert problem.returncode == 2
    assert "the package envs must be the one of jaxrl" in problem.stderr
