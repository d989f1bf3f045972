"""Exact equilibria of normal-form games, on the host in float64: Nash by support enumeration, minimax and correlated by LP.

Payoff tables are float[N, A_0, ..., A_{N-1}], as in ``jaxrl.solvers.normal_form``. For many games at once inside compiled code
there are ``jaxrl.solvers.zero_sum``, ``jaxrl.solvers.lemke_howson`` and ``jaxrl.solvers.dynamics``.

Every answer is checked, and the check is part of it: what the players could still gain. Games are solved in units of what is at
stake in them, so that neither the unit of the payoffs nor a payoff that is far from all others costs precision. Payoffs of a
player that only differ by rounding are equal.

Source: Shoham and Leyton-Brown (2008), Multiagent Systems, chapter 4.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxrl.errors import (
    SolverError,
    require,
    require_count,
    require_finite,
    require_payoffs,
    require_tolerance,
    require_zero_sums,
)
from jaxrl.solvers.linear_program import linprog, solved
from jaxrl.solvers.precision import ROUNDING


class Equilibrium(NamedTuple):
    """row: float64[A], column: float64[B], the strategies. regret: float64[2], what each player could gain, 0 up to rounding."""

    row: np.ndarray
    column: np.ndarray
    regret: np.ndarray


def support_enumeration(payoff: Any, all_supports: bool = False, tolerance: float = 1e-9) -> list[Equilibrium]:
    """Returns the Nash equilibria of a two-player game, small supports first.

    For every pair of supports of equal size, the strategies that make the other player indifferent over its support follow from
    a linear system; they are an equilibrium if they are positive and nothing outside the supports pays more.

    A game is degenerate if some strategy has more best responses than its support has actions. All equilibria of other games,
    so of almost all games, have supports of equal size, and the list is complete. A degenerate game may have equilibria on
    supports of unequal size, and whole continua of them, which this list cannot hold: with ``all_supports`` it has one
    equilibrium for each pair of supports, of whatever sizes, that carries any (one linear programme a pair, so slower), and
    none otherwise for supports on which the linear system has no unique solution.

    Args:
        payoff: float[2, A, B].
        all_supports: whether to look at supports of all sizes.
        tolerance: below which a gain is no gain, as a share of what the player loses against the best answers in hindsight; and
            a probability is 0, where the actions of a player are weighted by the largest difference that each makes.

    Raises:
        ConfigError: the table is not that of a two-player game, or the tolerance is negative.

    Source: Porter, Nudelman and Shoham (2008), Simple search methods for finding a Nash equilibrium; the linear system of
    Nisan et al. (2007), Algorithmic Game Theory, algorithm 3.4.
    """
    require_tolerance("support_enumeration", tolerance)
    table = tied(_two_player_game("support_enumeration", payoff))
    scales = [np.ptp(one) or 1.0 for one in table]
    # The loss of a player against each action of the other, own actions first. Equilibria do not change by counting payoffs from
    # the best one against every action, and a payoff that is far below it then lies far from the others, not they beneath it.
    row, column = (one.max(0) - one for one in (table[0] / scales[0], table[1].T / scales[1]))
    if all_supports:
        pairs = _of_all_supports(row, column, tolerance)
    else:
        pairs = (pair for size in range(1, min(row.shape) + 1) for pair in _of_size(row, column, size, tolerance))
    found = []
    for x, y in pairs:
        gains = gain_of(row, x, y), gain_of(column, y, x)
        if all(gain <= tolerance * missed for gain, missed in gains):
            found.append(Equilibrium(x, y, np.array([gain * scale for (gain, _), scale in zip(gains, scales, strict=True)])))
    return found


def distance(equilibrium: Sequence[Any], others: Iterable[Sequence[Any]]) -> float:
    """Returns how far an equilibrium is from the nearest of others: the largest difference in a probability, infinite if none.

    Args:
        equilibrium: float[A], float[B], the row and the column strategy; whatever follows is not looked at.
        others: likewise.
    """
    one = np.concatenate(equilibrium[:2])
    return min((float(np.abs(one - np.concatenate(other[:2])).max()) for other in others), default=np.inf)


def _two_player_game(where: str, payoff: Any) -> np.ndarray:
    table = require_payoffs(where, payoff)
    require(table.shape[0] == 2, where, "the game must have two players", table.shape[0], "Use a correlated equilibrium.")
    return table


def tied(table: np.ndarray) -> np.ndarray:
    """Makes payoffs equal that only rounding tells apart, table by table: they were computed before they came here."""

    def of_player(payoffs: np.ndarray) -> np.ndarray:
        values, places = np.unique(payoffs, return_inverse=True)
        apart = np.diff(values) > ROUNDING * np.abs(values[1:])
        first = np.concatenate([[0], np.flatnonzero(apart) + 1])
        group = np.concatenate([[0], np.cumsum(apart)])
        last = np.append(first[1:] - 1, len(values) - 1)
        return ((values[first] + values[last]) / 2)[group][places].reshape(payoffs.shape)

    return np.stack([of_player(payoffs) for payoffs in table])


def gain_of(missed: np.ndarray, own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Returns what a player could gain by its best response, and what it misses on average in hindsight."""
    values = missed @ other
    expected = float(own @ values)
    return max(expected - float(values.min()), 0.0), expected


def _of_size(row: np.ndarray, column: np.ndarray, size: int, tolerance: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields what makes both players indifferent on supports of one size. row: float[A, B]; column: float[B, A]."""
    rows, columns = subsets(row.shape[0], size), subsets(row.shape[1], size)
    # All pairs of R supports of the row player and C of the column player: [R, C, size].
    mix_columns, positive_columns = indifferent(row[rows[:, None, :, None], columns[None, :, None, :]], tolerance)
    mix_rows, positive_rows = indifferent(column[columns[None, :, :, None], rows[:, None, None, :]], tolerance)
    for i, j in np.argwhere(positive_columns & positive_rows):
        x, y = np.zeros(row.shape[0]), np.zeros(row.shape[1])
        x[rows[i]], y[columns[j]] = mix_rows[i, j], mix_columns[i, j]
        yield x, y


def subsets(count: int, size: int) -> np.ndarray:
    return np.array(list(itertools.combinations(range(count), size)))


def indifferent(missed: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Solves ``missed @ mix = the same in every row, sum(mix) = 1`` for many square tables, float[..., k, k].

    Returns:
        The mixes, float[..., k]; and whether each is unique and positive, bool[...].
    """
    system = np.concatenate([missed[..., 1:, :] - missed[..., :1, :], np.ones_like(missed[..., :1, :])], axis=-2)
    # Rows and columns are brought to the same size: then the rank is that of the game, whatever its units.
    weight = np.abs(system[..., :-1, :]).max(-2, initial=0)
    weight = np.where(weight > 0, weight, 1.0)[..., None, :]
    system = system / weight
    size = np.abs(system).max(-1, keepdims=True)
    system = system / np.where(size > 0, size, 1.0)
    unique = np.linalg.matrix_rank(system) == system.shape[-1]
    system[~unique] = np.eye(system.shape[-1])
    weighted = np.linalg.solve(system, np.eye(system.shape[-1])[:, -1:])[..., 0]
    positive = unique & (weighted > tolerance * np.abs(weighted).max(-1, keepdims=True)).all(-1)
    mix = np.where(positive[..., None], weighted, 1.0) / weight[..., 0, :]
    return mix / mix.sum(-1, keepdims=True), positive


def _of_all_supports(row: np.ndarray, column: np.ndarray, tolerance: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields one candidate for each pair of supports that carries any. row: float[A, B]; column: float[B, A]."""
    supports = [[subset for size in range(1, n + 1) for subset in itertools.combinations(range(n), size)] for n in row.shape]
    for rows, columns in sorted(itertools.product(*supports), key=lambda pair: len(pair[0]) + len(pair[1])):
        y = _supported_mix(row, np.array(rows), np.array(columns), tolerance)
        x = None if y is None else _supported_mix(column, np.array(columns), np.array(rows), tolerance)
        if x is not None and y is not None:
            yield x, y


def _supported_mix(missed: np.ndarray, best: np.ndarray, support: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Returns the mix, positive exactly on ``support``, against which all of ``best`` are best responses, or None.

    Of several, the one whose smallest probability is largest. missed: float[own, other]; the mix is float[other].
    """
    own, other = missed.shape
    size = len(support)
    rest = np.setdiff1d(np.arange(own), best)
    # Variables: the probabilities on the support, and the smallest of them, which is made large. All of ``best`` miss the same,
    # and no other action misses less. Every row has its own unit.
    equal = in_units_of_rows(missed[best[1:]][:, support] - missed[best[0], support])
    least = in_units_of_rows(missed[best[0], support] - missed[rest][:, support])
    equal = np.column_stack([np.vstack([equal, np.ones(size)]), np.zeros(len(best))])
    most = np.vstack([np.column_stack([least, np.zeros(len(rest))]), np.column_stack([-np.eye(size), np.ones(size)])])
    right = np.append(np.zeros(len(best) - 1), 1.0)
    bounds = [(0, None)] * size + [(None, None)]
    solution = linprog(-np.eye(size + 1)[-1], most, np.zeros(len(most)), equal, right, bounds)
    if solution.status != 0 or solution.x[-1] <= tolerance:
        return None
    probabilities = solution.x[:size]
    # The programme keeps its constraints up to 1e-10; its answer is moved onto the indifference by least squares.
    moved = probabilities + np.linalg.lstsq(equal[:, :-1], right - equal[:, :-1] @ probabilities, rcond=None)[0]
    mix = np.zeros(other)
    mix[support] = moved if moved.min() > 0 else probabilities
    return mix / mix.sum()


def in_units_of_rows(table: np.ndarray) -> np.ndarray:
    """Divides every row, over the last axis, by its largest absolute entry, where it has one that is not 0."""
    size = np.abs(table).max(-1, keepdims=True, initial=0)
    return table / np.where(size > 0, size, 1.0)


class Minimax(NamedTuple):
    """The solution of a zero-sum game. value: what the row player wins; row: float64[A]; column: float64[B].

    gap: by how much the row player's best answer to ``column`` earns more than the column player's best answer to ``row`` leaves:
    0 up to rounding. The value of the game lies between the two.
    """

    value: float
    row: np.ndarray
    column: np.ndarray
    gap: float


def minimax(payoff: Any) -> Minimax:
    """Solves a two-player zero-sum game: ``max_x min_y x' R y``, by one linear programme and its dual.

    Args:
        payoff: float[2, A, B] with ``payoff[1] == -payoff[0]``.

    Raises:
        ConfigError: the table is not that of a two-player zero-sum game.
        SolverError: the programme leaves a gap of more than a millionth of the distance between the security levels.

    Source: von Neumann (1928); Shoham and Leyton-Brown (2008), section 4.1.
    """
    table = _two_player_game("minimax", payoff)
    require_zero_sums("minimax", np.moveaxis(table, 0, -1), "Use support_enumeration.")
    row = tied(table)[0]
    # In units of what is at stake: the value lies between what each player can secure by a pure strategy.
    lower, upper = row.min(1).max(), row.max(0).min()
    if lower == upper:
        x, y = np.eye(len(row))[row.min(1).argmax()], np.eye(row.shape[1])[row.max(0).argmin()]
        return Minimax(float(lower), x, y, 0.0)
    scaled = (row - lower) / (upper - lower)
    x, y = _security_strategies(scaled)
    gap = float((scaled @ y).max() - (x @ scaled).min())
    must = "the gap between the players must be at most 1e-6 of the distance between their security levels"
    require(gap <= 1e-6, "minimax", must, gap, "Round payoffs that are far from all others.", SolverError)
    return Minimax(float(lower + (upper - lower) * (x @ scaled @ y)), x, y, max(gap, 0.0) * float(upper - lower))


def _security_strategies(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the strategies of both players that the linear programme and its dual give."""
    actions, answers = row.shape
    # The value v is made large with v <= x' R b for every answer b; the dual prices of these rows are the opponent's strategy.
    most = np.column_stack([-row.T, np.ones(answers)])
    equal = np.append(np.ones(actions), 0.0)[None]
    bounds = [(0, None)] * actions + [(None, None)]
    solution = solved("minimax", linprog(-np.eye(actions + 1)[-1], most, np.zeros(answers), equal, np.ones(1), bounds))
    x, y = solution.x[:actions].clip(0), (-solution.ineqlin.marginals).clip(0)
    return x / x.sum(), y / y.sum()


class CorrelatedEquilibrium(NamedTuple):
    """probability: float64[A_0, ..., A_{N-1}], of each joint action. payoffs: float64[N], what every player expects.

    regret: float64[N], the most that a player could gain on average by one deviation: 0 up to rounding; at the maximum of the
        entropy, which is only approached, up to a thousandth of the range of the player's payoffs.
    gap: by how much the objective (the entropy in nats) could at most be larger: the duality gap.
    """

    probability: np.ndarray
    payoffs: np.ndarray
    regret: np.ndarray
    gap: float


Objective = Literal["utilitarian", "egalitarian", "maximum_entropy"]


def correlated_equilibrium(
    payoff: Any, objective: Objective | Any = "utilitarian", coarse: bool = False
) -> CorrelatedEquilibrium:
    """Returns the best correlated equilibrium of a game of any number of players.

    A joint distribution is a correlated equilibrium if no player gains by answering any recommendation with another action, and
    a coarse one if none gains by committing to an action before it hears its recommendation.

    Args:
        payoff: float[N, A_0, ..., A_{N-1}].
        objective: what is maximised: "utilitarian", the sum of the players' payoffs; "egalitarian", the smallest of them;
            "maximum_entropy"; or the worth of each joint action, float[A_0, ..., A_{N-1}], of which the mean is maximised.
        coarse: whether a coarse correlated equilibrium is enough.

    Raises:
        ConfigError: the payoffs or the objective do not fit.
        SolverError: the programme has no solution, players could still gain by deviating, or the duality gap is more than 1e-6
            of the range of the objective (1e-3 nats of the entropy).

    Source: Aumann (1974, 1987); the programme of Shoham and Leyton-Brown (2008), section 4.6; Ortiz, Schapire and Kakade (2007),
    Maximum entropy correlated equilibria.
    """
    where = "correlated_equilibrium"
    table = tied(require_payoffs(where, payoff))
    deviations = [_gains_of_deviation(table, player, coarse) for player in range(table.shape[0])]
    gains = _in_units(deviations)
    payoffs = table.reshape(table.shape[0], -1)
    if not isinstance(objective, str):
        probability, gap, limit = _maximise_smallest(where, gains, _worth(where, objective, table.shape[1:]))
    elif objective == "utilitarian":
        probability, gap, limit = _maximise_smallest(where, gains, payoffs.sum(0, keepdims=True))
    elif objective == "egalitarian":
        probability, gap, limit = _maximise_smallest(where, gains, payoffs)
    else:
        known = "objective must be 'utilitarian', 'egalitarian', 'maximum_entropy' or a table"
        require(objective == "maximum_entropy", where, known, objective, "Use one of them.")
        probability, gap, limit = _maximum_entropy(gains)
    regret = np.array([(one @ probability).max(initial=0.0) for one in deviations])
    entropic = isinstance(objective, str) and objective == "maximum_entropy"
    # The entropy's prices grow without bound where an action must never be played, so that it is only approached.
    most = 1e-3 * np.ptp(payoffs, axis=1) if entropic else 1e-6 * np.array([_stake(table, i) for i in range(len(table))])
    must = f"no player may gain by deviating, up to {most.tolist()}"
    require(bool((regret <= most).all()), where, must, regret.tolist(), "Round payoffs that are far from others.", SolverError)
    must, fix = f"the duality gap must be at most {limit:g}", "Round payoffs that are far from others."
    require(gap <= limit, where, must, gap, fix, SolverError)
    return CorrelatedEquilibrium(probability.reshape(table.shape[1:]), payoffs @ probability, regret, max(gap, 0.0))


def correlated_payoffs(payoff: Any, directions: int = 72) -> np.ndarray:
    """Returns corners of the set of payoffs that two players can have in correlated equilibrium, float64[directions, 2].

    The set is convex: its corner in a direction is the payoffs of the equilibrium that is best if the payoffs are weighted so.

    Args:
        payoff: float[2, A, B].
        directions: evenly spread over the circle, from that of the row player's payoff on, counter-clockwise.

    Raises:
        ConfigError: the table is not that of a two-player game, or there is no direction.
    """
    require_count("correlated_payoffs", "directions", directions)
    table = _two_player_game("correlated_payoffs", payoff)
    angles = np.linspace(0, 2 * np.pi, directions, endpoint=False)
    worths = (np.cos(angle) * table[0] + np.sin(angle) * table[1] for angle in angles)
    return np.array([correlated_equilibrium(table, worth).payoffs for worth in worths])


def _worth(where: str, objective: Any, shape: tuple[int, ...]) -> np.ndarray:
    fix = "Value every joint action."
    worth = require_finite(where, "the objective", objective, fix).astype(np.float64)
    require(worth.shape == shape, where, f"the objective must have shape {shape}", worth.shape, fix)
    return worth.reshape(1, -1)


def _gains_of_deviation(table: np.ndarray, player: int, coarse: bool) -> Any:
    """Returns a sparse matrix [deviations, joint actions]: what each deviation gains a player when that joint action is drawn.

    A deviation is an action to be taken in place of a recommended one, or in place of all if ``coarse``.
    """
    from scipy import sparse

    shape = table.shape[1:]
    actions = shape[player]
    payoff = np.moveaxis(table[player], player, 0).reshape(actions, -1)
    number = np.moveaxis(np.arange(np.prod(shape)).reshape(shape), player, 0).reshape(actions, -1)
    gain = payoff[None, :, :] - payoff[:, None, :]  # [recommended, taken, joint actions of the others]
    place = np.broadcast_to(number[:, None, :], gain.shape)
    recommended, taken = np.meshgrid(np.arange(actions), np.arange(actions), indexing="ij")
    rows = np.broadcast_to((taken if coarse else recommended * actions + taken)[:, :, None], gain.shape)
    size = (actions if coarse else actions**2, number.size)
    return sparse.coo_matrix((gain.ravel(), (rows.ravel(), place.ravel())), size).tocsr()


def _stake(table: np.ndarray, player: int) -> float:
    """Returns the regret in hindsight that some action of a player never exceeds; the smallest regret, where it has none."""
    own_first = np.moveaxis(table[player], player, 0).reshape(table.shape[1 + player], -1)
    missed = own_first.max(0) - own_first
    stake = missed.max(1).min()
    return float(stake if stake > 0 else missed[missed > 0].min(initial=np.inf))


def _in_units(deviations: list[Any]) -> Any:
    """Returns the deviations that can change anything, each in units of the most that it can gain or lose; sparse."""
    from scipy import sparse

    gains = sparse.vstack(deviations).tocsr()
    largest = abs(gains).max(axis=1).toarray().ravel()
    matter = largest > 0
    return sparse.diags_array(1 / largest[matter]) @ gains[matter]


def _maximise_smallest(where: str, gains: Any, worths: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Returns the distribution float64[P] under which the smallest of the mean worths, float[M, P], is largest.

    Returns:
        The distribution, its duality gap, and the largest gap of a solution.
    """
    from scipy import sparse

    count, joint_actions = worths.shape
    lowest, span = worths.min(), np.ptp(worths)
    unit = float(span) if span > 0 else 1.0
    worths = (worths - lowest) / unit
    # Variables: the probabilities, and a number that no mean worth may fall below, which is made large.
    most = sparse.vstack(
        [sparse.hstack([gains, sparse.csr_matrix((gains.shape[0], 1))]), np.column_stack([-worths, np.ones(count)])]
    )
    equal = np.append(np.ones(joint_actions), 0.0)[None]
    bounds = [(0, None)] * joint_actions + [(None, None)]
    cost = -np.eye(1, joint_actions + 1, joint_actions)[0]
    solution = solved(where, linprog(cost, most, np.zeros(gains.shape[0] + count), equal, np.ones(1), bounds))
    probability = solution.x[:-1].clip(0)
    probability = probability / probability.sum()
    # Whatever the prices of deviations and the weights of worths are, no equilibrium has a larger smallest worth than this.
    prices, weights = np.split((-solution.ineqlin.marginals).clip(0), [gains.shape[0]])
    most_possible = ((weights @ worths - gains.T @ prices) / weights.sum()).max()
    return probability, unit * float(most_possible - (worths @ probability).min()), 1e-6 * unit


def _maximum_entropy(gains: Any) -> tuple[np.ndarray, float, float]:
    """Returns the correlated equilibrium of largest entropy, float64[P], which is proportional to exp(-gains' prices).

    The prices, one for each deviation and none negative, minimise the logarithm of the sum of these exponentials. Where some
    joint action has probability 0 they grow without bound, and the result comes close to the equilibrium but not onto it.

    Returns:
        The distribution, its duality gap, and the largest gap of a solution, in nats.
    """
    from scipy import optimize
    from scipy.special import logsumexp, softmax, xlogy

    if not gains.shape[0]:
        return np.full(gains.shape[1], 1 / gains.shape[1]), 0.0, 1e-3

    def dual(prices):
        logits = -(gains.T @ prices)
        return logsumexp(logits), -(gains @ softmax(logits))

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10}
    bounds = [(0, None)] * gains.shape[0]
    solution = optimize.minimize(dual, np.zeros(gains.shape[0]), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    probability = softmax(-(gains.T @ solution.x))
    return probability, float(dual(solution.x)[0] + xlogy(probability, probability).sum()), 1e-3
