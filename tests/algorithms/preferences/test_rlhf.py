"""The whole loop: what a round does, many seeds at once, answers kept and replaced, PPO as well as Q-learning, time limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from jaxrl.algorithms.deep import ppo
from jaxrl.algorithms.preferences import reward_fitting, rlhf
from jaxrl.algorithms.preferences.labellers import Labeller
from jaxrl.algorithms.preferences.metrics import PolicyRegret
from jaxrl.algorithms.preferences.reward_models import MLP, Tabular
from jaxrl.algorithms.tabular import q_learning
from jaxrl.errors import ConfigError, SpaceError
from jaxrl.evaluation import ExactValue
from jaxrl.training.runner import run
from tests import probes

PERFECT = Labeller(rationality=np.inf)


def loop(env, reads=("next_obs",), **changes):
    model = Tabular.of(env, reads=reads)
    fitting = reward_fitting.Config(model, learning_rate=0.05, weight_decay=1e-3, num_epochs=20, num_minibatches=1)
    learner = q_learning.Config(gamma=0.9, learning_rate=0.2, learning_rate_half_life=np.inf, num_steps=50)
    config = rlhf.Config(
        fitting, learner, q_learning.make, PERFECT, num_rounds=4, num_segments=16, segment_length=4, num_queries=16
    )
    return config.replace(**changes)


def test_answers_are_kept_and_the_oldest_replaced():
    env = envs.make("reward_grid", rows=2, columns=3)
    config = loop(env, num_rounds=3, num_queries=5, num_segments=4)
    algorithm = rlhf.make(env, config)
    state, update = algorithm.init(jax.random.key(0)), jax.jit(algorithm.update)
    assert state.preferences.count == 15
    np.testing.assert_array_equal(state.preferences.weight, 0.0)
    seen = []
    for round in range(4):
        state, metrics = update(state, jax.random.key(round))
        seen.append(jax.tree.map(np.asarray, state.preferences))
        assert float(metrics["labelled"]) == min(5 * (round + 1), 15)
    # Round 3 took the place of round 0 and left rounds 1 and 2 alone.
    assert not np.array_equal(seen[2].segments.obs[:4], seen[3].segments.obs[:4])
    np.testing.assert_array_equal(seen[2].segments.obs[4:], seen[3].segments.obs[4:])
    np.testing.assert_array_equal(seen[2].label[5:], seen[3].label[5:])
    for place in range(3):  # comparisons speak of segments of their own round
        numbers = np.concatenate([seen[3].first[place * 5 :][:5], seen[3].second[place * 5 :][:5]])
        assert ((numbers >= 4 * place) & (numbers < 4 * place + 4)).all()


def test_labels_follow_the_environments_reward():
    env = envs.make("reward_grid", rows=2, columns=3)
    algorithm = rlhf.make(env, loop(env))
    state, _ = jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)), jax.random.key(1))
    data = jax.tree.map(lambda leaf: leaf[:16], state.preferences.replace(segments=None))
    score = (state.preferences.segments.reward * state.preferences.segments.mask).sum(1)
    expected = np.heaviside(score[data.first] - score[data.second], 0.5)
    np.testing.assert_array_equal(data.label, expected)


@pytest.mark.each
def test_the_policy_learns_what_the_labels_say():
    """16 seeds, a 2 x 3 grid, 256 perfect labels: the mean normalised return is at least 0.8; the bar was set beforehand."""
    env = envs.make("reward_grid", rows=2, columns=3)
    config = loop(env, num_rounds=16)
    regret, exact = PolicyRegret.of(env, config.fitting.model, 0.9), ExactValue.of(env, 0.9)
    done = run(rlhf.make, env, config, seeds=16, num_updates=16, chunk_length=16, evaluators=(regret, exact))
    reached = (done.evaluations["greedy_exact_value"][:, -1] - regret.uniform) / (regret.optimum - regret.uniform)
    assert reached.mean() >= 0.8
    assert done.evaluations["normalised_return"][:, -1].mean() >= 0.8
    np.testing.assert_array_equal(done.metrics["labelled"][:, -1], 256)
    assert done.steps_per_update == 16 * 4 + 10 * 50


def test_a_learned_reward_meets_the_time_limit_as_any_other():
    """The value of a loop that is only ever cut by its time limit is r / (1 - gamma) for the learned r, not less."""
    env = probes.time_limit_loop()
    config = loop(env, reads=("obs",), learner_updates=40, num_rounds=2)
    config = config.replace(fitting=config.fitting.replace(weight_decay=0.0))
    algorithm = rlhf.make(env, config)
    state, update = algorithm.init(jax.random.key(0)), jax.jit(algorithm.update)
    state = state.replace(reward=state.reward.replace(params=jnp.ones(3)))  # equal segments leave the reward where it is
    for round in range(3):
        state, _ = update(state, jax.random.key(round))
    np.testing.assert_allclose(state.reward_params, 1.0)
    np.testing.assert_allclose(state.learner.q[0], 1 / (1 - 0.9), rtol=0.02)


@pytest.mark.each
def test_the_same_loop_improves_a_network_by_ppo():
    """Nothing but names changes; metrics are finite and the learned reward prefers what was preferred."""
    env = envs.make("cartpole")
    fitting = reward_fitting.Config(MLP.of(env, hidden=(16,)), learning_rate=3e-3, num_epochs=4, num_minibatches=2)
    learner = ppo.Config(num_envs=2, num_steps=16, num_minibatches=2, hidden=(8,))
    config = rlhf.Config(fitting, learner, ppo.make, PERFECT, num_rounds=3, learner_updates=2, segment_length=12)
    done = run(rlhf.make, env, config, seeds=2, num_updates=3, chunk_length=1)
    assert all(np.isfinite(done.metrics[name]).all() for name in ("reward_loss", "learner_policy_loss", "labelled"))
    assert not done.summary.failed_seeds


@pytest.mark.each
def test_seeds_differ_and_repeat():
    env = envs.make("reward_grid", rows=2, columns=2)
    tables = [
        np.asarray(run(rlhf.make, env, loop(env), seeds=2, num_updates=2, chunk_length=2).state.learner.q) for _ in range(2)
    ]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0][0], tables[0][1])


@pytest.mark.parametrize(
    ("env", "changes", "error", "message"),
    [
        ("reward_grid", {"num_segments": 1}, ConfigError, "num_segments of at least 2"),
        ("reward_grid", {"num_rounds": 0}, ConfigError, "num_rounds must be an integer of at least 1"),
        ("reward_grid", {"labeller": Labeller(flip_rate=2.0)}, ConfigError, "flip_rate must lie in"),
        ("reward_grid", {"learner": q_learning.Config(gamma=2.0)}, ConfigError, "gamma must lie in"),
        ("prisoners_dilemma", {}, ConfigError, "no agent axis, got 2"),
        ("cartpole", {}, SpaceError, "observation_space must be Discrete"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(env, changes, error, message):
    with pytest.raises(error, match=message):
        run(rlhf.make, envs.make(env), loop(envs.make("reward_grid")).replace(**changes), seeds=2, num_updates=2)
