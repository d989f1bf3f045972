"""Trading one asset: rewards add up to the growth of wealth, the books agree with a replay, and nothing looks ahead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.trading import accounting, baselines, binomial_market, execution, features, prices, single_asset
from jaxrl.algorithms.tabular import q_learning
from jaxrl.core import rollout
from jaxrl.core.finite import tabulate
from jaxrl.core.rollout import Decision
from jaxrl.core.transforms import with_time_limit
from jaxrl.errors import ConfigError, EnvError
from jaxrl.testing.causality import check_causal_function, check_causality
from jaxrl.testing.conformance import check_environment
from jaxrl.training.runner import run

KEY = jax.random.key(0)
TABLE = np.asarray(prices.paths(prices.regime_switching(), KEY, 3, 160))


def market(table=TABLE, **changes):
    return single_asset.make(table, **{"max_steps": 60, **changes})


def play(env, actions, key=KEY):
    """Plays one episode from a list of actions; returns its first state and its steps, stacked."""
    _, state = env.reset(key)

    def step(state, action):
        step = env.step(key, state, action)
        return step.state, step

    return state, jax.jit(lambda state: jax.lax.scan(step, state, jnp.asarray(actions)))(state)[1]


@pytest.mark.parametrize(
    ("env", "rebuilt"),
    [
        (market(), market(proportional_fee=0.002)),
        (market(weights=None, short=0.5, leverage=2.0, fixed_fee=0.0001), market(weights=None, short=0.5, leverage=2.0)),
        (market(observe=features.last_returns, first=60, last=60), None),
    ],
)
def test_keeps_the_protocol(env, rebuilt):
    check_environment(env, KEY, rebuilt=rebuilt)


def test_rewards_add_up_to_the_growth_of_wealth_and_the_books_agree():
    env = market(proportional_fee=0.002, fixed_fee=0.0005)
    actions = np.random.default_rng(0).integers(0, 5, 60)
    start, steps = play(env, actions)
    info = {name: np.asarray(leaf, np.float64) for name, leaf in steps.info.items()}
    np.testing.assert_allclose(info["wealth"], info["cash"] + info["position"] * info["price"], rtol=1e-5)
    assert float(steps.reward.sum()) == pytest.approx(np.log(info["wealth"][-1]), abs=1e-5)
    path, bar = int(start.path), int(start.bar)
    window = TABLE[path, bar : bar + 61]
    np.testing.assert_allclose(info["price"], window[1:])
    books = accounting.replay(window, np.asarray(env.params.weights)[actions], 1.0, env.params.costs, env.params.limits)
    np.testing.assert_allclose(books.wealth[1:], info["wealth"], rtol=1e-5)
    np.testing.assert_allclose(books.fee, info["fee"], atol=1e-7)


def test_buy_and_hold_earns_units_times_the_price_change_less_the_fee():
    env = market(proportional_fee=0.01, first=70, last=70)
    start, steps = play(env, np.full(60, 4))
    window = TABLE[int(start.path)].astype(np.float64)
    units = 1 / 1.01 / window[70]
    assert float(steps.info["wealth"][-1]) - 1 == pytest.approx(
        units * (window[130] - window[70]) - 0.01 * units * window[70], rel=1e-4
    )
    assert float(steps.info["fee"][1:].sum()) == 0.0


def test_reward_is_the_log_return_less_the_fee_rate_times_the_change_of_weight():
    env = market(proportional_fee=0.0005)
    state, steps = play(env, np.full(1, 4))
    growth = np.log(TABLE[int(state.path), int(state.bar) + 1] / TABLE[int(state.path), int(state.bar)])
    assert float(steps.reward[0]) == pytest.approx(growth - 0.0005, abs=1e-6)


def test_observation_is_the_weight_held_and_the_features():
    env = market(observe=features.last_returns)
    state, steps = play(env, np.array([4, 1, 1]))
    row = np.asarray(features.last_returns(jnp.asarray(TABLE[int(state.path)])))
    np.testing.assert_allclose(steps.obs[:, 1:], row[int(state.bar) + 1 : int(state.bar) + 4], rtol=1e-5)
    held = np.asarray(steps.info["position"] * steps.info["price"] / steps.info["wealth"])
    np.testing.assert_allclose(steps.obs[:, 0], held, rtol=1e-5)


# ---- ruin


def test_a_short_that_is_run_over_ends_the_account_and_pays_for_its_debt():
    table = np.concatenate([np.full(5, 10.0), [25.0], np.full(5, 20.0)])
    env = single_asset.make(table, warm_up=1, max_steps=5, first=4, last=4)
    _, steps = play(env, np.zeros(4, np.int32))
    wealth = np.asarray(steps.info["wealth"], np.float64)
    units = 1 / 1.0005 / 10
    assert wealth[0] == pytest.approx(1 - 15 * units - 0.0005 * 10 * units, rel=1e-5)
    assert steps.terminated.all()
    assert float(steps.reward[0]) == pytest.approx(np.log(0.01) + (wealth[0] - 0.01) / 0.01, rel=1e-4)
    # Closed: it sells at that price, and no later price matters.
    np.testing.assert_allclose(wealth[1:], wealth[0] - 0.0005 * 25 * units, rtol=1e-5)
    np.testing.assert_array_equal(steps.info["position"][1:], 0.0)
    np.testing.assert_array_equal(steps.reward[1:], 0.0)
    np.testing.assert_array_equal(steps.info["fee"][2:], 0.0)


def test_a_larger_debt_is_worse():
    """Five times long into a fall by a third, a half and four fifths; at -19.8 the logarithm alone would pay as at 0.01."""
    rewards = []
    for price in (6.7, 5.0, 2.0):
        env = single_asset.make(
            [10.0, 10.0, price], (0.0, 5.0), warm_up=1, max_steps=1, leverage=5.0, observe=features.last_returns
        )
        rewards.append(float(play(env, np.array([1]))[1].reward[0]))
    assert rewards[0] > rewards[1] > rewards[2]
    assert rewards[0] < np.log(0.01)


# ---- fills

OPENS = np.asarray(TABLE * np.exp(np.random.default_rng(2).normal(0, 0.01, TABLE.shape)), np.float32)
FILLS = {"close": {}, "next close": dict(delay=1), "next open": dict(delay=1, opens=OPENS)}


@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
def test_books_agree_with_a_replay_whatever_the_fill(fill):
    env = market(proportional_fee=0.001, half_spread=0.0005, slippage=0.0005, fixed_fee=0.0005, **fill)
    actions = np.random.default_rng(0).integers(0, 5, 60)
    start, steps = play(env, actions)
    path, bar = int(start.path), int(start.bar)
    window = slice(bar, bar + 61)
    opens = dict(opens=fill["opens"][path, window]) if "opens" in fill else {}
    targets = np.asarray(env.params.weights)[actions]
    books = accounting.replay(TABLE[path, window], targets, 1.0, env.params.costs, env.params.limits, **{**fill, **opens})
    np.testing.assert_allclose(books.wealth[1:], steps.info["wealth"], rtol=1e-5)
    np.testing.assert_allclose(books.fee, steps.info["fee"], atol=1e-7)
    np.testing.assert_allclose(steps.reward.sum(), np.log(steps.info["wealth"][-1]), atol=1e-5)
    np.testing.assert_allclose(env.params.costs.proportional, 0.002, rtol=1e-6)


@pytest.mark.parametrize("fill", list(FILLS.values())[1:], ids=list(FILLS)[1:])
def test_later_fills_keep_the_protocol(fill):
    check_environment(market(**fill), KEY)
    np.testing.assert_array_equal(market(**fill).observation_space.shape, market().observation_space.shape)


@pytest.mark.parametrize("name", list(FILLS)[1:])
def test_later_fills_do_not_look_ahead(name):
    def build(data):
        opens = dict(opens=data["open"]) if name == "next open" else {}
        return market(data["close"], delay=1, **opens)

    data = {"close": TABLE, "open": OPENS} if name == "next open" else {"close": TABLE}
    check_causality(build, data, single_asset.bars_seen, KEY)


# ---- time limits


def test_a_time_limit_moves_the_starts_and_never_leaves_a_path():
    """Two paths of six bars, all 100 and all 200: walking from one into the other would pay log 2."""
    table = np.array([[100.0] * 6, [200.0] * 6])
    env = single_asset.make(table, warm_up=0, max_steps=4, observe=features.last_returns)
    with pytest.raises(EnvError, match="first <= last <= bars - 1 - max_steps = -4 must hold"):
        with_time_limit(env, 9)
    _, steps = play(env.replace(max_steps=9), np.full(9, 4))  # whoever goes on all the same stays at the last bar
    assert np.abs(steps.reward[1:]).max() < 1e-6
    longer = with_time_limit(env, 5)
    assert int(longer.params.last) == 0
    for key in jax.random.split(KEY, 8):
        _, steps = play(longer, np.full(5, 4), key)
        assert np.abs(steps.reward[1:]).max() < 1e-6
    shorter = with_time_limit(env, 2)
    assert int(shorter.params.last) == 3


def test_a_last_start_that_was_given_stays():
    env = market(first=70, last=80)
    assert int(with_time_limit(env, 30).params.last) == 80
    with pytest.raises(EnvError, match="first <= last"):
        with_time_limit(env, 80)


def test_tables_per_seed_can_take_another_time_limit():
    tables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(market(table) for table in (TABLE, 2 * TABLE)))
    np.testing.assert_array_equal(with_time_limit(tables, 30).params.last, [129, 129])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(table=-TABLE), "prices must be positive"),
        (dict(table=np.where(TABLE > 110, np.nan, TABLE)), "prices must be positive"),
        (dict(max_steps=200), "0 <= first <= last"),
        (dict(table=np.where(TABLE > 110, 0.0, TABLE)), "prices must be positive"),
        (dict(delay=1, opens=-OPENS), "opens must be positive"),
        (dict(delay=1, opens=OPENS[:, 1:]), "opens must be float"),
        (dict(opens=OPENS), "delay must be 1"),
        (dict(delay=2), "delay must be 0 or 1"),
        (dict(proportional_fee=1.0), "must lie below 1"),
        (dict(half_spread=np.nan), "half_spread"),
        (dict(slippage=-0.1), "slippage"),
        (dict(fixed_fee=-1.0), "fixed_fee"),
        (dict(short=-1.0), "short must be a number of at least 0"),
        (dict(short=0.0), "weights must lie within the limits"),
        (dict(leverage=0.5), "weights must lie within the limits"),
        (dict(ruin=0.0), "ruin"),
        (dict(reward_scale=0.0), "reward_scale"),
        (dict(capital=0.0), "capital"),
        (dict(max_steps=0), "max_steps"),
        (dict(first=90, last=80), "0 <= first <= last"),
    ],
)
def test_wrong_parameters(changes, message):
    with pytest.raises(ConfigError, match=message):
        market(**changes)


# ---- the leak test


def discrete(table):
    return market(table)


def continuous(table):
    return market(table, weights=None)


def liquidity(data):
    return execution.make(
        temporary=np.asarray(data["h"]), permanent=np.asarray(data["k"]), start=1e6, speed=0.1, spread=0.2, cost_scale=100.0
    )


def tomorrows_return(path):
    """Leaks: the return of the next bar stands in the row of this one."""
    return jnp.append(features.log_returns(path)[1:], 0.0)[:, None]


def scaled_by_the_whole_sample(path):
    """Leaks, as most leaks do: every return is divided by the deviation of all of them, later ones included."""
    returns = features.log_returns(path)
    return (returns / returns.std())[:, None]


def tomorrows_return_late(path):
    """Leaks from bar 100 on."""
    late = jnp.arange(path.shape[0]) >= 100
    return jnp.where(late[:, None], tomorrows_return(path), features.log_returns(path)[:, None])


def below_a_quantile_of_the_whole_sample(path):
    """Leaks: whether a price is among the lowest twentieth, later ones included. Small changes of the future move few rows."""
    return (path < jnp.quantile(path, 0.05)).astype(jnp.float32)[:, None]


def leaky_late(table):
    """From a fixed start the leak is 90 steps away."""
    return market(table, observe=tomorrows_return_late, first=10, last=10, max_steps=140)


def leaky_by_quantile(table):
    return market(table, observe=below_a_quantile_of_the_whole_sample, first=10, last=10, max_steps=140)


def leaky(table):
    return market(table, observe=tomorrows_return)


def subtly_leaky(table):
    return market(table, observe=scaled_by_the_whole_sample)


@pytest.mark.parametrize("build", [discrete, continuous])
def test_trading_does_not_look_ahead(build):
    check_causality(build, TABLE, single_asset.bars_seen, KEY)


def test_execution_does_not_look_ahead():
    steps = np.linspace(1.0, 2.0, 10)
    check_causality(liquidity, {"h": steps, "k": 0.1 * steps}, execution.steps_used, KEY)


@pytest.mark.parametrize("build", [leaky, subtly_leaky, leaky_late, leaky_by_quantile])
def test_a_leaky_environment_is_found(build):
    with pytest.raises(EnvError, match="obs must not depend on the rows after"):
        check_causality(build, TABLE, single_asset.bars_seen, KEY)


def clairvoyant(env):
    """A policy that reads the table of prices instead of its observation: the last price of all decides what it does."""
    action = jnp.int32(jnp.floor(1000 * env.params.prices[0, -1])) % 5

    def act(key, view):
        return Decision(jnp.full(view.obs.shape[:1], action))

    return act


def test_a_policy_that_looks_ahead_is_found():
    with pytest.raises(EnvError, match="action must not depend on the rows after"):
        check_causality(discrete, TABLE, single_asset.bars_seen, KEY, policy=clairvoyant)


def test_data_that_nothing_reads_prove_nothing():
    with pytest.raises(EnvError, match="something must depend"):
        check_causality(lambda table: market(), TABLE, single_asset.bars_seen, KEY)


@pytest.mark.parametrize("function", [features.standard, features.last_returns, baselines.momentum])
def test_features_and_signals_are_causal(function):
    check_causal_function(function, TABLE[0], KEY)


def test_the_leak_test_says_what_it_has_looked_at():
    """From bar 60 on, the warm-up, to the last but one of the 160 bars."""
    coverage = check_causality(discrete, TABLE, single_asset.bars_seen, KEY, num_cuts=4)
    assert (coverage.first, coverage.last, coverage.cuts) == (60, 158, 4)
    assert check_causal_function(features.last_returns, TABLE[0], KEY, num_cuts=3)[:3] == (0, 158, 3)
    with pytest.raises(ConfigError, match="num_cuts must be at least 1"):
        check_causality(discrete, TABLE, single_asset.bars_seen, KEY, num_cuts=0)


LEAKS = [tomorrows_return, scaled_by_the_whole_sample, tomorrows_return_late, below_a_quantile_of_the_whole_sample]


@pytest.mark.parametrize("function", LEAKS)
def test_features_that_look_ahead_are_found(function):
    with pytest.raises(EnvError, match="must not depend on the rows after"):
        check_causal_function(function, TABLE[0], KEY)


# ---- many seeds


def test_price_tables_are_shared_never_copied():
    """Neither a state nor the compiled program of many seeds holds a copy of the table for each of them."""
    env = single_asset.make(np.tile(TABLE, (20, 1)), max_steps=60)
    table_bytes = env.params.table.size * 4
    policy = rollout.uniform_policy(env)

    def one_seed(env, key):
        start_key, key = jax.random.split(key)
        episodes, batch = rollout.unroll(key, env, policy, rollout.start(start_key, env, 2), 8)
        return episodes, batch.reward.sum()

    seeds = 64
    compiled = jax.jit(jax.vmap(one_seed, in_axes=(None, 0))).lower(env, jax.random.split(KEY, seeds)).compile()
    memory = compiled.memory_analysis()
    assert memory.argument_size_in_bytes < 2 * table_bytes
    assert memory.temp_size_in_bytes < seeds * table_bytes / 4
    episodes, _ = jax.eval_shape(jax.vmap(one_seed, in_axes=(None, 0)), env, jax.random.split(KEY, seeds))
    assert sum(leaf.size for leaf in jax.tree.leaves(episodes)) < seeds * 2 * 50


def test_a_table_per_seed_can_be_vmapped():
    tables = jnp.asarray([TABLE, 2 * TABLE])
    envs_ = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(market(table) for table in tables))
    _, state = jax.vmap(lambda env: env.reset(KEY))(envs_)
    np.testing.assert_allclose(state.price[1], 2 * state.price[0])


# ---- the market with finitely many states


def test_binomial_market_pays_what_the_real_market_pays():
    """The same moves, traded in both: the same log growth at every bar, fees included."""
    move, fee = 0.02, 0.003
    env = binomial_market.make(move=move, proportional_fee=fee, drift=(0.0,), monthly_switch=0.0)
    key = jax.random.key(3)
    actions = np.random.default_rng(1).integers(0, 5, 40)
    state = jax.tree.map(lambda leaf: leaf[0], env.initial_fn(env.params).state)
    step = jax.jit(env.step)
    ups, rewards = [], []
    for index, action in enumerate(actions):
        moved = step(jax.random.fold_in(key, index), state, jnp.int32(action))
        state = moved.state
        ups.append(int(state.up))
        rewards.append(float(moved.reward))
    path = 10 * np.cumprod([1.0, *np.where(ups, 1 + move, 1 - move)])
    real = single_asset.make(path, proportional_fee=fee, warm_up=0, max_steps=40)
    _, steps = play(real, actions)
    np.testing.assert_allclose(rewards, steps.reward, atol=2e-6)


def test_binomial_market_has_a_table():
    env = envs.make("binomial_market")
    model = tabulate(env)
    assert model.num_states == 20
    assert model.num_actions == 5
    np.testing.assert_allclose(model.probability.sum(-1), 1.0)


def test_binomial_market_without_drift_is_best_left_alone():
    from jaxrl.solvers.mdp.value_iteration import value_iteration

    env = binomial_market.make(drift=(0.0, 0.0))
    model = tabulate(env)
    with jax.enable_x64(True):
        solution = value_iteration(model, 0.99, 1e-12)
        assert float(solution.start_value(model)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(weights=(0.5, 1.0)), "weights must contain 0"),
        (dict(weights=(0.0, np.nan)), "weights must be finite"),
        (dict(proportional_fee=-0.1), "proportional_fee must be a number of at least 0"),
        (dict(move=1.5), "move times"),
        (dict(drift=(9.0, 0.0)), "within one move"),
        (dict(monthly_switch=1.0), "monthly_switch"),
    ],
)
def test_wrong_binomial_markets(changes, message):
    with pytest.raises(ConfigError, match=message):
        binomial_market.make(**changes)


@pytest.mark.slow
def test_a_thousand_seeds_learn_to_trade_in_one_call():
    done = run(q_learning.make, envs.make("binomial_market"), q_learning.Config(num_steps=50), seeds=1024, num_updates=4)
    assert done.state.q.shape == (1024, 20, 5)
    assert not done.summary.failed_seeds
