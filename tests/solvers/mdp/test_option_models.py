"""Models of options: the four rooms of the paper, the sums that define them, and what has no model."""

import dataclasses

import jax
import numpy as np
import pytest

import envs
from envs.gridworlds import four_rooms
from jaxrl.blocks.options import Options, joined, primitive
from jaxrl.core.finite import TabularModel, tabulate
from jaxrl.errors import ConfigError, EnvError, SolverError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.backups import action_values
from jaxrl.solvers.mdp.option_models import option_models, smdp_value_iteration, towards
from jaxrl.solvers.mdp.value_iteration import value_iteration

GAMMA = 0.9


def rooms_with(goal, slip=0.0):
    """The four rooms with a goal: the model, and the options to each of a room's doorways, from it and from the other one."""
    model = tabulate(four_rooms.make(start=None, goal=goal, slip=slip))
    found = []
    for cells, doorways in four_rooms.rooms():
        for door, other in (doorways, doorways[::-1]):
            region = cells | (np.arange(104) == other)
            found.append(towards(model, region[model.observation], int(np.flatnonzero(model.observation == door)[0])))
    return model, joined(*found)


@pytest.fixture(scope="module")
def slippery():
    model, options = rooms_with((7, 9), slip=1 / 3)
    return model, options, option_models(model, options, GAMMA)


def test_rooms_of_the_map():
    rooms = four_rooms.rooms()
    assert [room.cells.sum() for room in rooms] == [25, 30, 25, 20]
    assert sum(room.cells for room in rooms).max() == 1, "no cell belongs to two rooms"
    free = np.argwhere(np.array([list(row) for row in four_rooms.MAP]) == ".")
    doors = [{tuple(free[door].tolist()) for door in room.doorways} for room in rooms]
    assert doors == [{(3, 6), (6, 2)}, {(3, 6), (7, 9)}, {(6, 2), (10, 6)}, {(7, 9), (10, 6)}]


@pytest.mark.parametrize(("goal", "flat"), [((3, 6), 15), ((6, 2), 15), ((7, 9), 14), ((10, 6), 16)])
def test_two_sweeps_over_options_do_the_work_of_fifteen_over_actions(goal, flat):
    model, options = rooms_with(goal)
    models = option_models(model, joined(primitive(104, 4), options), GAMMA)
    best = host.solve(model, GAMMA).value
    with jax.enable_x64(True):
        over_options = [np.asarray(smdp_value_iteration(models, 0.0, sweeps).value) for sweeps in (1, 2)]
        over_actions = [np.asarray(value_iteration(model, GAMMA, 0.0, sweeps).value) for sweeps in (flat - 1, flat)]
        solution = jax.device_get(smdp_value_iteration(models, 0.0))
    for almost, enough in (over_options, over_actions):
        np.testing.assert_allclose(enough, best, rtol=0, atol=1e-12)
        assert np.abs(almost - best).max() > 0.1
    assert solution.converged
    assert solution.iterations == 3, "the third changes nothing"
    assert np.abs(solution.value - best).max() <= solution.error_bound < 1e-10


def test_models_satisfy_the_matrix_identity(slippery):
    """P_o = (I - gamma P_pi (1 - beta))^-1 gamma P_pi beta, from the tables of the model."""
    model, options, models = slippery
    assert models.residual < 1e-14
    for o in range(options.count):
        step = np.zeros((104, 104))
        for x, a, k in np.ndindex(model.next_state.shape):
            going_on = model.probability[x, a, k] * (not model.terminated[x, a, k])
            step[x, model.next_state[x, a, k]] += options.policy[o, x, a] * going_on
        beta = np.asarray(options.termination[o], np.float64)
        expected = np.linalg.inv(np.eye(104) - GAMMA * step @ np.diag(1 - beta)) @ (GAMMA * step @ np.diag(beta))
        np.testing.assert_allclose(models.transition[o], expected, rtol=0, atol=1e-6)


def test_models_are_the_sums_over_the_steps_at_which_an_option_ends():
    """sum_k gamma^k Pr(ends in x' after k steps), and the rewards until then, followed step by step."""
    model, options = tabulate(envs.make("corridor", length=5, slip=0.2)), _uncertain(5)
    models = option_models(model, options, GAMMA)
    for first in range(5):
        running, ended, paid = np.eye(5)[first], np.zeros(5), 0.0
        for k in range(1, 400):
            after = np.zeros(5)
            for x, a, j in np.ndindex(model.next_state.shape):
                chance = running[x] * options.policy[0, x, a] * model.probability[x, a, j]
                paid += GAMMA ** (k - 1) * chance * model.reward[x, a, j]
                after[model.next_state[x, a, j]] += chance * (not model.terminated[x, a, j])
            ended += GAMMA**k * after * options.termination[0]
            running = after * (1 - options.termination[0])
        np.testing.assert_allclose(models.transition[0, first], ended, rtol=0, atol=1e-6)
        np.testing.assert_allclose(models.reward[0, first], paid, rtol=0, atol=1e-6)


def _uncertain(states):
    policy = np.broadcast_to([0.3, 0.7], (1, states, 2))
    return Options(np.ones((1, states), bool), policy, np.linspace(0.1, 0.6, states)[None])


def test_actions_are_options_of_one_step(slippery):
    model, *_ = slippery
    models = option_models(model, primitive(104, 4), GAMMA)
    value = np.linspace(-1, 1, 104)
    with jax.enable_x64(True):
        expected = action_values(model, value, GAMMA)
    np.testing.assert_allclose((models.reward + models.transition @ value).T, expected, rtol=0, atol=1e-12)


def test_options_alone_can_be_no_better_than_with_actions(slippery):
    model, options, models = slippery
    both = option_models(model, joined(primitive(104, 4), options), GAMMA)
    best = host.solve(model, GAMMA).value
    with jax.enable_x64(True):
        with_actions, alone = (np.asarray(smdp_value_iteration(one, 1e-12).value) for one in (both, models))
    np.testing.assert_allclose(with_actions, best, atol=1e-9)
    assert (alone <= best + 1e-9).all()
    assert (alone < best - 1e-3).any()
    assert model.initial @ alone > 0.1


def test_options_go_where_they_should_as_soon_as_they_can():
    """Without slip, the discount that an option runs up is that of the shortest way within its room."""
    model, options = rooms_with((7, 9))
    models = option_models(model, options, GAMMA)
    doorways = four_rooms.rooms()[0].doorways
    corner, door = (int(np.flatnonzero(model.observation == cell)[0]) for cell in (0, doorways[0]))
    assert models.transition[0, corner, door] == pytest.approx(GAMMA**7)  # (1, 1) to (3, 6)
    assert models.transition[0, corner].sum() == pytest.approx(GAMMA**7)


def test_single_precision_tables_end_without_discount():
    """Thirds in float32 do not add up to 1; an option of one step ends all the same."""
    third = np.full((2, 1, 3), 1 / 3, np.float32)
    state, flags = np.arange(2), np.zeros((2, 1, 3), bool)
    start, legal = np.array([1.0, 0.0]), np.ones((2, 1), bool)
    model = TabularModel(np.zeros((2, 1, 3), np.int32), third, np.ones((2, 1, 3)), flags, start, legal, state, state, (1,))
    found = option_models(model, primitive(2, 1), 1.0)
    np.testing.assert_allclose(found.transition[0, :, 0], 1.0, rtol=1e-15)
    np.testing.assert_allclose(found.reward, 1.0, rtol=1e-15)


def test_sweeps_over_options_compile_and_need_one_in_every_state(slippery):
    models = slippery[2]
    with pytest.raises(ConfigError, match=r"an option must be able to begin in every state, got .none in state 50"):
        smdp_value_iteration(models._replace(initiation=models.initiation & (np.arange(104) != 50)))
    plain, compiled = smdp_value_iteration(models), jax.jit(smdp_value_iteration)(models)
    np.testing.assert_allclose(compiled.value, plain.value, rtol=1e-6)


def test_without_discount_an_option_must_end():
    model, options = tabulate(envs.make("corridor", length=5)), primitive(5, 2)
    models = option_models(model, options, 1.0)
    assert models.transition.sum(-1).max() == 1.0
    assert np.isinf(smdp_value_iteration(models).error_bound)
    left = options.replace(termination=np.zeros((2, 5)))
    with pytest.raises(SolverError, match=r"every option must end, got 'option 0.*Lower gamma"):
        option_models(model, left, 1.0)
    assert option_models(model, left, 0.9).transition.max() == 0.0


def test_what_has_no_model_is_refused(slippery):
    model, options, models = slippery
    with pytest.raises(ConfigError, match="gamma"):
        option_models(model, options, 1.5)
    with pytest.raises(ConfigError, match=r"options.initiation must have shape \[8, 104\]"):
        option_models(model, options.at(np.arange(50)), GAMMA)
    no_left = np.array(model.action_mask)
    no_left[5, 0] = False
    with pytest.raises(ConfigError, match="options must take legal actions, got 'option 0 in state 5'"):
        option_models(dataclasses.replace(model, action_mask=no_left), primitive(104, 4), GAMMA)
    with pytest.raises(EnvError, match="must have one reward"):
        option_models(dataclasses.replace(model, reward=np.zeros((*model.reward.shape, 2))), options, GAMMA)
    with pytest.raises(ConfigError, match="tolerance"):
        smdp_value_iteration(models, -1.0)
    with pytest.raises(ConfigError, match="max_sweeps"):
        smdp_value_iteration(models, 0.0, 0)
    with pytest.raises(ConfigError, match=r"target must be an integer in \[0, 104\)"):
        towards(model, np.ones(104), 104)
    with pytest.raises(ConfigError, match=r"region must have shape \[104\]"):
        towards(model, np.ones(3), 0)
