"""Transforms: the changed environment keeps the protocol, and its exact model changes with it."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from scipy import stats

import envs
from envs.control import cartpole
from envs.gridworlds import corridor, doorkey, empty_room, frozen_lake
from envs.matrix_games import matrix_game, named
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import BLOCK, episode_metrics, start, uniform_policy, unroll
from jaxrl.core.spaces import Box, Discrete
from jaxrl.core.transforms import (
    with_action_mask,
    with_bonus,
    with_copied_actions,
    with_discrete_actions,
    with_mask,
    with_observation,
    with_potential,
    with_reward,
    with_steps,
    with_stock,
    with_temperature,
    with_time_limit,
)
from jaxrl.errors import ConfigError, EnvError
from jaxrl.solvers.mdp import host
from jaxrl.solvers.mdp.stock import optimal_cvar
from jaxrl.testing.conformance import check_environment
from tests import oracles, probes

KEY = jax.random.key(0)


def entering(table, obs, action, next_obs):
    """Pays ``table[next_obs]``."""
    return table[next_obs]


def upright(weight, obs, action, next_obs):
    return weight * (1.0 - jnp.abs(next_obs[2]) + obs[0]) - 0.1 * action


def for_two(bonus, obs, action, next_obs):
    return bonus + action.astype(jnp.float32)


def for_one(params, obs, action, next_obs):
    return jnp.float32(1.0)


def wide(params, obs, action, next_obs):
    return jnp.zeros(1)


def one_hot(obs):
    return jax.nn.one_hot(obs, 4, dtype=jnp.float32)


def only_right(state, params):
    return jnp.array([False, True])


def not_left_at_the_start(state, params):
    return jnp.array([state != 0, True])


@pytest.fixture(scope="module")
def lake():
    return frozen_lake.make()


def with_lake_reward(lake, goal=1.0):
    return with_reward(lake, entering, jnp.zeros(16, jnp.float32).at[15].set(goal))


def test_reward_keeps_the_protocol(lake):
    check_environment(with_lake_reward(lake), KEY, rebuilt=with_lake_reward(frozen_lake.make(slip=0.1), goal=3.0))


def test_reward_of_a_sampled_environment_keeps_the_protocol():
    env, rebuilt = (with_reward(cartpole.make(), upright, jnp.float32(weight)) for weight in (1, 2))
    check_environment(env, KEY, rebuilt=rebuilt)


def test_reward_for_agents_keeps_the_protocol():
    game = with_reward(matrix_game.make(named.PRISONERS_DILEMMA, rounds=2), for_two, jnp.array([1.0, 2.0], jnp.float32))
    check_environment(game, KEY)
    np.testing.assert_array_equal(tabulate(game).reward[0, :, 0], [(1, 2), (1, 3), (2, 2), (2, 3)])


def test_same_reward_gives_the_same_model(lake):
    original, changed = tabulate(lake), tabulate(with_lake_reward(lake))
    for gamma in (0.9, 0.99):
        values = [oracles.start_value(model, oracles.value_iteration(model, gamma)) for model in (original, changed)]
        assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_reward_sees_true_successors_in_rollouts():
    """In a corridor of 3 cells, paying the number of the cell entered: the last pays 2, though the next episode begins at 0."""
    env = with_reward(corridor.make(3), entering, jnp.arange(3.0, dtype=jnp.float32))
    _, batch = unroll(KEY, env, uniform_policy(env), start(KEY, env, 8), 32)
    np.testing.assert_array_equal(batch.reward, batch.next_obs)
    assert (np.asarray(batch.reward)[np.asarray(batch.terminated)] == 2).all()
    assert batch.terminated.any()


def test_reward_is_zero_after_the_end():
    env = with_reward(corridor.make(2), entering, jnp.ones(2, jnp.float32))
    _, state = env.reset(KEY)
    first = env.step(KEY, state, jnp.int32(1))
    second = env.step(KEY, first.state, jnp.int32(1))
    assert (float(first.reward), bool(first.terminated)) == (1.0, True)
    assert (float(second.reward), bool(second.terminated)) == (0.0, True)


def test_reward_is_exchanged_without_compiling_again(lake):
    traces = 0

    @jax.jit
    def first_reward(env, state):
        nonlocal traces
        traces += 1
        return env.step(KEY, state, jnp.int32(2)).reward

    env = with_lake_reward(lake)
    _, state = env.reset(KEY)
    for pay in (1.0, 5.0):
        env = env.replace(params=env.params.replace(reward=jnp.full(16, pay, jnp.float32)))
        assert first_reward(env, state) == pay
    assert traces == 1


def test_reward_parameters_can_be_vmapped(lake):
    env = with_lake_reward(lake)
    _, state = env.reset(KEY)

    def first_reward(pay):
        return env.replace(params=env.params.replace(reward=pay)).step(KEY, state, jnp.int32(2)).reward

    np.testing.assert_array_equal(jax.vmap(first_reward)(jnp.full((3, 16), jnp.arange(3.0)[:, None])), [0, 1, 2])


def test_reward_of_the_wrong_shape(lake):
    with pytest.raises(EnvError, match=r"must return float32\[\].*got 'float32\[1\]'"):
        with_reward(lake, wide)


def by_number(table, obs):
    """The potential ``table[obs]``."""
    return table[obs]


def of_each_agent(table, obs):
    return table[: obs.shape[0]]


def shaped_lake(lake, gamma=0.99, seed=0):
    return with_potential(lake, by_number, gamma, jax.random.normal(jax.random.key(seed), (16,), jnp.float32))


def test_potential_keeps_the_protocol(lake):
    check_environment(shaped_lake(lake), KEY, rebuilt=shaped_lake(frozen_lake.make(slip=0.1), gamma=0.9, seed=1))


def test_potential_of_a_sampled_environment_keeps_the_protocol():
    env, rebuilt = (with_potential(cartpole.make(), upright_potential, gamma, jnp.float32(2.0)) for gamma in (0.9, 1.0))
    check_environment(env, KEY, rebuilt=rebuilt)


def upright_potential(weight, obs):
    return -weight * jnp.abs(obs[2])


def test_potential_for_agents_keeps_the_protocol():
    potential = jnp.array([1.0, 2.0], jnp.float32)
    game = with_potential(matrix_game.make(named.PRISONERS_DILEMMA, rounds=2), of_each_agent, 0.5, potential)
    check_environment(game, KEY)
    plain = tabulate(matrix_game.make(named.PRISONERS_DILEMMA, rounds=2))
    difference = tabulate(game).reward - plain.reward
    np.testing.assert_allclose(difference[~plain.terminated], np.tile([-0.5, -1.0], ((~plain.terminated).sum(), 1)))


@pytest.mark.parametrize("build", [frozen_lake.make, lambda: envs.make("random_mdp", kind="garnet", seed=3)])
def test_values_of_a_shaped_environment_are_less_by_the_potential(build):
    """Q_shaped = Q - Phi, with the same greedy sets, for 100 random potentials: the largest difference is rounding."""
    env, gamma = build(), float(np.float32(0.99))
    states = env.observation_space.n
    plain, phi = tabulate(env), np.random.default_rng(0).normal(size=(100, states)).astype(np.float32)
    shaped = with_potential(env, by_number, gamma, jnp.zeros(states, jnp.float32))
    q = oracles.action_values(plain, oracles.value_iteration(plain, gamma), gamma)
    place = np.argsort(plain.observation)
    for row in phi:
        params = shaped.params.replace(reward=shaped.params.reward.replace(potential=jnp.asarray(row)))
        model = tabulate(shaped.replace(params=params))
        # A terminal state is another one in the shaped world: nothing is paid in it, whatever its potential.
        going_on = ~model.terminated.all((1, 2))
        obs = model.observation[going_on]
        found, expected = host.solve(model, gamma).action_value[going_on], q[place[obs]] - row[obs][:, None]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        best = q[place[obs]] >= q[place[obs]].max(-1, keepdims=True) - 1e-7
        np.testing.assert_array_equal(found >= found.max(-1, keepdims=True) - 1e-7, best)


def test_potential_is_none_beyond_the_end_and_remains_at_a_time_limit():
    """In a corridor of 3 cells with potentials 1, 2 and 4 and gamma = 0.5: right pays 0.5 * 2 - 1, and then 1 - 2 at the end."""
    env = with_time_limit(with_potential(corridor.make(3), by_number, 0.5, jnp.array([1.0, 2.0, 4.0], jnp.float32)), 2)
    _, batch = unroll(KEY, env, uniform_policy(env), start(KEY, env, 64), 8)
    obs, after, ends = (np.asarray(part) for part in (batch.obs, batch.next_obs, batch.terminated))
    phi = np.array([1.0, 2.0, 4.0])
    paid = np.where(ends, 1.0, 0.5 * phi[after]) - phi[obs]
    np.testing.assert_allclose(batch.reward, paid)
    assert ends.any()
    assert np.asarray(batch.truncated).any()
    step = env.step(KEY, env.reset(KEY)[1], jnp.int32(1))
    over = env.step(KEY, env.step(KEY, step.state, jnp.int32(1)).state, jnp.int32(1))
    assert (float(over.reward), bool(over.terminated)) == (0.0, True)


def test_potentials_that_cannot_be_added_are_refused(lake):
    with pytest.raises(EnvError, match=r"with_potential: the potential must return float32\[\].*got 'float32\[16\]'"):
        with_potential(lake, lambda table, obs: table, 0.9, jnp.zeros(16))
    with pytest.raises(ConfigError, match="gamma"):
        with_potential(lake, by_number, 1.5, jnp.zeros(16))


def test_observation():
    env = with_observation(corridor.make(4, slip=0.2), one_hot, Box(0.0, 1.0, (4,)))
    check_environment(env, KEY, rebuilt=with_observation(corridor.make(4), one_hot, Box(0.0, 1.0, (4,))))
    np.testing.assert_array_equal(tabulate(env).observation, np.eye(4))


def test_observation_over_reward():
    """The reward was given for the original observations, and goes on seeing those."""
    inner = with_reward(corridor.make(4), entering, jnp.arange(4.0, dtype=jnp.float32))
    env = with_observation(inner, one_hot, Box(0.0, 1.0, (4,)))
    check_environment(env, KEY)
    np.testing.assert_array_equal(tabulate(env).observation, np.eye(4))
    np.testing.assert_array_equal(tabulate(env).reward, tabulate(inner).reward)


def test_time_limit():
    env = with_time_limit(corridor.make(8), 3)
    _, batch = unroll(KEY, env, uniform_policy(env), start(KEY, env, 2), 6)
    np.testing.assert_array_equal(batch.truncated[:, 0], [False, False, True] * 2)
    with pytest.raises(ConfigError, match="max_steps"):
        with_time_limit(env, 0)


LIMITED = [name for name, factory in envs.REGISTRY.items() if "max_steps" in inspect.signature(factory).parameters]


@pytest.mark.parametrize("name", LIMITED)
def test_a_time_limit_reaches_what_depends_on_it(name):
    """An environment with another time limit is the one that its factory builds with it, or is refused."""
    env = envs.make(name)
    for max_steps in (3, env.max_steps // 2 + 1, 2 * env.max_steps + 1):
        try:
            changed = with_time_limit(env, max_steps)
        except EnvError:
            assert name in ("single_asset", "single_asset_continuous", "t_maze")
            continue
        built = envs.make(name, max_steps=max_steps)
        assert jax.tree.structure(changed) == jax.tree.structure(built)
        for one, other in zip(jax.tree.leaves(changed), jax.tree.leaves(built), strict=True):
            np.testing.assert_array_equal(one, other)
        assert changed.max_steps == max_steps


@pytest.mark.parametrize("build", [doorkey.make, empty_room.make])
def test_a_success_within_the_time_limit_is_rewarded(build):
    env = with_time_limit(build(), 1000)
    at_goal = 1.0 - env.params.fading * 1000
    assert float(at_goal) == pytest.approx(0.1, abs=1e-5)
    untimed = with_time_limit(build(timed=False), 1000)
    assert float(untimed.params.fading) == 0.0


def test_a_time_limit_reaches_through_another_reward():
    env = with_time_limit(with_reward(doorkey.make(), for_one), 500)
    assert float(env.params.env.fading) == pytest.approx(0.9 / 500)


def test_action_mask():
    env = with_action_mask(corridor.make(4), not_left_at_the_start)
    check_environment(env, KEY, rebuilt=with_action_mask(corridor.make(4), not_left_at_the_start))
    both = with_action_mask(env, only_right)
    np.testing.assert_array_equal(both.action_mask(jnp.int32(2)), [False, True])
    np.testing.assert_array_equal(tabulate(env).action_mask, [[False, True], *[[True, True]] * 3])


def test_action_mask_wants_discrete_actions():
    with pytest.raises(EnvError, match="must have a Discrete or MultiDiscrete part"):
        with_action_mask(cartpole.make().replace(action_space=Box(0, 1)), only_right)


def second_lever_stays(state, params):
    return {"amount": None, "direction": None, "levers": jnp.array([True, True, True, False, False])}


def test_masks_of_nested_actions_add_up():
    env = with_action_mask(probes.nested_action(), second_lever_stays)
    found = env.action_mask(jnp.int32(0))
    assert found["amount"] is None
    np.testing.assert_array_equal(found["direction"], [True, True, True, False])
    np.testing.assert_array_equal(found["levers"], [True, True, True, False, False])


@pytest.mark.parametrize("build", [lambda: envs.make("catch"), lambda: with_action_mask(corridor.make(4), not_left_at_the_start)])
def test_copies_of_actions_do_the_same(build):
    env, copied = build(), with_copied_actions(build(), 5)
    check_environment(copied, KEY, rebuilt=with_copied_actions(build(), 5))
    model, other = tabulate(env), tabulate(copied)
    assert other.num_actions == 5 * model.num_actions
    for copy in range(other.num_actions):
        np.testing.assert_array_equal(other.next_state[:, copy], model.next_state[:, copy // 5])
        np.testing.assert_array_equal(other.reward[:, copy], model.reward[:, copy // 5])
        np.testing.assert_array_equal(other.action_mask[:, copy], model.action_mask[:, copy // 5])


def test_only_discrete_actions_are_copied():
    with pytest.raises(EnvError, match="must be Discrete"):
        with_copied_actions(envs.make("pendulum"), 2)
    with pytest.raises(ConfigError, match="at least 1"):
        with_copied_actions(envs.make("catch"), 0)


@struct.dataclass
class Weights:
    scale: jax.Array
    offset: jax.Array


def linear(weights, obs, action, next_obs):
    return weights.scale * next_obs.astype(jnp.float32) + weights.offset


def test_reward_parameters_may_be_any_pytree():
    env = with_reward(corridor.make(3), linear, Weights(jnp.float32(2.0), jnp.float32(-1.0)))
    assert isinstance(env.observation_space, Discrete)
    _, state = env.reset(KEY)
    assert env.step(KEY, state, jnp.int32(1)).reward == 1.0


def test_a_bonus_is_added_and_its_parts_are_told():
    """The corridor's last step pays 1; entering cell 1 has a bonus of 0.5, the end one of 0.25, once."""
    env = corridor.make(length=4)
    table = jnp.array([0.0, 0.5, 0.0, 0.25])
    changed = with_bonus(env, entering, table, reward_weight=2.0, bonus_weight=10.0)
    _, state = changed.reset(KEY)
    found = []
    for _ in range(4):
        step = changed.step(KEY, state, jnp.int32(1))
        paid = step.info[BLOCK]
        found.append([float(step.reward), *map(float, (paid.reward, paid.return_, paid.bonus))])
        state = step.state
    own = [float(env.step(KEY, jnp.int32(cell), jnp.int32(1)).reward) for cell in range(3)]
    bonus = [0.5, 0.0, 0.25]
    expected = [[2 * r + 10 * b, r, sum(own[: t + 1]), b] for t, (r, b) in enumerate(zip(own, bonus, strict=True))]
    np.testing.assert_allclose(found[:3], expected, rtol=1e-6)
    assert found[3][3] == 0.0
    assert not changed.is_finite
    check_environment(changed, KEY)


def test_steps_are_handed_on_where_an_environment_asks_for_them():
    env = corridor.make(length=4)
    _, plain = unroll(KEY, env, uniform_policy(env), start(KEY, env, 2), 3)
    assert BLOCK not in episode_metrics(plain)
    changed = with_bonus(env, entering, jnp.zeros(4))
    _, batch = unroll(KEY, changed, uniform_policy(changed), start(KEY, changed, 2), 3)
    assert episode_metrics(batch)[BLOCK] is batch


def test_a_bonus_of_agents_is_refused():
    with pytest.raises(EnvError, match="with_bonus: the environment must have no agent axis, got 2"):
        with_bonus(matrix_game.make(named.CHICKEN), for_two, 1.0)


def test_a_bonus_is_one_number():
    with pytest.raises(EnvError, match=r"with_bonus: the bonus function must return float32\[\], got 'float32\[4\]"):
        with_bonus(corridor.make(length=4), lambda params, obs, action, next_obs: params, jnp.zeros(4))


def test_a_stock_keeps_the_protocol():
    check_environment(with_stock(envs.make("gamble_ladder"), [0.0, -7.0]), KEY)
    check_environment(with_stock(cartpole.make(max_steps=20), [-5.0], gamma=0.9), KEY)


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_a_stock_is_what_has_been_earned(gamma):
    """s_t = (s_0 + sum_k gamma^k r_k) / gamma^t, in every episode anew; powers of 1/2 are exact."""
    env = with_stock(envs.make("gamble_ladder"), [-3.0, -8.0], gamma)
    _, batch = unroll(KEY, env, uniform_policy(env), start(KEY, env, 20), 10)
    stock, reward = np.asarray(batch.obs["stock"]), np.asarray(batch.reward)
    assert set(np.unique(stock[batch.t == 0])) == {-3.0, -8.0}
    np.testing.assert_array_equal(batch.next_obs["stock"], (stock + reward) / gamma)
    np.testing.assert_array_equal(stock[1:][~batch.done[:-1]], batch.next_obs["stock"][:-1][~batch.done[:-1]])


def test_the_best_cvar_is_found_in_the_environment_with_a_stock():
    """Its tables with the rewards f(s + r) - f(s) have the value that the solver of the augmented process promises."""
    ladder, level, targets = envs.make("gamble_ladder"), 0.5, np.arange(16.0)
    model = tabulate(with_stock(ladder, -targets))
    stock = np.asarray(model.observation["stock"], np.float64)
    following = np.minimum(stock, 0.0)[model.next_state]
    solution = host.solve(dataclasses.replace(model, reward=following - np.minimum(stock, 0.0)[:, None, None]), 1.0)
    begins = np.flatnonzero(model.initial)
    np.testing.assert_allclose(model.initial[begins], 1 / 16)
    target = -stock[begins]
    worth = target + (np.minimum(-target, 0.0) + np.asarray(solution.value)[begins]) / level
    assert worth.max() == pytest.approx(5.375)
    assert float(optimal_cvar(tabulate(ladder), np.arange(16.0), level).value) == pytest.approx(worth.max())


def test_stocks_that_make_no_sense_are_refused():
    ladder = envs.make("gamble_ladder")
    for first, gamma, message in (
        ([], 1.0, "there must be a first stock"),
        ([0.0, np.inf], 1.0, "first must be finite"),
        ([0.0], 0.0, "gamma must be positive"),
        ([0.0], 1.5, "gamma"),
    ):
        with pytest.raises(ConfigError, match=message):
            with_stock(ladder, first, gamma)
    with pytest.raises(EnvError, match="the environment must have no agent axis, got 2"):
        with_stock(envs.make("prisoners_dilemma"), [0.0])


# ---- masks of what is seen


def in_table(table, obs):
    return table[obs]


def far_from(place, features):
    return jnp.array([True, True]) & (features[0] != place)


def cell_of(state, params):
    return state[None].astype(jnp.float32)


def narrow(params, obs):
    return jnp.ones(3, bool)


def played(env, steps=200, envs=8):
    return unroll(KEY, env, uniform_policy(env), start(KEY, env, envs), steps)[1]


def test_a_mask_keeps_the_protocol_and_is_exchanged():
    env = corridor.make(4)
    one, other = (with_mask(env, in_table, jnp.full((4, 2), flag), share) for flag, share in ((True, 0.3), (False, 0.0)))
    check_environment(one, KEY, rebuilt=other)


def test_a_mask_is_a_table_of_what_is_seen():
    table = jnp.array([[False, True], [True, True], [False, False], [True, False]])
    batch = played(with_mask(corridor.make(4), in_table, table))
    expected = np.asarray(table)[np.asarray(batch.obs)]
    expected[~expected.any(-1)] = True  # a mask that leaves nothing forbids nothing
    np.testing.assert_array_equal(batch.mask, expected)
    assert (np.asarray(batch.obs) == 2).any()


def test_a_mask_stands_beside_that_of_the_environment():
    """In ``own``, only the right is legal; of a mask that forbids it, nothing is left, and what the environment says holds."""
    own = with_action_mask(corridor.make(4), only_right)
    batch = played(with_mask(own, in_table, jnp.array([[True, False]] * 4), 0.5))
    np.testing.assert_array_equal(batch.mask, np.broadcast_to([False, True], batch.mask.shape))


def test_a_share_of_the_steps_is_without_the_mask():
    share, table = 0.25, jnp.array([[False, True]] * 40)
    mask = np.asarray(played(with_mask(corridor.make(40), in_table, table, share), 1000).mask)
    assert mask[..., 1].all()
    error = np.sqrt(share * (1 - share) / mask[..., 0].size)
    assert mask[..., 0].mean() == pytest.approx(share, abs=4 * error)


def test_a_mask_may_see_the_state():
    batch = played(with_mask(corridor.make(4), far_from, jnp.float32(2.0), features=cell_of))
    assert (np.asarray(batch.mask)[np.asarray(batch.obs) != 2]).all()
    steps = played(with_steps(with_mask(corridor.make(4), far_from, jnp.float32(2.0), features=cell_of), seen_cell))
    np.testing.assert_array_equal(steps.info[BLOCK][..., 0], steps.obs)


def seen_cell(state):
    return state.seen


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(EnvError, match=r"with_mask: the mask must return bool\[2\], got 'bool\[3\]'"):
        with_mask(corridor.make(4), narrow)
    with pytest.raises(EnvError, match="must be Discrete"):
        with_mask(envs.make("pendulum"), narrow)
    with pytest.raises(EnvError, match="no agent axis, got 2"):
        with_mask(matrix_game.make(named.CHICKEN), narrow)
    with pytest.raises(ConfigError, match=r"unmasked must lie in \[0, 1\], got 2"):
        with_mask(corridor.make(4), in_table, jnp.ones((4, 2), bool), 2)


# ---- some of the actions of a Box


def test_numbered_actions_are_those_of_the_box():
    env, torques = envs.make("pendulum"), [[-2.0], [0.5], [2.0]]
    numbered = with_discrete_actions(env, torques)
    check_environment(numbered, KEY, rebuilt=with_discrete_actions(envs.make("pendulum"), torques))
    _, state = env.reset(KEY)
    for number, torque in enumerate(torques):
        one, other = numbered.step(KEY, state, jnp.int32(number)), env.step(KEY, state, jnp.asarray(torque, jnp.float32))
        np.testing.assert_array_equal(one.obs, other.obs)
        np.testing.assert_array_equal(one.reward, other.reward)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([], r"actions must have shape \[A, 1\]"),
        ([[1.0, 2.0]], r"actions must have shape \[A, 1\]"),
        ([[1.0], [3.0]], "every action must lie in Box"),
        ([[np.nan]], "every action must lie in Box"),
        ([[1.0], [1.0, 2.0]], "must be an array of real numbers"),
    ],
)
def test_bad_tables_of_actions_are_refused(actions, message):
    with pytest.raises(ConfigError, match=message):
        with_discrete_actions(envs.make("pendulum"), actions)
    with pytest.raises(EnvError, match="must be a Box of one axis"):
        with_discrete_actions(corridor.make(4), [[1.0]])


def test_a_temperature_keeps_the_protocol():
    check_environment(with_temperature(matrix_game.make(named.CHICKEN), 0.1, 10.0), KEY)
    check_environment(with_temperature(cartpole.make(max_steps=20), 2.0, 2.0), KEY)


def test_a_temperature_is_uniform_on_the_scale_of_logarithms_and_that_of_the_episode():
    env = with_temperature(cartpole.make(max_steps=5), 0.1, 10.0)
    _, batch = unroll(KEY, env, uniform_policy(env), start(KEY, env, 500), 10)
    seen, after = np.asarray(batch.obs["log_temperature"]), np.asarray(batch.next_obs["log_temperature"])
    np.testing.assert_array_equal(seen, after)
    np.testing.assert_array_equal(seen[1:][~batch.done[:-1]], after[:-1][~batch.done[:-1]])
    drawn = seen[np.asarray(batch.t) == 0]
    assert stats.kstest(drawn / np.log(10), "uniform", (-1, 2)).pvalue > 1e-3


def test_the_agents_of_an_episode_have_one_temperature():
    env = with_temperature(matrix_game.make(named.CHICKEN), 0.1, 10.0)
    obs, _ = jax.vmap(env.reset)(jax.random.split(KEY, 9))
    assert obs["log_temperature"].shape == (9, 2)
    np.testing.assert_array_equal(obs["log_temperature"][:, 0], obs["log_temperature"][:, 1])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (1.0, np.inf)])
def test_temperatures_that_make_no_sense_are_refused(low, high):
    with pytest.raises(ConfigError, match="with_temperature"):
        with_temperature(cartpole.make(), low, high)
