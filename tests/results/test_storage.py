"""Files that appear whole or not at all: the forms of JSON values, and whose fault an error is."""

import errno
import os
from pathlib import Path

import pytest

from jaxrl.errors import ResultsError
from jaxrl.results import storage
from jaxrl.results.storage import Every, count, misfit, number

FORM = {"name": str, "counts": [count], "sizes?": Every(number, str.isdecimal), "nested": {"flag": bool}}
SOUND = {"name": "a", "counts": [0, 3], "sizes": {"1": 2.5, "2": None, "3": "-inf"}, "nested": {"flag": False}, "more": 7}


def test_a_value_of_the_form_fits():
    assert misfit(SOUND, FORM) is None
    assert misfit({name: value for name, value in SOUND.items() if name != "sizes"}, FORM) is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": 3}, "3 at name where a text belongs"),
        ({"counts": {}}, "an object at counts where a list belongs"),
        ({"counts": [1, -2]}, "-2 at counts[1] where a count belongs"),
        ({"counts": [True]}, "true at counts[0] where a count belongs"),
        ({"sizes": []}, "a list at sizes where an object belongs"),
        ({"sizes": {"one": 1}}, "the name 'one' at sizes"),
        ({"sizes": {"1": "big"}}, '"big" at sizes.1 where a number belongs'),
        ({"nested": {}}, "no 'flag' at nested"),
        ({"nested": {"flag": 1}}, "1 at nested.flag where true or false belongs"),
        ({"name": "a", "nested": "x" * 99}, '"xxx'),
    ],
)
def test_the_first_place_of_another_form_is_named(change, found):
    text = misfit({**SOUND, **change}, FORM)
    assert text is not None
    assert text.startswith(found)
    assert len(text) < 90


def test_an_error_about_another_file_is_not_that_of_the_results(tmp_path):
    path = tmp_path / "runs" / "exp" / "summary.json"
    path.parent.mkdir(parents=True)
    for name in (str(path), str(path.parent / "other.partial"), str(tmp_path / "runs"), None):
        with pytest.raises(ResultsError, match=r"summary\.json must be writable"), storage.writing(path):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), name)
    for name in ("/data/prices.csv", str(tmp_path / "prices.csv")):
        with pytest.raises(PermissionError, match=Path(name).name), storage.writing(path):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), name)


def test_what_cannot_be_written_has_the_name_that_the_user_knows(tmp_path):
    """Not that of a file or a folder that is only half made."""
    folder = tmp_path / "run"
    half = tmp_path / "run.77.partial"
    half.mkdir()
    for path, shown in (
        (half / "config.json", folder / "config.json"),
        (tmp_path / "0000000004.partial", tmp_path / "0000000004"),
        (tmp_path / "missing" / "run.77.partial" / "config.json", tmp_path),
        (tmp_path / "my.partial.run", tmp_path / "my.partial.run"),
    ):
        with pytest.raises(ResultsError) as found, storage.writing(path):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        assert str(found.value).startswith(f"results: {shown} must be writable, got 'Permission denied'. ")
