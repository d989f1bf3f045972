"""Gathering: random steps by a plain program on squares, single situations, and the symmetry of the players."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import gathering, social_outcomes
from envs.markov_games.gathering import BACKWARD, BEAM, FORWARD, STAND, STEP_LEFT, STEP_RIGHT, TURN_LEFT, TURN_RIGHT
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.markov_games import for_player
from jaxrl.solvers.mdp.value_iteration import value_iteration
from jaxrl.testing.conformance import check_environment

SIDES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up
SMALL = ("..#..", "S.a.S", ".aa..")


class Game:
    """The game on squares, by loops."""

    def __init__(self, rows, regrowth, removal):
        self.squares = [(r, c) for r, row in enumerate(rows) for c, letter in enumerate(row) if letter != "#"]
        self.apples = {(r, c): 0 for r, row in enumerate(rows) for c, letter in enumerate(row) if letter == "a"}
        self.homes = [(r, c) for r, row in enumerate(rows) for c, letter in enumerate(row) if letter == "S"]
        self.place, self.heading, self.away = list(self.homes), [2, 0], [0, 0]
        self.regrowth, self.removal = regrowth, removal

    def step(self, actions):
        here = [not away for away in self.away]
        target = list(self.place)
        for i, action in enumerate(actions):
            if here[i] and FORWARD <= action <= STEP_RIGHT:
                down, right = SIDES[(self.heading[i] + action - FORWARD) % 4]
                there = (self.place[i][0] + down, self.place[i][1] + right)
                target[i] = there if there in self.squares else target[i]
            if here[i] and action in (TURN_LEFT, TURN_RIGHT):
                self.heading[i] = (self.heading[i] + (1 if action == TURN_LEFT else -1)) % 4
        if not (all(here) and target[0] == target[1]):
            self.place = target
        reward = [0, 0]
        for square, clock in self.apples.items():
            picker = [i for i in range(2) if here[i] and self.place[i] == square]
            if picker and clock == 0:
                reward[picker[0]] += 1
                self.apples[square] = self.regrowth
            else:
                self.apples[square] = max(clock - 1, 0)
        hit = [False, False]
        for i, action in enumerate(actions):
            if here[i] and here[1 - i] and action == BEAM:
                down, right = SIDES[self.heading[i]]
                beam = self.place[i]
                while (beam := (beam[0] + down, beam[1] + right)) in self.squares:
                    hit[1 - i] |= beam == self.place[1 - i]
        before = list(self.place)
        for i in range(2):
            if hit[i]:
                self.place[i], self.heading[i], self.away[i] = self.homes[i], [2, 0][i], self.removal
            elif self.away[i]:
                blocked = here[1 - i] and not hit[1 - i] and before[1 - i] == self.homes[i]
                self.away[i] -= 0 if self.away[i] == 1 and blocked else 1
        return reward


@pytest.mark.parametrize(("rows", "regrowth", "removal"), [(SMALL, 3, 2), (gathering.MAP, 10, 5)])
def test_random_steps_follow_the_rules(rows, regrowth, removal):
    env = gathering.make(rows, regrowth, removal)
    step, rng = jax.jit(env.step), np.random.default_rng(0)
    state, game, picked, removals, waited = env.reset(jax.random.key(0))[1], Game(rows, regrowth, removal), 0, 0, 0
    for _ in range(1_500):
        actions = rng.choice(8, size=2, p=[0.05, 0.35, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
        old = list(game.away)
        reward = game.step(actions)
        taken = step(jax.random.key(0), state, jnp.asarray(actions, jnp.int32))
        state = taken.state
        np.testing.assert_array_equal(taken.reward, reward)
        np.testing.assert_array_equal(state.away, game.away)
        assert [game.squares[cell] for cell in state.cell.tolist()] == game.place
        assert state.heading.tolist() == game.heading
        assert state.unripe.tolist() == list(game.apples.values())
        picked += sum(reward)
        removals += sum(now == removal and before == 0 for now, before in zip(game.away, old, strict=True))
        waited += sum(now == before == 1 for now, before in zip(game.away, old, strict=True))
    assert picked > 30
    assert removals > 10
    assert waited > 0 or rows is gathering.MAP


def at(env, cell, heading, away=(0, 0)):
    state = env.reset(jax.random.key(0))[1]
    return state._replace(cell=jnp.array(cell), heading=jnp.array(heading), away=jnp.array(away))


def test_an_apple_is_back_after_its_time():
    env = gathering.make(("S.", "a.", ".S"), regrowth=3)
    state, rewards = at(env, (0, 5), (1, 0)), []
    for action in (FORWARD, STAND, STAND, STAND, STAND, STAND):
        step = env.step(jax.random.key(0), state, jnp.array([action, STAND], jnp.int32))
        state = step.state
        rewards.append(float(step.reward[0]))
    assert rewards == [1, 0, 0, 0, 1, 0]


def test_the_removed_lose_their_steps_and_come_back_home():
    env = gathering.make(("S.a.S",), removal=3)
    step = env.step(jax.random.key(0), at(env, (0, 3), (2, 0)), jnp.array([BEAM, STAND], jnp.int32))
    seen, away = [np.asarray(step.obs)], [int(step.state.away[1])]
    state = step.state
    for _ in range(4):
        step = env.step(jax.random.key(0), state, jnp.array([STAND, FORWARD], jnp.int32))
        state = step.state
        seen.append(np.asarray(step.obs))
        away.append(int(state.away[1]))
    assert away == [3, 2, 1, 0, 0]
    assert int(state.cell[1]) == 3  # home is cell 4, and it has just taken its first step
    assert [bool(obs[0, 9:18].any()) for obs in seen] == [False, False, False, True, True]
    assert float(social_outcomes.peace(jnp.array(away)[:, None] > 0)) == pytest.approx(2 / 5)


def test_both_can_hit_and_walls_stop_the_beam():
    env = gathering.make(("S...S", "a#a..", "....."))
    both = env.step(jax.random.key(0), at(env, (0, 4), (2, 0)), jnp.array([BEAM, BEAM], jnp.int32))
    np.testing.assert_array_equal(both.state.away, [5, 5])
    behind = env.step(jax.random.key(0), at(env, (5, 6), (0, 0)), jnp.array([BEAM, BEAM], jnp.int32))  # on both sides of a wall
    np.testing.assert_array_equal(behind.state.away, [0, 0])


def test_players_are_alike():
    """On a map turned by half a circle, exchanging the players exchanges what they get."""
    env = gathering.make(("S.a..", "..a..", "..a.S"), regrowth=4, removal=2)
    cells, rng = 15, np.random.default_rng(1)
    step, state = jax.jit(env.step), env.reset(jax.random.key(0))[1]
    turned = state
    for _ in range(200):
        action = jnp.asarray(rng.integers(8, size=2), jnp.int32)
        one, other = step(jax.random.key(0), state, action), step(jax.random.key(0), turned, action[::-1])
        state, turned = one.state, other.state
        np.testing.assert_array_equal(other.reward, one.reward[::-1])
        np.testing.assert_array_equal(turned.cell, cells - 1 - state.cell[::-1])
        np.testing.assert_array_equal(turned.heading, (state.heading[::-1] + 2) % 4)
        np.testing.assert_array_equal(turned.away, state.away[::-1])


def test_a_single_apple_pays_at_once_and_each_time_it_is_back():
    """The optimum of a planner who moves both players for the good of the first, who stays on the apple: every third step."""
    model = tabulate(gathering.make(("SaS",), regrowth=2, removal=2))
    assert model.num_states > 100
    with jax.enable_x64(True):
        value = float(value_iteration(for_player(model, 0), 0.9).start_value(model))
    assert value == pytest.approx(1 / (1 - 0.9**3), abs=1e-4)


@pytest.mark.parametrize(("rows", "regrowth", "removal"), list(itertools.product([("SaS",), ("Sa", "#S")], [1, 3], [1, 2]))[::3])
def test_small_games_keep_the_protocol(rows, regrowth, removal):
    check_environment(gathering.make(rows, regrowth, removal), jax.random.key(0), rebuilt=gathering.make(rows, 2, 2))


@pytest.mark.parametrize(
    "parameters",
    [dict(map=("Sa.",)), dict(map=("S.S",)), dict(map=("SaS", "..")), dict(regrowth=0), dict(removal=0), dict(max_steps=0)],
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        gathering.make(**parameters)


def test_directions_are_seen_from_the_player():
    env = gathering.make(("...", ".S.", "..a", "..S"))
    expected = {FORWARD: (0, 1), STEP_LEFT: (1, 0), BACKWARD: (2, 1), STEP_RIGHT: (1, 2)}  # looking up
    for action, place in expected.items():
        step = env.step(jax.random.key(0), at(env, (4, 11), (3, 0)), jnp.array([action, STAND], jnp.int32))
        assert divmod(int(step.state.cell[0]), 3) == place
