"""Exact solvers: the published equilibria, nashpy on random games, linear programmes, and refusal of what is no game."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.matrix_games import named
from jaxrl.errors import ConfigError
from jaxrl.solvers import normal_form
from jaxrl.solvers.equilibria import correlated_equilibrium, correlated_payoffs, distance, minimax, support_enumeration
from jaxrl.solvers.lemke_howson import from_all_labels, lemke_howson
from tests import oracles
from tests.marks import slow

nashpy = pytest.importorskip("nashpy")


def flat(equilibria):
    """Returns equilibria as rows, sorted, float64[K, A + B]."""
    return np.array(sorted(tuple(np.round(np.concatenate(one[:2]).astype(float), 9) + 0.0) for one in equilibria))


def test_every_listed_equilibrium_and_nothing_else():
    for name, known in named.EQUILIBRIA.items():
        np.testing.assert_allclose(flat(support_enumeration(named.TABLES[name])), flat(known), atol=1e-8, err_msg=name)
    assert set(named.EQUILIBRIA) == set(named.BEST_CORRELATED_SUMS) == set(named.TABLES) - {"blotto"}


def test_distance_is_that_to_the_nearest():
    known = named.EQUILIBRIA["stag_hunt"]
    assert distance(((0.9, 0.1), (1.0, 0.0)), known) == pytest.approx(0.1)
    assert distance(known[2], known) == 0
    assert distance(known[0], []) == np.inf


@pytest.mark.parametrize(("seed", "shape"), [(0, (3, 3)), (1, (4, 4)), (2, (2, 4)), (3, (4, 3))], ids=str)
def test_random_games_agree_with_nashpy(seed, shape):
    for table in np.random.default_rng(seed).normal(size=(25, 2, *shape)):
        # Its own support enumeration compares floats exactly and loses equilibria to rounding; its vertices do not.
        theirs = nashpy.Game(*table).vertex_enumeration()
        np.testing.assert_allclose(flat(support_enumeration(table)), flat(theirs), atol=1e-8)


def test_units_do_not_matter():
    table = np.random.default_rng(5).normal(size=(2, 4, 4))
    changed = table * np.array([1e6, 1e-3])[:, None, None] + np.array([7.0, -1e3])[:, None, None]
    np.testing.assert_allclose(flat(support_enumeration(changed)), flat(support_enumeration(table)), atol=1e-6)


def test_degenerate_game_has_one_equilibrium_for_each_pair_of_supports():
    """The row player is indifferent to everything: of the continuum, each pair of supports gets one."""
    table = np.array([[[1, 1], [1, 1]], [[2, 0], [0, 1]]], float)
    assert len(support_enumeration(table)) < len(support_enumeration(table, all_supports=True))
    found = support_enumeration(table, all_supports=True)
    supports = {(tuple(np.flatnonzero(x)), tuple(np.flatnonzero(y))) for x, y, _ in found}
    # The column player answers (1, 0) and every mix above 1/3 by its first action, others by its second, 1/3 by both.
    assert supports == {((0,), (0,)), ((1,), (1,)), ((0, 1), (0,)), ((0, 1), (1,)), ((0, 1), (0, 1))}
    for x, y, _ in found:
        assert float(normal_form.nash_conv(jnp.asarray(table), (jnp.asarray(x), jnp.asarray(y)))) <= 1e-6


@pytest.mark.parametrize("name", ["chicken", "penalty", "climb"])
def test_supports_of_all_sizes_find_the_same_in_nondegenerate_games(name):
    table = named.TABLES[name]
    np.testing.assert_allclose(flat(support_enumeration(table, all_supports=True)), flat(support_enumeration(table)), atol=1e-8)


def test_lemke_howson_finds_enumerated_equilibria():
    """40 random games, all labels, one compiled call; and an odd number of equilibria."""
    tables = np.random.default_rng(6).normal(size=(40, 2, 4, 5))
    paths = from_all_labels(tables)
    assert paths.row.shape == (40, 9, 4)
    for table, rows, columns in zip(tables, paths.row, paths.column, strict=True):
        found = support_enumeration(table)
        assert len(found) % 2 == 1
        assert max(distance(end, found) for end in zip(rows, columns, strict=True)) < 1e-9


def test_lemke_howson_agrees_with_nashpy_label_by_label():
    for table in np.random.default_rng(7).normal(size=(5, 2, 3, 4)):
        for label in range(7):
            with jax.enable_x64(True):
                ours = lemke_howson(jnp.asarray(table), label)
            theirs = nashpy.Game(*table).lemke_howson(initial_dropped_label=label)
            np.testing.assert_allclose(np.concatenate(ours[:2]), np.concatenate(theirs), atol=1e-8)


def test_lemke_howson_ends_in_degenerate_games():
    tables = np.random.default_rng(8).integers(0, 3, size=(200, 2, 4, 5)).astype(float)
    with jax.enable_x64(True):
        solutions = jax.vmap(jax.vmap(lemke_howson, (None, 0)), (0, None))(jnp.asarray(tables), jnp.arange(9))
        gaps = np.asarray(jax.vmap(jax.vmap(normal_form.nash_conv, (None, 0)))(jnp.asarray(tables), solutions[:2]))
    assert gaps.max() < 1e-9
    assert int(solutions.pivots.max()) < 100


def test_lemke_howson_says_when_it_gave_up():
    solution = lemke_howson(jnp.asarray(named.ROCK_PAPER_SCISSORS), 0, max_pivots=1)
    assert np.isnan(solution.row).all()
    assert int(solution.pivots) == 1


def test_minimax():
    """[[a, b], [c, d]] without saddle: the first row with (d - c) / (a - b - c + d), value (a d - b c) / (a - b - c + d)."""
    a, b, c, d = 3.0, -1.0, 0.0, 2.0
    solution = minimax(named.zero_sum([[a, b], [c, d]]))
    assert solution.value == pytest.approx((a * d - b * c) / (a - b - c + d))
    assert solution.row[0] == pytest.approx((d - c) / (a - b - c + d))
    for row in np.random.default_rng(9).normal(size=(20, 4, 6)):
        solution = minimax(named.zero_sum(row))
        assert (solution.row @ row).min() == pytest.approx(solution.value, abs=1e-9)
        assert (row @ solution.column).max() == pytest.approx(solution.value, abs=1e-9)
    assert minimax(named.blotto_table()).value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", named.BEST_CORRELATED_SUMS)
def test_best_correlated_sums(name):
    table = named.TABLES[name]
    found = correlated_equilibrium(table)
    assert found.payoffs.sum() == pytest.approx(named.BEST_CORRELATED_SUMS[name], abs=1e-6)
    assert found.probability.sum() == pytest.approx(1.0)
    with jax.enable_x64(True):
        for objective in ("utilitarian", "egalitarian", "maximum_entropy"):
            # The entropy's prices grow without bound where an action must never be played, so that it is only approached.
            limit = 1e-3 if objective == "maximum_entropy" else 1e-9
            probability = jnp.asarray(correlated_equilibrium(table, objective).probability)
            assert float(normal_form.correlated_regrets(jnp.asarray(table), probability).max()) <= limit


def test_correlation_in_chicken():
    np.testing.assert_allclose(correlated_equilibrium(named.CHICKEN).probability, [[0.5, 0.25], [0.25, 0]], atol=1e-9)
    np.testing.assert_allclose(correlated_equilibrium(named.CHICKEN, named.CHICKEN[0]).payoffs, [7, 2], atol=1e-9)
    np.testing.assert_allclose(correlated_equilibrium(named.SHAPLEY, "egalitarian").payoffs, [0.5, 0.5], atol=1e-9)


def test_correlated_payoffs_are_the_corners_in_their_directions():
    """Of chicken: the best for the row player, the fairest best, the best for the column player, and the worst."""
    corners = correlated_payoffs(named.CHICKEN, 8)
    np.testing.assert_allclose(corners[[0, 1, 2]], [[7, 2], [5.25, 5.25], [2, 7]], atol=1e-9)
    assert corners[5].sum() == pytest.approx(correlated_equilibrium(named.CHICKEN, -named.CHICKEN.sum(0)).payoffs.sum())
    with pytest.raises(ConfigError, match="two players"):
        correlated_payoffs(np.zeros((3, 2, 2, 2)))


def test_largest_entropy_without_conflict_is_uniform():
    """A constant game constrains nothing; a generic one has an entropy above that of any other equilibrium found here."""
    np.testing.assert_allclose(correlated_equilibrium(np.ones((2, 2, 3)), "maximum_entropy").probability, 1 / 6)

    def entropy(joint):
        return -(joint[joint > 0] * np.log(joint[joint > 0])).sum()

    largest = entropy(correlated_equilibrium(named.CHICKEN, "maximum_entropy").probability)
    mixed = np.array([2 / 3, 1 / 3])
    assert largest >= max(entropy(np.outer(mixed, mixed)), entropy(correlated_equilibrium(named.CHICKEN).probability)) - 1e-6


def test_correlated_equilibria_of_three_players_with_unequal_actions():
    table = np.random.default_rng(10).normal(size=(3, 2, 3, 2))
    sums = []
    for coarse, regrets in ((False, normal_form.correlated_regrets), (True, normal_form.coarse_correlated_regrets)):
        found = correlated_equilibrium(table, coarse=coarse)
        sums.append(found.payoffs.sum())
        with jax.enable_x64(True):
            assert float(regrets(jnp.asarray(table), jnp.asarray(found.probability)).max()) <= 1e-9
        np.testing.assert_allclose(found.payoffs, (table * found.probability).sum((1, 2, 3)))
    assert sums[1] >= sums[0] - 1e-9


@pytest.mark.parametrize(
    ("solve", "payoff", "message"),
    [
        (support_enumeration, [[[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6]]], "array of real numbers"),
        (support_enumeration, np.full((2, 2, 2), np.nan), "finite"),
        (support_enumeration, np.zeros((3, 2, 2, 2)), "two players, got 3"),
        (support_enumeration, np.zeros((2, 2)), "must have shape"),
        (minimax, named.CHICKEN, "must sum to zero"),
        (minimax, np.full((2, 2, 2), np.inf), "finite"),
        (correlated_equilibrium, 1.0, "must have shape"),
        (correlated_equilibrium, "chicken", "array of real numbers"),
        (lambda table: correlated_equilibrium(table, "fairest"), named.CHICKEN, "objective must be"),
        (lambda table: correlated_equilibrium(table, np.ones((3, 3))), named.CHICKEN, r"shape \(2, 2\)"),
        (lambda table: correlated_equilibrium(table, np.full((2, 2), np.nan)), named.CHICKEN, "objective must be finite"),
    ],
)
def test_what_is_no_game_is_refused(solve, payoff, message):
    with pytest.raises(ConfigError, match=message):
        solve(payoff)


def extreme_games(shape, extreme, count=8):
    random = np.random.default_rng(11)
    for table in random.normal(size=(count, 2, *shape)):
        table[:, random.integers(shape[0]), random.integers(shape[1])] += extreme
        yield table


@pytest.mark.parametrize("extreme", [-1e7, 1e7, 1e10])
@pytest.mark.parametrize("shape", [(2, 2), (3, 3)])
def test_one_extreme_joint_action_hides_and_invents_no_equilibrium(shape, extreme):
    """With a payoff of -1e7, profiles that gain 0.5 by deviating used to be listed."""
    for table in extreme_games(shape, extreme):
        exact = flat(list(oracles.equilibria(table)))
        np.testing.assert_allclose(flat(support_enumeration(table)), exact, rtol=1e-6, atol=1e-9)
        every = support_enumeration(table, all_supports=True)
        assert max(one.regret.max() for one in every) < 1e-9
        for equilibrium in exact:
            assert min(np.abs(one - equilibrium).max() for one in flat(every)) < 1e-6


def test_equilibria_come_with_their_regrets():
    for table in np.random.default_rng(12).normal(size=(5, 2, 3, 3)) * np.array([1e6, 1e-6])[:, None, None]:
        for row, column, regret in support_enumeration(table):
            gains = (table[0] @ column).max() - row @ table[0] @ column, (row @ table[1]).max() - row @ table[1] @ column
            assert (np.abs(regret - gains) <= 1e-9 * np.ptp(table, axis=(1, 2))).all()


@pytest.mark.parametrize("seed", [*range(6), *map(slow, range(6, 40))])
def test_payoffs_that_only_rounding_tells_apart_are_equal(seed):
    """Programmes in units of a stake that is rounding had no solution, and supports that carry an equilibrium carried none."""
    random = np.random.default_rng(seed)
    payoff = random.choice([0.1, 0.7, -0.3, 0.0], size=(2, 3, 3))
    computed = payoff * (1 + random.integers(-2, 3, size=payoff.shape) * np.finfo(float).eps / 2)
    one, other = minimax(named.zero_sum(payoff[0])), minimax(named.zero_sum(computed[0]))
    assert other.value == pytest.approx(one.value, abs=1e-12)
    expected, found = (support_enumeration(table, all_supports=True) for table in (payoff, computed))
    np.testing.assert_allclose(flat(found), flat(expected), atol=1e-9)
    for coarse in (False, True):
        best, same = (correlated_equilibrium(table, coarse=coarse) for table in (payoff, computed))
        assert same.payoffs.sum() == pytest.approx(best.payoffs.sum(), abs=1e-9)


@pytest.mark.parametrize("unit", [1e-12, 1e-8, 1.0, 1e9])
def test_programmes_do_not_depend_on_the_unit_of_the_payoffs(unit):
    """The solver of linear programmes keeps constraints up to an absolute 1e-7: payoffs of 1e-8 used to be solved wrong."""
    row = np.random.default_rng(13).normal(size=(4, 5))
    solution = minimax(named.zero_sum(unit * row))
    assert solution.value / unit == pytest.approx(minimax(named.zero_sum(row)).value, rel=1e-9)
    assert solution.gap <= 1e-9 * unit
    table = np.random.default_rng(14).normal(size=(2, 3, 3))
    for objective in ("utilitarian", "egalitarian", table[0]):
        one, other = correlated_equilibrium(table, objective), correlated_equilibrium(unit * table, objective)
        np.testing.assert_allclose(other.payoffs / unit, one.payoffs, atol=1e-7)
        assert other.regret.max() <= 1e-9 * unit


@pytest.mark.parametrize("extreme", [-1e6, 1e6])
def test_one_extreme_joint_action_leaves_programmes_exact(extreme):
    for table in extreme_games((3, 3), extreme):
        solution = minimax(named.zero_sum(table[0]))
        assert solution.value == pytest.approx(oracles.game_value(table[0]), abs=1e-9)
        assert (table[0] @ solution.column).max() - (solution.row @ table[0]).min() == pytest.approx(solution.gap, abs=1e-9)
        found = correlated_equilibrium(table)
        with jax.enable_x64(True):
            regret = np.asarray(normal_form.correlated_regrets(jnp.asarray(table), jnp.asarray(found.probability)))
        assert regret.max() < 1e-6
        assert found.regret.max() < 1e-6


@pytest.mark.parametrize("objective", ["utilitarian", slow("egalitarian"), slow("maximum_entropy")])
def test_no_correlated_equilibrium_is_better_than_the_gap_allows(objective):
    """Against mixtures of the equilibria that other objectives lead to: all are correlated equilibria, too."""
    random = np.random.default_rng(5)

    def worth(probability, payoffs):
        if objective == "maximum_entropy":
            return stats.entropy(probability.ravel())
        return payoffs.sum() if objective == "utilitarian" else payoffs.min()

    for _ in range(20):
        table = random.normal(size=(2, 3, 3))
        found = correlated_equilibrium(table, objective)
        assert 0 <= found.gap <= (1e-3 if objective == "maximum_entropy" else 1e-8)
        others = [correlated_equilibrium(table, random.normal(size=(3, 3))) for _ in range(4)]
        mixture = np.tensordot(random.dirichlet(np.ones(4)), [other.probability for other in others], 1)
        best = worth(found.probability, found.payoffs)
        for probability in [other.probability for other in others] + [mixture]:
            payoffs = (table * probability).sum((1, 2))
            assert worth(probability, payoffs) <= best + found.gap + 1e-7


def test_a_correlated_equilibrium_says_how_much_a_deviation_would_gain():
    """The equilibrium of largest entropy of chicken is only approached; no single deviation gains more than all together."""
    found = correlated_equilibrium(named.CHICKEN, "maximum_entropy")
    with jax.enable_x64(True):
        together = np.asarray(normal_form.correlated_regrets(jnp.asarray(named.CHICKEN), jnp.asarray(found.probability)))
    assert (found.regret <= together + 1e-12).all()
    assert (found.regret >= together / 2 - 1e-12).all()
