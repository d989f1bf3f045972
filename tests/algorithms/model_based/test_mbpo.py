"""MBPO: the probe, rollouts that follow the model, how batches are mixed, what stays of soft actor-critic, refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import sac
from jaxrl.algorithms.model_based import mbpo
from jaxrl.algorithms.model_based.mbpo import Config
from jaxrl.blocks import replay
from jaxrl.core.rollout import View
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.training.runner import run
from tests import probes
from tests.in_place import assert_buffer_in_place

SMALL = Config(
    learning_rate=3e-3,
    critic_learning_rate=3e-3,
    model_learning_rate=1e-2,
    gamma=0.8,
    target_step_size=0.05,
    num_envs=4,
    num_rounds=10,
    num_gradient_steps=4,
    batch_size=32,
    buffer_size=800,
    learning_starts=100,
    hidden=(16,),
    num_members=3,
    num_elites=2,
    model_hidden=(16,),
    model_gradient_steps=100,
    model_batch_size=32,
    rollouts_per_step=5,
    rollout_length=2,
)


@pytest.mark.slow
def test_the_best_action_is_found():
    env, obs = probes.continuous_action(), jnp.linspace(-0.8, 0.8, 5)[:, None]
    done = run(mbpo.make, env, SMALL, seeds=2, num_updates=30, chunk_length=30)
    assert not done.summary.failed_seeds
    act = mbpo.make(env, SMALL).policy
    found = jax.vmap(lambda state: act(state, True)(jax.random.key(0), View(obs, None, ())).action)(done.state)
    np.testing.assert_allclose(found, np.broadcast_to(obs, (2, 5, 1)), atol=0.2)
    # Each of these episodes ends at once, and the model knows it.
    end = jax.vmap(lambda state: mbpo.ensemble(env, SMALL).predict(state.model, obs, obs).end)(done.state)
    assert float(end.min()) > 0.99


@pytest.fixture(scope="module")
def after_two_updates():
    env = envs.make("pendulum")
    algorithm = mbpo.make(env, SMALL)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    update = jax.jit(algorithm.update)
    for number in range(2):
        state, metrics = update(state, jax.random.key(number))
    return state, metrics


def test_imagined_steps_begin_at_stored_ones_and_follow_each_other(after_two_updates):
    state, _ = after_two_updates
    imagined, count = state.imagined.items, SMALL.num_rollouts
    assert SMALL.num_rollouts == 5 * 40
    assert imagined.reward.shape == (2 * count,)
    assert int(state.imagined.size) == 2 * count
    assert not imagined.terminated.any()
    first, second = np.split(np.asarray(imagined.obs), 2)
    real = {tuple(row) for row in np.asarray(state.buffer.items.obs).tolist()}
    assert all(tuple(row) in real for row in first.tolist())
    followed = {tuple(row) for row in np.asarray(imagined.next_obs[:count]).tolist()}
    assert {tuple(row) for row in second.tolist()} == followed


def test_every_step_is_in_the_moments_once(after_two_updates):
    state, metrics = after_two_updates
    assert int(state.model.inputs.count) == int(state.buffer.size) == 100 + 2 * 40
    obs = np.asarray(state.buffer.items.obs[:180], np.float64)
    inputs = state.model.inputs
    np.testing.assert_allclose(inputs.origin[0] + inputs.mean[0], obs.mean(0), rtol=1e-4, atol=1e-4)
    assert 0 < float(metrics["model_error"]) < 1


@pytest.mark.slow
def test_with_real_steps_alone_it_learns_as_soft_actor_critic():
    """The state, the keys and the minibatch given, both make the same step."""
    env = envs.make("pendulum")
    plain = sac.Config(**{name: getattr(SMALL, name) for name in sac.Config.__dataclass_fields__})
    one, other = mbpo.make(env, SMALL).init(jax.random.key(0)), sac.parts(env, plain)
    batch = replay.sample(jax.random.key(1), one.buffer, 32)
    keys = jax.random.split(jax.random.key(2))
    stepped, _ = jax.jit(other.learn)(one, keys, batch)
    assert type(stepped) is mbpo.State
    as_sac = sac.State(**{name: getattr(one, name) for name in sac.State.__dataclass_fields__})
    expected, _ = jax.jit(other.learn)(as_sac, keys, batch)
    jax.tree.map(np.testing.assert_array_equal, stepped.actor, expected.actor)
    jax.tree.map(np.testing.assert_array_equal, stepped.target_critics, expected.target_critics)
    jax.tree.map(np.testing.assert_array_equal, stepped.model.params, one.model.params)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_minibatches_are_mixed_by_the_ratio(ratio):
    real = jax.random.uniform(jax.random.key(0), (1000,)) < ratio
    rows = jnp.zeros((1000, 2)), jnp.zeros(1000)
    mixed = mbpo._where(real, jax.tree.map(lambda leaf: leaf + 1.0, rows), rows)
    np.testing.assert_allclose(mixed[0].mean(), ratio, atol=0.05)
    np.testing.assert_array_equal(mixed[0][:, 0], mixed[1])


@pytest.mark.slow
def test_discrete_actions_on_cartpole_improve_with_the_model():
    env = envs.make("cartpole")
    config = SMALL.replace(num_envs=1, gamma=0.98, num_rounds=200, learning_starts=400, model_hidden=(64,), hidden=(64,))
    config = config.replace(model_gradient_steps=400, num_gradient_steps=4, buffer_size=8_000, temperature=0.1)
    done = run(mbpo.make, env, config, seeds=2, num_updates=20, chunk_length=20)
    assert np.nanmean(done.metrics["episode_length"][:, -5:]) > 60  # random: 22


@pytest.mark.optimised
def test_the_buffer_is_written_in_place():
    assert_buffer_in_place(mbpo.make, envs.make("pendulum"), SMALL.replace(buffer_size=100_000))


@pytest.mark.parametrize(
    ("env", "changes", "kind", "message"),
    [
        (partial(envs.make, "frozen_lake"), {}, SpaceError, "the observation_space must be a Box of reals"),
        (probes.nested_action, {}, SpaceError, "must be"),
        (partial(envs.make, "pendulum"), {"num_elites": 4}, ConfigError, r"num_elites must not exceed num_members \(3\), got 4"),
        (partial(envs.make, "pendulum"), {"num_members": 0}, ConfigError, "num_members must be an integer of at least 1"),
        (partial(envs.make, "pendulum"), {"rollout_length": 0}, ConfigError, "rollout_length"),
        (partial(envs.make, "pendulum"), {"rollouts_per_step": 1, "num_rounds": 1, "num_envs": 1}, ConfigError, "num_elites"),
        (partial(envs.make, "pendulum"), {"real_ratio": 1.5}, ConfigError, r"mbpo: real_ratio must lie in \[0, 1\]"),
        (partial(envs.make, "pendulum"), {"model_hidden": ()}, ConfigError, "model_hidden must name at least one layer"),
        (
            partial(envs.make, "pendulum"),
            {"learning_starts": 4, "num_envs": 1},
            ConfigError,
            "learning_starts must be at least 5",
        ),
        (partial(envs.make, "pendulum"), {"gamma": 2.0}, ConfigError, "mbpo: gamma"),
    ],
)
def test_tasks_and_values_that_do_not_fit_are_refused(env, changes, kind, message):
    with pytest.raises(kind, match=f"mbpo: .*{message}" if not message.startswith("mbpo") else message):
        SMALL.replace(**changes).validate(env())
