"""Inverse models: the actions of episodes without any, from the states that followed each other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.offline import cql, inverse_model
from jaxrl.blocks import datasets, offline
from jaxrl.blocks.action_labels import Labelled, split, without_actions
from jaxrl.blocks.bonuses import ICM
from jaxrl.blocks.datasets import Collected
from jaxrl.core import masks, rollout
from jaxrl.errors import ConfigError, DataError, SpaceError
from jaxrl.training.runner import run

KEY = jax.random.key(0)
FAST: Any = inverse_model.Config(num_gradient_steps=100, batch_size=64, hidden=(32,), learning_rate=1e-2)


def recorded(name, count=40, steps=12, key=0, **parameters) -> Any:
    env = envs.make(name, **parameters)
    return datasets.collect(jax.random.key(key), env, rollout.uniform_policy(env), count, steps)


def fitted(data, config=FAST, num_updates=5):
    done = run(inverse_model.make, data, config, seeds=1, num_updates=num_updates)
    return jax.tree.map(lambda leaf: leaf[0], done.state.params)


@pytest.mark.slow
def test_moves_that_are_certain_are_known():
    """In the corridor every step tells its move, but for the end, which only the move to the right enters."""
    data = recorded("corridor", slip=0.0)
    params = fitted(data)
    assert float(inverse_model.accuracy(FAST, params, recorded("corridor", 80, key=1, slip=0.0))) == 1.0
    filled = inverse_model.relabelled(FAST, params, without_actions(data))
    np.testing.assert_array_equal(filled.action, data.action)
    assert filled.log_prob is None
    filled.validate("test")


def test_accuracy_is_that_of_bayes_where_moves_slip():
    """A walk in a long corridor whose moves are reversed with probability 0.3: the move that is seen is right in 0.7."""
    slip = 0.3
    data, fresh = recorded("corridor", 200, 6, length=40, slip=slip), recorded("corridor", 1000, 6, 1, length=40, slip=slip)
    # At the left end a step that stays may be either: the posterior is that of the slip, too.
    accuracy = float(inverse_model.accuracy(FAST, fitted(data, num_updates=3), fresh))
    assert accuracy == pytest.approx(1 - slip, abs=3 * np.sqrt(0.21 / 6000) + 0.01)


@pytest.mark.slow
def test_real_actions_are_filled_in_by_their_mean():
    """The pendulum's next velocity is linear in the torque."""
    data = recorded("pendulum", 100, 10)
    params = fitted(data, FAST.replace(hidden=(64, 64)), num_updates=20)
    found = inverse_model.predicted(FAST.replace(hidden=(64, 64)), params, without_actions(data))
    error = np.abs(np.asarray(found) - np.asarray(data.action))[np.asarray(data.valid)]
    assert error.mean() < 0.2  # of a range of 4


def test_a_window_holds_the_observations_up_to_the_step_and_its_successor():
    data = recorded("cartpole", 3, 5)
    place = jnp.array([0, 2]), jnp.array([0, 3])
    found = np.asarray(inverse_model.window(data, place, 3))
    obs, after = np.asarray(data.obs), np.asarray(data.next_obs)
    np.testing.assert_array_equal(found[0], np.concatenate([obs[0, 0], obs[0, 0], obs[0, 0], after[0, 0]]))
    np.testing.assert_array_equal(found[1], np.concatenate([obs[2, 1], obs[2, 2], obs[2, 3], after[2, 3]]))


def test_the_likelihood_is_that_of_the_inverse_model_of_icm():
    """On windows of two observations, with the same layers."""
    env = envs.make("cartpole")
    data = recorded("cartpole", 4, 5)
    icm = ICM.of(env, hidden=(8,), num_features=4)
    config = inverse_model.Config(hidden=(8,), activation=icm.activation)
    model = inverse_model.network(data, config)
    place = jnp.array([0, 1, 2, 3]), jnp.array([0, 1, 2, 1])
    shown = inverse_model.window(data, place, 1)
    params = offline.init_actor(KEY, model, shown)
    theirs = icm.init(KEY, 1).inverse
    own, other = jax.tree.flatten(params), jax.tree.flatten(theirs)
    assert [leaf.shape for leaf in own[0]] == [leaf.shape for leaf in other[0]]
    theirs = other[1].unflatten(own[0])
    loss, _ = offline.likelihood_loss(model, params, datasets.at(data, place)._replace(obs=shown))
    errors = icm.inverse_errors(theirs, data.obs[place], data.action[place], data.next_obs[place])
    assert float(loss) == pytest.approx(float(errors.mean()), rel=1e-5)


def test_drawn_actions_follow_the_model_and_masks():
    data = recorded("maximisation_bias", 50, 2)
    params = fitted(data, FAST, 1)
    one, other = (inverse_model.relabelled(FAST, params, data, jax.random.key(seed)) for seed in (1, 2))
    assert (np.asarray(one.action) != np.asarray(other.action)).any()  # behind the left all actions lead to the end alike
    assert np.asarray(masks.is_legal(data.action_space, data.mask, one.action))[np.asarray(data.valid)].all()


# ---- labels


def test_a_share_of_the_episodes_keeps_its_actions():
    data = recorded("cartpole", 20, 30)
    labelled, others = split(KEY, data, 0.3)
    assert (labelled.num_episodes, others.num_episodes) == (6, 14)
    both = np.concatenate([labelled.obs, others.obs])
    np.testing.assert_array_equal(np.sort(both[:, 0, 0]), np.sort(np.asarray(data.obs)[:, 0, 0]))
    assert (np.asarray(without_actions(others).action) == -1).all()
    labelled.validate("test")


def test_the_lowest_returns_are_of_the_lower_half():
    data = recorded("cartpole", 40, 60)
    returns = np.sort(np.where(data.valid, data.reward, 0).sum(1))
    for seed in range(5):
        labelled, others = split(jax.random.key(seed), data, 0.25, lowest=True)
        own = np.where(labelled.valid, labelled.reward, 0).sum(1)
        assert own.max() <= returns[20]
        assert labelled.num_episodes == 10
        assert others.num_episodes == 30


def test_tasks_of_one_key_share_their_data():
    """What a model learns from, what it fills in and the truth are of the same episodes, seed by seed."""
    task = Labelled(Collected(envs.make("corridor"), jnp.full((1, 8, 2), 0.5, jnp.float32), 20, 10), 0.25, jnp.bool_(True))
    few, params = task(KEY), fitted(task, num_updates=2)
    left_out, filled, true = (inverse_model.Completed(task, FAST, params, jnp.int32(others))(KEY) for others in range(3))
    for data in (left_out, filled, true):
        np.testing.assert_array_equal(data.obs[:5], few.obs)
        np.testing.assert_array_equal(data.action[:5], few.action)
    np.testing.assert_array_equal(true.obs, filled.obs)
    np.testing.assert_array_equal(true.lengths, filled.lengths)
    np.testing.assert_array_equal(left_out.lengths, [*few.lengths, *[0] * 15])
    np.testing.assert_array_equal(filled.action[5:], inverse_model.relabelled(FAST, params, true).action[5:])
    true.validate("test")
    filled.validate("test")
    whole = task.data(jax.random.split(KEY)[0])  # the true actions are those of the data from which the episodes are drawn
    assert sorted(map(bytes, np.asarray(true.action))) == sorted(map(bytes, np.asarray(whole.action)))
    drawn = datasets.sample_places(KEY, left_out, 200)[0]  # no step is drawn of an episode that is left out
    assert int(drawn.max()) < 5


def test_learners_refuse_data_without_actions():
    for name in ("corridor", "pendulum"):
        bare = without_actions(recorded(name, 4, 4))
        with pytest.raises(DataError, match=r"action must (lie in|be finite).* at step 0 of episode 0"):
            inverse_model.Config().validate(bare)
    with pytest.raises(DataError, match="cql: action must lie in"):
        cql.Config().validate(without_actions(recorded("corridor", 4, 4)))


@pytest.mark.parametrize(
    ("share", "lowest", "message"),
    [
        (0.0, False, r"share must lie in \(0, 1\), got 0.0"),
        (1.0, False, r"share must lie in \(0, 1\), got 1.0"),
        (np.nan, False, "share must lie in"),
        (0.6, True, "with lowest, share must be at most 0.5, got 0.6"),
    ],
)
def test_bad_shares_are_refused(share, lowest, message):
    with pytest.raises(ConfigError, match=message):
        split(KEY, recorded("corridor", 10, 4), share, lowest)


def test_bad_data_and_configurations_are_refused():
    data = recorded("corridor", 4, 4)
    with pytest.raises(DataError, match="an episode with actions and one without, got 1"):
        split(KEY, datasets.take(data, jnp.array([0])), 0.5)
    empty = jax.tree.map(lambda leaf: leaf[:0], data)
    with pytest.raises(DataError, match="there must be an episode with a step"):
        inverse_model.Config().validate(empty)
    with pytest.raises(DataError, match="Pad every episode to the longest one"):
        inverse_model.Config().validate(data.replace(reward=data.reward[:, :-1]))
    for changes, message in (
        ({"context": 0}, "context"),
        ({"channels": (4,)}, "channels must be empty"),
        ({"learning_rate": 0.0}, "positive"),
    ):
        with pytest.raises(ConfigError, match=message):
            FAST.replace(**changes).validate(data)
    with pytest.raises((ConfigError, SpaceError)):
        inverse_model.Config().validate(envs.make("corridor"))
