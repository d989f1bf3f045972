"""Precision for the tests of exact solvers."""

import jax
import pytest


@pytest.fixture(name="double_precision")
def _double_precision():
    with jax.enable_x64(True):
        yield
