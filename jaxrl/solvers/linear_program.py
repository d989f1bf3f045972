"""Linear programmes on the host, by HiGHS, with one step of refinement.

Source: Huangfu and Hall (2018), "Parallelizing the dual revised simplex method"; Gleixner, Steffy and Wolter (2016).
"""

from typing import Any

import numpy as np

from jaxrl.errors import SolverError, require


def linprog(cost, most, most_bound, equal, equal_bound, bounds) -> Any:
    """Solves a linear programme, and once more for what its answer leaves over, in units a million times smaller.

    The solver keeps constraints up to an absolute 1e-10, of which payoffs that are far from all others make much more.

    Source: Gleixner, Steffy and Wolter (2016), Iterative refinement for linear programming.
    """
    from scipy import optimize

    most = most if most.shape[0] else None
    limits = np.array([(-np.inf if low is None else low, np.inf if high is None else high) for low, high in bounds])

    def solve(most_bound, equal_bound, limits):
        for tolerance in (1e-10, 1e-7):  # the solver's own default where the finer one defeats it
            options = {"primal_feasibility_tolerance": tolerance, "dual_feasibility_tolerance": tolerance}
            solution = optimize.linprog(cost, most, most_bound, equal, equal_bound, limits, method="highs", options=options)
            if solution.status == 0:
                break
        return solution

    solution, unit = solve(most_bound, equal_bound, limits), 1e6
    if solution.status != 0:
        return solution
    first = solution.x
    left = None if most is None else unit * (most_bound - most @ first)
    rest = solve(left, unit * (equal_bound - equal @ first), unit * (limits - first[:, None]))
    if rest.status == 0:
        solution = rest
        solution.x = first + rest.x / unit
    return solution


def solved(where: str, solution: Any) -> Any:
    """Returns the solution of a linear programme; raises SolverError if it has none."""
    must, fix = "the linear programme must have a solution", "Round payoffs that are far from all others."
    require(solution.status == 0, where, must, solution.message, fix, SolverError)
    return solution
