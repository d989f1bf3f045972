"""Zero-sum games in compiled code, against the linear program on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.errors import ConfigError
from jaxrl.solvers import equilibria, zero_sum
from tests import oracles
from tests.marks import slow


def games(kind, shape, count=200):
    random = np.random.default_rng(0)
    if kind == "gaussian":
        return random.normal(size=(count, *shape))
    if kind == "ties":  # few different numbers: many strategies are as good as each other
        return random.integers(-1, 2, size=(count, *shape)).astype(float)
    return 1e-3 * random.normal(size=(count, *shape)) + 100.0  # a narrow range far from 0


def guarantees(payoff, solution):
    """Returns what the row player's strategy earns at least, and what the column player's lets it earn at most."""
    row, column = np.asarray(solution.row, np.float64), np.asarray(solution.column, np.float64)
    np.testing.assert_allclose(row.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(column.sum(-1), 1, atol=1e-6)
    assert min(row.min(), column.min()) >= 0
    return np.einsum("na,nab->nb", row, payoff).min(-1), np.einsum("nab,nb->na", payoff, column).max(-1)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 5), (3, 6), (6, 3)])
@pytest.mark.parametrize("kind", ["gaussian", "ties", "narrow"])
def test_values_are_those_of_the_linear_program(kind, shape):
    payoff = games(kind, shape)
    expected = np.array([equilibria.minimax(np.stack([game, -game])).value for game in payoff[:40]])
    with jax.enable_x64(True):
        solution = jax.jit(jax.vmap(zero_sum.solve))(payoff)
    low, high = guarantees(payoff, solution)
    rounding = 1e-14 * np.abs(payoff).max()  # of the sums above
    assert (high - low - rounding < 1e-12 * np.ptp(payoff, axis=(1, 2))).all()
    np.testing.assert_allclose(solution.value[:40], expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["gaussian", "ties"])
def test_single_precision_is_exact_up_to_rounding(kind):
    payoff = games(kind, (5, 5), 2_000).astype(np.float32)
    solution = jax.jit(jax.vmap(zero_sum.solve))(payoff)
    low, high = guarantees(payoff.astype(np.float64), solution)
    assert ((high - low) / np.ptp(payoff, axis=(1, 2)).clip(1e-30)).max() < 2e-5
    assert np.isfinite(solution.value).all()
    middle = (low + high) / 2
    np.testing.assert_allclose(solution.value, middle, atol=1e-5)


def test_known_games():
    weighted = zero_sum.solve(jnp.array([[0.0, -1, 2], [1, 0, -3], [-2, 3, 0]]))  # rock, paper, scissors with stakes
    np.testing.assert_allclose(weighted.row, [1 / 2, 1 / 3, 1 / 6], atol=1e-6)
    np.testing.assert_allclose(weighted.column, [1 / 2, 1 / 3, 1 / 6], atol=1e-6)
    assert float(weighted.value) == pytest.approx(0, abs=1e-6)
    saddle = zero_sum.solve(jnp.array([[3.0, 1], [4, 2]]))
    np.testing.assert_allclose(saddle.row, [0, 1], atol=1e-6)
    assert float(saddle.value) == pytest.approx(2, abs=1e-6)
    constant = zero_sum.solve(jnp.full((4, 3), 7.0))
    assert float(constant.value) == pytest.approx(7)


def test_illegal_actions_are_never_played():
    payoff = games("gaussian", (5, 5), 100)
    random = np.random.default_rng(1)
    row_mask, column_mask = random.random((100, 5)) < 0.5, random.random((100, 5)) < 0.5
    row_mask[:, 2] = column_mask[:, 3] = True
    with jax.enable_x64(True):
        solution = jax.vmap(zero_sum.solve)(payoff, row_mask, column_mask)
    assert np.asarray(solution.row)[~row_mask].max() == 0
    assert np.asarray(solution.column)[~column_mask].max() == 0
    for game, rows, columns, value in list(zip(payoff, row_mask, column_mask, solution.value, strict=True))[:30]:
        legal = game[rows][:, columns]
        assert float(value) == pytest.approx(equilibria.minimax(np.stack([legal, -legal])).value, abs=1e-9)


@pytest.mark.parametrize("unit", [1e-30, 1e-4, 1.0, 1e8])
def test_units_of_masked_games_do_not_matter(unit):
    """Masked games used to be widened by at least 1, whatever their payoffs: those of 1e-4 were 24 % wrong."""
    payoff = games("gaussian", (4, 4), 50).astype(np.float32)
    mask = np.array([True, True, True, False])
    value = jax.vmap(lambda game: zero_sum.solve(game, mask, mask).value)
    np.testing.assert_allclose(value(payoff * np.float32(unit)) / np.float32(unit), value(payoff), rtol=1e-4, atol=1e-6)


def test_a_payoff_that_is_not_played_costs_no_precision():
    """The third row is dominated; in units of its payoff the difference between the others was rounded away."""
    solution = zero_sum.solve(jnp.array([[2.0, 1], [1, 0], [0, -1e5]]))
    assert (float(solution.value), float(solution.gap)) == (1, 0)
    np.testing.assert_array_equal(solution.row, [1, 0, 0])
    np.testing.assert_array_equal(solution.column, [0, 1])


@pytest.mark.parametrize("spread", [1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_extreme_payoff_leaves_the_value_exact(sign, spread):
    random = np.random.default_rng(2)
    payoff = random.normal(size=(40, 3, 3))
    payoff[np.arange(40), random.integers(3, size=40), random.integers(3, size=40)] += sign * spread
    payoff = payoff.astype(np.float32)
    solution = jax.jit(jax.vmap(zero_sum.solve))(payoff)
    expected = [oracles.game_value(game) for game in payoff]
    np.testing.assert_allclose(solution.value, expected, atol=1e-4)
    low, high = guarantees(payoff.astype(np.float64), solution)
    assert (high - low).max() < 1e-3
    np.testing.assert_allclose(solution.gap, high - low, atol=1e-4)


def test_payoffs_that_only_rounding_tells_apart_are_equal():
    """Payoffs of a stage game are computed: those that ought to be equal differ in the last bit."""
    random = np.random.default_rng(0)
    payoff = random.choice([0.1, 0.7, -0.3, 0.0], size=(300, 4, 4))
    computed = payoff * (1 + random.integers(-2, 3, size=payoff.shape) * np.finfo(float).eps / 2)
    with jax.enable_x64(True):
        solution = jax.tree.map(np.asarray, jax.jit(jax.vmap(zero_sum.solve))(computed))
    np.testing.assert_allclose(solution.value, [oracles.game_value(game) for game in payoff], atol=1e-12)
    low, high = guarantees(computed, solution)
    assert (high - low).max() < 1e-14


# A stage game that minimax-Q meets in soccer: in the middle of its first path stands a pivot of 0.002, and all precision is lost.
SOCCER = np.array(
    [
        [0.8660343885421753, 1.0, 1.0, 1.0, 0.8999999761581421],
        [0.8999999761581421, 1.0, 1.0, 1.0, 1.0],
        [0.8999999761581421, 1.0, 1.0, 1.0, 0.8765931129455566],
        [1.0, 1.0, 0.8458858132362366, 1.0, 1.0],
        [1.0, 1.0, 0.8460928201675415, 0.8999999761581421, 1.0],
    ]
)


@pytest.mark.parametrize("precise", [False, True])
def test_a_game_whose_payoffs_nearly_tie(precise):
    with jax.enable_x64(precise):
        solution = zero_sum.solve(jnp.asarray(SOCCER))
    expected = equilibria.minimax(np.stack([SOCCER, -SOCCER]))
    assert float(solution.value) == pytest.approx(expected.value, abs=1e-6)
    low, high = guarantees(SOCCER[None], jax.tree.map(lambda leaf: leaf[None], solution))
    assert (high - low)[0] < 1e-5 * np.ptp(SOCCER)


@pytest.mark.parametrize("shape", [(3, 3), slow((5, 4))])
def test_many_games_whose_payoffs_nearly_tie(shape):
    random = np.random.default_rng(0)
    tied = random.integers(0, 3, size=(5_000, *shape)).astype(float)
    payoff = tied + 1e-6 * random.normal(size=tied.shape)
    with jax.enable_x64(True):
        solution = jax.jit(jax.vmap(zero_sum.solve))(payoff)
    low, high = guarantees(payoff, solution)
    assert (high - low < 1e-4).all()
    # float32 rounds the payoffs; of the games that are left every one has an answer.
    assert np.isfinite(jax.jit(jax.vmap(zero_sum.solve))(payoff.astype(np.float32)).value).all()


def test_an_answer_without_a_small_gap_is_refused():
    """Out of pivots, and without numbers: the strategies are NaN, and the gap says why."""
    rock_paper_scissors = jnp.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    unfinished = zero_sum.solve(rock_paper_scissors, max_pivots=1)
    assert np.isnan(unfinished.value)
    assert np.isnan(unfinished.row).all()
    assert not float(unfinished.gap) < 0.1
    assert np.isnan(jax.jit(zero_sum.solve)(rock_paper_scissors.at[0, 0].set(jnp.nan)).value)
    nothing = jax.jit(zero_sum.solve)(rock_paper_scissors, jnp.zeros(3, bool))
    assert np.isnan(nothing.value)
    assert nothing.gap == np.inf


@pytest.mark.parametrize(
    ("payoff", "masks", "message"),
    [
        ([1.0, 2.0], (), r"payoff must have shape \[A, B\]"),
        ([[1.0, np.nan]], (), "legal payoffs must be finite"),
        ([[1.0, 2.0]], ([True, True],), r"row_mask must have shape \[1\]"),
        ([[1.0, 2.0]], (None, [False, False]), "column_mask must leave an action legal"),
    ],
)
def test_games_that_are_none(payoff, masks, message):
    with pytest.raises(ConfigError, match=message):
        zero_sum.solve(np.array(payoff), *(None if mask is None else np.array(mask) for mask in masks))


def test_an_illegal_payoff_may_be_anything():
    assert float(zero_sum.solve(np.array([[1.0, np.nan], [3.0, 2.0]]), None, np.array([True, False])).value) == 3.0


def test_values_are_those_of_nashpy():
    nashpy = pytest.importorskip("nashpy")
    for game in games("gaussian", (3, 4), 10):
        row, column = nashpy.Game(game).linear_program()
        assert float(zero_sum.solve(game).value) == pytest.approx(row @ game @ column, abs=1e-5)


@pytest.mark.parametrize("payoff", [[["a", "b"]] * 2, [[1.0, 2.0], [3.0]], np.full((2, 2), 1j), [[None, {}]] * 2])
def test_payoffs_of_text_and_ragged_ones_are_refused(payoff):
    with pytest.raises(ConfigError, match="payoff must be an array of real numbers"):
        zero_sum.solve(payoff)
