"""Intrinsic motivation around a learner: what is paid, what is learned from, and what metrics are of."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import dqn, ppo, pqn, sac, td3
from jaxrl.algorithms.exploration import intrinsic
from jaxrl.algorithms.tabular import dyna_q, entropic_td, n_step_sarsa, q_learning, reinforce, sarsa_lambda
from jaxrl.blocks.bonuses import ICM, RND, Count
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.contracts import declared_steps
from jaxrl.errors import AlgorithmError, ConfigError
from jaxrl.training.runner import run

KEY = jax.random.key(0)
TABLE = q_learning.Config(num_steps=4, learning_rate=1.0, learning_rate_half_life=np.inf, gamma=0.0, epsilon=1.0)


def counting(env: Any, learner: Any = TABLE, make=q_learning.make, **weights):
    return intrinsic.Config(learner, Count.of(env), make, **weights)


def test_a_step_is_paid_its_reward_and_its_bonus():
    """Without discount and at step size 1, the table holds what each pair was paid last: here -1 and beta over the root of N."""
    env: Any = envs.make("cliff_walking")
    config = counting(env, replace(TABLE, num_steps=1), bonus_weight=3.0, reward_weight=0.5)
    algorithm = intrinsic.make(env, config)
    update, state = jax.jit(algorithm.update), algorithm.init(KEY)
    counts = np.zeros(env.observation_space.n, int)
    for number in range(6):
        before = state
        state, metrics = update(state, jax.random.fold_in(KEY, number))
        (entered,) = np.flatnonzero(np.asarray(state.bonus) != counts)
        (pair,) = np.argwhere(np.asarray(state.learner.visits != before.learner.visits))
        expected = 1 / np.sqrt(counts[entered] + 1)
        counts[entered] += 1
        assert float(metrics["bonus"]) == pytest.approx(expected)
        own = -100.0 if float(state.learner.q[tuple(pair)]) < -10 else -1.0
        assert float(state.learner.q[tuple(pair)]) == pytest.approx(0.5 * own + 3.0 * expected, rel=1e-5)
        np.testing.assert_array_equal(state.bonus, counts)


def test_without_weight_the_learner_is_the_learner_itself():
    env = envs.make("frozen_lake")
    algorithm, alone = intrinsic.make(env, counting(env, bonus_weight=0.0)), q_learning.make(env, TABLE)
    state = algorithm.init(KEY)
    learner = alone.init(jax.random.split(KEY)[0])
    for number in range(3):
        key = jax.random.fold_in(KEY, number)
        state, metrics = algorithm.update(state, key)
        learner, own = alone.update(learner, jax.random.split(key)[0])
        np.testing.assert_array_equal(state.learner.q, learner.q)
        np.testing.assert_array_equal(state.learner.episodes.obs, learner.episodes.obs)
        for name in ("episodes", "episode_return", "episode_length"):
            np.testing.assert_array_equal(metrics[name], own[name])


def test_episodes_are_measured_by_the_reward_of_the_environment():
    """Every episode of the corridor that ends returns 1, whatever the bonus adds, also one that spans several updates."""
    env = envs.make("corridor", length=4)
    done = run(intrinsic.make, env, counting(env, bonus_weight=100.0), seeds=2, num_updates=40)
    returns = done.metrics["episode_return"]
    ended = done.metrics["episodes"] > 0
    assert ended.sum() > 5
    own = run(q_learning.make, env, TABLE, seeds=2, num_updates=40).metrics["episode_return"]
    assert set(np.unique(returns[ended])) <= set(np.unique(own[np.isfinite(own)])) | {1.0}
    assert (done.metrics["reward"] > 1.0).any()  # what the learner was paid
    assert ((done.metrics["bonus"] > 0) & (done.metrics["bonus"] <= 1)).all()


def test_replay_keeps_what_was_paid_when_the_step_was_made():
    env = envs.make("corridor", length=50)
    learner = dqn.Config(
        num_rounds=1,
        num_steps=4,
        batch_size=4,
        buffer_size=16,
        learning_starts=8,
        hidden=(4,),
        epsilon_end=1.0,
        epsilon_start=1.0,
    )
    algorithm = intrinsic.make(env, counting(env, learner, dqn.make, bonus_weight=2.0))
    state = algorithm.init(KEY)
    first = np.asarray(state.learner.buffer.items.reward)[:8]
    np.testing.assert_array_equal(first, 2.0)  # random steps are paid by the first counts
    counts = np.asarray(state.bonus)
    after, _ = jax.jit(algorithm.update)(state, KEY)
    kept = after.learner.buffer.items
    np.testing.assert_array_equal(np.asarray(kept.reward)[:12], 2.0)  # the first counts are of nothing: no step was learned from
    np.testing.assert_array_equal(counts, 0)
    after, _ = jax.jit(algorithm.update)(after, jax.random.key(1))
    newest = slice(12, 16)
    entered = np.asarray(after.learner.buffer.items.next_obs)[newest]
    before = np.bincount(np.asarray(kept.next_obs)[8:12], minlength=50)[entered]
    np.testing.assert_allclose(np.asarray(after.learner.buffer.items.reward)[newest], 2 / np.sqrt(before + 1), rtol=1e-6)


SMALL = {"num_envs": 2, "num_steps": 4, "num_minibatches": 1, "hidden": (4,)}
OFF_POLICY = {"num_rounds": 2, "batch_size": 4, "buffer_size": 16, "learning_starts": 8, "hidden": (4,)}
LEARNERS = {
    "ppo": ("cartpole", ppo, ppo.Config(**SMALL)),
    "pqn": ("cartpole", pqn, pqn.Config(**SMALL)),
    "dqn": ("cartpole", dqn, dqn.Config(num_steps=2, **OFF_POLICY)),
    "sac": ("pendulum", sac, sac.Config(num_steps=2, **OFF_POLICY)),
    "td3": ("pendulum", td3, td3.Config(**OFF_POLICY)),
    "dyna_q": ("frozen_lake", dyna_q, dyna_q.Config(num_steps=4)),
    "n_step_sarsa": ("frozen_lake", n_step_sarsa, n_step_sarsa.Config(num_steps=4)),
    "sarsa_lambda": ("frozen_lake", sarsa_lambda, sarsa_lambda.Config(num_steps=4)),
    "reinforce": ("corridor", reinforce, reinforce.Config(num_steps=4)),
    "entropic_td": ("corridor", entropic_td, entropic_td.Config(num_steps=4)),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_takes_a_bonus_unchanged(name):
    """As far as it shows while traced: the bonus learns from all steps of an update, in one block [T, E]."""
    task, module, learner = LEARNERS[name]
    env = envs.make(task)
    bonus = RND.of(env, num_features=3, hidden=(4,))
    config = intrinsic.Config(learner, bonus, module.make)
    config.validate(env)
    algorithm = intrinsic.make(env, config)
    state = jax.eval_shape(algorithm.init, KEY)
    after, metrics = jax.eval_shape(algorithm.update, state, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"bonus", "predictor_loss", "episode_return"} <= set(metrics)
    assert rollout.BLOCK not in metrics
    inner = module.make(intrinsic.with_bonus(env, intrinsic.pay, (bonus, bonus.init(KEY, learner.num_envs))), learner)
    _, own = jax.eval_shape(inner.update, jax.eval_shape(inner.init, KEY), KEY)
    _, block = jax.eval_shape(partial(rollout.apart, "test"), own)
    assert block.reward.shape == (learner.steps_per_update // learner.num_envs, learner.num_envs)
    assert declared_steps("test", config) == declared_steps("test", learner)


def test_evaluated_bonuses_are_those_of_the_list():
    env = envs.make("frozen_lake")
    bonus, config = Count.of(env), counting(env)
    algorithm = intrinsic.make(env, config)
    state = replace(algorithm.init(KEY), bonus=jnp.arange(16))
    steps = jnp.array([0, 0]), jnp.array([0, 0]), jnp.array([3, 8])
    found = intrinsic.MeanBonus(bonus, *steps, "there")(KEY, algorithm, state)
    assert float(found["bonus_there"]) == pytest.approx((1 / 2 + 1 / 3) / 2)


def silent(env, config):
    """A learner that does not hand its steps on."""
    inner = q_learning.make(env, config)

    def update(state, key):
        state, metrics = inner.update(state, key)
        return state, {"td_error": metrics["td_error"]}

    return Algorithm(inner.init, update)


def test_a_learner_that_keeps_its_steps_is_refused():
    env = envs.make("frozen_lake")
    with pytest.raises(AlgorithmError, match=r"must measure its episodes by rollout.episode_metrics, got \['td_error'\]"):
        run(intrinsic.make, env, counting(env, make=silent), seeds=1, num_updates=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bonus_weight": -1.0}, "bonus_weight must be at least 0"),
        ({"reward_weight": np.nan}, "reward_weight must be a finite number"),
        ({"learner": q_learning.Config(gamma=2.0)}, "q_learning: gamma must lie in"),
        ({"bonus": Count.of(envs.make("corridor"))}, "must be built for the observation_space"),
        ({"bonus": ICM.of(envs.make("frozen_lake"), num_minibatches=3)}, "must be divisible by num_minibatches"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(changes, message):
    env = envs.make("frozen_lake")
    with pytest.raises((ConfigError, ValueError), match=message):
        run(intrinsic.make, env, replace(counting(env), **changes), seeds=1, num_updates=1)


def test_agents_are_refused():
    with pytest.raises(ConfigError, match="no agent axis, got 2"):
        counting(envs.make("frozen_lake")).validate(envs.make("climb"))
