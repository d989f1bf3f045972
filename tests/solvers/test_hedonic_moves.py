"""Moves in hedonic games: what players could gain is that of all partitions looked up, and paths end where they must."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl.errors import JaxrlError
from jaxrl.solvers import hedonic, hedonic_moves
from jaxrl.solvers.hedonic_moves import moves, payoffs

CHASE = [[0, 1], [-1, 0]]  # one who likes the other, and one who does not
KEY = jax.random.key(0)
GAMES = np.random.default_rng(0).normal(size=(32, 7, 7))


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def paths(values, num_steps, **options):
    keys = jax.random.split(KEY, len(values))
    return jax.device_get(jax.vmap(partial(moves, num_steps=num_steps, **options))(keys, jnp.asarray(values)))


def all_payoffs(values, labels, form):
    """float[S, T + 1, N]: what everybody gets on each path."""
    return np.asarray(jax.vmap(jax.vmap(partial(payoffs, form=form), (None, 0)))(jnp.asarray(values), jnp.asarray(labels)))


@pytest.mark.parametrize("form", hedonic_moves.FORMS)
@pytest.mark.parametrize("integers", [False, True])
def test_gains_are_those_of_all_partitions(form, integers):
    generator = np.random.default_rng(1)
    values = generator.integers(-2, 3, (5, 5)).astype(float) if integers else generator.normal(size=(5, 5))
    known = hedonic.structures(getattr(hedonic, form)(values))
    place = {row.tobytes(): number for number, row in enumerate(known.labels)}
    first = jnp.asarray(known.labels.astype(np.int32))
    for stability in hedonic_moves.STABILITIES:
        once = jax.vmap(lambda start: moves(KEY, values, 1, form=form, stability=stability, start=start))  # noqa: B023
        found = jax.device_get(once(first))
        before, after = np.moveaxis(found.labels, 1, 0)
        np.testing.assert_array_equal(found.moves, getattr(known, stability) > 0)
        np.testing.assert_array_equal((before != after).any(1), found.moves)
        for labels, gain, stable in zip(after, found.gain, found.stable, strict=True):
            number = place[np.unique(labels, return_inverse=True)[1].astype(np.int8).tobytes()]
            assert gain == pytest.approx(getattr(known, stability)[number], abs=1e-12)
            assert stable == (getattr(known, stability)[number] <= 0)
            earned = payoffs(values, labels.astype(int), form)
            np.testing.assert_allclose(earned, known.payoffs[number], atol=1e-12)


@pytest.mark.parametrize("form", hedonic_moves.FORMS)
def test_players_who_ask_everybody_come_to_rest(form):
    for choice in hedonic_moves.CHOICES:
        found = paths(GAMES, 16, form=form, choice=choice)
        assert found.stable.all()
        np.testing.assert_array_equal(found.labels[:, 0], np.broadcast_to(np.arange(7), (32, 7)))
        earned = all_payoffs(GAMES, found.labels, form)
        changes = np.diff(earned, axis=1)
        assert changes.min() >= -1e-12  # nobody loses
        moved = np.arange(16) < found.moves[:, None]
        np.testing.assert_array_equal(changes.max(-1) > 1e-12, moved)
        np.testing.assert_array_equal((found.labels[:, 1:] != found.labels[:, :-1]).any(-1), moved)
    assert found.moves.min() > 0


def test_of_symmetric_games_the_sum_rises_by_every_move():
    """Bogomolnaia and Jackson (2002), section 3: twice the gain of the mover."""
    symmetric = GAMES + GAMES.swapaxes(1, 2)
    found = paths(symmetric, 64, stability="nash")
    assert found.stable.all()
    welfare = all_payoffs(symmetric, found.labels, "additive").sum(-1)
    moved = np.arange(64) < found.moves[:, None]
    np.testing.assert_array_equal(np.diff(welfare) > 1e-12, moved)
    assert not paths(GAMES, 64, stability="nash").stable.all()


def test_one_player_who_runs_after_another():
    found = moves(KEY, CHASE, 9, stability="nash")
    assert found.moves == 9
    np.testing.assert_array_equal(found.labels, [[0, 1], [0, 0]] * 5)
    assert found.gain == 1
    for stability in ("individual", "contractual"):
        assert moves(KEY, CHASE, 9, stability=stability).moves == 0
    together = moves(KEY, CHASE, 9, stability="individual", start=[1, 1])
    np.testing.assert_array_equal(np.asarray(together.labels)[[0, 1, -1]], [[0, 0], [0, 1], [0, 1]])
    assert moves(KEY, CHASE, 9, start=[1, 1]).moves == 0  # the one that is left minds


def test_the_largest_gain_is_made_and_others_are_as_likely():
    values = [[0, 1, 5], [1, 0, 4], [5, 4, 0]]
    best = moves(KEY, values, 1, choice="largest")
    np.testing.assert_array_equal(best.labels[1], [0, 1, 0])
    drawn = jax.vmap(lambda key: moves(key, values, 1).labels[1])(jax.random.split(KEY, 3000))
    counts = np.unique(np.asarray(drawn), axis=0, return_counts=True)[1]
    np.testing.assert_allclose(counts, [1000] * 3, atol=4 * np.sqrt(3000 * 2 / 9))  # each of three pairs by two moves


def test_rounding_is_no_gain():
    values = np.zeros((4, 4))
    values[0] = [0, 0.1, 0.2, 0.3]  # player 0 likes the others together as much as the last
    for start in ([0, 0, 0, 1], [0, 1, 1, 0]):
        assert moves(KEY, values, 1, stability="nash", start=start).moves == 0


def test_one_player_has_nowhere_to_go():
    found = moves(KEY, [[3.0]], 2)
    assert (found.moves, found.stable) == (0, True)
    assert payoffs([[3.0]], [0]) == 0


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: moves(KEY, CHASE, 0), "num_steps must be an integer of at least 1"),
        (lambda: moves(KEY, np.zeros((2, 3)), 1), r"values must have shape \[N, N\]"),
        (lambda: moves(KEY, 3.0, 1), r"values must have shape \[N, N\]"),
        (lambda: moves(KEY, [[np.nan]], 1), "values must be finite"),
        (lambda: moves(KEY, CHASE, 1, start=[0]), r"the partition must have shape \[2\]"),
        (lambda: moves(KEY, CHASE, 1, start=[0, 2]), "numbers from 0 to 1"),
        (lambda: moves(KEY, CHASE, 1, start=[0, 0.5]), "numbers from 0 to 1"),
        (lambda: moves(KEY, CHASE, 1, form="sum"), "no form is named 'sum'"),
        (lambda: moves(KEY, CHASE, 1, stability="core"), "no stability is named 'core'"),
        (lambda: moves(KEY, CHASE, 1, choice="first"), "no choice is named 'first'"),
        (lambda: payoffs(CHASE, [0, -1]), "numbers from 0 to 1"),
    ],
)
def test_unsound_arguments_are_refused(solve, message):
    with pytest.raises(JaxrlError, match=message):
        solve()
