"""R-learning: every step against the equations, the gain of exact solvers, and how ends and time limits differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.tabular import r_learning
from jaxrl.core.finite import tabulate
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.solvers.mdp.average_reward import average_reward
from jaxrl.training.runner import run
from tests import probes

CONFIG = r_learning.Config(num_steps=100, epsilon=0.3)
CONSTANT = {"learning_rate": 0.3, "learning_rate_half_life": np.inf, "learning_rate_min": 0.0}


def learned(env, num_updates=60, seeds=4, **changes):
    return run(r_learning.make, env, CONFIG.replace(**changes), seeds=seeds, num_updates=num_updates).state


def test_the_probes():
    """Reward per step, an episode that ends beginning anew; a time limit that cuts a world of reward 1 leaves it there."""
    for build, gain in (
        (probes.constant_reward, 1.0),
        (probes.observation_dependent_reward, 0.0),
        (probes.delayed_reward, 0.5),
        (probes.action_dependent_reward, 1.0),
        (probes.time_limit_loop, 1.0),
    ):
        np.testing.assert_allclose(learned(build()).gain, gain, atol=0.1, err_msg=build.__name__)
    q = learned(probes.delayed_reward(), num_updates=100).q
    np.testing.assert_allclose(q[:, 1, 0] - q[:, 0, 0], 0.5, atol=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gain_is_the_exact_one(seed):
    env = envs.make("random_mdp", kind="garnet", seed=seed)
    model = tabulate(env)
    with jax.enable_x64(True):
        exact = jax.device_get(average_reward(model, 1e-9))
    state = learned(env, num_updates=300, num_envs=4, learning_rate_min=0.0, gain_rate=0.002)
    np.testing.assert_allclose(state.gain, exact.gain, atol=0.02)
    chosen = np.asarray(state.q)[:, model.observation].argmax(-1)
    lost = exact.action_value.max(-1) - np.take_along_axis(exact.action_value, chosen.T, axis=1).T
    assert lost.mean() < 0.02, "the greedy actions are the best ones, or nearly"


def test_every_step_moves_table_and_gain_by_the_equations():
    """A corridor without chance, where the first cell is known."""
    env, rate, eta = envs.make("corridor", length=5, max_steps=7), 0.3, 0.05
    algorithm = r_learning.make(env, CONFIG.replace(num_steps=1, gain_rate=eta, **CONSTANT))
    state, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
    world = jax.jit(lambda state: jax.vmap(lambda action: env.step(jax.random.key(0), state, action))(jnp.arange(2)))
    q, rho, ends, cuts = np.zeros((5, 2)), 0.0, 0, 0
    for key in jax.random.split(jax.random.key(1), 300):
        before = state
        state, _ = update(state, key)
        obs = int(before.episodes.obs[0])
        (action,) = np.flatnonzero(np.asarray(state.visits - before.visits)[obs])
        step = jax.tree.map(lambda leaf: leaf[action], world(before.episodes.state[0]))  # noqa: B023
        terminated = bool(step.terminated)
        following = int(state.episodes.obs[0]) if terminated else int(step.obs)
        delta = float(step.reward) - rho + q[following].max() - q[obs, action]
        was_greedy = np.float32(q[obs, action]) >= np.float32(q[obs].max())
        q[obs, action] += rate * delta
        rho += eta * delta if was_greedy else 0.0
        np.testing.assert_allclose(state.q, q, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state.gain, rho, rtol=1e-4, atol=1e-5)
        ends, cuts = ends + terminated, cuts + (not terminated and int(state.episodes.t[0]) == 0)
    assert ends > 5
    assert cuts > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 0.99}, r"gamma must lie in \[1, 1\]"),
        ({"gain_rate": 2.0}, "gain_rate must lie in"),
        ({"epsilon": -1}, "epsilon"),
    ],
)
def test_what_cannot_run_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        learned(envs.make("corridor"), **changes)


def test_observations_that_are_no_numbers_are_refused():
    with pytest.raises(SpaceError, match="r_learning"):
        learned(envs.make("cartpole"))
