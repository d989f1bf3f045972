"""The page of results: rows of experiments with a published run are renewed, the others stay."""

from tools import results_page


def test_rows_are_renewed_where_there_is_a_run(tmp_path, monkeypatch):
    claim = {"text": "A | B", "criterion": "x >= 1", "value": 2.0, "low": 1.5, "high": 2.5, "verdict": "holds", "detail": ""}
    still = {**claim, "text": "C", "verdict": "open", "detail": "about 50 seeds would decide it"}
    exact = {**claim, "text": "D", "low": None, "high": None, "verdict": "fails"}
    monkeypatch.setattr(results_page, "names", lambda: ("a", "b"))
    monkeypatch.setattr(results_page, "published", lambda runs, name: [claim, still, exact] if name == "b" else [])
    page = (
        f"Head.\n\n{results_page.HEAD}| a | old | x | 1 | holds |\n| b | old | x | 1 | holds |\n\n## Failures\n\nText | more.\n"
    )
    assert results_page.renewed(page, tmp_path) == (
        f"Head.\n\n{results_page.HEAD}| a | old | x | 1 | holds |\n"
        "| b | A \\| B | x >= 1 | 2 [1.5, 2.5] | holds |\n"
        "| b | C | x >= 1 | 2 [1.5, 2.5]; about 50 seeds would decide it | open |\n"
        "| b | D | x >= 1 | 2 | **fails** |\n\n## Failures\n\nText | more.\n"
    )


def test_a_folder_without_runs_leaves_the_page_as_it_is(tmp_path):
    text = results_page.PAGE.read_text()
    assert results_page.renewed(text, tmp_path) == text
