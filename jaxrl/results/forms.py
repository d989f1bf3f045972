"""The forms of the JSON files in the folder of a run; see ``jaxrl.results.storage.misfit``."""

from typing import Any

from jaxrl.results import storage


def verdict(value: Any) -> bool:
    """Whether a value is the verdict of a claim."""
    return value in ("holds", "fails", "open")


def _failure(value: Any) -> bool:
    return storage.count(value) or storage.misfit(value, {"update": storage.count, "place?": str}) is None


def _at_least_one(value: Any) -> bool:
    return storage.count(value) and value >= 1


_COUNTS = ("seeds", "devices", "first_update", "updates", "planned_updates")
ACCOUNT = {name: storage.count for name in _COUNTS}
ACCOUNT |= {name: storage.number for name in ("seconds", "compile_seconds", "env_steps", "env_steps_per_second")}
ACCOUNT |= {"interrupted": bool, "failed_seeds": storage.Every(_failure, str.isdecimal)}
_STATISTICS = {name: storage.number for name in ("iqm", "low", "high", "mean", "median", "minimum", "maximum")}
_RESULT = {"arm": str, "metric": str, "table?": str, **_STATISTICS, "seeds": storage.count, "missing": storage.count}
SUMMARY = {"runs?": storage.Every(ACCOUNT), "results?": [_RESULT], "finished?": bool, "settings?": str}
_MEASURED = {f"{name}?": storage.number for name in ("value", "low", "high")}
CLAIMS = [{"text": str, "verdict": verdict, **_MEASURED}]
VERSIONS = {"device": {"count": storage.count, "kind": str}}
TRAININGS = [
    {"arm": str, "factors": dict, "make": object, "config": object, "task": object}
    | {name: storage.count for name in ("seeds", "updates", "root")}
    | {"chunk_length?": _at_least_one, "evaluates?": bool, "first_seed?": storage.count}
]
