"""REINFORCE: the probes, each episode against the equations of the book, and the gradient it estimates against the exact one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import reinforce
from jaxrl.core import rollout
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.solvers.mdp.policy_evaluation import policy_evaluation
from jaxrl.training.runner import run
from tests import probes

GAMMA = 0.9
CONFIG = reinforce.Config(gamma=GAMMA, learning_rate=0.1, num_steps=50)


def learned(env, num_updates=40, seeds=4, **changes):
    return run(reinforce.make, env, CONFIG.replace(**changes), seeds=seeds, num_updates=num_updates)


def test_the_probes():
    """One program for all of them: they differ in numbers alone."""
    np.testing.assert_allclose(learned(probes.constant_reward()).state.baseline[:, 0], 1.0, atol=0.05)
    values = learned(probes.observation_dependent_reward()).state.baseline
    np.testing.assert_allclose(values[:, :2], np.broadcast_to([-1.0, 1.0], (4, 2)), atol=0.05)
    values = learned(probes.delayed_reward()).state.baseline
    np.testing.assert_allclose(values[:, :2], np.broadcast_to([GAMMA, 1.0], (4, 2)), atol=0.05)
    theta = learned(probes.action_dependent_reward()).state.theta
    chance = jax.nn.softmax(theta)[:, :2]
    assert (np.asarray(chance)[:, [0, 1], [0, 1]] > 0.9).all(), "the action that is paid in each state"
    values = learned(probes.limit_or_end(), num_updates=80).state.baseline
    np.testing.assert_allclose(values[:, 0], 1 / (1 - GAMMA), rtol=0.05)
    np.testing.assert_allclose(values[:, 1], 1.0, rtol=0.02)


def episodes_of(env, config, num_steps):
    """Yields the steps (s, a, r, s', terminated) of each episode that ends, and the tables before and after its end."""
    algorithm = reinforce.make(env, config.replace(num_envs=1, num_steps=1))
    state, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
    choose = jax.jit(lambda state, key: algorithm.policy(state, False)(key, rollout.view(env, state.episodes)).action[0])
    world = jax.jit(lambda state, action: env.step(jax.random.key(0), state, action))
    steps = []
    for key in jax.random.split(jax.random.key(1), num_steps):
        before = state
        action = choose(state, jax.random.split(jax.random.split(key, 1)[0])[0])
        step = world(jax.tree.map(lambda leaf: leaf[0], state.episodes.state), action)
        steps.append((int(state.episodes.obs[0]), int(action), float(step.reward), int(step.obs), bool(step.terminated)))
        state, _ = update(state, key)
        if int(state.episodes.t[0]) == 0:
            yield steps, before, state
            steps = []


def by_hand(steps, theta, baseline, config):
    """One episode by the equations of Sutton and Barto (2018), section 13.4, in float64, for the policy and w of before it."""
    theta, w = np.asarray(theta, np.float64), np.asarray(baseline, np.float64)
    chance = np.exp(theta) / np.exp(theta).sum(1, keepdims=True)
    new_theta, returns = theta.copy(), {}
    gain = 0.0 if steps[-1][4] else w[steps[-1][3]]
    for t, (obs, action, reward, _, _) in reversed(list(enumerate(steps))):
        gain = reward + config.gamma * gain
        score = -chance[obs]
        score[action] += 1.0
        new_theta[obs] += config.learning_rate * config.gamma**t * (gain - w[obs]) * score
        returns.setdefault(obs, []).append(gain)
    for obs, gains in returns.items():
        w[obs] += (1 - (1 - config.baseline_rate) ** len(gains)) * (np.mean(gains) - w[obs])
    return new_theta, w


@pytest.mark.parametrize("baseline_rate", [0.0, 0.3])
@pytest.mark.parametrize(("world", "limit"), [("short_corridor", 6), ("corridor", 12)])
def test_every_episode_moves_the_tables_by_the_equations(world, limit, baseline_rate):
    """Episodes that end, and others that the time limit cuts."""
    config, cut, count = CONFIG.replace(baseline_rate=baseline_rate), 0, 0
    for steps, before, after in episodes_of(envs.make(world, max_steps=limit), config, 200):
        theta, baseline = by_hand(steps, before.theta, before.baseline, config)
        np.testing.assert_allclose(after.theta, theta, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(after.baseline, baseline, rtol=1e-5, atol=1e-6)
        cut, count = cut + (not steps[-1][4]), count + 1
    assert 0 < cut < count


def test_the_mean_of_the_gradients_is_the_gradient_of_the_exact_value():
    env, rate = envs.make("corridor", max_steps=500), 1e-6
    model, start = tabulate(env), jnp.zeros((env.observation_space.n, 2))

    def value(theta):
        return policy_evaluation(model, jax.nn.softmax(theta[model.observation]), GAMMA).start_value(model)

    step = 1e-2
    exact = np.array(
        [
            [(value(start.at[x, a].add(step)) - value(start.at[x, a].add(-step))) / (2 * step) for a in range(2)]
            for x in range(len(start))
        ]
    )
    done = learned(env, num_updates=40, seeds=256, learning_rate=rate, baseline_rate=0.05)
    of_seeds = np.asarray(done.state.theta) / rate / np.asarray(done.metrics["episodes"]).sum(1)[:, None, None]
    error = np.abs(of_seeds.mean(0) - exact)
    assert (error <= 5 * of_seeds.std(0) / np.sqrt(len(of_seeds)) + 0.01 * np.abs(exact).max()).all()
    assert np.abs(exact).max() > 0.01


def per_episode(done):
    """The squares of all gradients of an update, added up: a mean of updates would count episodes of rich updates less."""
    return np.nan_to_num(np.asarray(done.metrics["gradient_square"])) * np.asarray(done.metrics["episodes"])


def test_a_baseline_makes_the_gradient_smaller():
    """The policy stays as it is: the means of both are the same."""
    env = envs.make("short_corridor")
    plain, with_baseline = (
        learned(env, learning_rate=0.0, gamma=1.0, baseline_rate=rate, num_updates=100) for rate in (0.0, 0.1)
    )
    np.testing.assert_array_equal(with_baseline.state.theta, 0.0)
    square = [per_episode(done)[:, 20:].sum(1) for done in (plain, with_baseline)]
    assert (square[1] < square[0]).all(), "of each seed: both saw the same episodes"


def test_illegal_actions_are_neither_taken_nor_learned():
    done = learned(probes.masked_action())
    assert np.isfinite(done.state.theta).all()
    legal = reinforce.make(probes.masked_action(), CONFIG)
    state = jax.tree.map(lambda leaf: leaf[0], done.state)
    view = rollout.view(probes.masked_action(), state.episodes)
    chance = legal.probabilities(state, view)
    assert (np.asarray(chance)[~np.asarray(view.mask)] == 0.0).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"learning_rate": -1.0}, ConfigError, "learning_rate"),
        ({"baseline_rate": 1.5}, ConfigError, "baseline_rate must lie in"),
        ({"gamma": float("nan")}, ConfigError, "gamma"),
        ({"num_envs": 0}, ConfigError, "num_envs"),
    ],
)
def test_what_cannot_run_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        learned(envs.make("corridor"), **changes)


def test_observations_that_are_no_numbers_are_refused():
    with pytest.raises(SpaceError, match="reinforce"):
        learned(envs.make("cartpole"))
