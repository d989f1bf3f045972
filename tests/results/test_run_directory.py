"""The folder of a run: made whole, refused where it is damaged; its configuration, claims and summaries."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxrl.core.environment import static
from jaxrl.errors import ConfigError, ResultsError, UnknownNameError
from jaxrl.results import provenance, storage
from jaxrl.results.finding import find_run, find_unfinished
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.sinks import RunSummary
from tests.recording import SEEDS, empty, record, strict, truncate, value


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "runs", "exp", {"gamma": 0.99})


def test_runs_begun_together_get_folders_of_their_own(tmp_path):
    runs = [RunDirectory.create(tmp_path, "exp", {"x": 1}) for _ in range(4)]
    assert len({run.path for run in runs}) == 4
    assert sorted(run.path for run in runs) == [run.path for run in runs]
    assert len({run.path.name[-8:] for run in runs}) == 1
    assert RunDirectory.create(tmp_path, "exp", {"x": 2}).path.name[-8:] != runs[0].path.name[-8:]


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    """A kill while a folder is made must not leave something that looks like a run."""
    write_json = storage.write_json

    def killed(path, value):
        if path.name == "versions.json":
            raise KeyboardInterrupt
        write_json(path, value)

    monkeypatch.setattr(storage, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        RunDirectory.create(tmp_path, "exp", {"gamma": 0.5})
    monkeypatch.setattr(storage, "write_json", write_json)
    assert find_unfinished(tmp_path, "exp", {"gamma": 0.5}) is None
    with pytest.raises(ResultsError, match="the experiment must have a run"):
        find_run(tmp_path, "exp")
    run = RunDirectory.create(tmp_path, "exp", {"gamma": 0.5})
    assert find_unfinished(tmp_path, "exp", {"gamma": 0.5}) == run == find_run(tmp_path, "exp")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", ".hidden"])
def test_an_experiment_needs_a_plain_name(tmp_path, name):
    with pytest.raises(ConfigError, match="name must consist of"):
        RunDirectory.create(tmp_path, name, {})


@pytest.mark.parametrize("config", [[], 7, None, "text"])
def test_a_configuration_needs_fields(tmp_path, config):
    with pytest.raises(ConfigError, match="a configuration must have fields"):
        RunDirectory.create(tmp_path, "exp", config)


def test_an_unwritable_root_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    for root in (file, file / "deeper"):
        with pytest.raises(
            ResultsError, match=f"^results: {file} must be writable, got 'Not a directory'. Choose another folder"
        ):
            RunDirectory.create(root, "exp", {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_root_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ResultsError, match="Choose another folder"):
        RunDirectory.create(tmp_path, "exp", {})
    tmp_path.chmod(0o700)


# Opening


def test_the_name_of_the_experiment_is_the_one_that_is_stored(tmp_path):
    run = RunDirectory.create(tmp_path, "core_ppo", {"experiment": {"name": "core_ppo"}})
    moved = run.path.rename(tmp_path / "elsewhere")
    assert RunDirectory.open(moved).experiment == "core_ppo"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ResultsError, match="nowhere"):
        RunDirectory.open(tmp_path / "nowhere")
    (tmp_path / "else").mkdir()
    with pytest.raises(ResultsError, match=r"config\.json must exist"):
        RunDirectory.open(tmp_path / "else")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("metrics.parquet", truncate),
        ("metrics.parquet", empty),
        ("evaluations.parquet", truncate),
        ("config.json", truncate),
        ("config.json", Path.unlink),
        ("versions.json", Path.unlink),
        ("versions.json", empty),
        ("summary.json", lambda path: path.write_text('["a list"]')),
        ("claims.json", lambda path: path.write_bytes(b'[{"text": "\xff"}]')),
    ],
)
def test_a_damaged_file_is_named(run, name, damage):
    record(run).end(RunSummary(12.0, 2.0))
    run.write_claims([{"text": "It works", "verdict": "holds"}])
    run.close()
    damage(run.path / name)
    with pytest.raises(ResultsError, match=name):
        RunDirectory.open(run.path)


# What is in it


@struct.dataclass
class Algorithmic:
    rate: jax.Array
    sizes: tuple = static(default=(64, 64))


@dataclasses.dataclass(frozen=True)
class Nested:
    algorithm: Algorithmic
    activation: object = jnp.tanh
    hidden: object = dataclasses.field(default=object(), repr=False)


def test_configurations_become_strict_json(tmp_path):
    config = Nested(Algorithmic(jnp.float32(0.1)))
    run = RunDirectory.create(tmp_path, "exp", config)
    assert strict(run.path / "config.json") == run.config()
    assert run.config() == {"algorithm": {"rate": 0.1, "sizes": [64, 64]}, "activation": provenance.to_json(jnp.tanh)}


def test_a_claim_needs_a_text_and_a_verdict(run):
    with pytest.raises(ConfigError, match=r"claim 1.*'verdict'"):
        run.write_claims([{"text": "a", "verdict": "open"}, {"text": "b"}])
    run.write_claims([{"text": "a", "verdict": "holds", "value": np.nan}])
    assert strict(run.path / "claims.json") == run.claims() == [{"text": "a", "verdict": "holds", "value": None}]


def test_curves_names_what_it_does_not_find(run):
    record(run, "ppo", metrics=("episode_return", "level"), evaluations=("level",))
    with pytest.raises(UnknownNameError, match="Did you mean 'episode_return'"):
        run.curves("episode_retrun", "ppo")
    with pytest.raises(UnknownNameError, match="Did you mean 'ppo'"):
        run.curves("episode_return", "pppo")
    with pytest.raises(ConfigError, match="table='evaluations'"):
        run.curves("level", "ppo")
    with pytest.raises(UnknownNameError, match="Did you mean 'evaluations'"):
        run.curves("level", "ppo", "evaluation")
    assert run.curves("level", "ppo", "evaluations").values.shape == (3, 4)


def test_run_summarises_every_arm_and_metric(run):
    record(run, "a")
    record(run, "b", metrics=("episode_return", "extra"), evaluations=())
    rows = run.summarise()
    assert [(row["table"], row["metric"], row["arm"]) for row in rows] == [
        ("metrics", "episode_return", "a"),
        ("metrics", "episode_return", "b"),
        ("metrics", "extra", "b"),
        ("evaluations", "greedy_return", "a"),
    ]
    assert rows[0]["mean"] == pytest.approx(value(SEEDS[:, None], np.array([18, 19])).mean())
    assert [row["metric"] for row in run.summarise(["extra"])] == ["extra"]


@pytest.mark.slow
def test_importing_needs_no_library_of_a_run():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pyarrow', 'matplotlib']));"
        "import jaxrl.statistics; from jaxrl.results import recorder, run_directory, progress;"
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
