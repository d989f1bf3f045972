"""Tic-tac-toe and connect four: positions counted as published, best play, and random games beside OpenSpiel."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.board_games import connect_four, in_a_row, tic_tac_toe
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError

MAKERS = {"tic_tac_toe": tic_tac_toe.make, "connect_four": connect_four.make}


@pytest.mark.parametrize("name", MAKERS)
def test_random_games_are_those_of_open_spiel(name):
    """Moves, turns, legal actions, ends and payoffs of 60 games."""
    pyspiel = pytest.importorskip("pyspiel")
    reference, env = pyspiel.load_game(name), MAKERS[name]()
    step, random = jax.jit(env.step), np.random.default_rng(0)
    mask = jax.jit(env.action_mask)
    _, start = env.reset(jax.random.key(0))
    results = Counter()
    for _ in range(60):
        theirs, ours, reward = reference.new_initial_state(), start, np.zeros(2)
        while not theirs.is_terminal():
            assert not bool(ours.over)
            mover = theirs.current_player()
            assert int(ours.mover) == mover
            legal = np.asarray(mask(ours))
            assert np.flatnonzero(legal[mover]).tolist() == theirs.legal_actions()
            assert np.flatnonzero(legal[1 - mover]).tolist() == [0]
            action = int(random.choice(theirs.legal_actions()))
            theirs.apply_action(action)
            joint = jnp.zeros(2, jnp.int32).at[mover].set(action)
            played = step(jax.random.key(0), ours, joint)
            ours, reward = played.state, np.asarray(played.reward)
            assert bool(played.terminated) == theirs.is_terminal()
        assert reward.tolist() == theirs.returns()
        results[tuple(reward)] += 1
    assert len(results) >= 2


@pytest.fixture(scope="module")
def model():
    return tabulate(tic_tac_toe.make())


def by_the_mover(model):
    """Returns next_state, reward of player 0 and terminated of the action of the one to move, [X, 9], and its mask."""
    alone = np.stack([9 * np.arange(9), np.arange(9)])[model.state.mover]  # the other takes action 0
    rows = np.arange(model.num_states)[:, None]
    legal = model.action_mask[rows, alone]
    return model.next_state[rows, alone, 0], model.reward[rows, alone, 0, 0], model.terminated[rows, alone, 0], legal


def test_tic_tac_toe_has_5478_positions(model):
    assert model.num_states == 5478
    assert int(model.state.over.sum()) == 958


def test_tic_tac_toe_has_255168_games(model):
    """Won by the first player in 131184 of them, by the second in 77904."""
    successor, reward, over, legal = by_the_mover(model)
    games, wins, losses = (np.zeros(model.num_states, np.int64) for _ in range(3))
    stones = (model.state.board != in_a_row.EMPTY).sum((1, 2))
    for state in np.argsort(-stones, kind="stable"):
        if model.state.over[state]:
            continue
        for action in np.flatnonzero(legal[state]):
            end, reached, pay = over[state, action], successor[state, action], reward[state, action]
            games[state] += 1 if end else games[reached]
            wins[state] += pay == 1 if end else wins[reached]
            losses[state] += pay == -1 if end else losses[reached]
    assert (games[0], wins[0], losses[0]) == (255168, 131184, 77904)


def test_tic_tac_toe_is_a_draw(model):
    """By backward induction; and a corner answered on a side is lost."""
    successor, reward, over, legal = by_the_mover(model)
    value = np.zeros(model.num_states)
    stones = (model.state.board != in_a_row.EMPTY).sum((1, 2))
    for state in np.argsort(-stones, kind="stable"):
        if not model.state.over[state]:
            worth = np.where(over[state], reward[state], value[successor[state]])[legal[state]]
            value[state] = worth.min() if model.state.mover[state] else worth.max()
    assert value[0] == 0
    assert value[successor[successor[0, 0], 1]] == 1
    assert value[successor[successor[0, 0], 4]] == 0


def test_connect_four_positions_by_number_of_stones():
    """1, 7, 49, 238, 1120 (Edelkamp and Kissmann 2008; OEIS A212693)."""
    env = connect_four.make()

    @jax.jit
    def expand(boards, stones):
        state = in_a_row.State(boards, jnp.full(len(boards), stones % 2, jnp.int32), jnp.zeros(len(boards), bool))
        actions = jnp.repeat(jnp.arange(7, dtype=jnp.int32)[:, None], 2, axis=1)
        step = jax.vmap(jax.vmap(env.step, in_axes=(None, None, 0)), in_axes=(None, 0, None))
        return step(jax.random.key(0), state, actions).state.board

    boards, counts = np.asarray(env.reset(jax.random.key(0))[1].board)[None], [1]
    for stones in range(4):
        padded = np.concatenate([boards, np.repeat(boards[:1], 256 - len(boards), axis=0)])
        boards = np.unique(np.asarray(expand(padded, stones)).reshape(-1, 6, 7), axis=0)
        counts.append(len(boards))
    assert counts == [1, 7, 49, 238, 1120]


@pytest.mark.parametrize("shape", [(3, 3), (6, 7), (2, 5), (4, 1)])
@pytest.mark.parametrize("length", [1, 3, 4])
def test_rows_are_found_wherever_they_are(shape, length):
    """Against a search from every cell in every direction."""
    random = np.random.default_rng(0)
    boards = random.random((200, *shape)) < 0.55
    found = jax.jit(jax.vmap(lambda stones: in_a_row.has_row(stones, length)))(boards)

    def search(stones):
        for cell in np.ndindex(shape):
            for direction in ((0, 1), (1, 0), (1, 1), (1, -1)):
                cells = [(cell[0] + i * direction[0], cell[1] + i * direction[1]) for i in range(length)]
                if all(0 <= r < shape[0] and 0 <= c < shape[1] and stones[r, c] for r, c in cells):
                    return True
        return False

    np.testing.assert_array_equal(found, [search(stones) for stones in boards])


def test_an_illegal_move_changes_nothing():
    env = tic_tac_toe.make()
    state = env.step(jax.random.key(0), env.reset(jax.random.key(0))[1], jnp.array([4, 0], jnp.int32)).state
    again = env.step(jax.random.key(0), state, jnp.array([0, 4], jnp.int32))
    jax.tree.map(np.testing.assert_array_equal, again.state, state)
    tower = connect_four.make(rows=1, columns=2, length=2)
    state = tower.step(jax.random.key(0), tower.reset(jax.random.key(0))[1], jnp.array([1, 0], jnp.int32)).state
    again = tower.step(jax.random.key(0), state, jnp.array([0, 1], jnp.int32))
    jax.tree.map(np.testing.assert_array_equal, again.state, state)


def test_observations_are_seen_from_each_side():
    env = tic_tac_toe.make()
    step = env.step(jax.random.key(0), env.reset(jax.random.key(0))[1], jnp.array([5, 0], jnp.int32))
    stone = np.zeros((3, 3))
    stone[1, 2] = 1
    np.testing.assert_array_equal(step.obs[0], np.stack([stone, 0 * stone, np.zeros((3, 3))], axis=-1))
    np.testing.assert_array_equal(step.obs[1], np.stack([0 * stone, stone, np.ones((3, 3))], axis=-1))


def test_wrong_boards():
    with pytest.raises(ConfigError, match="length must be at most 3"):
        connect_four.make(rows=2, columns=3, length=4)
    with pytest.raises(ConfigError, match="rows must be at least 1"):
        connect_four.make(rows=0)
