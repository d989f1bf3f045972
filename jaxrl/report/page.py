"""A run as one HTML page that needs nothing else: no network, its figures, replays and charts inside.

Animations come from ``<run>/replays/*.gif``, which experiments write; see ``jaxrl.report.films``.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from jaxrl.report.charts import charts
from jaxrl.report.style import caption
from jaxrl.results.gaps import find_gaps
from jaxrl.results.progress import duration, quantity
from jaxrl.results.run_directory import RunDirectory
from jaxrl.results.storage import replacing

LONGEST_VALUE = 160  # characters of a configuration value before it is cut
LONGEST_TABLE = 30  # rows; a longer one is folded
LARGEST_REPLAY = 4 * 2**20  # bytes of an animation inside the page; a larger one is only named
FAILED_SEEDS_NAMED = 50  # of each arm
MISSING = "n/a"
KINDS = {"metrics": "", "evaluations": " (evaluation)", "measurements": " (measurement)"}  # behind the name of a metric
STYLE = Path(__file__).with_name("report.css")


def write_report(run: RunDirectory | str | Path) -> Path:
    """Writes ``report.html`` into a run directory from what lies in it: also for a run that was stopped.

    Args:
        run: the run, or the path of its directory.

    Returns:
        The path of the report.

    Raises:
        ResultsError: something in the directory cannot be read, or the report cannot be written.
    """
    run = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    summary, versions, claims = run.summary(), run.versions(), run.claims()
    runs = summary.get("runs", {})
    results = summary["results"] if "results" in summary else run.summarise()
    sections = [
        _header(run, claims, _unfinished(run, runs), find_gaps(run) if run.finished else []),
        _facts(runs, versions),
        _section("Claims", "".join(map(_claim, claims)), "This run checks no claim."),
        charts(run),
        _section("Results", _results(results), "Nothing has been measured yet."),
        _section("Figures", _figures(run.figures), "No figure has been drawn."),
        _section("Replays", replays) if (replays := _replays(run.path / "replays")) else "",
        _section("Failed seeds", _failed_seeds(runs), "None: every value of every seed stayed finite."),
        _section("Time", _time(runs), "No training has ended."),
        _section("Configuration and versions", _pairs("Configuration", run.config()) + _pairs("Versions", versions)),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(run.experiment)}: results</title>\n<style>\n{STYLE.read_text()}</style>\n</head>\n<body>\n<main>\n"
        f"{''.join(sections)}</main>\n</body>\n</html>\n"
    )
    path = run.path / "report.html"
    with replacing(path) as file:
        file.write(page.encode())
    return path


def _unfinished(run: RunDirectory, runs: Mapping[str, Any]) -> list[str]:
    """Returns the arms that did not make all their updates, or whose process was killed."""

    trained = {*runs, *(entry["arm"] for entry in run.trainings()), *run.arms("metrics"), *run.arms("evaluations")}
    return sorted(arm for arm in trained if arm not in runs or runs[arm]["updates"] < runs[arm]["planned_updates"])


def _header(run: RunDirectory, claims: Sequence[Mapping[str, Any]], unfinished: Sequence[str], gaps: Sequence[str] = ()) -> str:
    text = f'<h1>{escape(run.experiment)}</h1>\n<p class="soft">Run {escape(run.path.resolve().name)}</p>\n'
    if claims:
        held, failed, still_open = (sum(claim["verdict"] == word for claim in claims) for word in ("holds", "fails", "open"))
        verdict = "holds" if held == len(claims) else "fails" if failed else "open"
        words = f"Claims that hold: {held} of {len(claims)}" + (f", open: {still_open}" if still_open else "")
        text += f'<p class="{verdict}"><span class="verdict">{words}</span></p>\n'
    if unfinished:
        which = f" ({', '.join(unfinished)})" if any(unfinished) else ""
        text += f'<p class="open"><span class="verdict">Stopped early, or still under way{escape(which)}</span></p>\n'
    if gaps:
        text += f'<p class="fails"><span class="verdict">Rows are missing: {escape("; ".join(gaps))}</span></p>\n'
    return text


def _facts(runs: Mapping[str, Any], versions: Mapping[str, Any]) -> str:
    device = versions["device"]
    facts = {"Device": f"{device['count']} x {device['kind']}"}
    if runs:
        parts = runs.values()
        steps = [part["env_steps"] for part in parts if part["env_steps"] is not None]
        measured = [part for part in parts if part["env_steps_per_second"] is not None]
        running = [part["seconds"] - part["compile_seconds"] for part in measured]
        stepped = sum(part["env_steps_per_second"] * time for part, time in zip(measured, running, strict=True))
        facts = {
            "Seeds": f"{max(part['seeds'] for part in parts):,}",
            "Wall time": duration(sum(part["seconds"] for part in parts)),
            "of it compiling": duration(sum(part["compile_seconds"] for part in parts)),
            "Environment steps": quantity(sum(steps)) if steps else MISSING,
            "Steps per second": quantity(stepped / sum(running)) if stepped > 0 else MISSING,
            **facts,
        }
    tiles = [f'<div class="card"><b>{escape(value)}</b><span class="soft">{name}</span></div>' for name, value in facts.items()]
    return f'<div class="facts">{"".join(tiles)}</div>\n'


def _section(title: str, body: str, otherwise: str = "") -> str:
    return f"<section>\n<h2>{title}</h2>\n{body or f'<p>{otherwise}</p>'}\n</section>\n"


def _claim(claim: Mapping[str, Any]) -> str:
    verdict = claim["verdict"]
    measured = ""
    if claim.get("value") is not None:
        measured = f"Measured {_number(claim['value'])}"
        if claim.get("low") is not None and claim.get("high") is not None:
            measured += f", 95 % interval {_interval(claim)}"
    details = [measured, claim.get("criterion"), claim.get("detail"), claim.get("source") and f"Source: {claim['source']}"]
    lines = "".join(f'<p class="soft">{escape(str(line))}</p>' for line in details if line)
    text = f'<p><span class="verdict">{verdict.capitalize()}</span> {escape(str(claim["text"]))}</p>'
    return f'<div class="card claim {verdict}">{text}{lines}</div>\n'


def _results(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return ""
    heads = ("Arm", "Metric", "IQM", "95 % interval", "Mean", "Median", "Minimum", "Maximum", "Seeds")
    rows = []
    for row in results:
        metric = row["metric"] + KINDS.get(row.get("table", ""), "")
        seeds = f"{row['seeds']} of {row['seeds'] + row['missing']}" if row["missing"] else str(row["seeds"])
        spread = (_number(row[name]) for name in ("mean", "median", "minimum", "maximum"))
        rows.append((row["arm"], metric, _number(row["iqm"]), _interval(row), *spread, seeds))
    note = "Final values over seeds. IQM: interquartile mean, the mean of the middle half of the seeds."
    return f'{_table(heads, rows, text_columns=2)}<p class="soft">{note}</p>'


def _figures(folder: Path) -> str:
    figures = []
    for path in sorted(folder.glob("*.png")):
        text = escape(caption(path)).replace(" %", "&nbsp;%")
        data = base64.b64encode(path.read_bytes()).decode()
        figures.append(f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n')
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else ""


def _replays(folder: Path) -> str:
    replays = []
    for path in sorted(folder.glob("*.gif")):
        text = escape(caption(path) or path.stem.replace("_", " "))
        if path.stat().st_size > LARGEST_REPLAY:
            replays.append(
                f"<figure><figcaption>{text}: too large for this page, see replays/{escape(path.name)}.</figcaption></figure>\n"
            )
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        image = f'<img alt="{text}" src="data:image/gif;base64,{data}">'
        replays.append(f'<figure class="replay">{image}<figcaption>{text}</figcaption></figure>\n')
    return f'<div class="gallery">{"".join(replays)}</div>' if replays else ""


def _failed_seeds(runs: Mapping[str, Any]) -> str:
    rows = []
    for arm, facts in runs.items():
        failures = list(facts["failed_seeds"].items())
        for seed, failure in failures[:FAILED_SEEDS_NAMED]:
            known = failure if isinstance(failure, dict) else {"update": failure}  # all that early summaries hold
            rows.append((arm, seed, f"{known['update']:,}", known.get("place", MISSING)))
        if len(failures) > FAILED_SEEDS_NAMED:
            rows.append((arm, f"and {len(failures) - FAILED_SEEDS_NAMED} more", "", "see summary.json"))
    if not rows:
        return ""
    some = {name: facts for name, facts in runs.items() if facts["failed_seeds"]}
    counts = [f"{len(facts['failed_seeds'])} of {facts['seeds']:,}" + f" ({name})" * bool(name) for name, facts in some.items()]
    note = f"Seeds in quarantine, frozen before their first bad update: {', '.join(counts)}."
    heads = ("Arm", "Seed", "First bad update", "Value that was not finite")
    return f'<p class="soft">{escape(note)}</p>{_table(heads, rows, text_columns=4)}'


def _time(runs: Mapping[str, Any]) -> str:
    heads = ("Arm", "Seeds", "Devices", "Updates", "Environment steps", "Wall time", "Compiling", "Steps per second")
    rows = []
    for name, facts in runs.items():
        resumed = f" (from {facts['first_update']})" if facts["first_update"] else ""
        steps, speed = facts["env_steps"], facts["env_steps_per_second"]
        rows.append(
            (
                name,
                f"{facts['seeds']:,}",
                str(facts["devices"]),
                f"{facts['updates']:,} of {facts['planned_updates']:,}{resumed}",
                MISSING if steps is None else f"{steps:,}",
                duration(facts["seconds"]),
                duration(facts["compile_seconds"]),
                MISSING if speed is None else quantity(speed),
            )
        )
    return _table(heads, rows, text_columns=1) if rows else ""


def _pairs(title: str, value: Any) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>\n" for name, text in _flatten("", value))
    table = f'<div class="scroll"><table class="pairs">{rows}</table></div>'
    return f'<details class="card"><summary>{title}</summary>{table}</details>\n'


def _flatten(name: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _flatten(f"{name}.{key}" if name else key, entry)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield name, text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """Returns an escaped table that scrolls by itself on a narrow screen.

    Args:
        heads: what each column is. A column without any entry is left out.
        rows: the entries.
        text_columns: how many of the first columns hold text; the others hold numbers.
    """
    shown = [index for index in range(len(heads)) if any(row[index] for row in rows)]

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = {index: ' class="number"' if index >= text_columns else "" for index in shown}
        entries = (f"<{tag}{kinds[index]}>{escape(cells[index])}</{tag}>" for index in shown)
        return f"<tr>{''.join(entries)}</tr>\n"

    body = "".join(line("td", row) for row in rows)
    table = f"<table><thead>{line('th', heads)}</thead><tbody>{body}</tbody></table>"
    if len(rows) > LONGEST_TABLE:
        return f'<details class="card"><summary>{len(rows)} rows</summary><div class="scroll">{table}</div></details>\n'
    return f'<div class="card scroll">{table}</div>\n'


def _number(value: float | str | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _interval(row: Mapping[str, Any]) -> str:
    return f"[{_number(row['low'])}, {_number(row['high'])}]"
