"""Comparisons of runs: numbers against SciPy and the library's own statistics, runs that do not fit together, and the files."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tyro
from PIL import Image
from scipy import stats

import envs
from jaxrl import statistics
from jaxrl.algorithms.deep import dqn
from jaxrl.cli.compare import Compare, compare, read_methods
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.report import curve_figures
from jaxrl.report.comparison import PLACES, Sample, compare_methods, interpolate
from jaxrl.results.recorder import Recorder
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import Chunk, Plan, RunSummary
from jaxrl.statistics import final_values
from jaxrl.training.runner import run as train

STEPS = 10


def sample(level, seeds=20, updates=40, steps=STEPS, noise=1.0, key=0):
    """Returns curves that rise from 0 to ``level``, and their places."""
    rng = np.random.default_rng(key)
    rise = level * np.minimum(1.0, np.arange(1, updates + 1) / (updates / 2))
    return Sample(np.arange(1, updates + 1) * float(steps), rise + rng.normal(0, noise, (seeds, 1)) + np.zeros((seeds, updates)))


def record(run, arm, curves, steps=STEPS, metric="episode_return", evaluate=None):
    """Stores curves, and under ``greedy_return`` their last value, in a run directory."""
    seeds, updates = curves.values.shape
    recorder = Recorder(run, arm)
    recorder.begin(Plan(np.arange(seeds), updates, updates, steps, 1))
    evaluation = {} if evaluate is None else {evaluate: curves.values[:, -1]}
    recorder.chunk(Chunk(0, np.arange(seeds), {metric: curves.values}, evaluation, 1.0))
    recorder.end(RunSummary(1.0, 0.5))


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.create(tmp_path / "runs", "exp", {"seeds": 20})
    record(run, "good", sample(10.0, key=1), evaluate="greedy_return")
    record(run, "[b]bad", sample(8.0, seeds=12, key=2), evaluate="greedy_return")
    run.close()
    return run


def test_scores_are_the_librarys_statistics():
    methods = {"low": {"": sample(8.0, seeds=12, key=2)}, "high": {"": sample(10.0, key=1)}}
    found = compare_methods(methods)
    finals = {name: final_values(measured[""].values) for name, measured in methods.items()}
    assert [score.method for score in found.scores] == ["high", "low"]
    for score in found.scores:
        assert score.iqm == statistics.bootstrap_interval(finals[score.method])
        np.testing.assert_allclose(score.iqm.estimate, stats.trim_mean(finals[score.method], 0.25))
        np.testing.assert_allclose((score.mean, score.median), (finals[score.method].mean(), np.median(finals[score.method])))
        assert score.seeds == score.all_seeds == len(finals[score.method])
    ((better, worse, chance),) = found.pairs
    assert (better, worse) == ("high", "low")
    np.testing.assert_allclose(chance.estimate, stats.mannwhitneyu(finals["high"], finals["low"]).statistic / 240)
    assert chance.low > 0.5
    profile = found.profiles["high"]
    np.testing.assert_allclose(profile.fraction, (finals["high"] > profile.threshold[:, None]).mean(1))
    assert profile.threshold[0] == min(map(np.min, finals.values()))
    np.testing.assert_allclose(found.curves["high"].estimate[-1], found.scores[0].iqm.estimate)


def test_random_steps_before_the_first_update_are_on_the_axis(tmp_path):
    """DQN's first update ends after 10,000 random steps and its own: comparison and figure show it there."""
    config = dqn.Config(num_envs=2, num_steps=1, num_rounds=2, batch_size=4, buffer_size=64, learning_starts=31, hidden=(4,))
    directory = RunDirectory.create(tmp_path / "runs", "warm", {})
    done = train(
        dqn.make, envs.make("corridor"), config, seeds=3, num_updates=3, chunk_length=3, sinks=(Recorder(directory, "dqn"),)
    )
    record(directory, "other", sample(1.0, seeds=3, updates=20, steps=4), steps=4, metric="td_error")
    directory.close()
    assert (done.steps_before_first_update, done.steps_per_update) == (32, 4)
    np.testing.assert_array_equal(directory.metrics("dqn")["env_steps"].to_numpy().reshape(3, 3), [[36, 40, 44]] * 3)
    methods = read_methods([directory], "td_error", arms=("dqn", "other"))
    np.testing.assert_array_equal(methods["dqn"][""].places, [36, 40, 44])
    _, axes, _ = curve_figures._curves(directory, "td_error", "env_steps", ("dqn", "other"), "metrics", "bootstrap", None, None)
    drawn = {line.get_label(): line.get_xdata() for line in axes.get_lines()}
    np.testing.assert_array_equal(drawn["dqn"], [36, 40, 44])


def test_a_smaller_value_can_be_the_better_one():
    methods = {"a": {"": sample(10.0, key=1)}, "b": {"": sample(8.0, key=2)}}
    found = compare_methods(methods, lower_is_better=True)
    assert [score.method for score in found.scores] == ["b", "a"]
    (_, _, chance), ((_, _, other),) = found.pairs[0], compare_methods(methods).pairs
    np.testing.assert_allclose(chance.estimate, other.estimate)
    finals = final_values(methods["b"][""].values)
    profile = found.profiles["b"]
    np.testing.assert_allclose(profile.fraction, (finals < profile.threshold[:, None]).mean(1))
    assert profile.fraction[0] == 0


def test_runs_of_other_lengths_and_grids_are_compared_where_both_were_measured():
    """The long run goes on rising after the short one has ended, which must not count."""
    places = np.arange(1, 101) * 7.0
    line = Sample(places, np.tile(places, (6, 1)))
    short = Sample(np.arange(1, 21) * 15.0, np.tile(np.arange(1, 21) * 15.0, (9, 1)) + np.arange(9)[:, None])
    found = compare_methods({"line": {"": line}, "short": {"": short}}, fraction=0.1)
    assert (found.places[0], found.places[-1]) == (15.0, 300.0)
    np.testing.assert_allclose(found.curves["line"].estimate, found.places)
    np.testing.assert_allclose(found.curves["short"].estimate, found.places + 4)
    scores = {score.method: score for score in found.scores}
    inside = places[places <= 300]
    assert scores["line"].iqm.estimate == inside[-round(0.1 * len(inside)) :].mean()
    assert scores["short"].iqm.estimate == 292.5 + 4


def test_interpolation_bridges_gaps_and_ends_where_a_seed_ended():
    values = np.array([[0.0, np.nan, 4.0, 6.0], [np.nan, 1.0, 3.0, np.nan], [np.nan] * 4, [2.0, np.inf, np.nan, np.nan]])
    found = interpolate(Sample(np.array([0.0, 1, 2, 3]), values), np.array([0.0, 0.5, 1.0, 2.0, 2.5]))
    nan = np.nan
    np.testing.assert_allclose(found, [[0, 1, 2, 4, 5], [nan, nan, 1, 3, nan], [nan] * 5, [2, nan, nan, nan, nan]])


def test_failed_seeds_are_left_out_and_counted(capsys, tmp_path):
    bad = sample(10.0, key=1)
    bad.values[3, 10:], bad.values[4, -1] = np.nan, np.inf
    run = RunDirectory.create(tmp_path / "runs", "exp", {})
    record(run, "bad", bad)
    record(run, "good", sample(9.0, key=2))
    assert compare(Compare((str(run.path),), output=tmp_path / "out")) == 0
    assert "19 of 20" in (shown := capsys.readouterr().out)
    assert "favours methods that fail" in shown
    finals = np.delete(final_values(bad.values), 3)
    finals[3] = bad.values[4, -4:-1].mean()  # its last value is not finite: the others of the last tenth count
    rows = list(csv.DictReader((tmp_path / "out" / "episode_return_scores.csv").read_text().splitlines()))
    np.testing.assert_allclose(
        float(next(row["iqm"] for row in rows if row["method"] == "bad")), statistics.iqm(finals), rtol=1e-6
    )


def test_several_tasks_are_scaled_and_stratified():
    easy, hard = sample(1000.0, seeds=10, noise=50.0, key=3), sample(1.0, seeds=14, noise=0.1, key=4)
    better = Sample(hard.places, hard.values + 0.2)
    found = compare_methods({"a": {"easy": easy, "hard": hard}, "b": {"hard": better, "easy": easy}})
    finals = {name: final_values(values) for name, values in {"easy": easy.values, "a": hard.values, "b": better.values}.items()}
    low, high = finals["a"].min(), finals["b"].max()
    scaled = {
        name: {
            "easy": (finals["easy"] - finals["easy"].min()) / np.ptp(finals["easy"]),
            "hard": (finals[name] - low) / (high - low),
        }
        for name in "ab"
    }
    assert [score.method for score in found.scores] == ["b", "a"]
    for score in found.scores:
        expected = statistics.bootstrap_interval(scaled[score.method])
        np.testing.assert_allclose(score.iqm, expected)
        np.testing.assert_allclose(found.seeds[score.method, "hard"], scaled[score.method]["hard"])
    np.testing.assert_allclose(found.curves["a"].estimate[-1], found.scores[1].iqm.estimate)
    expected = statistics.probability_of_improvement(scaled["b"], scaled["a"]).estimate
    np.testing.assert_allclose(found.pairs[0][2].estimate, expected)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"a": {"": sample(1)}}, "there must be two methods"),
        ({"a": {"": sample(1)}, "b": {"": sample(1, seeds=1)}}, "'b' must have at least 2 seeds with a score, got 1"),
        ({"a": {"": sample(1)}, "b": {"": Sample(np.arange(500.0, 540), sample(1).values)}}, "measured over a common stretch"),
        ({"a": {"x": sample(1)}, "b": {"y": sample(1)}}, "learned the same tasks"),
    ],
)
def test_what_cannot_be_compared_is_refused(methods, message):
    with pytest.raises(ConfigError, match=message):
        compare_methods(methods)


def test_bad_options_are_named(run, tmp_path):
    with pytest.raises(ConfigError, match="there must be a run"):
        compare(Compare())
    with pytest.raises(ConfigError, match=r"fraction must lie in \(0, 1\], got 0"):
        compare(Compare((str(run.path),), fraction=0.0))
    with pytest.raises(UnknownNameError, match="Did you mean 'episode_return'"):
        compare(Compare((str(run.path),), metric="episode_returns"))
    with pytest.raises(UnknownNameError, match="no arm is named 'goood'"):
        compare(Compare((str(run.path),), arms=("goood", "good")))
    with pytest.raises(UnknownNameError, match="no experiment or run is named 'other'"):
        compare(Compare(("other",), runs=tmp_path / "runs"))
    with pytest.raises(ConfigError, match="runs must differ"):
        compare(Compare((str(run.path), "exp"), runs=tmp_path / "runs"))
    data = RunDirectory.create(tmp_path / "runs", "data", {})
    record(data, "", sample(1.0), steps=None)
    with pytest.raises(ConfigError, match="Compare by updates: --x updates"):
        compare(Compare((str(run.path), str(data.path)), metric="episode_return"))
    lost = RunDirectory.create(tmp_path / "runs", "lost", {})
    record(lost, "", sample(1.0), metric="regret")
    with pytest.raises(UnknownNameError, match="no metric that all runs have is named"):
        compare(Compare((str(lost.path), str(data.path))))


def test_names_tell_methods_apart(run, tmp_path):
    again = RunDirectory.create(tmp_path / "runs", "exp", {"seeds": 20})
    other = RunDirectory.create(tmp_path / "runs", "exp", {"seeds": 21})
    elsewhere = RunDirectory.create(tmp_path / "runs", "another", {})
    for directory in (again, other, elsewhere):
        record(directory, "", sample(1.0))

    def names(*runs):
        return list(read_methods(runs, "episode_return"))

    assert names(run) == ["good", "[b]bad"]
    assert names(run, elsewhere) == ["exp good", "exp [b]bad", "another"]
    assert names(other, again) == ["seeds 21", "seeds 20"]
    assert names(other, again, elsewhere) == ["exp seeds 21", "exp seeds 20", "another"]
    assert names(run, again)[2] == again.path.name[:-9]
    assert names(other, run, again)[-1] == f"seeds 20 {again.path.name[:-9]}"
    tasks = read_methods([run, run, elsewhere][:1], "episode_return", tasks=True)
    assert {method: list(measured) for method, measured in tasks.items()} == {"exp": ["good", "[b]bad"]}


@pytest.mark.parametrize("metric", ["", "episode_return"])
def test_the_command_shows_and_writes_everything(run, tmp_path, capsys, metric):
    """By default the greedy return, which was measured once: a curve of a single point."""
    arguments = ["exp", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")] + ["--metric", metric] * bool(metric)
    assert compare(tyro.cli(Compare, args=arguments)) == 0
    shown = capsys.readouterr().out
    name = metric or "greedy_return"
    for part in (name, "good", "[b]bad", "good over [b]bad", "95 % interval"):
        assert part in shown, part
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}_{table}.parquet" for table in ("profiles", "curves", "seeds")),
        *(f"{name}_{table}.csv" for table in ("scores", "pairs")),
        f"{name}_notes.json",
        f"{name}.png",
    }
    curves = pq.read_table(folder / f"{name}_curves.parquet")
    assert curves.column_names == ["method", "x", "iqm", "low", "high"]
    assert curves.num_rows == 2 * (PLACES if metric else 1)
    assert pq.read_table(folder / f"{name}_seeds.parquet").num_rows == 20 + 12
    (pair,) = csv.DictReader((folder / f"{name}_pairs.csv").read_text().splitlines())
    assert (pair["method"], pair["other"]) == ("good", "[b]bad")
    assert 0.5 < float(pair["low"]) < float(pair["probability"]) <= float(pair["high"]) <= 1
    with Image.open(folder / f"{name}.png") as image:
        assert image.size == (1725, 1125)
        assert image.info["Description"].startswith(name)


def test_the_command_compares_runs_over_tasks(run, tmp_path, capsys):
    other = RunDirectory.create(tmp_path / "runs", "rival", {})
    for arm in ("good", "[b]bad"):
        record(other, arm, sample(30.0, seeds=5, updates=60))
    options = Compare((str(run.path), "rival"), tmp_path / "runs", "episode_return", tasks=True, output=tmp_path / "out")
    assert compare(options) == 0
    shown = capsys.readouterr().out
    assert "rival over exp" in shown
    seeds = pq.read_table(tmp_path / "out" / "episode_return_seeds.parquet").to_pydict()
    assert sorted(set(zip(seeds["method"], seeds["task"], strict=True))) == [
        ("exp", "[b]bad"),
        ("exp", "good"),
        ("rival", "[b]bad"),
        ("rival", "good"),
    ]
    assert (min(seeds["score"]), max(seeds["score"])) == (0, 1)


def test_settings_that_differ_name_the_runs_of_an_experiment(tmp_path):
    def made(rate, width, root=0):
        algorithm = {"rate": rate, "network": {"function": "mine.Wide", "width": width}, "prices": {"sha256": str(rate)}}
        config = {
            "experiment": {"name": "exp", "digest": str(rate)},
            "config": {"algorithm": algorithm, "other": 1},
            "root": root,
        }
        directory = RunDirectory.create(tmp_path, "elsewhere", config)
        record(directory, "", sample(1.0))
        return directory

    def names(*runs):
        return list(read_methods(runs, "episode_return"))

    assert names(made(0.1, 8), made(0.2, 8)) == ["rate 0.1", "rate 0.2"]
    assert names(made(0.1, 8), made(0.2, 8, 3), made(0.1, 9))[1] == "rate 0.2, width 8, root 3"


def test_unequal_tasks_and_lengths_are_said_and_written(tmp_path, capsys):
    def trained(name, slip, updates):
        directory = RunDirectory.create(tmp_path / "runs", name, {})
        record(directory, "Q", sample(1.0, updates=updates))
        lake = envs.make("windy_grid") if slip is None else envs.make("frozen_lake", slip=slip)
        entry = {"arm": "Q", "factors": {"method": "Q"}, "make": dqn.make, "config": {}, "task": lake}
        directory.write_trainings([entry | {"seeds": 20, "updates": updates, "root": 0}])
        return str(directory.path)

    slippery, dry = trained("slippery", 0.5, 40), trained("dry", 0.0, 60)
    assert compare(Compare((slippery, dry), output=tmp_path / "out")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    cut = "'dry' is cut: it was measured up to 600 environment steps, 'slippery' up to 400, where both are compared"
    assert f"Beware: {cut}." in shown
    assert "Beware: the tasks differ, of 'slippery' and 'dry': params." in shown
    said = json.loads((tmp_path / "out" / "episode_return_notes.json").read_text())
    assert said["notes"][1] == cut
    assert (said["compared_until"], said["measured_until"]) == (400, {"slippery": 400, "dry": 600})
    assert said["tasks"]["dry"][""]["step_fn"]
    rows = list(csv.DictReader((tmp_path / "out" / "episode_return_scores.csv").read_text().splitlines()))
    assert {row["method"]: (row["measured_until"], row["compared_until"]) for row in rows}["dry"] == ("600.0", "400.0")
    same = trained("same", 0.0, 60)
    assert compare(Compare((same, dry), output=tmp_path / "out")) == 0
    assert "Beware" not in capsys.readouterr().out
    other = trained("other", None, 60)
    assert compare(Compare((other, dry), output=tmp_path / "out", tasks=True)) == 0
    assert "Beware: the tasks differ (Q), of 'other' and 'dry'" in " ".join(capsys.readouterr().out.split())
