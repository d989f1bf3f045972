"""A list of checks, and the report on those that passed."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Report(NamedTuple):
    """The result of the checks: the checks that passed, and those that do not apply to this subject or cannot tell."""

    passed: tuple[str, ...]
    skipped: tuple[str, ...]


class Check(NamedTuple):
    """run: raises where the subject fails, and returns False where it could not tell; applies: says whether there is anything to
    check. Both are given the subject.
    """

    run: Callable
    applies: Callable

    @property
    def name(self) -> str:
        """As the report names it."""
        return self.run.__name__.removeprefix("check_").replace("_", " ")


def always(subject: Any) -> bool:
    """Says that a check applies to every subject."""
    return True


def examine(checks: Sequence[Check], subject: Any) -> Report:
    """Makes checks in their order; the first that fails raises, with a note that names it."""
    passed, skipped = [], []
    for check in checks:
        try:
            told = check.applies(subject) and check.run(subject) is not False
        except Exception as error:
            error.add_note(f"Found by the check {check.name!r}.")
            raise
        (passed if told else skipped).append(check.name)
    return Report(tuple(passed), tuple(skipped))
