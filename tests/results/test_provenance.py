"""Where numbers come from: configurations as strict JSON, versions, and the state of the code."""

import dataclasses
import enum
import functools
import hashlib
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.results import provenance
from jaxrl.results.run_directory import RunDirectory
from tests.recording import record, strict


class Colour(enum.IntEnum):
    RED = 3


class Pair(NamedTuple):
    left: int
    right: float


@dataclasses.dataclass(frozen=True)
class Wide:
    """A factory of networks, say."""

    width: int = 3

    def __call__(self):
        return self.width


class Narrow(Wide):
    """Another with the same fields."""


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A function that changes another."""

    function: object = Wide()

    def __call__(self):
        return self.function


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (float("nan"), None),
        (float("-inf"), "-inf"),
        (np.float32("nan"), None),
        (np.float64(0.1), 0.1),
        (jnp.float32(0.3), 0.3),
        (jnp.bfloat16(0.5), 0.5),
        (np.int64(2**40), 2**40),
        (np.bool_(False), False),
        (np.array([[1, 2], [3, 4]], np.int8), [[1, 2], [3, 4]]),
        (jnp.array([1.0, jnp.nan, jnp.inf]), [1.0, None, "inf"]),
        (Colour.RED, "RED"),
        (Pair(1, 2.5), {"left": 1, "right": 2.5}),
        ({3: {"b", "a"}}, {"3": ["a", "b"]}),
        (Path("a") / "b", str(Path("a") / "b")),
        (np.dtype("float32"), "float32"),
        (jnp.int32, "jax.numpy.int32"),
        (json.dumps, "json.dumps"),
        (Pair, f"{__name__}.Pair"),
        (functools.partial(json.dumps, indent=2), {"function": "json.dumps", "indent": 2}),
        (functools.partial(json.dumps, 1), {"function": "json.dumps", "arguments": [1]}),
        (Narrow(4), {"function": f"{__name__}.Narrow", "width": 4}),
        (
            Wrapped(),
            {"function": f"{__name__}.Wrapped", "fields": {"function": {"function": f"{__name__}.Wide", "width": 3}}},
        ),
    ],
)
def test_to_json(given, expected):
    found = provenance.to_json(given)
    assert found == expected
    assert type(found) is type(expected)
    json.dumps(found, allow_nan=False)


def test_to_json_of_keys_and_large_arrays():
    assert provenance.to_json(jax.random.key(5)) == [0, 5]
    table = np.zeros((50, 50), np.float32)
    found = provenance.to_json(table)
    assert found["shape"] == [50, 50]
    assert found["dtype"] == "float32"
    assert found != provenance.to_json(table + 1)
    assert found == provenance.to_json(np.asfortranarray(table))


def test_what_has_no_json_form_is_named():
    with pytest.raises(ConfigError, match=r"config\.layers\[1\]\.x.*'object'"):
        provenance.to_json({"layers": [1, {"x": object()}]})


def test_a_function_object_comes_back_as_what_it_was():
    assert provenance.from_json(provenance.to_json(Wide(5)), Wide()) == Wide(5)
    assert provenance.from_json(provenance.to_json(Wrapped(Wide(5))), Wrapped()) == Wrapped(Wide(5))
    with pytest.raises(ConfigError, match=r"config: a stored configuration must say what it was.*Narrow"):
        provenance.from_json(provenance.to_json(Narrow(3)), Wide())


def test_differences_are_named_by_their_place():
    before, now = {"a": [1, {"b": 2.5}], "c": "x", "gone": None}, {"a": [1, {"b": 3}], "c": "x", "new": [0] * 99}
    found = provenance.differences(before, now)
    assert found[:2] == [("a[1].b", "2.5", "3"), ("gone", "null", "nothing")]
    assert found[2][:2] == ("new", "nothing")
    assert found[2][2].startswith("[0, 0")
    assert len(found[2][2]) == 80
    assert provenance.differences([1, 2], [1]) == [("", "[1, 2]", "[1]")]
    assert provenance.differences({"flag": True}, {"flag": 1}) == [("flag", "true", "1")]
    assert not provenance.differences(before, before)


def test_sources_are_found_wherever_a_function_is_held():
    held = functools.partial(record, key=Wide()), {"x": [Wrapped(json.dumps)]}, jnp.zeros(3), len
    found = provenance.sources(held)
    assert list(found) == ["json", "tests.recording", __name__]
    assert found[__name__] == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert provenance.is_recorded("jaxrl.core.scan")
    assert provenance.is_recorded("envs")
    assert not provenance.is_recorded("envs_of_mine")


def test_versions_hold_what_numbers_depend_on(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "some-machine:1234")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    found = provenance.versions()
    assert found["environment"]["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert found["environment"]["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert "some-machine" not in json.dumps(found)
    assert found["packages"]["jax"] == jax.__version__
    assert found["device"]["platform"] == "cpu"
    assert found["device"]["count"] == jax.device_count()
    run = RunDirectory.create(tmp_path, "exp", {})
    assert strict(run.path / "versions.json").keys() == found.keys()


def test_git_state_belongs_to_tracked_files_only(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=name", "-c", "user.email=name@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    file = tmp_path / "code.py"
    file.write_text("x = 1\n")
    assert provenance.git_state(file) is None
    git("init")
    assert provenance.git_state(file) is None
    git("add", "code.py")
    assert provenance.git_state(file) is None
    git("commit", "-m", "first")
    state = provenance.git_state(file)
    assert state is not None
    assert len(state["commit"]) == 40
    assert not state["dirty"]
    (tmp_path / "result").write_text("untracked")
    assert provenance.git_state(tmp_path / "result") is None
    file.write_text("x = 2\n")
    assert provenance.git_state(file) == {**state, "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state(file) is None
