"""All that a run says, to compare it with another one: tables, account, verdicts; only not for how long it took."""

import json
from pathlib import Path

from jaxrl.results.run_directory import RunDirectory

TINY = str(Path(__file__).parent / "tiny_experiment.py")
SESSION = ("first_update", "devices", "seconds", "compile_seconds", "env_steps_per_second")


def only(runs):
    """Returns the folder of the only run of the tiny experiment, None if there is none."""
    found = [path for path in runs.glob("tiny_experiment/*") if not path.name.endswith(".partial")]
    return found[0] if found else None


def outcome(folder):
    """Returns all that a run says, but for how long it took."""
    run = RunDirectory.open(folder)
    order = [("arm", "ascending"), ("seed", "ascending"), ("update", "ascending")]
    tables = {name: run.table(name).rows().sort_by(order).to_pylist() for name in ("metrics", "evaluations", "measurements")}
    summary = run.summary()
    for facts in summary["runs"].values():
        for name in SESSION:
            facts.pop(name)
    page = (folder / "report.html").read_text()
    said = {text: text in page for text in ("Stopped early", "Rows are missing", "Seeds in quarantine")}
    return json.dumps([tables, summary, run.claims(), run.trainings(), said], sort_keys=True)  # which takes NaN for equal to NaN
