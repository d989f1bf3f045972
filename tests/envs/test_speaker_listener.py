"""Speaker-listener: steps worked out by hand, who sees and can do what, and what knowing the goal is worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.markov_games import speaker_listener
from jaxrl.core.rollout import Decision, start, unroll
from jaxrl.errors import ConfigError
from jaxrl.testing.conformance import check_environment

STAY, LEFT, RIGHT, DOWN, UP = range(5)


def begun(goal=1, symbol=3):
    landmark = jnp.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    return speaker_listener.State(jnp.zeros((1, 2)), jnp.zeros((1, 2)), landmark, jnp.int32(goal), jnp.int32(symbol))


def test_one_step_by_hand():
    env = speaker_listener.make()
    step = env.step(jax.random.key(0), begun(), jnp.array([2, UP], jnp.int32))
    np.testing.assert_allclose(step.state.velocity, [[0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(step.state.position, [[0, 0.05]], atol=1e-6)
    np.testing.assert_allclose(step.reward, [-(1.95**2)] * 2, rtol=1e-6)
    np.testing.assert_allclose(step.obs[0], [0, 1, 0] + [0] * 8, atol=1e-6)
    np.testing.assert_allclose(step.obs[1], [0, 0.5, 1, -0.05, 0, 1.95, -1, -0.05, 0, 0, 1], atol=1e-6)


def test_nothing_is_heard_before_the_first_symbol():
    env = speaker_listener.make()
    obs, state = env.reset(jax.random.key(0))
    assert not np.asarray(obs[1, -3:]).any()
    np.testing.assert_array_equal(np.flatnonzero(obs[0]), [int(state.goal)])
    goals = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), 300))[1].goal
    assert np.bincount(goals).min() > 60


@pytest.mark.parametrize(("landmarks", "legal"), [(3, (3, 5)), (7, (7, 5))])
def test_actions_are_masked(landmarks, legal):
    env = speaker_listener.make(num_landmarks=landmarks)
    mask = np.asarray(env.action_mask(env.reset(jax.random.key(0))[1]))
    assert mask.shape == (2, max(legal))
    assert tuple(mask.sum(1)) == legal
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()


def follow(key, view):
    """The speaker names the goal, and the listener goes to the landmark that was named, slowing down in time."""
    speaker, listener = view.obs[:, 0], view.obs[:, 1]
    landmark, heard = listener[:, 2:8].reshape(-1, 3, 2), listener[:, 8:]
    gap = (landmark * heard[..., None]).sum(1) - 0.2 * listener[:, :2]
    sideways = jnp.abs(gap[:, 0]) >= jnp.abs(gap[:, 1])
    move = jnp.where(sideways, jnp.where(gap[:, 0] > 0, RIGHT, LEFT), jnp.where(gap[:, 1] > 0, UP, DOWN))
    move = jnp.where(jnp.abs(gap).max(-1) < 0.05, STAY, move)
    return Decision(jnp.stack([speaker[:, :3].argmax(-1), move], axis=-1).astype(jnp.int32))


def babble(key, view):
    decision = follow(key, view)
    return Decision(decision.action.at[:, 0].set(jax.random.randint(key, view.obs.shape[:1], 0, 3)))


def test_talking_pays():
    env = speaker_listener.make()

    def mean_return(policy):
        episodes = start(jax.random.key(0), env, 512)
        _, steps = jax.jit(lambda episodes: unroll(jax.random.key(1), env, policy, episodes, 25))(episodes)
        return float(steps.reward[..., 0].sum(0).mean())

    talking, babbling = mean_return(follow), mean_return(babble)
    # The squared distance of two points drawn from the square is 4/3 on average; whoever knows the goal halves it in a few steps.
    assert talking > -25 * 4 / 3 * 0.5
    assert babbling < -25 * 4 / 3 * 0.5


@pytest.mark.parametrize("parameters", [dict(num_landmarks=1), dict(num_landmarks=8, damping=0.0, force=100.0)])
def test_extremes_keep_the_protocol(parameters):
    check_environment(speaker_listener.make(**parameters), jax.random.key(0), rebuilt=speaker_listener.make(**parameters))


@pytest.mark.parametrize("parameters", [dict(num_landmarks=0), dict(damping=-0.1), dict(max_steps=0)])
def test_wrong_parameters(parameters):
    with pytest.raises(ConfigError):
        speaker_listener.make(**parameters)
