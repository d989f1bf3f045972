"""Tag: steps worked out by hand, pay and observation of unequal agents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import particles, tag
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment

STAY, LEFT, RIGHT, DOWN, UP = range(5)


def at(position, velocity=0.0, landmark=((5.0, 5.0), (-5.0, 5.0))):
    position, landmark = jnp.asarray(position, jnp.float32), jnp.asarray(landmark, jnp.float32).reshape(-1, 2)
    return particles.State(position, jnp.broadcast_to(jnp.asarray(velocity, jnp.float32), position.shape), landmark)


def moved(env, state, action):
    return env.step(jax.random.key(0), state, jnp.asarray(action, jnp.int32))


def test_forces_and_speeds_by_hand():
    """Predators are pushed with 3 N and prey with 4 N for 0.1 s; nobody gets faster than 1 and 1.3 m/s."""
    env = tag.make(num_predators=1)
    step = moved(env, at([[0.0, 0.0], [3.0, 0.0]]), [RIGHT, UP])
    np.testing.assert_allclose(step.state.velocity, [[0.3, 0.0], [0.0, 0.4]], atol=1e-6)
    np.testing.assert_allclose(step.state.position, [[0.03, 0.0], [3.0, 0.04]], atol=1e-6)
    fast = moved(env, at([[0.0, 0.0], [3.0, 0.0]], velocity=[[2.0, 0.0], [1.2, 1.6]]), [RIGHT, STAY])
    np.testing.assert_allclose(fast.state.velocity, [[1.0, 0.0], [1.3 * 0.6, 1.3 * 0.8]], atol=1e-5)
    state = at([[0.0, 0.0], [3.0, 0.0]])
    for _ in range(30):
        state = moved(env, state, [RIGHT, LEFT])[1]
    np.testing.assert_allclose(jnp.abs(state.velocity[:, 0]), [1.0, 1.3], atol=1e-5)


def test_obstacles_push_and_stay():
    env = tag.make(num_predators=1, num_obstacles=1)
    # Predator of 0.075 and obstacle of 0.2, 0.2 apart, overlap by 0.075: 7.5 N.
    step = moved(env, at([[0.0, 0.0], [3.0, 0.0]], landmark=[[0.2, 0.0]]), [STAY, STAY])
    np.testing.assert_allclose(step.state.velocity[0], [-0.75, 0.0], atol=1e-5)
    np.testing.assert_array_equal(step.state.landmark, [[np.float32(0.2), 0.0]])


@pytest.mark.parametrize(
    ("predators", "caught"),
    [([[0.1, 0.0], [2.0, 0.0], [3.0, 0.0]], 1), ([[0.1, 0.0], [-0.1, 0.0], [3.0, 0.0]], 2), ([[0.9, 0.0]] * 3, 0)],
)
def test_pay_for_touching(predators, caught):
    env = tag.make(contact_force=0.0)
    step = moved(env, at([*predators, [0.0, 0.0]]), [STAY] * 4)
    np.testing.assert_allclose(step.reward, [10 * caught] * 3 + [-10 * caught])
    assert float(step.info["caught"]) == caught


@pytest.mark.parametrize(
    ("place", "cost"),
    [((0.5, -0.8), 0.0), ((0.95, 0.0), 0.5), ((0.0, -1.5), np.exp(1)), ((4.0, -0.95), 10.5), ((9.0, -9.0), 20.0)],
)
def test_leaving_costs(place, cost):
    assert float(tag.leaving(jnp.array(place))) == pytest.approx(cost, abs=1e-5)
    step = moved(tag.make(num_predators=1), at([[50.0, 50.0], place]), [STAY, STAY])
    np.testing.assert_allclose(step.reward, [0.0, -cost], atol=1e-4)


def test_observation():
    env = tag.make(num_predators=2, num_obstacles=1, damping=0.0)
    state = at([[0.0, 0.0], [0.0, 1.0], [0.5, 0.0]], velocity=[[0.0, 0.0], [0.0, 0.0], [0.0, 0.5]], landmark=[[0.0, 3.0]])
    obs = np.asarray(moved(env, state, [STAY] * 3).obs)
    prey = [0.5, 0.05]
    np.testing.assert_allclose(obs[1], [0, 0, 0, 1, 0, 2, 0, -1, 0.5, prey[1] - 1, 0, 0.5], atol=1e-6)
    np.testing.assert_allclose(obs[2], [0, 0.5, *prey, -0.5, 3 - 0.05, -0.5, -0.05, -0.5, 0.95, 0, 0], atol=1e-6)


def test_exchanging_predators_exchanges_what_they_get():
    env = tag.make()
    _, state = env.reset(jax.random.key(4))
    order, action = jnp.array([2, 0, 1, 3]), jnp.array([1, 2, 3, 4])
    step = moved(env, state, action)
    permuted = moved(env, state._replace(position=state.position[order]), action[order])
    np.testing.assert_allclose(permuted.state.position, step.state.position[order], atol=1e-6)
    np.testing.assert_allclose(permuted.reward, step.reward, atol=1e-5)


@pytest.mark.parametrize(
    "parameters", [dict(num_predators=1, num_obstacles=0), dict(damping=1.0, prey_speed=1e-3, contact_force=1e4)]
)
def test_extremes_keep_the_protocol(parameters):
    check_environment(tag.make(**parameters), jax.random.key(0), rebuilt=tag.make(**parameters))


@pytest.mark.parametrize(
    "parameters", [dict(num_predators=0), dict(num_obstacles=-1), dict(prey_speed=0.0), dict(damping=2.0), dict(max_steps=0)]
)
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        tag.make(**parameters)
