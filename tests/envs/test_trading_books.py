"""Books: those of the environment and of a replay pass the audit, wrong ones do not, and accounts are put together rightly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.trading import accounting, books, features, prices, single_asset
from jaxrl.core.rollout import Decision
from jaxrl.errors import ConfigError, EnvError
from jaxrl.evaluation import finance, follow
from jaxrl.testing.causality import check_causal_function, leaks

KEY = jax.random.key(0)
PATH = np.asarray(prices.paths(prices.regime_switching(), KEY, 1, 160))[0]


def played(options, seeds=3):
    """Returns a market and episodes [seeds, T] of random actions in it."""
    env = single_asset.window(PATH, slice(80, 140), **options)
    actions = jnp.asarray(np.random.default_rng(0).integers(0, 5, (seeds, 60)))
    return env, jax.vmap(lambda row: follow(KEY, env, lambda key, view: Decision(row[view.t])))(actions)


@pytest.mark.parametrize("options", [{}, {"delay": 1}, {"proportional_fee": 0.01, "fixed_fee": 0.001, "capital": 2.0}])
def test_the_books_of_the_environment_pass_the_audit(options):
    env, episodes = played(options)
    found = single_asset.books(env, episodes.action, episodes.outcome.info)
    level = single_asset.episode_prices(env)
    np.testing.assert_allclose(level, PATH[79:140])
    again = jax.vmap(lambda target: single_asset.replay(env, target))(found.target)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    errors = books.errors(level, found, episodes.outcome.reward.sum(-1), again)
    assert all(error.shape == (3,) for error in errors)
    assert (errors.identity < 1e-5).all()
    assert (errors.net_of_costs < 1e-3).all()
    assert (errors.replayed < 1e-4).all()


@pytest.mark.parametrize(
    ("name", "caught"), [("fee", "identity"), ("cash", "identity"), ("position", "identity"), ("wealth", "replayed")]
)
def test_the_audit_finds_a_wrong_entry(name, caught):
    env, episodes = played({})
    found = single_asset.books(env, episodes.action, episodes.outcome.info)
    wrong = found._replace(**{name: getattr(found, name).at[1, 20].add(0.01)})
    error = getattr(books.errors(single_asset.episode_prices(env), wrong, episodes.outcome.reward.sum(-1), found), caught)
    assert error[1] > 1e-3
    assert (error[[0, 2]] < 1e-4).all()


def test_the_audit_finds_a_wrong_growth():
    env, episodes = played({})
    found = single_asset.books(env, episodes.action, episodes.outcome.info)
    error = books.errors(single_asset.episode_prices(env), found, episodes.outcome.reward.sum(-1) + 0.01, found).net_of_costs
    np.testing.assert_allclose(error, 0.01, atol=1e-4)


def test_a_market_of_opens_keeps_its_books():
    opens = np.exp(np.log(PATH[:-1]) * 0.5 + np.log(PATH[1:]) * 0.5)
    options = {"delay": 1, "opens": np.append(PATH[0], opens)[19:140], "first": 60, "last": 60, "max_steps": 60}
    env = single_asset.make(PATH[19:140], **options)
    targets = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, 60), jnp.float32)
    found = single_asset.replay(env, targets)
    np.testing.assert_allclose(found.fill, opens[79:139], rtol=1e-6)
    growth = np.log(float(found.wealth[-1]))
    errors = books.errors(single_asset.episode_prices(env), found, growth, found)
    assert max(errors.identity, errors.net_of_costs) < 1e-5


def test_a_leak_is_a_fact_to_record():
    assert not leaks(check_causal_function, features.standard, PATH, KEY)
    assert leaks(check_causal_function, lambda path: path / path.mean(), PATH, KEY)


def test_books_want_a_single_episode():
    with pytest.raises(EnvError, match="one path"):
        single_asset.episode_prices(single_asset.make(max_steps=20))
    with pytest.raises(ConfigError, match="before a window"):
        single_asset.window(PATH, slice(30, 60))
    with pytest.raises(ConfigError, match="ends within the path"):
        single_asset.window(PATH, slice(100, 161))


def test_accounts_together_by_hand():
    costs = accounting.costs_of("test", proportional_fee=0.1)
    limits = accounting.limits_of("test", 1.0, 1.0, costs)
    level = np.array([[1.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
    kept = [accounting.replay(row, [0.5, 0.5], 1.0, costs, limits) for row in level]
    kept[1] = accounting.replay(level[1], [0.0, 0.0], 1.0, costs, limits)  # never trades
    both = jax.tree.map(lambda *leaves: np.stack(leaves), *kept)
    record = books.pooled(level, both)
    total = np.asarray(both.wealth, np.float64).mean(0)
    np.testing.assert_allclose(record.returns, finance.returns_of_wealth(total))
    np.testing.assert_allclose(record.weight, [0.25, 0.25], atol=1e-6)
    np.testing.assert_allclose(record.traded, np.asarray(both.fee)[0] / 0.1 / 2 / total[:-1], rtol=1e-5)
    twice = books.joined([record, record])
    np.testing.assert_allclose(twice.returns, np.tile(record.returns, 2))
    with pytest.raises(ConfigError, match="accounts"):
        books.pooled(level[0], kept[0])
