"""The progress sink: a bar in a terminal, lines elsewhere."""

import io
import re
import sys

import numpy as np
import pytest

from jaxrl.results import progress
from jaxrl.results.progress import Progress, duration, quantity
from jaxrl.results.sinks import Chunk, Failure, Plan, RunSummary

SUMMARY = RunSummary(seconds=42.0, compile_seconds=5.0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The clock that the sink looks at: ``clock.now`` seconds."""

    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls):
            return cls.now

    monkeypatch.setattr(progress, "time", Clock)
    return Clock


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "150")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def follow(stream, clock=None, steps=100, seconds=(5.0, 1.0, 1.0, 1.0), metrics=("episode_return",), summary=SUMMARY, upto=4):
    """Shows four chunks of 10 updates of 8 seeds."""
    sink = Progress("exp", metrics, stream)
    sink.begin(Plan(np.arange(8), 40, 10, steps, 1))
    for index in range(upto):
        if clock is not None:
            clock.now += 4.0
        values = np.full((8, 10), 10.0 * index)
        values[0] = np.nan
        evaluation = {"greedy_return": np.full(8, 7.5)} if index == 2 else {}
        sink.chunk(Chunk(10 * index, np.arange(len(values)), {"episode_return": values}, evaluation, seconds[index]))
    sink.end(summary)
    return stream.getvalue()


def test_lines_come_seldom_and_end_with_one(clock):
    lines = follow(io.StringIO(), clock).splitlines()
    assert len(lines) == 2
    # The first chunk took 5 s: 10 updates of 8 seeds of 100 steps each, 30 updates to go.
    assert lines[0] == "exp: 10/40 updates (25 %)  1.6k steps/s  episode_return 0"  # its time is that of compiling
    assert lines[1] == "exp: 40/40 updates  done after 42 s, 5 s of it compiling  8k steps/s  episode_return 30"


def test_a_line_at_most_every_ten_seconds(clock):
    sink = Progress("exp", (), stream := io.StringIO())
    sink.begin(Plan(np.arange(1), 100, 1, 1, 1))
    for index in range(50):
        clock.now = float(index)
        sink.chunk(Chunk(index, np.arange(1), {"x": np.zeros((1, 1))}, {}, 1.0))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["1/100", "11/100", "21/100", "31/100", "41/100"]


def test_the_time_left_forgets_the_chunk_that_compiled(clock):
    sink = Progress("exp", (), stream := io.StringIO(), seconds_between_lines=0)
    sink.begin(Plan(np.arange(1), 100, 10, 1, 1))
    for index, seconds in enumerate((50.0, 2.0, 4.0)):
        sink.chunk(Chunk(10 * index, np.arange(1), {"x": np.zeros((1, 10))}, {}, seconds))
    lines = [line.split("  ")[2:] for line in stream.getvalue().splitlines()]
    assert lines == [[], ["16 s left"], ["21 s left"]]


def test_evaluations_data_sets_and_interruptions(clock):
    summary = SUMMARY._replace(interrupted=True)
    text = follow(io.StringIO(), clock, steps=None, metrics=("greedy_return", "unknown"), summary=summary, upto=3)
    assert text.splitlines()[-1] == "exp: 30/40 updates  stopped after 42 s, 5 s of it compiling  80 updates/s  greedy_return 7.5"


def test_failed_seeds_are_named(clock):
    failures = {seed: Failure(0, "metric x") for seed in range(11, -1, -1)}
    text = follow(io.StringIO(), clock, summary=SUMMARY._replace(failed_seeds=failures))
    assert text.splitlines()[-1] == "exp: 12 of 8 seeds in quarantine: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."


def test_seeds_are_named_as_they_fail_but_not_all_of_thousands(clock):
    sink = Progress("exp", (), stream := io.StringIO(), seconds_between_lines=1e9)
    sink.begin(Plan(np.arange(20), 100, 10, 1, 1))
    for first, failed in ((0, range(3)), (10, range(3, 20))):
        failures = {seed: Failure(first + seed, "metric loss") for seed in failed}
        sink.chunk(Chunk(first, np.arange(20), {"x": np.zeros((20, 10))}, {}, 1.0, failures))
    lines = [line for line in stream.getvalue().splitlines() if "quarantine" in line]
    assert len(lines) == 10
    assert lines[2] == "exp: seed 2 goes into quarantine at update 2: metric loss is not finite"


def test_batches_of_seeds_and_resumed_runs_count_what_is_done(clock):
    sink = Progress("exp", (), stream := io.StringIO(), seconds_between_lines=0)
    sink.begin(Plan(np.arange(4), 100, 50, 1, 1, first_updates=np.full(4, 25)))
    sink.chunk(Chunk(50, np.arange(2), {"x": np.zeros((2, 50))}, {}, 2.0))
    sink.chunk(Chunk(0, np.arange(2, 4), {"x": np.zeros((2, 50))}, {}, 2.0))
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == [
        "exp: 50/100 updates (50 %)",
        "exp: 75/100 updates (75 %)",
    ]


def test_nothing_measured_yet():
    sink = Progress(stream=(stream := io.StringIO()))
    sink.begin(Plan(np.arange(2), 10, 5, 1, 1))
    sink.end(SUMMARY._replace(interrupted=True))
    assert stream.getvalue() == "run: 0/10 updates  stopped after 42 s, 5 s of it compiling\n"


def test_a_terminal_gets_a_bar(terminal):
    text = follow(terminal)
    assert "\x1b[3" in text
    assert "━" in text
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).splitlines()[-1]
    for part in ("exp", "40/40", "8k steps/s", "done after 42 s", "episode_return 30"):
        assert part in last


def test_no_color_is_respected(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = follow(terminal)
    assert "━" in text
    assert not re.search(r"\x1b\[[0-9;]*m", text)


@pytest.mark.parametrize("why", ["dumb", "no rich"])
def test_lines_where_no_bar_can_be_drawn(terminal, monkeypatch, why):
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    text = follow(terminal)
    assert "\x1b" not in text
    assert "\r" not in text
    assert text.splitlines()[-1].startswith("exp: 40/40 updates  done after 42 s")


def test_titles_and_metrics_are_not_markup(terminal):
    sink = Progress("[red]title", ("[bold]x",), terminal)
    sink.begin(Plan(np.arange(1), 1, 1, 1, 1))
    sink.chunk(Chunk(0, np.arange(1), {"[bold]x": np.ones((1, 1))}, {}, 1.0))
    sink.end(SUMMARY)
    assert "[red]title" in terminal.getvalue()
    assert "[bold]x 1" in terminal.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (999.4, "999"), (999.6, "1k"), (1234, "1.23k"), (2.5e6, "2.5M"), (999_700_000, "1G")]
)
def test_quantity(value, text):
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "0.012 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
