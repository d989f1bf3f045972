"""Numbers from measurements: medians and ratios, the tables that are printed and the file that is kept.

A record is what is stored of one contender in one comparison, a plain dict; see ``record``.
"""

import itertools
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.plan import NO_RESETS, OURS, POOL, Comparison, Entry

Record = dict[str, Any]
MEGABYTE = 1e6


def record(
    comparison: Comparison, entry: Entry, starts: Sequence[Mapping[str, Any]], repeats: Sequence[Mapping[str, Any]]
) -> Record:
    """Returns everything that was measured of one contender.

    Args:
        comparison, entry: what was measured.
        starts: the first report of each process; a second process found the compiled programs of the first.
        repeats: the later reports of the last process.

    Returns:
        ``group``, ``name``, ``seeds``, ``contender``, ``ours``, ``arguments``, ``device``, ``starts`` (``ready_seconds`` of every
        case, ``baseline_bytes``, ``peak_bytes``, and ``answers`` where there are any), ``peak_bytes`` (of the measured process),
        ``cases``: name -> raw ``steps`` and ``seconds`` (and what else was found) of every repeat, ``steps_per_second`` of every
        repeat, ``median``, ``lowest`` and ``highest``.
    """
    names = repeats[0]["cases"] if repeats else ()
    return {
        "group": comparison.group,
        "name": comparison.name,
        "seeds": comparison.seeds,
        "contender": entry.contender,
        "ours": entry.is_ours,
        "arguments": dict(entry.arguments),
        "device": starts[-1]["device"] if starts else None,
        "starts": [{key: value for key, value in start.items() if key != "device"} for start in starts],
        "peak_bytes": max((report["peak_bytes"] for report in [*starts[-1:], *repeats]), default=None),
        "cases": {name: _case([report["cases"][name] for report in repeats]) for name in names},
    }


def _case(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rates = [one["steps"] / one["seconds"] for one in measured]
    raw = {key: [one[key] for one in measured] for key in measured[0]}
    return {
        **raw,
        "steps_per_second": rates,
        "median": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
    }


def ratios(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Compares each of ours with each peer, case by case.

    Returns:
        A dict per pair and case: ``ratio`` of the medians of steps per second, ours over the peer's; ``lowest`` and
        ``highest`` of the ratios of single repeats, each of which compares two measurements made in the same round.
    """
    found = []
    for ours, peer in itertools.product(records, records):
        same = (ours["group"], ours["name"]) == (peer["group"], peer["name"])
        if not same or not ours["ours"] or peer["ours"] or ours["contender"] == NO_RESETS:
            continue
        for case in (case for case in ours["cases"] if case in peer["cases"]):
            a, b = ours["cases"][case], peer["cases"][case]
            pairs = [x / y for x, y in zip(a["steps_per_second"], b["steps_per_second"], strict=False)]
            found.append(
                {
                    "group": ours["group"],
                    "name": ours["name"],
                    "case": case,
                    "ours": ours["contender"],
                    "peer": peer["contender"] + (f" on {peer['device']}" if peer["device"] != ours["device"] else ""),
                    "ratio": a["median"] / b["median"],
                    "lowest": min(pairs),
                    "highest": max(pairs),
                }
            )
    return found


def disagreements(records: Sequence[Record], within: float) -> dict[str, str]:
    """Compares the answers of each of ours with those of each peer, number by number.

    Args:
        records: of one comparison.
        within: by how much numbers may differ.

    Returns:
        contender, of ours -> a number that differs by more, or is none, in words; nothing if all agree.
    """
    found = {}
    for ours, peer in itertools.product(records, records):
        if ours["ours"] and not peer["ours"] and ours["starts"] and peer["starts"]:
            for name, mine, theirs in _answer_pairs(ours, peer):
                if abs(mine - theirs) <= within:
                    continue
                found[ours["contender"]] = f"{name} is {mine:.9g}, and {theirs:.9g} by {peer['contender']}"
    return found


def _answer_pairs(ours: Record, peer: Record) -> list[tuple[str, float, float]]:
    """Returns the name of each number of an answer, and the number in either."""
    mine, theirs = (one["starts"][0].get("answers", {}) for one in (ours, peer))
    pairs = ((case, part) for case in mine if case in theirs for part in mine[case])
    return [(part, mine[case][part], theirs[case][part]) for case, part in pairs]


def tables(records: Sequence[Record]) -> list[Table]:
    """Returns the tables that have something to say."""
    records = [one for one in records if one["cases"]]
    made = [_training(records), _learning(records), _games(records), _iterations(records), _stepping(records), _resets(records)]
    made.append(_ratios(ratios(records)))
    return [table for table in made if table.row_count]


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in words:
        table.add_column(column)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _training(records: Sequence[Record]) -> Table:
    numbers = ("steps/s", "spread", "ready, s", "again, s", "peak, MB", "a seed, MB")
    table = _table(
        "Training. Ready: built, traced and compiled; again: likewise, with the compiled programs of the first time at hand."
        "\nMemory of the first process: its peak, and what it took beyond its imports divided by the seeds.",
        ("task", "contender"),
        numbers,
    )
    for one in records:
        if "train" not in one["cases"]:
            continue
        case, (first, *later) = one["cases"]["train"], one["starts"]
        table.add_row(
            one["name"],
            one["contender"],
            f"{case['median']:,.0f}",
            _spread(case),
            f"{first['ready_seconds']['train']:.1f}",
            f"{later[0]['ready_seconds']['train']:.1f}" if later else "",
            f"{first['peak_bytes'] / MEGABYTE:,.0f}",
            f"{(first['peak_bytes'] - first['baseline_bytes']) / MEGABYTE / one['seeds']:,.2f}",
        )
    return table


def _learning(records: Sequence[Record]) -> Table:
    title = "From nothing to a trained policy: compiling, training and evaluating"
    table = _table(title, ("task", "contender"), ("seconds", "mean return", "lowest seed"))
    for one in records:
        if "learn" in one["cases"]:
            case = one["cases"]["learn"]
            returns = case["returns"][0]
            mean, lowest = statistics.fmean(returns), min(returns)
            table.add_row(one["name"], one["contender"], f"{case['seconds'][0]:.1f}", f"{mean:.1f}", f"{lowest:.1f}")
    return table


def _games(records: Sequence[Record]) -> Table:
    title = "Zero-sum games solved: exactly by linear programming, to a NashConv of 1e-3 by regret matching"
    table = _table(title, ("task", "contender"), ("games/s", "spread", "a game, ms", "ready, s"))
    for one in records:
        if "solve" in one["cases"]:
            case, ready = one["cases"]["solve"], one["starts"][0]["ready_seconds"]["solve"]
            rate = f"{case['median']:,.0f}"
            table.add_row(one["name"], one["contender"], rate, _spread(case), f"{1e3 / case['median']:.3f}", f"{ready:.1f}")
    return table


def _iterations(records: Sequence[Record]) -> Table:
    title = "Games step by step: iterations of CFR+, plays, integration steps; differs: the answer from a peer's, at most"
    table = _table(title, ("task", "contender"), ("iterations/s", "spread", "each, us", "ready, s", "differs"))
    for one in records:
        if "iterate" in one["cases"]:
            case, ready = one["cases"]["iterate"], one["starts"][0]["ready_seconds"]["iterate"]
            peers = [peer for peer in records if peer["name"] == one["name"] and not peer["ours"]] if one["ours"] else ()
            gaps = [abs(mine - theirs) for peer in peers for _, mine, theirs in _answer_pairs(one, peer)]
            numbers = f"{case['median']:,.0f}", _spread(case), f"{1e6 / case['median']:,.2f}", f"{ready:.1f}"
            table.add_row(one["name"], one["contender"], *numbers, f"{max(gaps):.0e}" if gaps else "")
    return table


def _stepping(records: Sequence[Record]) -> Table:
    stepping = [one for one in records if one["group"] == "stepping"]
    widths = sorted({int(width) for one in stepping for width in one["cases"]})
    title = "Random actions: thousand steps/s, by number of environments"
    table = _table(title, ("environment", "contender"), [f"{width:,}" for width in widths])
    for one in stepping:
        cases = (one["cases"].get(str(width)) for width in widths)
        cells = (f"{case['median'] / 1e3:,.0f} {_spread(case)}" if case else "" for case in cases)
        table.add_row(one["name"], one["contender"], *cells)
    return table


def _resets(records: Sequence[Record]) -> Table:
    stepping = {(one["name"], one["contender"]): one["cases"] for one in records if one["group"] == "stepping"}
    title = "Episodes, time limits and resets: what they add to a bare step, which goes on past every end, in %"
    bare = {name: cases for (name, contender), cases in stepping.items() if contender == NO_RESETS}
    widths = sorted({int(width) for cases in bare.values() for width in cases})
    table = _table(title, ("environment", "resets"), [f"{width:,}" for width in widths])
    for (name, cases), (contender, resets) in itertools.product(bare.items(), ((OURS, "exact"), (POOL, "from a pool of 4"))):
        if (name, contender) in stepping:
            rates = ((cases[str(width)]["median"], stepping[name, contender][str(width)]["median"]) for width in widths)
            table.add_row(name, resets, *(f"{100 * (without / rate - 1):.0f}" for without, rate in rates))
    return table


def _ratios(found: Sequence[Mapping[str, Any]]) -> Table:
    title = "Steps/s, ours over the peer's: ratio of the medians, and range of the ratios of single repeats"
    table = _table(title, ("task", "ours", "peer"), ("environments", "ratio", "range"))
    for one in found:
        environments = f"{int(one['case']):,}" if one["group"] == "stepping" else ""
        values = f"{one['ratio']:.2f}", f"{one['lowest']:.2f} .. {one['highest']:.2f}"
        table.add_row(one["name"], one["ours"], one["peer"], environments, *values)
    return table


def _spread(case: Mapping[str, Any]) -> str:
    """Half the distance between the fastest and the slowest repeat."""
    return f"±{(case['highest'] - case['lowest']) / case['median'] * 50:.0f} %"


def machine() -> dict[str, Any]:
    """Returns the processor's name, how many cores this process may use and the memory in bytes."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def store(path: Path, results: Mapping[str, Any]) -> None:
    """Writes the file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
