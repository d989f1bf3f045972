"""Estimates from samples of a game are exact on average, and see the part of the game that they say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.extensive_games import kuhn
from jaxrl.algorithms.games.cfr import random_strategy
from jaxrl.errors import ConfigError, UnknownNameError
from jaxrl.solvers import extensive, sampled_play


@pytest.fixture(scope="module")
def game():
    return extensive.from_environment(kuhn.make())


@pytest.mark.parametrize("player", [0, 1])
@pytest.mark.parametrize("sampling", sampled_play.SAMPLING)
def test_estimates_have_the_mean_of_exact_values(game, sampling, player):
    strategy = random_strategy(jax.random.key(1), game)
    estimate = partial(sampled_play.counterfactual_values, game=game, strategy=strategy, player=player, sampling=sampling)
    found = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(2), 40_000)))
    exact = np.asarray(extensive.counterfactual_values(game, strategy, player))
    error = found.std(0) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - exact) <= 5 * error + 1e-6).all()
    assert (error < 0.05).all()
    assert (found.std(0)[exact != 0] > 0).all()


def test_events_of_chance_multiply_to_its_probabilities(game):
    """Of the deals of Kuhn poker, six are equally likely, and one is left by a sample."""
    events = game.events
    assert events.probability.shape[0] == 1
    assert events.depth == 1
    weight = extensive.of_sequences(jnp.asarray(events.parent), jnp.asarray(events.probability), events.depth)
    np.testing.assert_allclose(weight[events.sequence], game.chance, rtol=1e-6)
    left = np.asarray(
        jax.vmap(lambda key: sampled_play.left_by_chance(key, events, jnp.float32))(jax.random.split(jax.random.key(0), 500))
    )
    assert set(left.sum(1)) == {5.0}, "every deal has five ends"
    np.testing.assert_allclose(left.mean(0), game.chance, atol=0.08)


def test_unknown_samples_are_refused(game):
    strategy = random_strategy(jax.random.key(1), game)
    with pytest.raises(UnknownNameError, match="Did you mean 'outcome'"):
        sampled_play.counterfactual_values(jax.random.key(0), game, strategy, 0, "outcom")
    with pytest.raises(ConfigError, match="player"):
        sampled_play.counterfactual_values(jax.random.key(0), game, strategy, 2, "outcome")


def test_an_outcome_is_one_end(game):
    """Only the decisions on the way to it, and those that would have left it, have values."""
    strategy = random_strategy(jax.random.key(1), game)
    estimate = partial(sampled_play.counterfactual_values, game=game, strategy=strategy, player=0, sampling="outcome")
    found = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(3), 200)))
    assert ((found != 0).sum((1, 2)) <= game.depth).all()
    whole = partial(sampled_play.counterfactual_values, game=game, strategy=strategy, player=0, sampling="external")
    assert ((np.asarray(jax.jit(jax.vmap(whole))(jax.random.split(jax.random.key(3), 50))) != 0).sum((1, 2)) > game.depth).any()
