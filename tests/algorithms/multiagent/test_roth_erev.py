"""Roth-Erev urns: the exact law of the first plays, Polya's urn, masks, and what two states learn."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import envs
from envs.extensive_games import lewis
from envs.matrix_games import matrix_game
from jaxrl.algorithms.multiagent import roth_erev
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation import TeamReturn
from jaxrl.training.runner import run

CONFIG = roth_erev.Config(num_steps=4)


def success(sender, receiver):
    """Returns how often urns of sender [2, 2] and receiver [2, 2] succeed, with two states that are equally likely."""
    code, act = sender / sender.sum(1, keepdims=True), receiver / receiver.sum(1, keepdims=True)
    return 0.5 * (code @ act).trace()


def after_plays(plays, sender, receiver):
    """Returns the expected success after so many plays, by all their courses, and the mean number of balls of an agent."""
    if plays == 0:
        return success(sender, receiver), sender.sum()
    total = np.zeros(2)
    code, act = sender / sender.sum(1, keepdims=True), receiver / receiver.sum(1, keepdims=True)
    for world, signal, answer in itertools.product(range(2), repeat=3):
        first, second = sender.copy(), receiver.copy()
        if answer == world:
            first[world, signal] += 1
            second[signal, answer] += 1
        total += 0.5 * code[world, signal] * act[signal, answer] * np.array(after_plays(plays - 1, first, second))
    return total


def test_the_law_of_the_first_plays():
    """The mean of 4096 pairs after four plays, against the sum over all courses of these plays."""
    env = lewis.make(2)
    done = run(roth_erev.make, env, CONFIG, seeds=4096, num_updates=2, evaluators=(TeamReturn.of(env),))
    expected, balls = after_plays(4, np.ones((2, 2)), np.ones((2, 2)))
    for found, known in ((done.evaluations["sampled_exact_return"][:, -1], expected), (done.state.urns[:, 0, 1:3, :2], balls)):
        found = np.asarray(found).reshape(4096, -1).sum(1)
        assert abs(found.mean() - known) < 5 * found.std() / 64


def test_an_agent_that_is_always_paid_is_polyas_urn():
    """From one ball each, the number of draws of the first colour is uniform: Polya and Eggenberger (1923)."""
    game = matrix_game.make(np.ones((2, 2, 2)))
    done = run(roth_erev.make, game, CONFIG, seeds=8000, num_updates=1)
    drawn = np.asarray(done.state.urns)[:, 0, 0, 0] - 1
    counts = np.bincount(drawn.astype(int), minlength=5)
    assert ((counts - 1600) ** 2 / 1600).sum() < 18.5, "chi-squared of 4 degrees: 0.001"


def test_environments_side_by_side_fill_the_same_urns():
    """Every play is paid 1: balls are counted, whatever E is, and only what has a choice is drawn."""
    env = lewis.make(states=1, signals=2)
    done = run(roth_erev.make, env, CONFIG.replace(num_envs=3, num_steps=8), seeds=2, num_updates=5)
    urns = np.asarray(done.state.urns)
    assert (urns[:, 0].sum((1, 2)) == urns[:, 1].sum((1, 2)) + 3 * 4 * 5).all(), "the receiver has one act: no choice"
    assert (urns[:, 1] == 1).all()
    assert not np.asarray(done.state.drawn).any()


def test_a_negative_return_is_no_number_of_balls():
    game = matrix_game.make(-np.ones((2, 2, 2)))
    state = jax.jit(roth_erev.make(game, CONFIG).init)(jax.random.key(0))
    state, _ = jax.jit(roth_erev.make(game, CONFIG).update)(state, jax.random.key(1))
    assert np.isnan(state.urns).any()


@pytest.mark.slow
def test_two_states_learn_to_signal():
    """core-lewis, smaller: the claim asks for 0.97 after 20,000 plays."""
    env = lewis.make(2)
    config = roth_erev.Config()
    done = run(roth_erev.make, env, config, seeds=64, num_updates=100, evaluators=(TeamReturn.of(env),))
    assert done.evaluations["sampled_exact_return"][:, -1].mean() > 0.93


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        (lambda: envs.make("corridor"), {}, ConfigError, "roth_erev: the environment must have an agent axis"),
        (
            lambda: dataclasses.replace(envs.make("chicken"), observation_space=Box(0.0, 1.0)),
            {},
            SpaceError,
            "roth_erev: the observation_space must be Discrete",
        ),
        (lambda: envs.make("chicken"), {"initial_balls": 0.0}, ConfigError, "roth_erev: initial_balls must be positive"),
        (lambda: envs.make("chicken"), {"initial_balls": float("nan")}, ConfigError, "roth_erev: initial_balls"),
        (lambda: envs.make("chicken"), {"num_steps": 0}, ConfigError, "num_steps"),
    ],
)
def test_what_cannot_run_is_refused(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(roth_erev.make, env(), CONFIG.replace(**changes), seeds=2, num_updates=2)
