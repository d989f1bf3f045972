"""The conformance kit: does an environment, or an algorithm, keep its protocol?

Make it the first test of a new one. The first check that fails raises an error that says what must hold and what was found.
"""

from jaxrl.testing.conformance.algorithm import check_algorithm
from jaxrl.testing.conformance.checks import Report
from jaxrl.testing.conformance.environment import check_environment

__all__ = ["Report", "check_algorithm", "check_environment"]
