"""Soccer: its rules by a plain program, over all states and actions, and its symmetry."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import soccer
from envs.markov_games.board import MOVES
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment

STAY, LEFT, DOWN, RIGHT, UP = range(5)


@pytest.fixture(scope="module")
def model():
    return tabulate(soccer.make())


def by_the_rules(players, owner, actions):
    """Returns ``{(players, owner) or the scorer: probability}``, played on squares as they are read in the source."""
    law = defaultdict(float)
    for order in ((0, 1), (1, 0)):
        where, ball, scorer = [tuple(player) for player in players], owner, None
        for player in order:
            if scorer is not None:
                break
            row, column = np.array(where[player]) + MOVES[actions[player]]
            if (row, column) == where[1 - player]:
                ball = 1 - player
            elif 0 <= row < 4 and 0 <= column < 5:
                where[player] = (row, column)
            elif row in (1, 2) and ball == player:
                scorer = 0 if column < 0 else 1
        law[(tuple(where), ball) if scorer is None else scorer] += 0.5
    return law


def test_every_step_follows_the_rules(model):
    over = np.flatnonzero(model.state.owner == soccer.OVER)
    for state in range(model.num_states):
        if state in over:
            continue
        players, owner = model.state.position[state], int(model.state.owner[state])
        for joint, actions in enumerate(itertools.product(range(5), repeat=2)):
            found = defaultdict(float)
            for k in range(2):
                successor, pay = model.next_state[state, joint, k], model.reward[state, joint, k]
                assert pay.sum() == 0
                if model.terminated[state, joint, k]:
                    found[0 if pay[0] > 0 else 1] += model.probability[state, joint, k]
                else:
                    assert not pay.any()
                    where = tuple(tuple(square) for square in model.state.position[successor].tolist())
                    found[where, int(model.state.owner[successor])] += model.probability[state, joint, k]
            assert found == by_the_rules(players.tolist(), owner, actions)


def test_number_of_states(model):
    assert (model.state.owner != soccer.OVER).sum() == 760
    assert model.num_states == 761
    numbers = model.observation[:, 0]
    assert len(set(numbers.tolist())) == 761
    assert numbers.max() == soccer.make().observation_space.n - 1


@pytest.mark.parametrize(
    ("players", "owner", "actions", "expected"),
    [
        (((1, 0), (3, 3)), 0, (LEFT, STAY), {0: 1.0}),  # A scores
        (((1, 0), (3, 3)), 1, (LEFT, STAY), {(((1, 0), (3, 3)), 1): 1.0}),  # without the ball the goal is a wall
        (((0, 0), (3, 3)), 0, (LEFT, STAY), {(((0, 0), (3, 3)), 0): 1.0}),  # beside the goal too
        (((3, 3), (2, 0)), 1, (STAY, LEFT), {0: 1.0}),  # B carries it into its own goal
        (((2, 4), (2, 0)), 0, (RIGHT, STAY), {1: 1.0}),  # so does A
        (((1, 2), (1, 3)), 0, (RIGHT, STAY), {(((1, 2), (1, 3)), 1): 1.0}),  # A runs into B and loses the ball
        (((1, 2), (1, 3)), 1, (RIGHT, STAY), {(((1, 2), (1, 3)), 1): 1.0}),  # B had it anyway
        (((1, 2), (1, 4)), 0, (RIGHT, LEFT), {(((1, 3), (1, 4)), 0): 0.5, (((1, 2), (1, 3)), 1): 0.5}),  # who comes first
    ],
)
def test_situations(players, owner, actions, expected):
    assert by_the_rules(players, owner, actions) == expected  # the reference itself
    env = soccer.make()
    state = soccer.State(jnp.array(players, jnp.int32), jnp.int32(owner))
    outcomes = env.outcomes_fn(state, jnp.array(actions, jnp.int32), env.params)
    found = defaultdict(float)
    for k in range(2):
        where = tuple(tuple(square) for square in outcomes.state.position[k].tolist())
        scorer = 0 if outcomes.reward[k, 0] > 0 else 1
        found[scorer if outcomes.terminated[k] else (where, int(outcomes.state.owner[k]))] += 0.5
    assert found == expected


def test_other_kick_offs_keep_the_protocol():
    env = soccer.make(kick_off=((2, 3), (1, 1)), ball=1.0)
    check_environment(env, jax.random.key(0), rebuilt=soccer.make(), tabulated=False)
    state = env.reset(jax.random.key(1))[1]
    np.testing.assert_array_equal(state.position, [(2, 3), (1, 1)])
    assert int(state.owner) == 0


@pytest.mark.parametrize(
    "parameters",
    [dict(kick_off=((1, 3), (1, 3))), dict(kick_off=((1, 5), (2, 1))), dict(kick_off=(1, 3)), dict(ball=1.5), dict(max_steps=0)],
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        soccer.make(**parameters)
