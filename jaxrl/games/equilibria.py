"""Exact equilibria of normal-form games, on the host in float64: Nash by support enumeration, minimax and correlated by LP.

Payoff tables are float[N, A_0, ..., A_{N-1}], as in ``jaxrl.games.normal_form``, whose functions verify what is found here.
For many games at once inside compiled code there are ``jaxrl.games.lemke_howson`` and ``jaxrl.games.dynamics``.

Source: Shoham and Leyton-Brown (2008), Multiagent Systems, chapter 4.
"""

import itertools
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxrl.errors import ConfigError, require, require_payoffs

Strategies = tuple[np.ndarray, np.ndarray]


def support_enumeration(payoff: Any, all_supports: bool = False, tolerance: float = 1e-9) -> list[Strategies]:
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
        tolerance: below which a probability is 0 and a gain no gain, in units of the range of the payoffs.

    Returns:
        Pairs of strategies, float64[A] and float64[B].

    Raises:
        ConfigError: the table is not that of a two-player game.

    Source: Porter, Nudelman and Shoham (2008), Simple search methods for finding a Nash equilibrium; the linear system of
    Nisan et al. (2007), Algorithmic Game Theory, algorithm 3.4.
    """
    row, column = _two_player_game("support_enumeration", payoff)
    row, column = row / (np.ptp(row) or 1.0), column / (np.ptp(column) or 1.0)
    if all_supports:
        return _of_all_supports(row, column.T, tolerance)
    return [pair for size in range(1, min(row.shape) + 1) for pair in _of_size(row, column.T, size, tolerance)]


def _two_player_game(where: str, payoff: Any) -> np.ndarray:
    table = require_payoffs(where, payoff)
    require(table.shape[0] == 2, where, "the game must have two players", table.shape[0], "Use a correlated equilibrium.")
    return table


def _of_size(row: np.ndarray, column: np.ndarray, size: int, tolerance: float) -> list[Strategies]:
    """Returns the equilibria on supports of one size. row: float[A, B]; column: float[B, A], own actions first in both."""
    rows, columns = _subsets(row.shape[0], size), _subsets(row.shape[1], size)
    # All pairs of R supports of the row player and C of the column player: [R, C, size].
    mix_columns = _indifferent(row[rows[:, None, :, None], columns[None, :, None, :]])
    mix_rows = _indifferent(column[columns[None, :, :, None], rows[:, None, None, :]])
    with np.errstate(invalid="ignore"):
        positive = (mix_columns > tolerance).all(-1) & (mix_rows > tolerance).all(-1)
    found = []
    for i, j in np.argwhere(positive):
        x, y = np.zeros(row.shape[0]), np.zeros(row.shape[1])
        x[rows[i]], y[columns[j]] = mix_rows[i, j], mix_columns[i, j]
        if _regret(row, x, y) <= tolerance and _regret(column, y, x) <= tolerance:
            found.append((x, y))
    return found


def _subsets(count: int, size: int) -> np.ndarray:
    return np.array(list(itertools.combinations(range(count), size)))


def _regret(payoff: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    values = payoff @ other
    return float(values.max() - own @ values)


def _indifferent(payoff: np.ndarray) -> np.ndarray:
    """Solves ``payoff @ mix = value, sum(mix) = 1`` for many square tables, float[..., k, k]; NaN where that is not unique."""
    size = payoff.shape[-1]
    system = np.zeros((*payoff.shape[:-2], size + 1, size + 1))
    system[..., :size, :size], system[..., :size, size], system[..., size, :size] = payoff, -1, 1
    unique = np.linalg.matrix_rank(system) == size + 1
    system[~unique] = np.eye(size + 1)
    solution = np.linalg.solve(system, np.eye(size + 1)[:, -1:])[..., :size, 0]
    return np.where(unique[..., None], solution, np.nan)


def _of_all_supports(row: np.ndarray, column: np.ndarray, tolerance: float) -> list[Strategies]:
    """Returns one equilibrium for each pair of supports that carries any. row: float[A, B]; column: float[B, A]."""
    supports = [[subset for size in range(1, n + 1) for subset in itertools.combinations(range(n), size)] for n in row.shape]
    found = []
    for rows, columns in sorted(itertools.product(*supports), key=lambda pair: len(pair[0]) + len(pair[1])):
        y = _supported_mix(row, np.array(rows), np.array(columns), tolerance)
        x = None if y is None else _supported_mix(column, np.array(columns), np.array(rows), tolerance)
        if x is not None and y is not None:
            found.append((x, y))
    return found


def _supported_mix(payoff: np.ndarray, best: np.ndarray, support: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Returns the mix, positive exactly on ``support``, against which all of ``best`` are best responses, or None.

    Of several, the one whose smallest probability is largest. payoff: float[own, other]; the mix is float[other].
    """
    own, other = payoff.shape
    size = len(support)
    rest = np.setdiff1d(np.arange(own), best)
    # Variables: the probabilities on the support, the value, and the smallest probability, which is made large.
    equal = np.zeros((len(best) + 1, size + 2))
    equal[:-1, :size], equal[:-1, size], equal[-1, :size] = payoff[np.ix_(best, support)], -1, 1
    most = np.zeros((len(rest) + size, size + 2))
    most[: len(rest), :size], most[: len(rest), size] = payoff[np.ix_(rest, support)], -1
    most[len(rest) :, :size], most[len(rest) :, -1] = -np.eye(size), 1
    bounds = [(0, None)] * size + [(None, None), (None, None)]
    solution = _linprog(-np.eye(size + 2)[-1], most, np.zeros(len(most)), equal, np.eye(len(best) + 1)[-1], bounds)
    if solution.status != 0 or solution.x[-1] <= tolerance:
        return None
    mix = np.zeros(other)
    mix[support] = solution.x[:size] / solution.x[:size].sum()
    return mix


class Minimax(NamedTuple):
    """The solution of a zero-sum game. value: what the row player wins; row: float64[A]; column: float64[B]."""

    value: float
    row: np.ndarray
    column: np.ndarray


def minimax(payoff: Any) -> Minimax:
    """Solves a two-player zero-sum game: ``max_x min_y x' R y``, by one linear programme and its dual.

    Args:
        payoff: float[2, A, B] with ``payoff[1] == -payoff[0]``.

    Raises:
        ConfigError: the table is not that of a two-player zero-sum game.

    Source: von Neumann (1928); Shoham and Leyton-Brown (2008), section 4.1.
    """
    table = _two_player_game("minimax", payoff)
    row = table[0]
    largest = np.abs(table.sum(0)).max()
    zero_sum = bool(largest <= 1e-9 * max(1.0, np.abs(row).max()))
    require(zero_sum, "minimax", "the payoffs must sum to zero", largest, "Use support_enumeration.")
    actions, answers = row.shape
    # The value v is made large with v <= x' R b for every answer b; the dual prices of these rows are the opponent's strategy.
    most = np.column_stack([-row.T, np.ones(answers)])
    equal = np.append(np.ones(actions), 0.0)[None]
    bounds = [(0, None)] * actions + [(None, None)]
    solution = _solved("minimax", _linprog(-np.eye(actions + 1)[-1], most, np.zeros(answers), equal, np.ones(1), bounds))
    x, y = solution.x[:actions].clip(0), (-solution.ineqlin.marginals).clip(0)
    return Minimax(float(solution.x[-1]), x / x.sum(), y / y.sum())


class CorrelatedEquilibrium(NamedTuple):
    """probability: float64[A_0, ..., A_{N-1}], of each joint action. payoffs: float64[N], what every player expects."""

    probability: np.ndarray
    payoffs: np.ndarray


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

    Source: Aumann (1974, 1987); the programme of Shoham and Leyton-Brown (2008), section 4.6; Ortiz, Schapire and Kakade (2007),
    Maximum entropy correlated equilibria.
    """
    where = "correlated_equilibrium"
    table = require_payoffs(where, payoff)
    gains = _gains_of_deviation(table, coarse)
    payoffs = table.reshape(table.shape[0], -1)
    if not isinstance(objective, str):
        probability = _maximise_smallest(where, gains, _worth(where, objective, table.shape[1:]))
    elif objective == "utilitarian":
        probability = _maximise_smallest(where, gains, payoffs.sum(0, keepdims=True))
    elif objective == "egalitarian":
        probability = _maximise_smallest(where, gains, payoffs)
    else:
        known = "objective must be 'utilitarian', 'egalitarian', 'maximum_entropy' or a table"
        require(objective == "maximum_entropy", where, known, objective, "Use one of them.")
        probability = _maximum_entropy(where, gains)
    return CorrelatedEquilibrium(probability.reshape(table.shape[1:]), payoffs @ probability)


def _worth(where: str, objective: Any, shape: tuple[int, ...]) -> np.ndarray:
    worth = np.asarray(objective, np.float64)
    require(worth.shape == shape, where, f"the objective must have shape {shape}", worth.shape, "Value every joint action.")
    require(bool(np.isfinite(worth).all()), where, "the objective must be finite", objective, "Replace what is not.")
    return worth.reshape(1, -1)


def _gains_of_deviation(table: np.ndarray, coarse: bool) -> Any:
    """Returns a sparse matrix [deviations, joint actions]: what each deviation gains when that joint action is drawn.

    A deviation of player i is an action to be taken in place of a recommended one, or in place of all if ``coarse``.
    """
    from scipy import sparse

    shape = table.shape[1:]
    numbers = np.arange(np.prod(shape)).reshape(shape)
    blocks = []
    for player, actions in enumerate(shape):
        payoff = np.moveaxis(table[player], player, 0).reshape(actions, -1)
        number = np.moveaxis(numbers, player, 0).reshape(actions, -1)
        gain = payoff[None, :, :] - payoff[:, None, :]  # [recommended, taken, joint actions of the others]
        place = np.broadcast_to(number[:, None, :], gain.shape)
        recommended, taken = np.meshgrid(np.arange(actions), np.arange(actions), indexing="ij")
        deviation = taken if coarse else recommended * actions + taken
        rows = np.broadcast_to(deviation[:, :, None], gain.shape)
        size = (actions if coarse else actions**2, numbers.size)
        blocks.append(sparse.coo_matrix((gain.ravel(), (rows.ravel(), place.ravel())), size))
    gains = sparse.vstack(blocks).tocsr()
    gains.eliminate_zeros()
    return gains[np.diff(gains.indptr) > 0]


def _maximise_smallest(where: str, gains: Any, worths: np.ndarray) -> np.ndarray:
    """Returns the distribution float64[P] under which the smallest of the mean worths, float[M, P], is largest."""
    from scipy import sparse

    count, joint_actions = worths.shape
    # Variables: the probabilities, and a number that no mean worth may fall below, which is made large.
    most = sparse.vstack(
        [sparse.hstack([gains, sparse.csr_matrix((gains.shape[0], 1))]), np.column_stack([-worths, np.ones(count)])]
    )
    equal = np.append(np.ones(joint_actions), 0.0)[None]
    bounds = [(0, None)] * joint_actions + [(None, None)]
    cost = -np.eye(1, joint_actions + 1, joint_actions)[0]
    solution = _solved(where, _linprog(cost, most, np.zeros(gains.shape[0] + count), equal, np.ones(1), bounds))
    probability = solution.x[:-1].clip(0)
    return probability / probability.sum()


def _maximum_entropy(where: str, gains: Any) -> np.ndarray:
    """Returns the correlated equilibrium of largest entropy, float64[P], which is proportional to exp(-gains' prices).

    The prices, one for each deviation and none negative, minimise the logarithm of the sum of these exponentials. Where some
    joint action has probability 0 they grow without bound, and the result comes close to the equilibrium but not onto it.
    """
    from scipy import optimize
    from scipy.special import logsumexp, softmax

    if not gains.shape[0]:
        return np.full(gains.shape[1], 1 / gains.shape[1])
    gains = gains / np.abs(gains).max()

    def dual(prices):
        logits = -(gains.T @ prices)
        return logsumexp(logits), -(gains @ softmax(logits))

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10}
    bounds = [(0, None)] * gains.shape[0]
    solution = optimize.minimize(dual, np.zeros(gains.shape[0]), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    probability = softmax(-(gains.T @ solution.x))
    largest = float((gains @ probability).max(initial=0.0))
    require(largest < 1e-3, where, "the programme must converge", largest, "Rescale the payoffs, or use another objective.")
    return probability


def _linprog(cost, most, most_bound, equal, equal_bound, bounds) -> Any:
    from scipy import optimize

    return optimize.linprog(cost, most if most.shape[0] else None, most_bound, equal, equal_bound, bounds, method="highs")


def _solved(where: str, solution: Any) -> Any:
    if solution.status != 0:
        raise ConfigError(f"{where}: the linear programme must have a solution, got {solution.message!r}. Rescale the payoffs.")
    return solution
