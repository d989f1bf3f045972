"""The command line: what it prints, what it writes, and how it fails."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jaxrl.__main__ import NO_READER
from jaxrl.cli import main as command_line
from jaxrl.cli.main import main
from jaxrl.errors import ConfigError
from jaxrl.experiment import Claim, derived, exact, final
from jaxrl.experiment.experiment import load, names
from jaxrl.results.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]
SMALL = str(ROOT / "tests" / "small_experiment.py")


def only_run(runs, name="small_experiment"):
    (folder,) = (runs / name).iterdir()
    return RunDirectory.open(folder)


def test_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names())


def test_quick_run_writes_everything(tmp_path, capsys):
    options = ["--quick", "--seeds", "3", "--epsilon", "0.4", "--runs", str(tmp_path)]
    assert main(["run", "frozen_lake_q_learning", *options]) == 0
    run = only_run(tmp_path, "frozen_lake_q_learning")
    stored = run.config()
    assert stored["config"]["seeds"] == 3
    assert stored["config"]["algorithm"]["epsilon"] == 0.4
    assert stored["experiment"]["source"] == "experiments.control.frozen_lake_q_learning"
    (arm,) = run.arms("metrics")
    assert run.curves("td_error", arm).values.shape == (3, 20)
    assert [claim["verdict"] for claim in run.claims()] == ["open"] * 4
    assert all(isinstance(claim["value"], float) for claim in run.claims()), "measured, though not decided"
    assert {"versions.json", "summary.json", "report.html"} <= set(os.listdir(run.path))
    assert len(list((run.path / "figures").glob("*.png"))) == 3
    (film,) = (run.path / "replays").glob("*.gif")
    assert film.read_bytes().startswith(b"GIF8")  # an episode, which the report shows
    assert "data:image/gif" in (run.path / "report.html").read_text()
    assert "not decided" in capsys.readouterr().out
    assert main(["report", str(run.path)]) == 0
    assert main(["report", "frozen_lake_q_learning", "--runs", str(tmp_path)]) == 0


def test_an_experiment_outside_of_the_package(tmp_path, capsys, monkeypatch):
    """By path: run, its claims decided at published settings, resumed, reported, planned, from another folder."""
    monkeypatch.chdir(tmp_path)
    assert main(["run", SMALL, "--runs", "results"]) == 0
    text = capsys.readouterr().out
    assert text.count("holds") == 4
    assert main(["resume", "small_experiment", "--runs", "results"]) == 0
    assert main(["report", "small_experiment", "--runs", "results"]) == 0
    run = only_run(tmp_path / "results")
    assert run.arms("metrics") == ("plain, rate 0.1", "plain, rate 0.5", "continued, rate 0.1")
    capsys.readouterr()
    assert main(["plan", SMALL, "--quick"]) == 0
    printed = capsys.readouterr()
    assert "plain, rate 0.1 and 1 more" in printed.out
    assert "continued, rate 0.1" in printed.err


def test_only_some_arms(tmp_path, capsys):
    assert main(["run", SMALL, "--quick", "--only", "rate=0.5", "--runs", str(tmp_path)]) == 0
    run = only_run(tmp_path)
    assert run.arms("metrics") == ("plain, rate 0.5",)
    assert "measure left out" in capsys.readouterr().err
    assert "open" in {claim["verdict"] for claim in run.claims()}
    assert run.config()["only"] == ["rate=0.5"]


def test_claims_over_several_roots(tmp_path, capsys):
    assert main(["reproduce", SMALL, "--roots", "3", "--root", "4", "--runs", str(tmp_path)]) == 0
    runs = [RunDirectory.open(folder) for folder in sorted((tmp_path / "small_experiment").iterdir())]
    assert [run.config()["root"] for run in runs] == [4, 5, 6]
    drawn = {float(run.curves("drawn", "random").values[0, 0]) for run in runs}
    assert len(drawn) == 3
    text = " ".join(capsys.readouterr().out.split())
    assert "3 of 3" in text


def test_a_run_of_an_edited_file_is_not_continued(tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text(Path(SMALL).read_text())
    assert main(["run", str(mine), "--quick", "--runs", str(tmp_path / "runs")]) == 0
    mine.write_text(mine.read_text().replace("0.1, 0.5", "0.2, 0.5"))
    [sys.modules.pop(name) for name in list(sys.modules) if name.startswith("jaxrl_file_mine")]
    assert main(["resume", "mine", "--runs", str(tmp_path / "runs")]) == 2
    assert "must be the file that began the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum", "cartpole_ppo"], "Did you mean 'run'"),
        (["run", "cartpole_pp"], "Did you mean 'cartpole_ppo'"),
        (["reproduce", "frozen_lake"], "Did you mean 'frozen_lake_q_learning'"),
        (["reproduce"], "there must be an experiment, got (). Name one or more that `jaxrl list` shows"),
        (["reproduce", "cartpole_ppo", "--roots", "0"], "--roots must be at least 1"),
        (["run", SMALL, "--only", "rat=0.1"], "Did you mean 'rate'"),
        (["run", "nowhere.py"], "the file must exist"),
        (
            ["run", "cartpole_ppo", "--quick", "--num-minibatches", "7"],
            "must be divisible by num_minibatches, got 7. Try num_minibatches=4",
        ),
        (["run", "cartpole_ppo", "--quick", "--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["run", "frozen_lake_q_learning", "--quick", "--gamma", "1.5"], r"gamma must lie in [0, 1], got 1.5"),
        (["run", "frozen_lake_q_learning", "--quick", "--env-steps", "10"], "Try --env-steps 100"),
        (["run", "frozen_lake_q_learning", "--quick", "--num-steps", "0"], "num_steps must be an integer of at least 1"),
        (["plan", "four_rooms_ppo", "--quick", "--seeds", "0"], "seeds must be an integer of at least 1, got 0"),
        (["report", "nowhere"], "nowhere"),
    ],
    ids=str,
)
def test_user_errors_are_one_line_without_traceback(arguments, message, tmp_path, capsys):
    runs = [] if arguments[0] == "rum" else ["--runs", str(tmp_path)]
    assert main([*arguments, *runs]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("*/*")), "a run that was refused leaves no folder"


def test_a_results_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", "frozen_lake_q_learning", "--quick", "--runs", str(tmp_path / "file")]) == 2
    assert "error:" in capsys.readouterr().err


def test_a_corrupt_results_folder(tmp_path, capsys):
    assert main(["run", "frozen_lake_q_learning", "--quick", "--seeds", "2", "--runs", str(tmp_path)]) == 0
    (folder,) = (tmp_path / "frozen_lake_q_learning").iterdir()
    table = folder / "metrics.parquet"
    table.write_bytes(table.read_bytes()[:200])
    capsys.readouterr()
    assert main(["report", str(folder)]) == 2
    assert "metrics.parquet" in capsys.readouterr().err


def test_help_explains_every_field():
    done = subprocess.run(
        [sys.executable, "-m", "jaxrl", "run", "cartpole_ppo", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    text = " ".join(done.stdout.replace("│", " ").split())
    for words in (
        "--seeds INT Independent learners",
        "--gamma FLOAT discount, in [0, 1] (default: 0.99)",
        "--num-envs INT environments",
    ):
        assert words in text
    assert " (default: " in text


def changed(monkeypatch, name, **parts):
    """Gives the command line an experiment with other parts."""
    known = {**changed.known, name: replace(load(name), **parts)}
    changed.known = known
    monkeypatch.setattr(command_line, "load", lambda wanted: known.get(wanted) or load(wanted))


@pytest.fixture(autouse=True)
def _forget():
    changed.known = {}


def test_a_failed_claim_is_reported_as_failed(tmp_path, monkeypatch, capsys):
    changed(monkeypatch, SMALL, claims=(Claim("The impossible happens", "nobody", exact("one", lambda: 1.0) >= 2.0),))
    assert main(["reproduce", SMALL, "--runs", str(tmp_path)]) == 1
    assert "FAILS" in capsys.readouterr().out


def test_a_claim_that_cannot_be_evaluated_is_open_with_its_reason(tmp_path, monkeypatch, capsys):
    lost = final("largest_q", method="plain", rate=0.1) / 0.0
    changed(monkeypatch, SMALL, claims=(Claim("Seeds are sound", "nobody", lost > 0),))
    assert main(["reproduce", SMALL, "--runs", str(tmp_path)]) == 1
    assert "│ open " in capsys.readouterr().out
    run = only_run(tmp_path)
    (entry,) = run.claims()
    assert entry["verdict"] == "open"
    assert "every seed must have a finite" in entry["detail"]
    assert run.finished


@pytest.mark.parametrize(
    ("quantity", "mistaken"),
    [
        (final("largest_w", method="plain", rate=0.1), True),  # a metric that nobody measures
        (final("largest_q", method="plian"), True),  # a factor that no arm has
        (final("largest_q"), True),  # several arms
        (derived("early", lambda results: results.values("largest_q", method="plain", rate=0.1)[:, 100]), False),  # too short
    ],
)
def test_a_claim_that_no_run_could_decide_fails_a_quick_run_too(quantity, mistaken, tmp_path, monkeypatch, capsys):
    changed(monkeypatch, SMALL, claims=(Claim("Something", "nobody", quantity > 0),))
    assert main(["reproduce", SMALL, "--quick", "--runs", str(tmp_path)]) == int(mistaken)
    (entry,) = only_run(tmp_path).claims()
    assert (entry["verdict"], entry["mistaken"]) == ("open", mistaken)


def test_an_experiment_that_breaks_off_does_not_stop_the_next(tmp_path, monkeypatch, capsys):
    def broken(config):
        raise ConfigError("first: nothing works. Mend it.")

    changed(monkeypatch, "four_rooms_ppo", arms=broken)
    changed(monkeypatch, SMALL, claims=(Claim("It ran", "nobody", exact("one", lambda: 1.0) >= 1.0),))
    assert main(["reproduce", "four_rooms_ppo", SMALL, "--runs", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "error: four_rooms_ppo: first: nothing works" in printed.err
    assert "It ran" in printed.out
    assert not (tmp_path / "four_rooms_ppo").exists()


def test_an_error_of_an_experiments_own_file_is_not_blamed_on_the_results(tmp_path, monkeypatch):
    """Whether it names its file or not; and a run that had not begun leaves no folder."""
    for error in (FileNotFoundError(2, "No such file or directory", "/data/prices.csv"), OSError("the exchange is closed")):

        def arms(config, error=error):
            raise error

        changed(monkeypatch, "four_rooms_ppo", arms=arms)
        with pytest.raises(type(error)) as found:
            main(["run", "four_rooms_ppo", "--quick", "--runs", str(tmp_path / "none")])
        assert found.value is error
        assert not (tmp_path / "none").exists()

        def measure(config, results, error=error):
            raise error

        changed(monkeypatch, SMALL, measure=measure)
        with pytest.raises(type(error)) as found:
            main(["run", SMALL, "--quick", "--runs", str(tmp_path / "runs")])
        assert found.value is error


@pytest.mark.parametrize(
    ("correct", "wrong", "near", "where"),
    [
        ("learning_rate=rate", "learning_rat=rate", "learning_rate", "arms(config) must not raise"),
        ("QUICK = Config(seeds=2", "QUICK = Config(seed=2", "seeds", "must be importable"),
        ("results.states(", "results.state(", "states", "measure(config, results) must not raise"),
        ("draw.ends(", "draw.end(", "ends", "figures(results) must not raise"),
    ],
)
def test_a_wrong_name_in_a_users_file_is_one_sentence(correct, wrong, near, where, tmp_path, capsys):
    """With the line and the name that was meant, in whichever part of the file."""
    text = Path(SMALL).read_text()
    line = 1 + text[: text.index(correct)].count("\n")
    file = tmp_path / "mine.py"
    file.write_text(text.replace(correct, wrong, 1))
    assert main(["run", str(file), "--quick", "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert where in error
    assert f" at {file}, line {line}, in " in error
    assert error.endswith(f"Did you mean {near!r}? Mend it there.")


@pytest.mark.parametrize(
    ("command", "reader"),
    [
        ("list", "head -1"),
        ("run cartpole_ppo --help", "true"),
        pytest.param("envs", "head -1", marks=pytest.mark.slow),
        pytest.param("envs", "true", marks=pytest.mark.slow),
        pytest.param("run cartpole_ppo --help", "head -1", marks=pytest.mark.slow),
        pytest.param("run", "true", marks=pytest.mark.slow),
        pytest.param("--help", "true", marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_leaves_is_no_error(command, reader):
    shell = f"{sys.executable} -m jaxrl {command} | {reader}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode in (0, 2, NO_READER)


@pytest.mark.slow
def test_neither_a_home_nor_a_name_is_needed(tmp_path):
    """As in a container that is run with any user's number."""
    code = "import os, pwd, runpy, sys\npwd.getpwuid = lambda number: {}[number]\nos.environ.pop('HOME', None)\n"
    code += "sys.argv[0] = 'jaxrl'\nrunpy.run_module('jaxrl', run_name='__main__')"
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "JAXRL_CACHE", "XDG_CACHE_HOME", "USER")}
    kept = {name: value for name, value in kept.items() if name != "JAX_COMPILATION_CACHE_DIR"} | {
        "TMPDIR": str(tmp_path / "tmp")
    }
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-c", code, "run", "frozen_lake_q_learning", "--quick", "--seeds", "2", "--runs"]
    done = subprocess.run([*command, str(tmp_path / "runs")], cwd=ROOT, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "tmp").glob("cache-*/jaxrl"))
    done = subprocess.run([*command, "~/runs"], cwd=ROOT, env=kept, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Write the folder out" in done.stderr


def test_ctrl_c_keeps_what_was_computed(tmp_path):
    command = [sys.executable, "-m", "jaxrl", "run", "frozen_lake_q_learning", "--seeds", "8", "--env-steps", "8000000"]
    restore = (  # a test run in the background inherits an ignored Ctrl-C
        "import signal, sys, runpy; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = sys.argv[1:]; runpy.run_module('jaxrl', run_name='__main__')"
    )
    command = [sys.executable, "-c", restore, *command[2:], "--runs", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("*/*/metrics/part-*.parquet")):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "kept" in error
    (folder,) = (tmp_path / "frozen_lake_q_learning").iterdir()
    run = RunDirectory.open(folder)
    (arm,) = run.arms("metrics")
    assert run.curves("td_error", arm).values.shape[0] == 8
    assert run.summary()["runs"][arm]["interrupted"]
    assert (folder / "report.html").exists()


def test_ctrl_c_before_anything_is_computed_ends_the_command(tmp_path):
    """Also in a callback of the garbage collector, where Python drops an exception: here a gc callback sends the signal."""
    script = (
        "import gc, os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import jaxrl.__main__ as command; "
        "gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGINT)); "
        "sys.argv = ['jaxrl', 'run', 'frozen_lake_q_learning', '--quick', '--runs', sys.argv[1]]; sys.exit(command.main())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "interrupted before anything was computed\n"
    assert not list(tmp_path.iterdir())


def test_the_catalogue_names_every_environment(capsys):
    import envs

    assert main(["envs"]) == 0
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith("  ")]
    named = {row.split()[0] for row in rows if row[2] != " "}
    assert named == set(envs.REGISTRY)
    (lake,) = (row for row in rows if row.split()[0] == "frozen_lake")
    assert lake.split()[1:6] == ["1", "16", "choices", "4", "choices"]
    assert " yes " in lake
