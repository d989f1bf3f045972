"""The switch riddle: its bound, a protocol that reaches it, and the exact optimum of prisoners who know everything."""

import itertools

import jax
import numpy as np
import pytest

from envs.markov_games import switch_riddle
from envs.markov_games.switch_riddle import OFF, ON, TELL
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers import markov_games
from jaxrl.solvers.markov_games import for_player
from jaxrl.solvers.mdp.value_iteration import value_iteration


@pytest.fixture(scope="module")
def model():
    return tabulate(switch_riddle.make())


def test_bound_by_counting_all_visits():
    visits = np.array(list(itertools.product(range(3), repeat=6)))
    share = np.mean([len(set(row)) == 3 for row in visits.tolist()])
    assert switch_riddle.bound(3) == pytest.approx(share, abs=1e-12) == pytest.approx(20 / 27, abs=1e-12)
    assert switch_riddle.bound(4) == pytest.approx(0.780602, abs=5e-7)
    assert [switch_riddle.last_day(n) for n in (3, 4)] == [6, 10]


@pytest.mark.parametrize("agents", [3, 4])
def test_who_knows_everything_earns_the_bound(agents):
    model = tabulate(switch_riddle.make(agents))
    with jax.enable_x64(True):
        solution = value_iteration(for_player(model, 0), 1.0, tolerance=1e-12)
        assert float(solution.start_value(model)) == pytest.approx(switch_riddle.bound(agents), abs=1e-9)
    if agents == 3:
        assert (model.reward == model.reward[..., :1]).all()


def protocol(obs):
    """What a prisoner does, from its observation alone: the bulb is on once two have been in the room."""
    inside, bulb, been, time = obs
    if not inside:
        return OFF
    if been:
        return ON if bulb else OFF
    if bulb:
        return TELL
    return OFF if time == 0 else ON


def test_three_reach_the_bound_by_one_bit_and_the_date(model):
    policies = np.zeros((model.num_states, 3, 3))
    for state, agent in np.ndindex(model.num_states, 3):
        policies[state, agent, protocol(model.observation[state, agent])] = 1
    with jax.enable_x64(True):
        value = model.initial @ markov_games.evaluate(model, policies, 1.0).value
    np.testing.assert_allclose(value, 20 / 27, atol=1e-9)


def test_telling_at_once_loses(model):
    told = np.flatnonzero(model.initial)
    joint = np.ravel_multi_index((TELL, 0, 0), model.joint_shape)
    visits_first = told[model.state.visitor[told] == 0]
    np.testing.assert_array_equal(model.reward[visits_first, joint, 0], -np.ones((len(visits_first), 3)))
    assert model.terminated[visits_first, joint, 0].all()


def test_only_the_visitor_acts(model):
    legal = model.action_mask.reshape(-1, 3, 3, 3)
    for state in range(model.num_states):
        visitor = int(model.state.visitor[state])
        assert legal[state].sum() == 3
        assert legal[state].any(tuple(agent for agent in range(3) if agent != visitor)).all()


def test_renaming_prisoners_changes_nothing(model):
    """The law of the successor of the renamed state is the renamed law."""
    order = [1, 2, 0]  # old name of each new one
    new_name = np.argsort(order)

    def key(been, visitor, bulb, day):
        return (*been, int(visitor), int(bulb), int(day))

    def law(state, joint):
        found = {}
        for k in np.flatnonzero(model.probability[state, joint]):
            to = model.next_state[state, joint, k]
            row = switch_riddle.State(*(leaf[to] for leaf in model.state))
            entry = key(row.been.tolist(), row.visitor, row.bulb, row.day), float(model.reward[state, joint, k, 0])
            found[entry] = found.get(entry, 0) + model.probability[state, joint, k]
        return found

    number = {key(*(leaf[i] for leaf in model.state)): i for i in range(model.num_states)}
    checked = 0
    for state in range(0, model.num_states, 7):
        been, visitor, bulb, day = (leaf[state] for leaf in model.state)
        renamed = number.get(key(been[order].tolist(), new_name[visitor], bulb, day))
        if day == 6 or renamed is None:
            continue
        for choice in range(3):
            actions = [0, 0, 0]
            actions[visitor] = choice
            there = [0, 0, 0]
            there[new_name[visitor]] = choice
            one = law(state, np.ravel_multi_index(actions, model.joint_shape))
            other = law(renamed, np.ravel_multi_index(there, model.joint_shape))
            expected = {}
            for (row, pay), chance in one.items():
                over = row[-1] == 6
                moved = (*np.array(row[:3])[order].tolist(), int(new_name[row[3]]), *row[4:])
                expected[(moved, pay)] = chance
                assert chance == pytest.approx(1 if over else 1 / 3)
            assert other == pytest.approx(expected)
            checked += 1
    assert checked > 30


def test_too_few_prisoners():
    with pytest.raises(ConfigError):
        switch_riddle.make(2)


def test_without_a_bulb_nobody_leaves_it_on(model):
    """The same game with one action less: whoever knows everything still earns the bound."""
    dark = tabulate(switch_riddle.make(bulb=False))
    masks = markov_games.agent_masks(dark)
    assert not np.asarray(masks)[..., ON].any()
    np.testing.assert_array_equal(np.asarray(markov_games.agent_masks(model))[0][..., TELL], np.asarray(masks)[0][..., TELL])
    with jax.enable_x64(True):
        solution = value_iteration(for_player(dark, 0), 1.0, tolerance=1e-12)
        assert float(solution.start_value(dark)) == pytest.approx(switch_riddle.bound(3), abs=1e-9)
