"""Optimal execution: schedules against closed forms, the environment against the schedules' expected costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.trading import execution, schedules
from jaxrl.core import rollout
from jaxrl.core.rollout import Decision
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment

KEY = jax.random.key(0)
RISING = np.linspace(1.0, 3.0, 10)
NONE = np.zeros(10)


def costs(env, lots, paths=2000):
    """Returns the cost of a schedule on each path, and the last state's cash and start value."""
    lots = jnp.asarray(lots, jnp.int32)

    def policy(key, view):
        step = jnp.round((1 - view.obs[:, 0]) * len(lots)).astype(jnp.int32)
        return Decision(lots[step])

    episodes = rollout.start(KEY, env, paths)
    _, batch = jax.jit(lambda key: rollout.unroll(key, env, policy, episodes, len(lots)))(jax.random.key(1))
    return np.asarray(-batch.reward.sum(0) * env.params.cost_scale, np.float64), batch


@pytest.mark.parametrize("changes", [dict(temporary=RISING), dict(speed=0.3, spread=0.5, factor=1.5)])
def test_keeps_the_protocol(changes):
    check_environment(execution.make(), KEY, rebuilt=execution.make(**changes))


# ---- schedules


def test_schedules_in_whole_lots_sell_all_and_the_last_is_the_cheapest():
    found = schedules.in_whole_lots(20, RISING, RISING / 2)
    assert [int(schedule.sum()) for schedule in found.values()] == [20] * 3
    costs = [schedules.cost(schedule, RISING, RISING / 2) for schedule in found.values()]
    assert costs[-1] < min(costs[:-1])


def test_cost_of_the_optimum_over_that_of_equal_sales():
    best = schedules.optimal(20, RISING, NONE)
    ratio = schedules.cost(best, RISING, NONE) / schedules.cost(schedules.twap(20, 10), RISING, NONE)
    assert ratio == pytest.approx(0.8886, abs=5e-5)


@pytest.mark.parametrize("permanent", [0.0, 0.4, 1.0])
def test_quadratic_programme_finds_the_closed_form(permanent):
    best = schedules.optimal(20, RISING, np.full(10, permanent))
    np.testing.assert_allclose(best, schedules.closed_form(20, RISING, permanent), atol=1e-4)


def test_cost_by_walking_through_the_steps():
    generator = np.random.default_rng(0)
    for _ in range(5):
        h, k, v = generator.uniform(0.5, 2, 6), generator.uniform(0, 0.5, 6), generator.uniform(0, 3, 6)
        price, cash = 100.0, 0.0
        for t in range(6):
            cash += v[t] * (price - h[t] * v[t])
            price -= k[t] * v[t]
            left = v[t + 1 :].sum()
            assert schedules.cost_so_far(v, h, k)[t] == pytest.approx(100.0 * v.sum() - cash - left * price)
        assert schedules.cost(v, h, k) == pytest.approx(100.0 * v.sum() - cash)


def test_no_schedule_beats_the_quadratic_programme():
    generator = np.random.default_rng(1)
    h, k = generator.uniform(1, 3, 10), generator.uniform(0, 0.6, 10)
    best = schedules.cost(schedules.optimal(20, h, k), h, k)
    for _ in range(200):
        v = 20 * generator.dirichlet(np.ones(10))
        assert schedules.cost(v, h, k) >= best - 1e-9
    lots = schedules.optimal_lots(20, h, k)
    assert lots.sum() == 20
    assert best <= schedules.cost(lots, h, k) < 1.05 * best


def test_whole_lots_against_all_schedules():
    h, k = np.array([1.0, 2.0, 1.5]), np.array([0.3, 0.1, 0.2])
    every = [(a, b, 5 - a - b) for a in range(6) for b in range(6 - a)]
    best = min(schedules.cost(np.array(v, float), h, k) for v in every)
    assert schedules.cost(schedules.optimal_lots(5, h, k), h, k) == pytest.approx(best)
    np.testing.assert_array_equal(schedules.whole_lots(schedules.twap(20, 8)).sum(), 20)
    assert np.abs(schedules.whole_lots(schedules.twap(20, 8)) - 2.5).max() <= 1


def test_selling_at_once_can_be_best_and_the_closed_form_says_that_it_cannot_tell():
    with pytest.raises(ConfigError, match="exceed half the permanent"):
        schedules.closed_form(20, np.full(3, 0.5), 1.5)
    with pytest.raises(ConfigError, match="must be convex"):
        schedules.optimal(20, np.full(3, 0.1), np.full(3, 1.5))


# ---- the environment


@pytest.mark.parametrize("permanent", [0.0, 0.5])
def test_without_noise_a_schedule_costs_what_it_should(permanent):
    env = execution.make(temporary=RISING, permanent=permanent, volatility=0.0)
    lots = schedules.whole_lots(schedules.front_loaded(20, 10))
    found, _ = costs(env, lots, 4)
    np.testing.assert_allclose(found, schedules.cost(lots, RISING, np.full(10, permanent)), rtol=1e-5)


def test_rewards_are_minus_the_implementation_shortfall():
    """The sum of the rewards against cash and prices, kept in float64 outside of the environment."""
    env = execution.make(volatility=0.5, speed=0.2, spread=0.4, start=50.0)
    _, state = env.reset(KEY)
    step, total, cash, price = jax.jit(env.step), 0.0, 0.0, 50.0
    for index, sold in enumerate((3, 0, 5, 1, 2, 2, 2, 2, 2, 0)):
        moved = step(jax.random.fold_in(KEY, index), state, jnp.int32(sold))
        sold = float(moved.info["sold"])
        assert float(moved.info["fill"]) == pytest.approx(price - float(state.factor) * sold, rel=1e-5)
        cash += sold * float(moved.info["fill"])
        total += float(moved.reward)
        state, price = moved.state, float(moved.state.price)
    assert int(state.lots) == 0  # the last step sells what is left
    assert bool(moved.terminated)
    assert -total * float(env.params.cost_scale) == pytest.approx(20 * 50.0 - cash, abs=2e-3)


def test_no_sale_fills_below_0_and_the_books_stay_right():
    """A volatility of the size of the price carries it to 0 on most paths: fills and mid prices stop there."""
    env = execution.make(lots=8, num_steps=6, volatility=10.0, start=12.0, speed=0.2, spread=1.0)
    step = jax.jit(env.step)
    fills, mids = [], []
    for path in range(40):
        _, state = env.reset(KEY)
        total, cash = 0.0, 0.0
        for index, sold in enumerate((1, 2, 0, 2, 1, 8)):
            moved = step(jax.random.fold_in(jax.random.key(path), index), state, jnp.int32(sold))
            fills.append(float(moved.info["fill"]))
            mids.append(float(moved.state.price))
            cash += fills[-1] * float(moved.info["sold"])
            total += float(moved.reward) * float(env.params.cost_scale)
            state = moved.state
        assert float(state.cash) == pytest.approx(cash, abs=1e-3)
        assert total == pytest.approx(cash - 8 * 12.0, abs=1e-3)
    assert min(fills) == 0.0
    assert min(mids) == 0.0


def test_mean_cost_with_noise_is_the_expected_one():
    env = execution.make(temporary=RISING, permanent=0.5, volatility=0.3)
    lots = schedules.optimal_lots(20, RISING, np.full(10, 0.5))
    found, _ = costs(env, lots, 4000)
    error = found.std() / np.sqrt(len(found))
    assert found.mean() == pytest.approx(schedules.cost(lots, RISING, np.full(10, 0.5)), abs=4 * error)


def test_latent_liquidity_reverts_to_its_mean():
    """Without stopping at 0 the mean factor is 1 + (m - 1)(1 - speed)^t; the cost of equal sales follows."""
    env = execution.make(permanent=0.0, volatility=0.0, speed=0.3, spread=0.1, factor=1.5)
    found, _ = costs(env, np.full(10, 2), 4000)
    mean = 1 + 0.5 * 0.7 ** np.arange(10)
    error = found.std() / np.sqrt(len(found))
    assert error > 0
    assert found.mean() == pytest.approx(4 * mean.sum(), abs=4 * error)


def test_mean_impacts_are_those_of_many_paths():
    env = execution.make(speed=0.3, spread=0.2, factor=0.7, permanent=np.linspace(0.1, 0.3, 10))

    def step(state, key):
        after = jax.vmap(lambda key, state: env.step(key, state, 0).state)(jax.random.split(key, 4000), state)
        return after, state.factor

    start = jax.vmap(env.reset)(jax.random.split(KEY, 4000))[1]
    factor = np.asarray(jax.lax.scan(step, start, jax.random.split(KEY, 10))[1], np.float64).mean(1)
    temporary, permanent = execution.mean_impacts(env.params)
    np.testing.assert_allclose(temporary, factor, atol=0.02)
    np.testing.assert_allclose(permanent, factor * np.linspace(0.1, 0.3, 10), atol=0.01)


def test_the_agent_does_not_see_the_liquidity():
    env = execution.make(speed=0.3, spread=0.5)
    _, state = env.reset(KEY)
    obs = [env.step(KEY, state._replace(factor=jnp.float32(f)), jnp.int32(0)).obs for f in (0.5, 3.0)]
    np.testing.assert_array_equal(obs[0], obs[1])


def test_masks_allow_what_is_held_and_force_the_last_sale():
    env = execution.make(lots=4, num_steps=2)
    _, state = env.reset(KEY)
    np.testing.assert_array_equal(env.action_mask(state), [True] * 5)
    state = env.step(KEY, state, jnp.int32(1)).state
    np.testing.assert_array_equal(env.action_mask(state), [False, False, False, True, False])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(lots=0), "lots must be at least 1"),
        (dict(temporary=[1.0, 2.0]), "temporary must have 10 entries"),
        (dict(permanent=-1.0), "permanent must not be negative"),
        (dict(permanent=np.nan), "permanent must be a number or a row of numbers, got nan"),
        (dict(speed=1.5), "speed must lie in"),
        (dict(start=20.0), "start must exceed the largest impact"),
        (dict(start=100.0, factor=6.0), "start must exceed the largest impact"),
        (dict(start=0.0), "start must exceed"),
        (dict(start=np.nan), "start must be a number"),
        (dict(spread=-0.1), "spread must not be negative"),
        (dict(temporary=0.0, permanent=0.0), "cost_scale must be positive"),
    ],
)
def test_wrong_parameters(changes, message):
    with pytest.raises(ConfigError, match=message):
        envs.make("execution", **changes)
