"""The door for people: the page, its server, what it refuses, and that nothing that was answered is lost."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import chex
import numpy as np
import pytest

import jaxrl
from jaxrl.algorithms.preferences import labels as tables
from jaxrl.algorithms.preferences.segments import Segments
from jaxrl.cli import label as cli
from jaxrl.cli.main import main
from jaxrl.errors import ConfigError, DataError
from jaxrl.report.label_page import label_page
from jaxrl.results import questions
from jaxrl.results.questions import Film, Question
from tests.answering import Browser, read_page

DOT = questions.png(np.zeros((2, 3, 3), np.uint8))
FOLDER = "questions/arm/before-0000000001"


@pytest.fixture
def segments(tmp_path) -> Path:
    """Segments of a user's own, as curves."""
    films = {f"s{place}": Film(numbers={"height": np.arange(3.0) * place}) for place in range(4)}
    questions.write(tmp_path / "own", films, [])
    path = tmp_path / "own.parquet"
    (tmp_path / "own.segments.parquet").rename(path)
    return path


@contextlib.contextmanager
def serving(path, **options):
    """Serves what ``jaxrl label PATH`` asks; yields a person's browser."""
    options = cli.Label(run=str(path), **options)
    asked = cli._of_file(path, options) if path.suffix == ".parquet" else cli._of_run(options)
    with cli.Server(asked, options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Browser(server.address)
        server.shutdown()
        thread.join()


def lines(folder, rater="ada"):
    return [json.loads(line) for line in (folder / f"{rater}.jsonl").read_text().splitlines()]


# ---- one answer after the other


def test_answers_are_on_the_disk_before_they_are_confirmed_and_the_last_one_counts(segments):
    labels = segments.with_name("own-labels")
    with serving(segments, pairs=3) as ada:
        pairs = ada.data()["questions"]
        assert len(pairs) == 3
        assert ada.answer(most=1) == 1
        (line,) = lines(labels)
        assert line["time"].startswith("20")
        del line["time"]
        assert line == {**pairs[0], "answer": "first", "label": 1.0, "rater": "ada", "seconds": 1.5}
        assert ada.post("answers", {**pairs[0], "answer": "skip", "rater": "ada"})[0] == 200  # taken back
        assert ada.given() == {pairs[0]["query"]: "skip"}
    with serving(segments, pairs=3) as ada:  # another day: the same pairs, the first one answered
        assert ada.data()["questions"] == pairs
        assert ada.given() == {pairs[0]["query"]: "skip"}
        assert ada.answer() == 2
        assert ada.given() == dict(zip((pair["query"] for pair in pairs), ("skip", "second", "equal"), strict=True))
        bo = Browser(f"http://{ada._host}{ada._path}", "Bo Ö. 2")
        assert bo.given() == {}
        assert bo.answer() == 3
        assert ada.finish().startswith("jaxrl.algorithms.preferences.labels.read")
    read = tables.read(labels / "ada.jsonl", Segments(None, None, None, np.ones((4, 3), bool)), ["s0", "s1", "s2", "s3"])
    np.testing.assert_array_equal(read.label, [0.5, 0.0, 0.5])
    np.testing.assert_array_equal(read.weight, [0.0, 1.0, 1.0])
    assert [f"s{number}" for number in read.first.tolist()] == [pair["first"] for pair in pairs]
    assert len(lines(labels)) == 4
    assert len(lines(labels, "Bo Ö. 2")) == 3


def test_a_page_that_is_still_open_finds_the_next_server(segments):
    """The same address, unless somebody else has taken the port; others cannot read the secret."""
    with serving(segments) as ada:
        first = ada._host, ada._path
    file = segments.with_name("own-labels") / cli.ADDRESS
    assert file.stat().st_mode & 0o077 == 0
    with serving(segments) as ada:
        assert (ada._host, ada._path) == first
        with serving(segments) as bo:
            assert bo._path == ada._path
            assert bo._host != ada._host
    for damaged in ("", "[]", '{"port": 1, "token": ""}', '{"port": "80", "token": "x"}'):
        file.write_text(damaged)
        with serving(segments) as ada:
            assert ada._path != first[1]


def test_a_line_that_a_kill_cut_short_is_no_answer_and_makes_room(segments):
    labels = segments.with_name("own-labels")
    with serving(segments, pairs=2) as ada:
        ada.answer(most=1)
        with (labels / "ada.jsonl").open("a") as file:
            file.write('{"query": "pair-1", "ans')
        assert len(ada.given()) == 1
        assert ada.answer() == 1
    assert [line["query"] for line in lines(labels)] == ["pair-0", "pair-1"]


def test_requests_of_others_are_refused(segments):
    kind = {"Content-Type": "application/json"}
    with serving(segments) as ada:
        own = ada.data()["questions"][0] | {"answer": "first", "rater": "ada"}
        host, path = ada._host, ada._path
        port = host.rpartition(":")[2]
        assert ada.request(Host=f"localhost:{port}")[0] == 200
        for headers in ({"Host": f"evil.example:{port}"}, {"Host": "127.0.0.1:1"}, {"Origin": "http://evil.example"}):
            assert ada.request(**headers)[0] == 403
            assert ada.request("POST", "answers", json.dumps(own), **kind, **headers)[0] == 403
        assert ada.request("POST", "answers", json.dumps(own), **kind, Origin=f"http://{host}")[0] == 200
        assert ada.request("POST", "answers", json.dumps(own), **{"Content-Type": "text/plain"})[0] == 415
        assert ada.post("answers", " " * (cli.LARGEST_MESSAGE + 1))[0] == 413
        assert ada.request("POST", "answers", iter([b"{}"]), **kind, **{"Transfer-Encoding": "chunked"})[0] == 411
        assert ada.request(name="../x")[0] == 404
        assert ada.post("other", {})[0] == 404
        ada._path = "/" + "x" * (len(path) - 2) + "/"
        assert ada.request()[0] == 404
    assert len(lines(segments.with_name("own-labels"))) == 1


BAD = [
    ([], "no JSON object"),
    ({"query": "pair-99"}, "query 'pair-99' is no question of this run"),
    ({"query": ["pair-0"]}, "is no question"),
    ({"answer": "left"}, "answer 'left' is none of first, second, equal, skip"),
    ({"answer": ["first"]}, "is none of"),
    ({"label": 0.5}, "label 0.5 is not that of 'first', 1.0"),
    ({"rater": "../../etc/passwd"}, "rater '../../etc/passwd' is no name"),
    ({"rater": ".hidden"}, "is no name"),
    ({"rater": "a\n"}, "is no name"),
    ({"rater": ""}, "is no name"),
    ({"first": "other"}, "first 'other' is not"),
    ({"seconds": -1}, "seconds -1 is no number of at least 0"),
    ({"seconds": float("nan")}, "seconds nan"),
    ({"time": "noon"}, "time 'noon' is none"),
    ({"more": 1}, "'more' is no field"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_is_no_answer_is_refused_with_a_reason(segments, change, message):
    with serving(segments) as ada:
        good = {**ada.data()["questions"][0], "answer": "first", "rater": "ada"}
        status, text = ada.post("answers", good | change if isinstance(change, dict) else change)
        assert (status, message in text) == (400, True), text
        assert ada.post("answers", "{")[0] == 400
        assert ada.post("answers", "[" * 9000)[0] == 400
    assert not list(segments.with_name("own-labels").glob("*.jsonl"))


# ---- the page


def test_a_page_holds_no_markup_of_others():
    evil = "</script><script>alert(1)</script><!--"
    films = {evil: Film((DOT, DOT)), "b": Film((DOT,), {evil: np.array([1.0, np.nan])}), "unused": Film((b"x",))}
    page = label_page(evil, [Question("q", evil, "b")], films, evil, evil)
    assert "alert(1)</script>" not in page.replace("&lt;", "")
    assert page.count("<script") == page.count("</script>") == 2
    data = read_page(page)
    assert (data["questions"][0]["first"], data["rater"]) == (evil, evil)
    assert data["pictures"] == data["pictures"][:1]  # three frames, one picture
    assert data["segments"][evil]["frames"] == [0, 0]
    assert data["segments"]["b"]["numbers"] == {evil: [1.0, None]}
    assert "unused" not in data["segments"]


def test_a_page_needs_nothing_from_elsewhere():
    page = label_page("run", [], {})
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert "connect-src 'none'" in label_page("run", [], {}, server=False)


def test_a_page_for_somebody_else_and_back(segments, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["label", str(segments), "--pairs", "3", "--page", str(page), "--question", "Which climbs?"]) == 0
    text = page.read_text()
    assert "<h1>Which climbs?</h1>" in text
    data = read_page(text)
    assert not data["server"]
    rows = [{**pair, "answer": "second", "rater": "eve", "time": "2026-01-01T10:00:00.000Z"} for pair in data["questions"]]
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        "".join(f"{json.dumps(row)}\n" for row in [rows[0], {**rows[1], "answer": "x", "rater": ""}, rows[2] | {"query": 3}])
    )
    assert main(["label", str(segments), "--pairs", "3", "--read", str(answers)]) == 2
    said = capsys.readouterr().err
    assert "row 2: answer 'x' is none of" in said
    assert "rater '' is no name" in said
    assert "row 3: query 3 is no question of this run" in said
    assert not segments.with_name("own-labels").exists()
    answers.write_text("".join(f"{json.dumps(row)}\n" for row in rows[:2]))
    assert main(["label", str(segments), "--pairs", "3", "--read", str(answers)]) == 0
    assert "1 answer is missing of 3 pairs" in capsys.readouterr().err
    answers.write_text(json.dumps(rows[2]))
    assert main(["label", str(segments), "--pairs", "3", "--read", str(answers)]) == 0
    assert "all 3 pairs are answered" in capsys.readouterr().err
    assert [line["label"] for line in lines(segments.with_name("own-labels"), "eve")] == [0.0, 0.0, 0.0]


# ---- the command


def test_what_cannot_be_labelled(segments, tmp_path, capsys):
    assert main(["label", str(segments), "--port", "99999"]) == 2
    assert main(["label", str(segments), "--rater", "a/b"]) == 2
    assert main(["label", str(segments), "--pairs", "0"]) == 2
    assert main(["label"]) == 2
    (segments.with_name("own-labels")).mkdir(exist_ok=True)
    (segments.with_name("own-labels") / "ada.jsonl").write_text('{"query": "pair-0"}\n')
    assert main(["label", str(segments)]) == 2
    assert "answers ada.jsonl: every row must be valid, got row 1: answer None is none of" in capsys.readouterr().err
    (segments.with_name("own-labels") / "ada.jsonl").unlink()
    with serving_port() as port, pytest.raises(ConfigError, match=f"port {port} must be free"):
        cli.label(cli.Label(run=str(segments), port=port))
    segments.write_bytes(b"nothing")
    with pytest.raises(DataError, match="must be a readable Parquet file"):
        questions.films(segments)


@contextlib.contextmanager
def serving_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_labels_of_a_person_train_a_reward_and_a_policy(tmp_path, capsys, monkeypatch):
    """The whole way by the real server: close in the middle, come back, a second rater, resume, until the end; and at once."""
    monkeypatch.chdir(tmp_path)
    how = ["--answers", "people", "--rounds", "2", "--queries", "3", "--raters", "2", "--checkpoint-seconds", "0"]
    assert main(["run", "own_answers", *how, "--keep-checkpoints", "9"]) == 0
    said = capsys.readouterr().err
    (folder,) = (tmp_path / "runs/own_answers").iterdir()
    assert "own_answers: 3 pairs wait for answers, 6 answers in all" in said
    assert f"answer them: jaxrl label runs/own_answers/{folder.name}, then go on: jaxrl resume" in said
    for visit in range(2):
        with serving(folder) as ada:
            assert len(ada.data()["pictures"]) > 1
            assert ada.answer(most=2, choose=lambda place: "first") == 2
        with serving(folder) as ada:  # closed in the middle and opened again
            assert ada.answer() == 1
            assert (
                Browser(f"http://{ada._host}{ada._path}", "bo").answer(choose=lambda place: "second" if place else "first") == 3
            )
        assert main(["resume", "own_answers", "--checkpoint-seconds", "0", "--keep-checkpoints", "9"]) == 0
        assert ("3 pairs wait" in capsys.readouterr().err) == (visit == 0)
    trained = jaxrl.load("own_answers", "runs").arm()
    before, after = trained.at(1).state(), trained.state()
    assert not np.array_equal(before.reward.params, after.reward.params)
    assert not np.array_equal(before.learner.q, after.learner.q)
    np.testing.assert_array_equal(after.preferences.weight, [2] * 6 + [0] * 3)
    np.testing.assert_array_equal(after.preferences.label[:6], [1.0, 0.5, 0.25] * 2)
    assert main(["label", "own_answers"]) == 2
    assert "the run must wait for answers" in capsys.readouterr().err

    # The same answers, there from the beginning: one run without a stop, the same to the last bit.
    assert main(["run", "own_answers", *how]) == 0
    capsys.readouterr()
    other = next(path for path in (tmp_path / "runs/own_answers").iterdir() if path != folder)
    for name in ("questions", "labels"):
        if (other / name).exists():
            (other / name).rename(other / f"{name}-unused")
        (folder / name).rename(other / name)
    assert main(["resume", str(other)]) == 0
    assert "wait" not in capsys.readouterr().err
    whole = jaxrl.load(other, "runs").arm().state()
    for name in ("reward", "learner", "preferences"):
        chex.assert_trees_all_equal(getattr(whole, name), getattr(after, name))


@pytest.mark.each
def test_a_killed_server_loses_nothing(segments):
    command = [sys.executable, "-m", "jaxrl", "label", str(segments), "--pairs", "3"]
    for answered, most in ((0, 2), (2, None)):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        ada = Browser(process.stdout.readline().strip())
        assert len(ada.given()) == answered
        ada.answer(most=most)
        if most:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
    ada.finish()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "all 3 pairs are answered" in said
