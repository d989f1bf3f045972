"""The conformance kit catches every mistake that it claims to catch: one broken environment for each check."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from envs.gridworlds import corridor
from envs.matrix_games import matrix_game
from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite import Outcomes, finite
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import EnvError
from jaxrl.testing.conformance import check_environment
from tests import probes
from tests.copies import copies

KEY = jax.random.key(0)
calls = 0


@struct.dataclass
class Params:
    drift: jax.Array


def reset(key, params):
    state = jax.random.uniform(key, (2,), jnp.float32)
    return state, state


def step(key, state, action, params):
    """A point that drifts in a unit box; action 1 turns the drift around."""
    drift = jnp.where(action == 1, -params.drift, params.drift)
    state = jnp.clip(state + drift + 0.1 * jax.random.normal(key, (2,), jnp.float32), 0.0, 1.0)
    return Step(state, state, state.sum(), state[0] > 0.99)


def mask(state, params):
    return jnp.array([True, False]) | (state[0] > 0.5)


def everything(state, params):
    return state


GOOD = Environment(
    Params(jnp.float32(0.1)),
    reset,
    step,
    Box(0.0, 1.0, (2,)),
    Discrete(2),
    max_steps=10,
    action_mask_fn=mask,
    global_obs_fn=everything,
)
FINITE = corridor.make(4, slip=0.3)


# Broken functions, each right but for one thing.


def step_in_a_tuple(key, state, action, params):
    return tuple(step(key, state, action, params))


def step_with_a_branch(key, state, action, params):
    return step(key, state, action, params) if action > 0 else step(key, state, 1 - action, params)


def step_with_another_state(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(state=right.state.astype(jnp.float16))


def step_with_a_wide_reward(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(reward=right.reward[None])


def step_with_a_float_end(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(terminated=right.terminated.astype(jnp.float32))


def step_with_a_weak_reward(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(reward=jnp.where(action == 1, 1.0, 0.0))


def step_with_wide_noise(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(state=jnp.clip(right.state + 0 * jax.random.normal(key, (2,)), 0.0, 1.0))


def step_with_noise_without_a_dtype(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(state=jnp.clip(right.state + 0.1 * jax.random.normal(key, (2,)).astype(jnp.float32), 0.0, 1.0))


def step_in_python_numbers(key, state, action, params):
    return Step(state, state, 1.0, False)  # pyright: ignore[reportArgumentType]


def reset_without_a_state(key, params):
    return reset(key, params)[0]


def reset_with_a_narrow_observation(key, params):
    obs, state = reset(key, params)
    return obs[:1], state


def reset_of_its_own_key(key, params):
    return reset(jax.random.key(3), params)


def step_of_its_own_key(key, state, action, params):
    return step(jax.random.key(3), state, action, params)


def mask_of_three(state, params):
    return jnp.ones(3, bool)


def mask_of_none(state, params):
    return jnp.array([True, True]) & (state[0] < 0.5)


def everything_in_a_dict(state, params):
    return {"state": state}


def step_with_one_key_twice(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(reward=jax.random.normal(key, (), jnp.float32))


def noise_of_the_host():
    return np.random.random(2).astype(np.float32)  # noqa: NPY002


def reset_with_a_callback(key, params):
    noise = jax.pure_callback(noise_of_the_host, jax.ShapeDtypeStruct((2,), jnp.float32), vmap_method="sequential")
    state = jnp.clip(reset(key, params)[1] + noise, 0.0, 1.0)
    return state, state


def reset_without_memory(key, params):
    return reset(key, params)[0], ()


def step_without_memory(key, state, action, params):
    return step(key, jnp.zeros(2, jnp.float32), action, params)._replace(state=())


def step_that_counts(key, state, action, params):
    global calls
    calls += 1
    right = step(key, state, action, params)
    return right._replace(reward=right.reward + calls)


def reset_with_numpy_noise(key, params):
    state = jnp.clip(reset(key, params)[1] + np.random.random(2).astype(np.float32), 0.0, 1.0)  # noqa: NPY002
    return state, state


@jax.custom_batching.custom_vmap
def number_of_lanes(value):
    return jnp.float32(1.0)


@number_of_lanes.def_vmap
def _(axis_size, in_batched, value):
    return jnp.full(axis_size, axis_size, jnp.float32), True


def step_that_feels_the_batch(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(reward=number_of_lanes(right.reward))


def step_out_of_the_box(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(obs=right.obs + 0.5)


def step_with_infinite_reward(key, state, action, params):
    right = step(key, state, action, params)
    return right._replace(reward=1 / (right.reward - right.reward))


def improbable_outcomes(state, action, params):
    right = corridor.outcomes(state, action, params)
    return right._replace(probability=0.9 * right.probability)


def negative_outcomes(state, action, params):
    right = corridor.outcomes(state, action, params)
    return right._replace(probability=jnp.array([1.5, -0.5], jnp.float32))


def outcomes_without_axis(state, action, params):
    return jax.tree.map(lambda leaf: leaf[0], corridor.outcomes(state, action, params))


def outcomes_that_leave_the_end(state, action, params):
    position = jnp.clip(state + (2 * action - 1) * jnp.array([1, -1], jnp.int32), 0, 3)
    entered = (position == 3) & (state != 3)
    return Outcomes(jnp.stack([1 - params.slip, params.slip]), position, entered.astype(jnp.float32), position == 3)


def outcomes_that_pay_at_the_end(state, action, params):
    right = corridor.outcomes(state, action, params)
    return right._replace(reward=params.reward[right.state])


def outcomes_that_know_the_precision(state, action, params):
    right = corridor.outcomes(state, action, params)
    wide = params.slip.dtype == jnp.float64
    return right._replace(reward=right.reward + wide)


def step_elsewhere(key, state, action, params):
    position = jnp.minimum(state + 2, 3)
    return Step(position, position, jnp.float32(0.0), jnp.bool_(False))


def step_with_other_odds(key, state, action, params):
    outcomes = corridor.outcomes(state, action, params)
    index = jax.random.randint(key, (), 0, 2, jnp.int32)
    position, reward, terminated = jax.tree.map(lambda leaf: leaf[index], outcomes[1:])
    return Step(position, position, reward, terminated)


def observe_the_mirror_image(state, params):
    return 3 - state


@dataclass
class Thawed:
    """Not frozen, hence not hashable."""

    speed: float = 1.0

    def __call__(self, key, params):
        return reset(key, params)


class Broken(NamedTuple):
    """check: the check that catches it, as the report names it. message: what the error says."""

    check: str
    env: Environment
    message: str


def sampled(**fields):
    return GOOD.replace(**fields)


def tabular(outcomes):
    return finite(FINITE.params, outcomes, corridor.initial, Discrete(4), Discrete(2), 16)


BROKEN = [
    Broken("record", sampled(max_steps=0), "max_steps must be a positive int"),
    Broken("record", sampled(num_agents=0), "num_agents must be None or a positive int"),
    Broken("record", sampled(action_space=2), "action_space must be a space"),
    Broken("record", sampled(outcomes_fn=corridor.outcomes), "must be set together"),
    Broken("static fields equal when rebuilt", sampled(step_fn=lambda *inputs: step(*inputs)), "step_fn must be a module-level"),
    Broken("static fields equal when rebuilt", sampled(reset_fn=functools.partial(reset)), "reset_fn must be a module-level"),
    Broken("static fields equal when rebuilt", sampled(reset_fn=Thawed()), "reset_fn must be a module-level"),
    Broken("static fields equal when rebuilt", sampled(observation_space=Box(np.zeros(2), np.ones(2), (2,))), "must be hashable"),
    Broken("params are arrays", sampled(params=Params(0.1)), r"params.drift must be an array, got 0.1"),
    Broken("params are arrays", sampled(params=Params(np.float64(0.1))), "at most 32 bits"),
    Broken("params are arrays", sampled(params=Params(jnp.asarray(0.1))), "weak type"),
    Broken("reset structure", sampled(reset_fn=reset_without_a_state), r"must return \(obs, state\)"),
    Broken("reset structure", sampled(reset_fn=reset_with_a_narrow_observation), r"of its space.*got.*float32\[1\]"),
    Broken("step structure", sampled(step_fn=step_in_a_tuple), "must return a Step"),
    Broken("step structure", sampled(step_fn=step_with_a_branch), "traceable by jax, got TracerBoolConversionError"),
    Broken("step structure", sampled(step_fn=step_with_another_state), r"return the state.*got.*float16\[2\]"),
    Broken("step structure", sampled(step_fn=step_with_a_wide_reward), r"must return.*got.*float32\[1\]"),
    Broken("step structure", sampled(step_fn=step_with_a_float_end), "terminated': 'float32"),
    Broken("reset structure", sampled(num_agents=2), r"reset_fn must return an observation of its space.*float32\[2, 2\]"),
    Broken("step structure", sampled(step_fn=step_in_python_numbers), "must return arrays, as reward too, got 'the float 1.0'"),
    Broken("dtypes are explicit", sampled(step_fn=step_with_a_weak_reward), "with jax_enable_x64.*got.*'reward': 'float64"),
    Broken("dtypes are explicit", sampled(step_fn=step_with_wide_noise), "with jax_enable_x64.*state.*got.*float64"),
    Broken("dtypes are explicit", sampled(step_fn=step_with_noise_without_a_dtype), "step_fn must draw the same random numbers"),
    Broken("mask structure", sampled(action_mask_fn=mask_of_three), r"must return.*bool\[2\].*got.*bool\[3\]"),
    Broken("global observation structure", sampled(global_obs_fn=everything_in_a_dict), r"float32\[G\], got.*'state'"),
    Broken("outcomes structure", FINITE.replace(outcomes_fn=outcomes_without_axis), "outcomes_fn must return"),
    Broken("given keys are used", sampled(reset_fn=reset_of_its_own_key), "reset_fn must draw from the key that it is given"),
    Broken("given keys are used", sampled(step_fn=step_of_its_own_key), "step_fn must draw from the key that it is given"),
    Broken("keys are used once", sampled(step_fn=step_with_one_key_twice), "step_fn must use each key once"),
    Broken("some action is legal", sampled(action_mask_fn=mask_of_none), "at least one action legal"),
    Broken("traced twice the same", sampled(step_fn=step_that_counts), "step_fn must be the same program"),
    Broken(
        "traced twice the same",
        sampled(reset_fn=reset_with_numpy_noise),
        "reset_fn must be the same program whenever it is traced",
    ),
    Broken("same key same result", sampled(reset_fn=reset_with_a_callback), "reset_fn must return the same for the same inputs"),
    Broken("batched equals single", sampled(step_fn=step_that_feels_the_batch), "one by one and under vmap"),
    Broken("observations in space", sampled(step_fn=step_out_of_the_box), "step_fn must return observations in Box"),
    Broken("rewards are finite", sampled(step_fn=step_with_infinite_reward), "finite rewards"),
    Broken("probabilities", tabular(improbable_outcomes), r"sum to 1, got 0\.(9|8999)"),
    Broken("probabilities", tabular(negative_outcomes), "no negative probability, got -0.5"),
    Broken("observations follow from states", FINITE.replace(observe_fn=observe_the_mirror_image), "must observe what step_fn"),
    Broken("steps are possible outcomes", FINITE.replace(step_fn=step_elsewhere), "have positive probability"),
    Broken("frequencies", FINITE.replace(step_fn=step_with_other_odds), "as frequent as their probabilities"),
    Broken("terminal states are absorbing", tabular(outcomes_that_leave_the_end), "every action must stay there"),
    Broken("terminal states are absorbing", tabular(outcomes_that_pay_at_the_end), "every reward must be 0"),
    Broken("table agrees", tabular(outcomes_that_know_the_precision), "agree with its table, got '[01].0 and [12].0"),
]


@pytest.fixture(scope="module")
def report_on_sampled():
    return check_environment(GOOD, KEY, rebuilt=GOOD.replace(params=Params(jnp.float32(0.3))))


@pytest.fixture(scope="module")
def report_on_finite():
    return check_environment(FINITE, KEY)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.check)
def test_broken_environment_is_caught(broken):
    with pytest.raises(EnvError, match=broken.message) as caught:
        check_environment(broken.env, KEY)
    assert caught.value.__notes__[-1] == f"Found by the check {broken.check!r}."


def test_rebuilt_environment_that_compiles_again_is_caught():
    for rebuilt in (GOOD.replace(max_steps=11), GOOD.replace(params=Params(jnp.zeros(2)))):
        with pytest.raises(EnvError, match="find the compiled program"):
            check_environment(GOOD, KEY, rebuilt=rebuilt)


def test_every_check_has_a_broken_environment(report_on_sampled, report_on_finite):
    checks = {broken.check for broken in BROKEN} | {"rebuilt compiles once"}
    assert checks == set(report_on_sampled.passed) | set(report_on_finite.passed)


def test_report_lists_what_applies(report_on_sampled, report_on_finite):
    for report in (report_on_sampled, report_on_finite):
        assert not set(report.passed) & set(report.skipped)
    assert "rebuilt compiles once" in report_on_sampled.passed
    assert "frequencies" in report_on_sampled.skipped
    assert "frequencies" in report_on_finite.passed
    assert "mask structure" in report_on_finite.skipped


def test_a_state_may_be_empty():
    env = sampled(reset_fn=reset_without_memory, step_fn=step_without_memory, action_mask_fn=None, global_obs_fn=None)
    assert "batched equals single" in check_environment(env, KEY).passed


def test_table_can_be_left_out():
    skipped = check_environment(FINITE, KEY, tabulated=False).skipped
    assert {"terminal states are absorbing", "table agrees"} <= set(skipped)


def test_agents_and_masks_together():
    """Two players of three actions, of which the second is forbidden to player 1."""
    game = matrix_game.make(np.arange(18.0).reshape(2, 3, 3), rounds=2).replace(action_mask_fn=mask_of_a_player)
    report = check_environment(game, KEY)
    assert {"mask structure", "some action is legal", "table agrees"} <= set(report.passed)


def mask_of_a_player(state, params):
    return jnp.array([[True, True, True], [True, False, True]])


def test_nested_actions_with_masks():
    env = probes.nested_action()
    report = check_environment(env, KEY, rebuilt=probes.nested_action())
    assert {"mask structure", "some action is legal", "keys are used once"} <= set(report.passed)
    assert "mask structure" in check_environment(copies(env, 2), KEY).passed


def nested_mask(**changes):
    free = {"amount": None, "direction": jnp.ones(4, bool), "levers": jnp.ones(5, bool)}
    return {name: part for name, part in (free | changes).items() if part is not ...}


def mask_without_levers(state, params):
    return nested_mask(levers=...)


def mask_of_amounts(state, params):
    return nested_mask(amount=jnp.ones(1, bool))


def mask_in_rows(state, params):
    return nested_mask(levers=jnp.ones((2, 3), bool))


def mask_of_nothing(state, params):
    return nested_mask(direction=None, levers=None)


def mask_of_a_stuck_lever(state, params):
    return nested_mask(levers=jnp.array([False, False, True, True, True]))


def mask_of_directions_alone(state, params):
    return nested_mask(levers=None)


@pytest.mark.parametrize("mask", [mask_without_levers, mask_of_amounts, mask_in_rows, mask_of_nothing])
def test_masks_in_another_structure_than_the_actions_are_caught(mask):
    with pytest.raises(EnvError, match=r"action_mask_fn must return .*bool\[4\].*levers.*bool\[5\].*None in place of a Box"):
        check_environment(probes.nested_action().replace(action_mask_fn=mask), KEY)


def test_a_choice_without_a_legal_integer_is_caught():
    with pytest.raises(EnvError, match="at least one action legal"):
        check_environment(probes.nested_action().replace(action_mask_fn=mask_of_a_stuck_lever), KEY)
    part = probes.nested_action().replace(action_mask_fn=mask_of_directions_alone)
    assert "some action is legal" in check_environment(part, KEY).passed
