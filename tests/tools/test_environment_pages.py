"""The pages of environments say what the code says today, and explain every parameter."""

import io
import re
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

import envs
from jaxrl.cli import docstrings
from jaxrl.cli.catalogue import catalogue
from jaxrl.cli.main import main
from jaxrl.errors import ResultsError
from tools import environment_pages
from tools.environment_pictures import DRAWINGS, pictures

FOLDER = Path(__file__).parents[2] / "docs" / "environments"
RENEW = f"The pages are not those of the code. Renew them: {environment_pages.COMMAND}"
MOST_BYTES, MOST_BYTES_TOGETHER = 30_000, 2_000_000

entries = cache(catalogue)  # building all environments takes a while


def drawn():
    return {path.stem for path in (FOLDER / "images").glob("*.png")}


def test_pages_are_those_of_the_code():
    written = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    texts = environment_pages.pages(entries(), drawn())
    assert sorted(written) == sorted(texts), RENEW
    for name, text in texts.items():
        assert written[name] == text, f"{name}: {RENEW}"


def test_pages_hold_every_environment_once():
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.md"))
    headings = [line.lstrip("# ") for line in text.splitlines() if line.startswith(("## ", "### "))]
    for name in envs.REGISTRY:
        assert headings.count(name) == 1, f"{name}: {RENEW}"


@pytest.mark.parametrize("name", envs.REGISTRY)
def test_every_parameter_is_explained(name):
    (entry,) = (entry for entry in entries() if entry.name == name)
    silent = [parameter for parameter, (_, text) in environment_pages.explained(entry).items() if not text]
    assert not silent, f"{name}: say what {silent} are in the Args section of its factory"


def test_every_environment_has_a_picture():
    assert drawn() == set(envs.REGISTRY), RENEW


def test_drawings_are_of_environments_that_exist():
    assert set(DRAWINGS) <= {entry.module.__name__.rpartition(".")[2] for entry in entries()}


def test_pictures_are_small_and_show_something():
    paths = list((FOLDER / "images").glob("*.png"))
    for path in paths:
        assert path.stat().st_size < MOST_BYTES, path
        assert_shows_something(Image.open(path))
    assert sum(path.stat().st_size for path in paths) < MOST_BYTES_TOGETHER


def assert_shows_something(image):
    assert 20 <= min(image.size) <= max(image.size) <= 800
    assert len(image.convert("RGB").getcolors(maxcolors=1 << 12)) > 2


@pytest.mark.parametrize("name", ["frozen_lake", "chicken", "bernoulli_bandit", "tic_tac_toe", "pendulum"])
def test_a_picture_is_drawn_again(name):
    drawn = pictures([entry for entry in entries() if entry.name == name])
    assert_shows_something(Image.open(io.BytesIO(drawn[name])))
    assert drawn == pictures([entry for entry in entries() if entry.name == name])


def test_links_lead_somewhere():
    for path in FOLDER.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            assert (FOLDER / target).exists(), f"{path.name} links {target}. {RENEW}"


def test_pages_are_written(tmp_path, monkeypatch):
    few = [entry for entry in entries() if entry.name in ("corridor", "climb", "penalty")]
    monkeypatch.setattr(environment_pages, "catalogue", lambda: few)
    assert environment_pages.write(tmp_path / "new") == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"README.md", "gridworlds.md", "matrix_games.md", "images"}
    assert {path.stem for path in (tmp_path / "new" / "images").iterdir()} == {"corridor", "climb", "penalty"}
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="must be writable"):
        environment_pages.write(tmp_path / "file")


def test_a_wrong_command_is_explained(capsys):
    assert main(["envz"]) == 2
    assert "Did you mean 'envs'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("``a * b`` times 2 * 3", r"`a * b` times 2 \* 3"),
        ("x_i stays, _private does not", r"x_i stays, \_private does not"),
        ("a < b in [0, 1]", r"a \< b in [0, 1]"),
    ],
)
def test_docstrings_become_markdown(text, markdown):
    assert docstrings.markdown(text) == [markdown]


def test_formulas_become_code():
    assert docstrings.markdown("Moves:\n\n    x' = A x\n      + b\n\nEnd.") == [
        "Moves:",
        "```\nx' = A x\n  + b\n```",
        "End.",
    ]


def test_arguments_are_read_off_a_docstring():
    def factory(mass, length, note=None):
        """Builds it.

        Args:
            mass: kg, of
                all. length: in m: exact.

        Raises:
            note: nothing.
        """

    assert docstrings.arguments(factory) == {"mass": "kg, of all.", "length": "in m: exact."}
