"""Options that cannot be: one sentence, no traceback, no folder, before anything is imported or computed for them."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from jaxrl.cli import door
from jaxrl.cli import main as command_line
from jaxrl.cli.execute import Running
from jaxrl.cli.main import main
from jaxrl.core import machine
from jaxrl.errors import ConfigError, JaxrlError
from jaxrl.experiment.experiment import load, names
from jaxrl.training.runner import run
from tests import marks
from tests.outcomes import TINY

BAD = [
    *(("--seeds", value) for value in ("0", "-1", "99999999999", "1.5e0", "inf", "nan")),
    *(("--root", value) for value in ("-1", "4294967296", "0.5")),
    *(("--env-steps", value) for value in ("0", "-5", "1e-3")),
    ("--batch-seeds", "0"),
    ("--keep-checkpoints", "0"),
    *(("--checkpoint-seconds", value) for value in ("-1", "nan", "soon")),
    ("--num-envs", "0"),
    ("--hidden", "0"),
    ("--runs", "s3://bucket/runs"),
    ("--runs", "file:///runs"),
]
# One of each kind of configuration: flat, with parts, with parts that have the same fields, with sizes, with paths.
EXPERIMENTS = (
    "cartpole_ppo",
    "core_dp",
    "core_iql",
    "core_minimax_q",
    "frozen_lake_q_learning",
    "own_answers",
    "rlhf_grid",
    "walk_forward_trading",
)
OF_EVERY_RUN = ("--root", "--batch-seeds", "--keep-checkpoints", "--checkpoint-seconds", "--runs")


def options_of(config, prefix=""):
    """Returns the options of a configuration: those of a part whose fields have the names of another's begin with its name."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not callable(value):
            yield from options_of(value, f"{field.name}." if command_line._repeated_fields(config) else prefix)
        else:
            yield f"{prefix}{field.name}".replace("_", "-")


@pytest.fixture(params=marks.rest_is_slow(names(), EXPERIMENTS))
def experiment(request):
    try:
        return load(request.param)
    except JaxrlError as error:
        pytest.skip(str(error))


def refused(arguments, capsys):
    """Returns the one sentence with which a command is refused."""
    assert main(arguments) == 2, arguments
    printed = capsys.readouterr()
    assert not printed.out, arguments
    assert "Traceback" not in printed.err
    (line,) = printed.err.splitlines()
    assert re.match(r"error: .+: .+[.]", line), line
    return line


def test_bad_values_of_every_experiment(experiment, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = list(options_of(experiment.quick))
    for option, value in BAD:
        named = [f"--{name}" for name in known if f"--{name.rpartition('.')[2]}" == option]
        for each in named or [option] * (option in OF_EVERY_RUN):
            runs = [] if option == "--runs" else ["--runs", str(tmp_path)]
            line = refused(["run", experiment.name, "--quick", each, value, *runs], capsys)
            assert option.removeprefix("--").replace("-", "_") in line.replace("-", "_"), line
    assert not list(tmp_path.iterdir()), "a run that was refused leaves no folder"


def test_there_is_one_at_least_of_whatever_an_experiment_counts(experiment, tmp_path, capsys, monkeypatch):
    """A number of evaluations, or of graphs, that is 0 would end in a division or in an empty table."""
    monkeypatch.chdir(tmp_path)
    published = {field.name: getattr(experiment.config(), field.name) for field in dataclasses.fields(experiment.config)}
    for name, value in published.items():
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            option = f"--{name.replace('_', '-')}"
            line = refused(["run", experiment.name, "--quick", option, "0", "--runs", str(tmp_path)], capsys)
            assert f"{name} must be an integer of at least 1, got 0" in line
    assert not list(tmp_path.iterdir())


def test_help_of_every_experiment(experiment, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["run", experiment.name, "--help"])
    assert leave.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in ("runs", "root", "checkpoint-seconds", *options_of(experiment.quick)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "cartpole_ppo", "--root", "4294967295", "--roots", "2"], "--root must be an integer in [0, 2**32)"),
        (["reproduce", "cartpole_ppo", "--checkpoint-seconds", "nan"], "--checkpoint-seconds must be a number"),
        (["plan", "cartpole_ppo", "--batch-seeds", "-3"], "--batch-seeds must be an integer of at least 1"),
        (["verify", "cartpole_ppo", "--seeds", "99999999999"], "seeds must be at most 4294967296"),
        (["resume", "cartpole_ppo", "--runs", "gs://bucket"], "got 'gs://bucket'"),
        (["compare", "cartpole_ppo", "--output", "https://x.org/y"], "--output must be a folder that this machine sees"),
        (["report", "s3://bucket/run"], "no experiment or run is named"),
        (["run", "cartpole_ppo", "--runs", "~nobody_of_this_name/x"], "Write the folder out"),
        (["run", "cartpole_ppo", "--wandb", "maybe"], "invalid choice 'maybe' for argument '--wandb'"),
        (["run", "cartpole_ppo", "--nonsense"], "Unrecognized options: --nonsense"),
        (["sweep", "cartpole_ppo", "--quick", "--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["run", "cartpole_ppo", "--quick", "--hidden", "64", "-1"], "hidden must be sizes of layers"),
    ],
    ids=str,
)
def test_bad_values_of_other_commands(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--learning-rat", "3"], "Unrecognized options: --learning-rat, 3. Did you mean --learning-rate FLOAT? Options: "),
        (["--num-step", "3"], "Unrecognized options: --num-step, 3. Did you mean --num-steps INT? Options: "),
        (
            ["--env-step", "5", "--gama", "3"],
            "3. Did you mean --env-steps INT for --env-step or --gamma FLOAT for --gama? Options: ",
        ),
        (["--nonsense"], "Unrecognized options: --nonsense. Options: "),
        (["--seeds", "x"], "Error parsing --seeds: invalid literal for int() with base 10: 'x'. Options: "),
    ],
    ids=str,
)
def test_options_that_are_near_are_told_in_sentences(options, sentence, capsys):
    assert f"{sentence}jaxrl run cartpole_ppo --help." in refused(["run", "cartpole_ppo", "--quick", *options], capsys)


def test_an_algorithm_on_an_environment_is_refused_by_the_words_that_were_typed(capsys):
    assert "jaxrl train dqn catch --help." in refused(["train", "dqn", "catch", "--learning-rat", "3"], capsys)


def test_a_file_whose_name_is_mistyped_is_offered(tmp_path, capsys):
    (tmp_path / "my_experiment.py").write_text("")
    line = refused(["run", str(tmp_path / "my_experimnet.py")], capsys)
    assert f"Did you mean {tmp_path / 'my_experiment.py'}?" in line
    assert "Give the path of a Python file" in refused(["run", str(tmp_path / "nothing" / "alike.py")], capsys)


def test_a_field_named_as_an_option_is_refused(tmp_path, capsys):
    text = Path(TINY).read_text().replace("num_updates: int = 5", "num_updates: int = 5\n    quick: int = 1")
    (tmp_path / "mine.py").write_text(text)
    line = refused(["plan", str(tmp_path / "mine.py")], capsys)
    assert "must not be named as options of the command, got ['quick']. Rename quick to own_quick." in line


def test_quick_is_an_option_among_the_others(capsys):
    with pytest.raises(SystemExit):
        main(["run", "cartpole_ppo", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--quick\b.*Start from tiny budgets", said)


def test_seeds_that_do_not_fit_are_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(machine, "free_memory", lambda: 1e9)
    line = refused(["run", "bt_rm", "--seeds", "100000000", "--runs", str(tmp_path)], capsys)
    assert "must fit into the memory of this machine (0.8 GB free)" in line


def test_what_has_no_room_after_all_is_said(monkeypatch, capsys, tmp_path):
    def arms(config):
        np.empty(2**62, np.int8)

    monkeypatch.setattr(command_line, "load", lambda name: dataclasses.replace(load(name), arms=arms))
    assert "must fit into the memory of this machine" in refused(["run", "cartpole_ppo", "--runs", str(tmp_path)], capsys)


def test_folders_are_expanded_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert door.checked("run", Running(runs=Path("~/x"))).runs == tmp_path / "x"
    assert door.checked("run", Running(runs=Path("a:b/~/c"))).runs == Path("a:b/~/c")


def test_a_home_folder_is_found_by_its_short_name(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["run", "frozen_lake_q_learning", "--quick", "--seeds", "2", "--runs", "~/mine"]) == 0
    (folder,) = (tmp_path / "mine" / "frozen_lake_q_learning").iterdir()
    assert main(["report", f"~/mine/frozen_lake_q_learning/{folder.name}"]) == 0


@pytest.mark.parametrize("root", [-1, 2**32, 1.0, True])
def test_a_root_that_equals_another_is_refused(root):
    with pytest.raises(ConfigError, match=r"root must be an integer in \[0, 2\*\*32\)"):
        run(None, None, None, num_updates=1, root=root)


@pytest.mark.parametrize(("text", "steps"), [("1e5", 100_000), ("2.5e3", 2500), ("1_000", 1000), ("300", 300)])
def test_a_whole_number_may_be_written_as_a_float(text, steps):
    @dataclasses.dataclass(frozen=True)
    class Options:
        env_steps: int = 1
        updates: int | None = None

    assert door.read(Options, ["--env-steps", text, "--updates", text], "it") == Options(steps, steps)
