"""A learned mask around a learner: what it learns, what it forbids, and what is left to every learner."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gridworlds import corridor, extra_actions
from jaxrl.algorithms.deep import dqn, ppo, pqn
from jaxrl.algorithms.exploration import inapplicable
from jaxrl.algorithms.tabular import q_learning
from jaxrl.blocks.applicability import Classifier, unchanged
from jaxrl.core import rollout
from jaxrl.core.algorithm import Algorithm
from jaxrl.core.contracts import declared_steps
from jaxrl.core.rollout import View
from jaxrl.errors import AlgorithmError, ConfigError, EnvError, SpaceError
from jaxrl.evaluation import Episodes
from jaxrl.training.runner import run

KEY = jax.random.key(0)
TABLE = q_learning.Config(num_steps=10, epsilon=1.0)
SMALL = {"hidden": (8,), "batch_size": 32, "buffer_size": 2_000, "learning_rate": 3e-2}
ROOM = ("#####", "#...#", "#...#", "#..G#", "#####")


def grid(extra=4):
    return extra_actions.make(ROOM, extra)


def masked(env: Any, learner: Any = TABLE, make=q_learning.make, features: Any = extra_actions.surroundings, **changes):
    return inapplicable.Config(learner, Classifier.of(env, features, **SMALL), make, **changes)


def test_it_learns_which_actions_do_something():
    """A random table tries everything: in a room of nine cells m is above 0.95 for all that is idle, and for nothing else."""
    env = grid()
    config = masked(env, unmasked=0.5)
    done = run(inapplicable.make, env, config, seeds=2, num_updates=200)
    cells = jnp.arange(9)
    seen = jax.vmap(extra_actions.surroundings, (0, None))(cells, env.params)
    m = np.asarray(jax.vmap(lambda params: config.classifier(params, seen))(done.state.classifier.params))
    works = extra_actions.applicable(env)[:8]  # the last cell is the goal
    np.testing.assert_array_equal(m[:, :8] <= 0.95, np.broadcast_to(works, (2, *works.shape)))
    assert (done.metrics["masked"][:, 0] == 0).all()
    # Of the pairs that are met; the share of idle pairs of all is 0.58.
    assert (done.metrics["masked"][:, -50:].mean(1) > 0.4).all()
    assert (done.metrics["idle"][:, -50:].mean(1) < done.metrics["idle"][:, :5].mean(1)).all()


def test_at_threshold_one_the_learner_is_the_learner_itself():
    env = grid()
    config = masked(env, threshold=1.0, unmasked=0.0)
    algorithm = inapplicable.make(env, config)
    state, update = algorithm.init(KEY), jax.jit(algorithm.update)
    for number in range(3):
        state, _ = update(state, jax.random.fold_in(KEY, number))
    visits = np.asarray(state.learner.visits)
    # A random table that no mask holds back tries idle actions as often as any.
    assert visits.sum() == 30
    assert visits[:, 4:].sum() > 8


def decided(env, learned, **changes):
    """What a greedy table chooses whose best action is 4 in every cell; learned: the logit of every action."""
    config = masked(env, features=None, **changes)
    algorithm: Any = inapplicable.make(env, config)
    state = algorithm.init(KEY)
    zeros = jax.tree.map(jnp.zeros_like, state.classifier.params)
    bias = [leaf for leaf in jax.tree.leaves(zeros) if leaf.shape == (8,)][-1]
    params = jax.tree.map(lambda leaf: jnp.asarray(learned, jnp.float32) if leaf is bias else leaf, zeros)
    q = jnp.zeros((9, 8), jnp.float32).at[:, 4].set(1.0).at[:, 2].set(0.5)
    state = replace(state, learner=replace(state.learner, q=q), classifier=replace(state.classifier, params=params))
    view = View(jnp.zeros(1, jnp.int32), None, ())
    chances = np.asarray(algorithm.probabilities(state, view))[0]
    return int(algorithm.policy(state, True)(KEY, view).action[0]), chances


def test_a_policy_is_masked_as_the_learner_is():
    """The mask leaves out what is above the threshold; if nothing is left, nothing is left out; some actions are always left."""
    env = grid()
    idle = np.full(8, -5.0)
    idle[4] = 5.0
    chosen, chances = decided(env, idle)
    assert chosen == 2
    np.testing.assert_allclose(chances, [1 / 7] * 4 + [0] + [1 / 7] * 3, rtol=1e-6)
    assert decided(env, idle, always=(4,))[0] == 4
    assert decided(env, idle, threshold=0.999)[0] == 4
    assert decided(env, np.full(8, 5.0))[0] == 4


LEARNERS = {
    "ppo": ("cartpole", ppo, ppo.Config(num_envs=2, num_steps=4, num_minibatches=1, hidden=(4,))),
    "pqn": ("cartpole", pqn, pqn.Config(num_envs=2, num_steps=4, num_minibatches=1, hidden=(4,))),
    "dqn": ("catch", dqn, dqn.Config(num_steps=2, num_rounds=2, batch_size=4, buffer_size=16, learning_starts=8, hidden=(4,))),
    "recurrent": ("t_maze", ppo, ppo.Config(num_envs=2, num_steps=4, num_minibatches=1, hidden=(4,), memory_size=3)),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_takes_a_mask_unchanged(name):
    """As far as it shows while traced."""
    task, module, learner = LEARNERS[name]
    env = envs.make(task)
    config = masked(env, learner, module.make, features=None)
    config.validate(env)
    algorithm = inapplicable.make(env, config)
    state = jax.eval_shape(algorithm.init, KEY)
    after, metrics = jax.eval_shape(algorithm.update, state, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"masked", "idle", "mask_loss", "episode_return"} <= set(metrics)
    assert rollout.BLOCK not in metrics
    assert declared_steps("test", config) == declared_steps("test", learner)


def test_an_episode_that_ends_is_never_idle():
    """The last step of the corridor ends the episode; a step to the left in its first cell changes nothing."""
    env = corridor.make(3)
    _, block = rollout.unroll(KEY, env, rollout.uniform_policy(env), rollout.start(KEY, env, 4), 20)
    expected = (np.asarray(block.obs) == 0) & (np.asarray(block.action) == 0)
    np.testing.assert_array_equal(unchanged(block), expected)
    over = block._replace(next_obs=block.obs)
    np.testing.assert_array_equal(unchanged(over), ~np.asarray(block.terminated))


def test_a_frozen_classifier_stays_as_it_is_and_policies_see_the_state():
    env = grid()
    config = masked(env)
    frozen = replace(config, classifier=replace(config.classifier, learning_rate=0.0))
    done = run(inapplicable.make, env, frozen, seeds=1, num_updates=2, evaluators=(Episodes(env, num_episodes=2),))
    first = inapplicable.make(env, frozen).init(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0))
    for one, other in zip(jax.tree.leaves(first.classifier.params), jax.tree.leaves(done.state.classifier.params), strict=True):
        np.testing.assert_array_equal(one, other[0])
    assert np.isfinite(done.evaluations["greedy_return"]).all()
    assert inapplicable.make(env, config).probabilities is None  # exact evaluators show no states


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"threshold": 1.5}, ConfigError, "threshold must lie in"),
        ({"unmasked": np.nan}, ConfigError, "unmasked must be a finite number"),
        ({"always": (8,)}, ConfigError, r"an action of always must be an integer in \[0, 8\), got 8"),
        ({"learner": q_learning.Config(gamma=2.0)}, ConfigError, "q_learning: gamma must lie in"),
        (
            {"learner": replace(TABLE, num_steps=3_000)},
            ConfigError,
            "into classifier.buffer_size, got 2000. Set it to 3000",
        ),
        ({"classifier": Classifier.of(grid(3))}, EnvError, "must be built for what the environment shows and its actions"),
        ({"classifier": Classifier.of(grid(), learning_rate=-1.0)}, ConfigError, "learning_rate must be at least 0"),
        ({"classifier": Classifier.of(grid(), batch_size=9, buffer_size=8)}, ConfigError, "batch_size"),
    ],
)
def test_what_cannot_run_is_refused_before_tracing(changes, kind, message):
    env = grid()
    with pytest.raises(kind, match=message):
        run(inapplicable.make, env, replace(masked(env), **changes), seeds=1, num_updates=1)


def test_other_tasks_are_refused():
    with pytest.raises(SpaceError, match="must be Discrete"):
        Classifier.of(envs.make("pendulum"))
    with pytest.raises(EnvError, match=r"features of a state must be float32\[F\]"):
        Classifier.of(grid(), lambda state, params: state)
    with pytest.raises(ConfigError, match="no agent axis, got 2"):
        masked(grid()).validate(envs.make("climb"))


def silent(env, config):
    """A learner that does not hand its steps on."""
    inner = q_learning.make(env, config)
    return Algorithm(inner.init, lambda state, key: (inner.update(state, key)[0], {}))


def test_a_learner_that_keeps_its_steps_is_refused():
    with pytest.raises(AlgorithmError, match="inapplicable: a learner must measure its episodes"):
        run(inapplicable.make, grid(), replace(masked(grid()), make_learner=silent), seeds=1, num_updates=1)
