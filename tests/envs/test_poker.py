"""Kuhn and Leduc poker: every way through them, their legal actions and payoffs, against OpenSpiel."""

from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.extensive_games import kuhn, leduc
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError


def ways_of_open_spiel(name, rank):
    """Returns {(dealt ranks, actions): [probability, payoffs]} and {the same of every decision: legal actions}."""
    pyspiel = pytest.importorskip("pyspiel")
    ends, legal = {}, {}

    def walk(state, cards, actions, probability):
        if state.is_terminal():
            entry = ends.setdefault((cards, actions), [0.0, tuple(state.returns())])
            assert entry[1] == tuple(state.returns())
            entry[0] += probability
        elif state.is_chance_node():
            for card, chance in state.chance_outcomes():
                walk(state.child(card), (*cards, rank(card)), actions, probability * chance)
        else:
            legal[cards, actions] = (state.current_player(), tuple(state.legal_actions()))
            for action in state.legal_actions():
                walk(state.child(action), cards, (*actions, action), probability)

    walk(pyspiel.load_game(name).new_initial_state(), (), (), 1.0)
    return ends, legal


def ways_of_ours(env, cards_of):
    """Returns the same for an environment, by walking its table."""
    model = tabulate(env)
    joint = np.stack(np.unravel_index(np.arange(model.num_actions), model.joint_shape), axis=-1)
    ends, legal = defaultdict(lambda: [0.0, None]), {}

    def walk(state, actions, probability):
        cards = cards_of(jax.tree.map(lambda leaf: leaf[state], model.state))
        possible = joint[model.action_mask[state]]
        mover = int(len(set(possible[:, 1])) > 1)  # in poker whoever moves has a choice, and the other has none
        assert (possible[:, 1 - mover] == 0).all()
        legal[cards, actions] = (mover, tuple(possible[:, mover]))
        for index in np.flatnonzero(model.action_mask[state]):
            after = (*actions, int(joint[index, mover]))
            for k in np.flatnonzero(model.probability[state, index]):
                chance, reached = probability * model.probability[state, index, k], model.next_state[state, index, k]
                if model.terminated[state, index, k]:
                    entry = ends[cards_of(jax.tree.map(lambda leaf, r=reached: leaf[r], model.state)), after]
                    entry[0] += float(chance)
                    entry[1] = tuple(model.reward[state, index, k])
                else:
                    assert not model.reward[state, index, k].any()
                    walk(reached, after, chance)

    for state in np.flatnonzero(model.initial):
        walk(state, (), model.initial[state])
    return dict(ends), legal


def leduc_cards(state):
    public = () if state.public == leduc.HIDDEN else (int(state.public),)
    return (*(int(card) for card in state.card), *public)


@pytest.mark.parametrize(
    ("name", "make", "rank", "cards_of", "count"),
    [
        ("kuhn_poker", kuhn.make, int, lambda state: tuple(int(card) for card in state.card), 30),
        ("leduc_poker", leduc.make, lambda card: card // 2, leduc_cards, 1116),
    ],
    ids=["kuhn", "leduc"],
)
def test_every_way_through_the_game(name, make, rank, cards_of, count):
    theirs, their_legal = ways_of_open_spiel(name, rank)
    ours, our_legal = ways_of_ours(make(), cards_of)
    assert len(ours) == count
    assert set(ours) == set(theirs)
    for way, (probability, payoffs) in theirs.items():
        assert ours[way][0] == pytest.approx(probability, rel=1e-6), way
        assert ours[way][1] == payoffs, way
    for decision, (mover, actions) in our_legal.items():
        assert their_legal[decision] == (mover, actions), decision


def test_kuhn_by_hand():
    """Queen against jack: player 0 passes, is bet against, and calls."""
    env = kuhn.make()
    state = kuhn.State(jnp.array([1, 0], jnp.int32), jnp.int32(0))
    for action, reward, over in (([0, 1], 0, False), ([1, 1], 0, False), ([1, 0], 2, True), ([1, 1], 0, True)):
        step = env.step(jax.random.key(0), state, jnp.array(action, jnp.int32))
        np.testing.assert_array_equal(step.reward, [reward, -reward])
        assert bool(step.terminated) == over
        state = step.state
    assert kuhn.HISTORIES[int(state.history)] == "crc"
    np.testing.assert_array_equal(step.obs, [9 * 1 + state.history, state.history])


def test_more_cards():
    model = tabulate(kuhn.make(cards=5))
    assert (model.initial > 0).sum() == 20


def test_raises_and_ante_of_leduc():
    """Raised twice in the first round and folded to in the second, for an ante of 3 and raises of 5 and 7."""
    env = leduc.make(ante=3.0, raises=(5.0, 7.0))
    state = leduc.State(jnp.array([0, 2], jnp.int32), jnp.int32(leduc.HIDDEN), jnp.zeros(2, jnp.int32))
    for action in ([2, 0], [0, 2], [1, 0], [2, 0], [0, 0]):  # raise, raise, call; bet, fold
        step = env.step(jax.random.key(0), state, jnp.array(action, jnp.int32))
        state = step.state
    np.testing.assert_array_equal(step.reward, [3 + 2 * 5, -3 - 2 * 5])
    assert bool(step.terminated)


def test_what_nobody_may_do_checks_or_calls():
    env = leduc.make()
    state = env.reset(jax.random.key(0))[1]
    folded = env.step(jax.random.key(1), state, jnp.array([0, 0], jnp.int32))
    checked = env.step(jax.random.key(1), state, jnp.array([1, 0], jnp.int32))
    jax.tree.map(np.testing.assert_array_equal, folded, checked)
    np.testing.assert_array_equal(env.action_mask(state), [[False, True, True], [True, False, False]])


def test_wrong_parameters():
    with pytest.raises(ConfigError, match="cards must be at least 2"):
        kuhn.make(cards=1)
    with pytest.raises(ConfigError, match="ante"):
        leduc.make(ante=-1.0)
    with pytest.raises(ConfigError, match="raises must be two"):
        leduc.make(raises=(2.0,))
