"""Independent REINFORCE: one agent is REINFORCE to the last bit, and what a team learns follows the exact gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.extensive_games import lewis
from jaxrl.algorithms.multiagent import independent_reinforce
from jaxrl.algorithms.tabular import reinforce
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.training.runner import run
from tests import probes
from tests.copies import copies

CONFIG = independent_reinforce.Config(gamma=0.9, learning_rate=0.1, num_steps=50)


@pytest.mark.optimised
@pytest.mark.parametrize("env", [probes.masked_action(), probes.limit_or_end()], ids=["masked", "limit_or_end"])
def test_one_agent_is_reinforce_to_the_last_bit(env):
    shared = dict(gamma=0.9, learning_rate=0.1, num_envs=3, num_steps=20)
    single = run(reinforce.make, env, reinforce.Config(**shared), seeds=3, num_updates=10)
    agents = run(independent_reinforce.make, copies(env, 1), independent_reinforce.Config(**shared), seeds=3, num_updates=10)
    np.testing.assert_array_equal(agents.state.theta[:, 0], single.state.theta)
    np.testing.assert_array_equal(agents.state.baseline[:, 0], single.state.baseline)
    assert np.abs(single.state.theta).max() > 0
    for name, values in single.metrics.items():
        np.testing.assert_array_equal(agents.metrics[name], values)


def test_the_mean_of_the_gradients_is_the_gradient_of_what_a_team_earns():
    """In a signalling game with a partly biased pair: 2048 pairs, five standard errors."""
    env, rate = lewis.make(2), 1e-5
    config = CONFIG.replace(gamma=1.0, learning_rate=rate, baseline_rate=0.0, num_steps=40)
    algorithm = independent_reinforce.make(env, config)
    first = jax.jit(jax.vmap(algorithm.init))(jax.random.split(jax.random.key(0), 2048))
    start = np.zeros((2, 3, 2), np.float32)
    start[0, 1:], start[1, 1:] = [[1.5, -0.5], [-1.0, 0.5]], [[2.0, 0.0], [0.0, 1.0]]
    first = dataclasses.replace(first, theta=first.theta + start)
    done, _ = jax.jit(jax.vmap(algorithm.update))(first, jax.random.split(jax.random.key(1), 2048))

    def earned(theta):
        code, act = jax.nn.softmax(theta[0, 1:]), jax.nn.softmax(theta[1, 1:])
        return 0.5 * jnp.trace(code @ act)

    of_pairs = (np.asarray(done.theta, np.float64) - start) / rate / 20
    exact, error = jax.grad(earned)(jnp.asarray(start)), of_pairs.std(0) / np.sqrt(2048)
    assert (np.abs(of_pairs.mean(0) - exact) <= 5 * error + 2e-3).all()
    assert np.abs(exact).max() > 0.03


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        (lambda: envs.make("corridor"), {}, ConfigError, "independent_reinforce: the environment must have an agent axis"),
        (
            lambda: dataclasses.replace(envs.make("chicken"), observation_space=Box(0.0, 1.0)),
            {},
            SpaceError,
            "independent_reinforce: the observation_space must be Discrete",
        ),
        (lambda: envs.make("chicken"), {"baseline_rate": 1.5}, ConfigError, "baseline_rate must lie in"),
    ],
)
def test_what_cannot_run_is_refused(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(independent_reinforce.make, env(), CONFIG.replace(**changes), seeds=2, num_updates=2)
