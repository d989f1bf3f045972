"""Hedging an option: the tree against Black and Scholes, the exact limits without costs, and hedges written out by hand."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

import envs
from envs.trading import option_hedging
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError
from jaxrl.solvers.mdp.entropic import entropic_value_iteration
from jaxrl.testing.conformance import check_environment

KEY = jax.random.key(0)


def planned(env, aversion):
    """Returns the model, the certainty equivalent at the start and all action values, in float64."""
    model = tabulate(env)
    with jax.enable_x64(True):
        solution = entropic_value_iteration(model, aversion, tolerance=1e-13)
        return model, float(solution.start_value(model)), np.asarray(solution.action_value)


def profit(env, holdings_at, path):
    """Returns what a hedge earns on one path of moves (1 up, 0 down), in float64, from the definition of the problem."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), env.params)
    price, held, wealth = float(params.start), 0.0, 0.0
    for t, move in enumerate(path):
        target = holdings_at(t, sum(path[:t]))
        wealth -= params.cost * abs(target - held) * price + target * price
        price *= np.exp(params.log_move * (1 if move else -1))
        held, wealth = target, wealth + target * price
    return wealth - params.cost * held * price - max(price - params.strike, 0.0)


@pytest.mark.parametrize("changes", [dict(cost=0.0), dict(drift=0.1, shift=3.0, strike=1.2)])
def test_keeps_the_protocol(changes):
    env, rebuilt = option_hedging.make(num_steps=4), option_hedging.make(num_steps=4, **changes)
    check_environment(env, KEY, rebuilt=rebuilt)


def test_states_have_their_own_numbers():
    env = option_hedging.make((0.0, 0.5, 1.0), num_steps=3)
    model = tabulate(env)
    assert len(np.unique(model.observation)) == model.num_states
    assert model.observation.max() == env.observation_space.n - 1
    assert model.num_states == env.observation_space.n - 2  # the episode begins with 0 shares, and with no others


# ---- the tree


def black_scholes(start, strike, volatility, maturity):
    spread = volatility * np.sqrt(maturity)
    d = np.log(start / strike) / spread + spread / 2
    return start * stats.norm.cdf(d) - strike * stats.norm.cdf(d - spread), stats.norm.cdf(d)


@pytest.mark.parametrize(("strike", "volatility"), [(1.0, 0.2), (1.1, 0.3), (0.8, 0.15)])
def test_the_tree_goes_to_black_and_scholes(strike, volatility):
    """The error falls like 1 / T; a T and T + 1 average out the swing between odd and even."""
    price, delta = black_scholes(1.0, strike, volatility, 1.0)
    trees = [
        option_hedging.replication(option_hedging.make(strike=strike, volatility=volatility, num_steps=T).params)
        for T in (500, 501)
    ]
    assert np.mean([value[0, 0] for value, _ in trees]) == pytest.approx(price, rel=2e-3)
    assert np.mean([deltas[0, 0] for _, deltas in trees]) == pytest.approx(delta, rel=2e-3)


def test_one_step_by_hand():
    """u = e^0.2: the option pays u - 1 or 0, the share moves between u and 1 / u."""
    value, delta = option_hedging.replication(option_hedging.make(num_steps=1).params)
    u = np.exp(0.2)
    assert delta[0, 0] == pytest.approx((u - 1) / (u - 1 / u), rel=1e-6)
    assert value[0, 0] == pytest.approx((u - 1) * (1 - 1 / u) / (u - 1 / u), rel=1e-6)


def test_the_delta_pays_the_price_on_every_path():
    env = option_hedging.make(num_steps=6, cost=0.0, strike=0.95)
    value, delta = option_hedging.replication(env.params)
    for path in itertools.product((0, 1), repeat=6):
        assert profit(env, lambda t, ups: delta[t, ups], path) == pytest.approx(-value[0, 0], abs=1e-12)


# ---- exact limits


@pytest.mark.parametrize("aversion", [0.5, 10.0])
def test_without_costs_the_best_hedge_is_the_delta_and_costs_the_price(aversion):
    """Every delta of the tree can be held: the certainty equivalent is minus the price, whatever the risk aversion."""
    value, delta = option_hedging.replication(option_hedging.make(num_steps=4).params)
    holdings = np.unique(np.append(delta[np.isfinite(delta)], 0.0))
    model, equivalent, q = planned(option_hedging.make(tuple(holdings.tolist()), cost=0.0, num_steps=4), aversion)
    assert equivalent == pytest.approx(-value[0, 0], abs=1e-7)
    living = model.state.t < 4
    chosen = holdings[q.argmax(-1)[living]]
    np.testing.assert_allclose(chosen, delta[model.state.t[living], model.state.ups[living]], atol=1e-6)


def test_the_grid_of_holdings_matters_less_the_finer_it_is():
    value, _ = option_hedging.replication(option_hedging.make(num_steps=4).params)
    misses = [
        -planned(option_hedging.make(tuple(np.linspace(0, 1, size).tolist()), cost=0.0, num_steps=4), 5.0)[1] - value[0, 0]
        for size in (2, 3, 5)
    ]
    assert misses[0] > misses[1] > misses[2] > 0
    assert misses[2] < 0.01 * value[0, 0]


def test_hardly_averse_and_without_costs_hedging_does_not_matter():
    """Prices without drift leave nothing to earn: as the risk aversion goes to 0, every hedge costs the price."""
    value, _ = option_hedging.replication(option_hedging.make(num_steps=4).params)
    _, equivalent, q = planned(option_hedging.make((0.0, 0.5, 1.0), cost=0.0, num_steps=4), 1e-5)
    np.testing.assert_allclose(q[0], -value[0, 0], atol=1e-6)
    assert equivalent == pytest.approx(-value[0, 0], abs=1e-6)


def test_planning_finds_the_best_of_all_hedges():
    """Two steps, three holdings: 27 hedges (first, after a fall, after a rise), each worked out on all paths."""
    env, grid, aversion = option_hedging.make((0.0, 0.5, 1.0), num_steps=2, cost=0.01, drift=0.05), (0.0, 0.5, 1.0), 3.0
    rise = float(env.params.rise)
    best = -np.inf
    for first, *second in itertools.product(grid, repeat=3):
        paths = list(itertools.product((0, 1), repeat=2))
        profits = [profit(env, lambda t, ups, first=first, second=second: second[ups] if t else first, path) for path in paths]
        chances = [np.prod([rise if move else 1 - rise for move in path]) for path in paths]
        best = max(best, -np.log(chances @ np.exp(-aversion * np.array(profits))) / aversion)
    assert planned(env, aversion)[1] == pytest.approx(best, abs=1e-9)


def test_costs_lower_the_value_until_nobody_trades():
    values, trades = [], []
    for cost in (0.0, 0.02, 0.9):
        _, equivalent, q = planned(option_hedging.make((0.0, 0.25, 0.5, 0.75, 1.0), cost=cost, num_steps=4), 5.0)
        values.append(equivalent)
        trades.append(q[0].argmax())
    assert values == sorted(values, reverse=True)
    assert trades[0] == 2
    assert trades[-1] == 0


def test_a_band_around_the_delta_is_not_traded():
    """With costs, some node is left alone with each of two holdings, where without them only one is kept."""
    holdings = tuple(np.linspace(0, 1, 11).tolist())

    def kept(cost):
        model, _, q = planned(option_hedging.make(holdings, cost=cost, num_steps=3), 5.0)
        middle = (model.state.t == 2) & (model.state.ups == 1)
        return int((q.argmax(-1)[middle] == model.state.choice[middle]).sum())

    assert kept(0.0) == 1
    assert kept(0.01) >= 2


def test_a_shift_adds_up_and_changes_no_decision():
    plain, shifted = (planned(option_hedging.make((0.0, 0.5, 1.0), num_steps=3, shift=shift), 2.0) for shift in (0.0, 20.0))
    assert shifted[1] == pytest.approx(plain[1] + 60.0, abs=1e-6)
    living = plain[0].state.t < 3
    np.testing.assert_array_equal(plain[2].argmax(-1)[living], shifted[2].argmax(-1)[living])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(holdings=(0.5, 1.0)), "holdings must contain 0"),
        (dict(volatility=0.0), "volatility must be positive"),
        (dict(cost=1.0), "cost must lie in"),
        (dict(num_steps=0), "num_steps must be at least 1"),
        (dict(drift=5.0), "drift of a step must lie within one move"),
        (dict(shift=np.nan), "shift must be a number, got nan"),
        (dict(start=np.inf), "must be finite"),
    ],
)
def test_wrong_parameters(changes, message):
    with pytest.raises(ConfigError, match=message):
        envs.make("option_hedging", **changes)
