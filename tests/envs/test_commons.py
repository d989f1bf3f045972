"""Commons: the maximum sustainable yield, how harvests are split, and the measures of how a group fares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import commons, social_outcomes
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment


def played(env, action, steps, stock=None):
    """Returns stocks [T] and rewards [T, N] of agents that always request the same."""
    state = env.params.start if stock is None else jnp.float32(stock)

    def step(state, _):
        taken = env.step(jax.random.key(0), state, jnp.array(action, jnp.int32))
        return taken.state, (taken.state, taken.reward)

    return jax.tree.map(np.asarray, jax.lax.scan(step, state, None, steps)[1])


def test_maximum_sustainable_yield():
    env = commons.make()
    assert float(commons.maximum_sustainable_yield(env.params)) == pytest.approx(10)
    stocks = jnp.linspace(0, 100, 1001)
    growth = commons.grown(stocks, env.params)
    assert float(stocks[growth.argmax()]) == pytest.approx(50)
    assert float(growth.max()) == pytest.approx(10, abs=1e-5)
    stock, reward = played(env, [3, 3, 2, 2], 200, stock=50)  # 10 in all
    np.testing.assert_allclose(stock, 50, atol=1e-2)
    np.testing.assert_allclose(reward.sum(1), 10, atol=1e-5)
    stock, reward = played(env, [3, 3, 3, 2], 200, stock=50)  # one more ruins it
    assert stock[-1] < 1
    assert reward[-50:].sum(1).mean() < 1


def test_one_step_by_hand():
    env = commons.make(start=30.0)
    step = env.step(jax.random.key(0), env.params.start, jnp.array([10, 5, 0, 1], jnp.int32))
    np.testing.assert_allclose(step.reward, [10, 5, 0, 1])
    assert float(step.state) == pytest.approx(30 + 0.4 * 30 * 0.7 - 16, abs=1e-5)
    np.testing.assert_allclose(step.obs, np.full((4, 1), float(step.state) / 100), rtol=1e-6)


def test_too_many_requests_are_split_in_proportion():
    env = commons.make(start=10.0)
    step = env.step(jax.random.key(0), env.params.start, jnp.array([10, 10, 5, 0], jnp.int32))
    np.testing.assert_allclose(step.reward, [4, 4, 2, 0], rtol=1e-6)
    assert float(step.state) == pytest.approx(0.4 * 10 * 0.9, abs=1e-5)  # what was there has grown before it was taken
    nothing = env.step(jax.random.key(0), jnp.float32(0), jnp.array([10, 10, 5, 0], jnp.int32))
    assert not np.asarray(nothing.reward).any()
    assert float(nothing.state) == 0


def test_permuting_agents_permutes_rewards():
    env = commons.make(start=10.0)
    action, order = jnp.array([10, 7, 5, 0]), jnp.array([3, 1, 0, 2])
    step, permuted = (env.step(jax.random.key(0), env.params.start, each) for each in (action, action[order]))
    np.testing.assert_allclose(permuted.reward, step.reward[order], rtol=1e-6)
    np.testing.assert_allclose(permuted.state, step.state, rtol=1e-6)


def test_greed_ruins_what_restraint_sustains():
    env = commons.make()
    greedy, restrained = played(env, [10] * 4, 100)[1], played(env, [3, 3, 2, 2], 100)[1]
    assert float(social_outcomes.efficiency(restrained)) == pytest.approx(10, abs=1e-4)
    assert float(social_outcomes.efficiency(greedy)) < 2
    assert float(social_outcomes.sustainability(restrained)) == pytest.approx(50.5)
    assert float(social_outcomes.equality(restrained)) == pytest.approx(1 - 0.1, abs=1e-5)  # Gini of (3, 3, 2, 2)


def test_measures_by_hand():
    reward = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    assert float(social_outcomes.efficiency(reward)) == pytest.approx(6 / 4)
    # Sums 2, 0, 4: the ordered differences sum to 16, so Gini = 16 / (2 * 3 * 6).
    assert float(social_outcomes.equality(reward)) == pytest.approx(1 - 16 / 36)
    assert float(social_outcomes.sustainability(reward)) == pytest.approx(((1 + 3) / 2 + (2 + 4) / 2) / 2)
    assert float(social_outcomes.equality(jnp.zeros((2, 3)))) == 1
    assert float(social_outcomes.sustainability(jnp.zeros((2, 3)))) == 0
    away = jnp.array([[False, True], [False, False], [True, True], [False, False]])
    assert float(social_outcomes.peace(away)) == pytest.approx(5 / 4)


@pytest.mark.parametrize("parameters", [dict(growth=1.0), dict(growth=0.0, start=0.0), dict(capacity=1e-3), dict(capacity=1e6)])
def test_extremes_keep_the_protocol(parameters):
    check_environment(commons.make(**parameters), jax.random.key(0), rebuilt=commons.make())


@pytest.mark.parametrize(
    "parameters",
    [dict(num_agents=0), dict(max_request=0), dict(growth=1.1), dict(capacity=0.0), dict(start=101.0), dict(max_steps=0)],
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        commons.make(**parameters)
