"""Zero-sum games in compiled code, against the linear program on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.games import equilibria, zero_sum


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
        solution = jax.vmap(lambda *game: zero_sum.solve(zero_sum.restrict(*game)))(payoff, row_mask, column_mask)
    assert np.asarray(solution.row)[~row_mask].max() < 1e-12
    assert np.asarray(solution.column)[~column_mask].max() < 1e-12
    for game, rows, columns, value in list(zip(payoff, row_mask, column_mask, solution.value, strict=True))[:30]:
        legal = game[rows][:, columns]
        assert float(value) == pytest.approx(equilibria.minimax(np.stack([legal, -legal])).value, abs=1e-9)
