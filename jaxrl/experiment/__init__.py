"""Experiments: arms to train, measurements to record, claims to decide. A script needs the names below and ``draw``."""

from jaxrl.experiment import draw
from jaxrl.experiment.arms import Arm
from jaxrl.experiment.claims import (
    Claim,
    Quantity,
    Statement,
    Verdict,
    area,
    at,
    derived,
    every,
    exact,
    final,
    largest,
    lowest,
    share,
    smallest,
)
from jaxrl.experiment.experiment import Experiment, load
from jaxrl.experiment.results import Results
from jaxrl.experiment.session import Session

__all__ = [
    "Arm",
    "Claim",
    "Experiment",
    "Quantity",
    "Results",
    "Session",
    "Statement",
    "Verdict",
    "area",
    "at",
    "derived",
    "draw",
    "every",
    "exact",
    "final",
    "largest",
    "load",
    "lowest",
    "share",
    "smallest",
]
