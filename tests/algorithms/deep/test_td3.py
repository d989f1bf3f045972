"""TD3 and DDPG: the probes, the target by hand, the noise, and refusal of what they cannot do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import td3
from jaxrl.blocks import off_policy
from jaxrl.blocks.off_policy import Experience
from jaxrl.core.environment import Environment, Step
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.training.runner import run
from tests import probes
from tests.in_place import assert_buffer_in_place
from tests.own_networks import Residual

GAMMA = 0.8
SIZES = {"num_envs": 4, "num_rounds": 20, "batch_size": 32, "buffer_size": 800, "learning_starts": 50, "hidden": (16,)}
CONFIG = td3.Config(learning_rate=3e-3, critic_learning_rate=3e-3, gamma=GAMMA, target_step_size=0.05, **SIZES)


def trained(env, num_updates=50, config=CONFIG, **changes):
    config = config.replace(**changes)
    return config, run(td3.make, env, config, seeds=4, num_updates=num_updates, chunk_length=50)


def greedy_actions(env, config, done, obs):
    view = View(obs, None, ())
    return jax.vmap(lambda state: td3.make(env, config).policy(state, True)(jax.random.key(0), view).action)(done.state)


KINDS = [CONFIG, td3.DDPG.replace(learning_rate=3e-3, gamma=GAMMA, target_step_size=0.05, **SIZES)]


@pytest.mark.parametrize("config", [KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.slow)], ids=["TD3", "DDPG"])
def test_the_best_action_is_found(config):
    env, obs = probes.continuous_action(), jnp.linspace(-0.8, 0.8, 5)[:, None]
    config, done = trained(env, num_updates=150, config=config)
    np.testing.assert_allclose(greedy_actions(env, config, done, obs), np.broadcast_to(obs, (4, 5, 1)), atol=0.15)


def _begin(key, params):
    state = jax.random.randint(key, (), 0, 2, jnp.int32)
    return state[None].astype(jnp.float32), state


def _pay(key, state, action, params):
    return Step(state[None].astype(jnp.float32), state, jnp.float32(1.0), state == 1)


@pytest.mark.slow
def test_a_time_limit_is_not_an_end():
    """Two states that pay 1 a step whatever is done: 1 / (1 - gamma) behind a time limit of 2, and 1 behind a termination."""
    env = Environment(None, _begin, _pay, Box(0.0, 1.0, (1,)), Box(-1.0, 1.0, (1,)), max_steps=2)
    config, done = trained(env, num_updates=100, exploration_noise=1.0)  # what is not tried is not known
    network = td3.critic_network(env, config)
    obs, action = jnp.array([[0.0], [1.0]]), jnp.zeros((2, 1))
    found = jax.vmap(lambda params: network.apply(params, obs, action))(done.state.critics)
    np.testing.assert_allclose(found, np.broadcast_to([1 / (1 - GAMMA), 1.0], (4, 2, 2)), rtol=0.1)


class Listed:
    """Critics that return the next action, and the next action squared."""

    def apply(self, params, obs, action):
        return jnp.stack([action[:, 0], jnp.square(action[:, 0])])


def test_the_target_takes_the_least_critic_and_ends_where_the_episode_does():
    batch = Experience(
        obs=jnp.zeros((3, 1)),
        action=jnp.zeros((3, 1)),
        reward=jnp.array([1.0, 2.0, 3.0]),
        next_obs=jnp.zeros((3, 1)),
        terminated=jnp.array([False, False, True]),
        mask=None,
        next_mask=None,
    )
    found = off_policy.least_value_target(Listed(), None, jnp.array([[0.5], [-0.5], [0.9]]), 0.5, batch)
    np.testing.assert_allclose(found, [1.0 + 0.5 * 0.25, 2.0 - 0.5 * 0.5, 3.0])


def test_exploration_stays_within_the_bounds_and_evaluation_has_no_noise():
    env = probes.continuous_action(bound=2.0)
    config = CONFIG.replace(exploration_noise=3.0)
    algorithm = td3.make(env, config)
    state, view = jax.jit(algorithm.init)(jax.random.key(0)), View(jnp.zeros((500, 1)), None, ())
    noisy = algorithm.policy(state, False)(jax.random.key(1), view).action
    assert float(jnp.abs(noisy).max()) == 2.0
    assert float(noisy.std()) > 1.0
    assert float(algorithm.policy(state, True)(jax.random.key(1), view).action.std()) == 0.0


def test_an_actor_makes_one_step_for_every_two_of_the_critics():
    env = probes.continuous_action()
    config = CONFIG.replace(num_rounds=3, num_gradient_steps=2)
    algorithm = td3.make(env, config)
    state, _ = jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)), jax.random.key(1))
    counts = [int(next(leaf for leaf in jax.tree.leaves(opt) if leaf.ndim == 0)) for opt in (state.actor_opt, state.critic_opt)]
    assert counts == [6, 12]


@pytest.mark.slow
def test_a_network_of_the_users_learns():
    _, done = trained(probes.continuous_action(), network=Residual)
    assert (np.asarray(done.metrics["episode_return"])[:, -10:].mean(1) > -0.1).all()


@pytest.mark.optimised
def test_the_buffer_is_updated_in_place():
    assert_buffer_in_place(td3.make, envs.make("pendulum"), CONFIG.replace(buffer_size=100_000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 801}, "buffer_size must be at least batch_size"),
        ({"policy_interval": 0}, "policy_interval"),
        ({"exploration_noise": -0.1}, "exploration_noise"),
        ({"target_noise": float("nan")}, "target_noise"),
        ({"target_step_size": 2.0}, "target_step_size"),
    ],
)
def test_a_bad_value_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        CONFIG.replace(**changes).validate(probes.continuous_action())


@pytest.mark.parametrize("space", [Box(-jnp.inf, jnp.inf, (1,)), Box(-2, 2, (1,), jnp.int32)], ids=str)
def test_actions_that_have_no_range_are_refused(space):
    with pytest.raises(SpaceError, match="a bounded Box of reals"):
        CONFIG.validate(probes.continuous_action().replace(action_space=space))


def test_discrete_actions_are_refused():
    with pytest.raises(SpaceError, match=r"Use jaxrl\.algorithms\.deep\.sac"):
        CONFIG.validate(probes.delayed_reward())
