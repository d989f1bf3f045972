"""Evolutionary game theory of one population: which strategies mutants cannot invade, and from how many starts they are reached.

The game is symmetric with two players: float[2, A, A], the second table the transpose of the first, R. A strategy x is
evolutionarily stable if every mutant y does worse against x, or as well against x and worse against itself:

    y' R x < x' R x,    or    y' R x = x' R x and y' R y < x' R y,    for all y other than x.

Source: Maynard Smith and Price (1973), "The logic of animal conflict"; Haigh (1975), "Game theory and evolution"; Abakuks (1980),
"Conditions for evolutionarily stable strategies"; Taylor and Jonker (1978) on the dynamics.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxrl.errors import is_traced, require, require_distribution, require_tolerance, require_within
from jaxrl.solvers import dynamics
from jaxrl.solvers.equilibria import gain_of, indifferent, subsets, tied
from jaxrl.solvers.normal_form import symmetric_table
from jaxrl.solvers.precision import ROUNDING

MOST_ACTIONS = 14  # of a game of which all supports are looked at: there are 2^A - 1
FIX = "An evolutionarily stable strategy is one of a symmetric game: symmetric(R) in envs.matrix_games.named makes one."


class Stability(NamedTuple):
    """Whether mutants can invade a strategy; NumPy's float64.

    strategy: float64[A], x.
    stable: whether it is evolutionarily stable.
    regret: what a mutant could gain against it: 0 up to rounding at a symmetric equilibrium.
    margin: by how much the quadratic form of Abakuks is positive, each of its variables scaled so that its own square has a
        weight of 1: at most 1, and at most 0 where mutants invade; infinite where every mutant earns less against x, and
        negatively infinite where one earns more.
    mutant: float64[A], of the mutants that do best against x, the one that comes nearest to doing well against itself: where x is
        not stable it does not die out. x itself where there is no other.
    """

    strategy: np.ndarray
    stable: bool
    regret: float
    margin: float
    mutant: np.ndarray


def stability(payoff: Any, strategy: Any, tolerance: float = 1e-9) -> Stability:
    """Tells whether a strategy is evolutionarily stable, exactly: on the host in float64.

    Only best answers to x can invade, so mutants y lie on the actions B that are best against x. With z = y - x, x is stable if
    -z' R z > 0 for all z on B that sum to 0 and are not negative outside the support of x. Within the support the form must be
    positive definite, and its Schur complement outside strictly copositive. The smallest value of the latter on the simplex is
    found by looking at all faces.

    Args:
        payoff: float[2, A, A], of a symmetric game.
        strategy: float[A].
        tolerance: up to which a gain, a probability and the margin are 0, as a share of what is at stake.

    Raises:
        ConfigError: the game is not symmetric, the strategy is no distribution over its actions, more than ``MOST_ACTIONS``
            outside of the support are best, or the tolerance is negative.

    Source: Abakuks (1980), theorem; Haigh (1975) where the support is all of B.
    """
    where = "stability"
    require_tolerance(where, tolerance)
    table = _table(where, payoff)
    fix = "Give the share of each action."
    x = require_distribution(where, "strategy", strategy, fix)
    require(x.shape == (len(table),), where, f"strategy must have shape [{len(table)}]", x.shape, fix)
    return _stability(where, table, x / x.sum(), tolerance)


def evolutionarily_stable_strategies(payoff: Any, tolerance: float = 1e-9) -> list[Stability]:
    """Returns all evolutionarily stable strategies of a symmetric game, small supports first; there may be none.

    There is at most one for each support, where it is the only strategy that makes all actions of the support earn the same. So
    all supports are looked at.

    Args:
        payoff: float[2, A, A], of a symmetric game of at most ``MOST_ACTIONS`` actions.
        tolerance: as for ``stability``.

    Raises:
        ConfigError: the game is not symmetric or has too many actions, or the tolerance is negative.

    Source: Haigh (1975); Bishop and Cannings (1976), "Models of animal conflict", on supports.
    """
    where = "evolutionarily_stable_strategies"
    require_tolerance(where, tolerance)
    table = _table(where, payoff)
    actions = len(table)
    fix = "Leave out dominated actions, or test strategies that you know by stability."
    require(actions <= MOST_ACTIONS, where, f"there must be at most {MOST_ACTIONS} actions", actions, fix)
    missed = table.max(0) - table
    found = []
    for size in range(1, actions + 1):
        supports = subsets(actions, size)
        mixes, positive = indifferent(missed[supports[:, :, None], supports[:, None, :]], tolerance)
        for support, mix in zip(supports[positive], mixes[positive], strict=True):
            x = np.zeros(actions)
            x[support] = mix
            gain, lost = gain_of(missed, x, x)
            if gain <= tolerance * lost:
                found.append(_stability(where, table, x, tolerance))
    return [one for one in found if one.stable]


def _table(where: str, payoff: Any) -> np.ndarray:
    require(not is_traced(payoff), where, "payoff must be numbers", "traced values", "Call it outside of compiled code.")
    return tied(symmetric_table(where, payoff, FIX)[None])[0]


def _stability(where: str, table: np.ndarray, x: np.ndarray, tolerance: float) -> Stability:
    # Losses against the best answer to every action: a constant that is added to a column changes nothing.
    missed = table.max(0) - table
    gain, lost = gain_of(missed, x, x)
    values = missed @ x
    support = np.flatnonzero(x > tolerance)
    if gain > tolerance * lost:
        return Stability(x, False, gain, -np.inf, np.eye(len(x))[values.argmin()])
    best = values - values.min() <= tolerance * lost
    best[support] = True
    first, free = support[x[support].argmax()], support[support != support[x[support].argmax()]]
    outside = np.setdiff1d(np.flatnonzero(best), support)
    must, fix = f"at most {MOST_ACTIONS} actions may be best that are not played", "Leave out actions that copy others."
    require(len(outside) <= MOST_ACTIONS, where, must, len(outside), fix)
    others = np.append(free, outside)
    if not len(others):
        return Stability(x, True, gain, np.inf, x)

    def invader(change: np.ndarray, margin: float) -> Stability:
        """Returns the answer, from how a mutant's shares of the others' actions differ from those of x."""
        z = np.zeros(len(x))
        z[others] = change
        z[first] = -change.sum()
        shrinks = z < 0
        far = (x[shrinks] / -z[shrinks]).min(initial=np.inf)
        mutant = (x + z * far).clip(0)
        return Stability(x, bool(margin > tolerance), gain, float(margin), mutant / mutant.sum())

    # The form in the changes of all shares but the first one's, which makes up for them.
    terms = table[np.ix_(others, others)], table[first, others][None], table[others, first][:, None], table[first, first]
    form = -(terms[0] - terms[1] - terms[2] + terms[3])
    form = np.where(np.abs(form) <= ROUNDING * sum(map(np.abs, terms)), 0.0, form)
    form = (form + form.T) / 2
    weight = np.diag(form)
    if weight.min() <= 0:
        worst = int(weight.argmin())
        return invader(np.eye(len(others))[worst], float(np.sign(weight[worst])))
    scale = 1 / np.sqrt(weight)
    form = form * scale * scale[:, None]
    inner, cross = form[: len(free), : len(free)], form[: len(free), len(free) :]
    margin, change = np.inf, np.zeros(len(others))
    if len(free):
        eigenvalues, eigenvectors = np.linalg.eigh(inner)
        margin, change[: len(free)] = eigenvalues[0], eigenvectors[:, 0]
        if margin <= tolerance or not len(outside):
            return invader(change * scale, margin)
    answer = -np.linalg.solve(inner, cross)  # the best changes within the support to one outside
    rest = form[len(free) :, len(free) :] + cross.T @ answer
    rest = (rest + rest.T) / 2
    weight = np.diag(rest)
    if weight.min() <= tolerance:
        outer = np.eye(len(outside))[weight.argmin()]
        return invader(np.append(answer @ outer, outer) * scale, weight.min())
    units = 1 / np.sqrt(weight)
    smallest, outer = _smallest_on_simplex(rest * units * units[:, None], tolerance)
    if smallest < margin:
        margin, outer = smallest, outer * units
        change = np.append(answer @ outer, outer)
    return invader(change * scale, margin)


def _smallest_on_simplex(form: np.ndarray, tolerance: float) -> tuple[float, np.ndarray]:
    """Returns the smallest value of a quadratic form on the simplex, and where it is taken.

    It is taken inside of some face on which the form has one stationary point alone: along a line of them it does not change, up
    to a smaller face.
    """
    smallest, place = np.inf, np.zeros(len(form))
    for size in range(1, len(form) + 1):
        faces = subsets(len(form), size)
        parts = form[faces[:, :, None], faces[:, None, :]]
        mixes, positive = indifferent(parts, tolerance)
        values = np.where(positive, np.einsum("fi,fij,fj->f", mixes, parts, mixes), np.inf)
        best = int(values.argmin())
        if values[best] < smallest:
            smallest, place = values[best], np.zeros(len(form))
            place[faces[best]] = mixes[best]
    return smallest, place


class Basins(NamedTuple):
    """From which share of the starts each of K strategies is reached; NumPy's float64.

    rests: float64[K, A], the strategies.
    share: float64[K], of the starts that end near each.
    standard_error: float64[K], of the shares, if the starts are independent draws.
    elsewhere: the share that ends near none of them.
    speed: the largest |dx / dt| at the end of those that do end near one, in units of the range of the payoffs: those have
        arrived if it is small.
    ends: float64[S, A], where each is at the end.
    """

    rests: np.ndarray
    share: np.ndarray
    standard_error: np.ndarray
    elsewhere: float
    speed: float
    ends: np.ndarray


def basins(payoff: Any, starts: Any, rests: Any = None, num_steps: int = 4000, radius: float = 0.01) -> Basins:
    """Measures basins of attraction of the replicator dynamics of one population, all starts side by side.

    Args:
        payoff: float[2, A, A], of a symmetric game.
        starts: float[S, A], shares of the actions at first; draws from a Dirichlet distribution with ones, say, are uniform.
        rests: float[K, A], strategies that may be reached; by default those that are evolutionarily stable, which always attract
            what begins near them.
        num_steps: of half a unit of time each, where a unit is one over the range of the payoffs (count).
        radius: how near to a strategy every share must be at the end, in (0, 1); of several the nearest one is reached.

    Raises:
        ConfigError: the game is not symmetric, starts or rests are no distributions over its actions, or a number is out of
            range.

    Source: Taylor and Jonker (1978), "Evolutionarily stable strategies and game dynamics".
    """
    where = "basins"
    require_within(where, "radius", radius, 0, 1, "0.01, say.", above=True, below=True)
    table = _table(where, payoff)
    if rests is None:
        rests = np.array([one.strategy for one in evolutionarily_stable_strategies(payoff)]).reshape(-1, len(table))
    first, goals = (
        require_distribution(where, name, part, "Give rows of shares.") for name, part in (("starts", starts), ("rests", rests))
    )
    for name, part in (("starts", first), ("rests", goals)):
        fits = part.ndim == 2 and part.shape[1] == len(table)
        require(fits, where, f"{name} must have shape [S, {len(table)}]", part.shape, "Give rows of shares.")
    require(len(first) > 0, where, "there must be a start", len(first), "Draw some.")
    # Losses against the best answers have the same dynamics, and keep their differences in float32.
    scaled = table - table.max(0)
    scaled = scaled / (np.ptp(scaled) or 1.0)
    ends = dynamics.populations(np.stack([scaled, scaled.T]), first, num_steps, 0.5, 1)[0][:, -1]
    apart = np.abs(ends[:, None] - goals[None]).max(-1)
    near = apart <= np.minimum(apart.min(1, keepdims=True, initial=np.inf), radius)
    near &= np.cumsum(near, 1) == 1  # of equal distances the first
    share = near.mean(0)
    earned = ends @ scaled.T
    speed = np.abs(ends * (earned - (ends * earned).sum(1, keepdims=True))).max(1)
    error = np.sqrt(share * (1 - share) / len(first))
    arrived = near.any(1)
    return Basins(goals, share, error, float(1 - arrived.mean()), float(speed[arrived].max(initial=0.0)), ends)
