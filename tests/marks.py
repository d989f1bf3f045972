"""Marks of single cases."""

from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A case that ``make test-all`` runs and ``make test`` does not: a variant of cases that both run, and slow to compile."""
    return pytest.param(*values, marks=pytest.mark.slow)
