"""Extreme parameters keep the protocol, find the compiled program of the default ones, and can be stepped side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.bandits import restless_bandit
from envs.random_mdps import random_mdp
from jaxrl.testing.conformance import check_environment

pytestmark = pytest.mark.slow  # the defaults are checked by the tests of the registry

EXTREMES = {
    "acrobot": dict(gravity=50.0, mass_1=5.0, mass_2=0.05, centre_2=1.0, inertia=0.1, torque=50.0, time_step=0.05),
    "mountain_car": dict(force=0.05, gravity=0.0, goal_position=0.6, goal_speed=0.07),
    "mountain_car_continuous": dict(force=1.0, gravity=0.1, goal_position=-1.1),
    "point_maze": dict(force=1e4, damping=0.0, max_speed=50.0, time_step=0.01, goal_radius=1e-3, distance_cost=1.0),
    "gaussian_bandit": dict(means=(-1e3, 0.0, 1e3), deviation=0.0),
    "bandit_testbed": dict(spread=0.0, deviation=100.0),
    "random_walk_bandit": dict(drift=100.0, deviation=0.0),
    "bernoulli_bandit": dict(probabilities=(0.0, 1.0, 1e-6)),
    "linear_bandit": dict(deviation=0.0, seed=5),
    "contextual_dueling_bandit": dict(sharpness=0.0, seed=3),
    "dueling_bandit": dict(preference=((0.5, 1.0, 1.0), (0.0, 0.5, 0.0), (0.0, 1.0, 0.5))),
    "linear_dynamical_bandit": dict(radius=0.999, process_noise=0.0, observation_noise=0.0, reward_noise=0.0),
    "driven_bandit": dict(radius=0.0, process_noise=10.0, reward_noise=0.0, seed=1),
}


def sharp_arms():
    """Arms that do everything with certainty and owe large sums."""
    good = jnp.array([[[0, 0], [1, 1]], [[1, 0], [0, 1]], [[0, 1], [0, 1]], [[1, 1], [1, 1]]], jnp.float32)
    return restless_bandit.Arms(good, jnp.full((4, 2, 2), -1e4, jnp.float32), jnp.array([0.0, 1.0, 0.0, 1.0]))


def extreme(name):
    if name in EXTREMES:
        return envs.make(name, **EXTREMES[name])
    if name == "restless_bandit":
        return restless_bandit.of(sharp_arms())
    if name == "random_mdp":
        return random_mdp.of(random_mdp.dense(jax.random.key(9), 10, 3, concentration=0.01))
    return envs.make(name, seed=1)


NAMES = [*EXTREMES, "restless_bandit", "restless_bandit_by_priority", "random_mdp", "garnet", "reversible_mdp", "symmetric_mdp"]


@pytest.mark.parametrize("name", NAMES)
def test_extreme_parameters_keep_the_protocol(name):
    check_environment(extreme(name), jax.random.key(0), rebuilt=envs.make(name))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_can_be_vmapped(name):
    """Two environments side by side do what each does alone, for three random steps."""
    both = [envs.make(name), extreme(name)]
    stacked = both[0].replace(params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *(env.params for env in both)))

    def play(env, key):
        reset_key, action_key, *step_keys = jax.random.split(key, 5)
        _, state = env.reset(reset_key)
        steps = []
        for index, step_key in enumerate(step_keys):
            action = env.action_space.sample(jax.random.fold_in(action_key, index))
            step = env.step(step_key, state, action)
            state = step.state
            steps.append((step.obs, step.reward, step.terminated))
        return steps

    key = jax.random.key(1)
    together = jax.jit(jax.vmap(play, in_axes=(0, None)))(stacked, key)
    alone = jax.jit(play)
    for index, env in enumerate(both):
        jax.tree.map(
            lambda ours, theirs, index=index: np.testing.assert_allclose(ours[index], theirs, rtol=1e-4, atol=1e-4),
            together,
            alone(env, key),
        )
