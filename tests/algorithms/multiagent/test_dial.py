"""DIAL and RIAL: who hears whom, gradients through messages, targets of whole episodes, and what two agents learn to say."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.extensive_games import lewis
from envs.markov_games import switch_riddle
from jaxrl.algorithms.multiagent import dial
from jaxrl.core import rollout
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, SpaceError, UnknownNameError
from jaxrl.evaluation import Episodes
from jaxrl.training.runner import run

SMALL = dial.Config(num_envs=4, num_steps=2, hidden=(8,), memory_size=6, mute_inactive=False)
GAME = lewis.make(2, signals=1)  # only the channel can tell the receiver anything


def played(env, config, seed=0):
    """Returns a team, its parameters, and a block of whole episodes."""
    algorithm, team = dial.make(env, config), dial.Team(env, config)
    state = jax.jit(algorithm.init)(jax.random.key(seed))
    episodes = rollout.start(jax.random.key(1), env, config.num_envs, team.silence())
    play = partial(rollout.unroll, env=env, policy=algorithm.policy(state, False), episodes=episodes, num_steps=config.num_steps)
    return team, state.params, jax.jit(play)(jax.random.key(2))[1]


@pytest.mark.parametrize("channel", dial.CHANNELS)
def test_learning_relives_what_was_played(channel):
    """With epsilon 0 the values that are computed again choose the actions that were taken, in every step of first episodes."""
    env = switch_riddle.make(3, bulb=False)
    config = SMALL.replace(channel=channel, epsilon=0.0, num_envs=16, num_steps=6, mute_inactive=True, message_size=2)
    team, params, batch = played(env, config)
    said = jax.jit(partial(dial.relived, team))(params, batch)
    first = np.asarray(dial.of_first_episodes(batch.done))
    best = np.where(batch.mask, said.values, -np.inf).argmax(-1)
    np.testing.assert_array_equal(best[first], np.asarray(batch.action)[first])
    assert first[0].all()
    assert np.asarray(batch.mask)[first][..., 1].sum() == 0, "no bulb: nobody can leave it on"
    if channel == "rial":
        np.testing.assert_array_equal(np.asarray(said.signal).argmax(-1)[first], np.asarray(batch.extras["bits"])[first])


def gradient_of_the_receiver(config, env=GAME, agent=1):
    """Returns how what an agent computes in the second step depends on the sender's observation-bound signal, float[E]."""
    team, params, batch = played(env, config)

    def said_by_the_receiver(scale):
        """The sender's z, times a scale, through the message into the receiver's values."""
        recall = team.silence(config.num_envs)
        mask = None if batch.mask is None else batch.mask[0]
        said, core = team.step(params, recall, batch.obs[0], mask)
        extras = {name: leaf[0] for name, leaf in batch.extras.items()}
        message = team.sent(said.signal * scale, mask, **extras)
        action = jax.nn.one_hot(batch.action[0], team.num_actions)
        own = message.at[:, agent].set(jax.lax.stop_gradient(message[:, agent]))
        following = None if batch.mask is None else batch.mask[1]
        return team.step(params, dial.Recall(core, action, own), batch.obs[1], following)[0].values[:, agent].sum(-1)

    return np.asarray(jax.jit(jax.jacfwd(said_by_the_receiver))(jnp.float32(1.0)))


def test_gradients_flow_through_messages_in_dial_alone():
    assert np.abs(gradient_of_the_receiver(SMALL)).max() > 0
    for channel in ("rial", "none"):
        assert not gradient_of_the_receiver(SMALL.replace(channel=channel)).any()


def test_the_gradient_of_the_receiver_s_loss_reaches_the_sender():
    """In the first step nothing is paid: the parameters of z alone move the loss through the second step."""
    for channel, moves in (("dial", True), ("none", False)):
        team, params, batch = played(GAME, SMALL.replace(channel=channel))
        target = jax.jit(partial(dial.targets, team))(params, batch)
        slope = jax.jit(jax.grad(lambda p, team=team, batch=batch, target=target: dial.loss(team, p, (batch, target))[0]))(params)
        last = slope["params"]["values"]["Dense_1"]["bias"]
        assert last.shape == (3,)
        assert (abs(float(last[2])) > 0) == moves, "two actions, then z"


def test_messages():
    team = dial.Team(GAME, SMALL)
    signal, noise = jnp.array([[[0.5], [-2.0]]]), jnp.array([[[-0.5], [1.0]]])
    np.testing.assert_allclose(team.sent(signal, None, noise), [[[0.5], [1 / (1 + np.e)]]], rtol=1e-5)
    np.testing.assert_array_equal(team.sent(signal, None), [[[1.0], [0.0]]])
    bits = dial.Team(GAME, SMALL.replace(channel="rial"))
    values = jnp.array([[[[1.0, 2.0]], [[0.0, -1.0]]]])
    np.testing.assert_array_equal(bits.sent(values, None), [[[1.0], [0.0]]])
    np.testing.assert_array_equal(bits.sent(values, None, bits=jnp.array([[[0], [1]]])), [[[0.0], [1.0]]])


def test_agents_without_a_choice_neither_speak_nor_hear():
    team = dial.Team(GAME, SMALL.replace(mute_inactive=True))
    mask = jnp.array([[[True, True], [True, False]]])
    np.testing.assert_array_equal(team.sent(jnp.ones((1, 2, 1)), mask), [[[1.0], [0.0]]])
    recall = dataclasses.replace(team.silence(1), message=jnp.array([[[0.25], [1.0]]]))
    for known, heard in ((mask, [[1.0], [0.0]]), (None, [[1.0], [0.25]])):
        inputs = team.inputs(recall, jnp.zeros((1, 2), jnp.int32), team.present(known))[1]
        np.testing.assert_array_equal(inputs[0, :, -1:], heard)


def test_targets_end_with_the_episode():
    """y = r at the end and r + gamma max Q of the next step before it, whatever follows the end of the first episode."""
    env = switch_riddle.make(3, bulb=False)
    config = SMALL.replace(num_envs=16, num_steps=6, gamma=0.9, epsilon=0.5)
    team, params, batch = played(env, config)
    target = np.asarray(jax.jit(partial(dial.targets, team))(params, batch))
    values = np.asarray(jax.jit(partial(dial.relived, team))(params, batch).values)
    best = np.where(batch.mask, values, -np.inf).max(-1)
    done, reward = np.asarray(batch.done), np.asarray(batch.reward)
    early = 0
    for e in range(16):
        end = int(done[:, e].argmax())
        early += end < 5
        for t in range(end + 1):
            expected = reward[t, e] + (0.0 if t == end else 0.9 * best[t + 1, e])
            np.testing.assert_allclose(target[t, e], expected, rtol=1e-5, atol=1e-6)
    assert early > 0, "some episodes end before the block"
    # What comes after the first episode is not learned from.
    changed = batch._replace(reward=jnp.where(dial.of_first_episodes(batch.done)[..., None], batch.reward, 100.0))
    for steps in (batch, changed):
        learned = dial.loss(team, params, (steps, dial.targets(team, params, steps)))[0]
        np.testing.assert_allclose(learned, dial.loss(team, params, (batch, jnp.asarray(target)))[0], rtol=1e-5)


@pytest.mark.slow
def test_a_sender_learns_to_tell_and_silence_leaves_one_half():
    for channel, low, high in (("dial", 0.95, 1.0), ("none", 0.4, 0.6)):
        config = dial.Config(num_steps=2, mute_inactive=False, learning_rate=2e-3, hidden=(32,), memory_size=32, channel=channel)
        evaluators = (Episodes(GAME, num_episodes=1024, modes=("greedy",)),)
        done = run(dial.make, GAME, config, seeds=4, num_updates=1500, evaluators=evaluators)
        assert low <= np.median(done.evaluations["greedy_return"][:, -1]) / 2 <= high


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        (lambda: envs.make("corridor"), {}, ConfigError, "dial: the environment must have an agent axis"),
        (
            lambda: dataclasses.replace(GAME, action_space=Box(0.0, 1.0)),
            {},
            SpaceError,
            "dial: the action_space must be Discrete",
        ),
        (lambda: GAME, {"num_steps": 3}, ConfigError, "num_steps must be the time limit of the environment, 2"),
        (lambda: GAME, {"channel": "radio"}, UnknownNameError, "radio"),
        (lambda: GAME, {"noise": -1.0}, ConfigError, "dial: noise must be at least 0"),
        (lambda: GAME, {"noise": float("nan")}, ConfigError, "dial: noise"),
        (lambda: GAME, {"epsilon": 1.5}, ConfigError, "dial: epsilon must lie in"),
        (lambda: GAME, {"memory_size": 0}, ConfigError, "memory_size"),
        (lambda: GAME, {"hidden": ()}, ConfigError, "hidden"),
    ],
)
def test_what_cannot_run_is_refused(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(dial.make, env(), SMALL.replace(**changes), seeds=2, num_updates=2)
