"""Bonuses: counts by hand, errors by the networks' own weights in NumPy, and what each learns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.blocks.bonuses import ICM, RND, Count
from jaxrl.core.rollout import start, uniform_policy, unroll
from jaxrl.core.spaces import Box
from jaxrl.errors import ConfigError, EnvError, SpaceError
from tests import probes

KEY = jax.random.key(0)
LAKE = envs.make("frozen_lake")
SMALL = {"num_features": 3, "hidden": (4,)}


def block(obs, action, next_obs):
    """Returns Transition[T, E] with these numbers, its other parts those of random steps of FrozenLake."""
    parts = [jnp.asarray(part, jnp.int32) for part in (obs, action, next_obs)]
    steps, num_envs = parts[0].shape
    _, batch = unroll(KEY, LAKE, uniform_policy(LAKE), start(KEY, LAKE, num_envs), steps)
    return batch._replace(obs=parts[0], action=parts[1], next_obs=parts[2])


# Two environments, three steps.
STEPS = block([[0, 0], [1, 1], [1, 2]], [[2, 2], [0, 1], [2, 3]], [[1, 1], [1, 5], [2, 2]])


def layers(params, x):
    """Returns the output of a network, in float64: rectified layers, and a linear one at the end."""
    *hidden, last = [layer for _, layer in sorted(next(iter(params["params"].values())).items())]
    for layer in hidden:
        x = np.maximum(x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64), 0)
    return x @ np.asarray(last["kernel"], np.float64) + np.asarray(last["bias"], np.float64)


def plain(params, x):
    """The same of a network without a name around its layers."""
    return layers({"params": {"": params["params"]}}, x)


def test_counts_are_exact_and_the_bonus_is_one_over_their_root():
    bonus = Count.of(LAKE)
    state = bonus.init(KEY, 2)
    np.testing.assert_array_equal(bonus(state, STEPS.obs, STEPS.action, STEPS.next_obs), 1.0)
    state, metrics = bonus.update(KEY, state, STEPS)
    np.testing.assert_array_equal(state, [0, 3, 2, 0, 0, 1] + [0] * 10)
    assert float(metrics["covered"]) == 3
    found = bonus(state, STEPS.obs, STEPS.action, jnp.arange(6))
    np.testing.assert_allclose(found, [1, 1 / 2, 1 / np.sqrt(3), 1, 1, 1 / np.sqrt(2)], rtol=1e-6)


def test_observations_are_counted_whatever_the_actions():
    env = LAKE.replace(action_space=Box(-1.0, 1.0, (2,)))
    Count.of(env).validate(env)
    with pytest.raises(SpaceError, match="count: the action_space must be Discrete"):
        Count.of(env, pairs=True).validate(env)


def test_pairs_are_counted_where_they_were_taken():
    bonus = Count.of(LAKE, pairs=True)
    state, metrics = bonus.update(KEY, bonus.init(KEY, 2), STEPS)
    expected = np.zeros((16, 4), int)
    np.add.at(expected, (np.asarray(STEPS.obs), np.asarray(STEPS.action)), 1)
    np.testing.assert_array_equal(state, expected)
    assert float(metrics["covered"]) == 5
    assert float(bonus(state, jnp.int32(0), jnp.int32(2), jnp.int32(9))) == pytest.approx(1 / np.sqrt(3))


def test_rnd_pays_the_error_in_units_of_the_deviation_of_its_discounted_sums():
    bonus = RND.of(LAKE, gamma=0.5, learning_rate=1e-3, **SMALL)
    state = bonus.init(KEY, 2)
    one_hot = np.eye(16)
    error = np.square(layers(state.params, one_hot) - layers(state.target, one_hot)).sum(-1)
    np.testing.assert_allclose(bonus(state, 0, 0, jnp.arange(16)), error, rtol=1e-4)  # before the first block the unit is 1
    after, _ = bonus.update(KEY, state, STEPS)
    first = error[np.asarray(STEPS.next_obs)]
    sums = np.zeros((3, 2))
    running = np.zeros(2)
    for step in range(3):  # through the ends of episodes
        running = 0.5 * running + first[step]
        sums[step] = running
    now = np.square(layers(after.params, one_hot) - layers(after.target, one_hot)).sum(-1)
    np.testing.assert_allclose(bonus(after, 0, 0, jnp.arange(16)), now / sums.std(), rtol=1e-3)


def test_the_first_step_of_the_predictor_goes_down_the_gradient():
    """Adam's first step is the learning rate in the direction of each gradient; the target stays."""
    bonus = RND.of(LAKE, learning_rate=1e-3, **SMALL)
    state = bonus.init(KEY, 2)
    after, metrics = bonus.update(KEY, state, STEPS)
    moved = jax.tree.map(lambda new, old: np.abs(np.asarray(new - old)), after.params, state.params)
    sizes = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moved)])
    assert ((sizes < 1e-6) | (np.abs(sizes - 1e-3) < 2e-5)).all()
    assert (sizes > 5e-4).sum() > 10
    assert all(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (after.target, state.target)), strict=True))
    before = bonus.errors(state, state.params, STEPS.next_obs).mean()
    assert float(metrics["predictor_loss"]) == pytest.approx(float(before), rel=1e-5)
    assert float(bonus.errors(after, after.params, STEPS.next_obs).mean()) < float(before)


def test_rnd_learns_what_is_shown_and_not_the_rest():
    bonus = RND.of(LAKE, learning_rate=1e-2, num_features=8, hidden=(16,))
    state = bonus.init(KEY, 2)
    update = jax.jit(lambda state: bonus.update(KEY, state, STEPS)[0])
    begun = bonus.errors(state, state.params, jnp.arange(16))
    for _ in range(200):
        state = update(state)
    share = np.asarray(bonus.errors(state, state.params, jnp.arange(16)) / begun)
    shown = np.isin(np.arange(16), np.asarray(STEPS.next_obs))
    assert share[shown].max() < 0.02
    assert np.median(share[~shown]) > 0.1


def test_quantities_are_normalised_by_what_was_observed():
    env = envs.make("cartpole")
    bonus = RND.of(env, **SMALL)
    _, batch = unroll(KEY, env, uniform_policy(env), start(KEY, env, 2), 8)
    state, _ = bonus.update(KEY, bonus.init(KEY, 2), batch)
    seen = np.asarray(batch.next_obs, np.float64).reshape(-1, 4)
    normal = (seen - seen.mean(0)) / seen.std(0)
    expected = np.square(layers(state.params, normal) - layers(state.target, normal)).sum(-1)
    deviation = np.sqrt(float(state.returns.moments.variance))
    found = bonus(state, batch.obs, batch.action, batch.next_obs).reshape(-1)
    np.testing.assert_allclose(found, expected / deviation, rtol=2e-3, atol=1e-4)


def test_icm_pays_half_the_squared_error_of_the_forward_model():
    bonus = ICM.of(LAKE, **SMALL)
    state = bonus.init(KEY, 2)
    phi = layers(state.features, np.eye(16))
    obs, action, next_obs = (np.asarray(part).ravel() for part in (STEPS.obs, STEPS.action, STEPS.next_obs))
    predicted = plain(state.forward, np.concatenate([phi[obs], np.eye(4)[action]], -1))
    expected = 0.5 * np.square(predicted - phi[next_obs]).sum(-1)
    np.testing.assert_allclose(bonus(state, obs, action, next_obs), expected, rtol=1e-4)
    logits = plain(state.inverse, np.concatenate([phi[obs], phi[next_obs]], -1))
    entropies = np.log(np.exp(logits).sum(-1)) - logits[np.arange(6), action]
    _, metrics = bonus.update(KEY, state, STEPS)
    assert float(metrics["forward_loss"]) == pytest.approx(expected.mean(), rel=1e-4)
    assert float(metrics["inverse_loss"]) == pytest.approx(entropies.mean(), rel=1e-4)


def test_features_are_learned_by_the_inverse_model_alone():
    bonus = ICM.of(LAKE, **SMALL)
    state = bonus.init(KEY, 2)
    other = replace(state, forward=jax.tree.map(lambda leaf: 3.0 * leaf + 1.0, state.forward))
    features = [jax.tree.leaves(bonus.update(KEY, one, STEPS)[0].features) for one in (state, other)]
    assert all(np.array_equal(*pair) for pair in zip(*features, strict=True))
    assert not np.array_equal(features[0][1], jax.tree.leaves(state.features)[1])
    frozen = ICM.of(LAKE, inverse=False, **SMALL)
    state = frozen.init(KEY, 2)
    after, metrics = frozen.update(KEY, state, STEPS)
    assert all(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (after.features, state.features)), strict=True))
    assert set(metrics) == {"forward_loss"}


@pytest.mark.parametrize(
    ("bonus", "env", "error", "message"),
    [
        (Count.of(LAKE), "cartpole", SpaceError, "observation_space must be Discrete"),
        (Count.of(LAKE), "corridor", EnvError, r"built for the observation_space of the environment .*Build it by Count.of"),
        (RND.of(LAKE, num_features=0), "frozen_lake", ConfigError, "num_features must be an integer of at least 1"),
        (RND.of(LAKE, gamma=1.5), "frozen_lake", ConfigError, "gamma must lie in"),
        (RND.of(LAKE, num_minibatches=3), "frozen_lake", ConfigError, r"\(8\) must be divisible by num_minibatches, got 3"),
        (RND.of(LAKE, hidden=()), "frozen_lake", ConfigError, "hidden must name at least one layer"),
        (ICM.of(LAKE, learning_rate=-1.0), "frozen_lake", ConfigError, "learning_rate must be positive"),
        (ICM.of(envs.make("pendulum")), "pendulum", SpaceError, "action_space must be Discrete, got Box.*inverse=False"),
    ],
)
def test_what_cannot_be_paid_is_refused(bonus, env, error, message):
    with pytest.raises(error, match=message):
        bonus.validate(envs.make(env), 8)


def test_icm_without_an_inverse_model_takes_any_action():
    for env in (envs.make("pendulum"), probes.nested_action()):
        bonus = ICM.of(env, inverse=False, **SMALL)
        bonus.validate(env, 8)
        _, batch = jax.eval_shape(lambda env=env: unroll(KEY, env, uniform_policy(env), start(KEY, env, 2), 4))
        state = jax.eval_shape(bonus.init, KEY, 2)
        found = jax.eval_shape(bonus, state, batch.obs, batch.action, batch.next_obs)
        assert (found.shape, found.dtype) == ((4, 2), jnp.float32)
