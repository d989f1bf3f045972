"""SAC: closed forms of soft policies, the probes with exact values, its losses by hand, and refusal of what it cannot do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from jaxrl.algorithms.deep import sac
from jaxrl.core.environment import Environment, Step
from jaxrl.core.finite import Initial, Outcomes, finite
from jaxrl.core.rollout import View
from jaxrl.core.spaces import Box, Discrete
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.training.runner import run
from tests import probes
from tests.in_place import assert_buffer_in_place
from tests.own_networks import Residual

GAMMA = 0.8
CONFIG = sac.Config(
    learning_rate=3e-3,
    critic_learning_rate=3e-3,
    temperature=0.01,
    learn_temperature=False,
    gamma=GAMMA,
    target_step_size=0.05,
    num_envs=4,
    num_rounds=40,
    batch_size=32,
    buffer_size=400,
    learning_starts=50,
    hidden=(16,),
)


def trained(env, num_updates=50, **changes):
    config = CONFIG.replace(**changes)
    return config, run(sac.make, env, config, seeds=4, num_updates=num_updates, chunk_length=50)


def values(env, config, done, obs):
    """Returns the values that the critics give a batch of observations, [4, 2, B, A]."""
    network = sac.critic_network(env, config)
    return np.asarray(jax.vmap(lambda params: network.apply(params, obs))(done.state.critics))


def last(done, name):
    return np.asarray(done.metrics[name])[:, -1]


# ---- closed forms


@struct.dataclass
class Bandit:
    """One state, one step. reward: float32[3]."""

    reward: jax.Array


def _paid(state, action, params):
    return Outcomes(jnp.ones(1), jnp.ones(1, jnp.int32), params.reward[action][None], jnp.ones(1, bool))


def _begun(params):
    return Initial(jnp.ones(1), jnp.zeros(1, jnp.int32))


def bandit():
    return finite(Bandit(jnp.array([1.0, 0.5, 0.0])), _paid, _begun, Discrete(2), Discrete(3), max_steps=10)


def test_the_policy_of_a_bandit_is_the_softmax_of_its_rewards():
    """V = alpha log sum exp(r / alpha) and pi = softmax(r / alpha), at alpha = 1/2."""
    config, done = trained(bandit(), num_updates=100, temperature=0.5)
    view = View(jnp.array([0]), None, ())
    algorithm = sac.make(bandit(), config)
    chosen = jax.vmap(lambda state: algorithm.probabilities(state, view))(done.state)[:, 0]
    np.testing.assert_allclose(chosen, np.broadcast_to([0.665241, 0.244728, 0.090031], (4, 3)), atol=2e-3)
    np.testing.assert_allclose(last(done, "value"), 1.203803, atol=2e-3)


def _nothing(key, params):
    return jnp.zeros(1), jnp.zeros(1)


def _distance(key, state, action, params):
    return Step(state, state, -jnp.square(action - 0.3)[0], jnp.bool_(True))


@pytest.mark.slow
def test_the_policy_of_an_unbounded_bandit_is_the_normal_distribution_of_its_closed_form():
    """r = -(a - 0.3)^2 at temperature alpha: mean 0.3, variance alpha / 2, soft value alpha / 2 log(pi alpha)."""
    env = Environment(None, _nothing, _distance, Box(-1.0, 1.0, (1,)), Box(-jnp.inf, jnp.inf, (1,)), max_steps=10)
    rates = {"learning_rate": 1e-3, "critic_learning_rate": 1e-3}
    config, done = trained(env, num_updates=150, temperature=0.2, hidden=(32, 32), buffer_size=4000, batch_size=64, **rates)
    network = sac.actor_network(env, config)
    outputs = jax.vmap(lambda params: network.apply(params, jnp.zeros((1, 1))))(done.state.actor)[:, 0]
    np.testing.assert_allclose(outputs[:, 0], 0.3, atol=0.05)
    np.testing.assert_allclose(np.exp(2 * outputs[:, 1]), 0.1, atol=0.02)
    np.testing.assert_allclose(np.asarray(done.metrics["value"])[:, -20:].mean(1), -0.046471, atol=0.02)


# ---- probes


@pytest.mark.slow
def test_delayed_reward():
    """The start is worth gamma, and alpha log 2 more for a choice between equals, here and after it."""
    env = probes.delayed_reward()
    config, done = trained(env, temperature=0.5)
    start = GAMMA * (1.0 + 0.5 * np.log(2.0))
    found = values(env, config, done, jnp.array([0, 1])).mean(1)
    np.testing.assert_allclose(found, np.broadcast_to([[start], [1.0]], (4, 2, 2)), atol=0.05)


def test_a_time_limit_is_not_an_end():
    env = probes.limit_or_end()
    config, done = trained(env, num_updates=100, temperature=0.5)
    loop = (1.0 + 0.5 * GAMMA * np.log(2.0)) / (1 - GAMMA)
    found = values(env, config, done, jnp.array([0, 1])).mean(1)
    np.testing.assert_allclose(found, np.broadcast_to([[loop], [1.0]], (4, 2, 2)), rtol=0.1)


def test_masked_actions_are_never_taken():
    env = probes.masked_action()
    config, done = trained(env, temperature=1.0)
    assert set(np.unique(done.state.buffer.items.action)) == {0, 1}
    view = View(jnp.array([0]), jnp.array([[True, True, False]]), ())
    chosen = jax.vmap(lambda state: sac.make(env, config).probabilities(state, view))(done.state)[:, 0]
    best = np.exp(0.5) / (1 + np.exp(0.5))
    np.testing.assert_allclose(chosen, np.broadcast_to([best, 1 - best, 0.0], (4, 3)), atol=0.02)


def test_the_largest_entropy_is_that_of_the_legal_actions():
    mask = jnp.array([[True, True, False], [True, False, False]])
    found = sac.target_entropy(Discrete(3), CONFIG.replace(target_entropy_share=0.5), mask)
    np.testing.assert_allclose(found, 0.25 * np.log(2.0), rtol=1e-6)


@pytest.mark.slow
def test_the_best_continuous_action_is_found():
    env = probes.continuous_action()
    config, done = trained(env, temperature=0.02)
    obs = jnp.linspace(-0.8, 0.8, 5)[:, None]
    view = View(obs, None, ())
    actions = jax.vmap(lambda state: sac.make(env, config).policy(state, True)(jax.random.key(0), view).action)(done.state)
    np.testing.assert_allclose(actions, np.broadcast_to(obs, (4, 5, 1)), atol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("probe", [probes.continuous_action, probes.action_dependent_reward])
def test_a_network_of_the_users_learns(probe):
    """The critics' sees observation and action as a tuple where actions are a Box."""
    _, done = trained(probe(), network=Residual)
    returns = np.asarray(done.metrics["episode_return"])[:, -10:].mean(1)
    assert (returns > (-0.05 if probe is probes.continuous_action else 0.95)).all()


@pytest.mark.slow
def test_images():
    _, done = trained(probes.image_observation(), channels=(4,))
    assert (np.asarray(done.metrics["episode_return"])[:, -10:].mean(1) > 0.95).all()


# ---- temperature


@pytest.mark.slow
def test_the_temperature_brings_the_entropy_to_its_target():
    share = 0.6
    changes = {"learn_temperature": True, "temperature": 0.5, "temperature_learning_rate": 1e-2, "target_entropy_share": share}
    _, done = trained(bandit(), num_updates=100, **changes)
    np.testing.assert_allclose(np.asarray(done.metrics["entropy"])[:, -10:].mean(1), share * np.log(3.0), atol=0.03)


@pytest.mark.parametrize(("excess", "sign"), [(0.5, 1), (-0.5, -1)])
def test_the_temperature_falls_where_there_is_more_entropy_than_the_target(excess, sign):
    gradient = jax.grad(lambda x: sac.temperature_loss(x, jnp.float32(excess))[0])(jnp.float32(0.3))
    np.testing.assert_allclose(gradient, sign * 0.5 * np.exp(0.3), rtol=1e-6)


# ---- by hand


class Fixed:
    """A network with given outputs."""

    def __init__(self, outputs):
        self.outputs = outputs

    def apply(self, params, *inputs):
        return self.outputs


def test_the_soft_value_of_discrete_actions_is_an_expectation():
    logits, q = np.array([[0.2, -0.4, 1.0]]), np.array([[[1.0, 2.0, -1.0]], [[0.5, 3.0, 0.0]]])
    p = np.exp(logits) / np.exp(logits).sum()
    entropy = -(p * np.log(p)).sum()
    found = sac.soft_value(
        Discrete(3), Fixed(jnp.asarray(logits)), Fixed(jnp.asarray(q)), jax.random.key(0), None, None, 0.7, jnp.zeros(1), None
    )
    np.testing.assert_allclose(found[0], [(p[0] * q.min(0)[0]).sum() + 0.7 * entropy], rtol=1e-6)
    np.testing.assert_allclose(found[1], [entropy], rtol=1e-6)


def test_the_soft_value_of_a_box_is_that_of_the_draw():
    """With the log-probability of tanh of a normal draw by the change of variables, from scipy."""
    scipy_stats = pytest.importorskip("scipy.stats")
    mean, log_std = 0.3, -0.5
    outputs = jnp.array([[mean, log_std]])
    key, space = jax.random.key(3), Box(-2.0, 2.0, (1,))
    value, entropy = sac.soft_value(
        space, Fixed(outputs), Fixed(jnp.array([[2.0], [1.5]])), key, None, None, 0.2, jnp.zeros((1, 1)), None
    )
    action = float(sac.distribution(space, outputs, None).sample(seed=key)[0, 0])
    log_prob = scipy_stats.norm.logpdf(np.arctanh(action), mean, np.exp(log_std)) - np.log(1 - action**2)
    np.testing.assert_allclose(entropy, [-log_prob], rtol=1e-4)
    np.testing.assert_allclose(value, [1.5 - 0.2 * log_prob], rtol=1e-4)


@pytest.mark.optimised
def test_the_buffer_is_updated_in_place():
    assert_buffer_in_place(sac.make, envs.make("pendulum"), CONFIG.replace(buffer_size=100_000))


# ---- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 401}, "buffer_size must be at least batch_size"),
        ({"learning_starts": 500}, "buffer_size must be at least learning_starts"),
        ({"temperature": 0.0}, "temperature"),
        ({"gamma": 1.5}, "gamma"),
        ({"target_step_size": -0.1}, "target_step_size"),
        ({"critic_learning_rate": float("nan")}, "critic_learning_rate"),
        ({"num_critics": 0}, "num_critics"),
        ({"target_entropy_share": 2.0}, "target_entropy_share"),
        ({"channels": (4,)}, "channels need observations"),
    ],
)
def test_a_bad_value_is_refused(changes, message):
    with pytest.raises((ConfigError, SpaceError), match=message):
        CONFIG.replace(**changes).validate(probes.delayed_reward())


@pytest.mark.parametrize("env", [probes.nested_action, lambda: envs.make("climb")])
def test_a_bad_environment_is_refused(env):
    with pytest.raises((ConfigError, SpaceError)):
        CONFIG.validate(env())


def test_integers_are_no_continuous_actions():
    env = probes.continuous_action().replace(action_space=Box(-2, 2, (1,), jnp.int32))
    with pytest.raises(SpaceError, match="a Box of reals"):
        CONFIG.validate(env)
